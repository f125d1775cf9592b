"""How torch runs on the CPU while something is fitted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

FIT_THREADS = 2
"""Threads of every fit whose number is no setting. Always the same: another number changes weights in their last bits,
and so the model would depend on the machine's cores. The second costs 10 % to 20 % more CPU time."""


@contextlib.contextmanager
def torch_threads(num_threads: int) -> Iterator[None]:
    """Run with this many threads of torch, then go back to the number before.

    Numbers below 1e-38 (denormals) count as 0 meanwhile: Intel's processors take a hundred times longer over them, and
    moving averages of gradients that are rarely updated, those of rare tokens, decay through this range. Threads that
    exist already keep their setting, so this must come before the first work in a process.
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
