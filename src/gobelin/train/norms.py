"""RMS norms and rotary positions, with hand-written gradients that need few passes over memory.

autograd stores the result of each operation and reads it again. On a CPU, such operations are memory-bound, and
explicit gradients take half to two thirds of the time. Other devices and ``torch.compile`` use torch's operations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

NORM_EPS = 1e-6


class RMSNorm(nn.RMSNorm):
    """``nn.RMSNorm`` over the last dimension (arXiv 1910.07467)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return _Norm.apply(x, self.weight) if _is_ours(x) else super().forward(x)


def turned(x_BTNK: Tensor, factors_N1: Tensor, rotation: Tensor) -> Tensor:
    """Each vector of K numbers, normalised to a root mean square of 1, times its head's factor, rotated to its
    position.

    Args:
        rotation: result of ``rotation_of``.
    """
    if _is_ours(x_BTNK):
        return _Turn.apply(x_BTNK, factors_N1, rotation)
    norms_BTN1 = torch.linalg.vector_norm(x_BTNK, dim=-1, keepdim=True, dtype=torch.float32)
    return rotate(x_BTNK * (factors_N1 * (norms_BTN1.square() / x_BTNK.shape[-1] + NORM_EPS).rsqrt()), rotation)


def rotate(x_BTNK: Tensor, rotation: Tensor) -> Tensor:
    """Rotates neighbouring pairs of each head by their angles. With complex numbers, this is one pass over memory."""
    if x_BTNK.device.type == "mps" or torch.compiler.is_compiling():  # which do not know complex numbers well
        (cos, sin), (a, b) = rotation.unbind(-1), x_BTNK.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
    return torch.view_as_real(_pairs(x_BTNK) * torch.view_as_complex(rotation)).flatten(-2)


def _pairs(x_BTNK: Tensor) -> Tensor:
    """Neighbouring numbers as one complex number."""
    return torch.view_as_complex(x_BTNK.unflatten(-1, (-1, 2)))


def _is_ours(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def _scales(x: Tensor) -> Tensor:
    """The factor that gives each vector a root mean square of 1."""
    norms = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norms.square_().div_(x.shape[-1]).add_(NORM_EPS).rsqrt_()


class _Norm(torch.autograd.Function):
    """y = w s x with s = (x.x / D + eps)^-1/2 and ds/dx = -s^3 x / D."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor) -> Tensor:
        scales = _scales(x)
        normed = x * scales
        ctx.save_for_backward(normed, scales, weight_D)
        return normed * weight_D

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        normed, scales, weight_D = ctx.saved_tensors
        of_weight = (gradient * normed).flatten(0, -2).sum(0)
        of_normed = gradient * weight_D
        along = torch.linalg.vecdot(of_normed, normed)[..., None].div_(-normed.shape[-1])
        return of_normed.addcmul_(normed, along).mul_(scales), of_weight


class _Turn(torch.autograd.Function):
    """A norm with one weight per head, followed by a rotation. The gradient is first rotated back."""

    @staticmethod
    def forward(ctx: Any, x_BTNK: Tensor, factors_N1: Tensor, rotation: Tensor) -> Tensor:
        scales_BTN1 = _scales(x_BTNK)
        ctx.save_for_backward(x_BTNK, scales_BTN1, factors_N1, rotation)
        found = x_BTNK * (factors_N1 * scales_BTN1)
        _pairs(found).mul_(torch.view_as_complex(rotation))
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x_BTNK, scales_BTN1, factors_N1, rotation = ctx.saved_tensors
        back_BTNK = _pairs(gradient.contiguous()) * torch.view_as_complex(rotation).conj()
        of_normed = torch.view_as_real(back_BTNK).flatten(-2)
        of_factors_BTN1 = torch.linalg.vecdot(of_normed, x_BTNK)[..., None] * scales_BTN1
        factors_BTN1 = factors_N1 * scales_BTN1
        along_BTN1 = of_factors_BTN1 * scales_BTN1 * factors_BTN1 / -x_BTNK.shape[-1]
        return of_normed.mul_(factors_BTN1).addcmul_(x_BTNK, along_BTN1), of_factors_BTN1.sum((0, 1)), None
