"""Streams token shards as a Hugging Face data set. The vocabulary beside them gives the meaning of each token.

python with_datasets.py OUT/tokenize
"""

import json
import sys
from pathlib import Path

from datasets import IterableDataset, load_dataset


def files_of(data_set: Path) -> list[str]:
    """The files of a data set: `_current.json` names the folder that counts, its manifest the files."""
    current = data_set / "_current.json"
    folder = data_set / json.loads(current.read_text())["attempt"] if current.exists() else data_set
    return [str(folder / file["name"]) for file in json.loads((folder / "_manifest.json").read_text())["files"]]


def open_shards(tokenize: Path) -> IterableDataset:
    """Rows with `tokens`, `image_spans` and, added here, `is_image`: which tokens are codes of images."""
    vocabulary = json.loads((tokenize / "vocabulary.json").read_text())

    def mark(row: dict) -> dict:
        return {"is_image": [token >= vocabulary["image_offset"] for token in row["tokens"]]}

    shards = load_dataset("parquet", data_files=files_of(tokenize / "shards"), split="train", streaming=True)
    return shards.map(mark)


if __name__ == "__main__":
    num_text = num_image = 0
    for row in open_shards(Path(sys.argv[1])):
        num_image += sum(row["is_image"])
        num_text += len(row["tokens"]) - sum(row["is_image"])
    print(f"{num_text:,} tokens of text and layout, {num_image:,} of images")
