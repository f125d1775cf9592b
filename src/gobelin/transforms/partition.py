"""Partitions rows by a key in one pass over their files.

If each batch of a step needs the rows of some keys, each batch would have to read all files. Therefore the files are
partitioned before a step with several batches. They are read once, one row group at a time. Each part becomes a file,
and one batch reads it.

    files --row groups--> rows and the part of each (``Partitioner``) --> part-00000-of-P, part-00001-of-P ...

Memory is bounded. Beyond ``HELD_BYTES``, the rows of each part go to a temporary file, from which the part's file is
made at the end. (A Parquet writer keeps the metadata of its row groups until it is closed, so one open writer per part
would take memory that grows with the square of the rows.) Rows keep their order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import resource
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gobelin.data.ids import shard_of
from gobelin.store.dataset import data_output, shard_name
from gobelin.store.paths import join
from gobelin.store.shards import PLACE_OF_DECISION, ROW_GROUP_BYTES, shard_of_decision
from gobelin.store.tables import read_tables

HELD_BYTES = 8 * 2**20
"""Minimum number of bytes of rows, as Arrow stores them, that are buffered in memory."""

HELD_BYTES_PER_PART = 32 * 2**10
"""Minimum number of buffered bytes per part. To write a smaller piece takes longer than its bytes do."""

_MIN_RELEASE_BYTES = 2**20

Parts = npt.NDArray[np.intp]
"""The part of each row, shape (N,); -1 if the row is dropped."""


class Partitioner(Protocol):
    """Returns the rows to write (the same, some, or rows made from them) and the part of each. Must be picklable."""

    def __call__(self, table: pa.Table, /) -> tuple[pa.Table, Parts]: ...


Read = Callable[[str, list[str]], Iterator[pa.Table]]
"""(path, columns) -> tables, one at a time in memory. Must be picklable."""


@dataclasses.dataclass(frozen=True, slots=True)
class Split:
    """How to partition a data set."""

    name: str  # of the output data set
    columns: tuple[str, ...]  # of the input
    schema: pa.Schema  # of the output
    partitioner: Partitioner
    num_parts: int
    read: Read = read_tables


@dataclasses.dataclass(frozen=True, slots=True)
class ByShard:
    """Partitions by the shard of a column's value (``shard_of``). Rows without a value are dropped. With fewer parts
    than shards, part p of P holds the shards s with s % P = p."""

    column: str
    num_shards: int
    num_parts: int

    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        return table, self.of(table[self.column])

    def of(self, ids: pa.ChunkedArray) -> Parts:
        """The part of each id, shape (N,); -1 for null."""
        found = (-1 if each is None else shard_of(each, self.num_shards) % self.num_parts for each in ids.to_pylist())
        return np.fromiter(found, np.intp, len(ids))


@dataclasses.dataclass(frozen=True, slots=True)
class ByNumber:
    """Partitions by a column with the number of the part."""

    column: str

    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        return table, table[self.column].to_numpy().astype(np.intp)


@dataclasses.dataclass(frozen=True, slots=True)
class DecisionsByShard:
    """Partitions decisions as ``ByShard`` does, by the document or image that a decision is about."""

    num_shards: int
    num_parts: int

    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        rows = table.select(PLACE_OF_DECISION).to_pylist()
        return table, np.array([shard_of_decision(row, self.num_shards) % self.num_parts for row in rows], np.intp)


@dataclasses.dataclass(frozen=True, slots=True)
class BySlice:
    """Partitions by the first four digits of a column of hexadecimal digests. Rows without a digest are dropped. A row
    takes 0.05 us instead of the 0.7 us of ``ByShard``."""

    column: str
    num_parts: int  # [1, 65536]

    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        return table, slices_of(table[self.column], self.num_parts)


MAX_SLICES = 1 << 16


def slices_of(digests: pa.ChunkedArray, num_slices: int) -> Parts:
    """The slice of each digest, shape (N,); -1 for null."""
    beginnings = pc.utf8_slice_codeunits(digests, 0, 4).combine_chunks().dictionary_encode()
    numbers = [int(digits, 16) % num_slices for digits in beginnings.dictionary.to_pylist()]
    places = pc.fill_null(beginnings.indices, len(numbers)).to_numpy(zero_copy_only=False)
    return np.array([*numbers, -1], np.intp)[places]


def partition_files(folder: str, split: Split, paths: Sequence[str], held_bytes: int | None = None) -> None:
    """Partitions files into the data set ``split.name`` in ``folder``, one file per part.

    Args:
        folder: folder of the new data set.
        split: how to partition.
        paths: the files.
        held_bytes: as for ``PartBuffer``.
    """
    with PartBuffer(split.schema, split.num_parts, held_bytes) as buffer:
        for path in paths:
            for table in split.read(path, list(split.columns)):
                rows, parts = split.partitioner(table)
                buffer.add(rows.select(split.schema.names), parts)
                del table, rows, parts
        for index in range(split.num_parts):
            _make_file(join(folder, split.name), shard_name(index, split.num_parts), split.schema, buffer.take(index))
    release_memory()


def release_memory() -> None:
    """Returns free memory to the system. Tables that are allocated and freed leave holes in the heap, which the process
    would otherwise keep."""
    pa.default_memory_pool().release_unused()


class PartBuffer(contextlib.AbstractContextManager["PartBuffer"]):
    """Buffers rows by part. Rows beyond a number of bytes are kept in temporary files until the block ends.

    Args:
        schema: schema of the rows.
        num_parts: number of parts.
        held_bytes: bytes of rows that are buffered in memory; None: 8 MiB, or 32 KiB per part if that is more.
    """

    def __init__(self, schema: pa.Schema, num_parts: int, held_bytes: int | None = None) -> None:
        self._schema, self._num_parts = schema, num_parts
        self._held_bytes = max(HELD_BYTES, num_parts * HELD_BYTES_PER_PART) if held_bytes is None else held_bytes
        self._held: list[tuple[pa.Table, Parts]] = []  # (rows sorted by part, first row of each part and the end)
        self._num_held = 0
        self._stack = contextlib.ExitStack()
        self._spilled: list[_Spill] = []

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, rows: pa.Table, parts: Parts) -> None:
        """Adds rows to their parts."""
        order = np.flatnonzero(parts >= 0)
        order = order[np.argsort(parts[order], kind="stable")]
        if not len(order):
            return
        chosen = rows.take(pa.array(order))
        self._held.append((chosen, np.searchsorted(parts[order], np.arange(self._num_parts + 1))))
        self._num_held += chosen.nbytes
        if self._num_held > self._held_bytes:
            self._spill()

    def take(self, index: int) -> Iterator[pa.Table]:
        """The rows of a part in the order of ``add``, as tables. Call it once per part, after the last ``add``."""
        if self._spilled:
            yield from self._spilled[index].end()
        yield self._rows_of(index)

    def _spill(self) -> None:
        if not self._spilled:
            _raise_file_limit(self._num_parts)
            self._spilled = [_Spill(self._schema, self._stack) for _ in range(self._num_parts)]
        for index, spill in enumerate(self._spilled):
            spill.write(self._rows_of(index))
        self._held, self._num_held = [], 0
        release_memory()

    def _rows_of(self, index: int) -> pa.Table:
        pieces = [rows.slice(begins[index], begins[index + 1] - begins[index]) for rows, begins in self._held]
        return pa.concat_tables([self._schema.empty_table(), *pieces])


def _make_file(folder: str, name: str, schema: pa.Schema, pieces: Iterator[pa.Table]) -> None:
    with (
        data_output(folder, name) as file,
        pq.ParquetWriter(file.stream, schema, compression="zstd") as writer,
    ):
        for rows in _row_groups(pieces):
            writer.write_table(rows, row_group_size=rows.num_rows)
            file.num_rows += rows.num_rows
            if rows.nbytes > _MIN_RELEASE_BYTES:
                release_memory()


def _row_groups(pieces: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The rows of all pieces, in tables of about ``ROW_GROUP_BYTES``.

    Pieces are joined once, so the time grows with the number of small pieces, not with its square.
    """
    held: list[pa.Table] = []
    num_bytes = 0
    for piece in pieces:
        held.append(piece)
        num_bytes += piece.nbytes
        if num_bytes < ROW_GROUP_BYTES:
            continue
        rows = pa.concat_tables(held)
        while num_bytes >= ROW_GROUP_BYTES:
            num_rows = max(1, rows.num_rows * ROW_GROUP_BYTES // num_bytes)
            yield rows.slice(0, num_rows).combine_chunks()
            rows = rows.slice(num_rows)
            num_bytes = rows.nbytes
        held = [rows.combine_chunks()]
    if num_bytes:
        yield pa.concat_tables(held).combine_chunks()


class _Spill:
    """Rows of one part in an unnamed temporary file, which disappears with the process."""

    def __init__(self, schema: pa.Schema, stack: contextlib.ExitStack) -> None:
        self._file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # the stack closes it
        self._writer = pa.ipc.new_stream(self._file, schema)  # compressing a small piece takes longer than writing it

    def write(self, rows: pa.Table) -> None:
        if rows.num_rows:
            self._writer.write_table(rows.combine_chunks())

    def end(self) -> Iterator[pa.Table]:
        """Yields all rows, table by table, and closes the file."""
        self._writer.close()
        self._file.seek(0)
        with self._file, pa.ipc.open_stream(self._file) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])


def _raise_file_limit(num_files: int) -> None:
    """Raises the process's limit of open files by ``num_files``, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = num_files + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        new = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, new), hard))
