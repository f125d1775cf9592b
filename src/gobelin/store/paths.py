"""Addresses of files and folders: local paths, and URLs ``s3://bucket/key`` and ``gs://bucket/key``.

An address is a string, so that it can be sent to a worker in a job. Names are literal: no character is a pattern, a
query or an escape. ``out[1]``, ``a?b`` and ``50%`` mean themselves, on a local disk and on an object store.
"""

from __future__ import annotations

import os

SCHEMES = ("s3", "gs")
"""URL schemes of the object stores that gobelin reads and writes."""


def is_remote(address: str) -> bool:
    """Whether an address is that of an object store."""
    scheme, separator, _ = address.partition("://")
    return bool(separator) and scheme in SCHEMES


def is_web(address: str) -> bool:
    """Whether an address belongs to a web server, from which gobelin only reads."""
    scheme, separator, _ = address.partition("://")
    return bool(separator) and scheme in ("http", "https")


def join(folder: str, *names: str) -> str:
    """The address of a file or folder inside a folder. Names may contain slashes."""
    return "/".join((folder.rstrip("/") or "/", *names)) if is_remote(folder) else os.path.join(folder, *names)


def absolute(address: str) -> str:
    """An address that means the same in every process. Makes local paths absolute, and keeps symlinks."""
    if is_remote(address) or is_web(address):
        return address.rstrip("/")
    return os.path.abspath(os.path.expanduser(address.removeprefix("file://")))


def name_of(address: str) -> str:
    """The last part of an address."""
    return address.rstrip("/").rpartition("/")[2]


def parent_of(address: str) -> str:
    """The folder that holds a file or folder."""
    if is_remote(address):
        return address.rstrip("/").rpartition("/")[0]
    return os.path.dirname(address.rstrip("/"))


def split_remote(address: str) -> tuple[str, str]:
    """(``s3://bucket``, key) of a remote address; the key has no slash at its ends."""
    scheme, _, rest = address.partition("://")
    bucket, _, key = rest.partition("/")
    return f"{scheme}://{bucket}", key.strip("/")
