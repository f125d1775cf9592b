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
    matrices = [_random(shape, seed) for seed, shape in enumerate([*SHAPES, (80, 200), (160, 80)])]
    for before, (after,) in zip(matrices, orthogonalized([matrix[None] for matrix in matrices]), strict=True):
        assert after.shape == before.shape
        assert after.dtype == torch.float32
        values = torch.linalg.svdvals(after)
        assert values.min() > 0.7
        assert values.max() < 1.28
        # The same singular vectors: U^T after V is diagonal.
        u, _, vh = torch.linalg.svd(before, full_matrices=False)
        inner = u.T @ after @ vh.T
        assert (inner - torch.diag(inner.diagonal())).abs().max() < 1e-4


@pytest.mark.parametrize("size", [1e-5, 1e-2, 1e5])
def test_size_of_the_input_does_not_count(size: float) -> None:
    stacks = [torch.stack([_random(shape, seed) for seed in range(3)]) for shape in SHAPES]
    found = orthogonalized([stack * size for stack in stacks])
    for one, two in zip(found, orthogonalized(stacks), strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=0)


def test_directions_without_a_gradient_stay_so() -> None:
    one_row = torch.zeros(6, 10)
    one_row[2] = 1e-3
    ((zero, single),) = orthogonalized([torch.stack([torch.zeros(6, 10), one_row])])
    assert torch.equal(zero, torch.zeros(6, 10))
    assert single.norm() == pytest.approx(torch.linalg.svdvals(single)[0].item(), rel=1e-5)
    assert single[[0, 1, 3, 4, 5]].abs().max() < 1e-6


def test_steps_are_those_of_torch() -> None:
    """But for the iterations: their singular values are as far from 1, not in the same way."""
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
        own_move, other_move = one.detach() - start, two.detach() - start
        assert (own_move - other_move).norm() < 0.3 * other_move.norm()
        assert own_move.norm().item() == pytest.approx(other_move.norm().item(), rel=0.2)
    assert torch.equal(spared, before[-1])


def test_blocks_are_matrices_of_their_own() -> None:
    """A group of matrices of blocks moves as the blocks would alone."""
    for shape, block in (((12, 8), (4, 8)), ((8, 12), (8, 4))):
        whole = torch.nn.Parameter(torch.zeros(shape))
        whole.grad = _random(shape, 3)
        Muon([{"params": [whole], "block": block}], lr=0.02, weight_decay=0.0).step()
        side = 0 if shape[0] != block[0] else 1
        parts = [torch.nn.Parameter(torch.zeros(block)) for _ in range(3)]
        for part, gradient in zip(parts, whole.grad.chunk(3, side)):
            part.grad = gradient
        Muon(parts, lr=0.02, weight_decay=0.0).step()
        torch.testing.assert_close(whole.detach(), torch.cat([part.detach() for part in parts], side))
