"""Names of files and folders, patterns, and the shards of a data set, on a disk or in an object store."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from gobelin.errors import MissingDataError
from gobelin.store.dataset import paths_of, shard_name
from gobelin.store.files import exists, files_in, make_folder, open_input, size_of
from gobelin.store.paths import is_remote, join
from gobelin.store.remote import list_files as list_remote

__all__ = [
    "exists", "files_in", "find_files", "is_remote", "join", "list_shards", "make_folder",
    "open_input", "read_tables", "shard_path", "shard_place",
]  # fmt: skip

_SIGNS = re.compile(r"[*?[]")
_SHARD = re.compile(r"part-(\d{5})-of-(\d{5})\.parquet")


def shard_path(folder: str, index: int, num_shards: int) -> str:
    """Path of one shard of a data set."""
    return join(folder, shard_name(index, num_shards))


def list_shards(folder: str, *, may_be_unfinished: bool = False) -> list[str]:
    """Addresses of a data set's shards, as its manifest names them, sorted.

    Args:
        may_be_unfinished: for who looks at an output folder in any state: a data set that is not there has no shards.

    Raises:
        MissingDataError: there is no such data set, or it was not written to its end.
        DataError: its manifest cannot be read.
    """
    try:
        return paths_of(folder)
    except MissingDataError:
        if may_be_unfinished:
            return []
        raise


def shard_place(path: str) -> tuple[int, int]:
    """(number of a shard, how many there are); (0, 1) of a file that is not named so: it is a data set by itself."""
    named = _SHARD.fullmatch(path.rpartition("/")[2])
    return (int(named[1]), int(named[2])) if named else (0, 1)


def read_tables(path: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of a Parquet file, one in memory at a time.

    Raises:
        MissingDataError: it is not there, or damaged.
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


def find_files(pattern: str) -> dict[str, int]:
    """Files and their sizes in bytes, by path: the one of exactly this name, or else those that the pattern matches.

    A pattern is read part by part, from the left. On a disk, a part that names something that exists means that and
    nothing else, so ``crawl [2024]/*.warc.gz`` looks into the folder ``crawl [2024]``. In any other part ``*`` stands
    for any characters, ``?`` for one, ``[ab]`` for one of these; ``**`` also crosses folders. As in a shell, a sign at
    the beginning of a name does not stand for a dot.
    """
    if is_remote(pattern):
        return _find_remote(pattern)
    absolute = pattern.startswith(os.sep)
    parts = [part for part in pattern.split(os.sep) if part]
    found = _walk(os.sep if absolute else "", parts) if parts else iter(())
    return {path: os.path.getsize(path) for path in found if os.path.isfile(path)}


def _find_remote(pattern: str) -> dict[str, int]:
    """As ``find_files``: the object of exactly this name, or those below the part without signs that match."""
    with contextlib.suppress(FileNotFoundError):
        return {pattern: size_of(pattern)}
    if not _SIGNS.search(pattern):
        return {}
    parts = pattern.split("/")
    num_plain = next(index for index, part in enumerate(parts) if _SIGNS.search(part))
    folder, rest = "/".join(parts[:num_plain]), "/".join(parts[num_plain:])
    matches = _compiled(rest).fullmatch
    found = sorted(list_remote(folder))
    return {join(folder, name): size for name, size in found if matches(name) or matches(f"./{name}")}


def _compiled(pattern: str) -> re.Pattern[str]:
    """The expression of a pattern whose signs but ``**`` stay within a folder."""
    expression, position = "", 0
    while position < len(pattern):
        sign = pattern[position]
        closing = pattern.find("]", position + 2) if sign == "[" else -1
        if pattern.startswith("**", position):
            expression, position = expression + ".*", position + 2
        elif sign == "*":
            expression, position = expression + "[^/]*", position + 1
        elif sign == "?":
            expression, position = expression + "[^/]", position + 1
        elif closing > 0:
            inside = pattern[position + 1 : closing].replace("\\", r"\\")
            expression += f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
            position = closing + 1
        else:
            expression, position = expression + re.escape(sign), position + 1
    return re.compile(expression, re.S)


def _walk(folder: str, parts: list[str]) -> Iterator[str]:
    """Paths below a folder that the parts of a pattern match. Unreadable folders have none."""
    if not parts:
        yield folder
        return
    first, rest = parts[0], parts[1:]
    if os.path.lexists(os.path.join(folder, first)):
        yield from _walk(os.path.join(folder, first), rest)
    elif "**" in first:
        matches = _compiled(os.sep.join(parts)).fullmatch
        for parent, folders, names in os.walk(folder or "."):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = os.path.normpath(os.path.join(parent, name))
                below = os.path.relpath(path, folder or ".")
                if not name.startswith(".") and (matches(below) or matches(os.path.join(".", below))):
                    yield path
    elif _SIGNS.search(first):
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(folder or ".")):
                if fnmatch.fnmatchcase(name, first) and (first.startswith(".") or not name.startswith(".")):
                    yield from _walk(os.path.join(folder, name), rest)
