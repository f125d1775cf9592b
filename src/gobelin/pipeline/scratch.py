"""Where a run keeps what only this machine needs: logs, counts of progress, temporary files."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable

from gobelin.errors import UserError
from gobelin.store.files import make_folder
from gobelin.store.paths import absolute, is_remote, join, name_of


def scratch_folder(output: str, given: str | None = None) -> str:
    """The local folder for logs and progress of a run: the one that was given, the output folder itself where that is
    local, or one in the user's cache that is named after the output folder.

    Args:
        output: local folder, or one on a store.
        given: ``--scratch``; where it is set, temporary files go there, too, of this process and its workers.
    """
    if given is not None:
        temporary = os.path.join(absolute(given), "tmp")
        try:
            make_folder(temporary)
        except OSError as error:
            raise UserError(f"--scratch {given}: cannot be made, or written into: {error.strerror}") from None
        os.environ["TMPDIR"] = tempfile.tempdir = temporary
    if not is_remote(output):
        return given or output
    folder = absolute(given) if given else os.path.join(_cache(), "gobelin")
    digest = hashlib.sha256(absolute(output).encode()).hexdigest()[:8]
    return join(folder, f"{name_of(output)}-{digest}")


def _cache() -> str:
    return os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")


def fullest_folder(folders: Iterable[str | None]) -> str:
    """Which of these folders, or of those that hold them, lies on the disk with the least room, and how much there is;
    the folder of temporary files is looked at, too."""
    free: dict[str, int] = {}
    for folder in (*folders, tempfile.gettempdir()):
        if folder and not is_remote(folder):
            there = existing_folder(folder)
            free[there] = shutil.disk_usage(there).free
    fullest = min(free, key=lambda folder: free[folder])
    return f"{fullest} ({free[fullest] / 1e6:,.1f} MB free)"


def existing_folder(folder: str) -> str:
    """A local folder, or the nearest above it that there is."""
    there = absolute(folder)
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    return there
