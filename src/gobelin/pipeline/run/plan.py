"""The steps of a stage, and how they run. Only this module knows whether a runner is local.

A step is one graph over some units (archives, shards, slices) and the data sets that it writes. A local run divides the
units into batches, and each batch is a pipeline in a worker process. Another runner gets all units in one pipeline.
When every batch has ended, the data sets are committed, and then the next step reads them. Receipts and manifests of
data sets show what is done already, and it is not done again.
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
    """Units of a step for one pipeline, and the job with their paths and settings."""

    units: list[Any]
    job: Any
    writes: tuple[DataSet, ...] = ()  # data sets that this batch alone writes
    size: int = 0  # of the step's unit, how many are in it; 0: not known


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One graph over some units, and the data sets that it writes."""

    title: str
    graph: Graph
    batches: Sequence[Batch]
    writes: tuple[DataSet, ...] = ()  # data sets that all batches write together
    unit: str = ""  # what the progress bar counts
    total: int | None = None  # how many of them there are
    before: int = 0  # how many of them were done before, and are in no batch


def data_sets(folder: str | Attempt, num_shards: int, *names: str) -> tuple[DataSet, ...]:
    """Data sets with ``num_shards`` shards each, in one folder or of one attempt."""
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
        """Divides units into batches: one per worker, or more if a batch would be too large.

        Args:
            size: of all units together (rows, documents); 0 if unknown. A small size makes few batches.
            at_once: largest size of a batch.
            workers: number of processes that work at the same time, if not all.
        """
        if not self._supervisor.is_local:
            return [list(units)] if units else []
        most = min(self._workers, workers or self._workers)
        workers = min(most, -(-size // _WORTH_A_BATCH)) if size else most
        if at_once and size > at_once:
            return in_even_batches(units, max(workers, -(-size // at_once)))
        return in_batches(units, workers)

    def groups(self, batches: Sequence[list[Any]]) -> list[list[list[Any]]]:
        """Groups of batches that run together: one batch per group, or all batches in one group."""
        if not self._supervisor.is_local and batches:
            return [list(batches)]
        return [[batch] for batch in batches]

    def num_batches(self, size: int, at_once: int) -> int:
        """The number of batches for ``size`` rows or documents, with ``at_once`` per batch."""
        return max(1, -(-size // at_once)) if self._supervisor.is_local else 1

    @property
    def num_workers(self) -> int:
        """The number of processes of a local run that work at the same time."""
        return self._workers

    @property
    def shares_batches(self) -> bool:
        """Whether one worker has all shards of a pipeline, and fills a model's batches across shards."""
        return self._supervisor.is_local

    @property
    def is_one_process(self) -> bool:
        """Whether a computation over the whole corpus may run in one local process."""
        return self._supervisor.is_local

    def run(self, step: Step) -> None:
        """Runs the part of a step that is not done, and commits its data sets.

        Raises:
            StepFailedError: a batch failed, or left a data set incomplete.
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
        """Calls a function that writes data sets, in one worker process, unless the data sets exist."""
        if is_complete(writes):
            return
        self._supervisor.run(title, [Task(function.__name__.strip("_"), function, arguments)], unit, threads=threads)
        self._commit(title, writes)

    def _commit(self, title: str, writes: Iterable[DataSet]) -> None:
        for data_set in writes:
            if not commit_shards(data_set.folder, data_set.num_shards):
                raise StepFailedError(f"{title}: {data_set.folder} lacks a shard; this is a defect of gobelin")


def is_complete(writes: Iterable[DataSet]) -> bool:
    """Whether all shards of these data sets are written. Commits data sets that are written but not committed."""
    return all(commit_shards(data_set.folder, data_set.num_shards) for data_set in writes)


def shards_to_do(data_set: DataSet) -> list[int]:
    """Numbers of the shards of a data set that are not written yet."""
    if is_committed(data_set.folder):
        return []
    num_shards = data_set.num_shards
    return [index for index in range(num_shards) if not has_receipt(data_set.folder, shard_name(index, num_shards))]


def in_even_batches(units: Sequence[Any], num_batches: int) -> list[list[Any]]:
    """Divides units into at least ``num_batches`` batches, or into one per unit if there are fewer units. All but the
    last batches have equal sizes. (Dividing 200 units into exactly 150 batches would make some batches twice as large,
    with twice the memory.)"""
    size = max(1, len(units) // num_batches)
    return in_batches(units, -(-len(units) // size))


def in_batches(units: Sequence[Any], num_batches: int) -> list[list[Any]]:
    """Divides units into at most ``num_batches`` batches. No units make no batches."""
    num_batches = max(1, min(num_batches, len(units)))
    return [list(units[first::num_batches]) for first in range(num_batches)] if units else []
