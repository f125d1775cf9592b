"""Reads token shards in a plain PyTorch DataLoader: rows of one length, divided among ranks and workers, from any place
on.

python with_torch.py OUT/tokenize
"""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info


def files_of(data_set: Path) -> list[Path]:
    """The files of a data set: `_current.json` names the folder that counts, its manifest the files."""
    current = data_set / "_current.json"
    folder = data_set / json.loads(current.read_text())["attempt"] if current.exists() else data_set
    return [folder / file["name"] for file in json.loads((folder / "_manifest.json").read_text())["files"]]


class TokenSequences(IterableDataset):
    """The sequences of the corpus, in the shuffled order of the shards.

    Args:
        first: of this process's sequences, those that are passed over: as many as it has had from an earlier run with
            as many processes and at most one worker. The index says where that is, so no row group before it is read.
        rank, world_size: every `world_size`-th row group is this process's, and its workers share those.
    """

    def __init__(self, tokenize: Path, first: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.shards = files_of(tokenize / "shards")
        columns = ["shard", "row_group", "row"]
        index = np.concatenate([np.stack(list(map(np.asarray, pq.read_table(path, columns=columns))), 1)
                                for path in files_of(tokenize / "index")])  # fmt: skip
        _, groups = np.unique(index[:, :2], axis=0, return_inverse=True)
        self.places = index[groups.ravel() % world_size == rank][first:]

    def __iter__(self):
        worker = get_worker_info()
        share, of = (0, 1) if worker is None else (worker.id, worker.num_workers)
        groups = np.unique(self.places[:, :2], axis=0)
        for shard, group in groups[share::of]:
            rows = self.places[(self.places[:, 0] == shard) & (self.places[:, 1] == group), 2]
            table = pq.ParquetFile(self.shards[shard]).read_row_group(group, ["tokens"])
            for row in rows:
                yield torch.from_numpy(table["tokens"][int(row)].values.to_numpy().astype(np.int64))


class Packed(IterableDataset):
    """Sequences one behind the other, cut into rows of T tokens: the plainest packing."""

    def __init__(self, sequences: IterableDataset, row_tokens: int) -> None:
        self.sequences, self.row_tokens = sequences, row_tokens

    def __iter__(self):
        held = torch.empty(0, dtype=torch.int64)
        for tokens in self.sequences:
            held = torch.cat([held, tokens])
            while len(held) >= self.row_tokens:
                yield held[: self.row_tokens]
                held = held[self.row_tokens :]


if __name__ == "__main__":
    loader = DataLoader(Packed(TokenSequences(Path(sys.argv[1])), 256), batch_size=4)
    rows = list(loader)
    print(f"{len(rows)} batches, {sum(batch.numel() for batch in rows):,} tokens")
