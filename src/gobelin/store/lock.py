"""One writer at a time for a folder: ``flock`` on a local disk, a lease on an object store.

A lease is a file ``.gobelin-lease.json`` with an owner and an expiry time. A put that fails if the file exists takes
it. A put that fails if the file has changed renews it (S3: ``If-None-Match`` and ``If-Match``; Google Cloud Storage:
generations). If its owner has died, the lease expires, and another process may take it.
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
LEASE_SECONDS = 300.0
"""After so long without renewal a lease counts as left behind. It is renewed every third of this."""


class LockedError(UserError):
    """Another process writes to the folder. The message says who, since when, and what to do."""


class LeaseLostError(UserError):
    """Another process took the lease while it was held."""


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Locks the folder for this process while the block runs.

    Raises:
        LockedError: another process holds it.
    """
    with _lease(folder) if is_remote(folder) else _flock(folder):
        yield


@contextlib.contextmanager
def _flock(folder: str) -> Iterator[None]:
    make_folder(folder)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"{folder}: another gobelin is at work there; wait for it or choose another folder"
            ) from None
        except OSError:
            pass  # a file system without locks: nobody can be locked out
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
    held = {"owner": owner, "until": time.time() + LEASE_SECONDS, "machine": machine(), "pid": os.getpid()}
    return json.dumps(held).encode()


def machine() -> str:
    """A string that identifies this machine since its start, so that process ids can be compared."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            parts.append(stream.read().strip())
        parts.append(str(os.stat("/proc/self/ns/pid").st_ino))  # of this container
    return " ".join(parts)


def is_dead(held: dict[str, Any]) -> bool:
    """Whether the process ``pid`` ran on this machine (``machine``) and has ended."""
    if held.get("machine") != machine() or not isinstance(held.get("pid"), int):
        return False
    try:
        os.kill(held["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def holder(folder: str) -> tuple[str, float] | None:
    """(owner of the lease of a folder on an object store, seconds until it expires); None if there is no lease."""
    if not is_remote(folder):
        return None
    held = _read(join(folder, LEASE_NAME))
    return (str(held.get("owner", "unknown")), _seconds_left(held)) if held else None


def _seconds_left(held: dict[str, Any]) -> float:
    until = held.get("until")
    return until - time.time() if isinstance(until, int | float) else 0.0


def _take(folder: str, address: str, owner: str) -> str:
    """Takes the lease. Returns its tag."""
    try:
        return remote.put(address, _content(owner), only_if_absent=True)
    except FileExistsError:
        held, tag = _read(address), remote.head(address)[1]
    left = _seconds_left(held)
    if held.get("owner") != owner and left > 0 and not is_dead(held):  # ours where the answer to our put was lost
        raise LockedError(
            f"{folder}: another gobelin is at work there ({held.get('owner', 'unknown')}); its lease holds for "
            f"{left:.0f} more seconds. If it is dead, wait, or take the lease away: delete {address}"
        )
    try:
        return remote.put(address, _content(owner), tag=tag)
    except FileExistsError:
        raise LockedError(
            f"{folder}: another gobelin has just begun to work there; wait for it or choose another folder"
        ) from None


def _read(address: str) -> dict[str, Any]:
    try:
        value = json.loads(remote.read(address))
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


class _Lease(threading.Thread):
    """Renews a lease until told to stop."""

    def __init__(self, address: str, owner: str, tag: str) -> None:
        super().__init__(name="lease", daemon=True)
        self._address, self._owner, self._tag = address, owner, tag
        self._is_over = threading.Event()
        self.is_lost = False

    def run(self) -> None:
        while not self._is_over.wait(LEASE_SECONDS / 3):
            try:
                self._tag = remote.put(self._address, _content(self._owner), tag=self._tag)
            except FileExistsError:
                if _read(self._address).get("owner") != self._owner:
                    self.is_lost = True
                    return
                self._tag = remote.head(self._address)[1]
            except OSError:
                continue  # the store is away; the lease may run out, and then somebody may take it

    def end(self) -> None:
        self._is_over.set()
        self.join()
        if self.is_lost:
            raise LeaseLostError(f"{self._address} was taken by {_read(self._address).get('owner', 'somebody')}")
        delete(self._address)
