"""Muon: the same updates as torch's, in float32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gobelin.train.muon import Muon, orthogonalized

SHAPES = [(24, 8), (8, 24), (8, 8), (8, 40), (12, 6)]


def _random(shape: tuple[int, int], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_singular_values_come_near_one() -> None:
    matrices = [_random(shape, seed) for seed, shape in enumerate(SHAPES)]
    for before, after in zip(matrices, orthogonalized(matrices), strict=True):
        assert after.shape == before.shape
        assert after.dtype == torch.float32
        values = torch.linalg.svdvals(after)
        assert values.min() > 0.6
        assert values.max() < 1.3
        # The same singular vectors: U^T after V is diagonal.
        u, _, vh = torch.linalg.svd(before, full_matrices=False)
        inner = u.T @ after @ vh.T
        assert (inner - torch.diag(inner.diagonal())).abs().max() < 1e-4


def test_directions_without_a_gradient_stay_so() -> None:
    one_row = torch.zeros(6, 10)
    one_row[2] = 1e-3
    zero, single = orthogonalized([torch.zeros(6, 10), one_row])
    assert torch.equal(zero, torch.zeros(6, 10))
    assert single.norm() == pytest.approx(torch.linalg.svdvals(single)[0].item(), rel=1e-5)
    assert single[[0, 1, 3, 4, 5]].abs().max() < 1e-6


def test_steps_are_those_of_torch() -> None:
    ours = [torch.nn.Parameter(_random(shape, seed)) for seed, shape in enumerate(SHAPES)]
    theirs = [torch.nn.Parameter(matrix.detach().clone()) for matrix in ours]
    spared = torch.nn.Parameter(_random((5, 4), 9))  # never has a gradient
    before = [matrix.detach().clone() for matrix in (*ours, spared)]
    own = Muon([*ours, spared], lr=0.02, weight_decay=0.1)
    other = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        for number, (one, two) in enumerate(zip(ours, theirs, strict=True)):
            one.grad = _random(tuple(one.shape), 100 * step + number)  # type: ignore[arg-type]
            two.grad = one.grad.clone()
        own.step()
        other.step()
    for one, two, start in zip(ours, theirs, before, strict=False):
        moved = (two - start).norm()
        assert (one - two).norm() < 0.02 * moved  # bfloat16 has three digits
    assert torch.equal(spared, before[-1])
