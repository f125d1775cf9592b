"""Beam steps that read and write data sets of small rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import apache_beam as beam
import pyarrow as pa

from gobelin.data.rows import DecisionRow
from gobelin.data.schemas import DECISIONS
from gobelin.store.paths import join
from gobelin.store.shards import Choice, read_rows, shard_of_decision, write_sorted
from gobelin.store.tables import shard_path


class ReadRows(beam.PTransform):
    """Paths of Parquet files -> their rows: all, or the chosen ones."""

    def __init__(self, paths: Iterable[str], columns: list[str] | None = None, only: Choice | None = None) -> None:
        self._paths, self._columns, self._only = list(paths), columns, only

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return (
            pipeline
            | "Paths" >> beam.Create(self._paths)
            | "Rows" >> beam.FlatMap(read_rows, self._columns, self._only)
        )


class WriteRows(beam.PTransform):
    """(shard, row) pairs of small rows -> a data set. Returns the paths.

    Rows are sorted by ``sort_by``; ties are broken by all other values. Use it for rows that may travel through a
    shuffle
    (decisions, tallies). Payloads go through a spool instead.

    Args:
        shards: the shards to write, with or without rows; None: all.
    """

    def __init__(
        self,
        folder: str,
        schema: pa.Schema,
        num_shards: int,
        sort_by: tuple[str, ...],
        shards: Iterable[int] | None = None,
    ) -> None:
        self._folder, self._schema, self._num_shards, self._sort_by = folder, schema, num_shards, sort_by
        self._shards = list(range(num_shards) if shards is None else shards)

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        return (
            (rows, empty_shards(rows.pipeline, self._shards))
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.ParDo(_WriteRowsOfShard(self._folder, self._schema, self._num_shards, self._sort_by))
        )


class WriteOneFile(beam.PTransform):
    """Small rows -> a data set of one file. Returns its path. ``sort_by``: as for ``WriteRows``."""

    def __init__(self, folder: str, schema: pa.Schema, sort_by: tuple[str, ...]) -> None:
        self._write = WriteRows(folder, schema, 1, sort_by)

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        return rows | "ToFile" >> beam.Map(_to_first_shard) | "Write" >> self._write


def _to_first_shard(row: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    return 0, row


@dataclasses.dataclass(frozen=True, slots=True)
class RowsOf:
    """A data set that ``WriteDataSets`` writes."""

    schema: pa.Schema
    sort_by: tuple[str, ...]


class WriteDataSets(beam.PTransform):
    """{name: PCollections of small rows} -> the data sets of these names in ``folder``, written as by ``WriteRows``.

    All data sets go through one shuffle. This costs a fraction of one shuffle for each, to build and to run.

    Args:
        shard: (row, number of shards) -> its shard.
    """

    def __init__(
        self, folder: str, num_shards: int, data_sets: dict[str, RowsOf], shard: Callable[[Mapping[str, Any], int], int]
    ) -> None:
        self._folder, self._num_shards, self._data_sets, self._shard = folder, num_shards, data_sets, shard

    def expand(self, rows: dict[str, tuple[beam.PCollection, ...]]) -> beam.PCollection:
        keyed = [
            collection | f"{name}/{number}" >> beam.Map(_by_data_set, name, self._shard, self._num_shards)
            for name, collections in rows.items()
            for number, collection in enumerate(collections)
        ]
        empty = [((name, index), None) for name in rows for index in range(self._num_shards)]
        return (
            (*keyed, keyed[0].pipeline | "Empty" >> beam.Create(empty, reshuffle=False))
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.ParDo(_WriteShardOfDataSet(self._folder, self._num_shards, self._data_sets))
        )


def _by_data_set(
    row: Mapping[str, Any], name: str, shard: Callable[[Mapping[str, Any], int], int], num_shards: int
) -> tuple[tuple[str, int], Mapping[str, Any]]:
    return (name, shard(row, num_shards)), row


DECISION_ORDER = ("doc_id", "node_index", "url")


class WriteDecisions(beam.PTransform):
    """Rows of ``DECISIONS`` -> a data set of them. ``shards``: as for ``WriteRows``."""

    def __init__(self, folder: str, num_shards: int, shards: Iterable[int] | None = None) -> None:
        self._write = WriteRows(folder, DECISIONS, num_shards, DECISION_ORDER, shards)
        self._num_shards = num_shards

    def expand(self, decisions: beam.PCollection) -> beam.PCollection:
        return decisions | "ToShard" >> beam.Map(_decision_to_shard, self._num_shards) | "Write" >> self._write


def _decision_to_shard(row: DecisionRow, num_shards: int) -> tuple[int, DecisionRow]:
    return shard_of_decision(row, num_shards), row


def empty_shards(pipeline: beam.Pipeline, shards: Iterable[int]) -> beam.PCollection:
    """(shard, None) for each shard, so that a shard without rows is still a file."""
    return pipeline | beam.Create([(index, None) for index in shards], reshuffle=False)


class _WriteShardOfDataSet(beam.DoFn):
    def __init__(self, folder: str, num_shards: int, data_sets: dict[str, RowsOf]) -> None:
        self._folder, self._num_shards, self._data_sets = folder, num_shards, data_sets

    def process(self, element: tuple[tuple[str, int], Iterable[Mapping[str, Any] | None]]) -> Iterator[str]:
        (name, index), rows = element
        path = shard_path(join(self._folder, name), index, self._num_shards)
        each = self._data_sets[name]
        write_sorted(path, (row for row in rows if row is not None), each.schema, each.sort_by)
        yield path


class _WriteRowsOfShard(beam.DoFn):
    def __init__(self, folder: str, schema: pa.Schema, num_shards: int, sort_by: tuple[str, ...]) -> None:
        self._folder, self._schema, self._num_shards, self._sort_by = folder, schema, num_shards, sort_by

    def process(self, element: tuple[int, Iterable[Mapping[str, Any] | None]]) -> Iterator[str]:
        index, rows = element
        path = shard_path(self._folder, index, self._num_shards)
        write_sorted(path, (row for row in rows if row is not None), self._schema, self._sort_by)
        yield path


Item = TypeVar("Item")


class InTurn(Generic[Item]):
    """Groups of (key, item) pairs that are sorted by key, read one key at a time in ascending order."""

    def __init__(self, pairs: Iterable[tuple[int, Item]]) -> None:
        self._pairs = iter(pairs)
        self._next = next(self._pairs, None)

    def of(self, key: int) -> Iterator[Item]:
        """The items with this key; empty if there are none. Keys must be requested in ascending order."""
        while self._next is not None and self._next[0] == key:
            yield self._next[1]
            self._next = next(self._pairs, None)
