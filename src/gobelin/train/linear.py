"""Products of float32 matrices by oneDNN, on an AMD processor with AVX-512.

torch uses MKL for them, which does not use AVX-512 on AMD's processors. There it is 2.2 times slower than oneDNN, which
torch includes but uses only for other number types (``bench/train.py products`` measures both). On Intel's processors
MKL is faster by a factor of 1.1 to 1.4, and on AMD processors without AVX-512 by up to 1.6, most for the gradients of
weights. On all these processors, on other devices and under ``torch.compile``, this module uses torch's products.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CPUINFO = Path("/proc/cpuinfo")


def is_amd_with_avx512(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether Linux reports an AMD processor with AVX-512; False if it reports neither."""
    try:
        told = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "AuthenticAMD" in told and "avx512f" in told


_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
BY_ONEDNN = _ONEDNN is not None and is_amd_with_avx512()
"""Whether products are oneDNN's here."""


class Linear(nn.Linear):
    """``nn.Linear`` without a bias."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        if not _is_ours(input, self.weight):
            return super().forward(input)
        learns = torch.is_grad_enabled()  # else the way through autograd costs a tenth of a small model's token
        return _Linear.apply(input, self.weight) if learns else times_transposed(input, self.weight)


def product(a_MK: Tensor, b_KN: Tensor) -> Tensor:
    """The product of two matrices, without a gradient."""
    return times_transposed(a_MK, b_KN.T) if _is_ours(a_MK, b_KN) else a_MK @ b_KN


def gated(gate_up: Tensor) -> Tensor:
    """SwiGLU: SiLU of the first half (the gate) times the second half."""
    if torch.compiler.is_compiling():
        gate, up = gate_up.chunk(2, -1)
        return F.silu(gate) * up
    return _Gated.apply(gate_up)


class _Gated(torch.autograd.Function):
    """SwiGLU with half as many passes over memory as with autograd."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        gate, up = gate_up.chunk(2, -1)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        gate, up = gate_up.chunk(2, -1)
        found = torch.empty_like(gate_up)
        of_gate, of_up = found.chunk(2, -1)
        torch.mul(F.silu(gate), gradient, out=of_up)
        torch.ops.aten.silu_backward.grad_input(up * gradient, gate, grad_input=of_gate)
        return found


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(input, weight)
        return times_transposed(input, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        input, weight = ctx.saved_tensors
        of_output, of_input = gradient.flatten(0, -2).T, input.flatten(0, -2).T
        if len(of_output) < len(of_input):  # oneDNN likes the longer side behind
            of_weight = times_transposed(of_output, of_input)
        else:
            of_weight = times_transposed(of_input, of_output).T
        return times_transposed(gradient, weight.T), of_weight


def times_transposed(input: Tensor, weight: Tensor) -> Tensor:
    """The product of matrices and a transposed matrix by oneDNN: (..., K) and (N, K) -> (..., N)."""
    assert _ONEDNN is not None
    found: Tensor = _ONEDNN(input, weight, None, "none", [], "")
    return found


def _is_ours(*tensors: Tensor) -> bool:
    return (
        BY_ONEDNN
        and all(each.dtype == torch.float32 and each.device.type == "cpu" and each.numel() for each in tensors)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )
