"""Code for loading a folder, for its data card. A test runs it."""

from __future__ import annotations

from gobelin.card.facts import Facts

_DATASETS = """\
import os
from datasets import load_dataset

folder = os.getcwd()  # or the name of a copy on a hub
documents = load_dataset(folder, split="train")"""

_IMAGES = """
images = load_dataset(folder, "images", split="train")"""

_JOINED = {
    "obelics": """
by_id = {image_id: row for row, image_id in enumerate(images["image_id"])}
nodes = json.loads(documents[0]["general_metadata"])["gobelin"]["nodes"]
pictures = [images[by_id[node["image_id"]]]["data"] for node in nodes if node.get("image_id") in by_id]""",
    "jsonl": """
images = load_dataset("parquet", data_files=f"{folder}/images/*.parquet", split="train").cast_column("data", Image())
by_id = {image_id: row for row, image_id in enumerate(images["image_id"])}
pictures = [images[by_id[item["image_id"]]]["data"] for item in documents[0]["items"] if item["image_id"] in by_id]""",
    "run": """
by_id = {image_id: row for row, image_id in enumerate(images["image_id"])}
pictures = [images[by_id[node["image_id"]]]["data"] for node in documents[0]["nodes"] if node["image_id"] in by_id]""",
}
"""The images of the first document, in their order."""

_WEBDATASET = """\
import glob
import webdataset

samples = webdataset.WebDataset(sorted(glob.glob("*.tar")), shardshuffle=False).decode("pil")
for sample in samples:
    layout = sample["json"]  # texts and images: at each place exactly one of the two is not null
    pictures = [sample[name.split(".", 1)[1]] for name in layout["images"] if name is not None]"""


def snippets(facts: Facts) -> list[tuple[str, str]]:
    """(package, Python code) pairs; the code runs in the folder."""
    kind = facts.format or "run"
    has_images = any(layout.name == "images" for layout in facts.layouts)
    loading = _DATASETS
    if has_images:
        loading += (_IMAGES if kind != "jsonl" else "") + _JOINED[kind]
    if kind == "obelics" and has_images:
        loading = f"import json\n{loading}"
    elif kind == "jsonl" and has_images:
        loading = loading.replace("import load_dataset", "import Image, load_dataset")
    found = [("`datasets`", loading)] if kind != "markdown" else []
    if kind == "webdataset":
        found.append(("`webdataset`", _WEBDATASET))
    tables = [
        f'{layout.name if layout.name != "default" else "documents"} = pq.read_table("{_folder(layout.pattern)}")'
        for layout in facts.layouts
        if layout.kind == "parquet"
    ]
    if tables:
        found.append(("`pyarrow`", "\n".join(["import pyarrow.parquet as pq", "", *tables])))
    found.append(("`mlcroissant`", _croissant(facts)))
    return found


def _folder(pattern: str) -> str:
    return pattern.rpartition("/")[0]


def _croissant(facts: Facts) -> str:
    return (
        "import mlcroissant\n\n"
        'dataset = mlcroissant.Dataset("croissant.json")\n'
        f'for record in dataset.records("{RECORDS["default"]}"):\n'
        "    break"
    )


RECORDS = {"default": "documents", "images": "images"}
"""Names of Croissant's record sets, by the name of a layout."""
