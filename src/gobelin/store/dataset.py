"""Data sets: a folder of files, and a manifest that names them. The manifest is the commit.

A data set exists when its manifest does. The manifest is written last, in one put. It names every file with its rows,
bytes and SHA-256. Readers follow it and never list the folder. So a file that a leftover job wrote later does not
belong to the data set, and a missing, truncated or changed file is an error that names it.

    FOLDER/_manifest.json
    FOLDER/part-00000-of-00008.parquet ...

Many processes on many machines may write the files of one data set. Each writes a *receipt* beside its file: a small
JSON file with the file's entry in the manifest. ``commit_shards`` reads the receipts of all expected names, writes the
manifest, and deletes the receipts. After a crash, the receipts show which files are complete.

    FOLDER/_receipts/part-00000-of-00008.parquet.json ...

Parquet readers ignore names that begin with ``_`` or ``.``, so ``pq.read_table(FOLDER)`` reads the data set.

The data sets of a stage are written by an *attempt*, which is named after the stage's settings and input. Each attempt
has a folder of its own, so a leftover job with other settings writes only into its own folder:

    FOLDER/_current.json           {"attempt": "3f9c2b7a01de45aa"}
    FOLDER/3f9c2b7a01de45aa/_manifest.json ...

Readers of FOLDER follow ``_current.json``, which is written when the stage is done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from gobelin.errors import DataError, MissingDataError, UserError
from gobelin.store.files import (
    delete,
    digest_of,
    exists,
    output,
    read_json,
    size_of,
    write_json,
)
from gobelin.store.paths import join, name_of, parent_of

MANIFEST_NAME = "_manifest.json"
CURRENT_NAME = "_current.json"
RECEIPTS_NAME = "_receipts"
_VERSION = 1
_READ_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class DataFile:
    """One file of a data set."""

    name: str  # within the folder of the data set
    num_rows: int
    num_bytes: int
    sha256: str  # hexadecimal


def commit(folder: str, files: Iterable[DataFile]) -> None:
    """Commits files in the folder as a data set.

    Raises:
        ValueError: two of them have the same name.
    """
    named = sorted(files)
    if len({file.name for file in named}) != len(named):
        raise ValueError(f"{folder}: two files of one name")
    write_json(
        join(folder, MANIFEST_NAME), {"version": _VERSION, "files": [dataclasses.asdict(file) for file in named]}
    )


def shard_name(index: int, num_shards: int) -> str:
    """Name of one shard of a data set."""
    return f"part-{index:05d}-of-{num_shards:05d}.parquet"


@dataclasses.dataclass(slots=True)
class NewDataFile:
    """A file of a data set that is being written. The writer fills ``stream`` and then sets the number of rows."""

    stream: BinaryIO
    num_rows: int = 0
    sha256: str = ""  # hexadecimal, once it is written


@contextlib.contextmanager
def data_output(folder: str, name: str) -> Iterator[NewDataFile]:
    """Writes a file of a data set atomically, and then its receipt."""
    delete(_receipt(folder, name))
    with output(join(folder, name)) as stream:
        new = NewDataFile(stream)
        yield new
        num_bytes, new.sha256 = _measure(stream)
    write_json(_receipt(folder, name), dataclasses.asdict(DataFile(name, new.num_rows, num_bytes, new.sha256)))


def _measure(stream: BinaryIO) -> tuple[int, str]:
    stream.flush()
    stream.seek(0)
    digest, num_bytes = hashlib.sha256(), 0
    while part := stream.read(_READ_BYTES):
        digest.update(part)
        num_bytes += len(part)
    return num_bytes, digest.hexdigest()


def _receipt(folder: str, name: str) -> str:
    return join(folder, RECEIPTS_NAME, f"{name}.json")


def has_receipt(folder: str, name: str) -> bool:
    """Whether a file of an uncommitted data set is complete."""
    return exists(_receipt(folder, name))


def commit_shards(folder: str, num_shards: int) -> bool:
    """Commits the data set of ``num_shards`` shards whose files are written. Does nothing if it is committed already.

    Returns:
        Whether it is committed; False if a shard is missing.
    """
    if is_committed(folder):
        return True
    files = []
    for index in range(num_shards):
        try:
            files.append(DataFile(**read_json(_receipt(folder, shard_name(index, num_shards)))))
        except FileNotFoundError:
            return False
    commit(folder, files)
    delete(join(folder, RECEIPTS_NAME))
    return True


def is_committed(folder: str) -> bool:
    """Whether the data set exists."""
    return exists(join(folder, MANIFEST_NAME)) or exists(join(folder, CURRENT_NAME))


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """The location where the data sets of a stage are written."""

    folder: str  # of the stage
    name: str  # empty: data sets lie in the folder itself
    others: tuple[tuple[str, str], ...] = ()  # (data set, attempt): made under settings of their own

    def data(self, name: str) -> str:
        """The folder of a data set of this attempt."""
        attempt = dict(self.others).get(name, self.name)
        return join(self.folder, name, attempt) if attempt else join(self.folder, name)


def make_current(folder: str) -> None:
    """Makes an attempt, ``DATA SET/ATTEMPT``, the current one of ``DATA SET``."""
    write_json(join(parent_of(folder), CURRENT_NAME), {"attempt": name_of(folder)})


def current(folder: str) -> str:
    """The folder that holds the files of a data set: the current attempt's folder, or the data set's own.

    Raises:
        MissingDataError: there is no such data set.
        DataError: ``_current.json`` is damaged.
    """
    if exists(join(folder, MANIFEST_NAME)):
        return folder
    address = join(folder, CURRENT_NAME)
    try:
        attempt = read_json(address)["attempt"]
    except FileNotFoundError:
        raise MissingDataError(
            f"{folder}: no data set is there ({MANIFEST_NAME} is missing); run the stage again that makes it"
        ) from None
    except (UserError, KeyError, TypeError):
        raise DataError(f"{address} names no attempt") from None
    if not isinstance(attempt, str) or not attempt.isalnum():
        raise DataError(f"{address} names no attempt")
    return join(folder, attempt)


def files_of(folder: str) -> list[DataFile]:
    """The files of a data set, sorted by name. Names are relative to ``current(folder)``.

    Raises:
        MissingDataError: there is no such data set.
        DataError: its manifest cannot be read.
    """
    return _files_of(current(folder))


def _files_of(folder: str) -> list[DataFile]:
    address = join(folder, MANIFEST_NAME)
    try:
        manifest = read_json(address)
    except FileNotFoundError:
        raise MissingDataError(
            f"{folder}: no data set is there ({MANIFEST_NAME} is missing); run the stage again that makes it"
        ) from None
    except UserError as error:
        raise DataError(str(error)) from None
    try:
        if manifest["version"] != _VERSION:
            raise DataError(f"{address} is of version {manifest['version']}; this gobelin reads {_VERSION}")
        return sorted(DataFile(**file) for file in manifest["files"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{address} is not a manifest: {error}") from None


def paths_of(folder: str) -> list[str]:
    """Addresses of the files of a data set, sorted by name.

    Raises:
        DataError: as in ``files_of``.
    """
    folder = current(folder)
    return [join(folder, file.name) for file in _files_of(folder)]


def num_rows_of(folder: str) -> int:
    """Number of rows of a data set, from its manifest."""
    return sum(file.num_rows for file in files_of(folder))


def check(folder: str) -> Iterator[str]:
    """Yields a sentence for each problem of a data set. Reads all files.

    Raises:
        DataError: there is no data set, or its manifest cannot be read.
    """
    folder = current(folder)
    for file in _files_of(folder):
        problem = _problem_of_size(folder, file)
        if problem:
            yield problem
        elif digest_of(join(folder, file.name)) != file.sha256:
            yield f"{join(folder, file.name)} was altered: its SHA-256 is not the one in the manifest"


def _problem_of_size(folder: str, file: DataFile) -> str | None:
    address = join(folder, file.name)
    try:
        size = size_of(address)
    except FileNotFoundError:
        return f"{address} is missing"
    if size != file.num_bytes:
        return f"{address} has {size:,} bytes; its manifest says {file.num_bytes:,}"
    return None
