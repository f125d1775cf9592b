"""The steps of a stage, and how they become runs: the one place that knows whether a runner is local.

A step is one graph over some units (archives, shards, slices), and the data sets that it writes. Locally its units are
dealt out in batches, each a pipeline in a worker process; a foreign runner gets them all in one pipeline. When every
batch has ended, the data sets are committed, and only then the next step reads them. What was done before, by the
receipts and manifests of its data sets, is not done again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gobelin.pipeline.run.supervisor import Graph, StepFailedError, Supervisor
from gobelin.pipeline.run.worker import Task
from gobelin.store.dataset import Attempt, commit_shards, has_receipt, is_committed, shard_name
from gobelin.store.paths import join

_WORTH_A_BATCH = 32
"""Documents or images that take as long as a pipeline takes to build, or longer."""


@dataclasses.dataclass(frozen=True, slots=True)
class DataSet:
    """A data set that a step writes."""

    folder: str
    num_shards: int


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Units of a step that one pipeline does, with the job's paths and settings for them."""

    units: list[Any]
    job: Any
    writes: tuple[DataSet, ...] = ()  # data sets that this batch alone writes
    size: int = 0  # of the step's unit, how many are in it; 0: not known


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One graph over some units, and what it writes."""

    title: str
    graph: Graph
    batches: Sequence[Batch]
    writes: tuple[DataSet, ...] = ()  # data sets that all batches write together
    unit: str = ""  # what the progress bar counts
    total: int | None = None  # how many of them there are
    before: int = 0  # how many of them were done before, and are in no batch


def data_sets(folder: str | Attempt, num_shards: int, *names: str) -> tuple[DataSet, ...]:
    """Data sets of so many shards, in one folder, or of one attempt."""
    if isinstance(folder, Attempt):
        return tuple(DataSet(folder.data(name), num_shards) for name in names)
    return tuple(DataSet(join(folder, name), num_shards) for name in names)


class Plan:
    """Turns steps into runs."""

    def __init__(self, supervisor: Supervisor, workers: int) -> None:
        self._supervisor, self._workers = supervisor, workers

    def deal(
        self, units: Sequence[Any], size: int = 0, at_once: int = 0, workers: int | None = None
    ) -> list[list[Any]]:
        """Units dealt out to batches: as many as there are workers, or more, so that none holds too much.

        Args:
            size: of all units together (rows, documents), 0 if it is not known; a small one is not worth many batches.
            at_once: of it, what one batch may hold.
            workers: processes that are to work at a time, where they are not all.
        """
        if not self._supervisor.is_local:
            return [list(units)] if units else []
        most = min(self._workers, workers or self._workers)
        workers = min(most, -(-size // _WORTH_A_BATCH)) if size else most
        if at_once and size > at_once:
            return in_even_batches(units, max(workers, -(-size // at_once)))
        return in_batches(units, workers)

    def groups(self, batches: Sequence[list[Any]]) -> list[list[list[Any]]]:
        """Batches that are done together: each by itself, or all at once."""
        if not self._supervisor.is_local and batches:
            return [list(batches)]
        return [[batch] for batch in batches]

    def num_batches(self, size: int, at_once: int) -> int:
        """How many batches hold ``size`` (rows, documents), ``at_once`` in each."""
        return max(1, -(-size // at_once)) if self._supervisor.is_local else 1

    @property
    def num_workers(self) -> int:
        """Processes that work at a time, of a local run."""
        return self._workers

    @property
    def shares_batches(self) -> bool:
        """Whether one worker has all shards of a pipeline, and fills a model's batches across them."""
        return self._supervisor.is_local

    @property
    def is_one_process(self) -> bool:
        """Whether what needs the whole corpus may be done in one process here."""
        return self._supervisor.is_local

    def run(self, step: Step) -> None:
        """Runs what is not done of a step, and commits its data sets.

        Raises:
            StepFailedError: a batch failed, or left a data set unfinished.
        """
        writes = [*step.writes, *(data_set for batch in step.batches for data_set in batch.writes)]
        if is_complete(writes):
            return
        waiting = [batch for batch in step.batches if step.writes or not is_complete(batch.writes)]
        pairs = [(batch.units, batch.job) for batch in waiting]
        before = step.before + sum(batch.size for batch in step.batches) - sum(batch.size for batch in waiting)
        self._supervisor.run_graph(step.title, step.graph, pairs, step.unit, step.total, before)
        self._commit(step.title, writes)

    def call(
        self,
        title: str,
        function: Callable[..., None],
        arguments: tuple[Any, ...],
        writes: tuple[DataSet, ...],
        threads: int = 1,
        unit: str = "",
    ) -> None:
        """Calls a function that writes data sets, in one worker process, unless they are there."""
        if is_complete(writes):
            return
        self._supervisor.run(title, [Task(function.__name__.strip("_"), function, arguments)], unit, threads=threads)
        self._commit(title, writes)

    def _commit(self, title: str, writes: Iterable[DataSet]) -> None:
        for data_set in writes:
            if not commit_shards(data_set.folder, data_set.num_shards):
                raise StepFailedError(f"{title}: {data_set.folder} lacks a shard; this is a defect of gobelin")


def is_complete(writes: Iterable[DataSet]) -> bool:
    """Whether data sets are written to their ends; what is written and not committed is committed."""
    return all(commit_shards(data_set.folder, data_set.num_shards) for data_set in writes)


def shards_to_do(data_set: DataSet) -> list[int]:
    """Numbers of the shards of a data set that are not written yet."""
    if is_committed(data_set.folder):
        return []
    num_shards = data_set.num_shards
    return [index for index in range(num_shards) if not has_receipt(data_set.folder, shard_name(index, num_shards))]


def in_even_batches(units: Sequence[Any], num_batches: int) -> list[list[Any]]:
    """Units dealt out to at least so many batches, as far as there are units. Each but the last ones holds the same
    number of them: where 200 units are dealt out to 150 batches, some hold two, and take twice the memory."""
    size = max(1, len(units) // num_batches)
    return in_batches(units, -(-len(units) // size))


def in_batches(units: Sequence[Any], num_batches: int) -> list[list[Any]]:
    """Units dealt out to at most so many batches; none where there are none."""
    num_batches = max(1, min(num_batches, len(units)))
    return [list(units[first::num_batches]) for first in range(num_batches)] if units else []
