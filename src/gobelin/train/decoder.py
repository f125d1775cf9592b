"""Rows of tokens with a KV cache, and the sampling of the next token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gobelin.tokenize.vocabulary import PAD
from gobelin.train.attention import KVCache
from gobelin.train.config import SamplingConfig
from gobelin.train.model import LanguageModel, places_in_picture

Key = tuple[int, str]
"""Of a row: which document it belongs to, and what it is for."""


class Decoder:
    """Rows of tokens of different lengths. All rows grow by one token per step. Rows can be added and removed between
    steps.

    Attributes:
        keys: the owner of each row, in the order of the rows.
        logits_BV: for the next token of each row.
    """

    keys: list[Key]
    logits_BV: Tensor

    def __init__(self, model: LanguageModel, capacity: int) -> None:
        """``capacity`` is the most tokens that a row will have."""
        self._model, self._capacity = model, capacity
        self._device = model.head.weight.device
        self._cache: KVCache | None = None
        self.keys = []

    def add(self, keys: Sequence[Key], prompts: Sequence[Sequence[int]]) -> None:
        """Adds rows that begin with these tokens."""
        longest = max(map(len, prompts))
        padded = [[*prompt, *[PAD] * (longest - len(prompt))] for prompt in prompts]
        tokens_BT = torch.tensor(padded, device=self._device)
        num_new_B = torch.tensor([len(prompt) for prompt in prompts], device=self._device)
        cache = self._model.new_cache(len(prompts), self._capacity)
        places_BT = places_in_picture(tokens_BT, self._model.vocabulary)
        logits_BV = self._model.extend(tokens_BT, num_new_B, places_BT, cache).float()
        if self._cache is None:
            self.keys, self._cache, self.logits_BV = list(keys), cache, logits_BV
        else:
            self.keys = [*self.keys, *keys]
            self._cache = self._cache.joined(cache)
            self.logits_BV = torch.cat([self.logits_BV, logits_BV])

    def append(self, tokens: Sequence[int], places: Sequence[int]) -> None:
        """Appends one token to each row. Its place in its image is -1 outside of images."""
        assert self._cache is not None
        tokens_B1, places_B1 = torch.tensor([tokens, places], device=self._device)[..., None]
        ones_B = torch.ones(len(tokens), dtype=torch.long, device=self._device)
        self.logits_BV = self._model.extend(tokens_B1, ones_B, places_B1, self._cache).float()

    def keep(self, keys: set[Key]) -> None:
        """Removes the rows of all other keys."""
        kept = [index for index, key in enumerate(self.keys) if key in keys]
        if not kept:
            self._cache, self.keys = None, []
        elif len(kept) < len(self.keys):
            assert self._cache is not None
            indices_R = torch.tensor(kept, device=self._device)
            self._cache, self.logits_BV = self._cache.rows(indices_R), self.logits_BV[indices_R]
            self.keys = [self.keys[index] for index in kept]


def draw(logits_BV: Tensor, config: SamplingConfig, uniforms_B: Tensor) -> Tensor:
    """Samples one index per row, int64 (B,). An entry of minus infinity is never drawn.

    Args:
        config: its temperature, top_k and top_p are used.
        uniforms_B: a number in [0, 1) for each row, float64. Inverse transform sampling: takes the first index whose
            cumulative probability exceeds it, sorted by probability if there is a limit.
    """
    if logits_BV.device.type == "mps":  # has no float64
        logits_BV = logits_BV.cpu()
    if config.temperature == 0:
        return logits_BV.argmax(-1)
    size, indices_BK = logits_BV.shape[1], None
    if 0 < config.top_k < size or config.top_p < 1:
        logits_BV, indices_BK = logits_BV.topk(config.top_k if 0 < config.top_k < size else size)
    chances_BK = (logits_BV.double() / config.temperature).softmax(-1)
    if config.top_p < 1:
        before_BK = chances_BK.cumsum(-1) - chances_BK
        chances_BK = chances_BK.masked_fill(before_BK >= config.top_p, 0)
    sums_BK = chances_BK.cumsum(-1)
    limits_B1 = uniforms_B.to(sums_BK.device)[:, None] * sums_BK[:, -1:]
    drawn_B1 = torch.searchsorted(sums_BK, limits_B1, right=True)
    return (drawn_B1 if indices_BK is None else indices_BK.gather(1, drawn_B1))[:, 0]
