"""Where a run keeps files that only this machine needs: logs, progress counts, temporary files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator

from gobelin.errors import UserError
from gobelin.store.paths import absolute, is_remote, join, name_of


def scratch_folder(output: str, given: str | None = None) -> str:
    """The local folder for logs and progress of a run: ``given``, or a local output folder itself, or else a folder in
    the user's cache that is named after the output folder.

    Args:
        output: local folder, or one on an object store.
        given: ``--scratch``.
    """
    if not is_remote(output):
        return given or output
    folder = absolute(given) if given else os.path.join(_cache(), "gobelin")
    return join(folder, f"{name_of(output)}-{_digest(output)}")


@contextlib.contextmanager
def temporary_files(output: str, given: str | None = None) -> Iterator[None]:
    """Gives this process and its workers a temporary folder of their own while the block runs.

    The folder is deleted at the end. If the command is killed, the next command on the same output folder deletes it
    (``sweep_temporary_files``).

    Args:
        given: ``--scratch``; None: the folder is in the system's folder for temporary files.

    Raises:
        UserError: the folder belongs to another user, or cannot be created.
    """
    before = os.environ.get("TMPDIR"), tempfile.tempdir
    of_output = os.path.join(absolute(given) if given else tempfile.gettempdir(), f"gobelin-{_digest(output)}")
    folder = os.path.join(of_output, str(os.getpid()))
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        what = f"--scratch {given}" if given else of_output
        raise UserError(f"{what}: cannot be made, or written into: {error.strerror}") from None
    if os.lstat(of_output).st_uid != os.getuid():
        raise UserError(f"{of_output} belongs to another user: give another folder for temporary files with --scratch")
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = before[1]
        os.environ.pop("TMPDIR")
        if before[0] is not None:
            os.environ["TMPDIR"] = before[0]
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # another command waits for the output folder
            os.rmdir(os.path.dirname(folder))


def sweep_temporary_files(output: str) -> None:
    """Deletes the temporary folders of killed earlier commands on this output folder. The caller must hold the folder's
    lock, within ``temporary_files``."""
    of_output = os.path.dirname(tempfile.gettempdir())
    if os.path.basename(of_output) != f"gobelin-{_digest(output)}":
        return
    for name in os.listdir(of_output):
        if not (name.isdigit() and _is_alive(int(name))):
            shutil.rmtree(os.path.join(of_output, name), ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _digest(output: str) -> str:
    return hashlib.sha256(f"{os.getuid()} {absolute(output)}".encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _cache() -> str:
    return os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")


def fullest_folder(folders: Iterable[str | None]) -> str:
    """The folder on the disk with the least free space, and that space. Considers these folders or their existing
    parents, and the folder of temporary files."""
    free: dict[str, int] = {}
    for folder in (*folders, tempfile.gettempdir()):
        if folder and not is_remote(folder):
            there = existing_folder(folder)
            free[there] = shutil.disk_usage(there).free
    fullest = min(free, key=lambda folder: free[folder])
    return f"{fullest} ({free[fullest] / 1e6:,.1f} MB free)"


def existing_folder(folder: str) -> str:
    """A local folder, or its nearest parent that exists."""
    there = absolute(folder)
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    return there
