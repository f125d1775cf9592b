"""Finds a few rows of a large data set by their ids, without reading the others.

The id of a row determines its shard. In the shard, only row groups whose smallest and largest id enclose it are read.
So one image costs one row group, on a local disk and on an object store.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gobelin.data.ids import shard_of
from gobelin.store.files import open_input
from gobelin.store.tables import list_shards, shard_place

Mask = Callable[[pa.ChunkedArray], pa.Array | pa.ChunkedArray]
"""A column -> whether each of its values is wanted."""


def rows_with_ids(folder: str, id_column: str, wanted: set[str], columns: list[str] | None = None) -> Iterator[Any]:
    """Yields the rows of a data set with these ids, if it exists.

    Args:
        id_column: whose hash determines the shard of a row; rows without an id are elsewhere.
        columns: to read; None: all.
    """
    for path in list_shards(folder, may_be_unfinished=True) if wanted else []:
        index, num_shards = shard_place(path)
        own = sorted(each for each in wanted if shard_of(each, num_shards) == index)
        if own:
            is_own = functools.partial(pc.is_in, value_set=pa.array(own, pa.string()))
            yield from _rows_of_file(path, id_column, is_own, columns, own)


def rows_where(folder: str, column: str, mask: Mask, columns: list[str] | None = None) -> Iterator[Any]:
    """Yields the rows of a data set whose value of ``column`` is selected, if it exists.

    Args:
        columns: to read; None: all.
    """
    for path in list_shards(folder, may_be_unfinished=True):
        yield from _rows_of_file(path, column, mask, columns)


def _rows_of_file(
    path: str, name: str, mask: Mask, columns: list[str] | None, ids: list[str] | None = None
) -> Iterator[Any]:
    """Yields the rows whose value of ``name`` is selected: one of ``ids``, if given."""
    with open_input(path) as stream:
        file = pq.ParquetFile(stream, pre_buffer=False)
        for group in range(file.num_row_groups):
            if ids is not None and not _may_hold(file, group, name, ids):
                continue
            is_wanted = mask(file.read_row_group(group, [name], use_threads=False)[name])
            if pc.any(is_wanted).as_py():
                yield from file.read_row_group(group, columns, use_threads=False).filter(is_wanted).to_pylist()


def _may_hold(file: pq.ParquetFile, group: int, name: str, values: list[str]) -> bool:
    """Whether one of the values is between the minimum and the maximum of a column in a row group."""
    meta = file.metadata.row_group(group)
    place = next(index for index in range(meta.num_columns) if meta.column(index).path_in_schema == name)
    statistics = meta.column(place).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    return any(statistics.min <= value <= statistics.max for value in values)
