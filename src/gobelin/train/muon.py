"""Muon: momentum whose update is orthogonalized to singular values near 1 (Jordan et al., 2024), in float32 on any
device.

It is cheaper than ``torch.optim.Muon`` for three reasons. Torch iterates in bfloat16, which processors without bfloat16
instructions must emulate. Here the iterations run in float32 on the Gram matrices, which are square with the smaller
side. Three iterations with optimal coefficients equal five of Jordan's. The rows of each attention head are a separate
matrix, whose smaller side is the head's width. Updates are scaled like AdamW's (arXiv 2502.16982), so both use the same
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

from gobelin.train import linear

COEFFICIENTS = ((8.0934, -23.6204, 17.4462), (3.6366, -2.7219, 0.5365), (2.6613, -1.9772, 0.4526))
"""Of the quintics a x + b x^3 + c x^5, one an iteration, that bring singular values in [0.01, 1] to [0.73, 1.27]: each
has the least greatest distance from 1 on what the one before leaves (arXiv 2505.16932; found by a linear program)."""

BATCHED_SIDE = 64
"""Matrices of a smaller side up to this go through the iterations as one batch where products are oneDNN's, larger ones
one by one. Elsewhere all go as one batch."""

RMS_OF_ADAMW = 0.2  # size of AdamW's usual update, which updates are scaled to (arXiv 2502.16982)
SMALLEST_NORM = 1e-7


class Muon(torch.optim.Optimizer):
    """Muon for matrices, with Nesterov momentum and decoupled weight decay.

    A parameter group may set ``block``, the (rows, columns) of the blocks that its matrices consist of. Each block is
    then orthogonalized separately.
    """

    def __init__(
        self,
        matrices: Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]],
        *,
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "block": None})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step on all matrices that have a gradient. Does nothing if ``found_inf`` is not zero, a tensor that
        GradScaler and ``optimizers.update`` set. ``closure`` is not supported."""
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
            whole = [_whole(each, of) for each, of in zip(looked_ahead, matrices)]
            updates = _orthogonalized_together(whole, group["block"])
            sizes = [-group["lr"] * RMS_OF_ADAMW * math.sqrt(max(group["block"] or each.shape)) for each in matrices]
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
    """The whole tensor of a shard that is sharded like ``of``."""
    if not isinstance(of, DTensor):
        return share
    return DTensor.from_local(
        share, of.device_mesh, of.placements, run_check=False, shape=of.shape, stride=of.stride()
    ).full_tensor()


def _share(whole: Tensor, of: Tensor) -> Tensor:
    """This process's shard of a whole tensor, sharded like ``of``."""
    if not isinstance(of, DTensor):
        return whole
    return distribute_tensor(whole, of.device_mesh, of.placements, src_data_rank=None).to_local()


def _orthogonalized_together(matrices: Sequence[Tensor], block: tuple[int, int] | None) -> list[Tensor]:
    """``orthogonalized`` blocks of matrices. Processes that train together share the work."""
    rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    stacks = orthogonalized([_blocks(matrix, block or matrix.shape) for matrix in matrices[rank::size]])
    own = {rank + size * place: stack for place, stack in enumerate(stacks)}
    found = [
        _whole_of(own[place], each.shape) if place in own else torch.empty_like(each)
        for place, each in enumerate(matrices)
    ]
    if size == 1:
        return found
    sent = [dist.broadcast(each, place % size, async_op=True) for place, each in enumerate(found)]
    for each in sent:
        assert each is not None
        each.wait()
    return found


def _blocks(matrix: Tensor, block: Sequence[int]) -> Tensor:
    """The blocks of a matrix, (B, rows, columns). A view if each block spans all rows or all columns."""
    rows, columns = block
    return matrix.unflatten(0, (-1, rows)).unflatten(2, (-1, columns)).transpose(1, 2).flatten(0, 1)


def _whole_of(blocks: Tensor, shape: torch.Size) -> Tensor:
    """The matrix that consists of these blocks."""
    columns = shape[1] // blocks.shape[2]
    return blocks.unflatten(0, (-1, columns)).transpose(1, 2).reshape(shape).contiguous()


def orthogonalized(stacks: Sequence[Tensor]) -> list[Tensor]:
    """Matrices with the same singular vectors and all singular values near 1, by Newton-Schulz iterations.

    With X a matrix (wide, m x n), G = X X^T and P = a + b G + c G^2, an iteration is X <- P X. All P are polynomials in
    the first G and commute, so X is only needed at the end: Q <- P Q and G <- P G P give the result with m x m
    products. X must first be divided by its norm, the root of G's trace; G and Q are divided in its place.

    Args:
        stacks: of matrices of equal shape, (B, rows, columns) each. Stacks with the same smaller side are batched.
    """
    wide = [stack if stack.shape[1] <= stack.shape[2] else stack.mT for stack in stacks]
    found = [torch.empty_like(stack) for stack in wide]
    for side in sorted({stack.shape[1] for stack in wide}):
        places = [place for place, stack in enumerate(wide) if stack.shape[1] == side]
        gram = torch.cat([_products(wide[place], wide[place].mT) for place in places])
        squares = gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None].clamp(min=SMALLEST_NORM**2)
        gram /= squares
        product = _polynomial(gram, *COEFFICIENTS[0])
        factor = product
        for coefficients in COEFFICIENTS[1:]:
            gram = _products(_products(factor, gram), factor)
            factor = _polynomial(gram, *coefficients)
            product = _products(factor, product)
        product /= squares.sqrt()
        for place, each in zip(places, product.split([len(wide[place]) for place in places]), strict=True):
            _products(each, wide[place], out=found[place])
    return [each if each.shape == stack.shape else each.mT for each, stack in zip(found, stacks, strict=True)]


def _polynomial(gram: Tensor, a: float, b: float, c: float) -> Tensor:
    """a + b G + c G^2 of each matrix."""
    found = _products(gram, gram).mul_(c).add_(gram, alpha=b)
    found.diagonal(dim1=1, dim2=2).add_(a)
    return found


def _products(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """Batched matrix products of two stacks."""
    if left.device.type != "cpu" or not linear.BY_ONEDNN or left.shape[1] <= BATCHED_SIDE:
        return torch.bmm(left, right, out=out)
    return torch.stack([linear.product(*each) for each in zip(left, right, strict=True)], out=out)
