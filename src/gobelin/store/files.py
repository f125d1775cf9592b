"""Files and folders by address, the same on a disk and on an object store. Everything gobelin stores goes through here.
Files on web servers can only be read.

A file is written whole or not at all. Its bytes are collected in a local temporary file. When they are complete, the
file takes its place in one step (a rename on a disk, one upload on a store). A writer that fails before leaves nothing
under the name. Errors are those of the operating system (``FileNotFoundError``, ``FileExistsError``,
``PermissionError``, ``OSError``) and name the address.
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
        FileNotFoundError: there is none.
        UserError: it holds no JSON; the message names it.
    """
    try:
        return json.loads(read_bytes(address))
    except ValueError as error:
        raise UserError(f"{address} is not JSON: {error}") from None


def open_input(address: str) -> BinaryIO:
    """Opens a file for reading as it lies there, with seek; a ``.gz`` name does not unpack."""
    if is_web(address):
        return web.open_reader(address)
    return remote.open_reader(address) if is_remote(address) else open(address, "rb")


class NewFile:
    """A file that is written piece by piece and appears under its name when it is closed.

    For writers that cannot be a ``with`` block. One that is never closed leaves a temporary file behind.
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
    """A file that appears under its name when the block ends, and not at all where the block raises."""
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
    """A local path to which libraries that know no store write a file; it appears at the address as with ``output``."""
    with _temporary(address) as (made, name):
        yield name
        if is_remote(address):
            with open(name, "rb") as stream:
                remote.put(address, stream)
        else:
            os.chmod(name, stat.S_IMODE(os.fstat(made.fileno()).st_mode))  # the library may have made another file
            os.replace(name, address)


def write_bytes(address: str, content: bytes) -> None:
    """Writes a file, whole or not at all."""
    if is_remote(address):
        remote.put(address, content)
        return
    with output(address) as stream:
        stream.write(content)


def write_json(address: str, value: Any) -> None:
    """Writes a value as indented JSON. A number that is not finite is an error: it would not be JSON."""
    write_bytes(address, to_json(value))


def to_json(value: Any) -> bytes:
    """A value as ``write_json`` writes it."""
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
    """A local path of a file or folder, for libraries that cannot read from an object store. A local address is its own
    copy. The copy of a remote one is deleted when the block ends."""
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
    """Copies a file to a local path; folders on the way are made."""
    os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
    with open_input(address) as stream, open(target, "wb") as copy:
        shutil.copyfileobj(stream, copy, _COPY_BYTES)


def size_of(address: str) -> int:
    """Bytes of a file.

    Raises:
        FileNotFoundError: there is none of this name.
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
    """What changes when a file's content does: its SHA-256 on a disk; on a store its size and tag, for which nothing
    of it is read."""
    if not is_remote(address):
        return digest_of(address)
    size, tag = remote.head(address)
    return f"{size} {tag}"


def exists(address: str) -> bool:
    """Whether there is a file of exactly this name. A pipe or a device does not count: it cannot be read twice."""
    try:
        if is_remote(address):
            remote.head(address)
            return True
        return stat.S_ISREG(os.stat(address).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_folder(address: str) -> bool:
    """Whether there is a folder of exactly this name. A store has the folders that something lies in."""
    if is_remote(address):
        return next(remote.list_files(address), None) is not None
    return os.path.isdir(address)


def list_files(folder: str) -> list[tuple[str, int]]:
    """(name within the folder, bytes) of every file below a folder, at any depth, sorted; empty where there is none.

    Files that are being written are passed over. Symlinks to folders are followed.
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
    """Addresses of the files directly in a folder of exactly this name, sorted; none where there is no such folder."""
    if is_remote(folder):
        return [join(folder, name) for name in remote.files_in(folder)]
    if not os.path.isdir(folder):
        return []
    names = sorted(name for name in os.listdir(folder) if not name.startswith(TEMPORARY_PREFIX))
    return [path for name in names if os.path.isfile(path := os.path.join(folder, name))]


def make_folder(folder: str) -> None:
    """Makes a folder with its parents; one that exists is fine, and on a store there is nothing to make."""
    if not is_remote(folder):
        os.makedirs(folder, exist_ok=True)


def delete(address: str) -> None:
    """Deletes a file, or a folder with all in it; one that is not there is fine."""
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
    """An open local file, and its name: beside ``address`` where that is local, so that it can be renamed to it, and
    with the permissions that a plain ``open`` gives. (To ask for the umask is to change it, for other threads too.)"""
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
