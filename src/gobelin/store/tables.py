"""The shards of a data set, and the row groups of a Parquet file."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from gobelin.errors import MissingDataError
from gobelin.store.dataset import paths_of, shard_name
from gobelin.store.files import open_input
from gobelin.store.paths import join

_SHARD = re.compile(r"part-(\d{5})-of-(\d{5})\.parquet")


def shard_path(folder: str, index: int, num_shards: int) -> str:
    """Path of one shard of a data set."""
    return join(folder, shard_name(index, num_shards))


def list_shards(folder: str, *, may_be_unfinished: bool = False) -> list[str]:
    """Addresses of a data set's shards, from its manifest, sorted.

    Args:
        may_be_unfinished: return no shards, instead of an error, if there is no such data set.

    Raises:
        MissingDataError: there is no such data set, or it is incomplete.
        DataError: its manifest cannot be read.
    """
    try:
        return paths_of(folder)
    except MissingDataError:
        if may_be_unfinished:
            return []
        raise


def shard_place(path: str) -> tuple[int, int]:
    """(index of a shard, number of shards); (0, 1) for a file with another name, which is a data set by itself."""
    named = _SHARD.fullmatch(path.rpartition("/")[2])
    return (int(named[1]), int(named[2])) if named else (0, 1)


def read_tables(path: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yields the row groups of a Parquet file. Holds one in memory at a time.

    Raises:
        MissingDataError: the file is missing or damaged.
    """
    try:
        stream = open_input(path)
    except FileNotFoundError:
        raise MissingDataError(
            f"{path} is missing, though its data set was complete; delete the folder of its stage and run it again"
        ) from None
    with stream:
        with _told_if_damaged(path):
            file = pq.ParquetFile(stream, pre_buffer=False)
        for group in range(file.num_row_groups):
            with _told_if_damaged(path):
                table = file.read_row_group(group, columns=columns, use_threads=False)
            yield table


def read_columns(path: str, columns: list[str]) -> pa.Table:
    """These columns of a Parquet file."""
    with open_input(path) as stream:
        return pq.read_table(stream, columns=columns)


def read_row_group(path: str, number: int, columns: list[str]) -> pa.Table:
    """One row group of a Parquet file that ``read_tables`` has read from. Raises MissingDataError if it is damaged."""
    with open_input(path) as stream, _told_if_damaged(path):
        return pq.ParquetFile(stream, pre_buffer=False).read_row_group(number, columns=columns, use_threads=False)


@contextlib.contextmanager
def _told_if_damaged(path: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:  # pyarrow's own have no number
        if isinstance(error, MemoryError) or getattr(error, "errno", None) is not None:
            raise
        reason = " ".join(str(error).split())[:200]
        raise MissingDataError(
            f"{path} is damaged ({reason}); delete the folder of its stage and run the stage again"
        ) from None
