"""Files by their exact names, and files that a pattern matches, locally or in an object store.

Beam's file systems read every name as a pattern, when they list and even when they delete: in a folder ``out[1]`` they
find nothing. So the local disk is used directly here, and Beam gets the names of object stores with their signs
escaped. No other module calls Beam's file systems. Beam is imported where an object store is met: the command line
starts without it.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import uuid
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from gobelin.errors import MissingDataError

if TYPE_CHECKING:
    from apache_beam.io.filesystems import FileSystems

_SCHEME = re.compile(r"[a-zA-Z][-a-zA-Z0-9+.]*://")
_SIGNS = re.compile(r"[*?[]")
_AS_IT_IS = "uncompressed"
"""``CompressionTypes.UNCOMPRESSED`` of Beam."""
_SHARD = re.compile(r"part-(\d{5})-of-(\d{5})\.parquet")


def is_remote(path: str) -> bool:
    """Whether a path lies in an object store, as ``s3://`` and ``gs://`` do."""
    return _SCHEME.match(path) is not None


def use_file_systems(beam_args: Sequence[str]) -> None:
    """Tells the file systems of s3:// and gs:// what Beam's arguments say of them (endpoint, credentials). Without it
    they refuse to work in a process that has not made a pipeline."""
    from apache_beam.options.pipeline_options import PipelineOptions

    _beam().set_options(PipelineOptions(list(beam_args)))


def _beam() -> type[FileSystems]:
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def join(folder: str, *names: str) -> str:
    """Path of a name in a folder, on any file system."""
    return _beam().join(folder, *names) if is_remote(folder) else os.path.join(folder, *names)


def exists(path: str) -> bool:
    """Whether there is a file or folder of exactly this name."""
    return _beam().exists(path) if is_remote(path) else os.path.exists(path)


def make_folder(path: str) -> None:
    """Creates a folder with its parents; a folder that exists is fine."""
    if is_remote(path):
        with contextlib.suppress(OSError):  # Beam raises where it exists
            _beam().mkdirs(path)
    else:
        os.makedirs(path, exist_ok=True)


def open_input(path: str) -> BinaryIO:
    """Opens a file for reading as it lies there: a ``.gz`` name does not unpack, so offsets are the file's own."""
    if is_remote(path):
        return _beam().open(path, compression_type=_AS_IT_IS)
    return open(path, "rb")


def open_output(path: str) -> BinaryIO:
    """Opens a new file for writing; the folder is made where it is missing."""
    if is_remote(path):
        return _beam().create(path, compression_type=_AS_IT_IS)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    return open(path, "wb")


@contextlib.contextmanager
def atomic_output(path: str) -> Iterator[BinaryIO]:
    """A file that appears under its name only when written to the end. Any failure is raised."""
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        with open_output(temporary) as stream:
            yield stream
    except BaseException:
        with contextlib.suppress(Exception):
            _delete(temporary)
        raise
    if not is_remote(path):
        os.replace(temporary, path)
        return
    if exists(path):
        _delete(path)
    _beam().rename([temporary], [path])


def _delete(path: str) -> None:
    if is_remote(path):
        with _without_warnings():
            _beam().delete([_escaped(path)])
    else:
        os.unlink(path)


def files_in(folder: str) -> list[str]:
    """Paths of the files in a folder of exactly this name, sorted; none where there is no such folder."""
    if is_remote(folder):
        return sorted(_match(join(_escaped(folder), "*")))
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        return sorted(os.path.join(folder, entry.name) for entry in entries if entry.is_file())


def shard_path(folder: str, index: int, num_shards: int) -> str:
    """Path of one shard of a data set."""
    return join(folder, f"part-{index:05d}-of-{num_shards:05d}.parquet")


def list_shards(folder: str, *, may_be_unfinished: bool = False) -> list[str]:
    """Paths of a data set's shards, sorted.

    Args:
        may_be_unfinished: for who looks at a folder in any state: its stage may not have run, or not to its end. What
            is there is listed, if anything is.

    Raises:
        MissingDataError: there is no such data set, or only a part of it.
    """
    paths = [path for path in files_in(folder) if path.endswith(".parquet")]
    if may_be_unfinished:
        return paths
    if not paths:
        raise MissingDataError(f"{folder}: no data set is there; run the stage again that makes it")
    found = {shard_place(path) for path in paths}
    num_shards = max((number for _, number in found), default=0)
    if found != {(index, num_shards) for index in range(num_shards)}:
        raise MissingDataError(
            f"{folder}: {len(paths)} files, which are not the {num_shards} shards of one data set; delete the stage's "
            "folder and run the stage again"
        )
    return paths


def shard_place(path: str) -> tuple[int, int]:
    """(number of a shard, how many there are); (0, 1) of a file that is not named so: it is a data set by itself."""
    named = _SHARD.fullmatch(path.rpartition("/")[2])
    return (int(named[1]), int(named[2])) if named else (0, 1)


def read_tables(path: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of a Parquet file, one in memory at a time."""
    with open_input(path) as stream:
        file = pq.ParquetFile(stream)
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=columns)


def find_files(pattern: str) -> dict[str, int]:
    """Files and their sizes in bytes, by path: the one of exactly this name, or else those that the pattern matches.

    A pattern is read part by part, from the left. A part that names something that exists means that and nothing else,
    so ``crawl [2024]/*.warc.gz`` looks into the folder ``crawl [2024]``. In any other part ``*`` stands for
    any characters, ``?`` for one, ``[ab]`` for one of these; ``**`` also crosses folders. As in a shell, a sign at
    the beginning of a name does not stand for a dot.
    """
    if is_remote(pattern):
        exact = _match(_escaped(pattern)) if _SIGNS.search(pattern) else {}
        return exact or _match(pattern)
    absolute = pattern.startswith(os.sep)
    parts = [part for part in pattern.split(os.sep) if part]
    found = _walk(os.sep if absolute else "", parts) if parts else iter(())
    return {path: os.path.getsize(path) for path in found if os.path.isfile(path)}


def _match(pattern: str) -> dict[str, int]:
    with _without_warnings():
        return {each.path: each.size_in_bytes for each in _beam().match([pattern])[0].metadata_list}


def _walk(folder: str, parts: list[str]) -> Iterator[str]:
    """Paths below a folder that the parts of a pattern match. Unreadable folders have none."""
    if not parts:
        yield folder
        return
    first, rest = parts[0], parts[1:]
    if os.path.lexists(os.path.join(folder, first)):
        yield from _walk(os.path.join(folder, first), rest)
    elif "**" in first:
        from apache_beam.io.filesystem import FileSystem

        matches = re.compile(FileSystem.translate_pattern(os.sep.join(parts))).match
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


def _escaped(path: str) -> str:
    """A pattern that matches exactly this path."""
    return _SIGNS.sub(r"[\g<0>]", path)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Without what ``re`` says of the pattern ``[[]``, which Beam makes an expression of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
