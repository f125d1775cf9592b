"""Measures a step for bench/scale.py: CPU-seconds, memory, bytes written, requests to an object store."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gobelin.pipeline.run.cpu_time import tree_seconds
from gobelin.pipeline.run.supervisor import Supervisor
from gobelin.pipeline.run.worker import Task


@dataclasses.dataclass(slots=True)
class Cost:
    """Of one step."""

    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    passed_bytes: int = 0  # written for a later step alone (below a folder ``work``)
    kept_bytes: int = 0  # written to stay
    requests: Counter[str] = dataclasses.field(default_factory=Counter)  # by method


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What a run of one size cost."""

    size: int
    facts: dict[str, int]
    costs: dict[str, Cost]


class Meter:
    """Costs of steps, by title.

    Args:
        folder: in which what is written is counted; None: nothing is.
        count_requests: how many requests of each method there were so far.
    """

    def __init__(self, folder: str | None = None, count_requests: Callable[[], Counter[str]] = Counter) -> None:
        self.costs: dict[str, Cost] = {}
        self._folder, self._count_requests = folder, count_requests

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        cost = self.costs.setdefault(title, Cost())
        for pid in _tree():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")
        done = threading.Event()
        own = [0.0]
        watcher = threading.Thread(target=_watch, args=(cost, done, own))
        before, requests, start = tree_seconds(), self._count_requests(), time.time_ns()
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
            cost.cpu_seconds += tree_seconds() - before - own[0]
            cost.requests += self._count_requests() - requests
            if self._folder is not None:
                passed, kept = _written(self._folder, start)
                cost.passed_bytes += passed
                cost.kept_bytes += kept
            print(f"  {title}: {cost.cpu_seconds:.1f} s, {cost.peak_bytes >> 20} MiB", file=sys.stderr, flush=True)


def _watch(cost: Cost, done: threading.Event, own: list[float]) -> None:
    is_last = False
    while not is_last:
        is_last = done.wait(0.2)
        for pid in _tree():
            with contextlib.suppress(OSError, StopIteration):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
                cost.peak_bytes = max(cost.peak_bytes, peak * 1024)
    own[0] = time.thread_time()


def _tree() -> list[int]:
    """This process and all below it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, below = [], [os.getpid()]
    while below:
        pid = below.pop()
        found.append(pid)
        below += children.get(pid, ())
    return found


def _written(folder: str, since_ns: int) -> tuple[int, int]:
    """Bytes of files written since a moment: in folders named ``work``, and elsewhere."""
    passed = kept = 0
    for root, _, names in os.walk(folder):
        is_work = "work" in Path(root).relative_to(folder).parts
        for name in names:
            with contextlib.suppress(OSError):
                stat = os.stat(f"{root}/{name}")
                if stat.st_mtime_ns >= since_ns:
                    passed, kept = (passed + stat.st_size, kept) if is_work else (passed, kept + stat.st_size)
    return passed, kept


class Measured(Supervisor):
    """A supervisor whose steps are measured."""

    meter = Meter()

    def run(
        self,
        title: str,
        tasks: Sequence[Task],
        unit: str = "",
        total: int | None = None,
        threads: int = 1,
        before: int = 0,
    ) -> None:
        if tasks:
            with self.meter.step(title):
                super().run(title, tasks, unit, total, threads, before)
