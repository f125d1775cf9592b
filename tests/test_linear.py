"""Products by oneDNN: those of torch, gradients included; and on which processors there are any."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gobelin.train import linear
from gobelin.train.linear import Linear, gated, is_amd_with_avx512, product

needs_onednn = pytest.mark.skipif(linear._ONEDNN is None, reason="this torch has no oneDNN")


@pytest.mark.parametrize("by_onednn", [pytest.param(True, marks=needs_onednn), False], ids=["oneDNN", "torch"])
@pytest.mark.parametrize("shape", [(3, 40, 24, 16), (2, 9, 8, 56), (1, 1, 8, 8)], ids=["narrower", "wider", "one row"])
def test_a_layer_is_that_of_torch(
    shape: tuple[int, int, int, int], by_onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "BY_ONEDNN", by_onednn)
    rows, length, width, outputs = shape
    own, other = Linear(width, outputs), nn.Linear(width, outputs, bias=False)
    other.load_state_dict(own.state_dict())
    found = []
    for layer in (own, other):
        x = torch.randn(rows, length, width, generator=torch.Generator().manual_seed(0)).requires_grad_()
        y = layer(x)
        y.square().sum().backward()
        found.append([y.detach(), x.grad, layer.weight.grad])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


@needs_onednn
def test_which_products_are_handed_to_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[torch.Size] = []

    def noted(x: Tensor, weight: Tensor, *_: object) -> Tensor:
        calls.append(x.shape)
        return x @ weight.T

    monkeypatch.setattr(linear, "_ONEDNN", noted)
    monkeypatch.setattr(linear, "BY_ONEDNN", True)
    layer, x = Linear(8, 8), torch.randn(5, 8)
    with torch.no_grad():
        layer(x)
        assert calls == [x.shape]
        assert layer(x[:0]).shape == (0, 8)
        layer.double()(x.double())
        product(x.double(), x.double().T)
        with torch.autocast("cpu", torch.bfloat16):
            assert layer.float()(x).dtype == torch.bfloat16
        assert calls == [x.shape]
        product(x, x.T)
        assert calls == [x.shape, x.shape]
        monkeypatch.setattr(linear, "BY_ONEDNN", False)
        product(x, x.T)
        layer(x)
        assert calls == [x.shape, x.shape]


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9R14\nflags\t\t: fpu avx2 avx512f avx512dq\n", True),
        ("vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 7R13\nflags\t\t: fpu avx2\n", False),
        ("vendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R)\nflags\t\t: fpu avx2 avx512f\n", False),
        ("processor\t: 0\nCPU implementer\t: 0x41\n", False),
        (None, False),
    ],
    ids=["AMD", "AMD without AVX-512", "Intel", "ARM", "not Linux"],
)
def test_onednn_is_for_amd_with_avx512(cpuinfo: str | None, expected: bool, tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        path.write_text(cpuinfo, encoding="utf-8")
    assert is_amd_with_avx512(path) is expected


def test_the_gate_has_the_gradients_of_autograd() -> None:
    x = torch.randn(3, 5, 12, dtype=torch.float64, requires_grad=True)
    gate, up = x.chunk(2, -1)
    torch.testing.assert_close(gated(x), F.silu(gate) * up)
    assert torch.autograd.gradcheck(gated, x)
