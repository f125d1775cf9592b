"""One writer at a time for a folder: ``flock`` on a disk, a lease on an object store.

A lease is a file ``.gobelin-lease.json`` with an owner and a time until which it holds. It is taken by a put that fails
where there is one, and renewed by a put that fails where it is no longer ours (S3: ``If-None-Match`` and ``If-Match``;
Google Cloud Storage: generations). A lease that has run out, because its owner died, is taken over. ``break_lock``
takes one away from its owner.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from gobelin.errors import UserError
from gobelin.store import remote
from gobelin.store.files import delete, make_folder
from gobelin.store.paths import is_remote, join

LEASE_NAME = ".gobelin-lease.json"
LOCK_NAME = ".gobelin-lock"
LEASE_SECONDS = 300.0
"""After so long without renewal a lease counts as left behind. It is renewed every third of this."""


class LockedError(UserError):
    """Somebody else writes to the folder; the message says who, since when, and what to do."""


class LeaseLostError(UserError):
    """The lease was taken by somebody else while it was held."""


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Holds the folder for this process as long as the block runs.

    Raises:
        LockedError: another process holds it.
    """
    with _lease(folder) if is_remote(folder) else _flock(folder):
        yield


def break_lock(folder: str) -> bool:
    """Takes the lease of a folder away from whoever holds it. Returns whether there was one. (A lock on a disk ends
    with its process and needs no breaking.)"""
    if not is_remote(folder):
        return False
    try:
        remote.head(join(folder, LEASE_NAME))
    except FileNotFoundError:
        return False
    delete(join(folder, LEASE_NAME))
    return True


@contextlib.contextmanager
def _flock(folder: str) -> Iterator[None]:
    make_folder(folder)
    handle = os.open(os.path.join(folder, LOCK_NAME), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(handle, 200, 0).decode(errors="replace").strip()
            raise LockedError(
                f"another gobelin writes to {folder}" + (f" ({owner})" if owner else "") + "; wait until it ends"
            ) from None
        except OSError:
            pass  # a file system without locks: nobody can be locked out
        else:
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _lease(folder: str) -> Iterator[None]:
    address = join(folder, LEASE_NAME)
    owner = f"process {os.getpid()} on {socket.gethostname()}, {uuid.uuid4().hex[:8]}"
    lease = _Lease(address, owner, _take(folder, address, owner))
    lease.start()
    try:
        yield
    finally:
        lease.end()


def _content(owner: str) -> bytes:
    return json.dumps({"owner": owner, "until": time.time() + LEASE_SECONDS}).encode()


def _take(folder: str, address: str, owner: str) -> str:
    """Takes the lease; returns its entity tag."""
    try:
        return remote.put(address, _content(owner), only_if_absent=True)
    except FileExistsError:
        held, etag = _read(address), remote.head(address)[1]
    if held.get("owner") != owner:  # ours where the answer to our own put was lost
        left = float(held.get("until", 0.0)) - time.time()
        if left > 0:
            raise LockedError(
                f"another gobelin writes to {folder} ({held.get('owner', 'unknown')}); its lease holds for {left:.0f} "
                f"more seconds. If it is dead, wait, or take the lease away: delete {address}"
            )
    try:
        return remote.put(address, _content(owner), etag=etag)
    except FileExistsError:
        raise LockedError(f"another gobelin has just begun to write to {folder}; wait until it ends") from None


def _read(address: str) -> dict[str, Any]:
    try:
        value = json.loads(remote.read(address))
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


class _Lease(threading.Thread):
    """Renews a lease until it is told to end."""

    def __init__(self, address: str, owner: str, etag: str) -> None:
        super().__init__(name="lease", daemon=True)
        self._address, self._owner, self._etag = address, owner, etag
        self._is_over = threading.Event()
        self.is_lost = False

    def run(self) -> None:
        while not self._is_over.wait(LEASE_SECONDS / 3):
            try:
                self._etag = remote.put(self._address, _content(self._owner), etag=self._etag)
            except FileExistsError:
                if _read(self._address).get("owner") != self._owner:
                    self.is_lost = True
                    return
                self._etag = remote.head(self._address)[1]
            except OSError:
                continue  # the store is away; the lease may run out, and then somebody may take it

    def end(self) -> None:
        self._is_over.set()
        self.join()
        if self.is_lost:
            raise LeaseLostError(f"{self._address} was taken by {_read(self._address).get('owner', 'somebody')}")
        delete(self._address)
