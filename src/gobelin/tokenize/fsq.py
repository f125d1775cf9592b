"""Finite scalar quantization (FSQ, Mentzer et al., arXiv 2309.15505): rounds each of the d numbers of a vector to a
level.

No codebook is learned. The K = L_1 x ... x L_d codes are the points of a grid, and an id is the position of a point in
mixed radix, with the first number fastest. So the codebook cannot collapse, and there is no commitment loss. Ids equal
those of the paper's code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

MARGIN = 1e-3
"""Relative margin of the bound, so that tanh reaches the outermost levels."""


class FiniteScalarQuantizer(nn.Module):
    """Rounds vectors of d = len(levels) numbers. It has no weights."""

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.num_codes = math.prod(levels)

    def bound(self, vectors_Md: Tensor) -> Tensor:
        """Maps any numbers to the open range whose rounding gives L values: [-(L-1)/2, (L-1)/2] for odd L, and the same
        shifted by -1/2 for even L, so that the values are integers."""
        levels_d = self._levels(vectors_Md)
        half_d = (levels_d - 1) * (1 + MARGIN) / 2
        offset_d = torch.where(levels_d % 2 == 0, 0.5, 0.0)
        shift_d = (offset_d / half_d).atanh()
        return (vectors_Md + shift_d).tanh() * half_d - offset_d

    def forward(self, vectors_Md: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The quantized vectors in [-1, 1] (straight-through gradient), their ids, and a loss of zero."""
        bounded_Md = self.bound(vectors_Md.float())
        rounded_Md = bounded_Md + (bounded_Md.round() - bounded_Md).detach()
        return rounded_Md / self._half(vectors_Md), self._ids(bounded_Md.round()), vectors_Md.new_zeros(())

    def nearest(self, vectors_Md: Tensor) -> Tensor:
        """Ids in [0, K) of these vectors, int64 of shape M."""
        return self._ids(self.bound(vectors_Md.float()).round())

    def vectors_of(self, ids_M: Tensor) -> Tensor:
        """The quantized vectors of ids, M x d in [-1, 1]."""
        levels_d = torch.tensor(self.levels, device=ids_M.device)
        places_Md = ids_M[:, None] // self._basis(ids_M) % levels_d
        half_d = levels_d // 2
        return (places_Md - half_d) / half_d

    def _ids(self, whole_Md: Tensor) -> Tensor:
        places_Md = (whole_Md + self._half(whole_Md)).long()
        return (places_Md * self._basis(places_Md)).sum(-1)

    def _levels(self, like: Tensor) -> Tensor:
        return torch.tensor(self.levels, device=like.device, dtype=torch.float32)

    def _half(self, like: Tensor) -> Tensor:
        return (self._levels(like) / 2).floor()

    def _basis(self, like: Tensor) -> Tensor:
        basis = [math.prod(self.levels[:index]) for index in range(len(self.levels))]
        return torch.tensor(basis, device=like.device)
