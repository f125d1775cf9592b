"""Reads foreign Parquet files, a few rows at a time, and writes those of exports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gobelin.data.rows import Row
from gobelin.errors import UserError
from gobelin.exchange.entry import Entry, EntryError, Origin
from gobelin.exchange.foreign_rows import attempt, damage_as_user_error
from gobelin.exchange.writing import Shard
from gobelin.store.files import open_input
from gobelin.store.paths import join, name_of
from gobelin.store.shards import write_rows

ROWS_AT_ONCE = 16
"""Rows that are read at once: few, because a row may hold a document's images."""

_COLUMN_BYTES = 4 * 1024 * 1024
"""Bytes of a column that are read at once. A foreign file may be one row group, which would not fit into memory."""


def write_split(shard: Shard, rows: Iterable[Row], schema: pa.Schema) -> None:
    """Writes a shard under a name that the package ``datasets`` assigns to the split ``train``."""
    name = f"train-{shard.index:05d}-of-{shard.num_shards:05d}.parquet"
    shard.written.rows += write_rows(join(shard.folder, "data", name), rows, schema)


def read_parquet(path: str, columns: tuple[str, ...], required: tuple[str, ...]) -> Iterator[Row]:
    """Yields rows with those of the columns that the file has. Other columns are missing from the rows.

    Raises:
        UserError: the file is not a Parquet file, or lacks a required column.
    """
    with damage_as_user_error(path, "Parquet"), open_input(path) as stream:
        file = pq.ParquetFile(stream, buffer_size=_COLUMN_BYTES, pre_buffer=False)
        names = file.schema_arrow.names
        held = [name for name in columns if name in names]
        if not set(required) <= set(held):
            shown = ", ".join(names[:20])
            raise UserError(f"{path}: lacks the columns {', '.join(required)}; its columns are {shown}")
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=held, use_threads=False):
            yield from batch.to_pylist()


def read_entries(
    path: str, columns: list[str], required: tuple[str, ...], entry_of_row: Callable[[Row, Origin], Entry]
) -> Iterator[Entry | EntryError]:
    """Yields the documents of a file with one document per row. Arguments and errors are those of ``read_parquet``."""
    for number, row in enumerate(read_parquet(path, tuple(columns), required)):
        yield attempt(entry_of_row, row, Origin(name_of(path), number))


def parallel_lists(row: Row) -> tuple[list[Any], list[Any]]:
    """``texts`` and ``images`` of a row: lists of equal length; at each place exactly one of the two is not null.

    Raises:
        EntryError: they are not.
    """
    texts, images = row.get("texts"), row.get("images")
    if not isinstance(texts, list) or not isinstance(images, list) or len(texts) != len(images):
        raise EntryError("malformed_row", "texts and images are not two lists of one length")
    if any((text is None) == (image is None) for text, image in zip(texts, images)):
        raise EntryError("malformed_row", "texts and images: at some place not exactly one of the two is null")
    return texts, images
