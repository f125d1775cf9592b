"""Data cards: what they tell is true, words of strangers stay words, and the libraries that people load with read every
folder that has one."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import markdown_it
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image as PillowImage

from gobelin.card.escape import MAX_CHARS, code
from gobelin.data.ids import image_id
from gobelin.data.model import Node, Role, to_row
from gobelin.data.schemas import DECISIONS, DOCUMENTS, IMAGES
from gobelin.exchange.token_files import documents_of as tokens_of
from gobelin.pipeline.exchange import export_training
from gobelin.pipeline.exchange.cards import card_in, facts_of_run, write_card_of_run
from gobelin.pipeline.exchange.export import export_corpus
from gobelin.pipeline.recipe.recipe import Recipe, as_dict
from gobelin.store.files import read_json, write_json
from gobelin.train.held_out import HeldOut
from gobelin.transforms.images.check_image import ImageLimits, check_image
from tests.token_corpora import colored_documents, small_tokenizer, small_vocabulary, write_shards

pytestmark = pytest.mark.timeout(240)

Row = dict[str, Any]

NUM_SHARDS = 2
HOSTILE = '`</script>|<b>x</b>`` [a](javascript:1) "quoted": &amp; \n---\n# Not a heading\u202e'
EXPORTS = [("jsonl", False), ("jsonl", True), ("mmc4", False), ("mmc4", True), ("nemo", False), ("obelics", False),
           ("obelics", True), ("parquet", False), ("webdataset", False)]  # fmt: skip
IDS = [f"{name}{'-images' if with_images else ''}" for name, with_images in EXPORTS]


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, a_document: Callable[..., Row], jpeg: Callable[..., bytes],
    png: Callable[..., bytes], write_data_set: Callable[..., str],
) -> Path:  # fmt: skip
    """A run of five documents: without an image, with one, two, three; one shows an image twice, one is hostile."""
    output = tmp_path_factory.mktemp("carded") / "run"
    images, documents = [], []
    for number in range(5):
        nodes = [Node("text", Role.HEADING, 1, f"Page {number}")]
        for place in range(number % 4):
            data = (png if place else jpeg)(10 * number + place, 60 + place, 50)
            url = f"https://a.example/{number}/{place}"
            facts = to_row(check_image(data, ImageLimits()))
            del facts["copy"]
            md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
            images.append(
                {"image_id": image_id(data), "data": data, "md5": md5, **facts, "urls": [url], "consent": [],
                 "source": "archive", "warc_file": "a.warc.gz", "warc_offset": number}
            )  # fmt: skip
            shown = Node("image", image_url=url, image_id=image_id(data), alt="ein Größe 😀")
            nodes += [shown, Node("text", Role.PARAGRAPH, text=f"Text {place}\n\nof page {number}.")]
            nodes += [shown] if number == 3 and place == 2 else []
        doc_id = hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()
        changes: Row = {"url": f"https://a.example/{number}", "nodes": [to_row(node) for node in nodes]}
        if number == 1:
            licence = {"uri": HOSTILE, "scope": "page", "evidence": HOSTILE, "image_url": None}
            changes |= {"title": HOSTILE, "language": HOSTILE, "licences": [licence], "consent": ["meta robots: noai"],
                        "url": "https://xn--bcher-kva.example/" + HOSTILE}  # fmt: skip
        if number == 4:
            changes |= {"language": None, "page_kind": None}
        documents.append(a_document(doc_id, ()) | changes)
    for stage in ("extract", "select"):
        write_data_set(output / stage / "documents", documents, DOCUMENTS, NUM_SHARDS)
    write_data_set(output / "extract" / "images", images, IMAGES, NUM_SHARDS, key="image_id")
    write_data_set(output / "select" / "decisions", [], DECISIONS, NUM_SHARDS)
    counts = {"seen": 6, "kept": 5, "dropped": {"document.min_images": 1}, "failed": 0, "failed_by": {}}
    stages: Row = {name: {"status": "done", "key": "k"} for name in ("extract", "score")}
    stages["extract"]["documents"] = {**counts, "dropped": {}, "failed": 1, "failed_by": {"import_error": 1}}
    stages["select"] = {
        "status": "done", "key": "k", "documents": counts, "thresholds": {"image.min_clip_text": 0.21875},
        "nodes": {"drop": {"image.min_side_px": 7}, "replace": {"pii.email": 2}}, "not_run": {"image.max_nsfw": 12},
    }  # fmt: skip
    recipe = as_dict(Recipe(name="harbours"))
    recipe["select"]["document"] |= {"min_images": 1, "deny_consent": ["tdm"], "unique": ["url"]}
    recipe["select"]["image"] |= {"min_side_px": 40, "max_nsfw": 0.1, "min_clip_text": {"top_fraction": 0.3}}
    recipe["select"]["pii"]["ip"] = "keep"
    given = [{"path": "/somewhere/a.warc.gz", "bytes": 2_000_000}]
    versions = {"gobelin": "1.2.3"}
    write_json(str(output / "run.json"), {"recipe": recipe, "stages": stages, "input": given, "versions": versions})
    write_card_of_run(str(output), read_json(str(output / "run.json")))
    return output


@pytest.fixture(scope="module")
def exports(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Path]:
    """(format, with images) -> the folder of an export, made once."""
    folder, made = tmp_path_factory.mktemp("exports"), set()

    def export(name: str, with_images: bool) -> Path:
        target = folder / f"{name}-{with_images}"
        if target not in made:
            export_corpus(str(run), "select", name, str(target), with_images)
            made.add(target)
        return target

    return export


@pytest.fixture(autouse=True)
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No library reads from, or writes into, the caches of whoever runs the tests."""
    import datasets
    from etils import epath
    from mlcroissant._src.operation_graph.operations import extract

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "downloads")
    monkeypatch.setattr(datasets.config, "EXTRACTED_DATASETS_PATH", tmp_path / "downloads" / "extracted")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(extract, "EXTRACT_PATH", epath.Path(tmp_path / "croissant"))


def documents_of(run: Path) -> dict[str, Row]:
    rows: list[Row] = pq.read_table(run / "select" / "documents").to_pylist()
    return {row["url"]: row for row in rows}


def texts_of(document: Row) -> list[str]:
    return [node["text"] for node in document["nodes"] if node["kind"] == "text"]


def head_of(folder: Path) -> Row:
    _, head, _ = (folder / "README.md").read_text().split("---\n", 2)
    found: Row = yaml.safe_load(head)
    return found


def snippets_of(folder: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)


@contextlib.contextmanager
def quiet_datasets() -> Iterator[None]:
    import datasets

    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "with_images"), [("run", True), ("markdown", False), *EXPORTS], ids=["run", "markdown", *IDS]
)
def test_the_commands_of_a_card_load_the_folder(
    name: str, with_images: bool, run: Path, exports: Callable[[str, bool], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run if name == "run" else exports(name, with_images)
    monkeypatch.chdir(folder)
    found: list[Row] = []
    with quiet_datasets():
        for text in snippets_of(folder):
            held: Row = {}
            exec(text, held)
            found.append(held)
    by_datasets, by_croissant = found[0], found[-1]
    assert by_croissant["record"]
    if name == "markdown":
        assert len(found) == 1
        return
    num_documents = 5 if name != "nemo" else 5 + sum(len(row["nodes"]) for row in documents_of(run).values())
    assert len(by_datasets["documents"]) == num_documents
    if "pictures" in by_datasets:
        first = next(iter(documents_of(run).values()))
        shown = sum(node["kind"] == "image" for node in first["nodes"])
        assert len(by_datasets["pictures"]) == shown
        assert all(isinstance(each, PillowImage.Image) for each in by_datasets["pictures"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "with_images"), EXPORTS, ids=IDS)
def test_datasets_reads_what_was_written(
    name: str, with_images: bool, run: Path, exports: Callable[[str, bool], Path]
) -> None:
    from datasets import load_dataset

    expected = documents_of(run)
    with quiet_datasets():
        rows = load_dataset(str(exports(name, with_images)), split="train")
    texts: dict[str, list[str]] = {url: [] for url in expected}
    if name == "nemo":
        url = ""
        for row in rows:
            url = row["url"] or url  # on the row of the document
            texts[url] += [row["text_content"]] if row["modality"] == "text" else []
    for row in rows if name != "nemo" else ():
        if name == "jsonl":
            texts[row["url"]] = [item["text"] for item in row["items"] if item["kind"] == "text"]
        elif name == "mmc4":
            texts[row["url"]] = row["text_list"]
        elif name == "obelics":
            url = json.loads(row["general_metadata"])["url"]
            texts[url] = [text for text in row["texts"] if text is not None]
        elif name == "webdataset":
            texts[row["json"]["url"]] = [text for text in row["json"]["texts"] if text is not None]
            names = {each.split(".", 1)[1] for each in row["json"]["images"] if each is not None}
            pictures = {each for each in row if re.match(r"\d", each) and row[each] is not None}
            assert pictures == names
            assert all(row[each].size[1] == 50 for each in pictures)
        else:
            texts[row["url"]] = [text for text in row["texts"] if text is not None]
            images = [image for image in row["images"] if image is not None]
            assert len(images) + len(texts[row["url"]]) == len(expected[row["url"]]["nodes"])
    joined = name == "obelics"  # neighbours are one text there
    assert {url: "\n\n".join(held) if joined else held for url, held in texts.items()} == {
        url: "\n\n".join(texts_of(row)) if joined else texts_of(row) for url, row in expected.items()
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "with_images"), [("run", True), ("markdown", False), *EXPORTS], ids=["run", "markdown", *IDS]
)
def test_mlcroissant_loads_every_record_set(
    name: str, with_images: bool, run: Path, exports: Callable[[str, bool], Path]
) -> None:
    import mlcroissant

    folder = run if name == "run" else exports(name, with_images)
    data_set = mlcroissant.Dataset(folder / "croissant.json")
    assert data_set.metadata.ctx.conforms_to.value.endswith("/1.1")
    assert not data_set.metadata.ctx.issues.errors
    loaded = {each.id: list(data_set.records(each.id)) for each in data_set.metadata.record_sets}
    if name == "markdown":
        assert len(loaded["documents"]) == 5
        return
    num_rows = {info["config_name"]: info["splits"][0]["num_examples"] for info in head_of(folder)["dataset_info"]}
    assert len(loaded["documents"]) == num_rows["default"]
    if name == "parquet":
        pictures = [image for row in loaded["documents"] for image in row["documents/images"] if image is not None]
        assert {image.size[1] for image in pictures} == {50}
    if name == "webdataset":
        assert {row["images/image"].size[1] for row in loaded["images"]} == {50}
    if with_images and name != "mmc4":
        assert {row["images/data"].size[1] for row in loaded["images"]} == {50}


@pytest.mark.parametrize("name", ["nemo", "obelics", "parquet"])
def test_pyarrow_reads_the_folder_of_data(name: str, exports: Callable[[str, bool], Path]) -> None:
    folder = exports(name, name == "obelics")
    assert pq.read_table(folder / "data").num_rows == head_of(folder)["dataset_info"][0]["splits"][0]["num_examples"]
    if name == "obelics":
        assert pq.read_table(folder / "images").num_rows == 6


@pytest.mark.filterwarnings("ignore")
def test_webdataset_reads_samples_whose_members_their_json_names(
    run: Path, exports: Callable[[str, bool], Path]
) -> None:
    import webdataset

    folder = exports("webdataset", False)
    samples = list(webdataset.WebDataset(sorted(map(str, folder.glob("*.tar"))), shardshuffle=False).decode("pil"))
    assert len(samples) == 5
    for sample in samples:
        named = {each.split(".", 1)[1] for each in sample["json"]["images"] if each is not None}
        assert {name for name in sample if not name.startswith("__")} == {"json", *named}
    members = set()
    for path in folder.glob("*.tar"):
        with tarfile.open(path) as archive:
            members |= {name.partition(".")[2] for name in archive.getnames()}
    features = {each["name"] for each in head_of(folder)["dataset_info"][0]["features"]}
    assert features == {"__key__", "__url__", *members}


def test_markdown_is_a_folder_of_documents_with_their_images_beside(
    run: Path, exports: Callable[[str, bool], Path]
) -> None:
    folder = exports("markdown", False)
    files = sorted(folder.glob("*/*.md"))
    by_url = documents_of(run)
    assert len(files) == 5
    for path in files:
        text = path.read_text()
        _, head, body = text.split("---\n", 2)
        document = by_url[yaml.safe_load(head)["url"]]
        tokens = markdown_it.MarkdownIt("commonmark").parse(body)
        shown = [child.attrs["src"] for token in tokens for child in token.children or () if child.type == "image"]
        assert len(shown) == sum(node["kind"] == "image" for node in document["nodes"])
        for name in shown:
            with PillowImage.open(path.parent / str(name)) as picture:
                assert picture.size[1] == 50


def test_what_a_card_tells_is_what_happened(run: Path, exports: Callable[[str, bool], Path]) -> None:
    head, text = head_of(run), (run / "README.md").read_text()
    assert head["pretty_name"] == "Documents of a.example and xn--bcher-kva.example with their images (recipe harbours)"
    assert head["language"] == ["en"]
    assert head["size_categories"] == ["n<1K"]
    assert [each["config_name"] for each in head["configs"]] == ["default", "images"]
    assert "5 documents of the web" in text
    assert "7 images." in text
    for line in (
        "- of pages: tdm",
        "| `ai-train` | 1 |",
        "| `document.min_images` | Pictures left after the node rules: at least 1 | 1 | 0 |",
        "| `image.min_side_px` | Shorter side: at least 40 (pixels) | 7 | 0 |",
        "CLIP: best-fitting text of the page: at least 0.2188 (cosine)",
        "| `image.max_nsfw` | Probability of unsafe content: at most 0.1 | 0 | 12 |",
        "| extract | document | `import_error` | reading it failed | 1 |",
        "| select | document | `document.min_images` | not so: Pictures left after the node rules: at least 1 | 1 |",
        "- E-mail addresses: replaced by a mark, in 2 texts.",
        "- IP addresses: kept.",
        "- gobelin 1.2.3, recipe `harbours`, seed 0.",
        "from 1 input file (2.0 MB)",
        "1 document of 5 state one.",
    ):
        assert line in text
    assert "/somewhere" not in text
    assert card_in(str(run)) == text
    exported = exports("mmc4", False)
    assert card_in(str(exported)) == (exported / "README.md").read_text()
    assert "Images are addresses" in card_in(str(exported))


def test_words_of_strangers_are_shown_and_not_obeyed(run: Path) -> None:
    text = (run / "README.md").read_text()
    assert text.count("\n---\n") == 1  # the end of the front matter
    assert "\u202e" not in text
    body = text.split("---\n", 2)[2]
    tokens = markdown_it.MarkdownIt("commonmark").enable("table").parse(body)
    kinds = {token.type for token in tokens} | {child.type for token in tokens for child in token.children or ()}
    assert not {"html_block", "html_inline", "link_open", "image"} & kinds
    headings = [after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]
    assert "Not a heading" not in headings
    assert any("</script>" in child.content for token in tokens for child in token.children or ()
               if child.type == "code_inline")  # fmt: skip
    croissant = json.loads((run / "croissant.json").read_text())
    assert croissant["license"] == [HOSTILE]


@pytest.mark.parametrize("text", ["", "`", "``a`", " a ", "a|b", "\x00\u200b", "x" * 1000, "<b>", HOSTILE])
def test_a_code_span_holds_any_text(text: str) -> None:
    (token,) = markdown_it.MarkdownIt("commonmark").parseInline(code(text))
    assert [child.type for child in token.children or ()] in (["code_inline"], ["text"])
    assert len(code(text)) <= MAX_CHARS + 10


def test_a_card_of_extracted_documents_claims_no_selection(run: Path, tmp_path: Path) -> None:
    export_corpus(str(run), "extract", "jsonl", str(tmp_path / "out"), False)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "As extracted, before any selection." in text
    assert "**No opt-out was honoured:**" in text
    assert "Nothing was replaced" in text
    assert "document.min_images" not in text


def test_facts_hold_for_a_corpus_without_documents(
    run: Path, tmp_path: Path, write_data_set: Callable[..., str]
) -> None:
    for place, schema in (("select/documents", DOCUMENTS), ("extract/images", IMAGES)):
        write_data_set(tmp_path / place, [], schema, NUM_SHARDS, key="doc_id")
    write_card_of_run(str(tmp_path), read_json(str(run / "run.json")))
    facts = facts_of_run(str(tmp_path), read_json(str(run / "run.json")))
    assert (facts.tally.documents, facts.num_rows) == (0, {"default": 0, "images": 0})
    assert "0 documents of the web" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("name", ["megatron", "nanogpt"])
def test_token_files_have_a_card_too(
    name: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what ids mean and where the documents are from, and its commands read the first document."""
    output, target = shutil.copytree(run, tmp_path / "out"), tmp_path / "to"
    tokenizer = small_tokenizer()
    vocabulary = small_vocabulary(tokenizer)
    shards = write_shards(output / "tokenize" / "shards", colored_documents(9), vocabulary, tokenizer)
    vocabulary.save(str(output / "tokenize"))
    tokenizer.save(str(output / "tokenize" / "text_tokenizer.json"))
    (output / "tokenize" / "image_tokenizer").mkdir()
    (output / "tokenize" / "image_tokenizer" / "config.json").write_text("{}")
    (output / "recipe.yaml").write_text("{}")
    made = read_json(str(output / "run.json"))
    write_json(str(output / "run.json"), made | {"stages": made["stages"] | {"tokenize": {"status": "done"}}})
    held_out, left_out, first, *others = tokens_of(shards)
    split = HeldOut("document", (), (held_out[0],), (left_out[0],))
    monkeypatch.setattr(export_training, "hold_out", lambda *_: split)
    export_training.export_training(str(output), name, str(target))
    assert {"README.md", "export.json", "vocabulary.json", "text_tokenizer.json", "image_tokenizer"} <= {
        path.name for path in target.iterdir()
    }
    card = card_in(str(target))
    trained_on = sum(len(tokens) for _, tokens in [first, *others])
    assert f"| `train.*` | 7 | {trained_on:,} |" in card
    assert f"| `val.*` | 1 | {len(held_out[1])} |" in card
    assert "1 document in neither" in card
    for told in ("| 3 | `<\\|image\\|>` |", "+ 8 |", "images of 2 x 2", "## Licences", "`document.min_images`", "tdm"):
        assert told in card
    assert "left_out.jsonl" not in card
    assert "_manifest.json" not in card
    assert head_of(target)["license"] == "other"
    monkeypatch.chdir(target)
    (snippet,) = snippets_of(target)
    held: Row = {}
    exec(snippet, held)
    assert held["document"].tolist() == first[1].tolist()
    assert "square" in capsys.readouterr().out
