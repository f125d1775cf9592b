"""Errors that are meant for people.

The command line shows a ``UserError`` as one line and ends with exit code 2. Any other exception is a defect of
gobelin: it ends with exit code 1 and says where the traceback lies. Code that raises a ``UserError`` has checked what
was given.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
import traceback
from pathlib import Path

_OF_THE_MACHINE = frozenset(
    {
        errno.EACCES, errno.EDQUOT, errno.EIO, errno.ELOOP, errno.EMFILE, errno.ENAMETOOLONG, errno.ENFILE,
        errno.ENODEV, errno.ENOMEM, errno.ENOSPC, errno.ENXIO, errno.EPERM, errno.EROFS, errno.ESTALE, errno.ETIMEDOUT,
    }
)  # fmt: skip
"""Errors of the operating system that say what is wrong with a disk, a name or its rights: no defect of gobelin."""

_OF_A_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)

_FULL = os.strerror(errno.ENOSPC)

DEFECT = "this is a defect of gobelin, please report it"


class UserError(ValueError):
    """What was given cannot be used; the message says what it is, why, and what to do."""


class DataError(UserError):
    """A data set is not what it should be; the message names the file or folder."""


class MissingDataError(DataError):
    """A data set that should be there is not, or not all of it; the message names its folder."""


class DivergedError(UserError):
    """A fit whose loss, gradient or weights are not finite; they were not written. The message names the
    step, the reason and what is left."""


def is_of_the_machine(error: BaseException) -> bool:
    """Whether an error is one of the disk, of rights or of memory, which the user can mend and gobelin cannot."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _OF_THE_MACHINE)


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it comes from, is that of a disk without room, or of a quota that is used up.

    Beam and other libraries raise their own errors in its place; of some, only the message tells.
    """
    while error is not None:
        if (isinstance(error, OSError) and error.errno in _OF_A_FULL_DISK) or _FULL in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def in_a_line(error: BaseException) -> str:
    """An error as people are shown it: what a ``UserError`` says, and of others their type too. Signs that steer a
    terminal become question marks: a message may quote what somebody on the web wrote."""
    text = " ".join(line.strip() for line in _BY_BEAM.sub("", str(error)).splitlines())
    text = "".join(sign if sign.isprintable() else "?" for sign in text)
    if isinstance(error, UserError):
        return text
    if isinstance(error, MemoryError):
        return "out of memory" + (f": {text}" if text else "")
    if is_of_the_machine(error):
        return text
    return type(error).__name__ + (f": {text[:500]}" if text else "")


_BY_BEAM = re.compile(r" \[while running '[^']*'\]")
"""What Beam adds to an error in one of its steps."""


def write_traceback(folder: str | None) -> Path:
    """Writes down the exception that is being handled: into the logs of a local folder where it has some."""
    text = traceback.format_exc()
    if folder is not None and any(Path(folder, name).exists() for name in ("run.json", "logs")):
        with contextlib.suppress(OSError):
            path = Path(folder, "logs", "traceback.log")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="replace")
            return path
    handle, name = tempfile.mkstemp(prefix="gobelin-", suffix=".log")
    with open(handle, "w", encoding="utf-8", errors="replace") as stream:
        stream.write(text)
    return Path(name)
