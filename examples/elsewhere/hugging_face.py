"""Token shards into a Hugging Face model: ``python examples/elsewhere/hugging_face.py OUT/tokenize/shards``.

Rows are packed as in gobelin's own trainer. Positions start at 0 in each piece of a row. With
``attn_implementation="flash_attention_2"``, a model of transformers takes that for the beginning of another document.
With the mask that is made here, every implementation does.
"""

from __future__ import annotations

import sys

import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from gobelin.train.attention import piece_positions
from gobelin.train.batches import NO_TARGET, Loader, make_batch
from gobelin.train.shards import read_corpus, vocabulary_of


def main(shards: str, num_steps: int = 100) -> list[float]:
    """Train on batches of 4 rows; the loss of each."""
    torch.manual_seed(0)
    vocabulary = vocabulary_of(shards)
    documents = read_corpus(shards, vocabulary, 0.0).training
    loader, position = Loader(documents, row_tokens=vocabulary.max_tokens_per_image + 60, caption_drop=0.1, seed=0), 0
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=vocabulary.size, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                    num_attention_heads=4, attn_implementation="sdpa")
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(num_steps):
        rows, position = loader.rows(position, 4)  # position is all that a checkpoint needs
        batch = make_batch(rows, loader.row_tokens)
        same_BTT = batch.pieces_BT[:, :, None] == batch.pieces_BT[:, None]
        found = model(
            input_ids=batch.tokens_BT, position_ids=piece_positions(batch.pieces_BT),
            attention_mask=(same_BTT & torch.ones_like(same_BTT).tril())[:, None],
        )  # fmt: skip
        loss = F.cross_entropy(found.logits.flatten(0, 1), batch.targets_BT.flatten(), ignore_index=NO_TARGET)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    print(main(sys.argv[1])[-1])
