"""Data sets on disk: Parquet shards, and the rules that make them reproducible.

A data set is a folder of files such as ``part-00003-of-00008.parquet``. The row with id ``x`` is in part ``shard_of(x,
8)``. Rows are sorted by id, and row groups are cut by a byte budget. Nothing in a file depends on time, worker or
order, so equal input gives equal bytes.

Shuffles carry keys, never payloads, because a local shuffle holds four times its bytes in memory. So a payload (a
page's nodes, an image's bytes) is written to a *spool* when it is first read: a plain file of concatenated payloads,
with a random name, private to one bundle. Shuffles carry its ``SpoolRef``, and the writer of a shard reads the payloads
one at a time. A retried bundle leaves an orphaned spool that nothing refers to. Spools are deleted with the stage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gobelin.data.ids import shard_of
from gobelin.data.model import Decision, to_row
from gobelin.data.rows import DecisionRow
from gobelin.data.schemas import DECISIONS
from gobelin.store.dataset import data_output, shard_name
from gobelin.store.files import output
from gobelin.store.paths import join, name_of, parent_of
from gobelin.store.tables import list_shards, read_tables

ROW_GROUP_BYTES = 8 * 1024 * 1024
"""Uncompressed bytes after which a row group is cut: what a reader needs to hold of a file at once. A writer holds
several times as much: rows, an Arrow batch, the encoder's buffers."""


def write_rows(
    path: str, rows: Iterable[Mapping[str, Any]], schema: pa.Schema, metadata: dict[str, str] | None = None
) -> int:
    """Writes rows, in the given order, as one Parquet file. Returns their number.

    Args:
        metadata: key-value metadata of the file, added to the schema's own.
    """
    with output(path) as stream:
        return _write(stream, rows, schema, metadata)


def write_shard(
    path: str, rows: Iterable[Mapping[str, Any]], schema: pa.Schema, metadata: dict[str, str] | None = None,
    last: Callable[[], dict[str, str]] | None = None,
) -> int:  # fmt: skip
    """Like ``write_rows``, for a shard of an uncommitted data set. Also writes its receipt.

    Args:
        last: returns metadata that is known only after all rows are written.
    """
    with data_output(parent_of(path), name_of(path)) as new:
        new.num_rows = _write(new.stream, rows, schema, metadata, last)
    return new.num_rows


def write_tables(folder: str, shards: list[pa.Table]) -> None:
    """Writes a data set with one table per shard."""
    for index, table in enumerate(shards):
        with data_output(folder, shard_name(index, len(shards))) as new:
            pq.write_table(table, new.stream, compression="zstd")
            new.num_rows = table.num_rows


def _write(
    stream: BinaryIO, rows: Iterable[Mapping[str, Any]], schema: pa.Schema, metadata: dict[str, str] | None,
    last: Callable[[], dict[str, str]] | None = None,
) -> int:  # fmt: skip
    if metadata:
        schema = schema.with_metadata({**(schema.metadata or {}), **metadata})
    num_rows = 0
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for batch in _batches(rows, schema):
            writer.write_batch(batch, row_group_size=max(1, batch.num_rows))
            num_rows += batch.num_rows
        if last is not None:
            writer.add_key_value_metadata(last())
    return num_rows


def _batches(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Record batches of about ``ROW_GROUP_BYTES``. Their boundaries depend only on the rows."""
    held: list[Mapping[str, Any]] = []
    held_bytes = 0
    for row in rows:
        held.append(row)
        held_bytes += _approximate_bytes(row)
        if held_bytes >= ROW_GROUP_BYTES:
            yield pa.RecordBatch.from_pylist(held, schema=schema)
            held, held_bytes = [], 0
    if held:
        yield pa.RecordBatch.from_pylist(held, schema=schema)


def _approximate_bytes(value: Any) -> int:
    if isinstance(value, (bytes, str)):
        return len(value)
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(_approximate_bytes, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_approximate_bytes, value))
    return 8


@dataclasses.dataclass(frozen=True, slots=True)
class OfShards:
    """Selects the rows whose ``column`` belongs to some of ``num_shards`` shards; never a null."""

    column: str
    shards: frozenset[int]
    num_shards: int

    @property
    def is_all(self) -> bool:
        return len(self.shards) == self.num_shards

    def holds(self, value: str | None) -> bool:
        return value is not None and (self.is_all or shard_of(value, self.num_shards) in self.shards)

    def mask(self, values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """Whether each value is selected."""
        return pa.array(map(self.holds, values.to_pylist()), pa.bool_())


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """Selects the rows with a value in ``column``."""

    column: str

    def mask(self, values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """Whether each value is selected."""
        return pc.is_valid(values)


Choice = OfShards | Known


def read_rows(path: str, columns: list[str] | None = None, only: Choice | None = None) -> Iterator[Any]:
    """Yields the rows of a Parquet file. Holds one row group in memory.

    Args:
        only: selects rows; its column must be in ``columns``.
    """
    for table in read_tables(path, columns):
        yield from (table if only is None else table.filter(only.mask(table[only.column]))).to_pylist()


def shards_of(folders: Iterable[str], *names: str) -> list[str]:
    """Paths of the shards of these data sets in each folder."""
    return [path for folder in folders for name in names for path in list_shards(join(folder, name))]


def read_folder(folder: str, columns: list[str] | None = None) -> Iterator[Any]:
    """Yields the rows of a whole data set, shard after shard."""
    for path in list_shards(folder):
        yield from read_rows(path, columns)


class RowsByDocument:
    """Rows sorted by ``doc_id``, for a merge join with another sorted shard. Holds neither shard. Calls must have
    ascending ids."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._rows = iter(rows)
        self._next: Mapping[str, Any] | None = next(self._rows, None)

    def of(self, doc_id: str) -> list[Any]:
        """The rows of a document."""
        found = []
        while self._next is not None and (self._next["doc_id"] or "") <= doc_id:
            if self._next["doc_id"] == doc_id:
                found.append(self._next)
            self._next = next(self._rows, None)
        return found


def dropped_nodes(path: str) -> Iterator[Any]:
    """The decisions in a shard of ``select/decisions`` that dropped a node, with ``doc_id`` and ``node_index``."""
    rows = read_rows(path, ["unit", "action", "doc_id", "node_index"])
    return (row for row in rows if row["unit"] == "node" and row["action"] == "drop")


def write_decisions(path: str, decisions: Iterable[Decision]) -> None:
    """Writes a shard of decisions, in the given order."""
    write_shard(path, map(to_row, decisions), DECISIONS)


def shard_of_decision(row: DecisionRow, num_shards: int) -> int:
    """The shard of a row of ``DECISIONS``, by the id or URL of its subject."""
    return shard_of(row["doc_id"] or row["url"] or row["image_id"] or row["warc_file"] or "", num_shards)


PLACE_OF_DECISION = ("doc_id", "url", "image_id", "warc_file")
"""The columns that ``shard_of_decision`` looks at."""


def write_sorted(path: str, rows: Iterable[Mapping[str, Any]], schema: pa.Schema, sort_by: tuple[str, ...]) -> None:
    """Writes small rows, sorted like ``WriteRows``. The input may have any order."""
    write_shard(path, sorted(rows, key=lambda row: _sort_key(row, sort_by)), schema)


def _sort_key(row: Mapping[str, Any], sort_by: tuple[str, ...]) -> tuple[str, ...]:
    return (*(_sortable(row[name]) for name in sort_by), repr(sorted(row.items())))


def _sortable(value: Any) -> str:
    """A string that sorts like the value: nulls first, whole numbers by size."""
    if value is None:
        return ""
    return f"{value:020d}" if isinstance(value, int) else str(value)
