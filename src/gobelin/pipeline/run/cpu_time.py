"""CPU time of this process and of everything below it: workers, decoding processes, what they have waited for."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from pathlib import Path


def tree_seconds() -> float:
    """CPU-seconds (user and system) of this process, of its descendants, and of those of them that have ended and were
    waited for. Where there is no /proc, descendants count when they have ended."""
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
