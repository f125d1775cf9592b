"""Rows dealt out to parts by a key, in one pass over their files.

A step whose batches each need the rows of some keys would read all files once a batch. Where there are several batches,
the files are dealt out before: they are read once, a row group at a time, and each part is a file that one batch reads.

    files --row groups--> rows and the part of each (``Deal``) --> part-00000-of-P, part-00001-of-P ...

What is held in memory is bounded: beyond ``HELD_BYTES`` all parts are written on, and stay open. Rows keep the order in
which they come.
"""

from __future__ import annotations

import contextlib
import dataclasses
import resource
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gobelin.data.ids import shard_of
from gobelin.store.dataset import NewDataFile, data_output, shard_name
from gobelin.store.paths import join
from gobelin.store.shards import PLACE_OF_DECISION, ROW_GROUP_BYTES, shard_of_decision
from gobelin.store.tables import read_tables

HELD_BYTES = 64 * 2**20
"""Bytes of rows, as Arrow holds them, that are collected before they are written."""

Parts = npt.NDArray[np.intp]
"""The part of each row, (N,); -1: the row goes nowhere."""


class Deal(Protocol):
    """Says where the rows of a table go: the rows that are written (the same, some, or others made of them), and the
    part of each. Must be picklable."""

    def __call__(self, table: pa.Table, /) -> tuple[pa.Table, Parts]: ...


Read = Callable[[str, list[str]], Iterator[pa.Table]]
"""(path, columns) -> tables, one in memory at a time. Must be picklable."""


@dataclasses.dataclass(frozen=True, slots=True)
class Split:
    """A data set that is dealt out."""

    name: str  # of what is written
    columns: tuple[str, ...]  # that are read
    schema: pa.Schema  # of what is written
    deal: Deal
    num_parts: int
    read: Read = read_tables


@dataclasses.dataclass(frozen=True, slots=True)
class ByShard:
    """By the shard that a column's value names (``shard_of``); rows without a value go nowhere. With fewer parts than
    shards, a part holds those shards whose number leaves its own when it is divided by the number of parts."""

    column: str
    num_shards: int
    num_parts: int

    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        return table, self.of(table[self.column])

    def of(self, ids: pa.ChunkedArray) -> Parts:
        """The part of each id; -1 where there is none."""
        found = (-1 if each is None else shard_of(each, self.num_shards) % self.num_parts for each in ids.to_pylist())
        return np.fromiter(found, np.intp, len(ids))


@dataclasses.dataclass(frozen=True, slots=True)
class ByNumber:
    """By a column that says the part."""

    column: str

    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        return table, table[self.column].to_numpy().astype(np.intp)


@dataclasses.dataclass(frozen=True, slots=True)
class DecisionsByShard:
    """As ``ByShard``, by what a decision is about."""

    num_shards: int
    num_parts: int

    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        rows = table.select(PLACE_OF_DECISION).to_pylist()
        return table, np.array([shard_of_decision(row, self.num_shards) % self.num_parts for row in rows], np.intp)


@dataclasses.dataclass(frozen=True, slots=True)
class BySlice:
    """By the first four digits of a column that holds digests in hexadecimal; rows without one go nowhere. 0.05 us a
    row instead of the 0.7 of ``ByShard``."""

    column: str
    num_parts: int  # [1, 65536]

    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        return table, slices_of(table[self.column], self.num_parts)


MAX_SLICES = 1 << 16


def slices_of(digests: pa.ChunkedArray, num_slices: int) -> Parts:
    """The slice of each; -1 where there is none."""
    beginnings = pc.utf8_slice_codeunits(digests, 0, 4).combine_chunks().dictionary_encode()
    numbers = [int(digits, 16) % num_slices for digits in beginnings.dictionary.to_pylist()]
    places = pc.fill_null(beginnings.indices, len(numbers)).to_numpy(zero_copy_only=False)
    return np.array([*numbers, -1], np.intp)[places]


def deal_out(folder: str, split: Split, paths: Sequence[str], held_bytes: int = HELD_BYTES) -> None:
    """Files -> the data set ``split.name`` in ``folder``, of a file a part."""
    with contextlib.ExitStack() as stack:  # files that are open learn of an error, and do not appear
        writer = _PartWriter(join(folder, split.name), split.schema, split.num_parts, held_bytes, stack)
        for path in paths:
            for table in split.read(path, list(split.columns)):
                rows, parts = split.deal(table)
                writer.write(rows.select(split.schema.names), parts)
        writer.finish()


class _PartWriter:
    """Writes rows to the files of their parts. Files that it keeps open are the stack's."""

    def __init__(
        self, folder: str, schema: pa.Schema, num_parts: int, held_bytes: int, stack: contextlib.ExitStack
    ) -> None:
        self._folder, self._schema, self._num_parts, self._held_bytes = folder, schema, num_parts, held_bytes
        self._held: list[tuple[pa.Table, Parts]] = []  # rows by part; where each part begins, and the end
        self._num_held = 0
        self._stack = stack
        self._open: list[_Part] = []

    def write(self, rows: pa.Table, parts: Parts) -> None:
        order = np.flatnonzero(parts >= 0)
        order = order[np.argsort(parts[order], kind="stable")]
        if not len(order):
            return
        chosen = rows.take(pa.array(order))
        self._held.append((chosen, np.searchsorted(parts[order], np.arange(self._num_parts + 1))))
        self._num_held += chosen.nbytes
        if self._num_held > self._held_bytes:
            self._write_on()

    def finish(self) -> None:
        """Writes what is held. One file is open at a time, where all fitted into memory."""
        if self._open:
            self._write_on()
            return
        for index in range(self._num_parts):
            with self._part(index) as part:
                self._write_part(part, index)

    def _write_on(self) -> None:
        if not self._open:
            _may_open(self._num_parts)
            self._open = [self._stack.enter_context(self._part(index)) for index in range(self._num_parts)]
        for index, part in enumerate(self._open):
            self._write_part(part, index)
        self._held, self._num_held = [], 0

    def _part(self, index: int) -> contextlib.AbstractContextManager[_Part]:
        return _new_part(self._folder, shard_name(index, self._num_parts), self._schema)

    def _write_part(self, part: _Part, index: int) -> None:
        pieces = [rows.slice(begins[index], begins[index + 1] - begins[index]) for rows, begins in self._held]
        part.write(pa.concat_tables([self._schema.empty_table(), *pieces]).combine_chunks())


@dataclasses.dataclass(slots=True)
class _Part:
    file: NewDataFile
    writer: pq.ParquetWriter

    def write(self, rows: pa.Table) -> None:
        if rows.num_rows:
            group = max(1, rows.num_rows * ROW_GROUP_BYTES // max(rows.nbytes, ROW_GROUP_BYTES))
            self.writer.write_table(rows, row_group_size=group)
            self.file.num_rows += rows.num_rows


@contextlib.contextmanager
def _new_part(folder: str, name: str, schema: pa.Schema) -> Iterator[_Part]:
    with data_output(folder, name) as new, pq.ParquetWriter(new.stream, schema, compression="zstd") as writer:
        yield _Part(new, writer)


def _may_open(num_files: int) -> None:
    """Lets this process open so many files more, as far as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = num_files + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        new = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, new), hard))
