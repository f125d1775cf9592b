"""Token shards as a data set of torchtitan: iterable, with ``state_dict`` and ``load_state_dict``.

torchtitan takes an iterable data set that yields ``({"input": tokens, "positions": positions}, labels)`` and is
``Stateful``; its dataloader gives each data-parallel rank a data set of its own. Here each rank takes its share of
the rows of one stream, and the state is one number, the same for any number of ranks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.stateful import Stateful
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from gobelin.train.attention import piece_positions
from gobelin.train.batches import NO_TARGET, Loader, make_batch
from gobelin.train.shards import read_corpus, vocabulary_of


class TokenShards(IterableDataset[tuple[dict[str, Tensor], Tensor]], Stateful):
    """Rows of packed documents, without end. ``labels`` is -100 where nothing is to be predicted."""

    def __init__(self, shards: str, seq_len: int, dp_rank: int = 0, dp_world_size: int = 1, seed: int = 0) -> None:
        self.vocabulary = vocabulary_of(shards)
        documents = read_corpus(shards, self.vocabulary, 0.0).training
        self._loader = Loader(documents, row_tokens=seq_len, caption_drop=0.1, seed=seed)
        self._rank, self._size, self._position = dp_rank, dp_world_size, 0

    def __iter__(self) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        while True:
            rows, self._position = self._loader.rows(self._position, self._size)
            batch = make_batch([rows[self._rank]], self._loader.row_tokens)
            yield {"input": batch.tokens_BT[0], "positions": piece_positions(batch.pieces_BT)[0]}, batch.targets_BT[0]

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands."""
        return {"position": self._position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._position = state_dict["position"]


def main(shards: str, num_steps: int = 100) -> list[float]:
    """A toy model in torchtitan's loop, stopped and resumed halfway; the loss of each step."""
    torch.manual_seed(0)
    seq_len = vocabulary_of(shards).max_tokens_per_image + 60
    data = TokenShards(shards, seq_len)
    model = nn.Sequential(nn.Embedding(data.vocabulary.size, 64), nn.Linear(64, data.vocabulary.size))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses: list[float] = []
    while len(losses) < num_steps:
        resumed = TokenShards(shards, seq_len)
        resumed.load_state_dict(data.state_dict())
        data = resumed
        for inputs, labels in DataLoader(data, batch_size=4):
            loss = F.cross_entropy(model(inputs["input"]).flatten(0, 1), labels.flatten(), ignore_index=NO_TARGET)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            if len(losses) in (num_steps // 2, num_steps):
                break
    return losses


if __name__ == "__main__":
    print(main(sys.argv[1])[-1])
