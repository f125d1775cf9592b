"""Files and folders by address, with the same functions for a local disk and an object store. gobelin stores everything
through this module. Files on web servers can only be read.

A file is written atomically. Its bytes are collected in a local temporary file. When they are complete, the file takes
its place in one step (a rename on a disk, one upload on a store). If a writer fails before that, there is no file with
the name. Errors are those of the operating system (``FileNotFoundError``, ``FileExistsError``, ``PermissionError``,
``OSError``) and name the address.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO

from gobelin.errors import UserError
from gobelin.store import remote, web
from gobelin.store.paths import is_remote, is_web, join

TEMPORARY_PREFIX = ".gobelin-"
"""How the names of files that are being written begin. Such files belong to no data set; ``list_files`` passes over
them."""

_COPY_BYTES = 1 << 20


def read_bytes(address: str) -> bytes:
    """The content of a file."""
    if is_remote(address):
        return remote.read(address)
    if is_web(address):
        return web.read(address)
    with open(address, "rb") as stream:
        return stream.read()


def read_json(address: str) -> Any:
    """The value in a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file is not valid JSON.
    """
    try:
        return json.loads(read_bytes(address))
    except ValueError as error:
        raise UserError(f"{address} is not JSON: {error}") from None


def open_input(address: str) -> BinaryIO:
    """Opens a file for reading, with seek. Does not decompress ``.gz`` files."""
    if is_web(address):
        return web.open_reader(address)
    return remote.open_reader(address) if is_remote(address) else open(address, "rb")


class NewFile:
    """A file that is written piece by piece and appears when it is closed.

    For writers that cannot use a ``with`` block. If it is never closed, a temporary file remains.
    """

    def __init__(self, address: str) -> None:
        self._stack = contextlib.ExitStack()
        self._stream = self._stack.enter_context(output(address))

    def write(self, data: bytes) -> int:
        return self._stream.write(data)

    def close(self) -> None:
        self._stack.close()


@contextlib.contextmanager
def output(address: str) -> Iterator[BinaryIO]:
    """A file that appears when the block ends. If the block raises, there is no file."""
    with _temporary(address) as (stream, name):
        yield stream
        stream.flush()
        if is_remote(address):
            stream.seek(0)
            remote.put(address, stream)
        else:
            os.replace(name, address)


@contextlib.contextmanager
def local_output(address: str) -> Iterator[str]:
    """A local path for libraries that cannot write to an object store. The file appears at the address as with
    ``output``."""
    with _temporary(address) as (made, name):
        yield name
        if is_remote(address):
            with open(name, "rb") as stream:
                remote.put(address, stream)
        else:
            os.chmod(name, stat.S_IMODE(os.fstat(made.fileno()).st_mode))  # the library may have made another file
            os.replace(name, address)


def write_bytes(address: str, content: bytes) -> None:
    """Writes a file atomically."""
    if is_remote(address):
        remote.put(address, content)
        return
    with output(address) as stream:
        stream.write(content)


def write_json(address: str, value: Any) -> None:
    """Writes a value as indented JSON. A non-finite number is an error, because JSON has none."""
    write_bytes(address, to_json(value))


def to_json(value: Any) -> bytes:
    """The bytes that ``write_json`` writes."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def upload(source: str, address: str) -> None:
    """Copies a local file, or a local folder with all in it, to an address."""
    if os.path.isdir(source):
        for name, _ in list_files(source):
            upload(os.path.join(source, name), join(address, name))
        return
    with open(source, "rb") as stream, output(address) as copy:
        shutil.copyfileobj(stream, copy, _COPY_BYTES)


@contextlib.contextmanager
def local_copy(address: str) -> Iterator[str]:
    """A local path of a file or folder, for libraries that cannot read from an object store. A local address is
    returned unchanged. The copy of a remote one is deleted when the block ends."""
    if not is_remote(address):
        yield address
        return
    with tempfile.TemporaryDirectory(prefix="gobelin-") as folder:
        names = [name for name, _ in list_files(address)]
        target = os.path.join(folder, address.rstrip("/").rpartition("/")[2] or "root")
        if names:
            for name in names:
                download(join(address, name), os.path.join(target, name))
        else:
            download(address, target)
        yield target


def download(address: str, target: str) -> None:
    """Copies a file to a local path. Creates missing folders."""
    os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
    with open_input(address) as stream, open(target, "wb") as copy:
        shutil.copyfileobj(stream, copy, _COPY_BYTES)


def size_of(address: str) -> int:
    """Size of a file in bytes.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if is_remote(address):
        return remote.head(address)[0]
    if is_web(address):
        return web.facts_of(address).size
    if os.path.isdir(address):
        raise IsADirectoryError(21, "is a folder", address)
    return os.path.getsize(address)


def digest_of(address: str) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open_input(address) as stream:
        while part := stream.read(_COPY_BYTES):
            digest.update(part)
    return digest.hexdigest()


def tag_of(address: str) -> str:
    """A string that changes with a file's content: SHA-256 on a local disk; size and tag on an object store, without
    reading it."""
    if not is_remote(address):
        return digest_of(address)
    size, tag = remote.head(address)
    return f"{size} {tag}"


def exists(address: str) -> bool:
    """Whether there is a file of exactly this name. A pipe or a device does not count, because it cannot be read
    twice."""
    try:
        if is_remote(address):
            remote.head(address)
            return True
        return stat.S_ISREG(os.stat(address).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_folder(address: str) -> bool:
    """Whether there is a folder of exactly this name. On an object store, a folder exists if it holds an object."""
    if is_remote(address):
        return next(remote.list_files(address), None) is not None
    return os.path.isdir(address)


def list_files(folder: str) -> list[tuple[str, int]]:
    """(name relative to the folder, bytes) of every file below a folder, at any depth, sorted; empty if there is no
    folder.

    Ignores files that are being written. Follows symlinks to folders.
    """
    if is_remote(folder):
        return sorted(remote.list_files(folder))
    found = []
    for root, _, names in os.walk(folder, followlinks=True):
        for name in names:
            path = os.path.join(root, name)
            if not name.startswith(TEMPORARY_PREFIX) and os.path.isfile(path):
                found.append((os.path.relpath(path, folder).replace(os.sep, "/"), os.path.getsize(path)))
    return sorted(found)


def files_in(folder: str) -> list[str]:
    """Addresses of the files directly in a folder of exactly this name, sorted; empty if there is no such folder."""
    if is_remote(folder):
        return [join(folder, name) for name in remote.files_in(folder)]
    if not os.path.isdir(folder):
        return []
    names = sorted(name for name in os.listdir(folder) if not name.startswith(TEMPORARY_PREFIX))
    return [path for name in names if os.path.isfile(path := os.path.join(folder, name))]


def make_folder(folder: str) -> None:
    """Creates a folder with its parents. Does nothing if it exists, or on an object store."""
    if not is_remote(folder):
        os.makedirs(folder, exist_ok=True)


def delete(address: str) -> None:
    """Deletes a file, or a folder with its content. Does nothing if it does not exist."""
    if is_remote(address):
        remote.delete([join(address, name) for name, _ in remote.list_files(address)])
        remote.delete([address])
    elif os.path.isdir(address) and not os.path.islink(address):
        shutil.rmtree(address)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address)


@contextlib.contextmanager
def _temporary(address: str) -> Iterator[tuple[BinaryIO, str]]:
    """An open local file and its name. If ``address`` is local, the file is beside it, so that it can be renamed, and
    has the permissions of a plain ``open``. (Reading the umask would change it for a moment, for other threads too.)"""
    if is_remote(address):
        handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, suffix=".tmp")
    else:
        folder = os.path.dirname(os.path.abspath(address))
        os.makedirs(folder, exist_ok=True)
        name = os.path.join(folder, f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}.tmp")
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "w+b") as stream:
            yield stream, name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
