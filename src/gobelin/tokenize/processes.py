"""The interface between a fit and the processes that share it. ``train/parallel.py`` implements it for ``torchrun``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Processes(Protocol):
    """Who fits. All must ask at the same places."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""

    @property
    def size(self) -> int:
        """How many there are."""

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Whether each flag is set in any process."""

    def wait(self) -> None:
        """Until all processes are here."""

    def add(self, tensor: Tensor) -> Tensor:
        """The sum over the processes, in place."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Alone:
    rank: int = 0
    size: int = 1

    def any(self, *flags: bool) -> tuple[bool, ...]:
        return flags

    def wait(self) -> None:
        pass

    def add(self, tensor: Tensor) -> Tensor:
        return tensor


ALONE: Processes = _Alone()
"""This process alone."""


def add_gradients(weights: Sequence[Tensor], processes: Processes) -> None:
    """Makes the gradient of each weight its sum over the processes, in one exchange."""
    if processes.size == 1:
        return
    gradients = [weight.grad if weight.grad is not None else torch.zeros_like(weight) for weight in weights]
    flat = processes.add(torch.cat([gradient.flatten() for gradient in gradients]))
    for weight, gradient, part in zip(weights, gradients, flat.split([each.numel() for each in gradients])):
        weight.grad = part.view_as(gradient)


def rows_of_all(rows_Md: Tensor, processes: Processes) -> Tensor:
    """The rows of all processes, in the order of the processes. Their numbers may differ."""
    if processes.size == 1:
        return rows_Md
    counts = torch.zeros(processes.size, dtype=torch.long, device=rows_Md.device)
    counts[processes.rank] = len(rows_Md)
    ends = processes.add(counts).cumsum(0).tolist()
    found = rows_Md.new_zeros(ends[-1], rows_Md.shape[1])
    found[ends[processes.rank] - len(rows_Md) : ends[processes.rank]] = rows_Md
    return processes.add(found)
