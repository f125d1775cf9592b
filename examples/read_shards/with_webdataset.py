"""Writes token shards as tar files for WebDataset: one sample per sequence (`tokens.npy` and `spans.json`), one tar per
shard.

python with_webdataset.py OUT/tokenize FOLDER
"""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import webdataset


def files_of(data_set: Path) -> list[Path]:
    """The files of a data set: `_current.json` names the folder that counts, its manifest the files."""
    current = data_set / "_current.json"
    folder = data_set / json.loads(current.read_text())["attempt"] if current.exists() else data_set
    return [folder / file["name"] for file in json.loads((folder / "_manifest.json").read_text())["files"]]


def write_tars(tokenize: Path, folder: Path) -> list[str]:
    """One tar for each shard, in the order of the shards; a row group is in memory at a time."""
    folder.mkdir(parents=True)
    tars = []
    for path in files_of(tokenize / "shards"):
        tars.append(str(folder / f"{path.stem}.tar"))
        with webdataset.TarWriter(tars[-1], mtime=0) as tar:
            shard, number = pq.ParquetFile(path), 0
            for group in range(shard.num_row_groups):
                for row in shard.read_row_group(group, ["doc_id", "tokens", "image_spans"]).to_pylist():
                    content = io.BytesIO()
                    np.save(content, np.array(row["tokens"], np.int32))
                    spans = json.dumps(row["image_spans"]).encode()
                    tar.write({"__key__": f"{number:08d}-{row['doc_id']}", "tokens.npy": content.getvalue(),
                               "spans.json": spans})  # fmt: skip
                    number += 1
    return tars


def open_tars(tars: list[str]) -> webdataset.WebDataset:
    """Pairs of tokens and image spans; shards are shared out to ranks and workers."""
    split = webdataset.split_by_node
    return (
        webdataset.WebDataset(tars, shardshuffle=False, nodesplitter=split)
        .decode()
        .to_tuple("tokens.npy", "spans.json")
    )


if __name__ == "__main__":
    samples = list(open_tars(write_tars(Path(sys.argv[1]), Path(sys.argv[2]))))
    print(f"{len(samples):,} sequences, {sum(len(tokens) for tokens, _ in samples):,} tokens")
