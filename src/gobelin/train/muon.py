"""Muon: momentum whose update is brought to singular values near 1 (Jordan et al., 2024), in float32 on any processor.

Differs from ``torch.optim.Muon`` in how it computes, not in what. Torch iterates in bfloat16, one matrix at a time;
a processor without bfloat16 instructions emulates it, which took three quarters of a training step. Here the
iterations run in float32 on the Gram matrices, which are square and of the smaller side, and all matrices of one
smaller side go through them as one batch. The scale of updates is AdamW's (arXiv 2502.16982), so both take one
learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic a x + b x^3 + c x^5 that pushes singular values in (0, 1] to about [0.7, 1.2] (Jordan et al.)."""

ITERATIONS = 5
RMS_OF_ADAMW = 0.2  # size of AdamW's usual update, which updates are scaled to (arXiv 2502.16982)
SMALLEST_NORM = 1e-7


class Muon(torch.optim.Optimizer):
    """For matrices. Nesterov momentum and decoupled weight decay."""

    def __init__(
        self, matrices: Iterable[torch.nn.Parameter], *, lr: float, weight_decay: float, momentum: float = 0.95
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step on all matrices that have a gradient; none where ``found_inf``, a tensor that GradScaler and
        ``optimizers.update`` set, is not zero. ``closure`` is not supported."""
        found_inf = getattr(self, "found_inf", None)
        for group in self.param_groups:
            matrices = [matrix for matrix in group["params"] if matrix.grad is not None]
            if not matrices:
                continue
            for matrix in matrices:
                if not self.state[matrix]:
                    self.state[matrix]["momentum_buffer"] = torch.zeros_like(matrix)
            gradients = [_local(matrix.grad) for matrix in matrices]
            buffers = [_local(self.state[matrix]["momentum_buffer"]) for matrix in matrices]
            if found_inf is not None:
                kept = 1 - found_inf
                gradients = [torch.where(found_inf > 0, buffer, each) for each, buffer in zip(gradients, buffers)]
            torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
            looked_ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])
            updates = _orthogonalized_together([_whole(each, of) for each, of in zip(looked_ahead, matrices)])
            sizes = [-group["lr"] * RMS_OF_ADAMW * math.sqrt(max(matrix.shape)) for matrix in matrices]
            for matrix, change, size in zip(matrices, updates, sizes, strict=True):
                decay = group["lr"] * group["weight_decay"]
                share, weights = _share(change, matrix), _local(matrix)
                if found_inf is None:
                    weights.mul_(1 - decay).add_(share, alpha=size)
                else:
                    weights.mul_(1 - decay * kept).add_(share * (size * kept))


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _whole(share: Tensor, of: Tensor) -> Tensor:
    """A tensor of which each process has the share that it has of another."""
    if not isinstance(of, DTensor):
        return share
    return DTensor.from_local(
        share, of.device_mesh, of.placements, run_check=False, shape=of.shape, stride=of.stride()
    ).full_tensor()


def _share(whole: Tensor, of: Tensor) -> Tensor:
    """The share of a whole tensor that this process has of another."""
    if not isinstance(of, DTensor):
        return whole
    return distribute_tensor(whole, of.device_mesh, of.placements, src_data_rank=None).to_local()


def _orthogonalized_together(matrices: Sequence[Tensor]) -> list[Tensor]:
    """``orthogonalized``, where processes that train together each take some of the matrices."""
    if not dist.is_initialized():
        return orthogonalized(matrices)
    rank, size = dist.get_rank(), dist.get_world_size()
    own = dict(zip(range(rank, len(matrices), size), orthogonalized(matrices[rank::size]), strict=True))
    found = [own[place].contiguous() if place in own else torch.empty_like(each) for place, each in enumerate(matrices)]
    sent = [dist.broadcast(each, place % size, async_op=True) for place, each in enumerate(found)]
    for each in sent:
        assert each is not None
        each.wait()
    return found


def orthogonalized(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Each matrix with the same singular vectors and all singular values near 1, by Newton-Schulz iterations.

    With X the matrix (wide, m x n), G = X X^T and P = a + b G + c G^2, an iteration is X <- P X. All P are polynomials
    in the first G and commute, so X is only needed at the end: Q <- P Q and G <- P G P lead there with m x m products.
    """
    a, b, c = COEFFICIENTS
    wide = [matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T for matrix in matrices]
    wide = [matrix / matrix.norm().clamp(min=SMALLEST_NORM) for matrix in wide]
    found: list[Tensor] = list(wide)
    for side in sorted({len(matrix) for matrix in wide}):
        places = [place for place, matrix in enumerate(wide) if len(matrix) == side]
        gram = torch.stack([wide[place] @ wide[place].T for place in places])
        product: Tensor | None = None
        for iteration in range(ITERATIONS):
            factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            factor.diagonal(dim1=1, dim2=2).add_(a)
            product = factor if product is None else factor @ product
            if iteration + 1 < ITERATIONS:
                gram = factor @ gram @ factor
        assert product is not None
        for place, each in zip(places, product, strict=True):
            found[place] = each @ wide[place]
    return [each if each.shape == matrix.shape else each.T for each, matrix in zip(found, matrices, strict=True)]
