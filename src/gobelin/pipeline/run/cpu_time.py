"""CPU time of this process and of all its descendants, such as workers and decoding processes."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from pathlib import Path


def tree_seconds() -> float:
    """CPU-seconds (user and system) of this process and its descendants, including ended descendants that were waited
    for. Without /proc, running descendants are not counted."""
    children: dict[int, list[int]] = defaultdict(list)
    ticks: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            pid = int(stat.parent.name)
            children[int(fields[1])].append(pid)
            ticks[pid] = sum(map(int, fields[11:15]))  # user, system; the same of children that were waited for
    total = sum(os.times()[:4])
    below = list(children[os.getpid()])
    while below:
        pid = below.pop()
        total += ticks[pid] / os.sysconf("SC_CLK_TCK")
        below += children[pid]
    return total
