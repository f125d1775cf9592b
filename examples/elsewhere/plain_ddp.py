"""Token shards in plain DDP: ``torchrun --nproc-per-node 2 examples/elsewhere/plain_ddp.py OUT/tokenize/shards``."""

from __future__ import annotations

import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from gobelin.train.batches import NO_TARGET, Loader, make_batch
from gobelin.train.shards import read_corpus, vocabulary_of


def main(shards: str, num_steps: int = 100) -> list[float]:
    """Each process takes its share of the rows of a step. Its losses; their mean over processes is that of the step."""
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    torch.manual_seed(0)
    vocabulary = vocabulary_of(shards)
    documents = read_corpus(shards, vocabulary, 0.0).training
    loader, position = Loader(documents, row_tokens=vocabulary.max_tokens_per_image + 60, caption_drop=0.1, seed=0), 0
    model: nn.Module = nn.Sequential(nn.Embedding(vocabulary.size, 64), nn.Linear(64, vocabulary.size))
    if size > 1:
        dist.init_process_group("gloo")
        model = DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(num_steps):
        rows, position = loader.rows(position, 4 * size)
        num_targets = sum(
            len(piece) - 1 for row in rows for piece in row
        )  # of all processes, which have unequal shares
        batch = make_batch(rows[rank::size], loader.row_tokens)
        logits_TV, targets_T = model(batch.tokens_BT).flatten(0, 1), batch.targets_BT.flatten()
        total = F.cross_entropy(logits_TV, targets_T, ignore_index=NO_TARGET, reduction="sum")
        loss = total * size / num_targets  # DDP takes the mean of gradients
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    if size > 1:
        dist.destroy_process_group()
    return losses


if __name__ == "__main__":
    print(main(sys.argv[1])[-1])
