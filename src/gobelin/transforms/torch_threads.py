"""Threads of torch on the CPU during a fit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

FIT_THREADS = 2
"""The number of threads of each fit without such a setting. It is constant, because another number changes the last
bits of weights, and the model would depend on the number of cores. The second thread costs 10 % to 20 % more CPU
time."""


@contextlib.contextmanager
def torch_threads(num_threads: int) -> Iterator[None]:
    """Runs a block with this number of torch threads, and restores the previous number afterwards.

    Denormal numbers (below 1e-38) count as 0 in the block. Intel processors need a hundred times longer for them, and
    the
    moving averages of gradients of rare tokens decay through this range. Existing threads keep their setting, so use
    this
    before the first torch computation of a process.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_flush_denormal(True)
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)
