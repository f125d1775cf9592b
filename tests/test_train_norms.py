"""Norms and rotations with gradients of their own are those of torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gobelin.train import norms
from gobelin.train.attention import rotation_of
from gobelin.train.norms import NORM_EPS, RMSNorm, rotate, turned


def _gradient(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_a_norm_is_that_of_torch() -> None:
    own, other = RMSNorm(12), nn.RMSNorm(12, eps=NORM_EPS)
    found = []
    for layer in (own, other):
        nn.init.uniform_(layer.weight, generator=torch.Generator().manual_seed(2))
        x = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(0)).requires_grad_()
        y = layer(x)
        y.backward(_gradient(3, 5, 12))
        with torch.no_grad():
            torch.testing.assert_close(layer(x), y)
        found.append([y.detach(), x.grad, layer.weight.grad])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_a_norm_of_bfloat16_is_that_of_torch() -> None:
    x = torch.randn(2, 12).bfloat16().requires_grad_()
    torch.testing.assert_close(RMSNorm(12).bfloat16()(x), nn.RMSNorm(12, eps=NORM_EPS).bfloat16()(x))


def test_gradients_are_the_slopes() -> None:
    x_BTNK = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    factors_N1 = torch.rand(4, 1, dtype=torch.float64, requires_grad=True)
    rotation = rotation_of(torch.tensor([[0, 1, 2], [0, 0, 7]]), 6).double()
    assert torch.autograd.gradcheck(lambda x, factors: turned(x, factors, rotation), (x_BTNK, factors_N1))
    assert torch.autograd.gradcheck(RMSNorm(6).double(), (x_BTNK,))


def test_no_vector_of_zeros_is_divided_by_zero() -> None:
    x = torch.zeros(2, 12, requires_grad=True)
    y = RMSNorm(12)(x)
    y.sum().backward()
    assert not y.any()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_turned_is_the_same_with_and_without_gradients_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    rotation = rotation_of(torch.arange(5)[None].expand(2, 5), 8)
    found = []
    for own in (True, False):
        monkeypatch.setattr(norms, "_is_ours", lambda _, own=own: own)
        x_BTNK = torch.randn(2, 5, 7, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
        factors_N1 = torch.linspace(0.5, 2, 3)[:, None].requires_grad_()
        y = turned(x_BTNK[:, :, :3], factors_N1, rotation)  # queries and keys stand before values
        y.backward(_gradient(2, 5, 3, 8))
        found.append([y.detach(), x_BTNK.grad, factors_N1.grad])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_pairs_are_rotated_alike_by_complex_and_by_real_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    x_BTNK, positions_BT = torch.randn(2, 5, 3, 8), torch.tensor([[0, 1, 2, 3, 4], [0, 1, 0, 1, 2]])
    rotation = rotation_of(positions_BT, 8)
    eager = rotate(x_BTNK, rotation)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(rotate(x_BTNK, rotation), eager)
    assert torch.equal(eager[:, 0], x_BTNK[:, 0])
