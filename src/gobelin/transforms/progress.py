"""The progress of a worker: counts in a small file that other processes can watch.

Beam's local runner shows its counters only at the end. So a worker process of a local run writes its own counts, at
most a few times a second. On a cluster nobody watches the file, ``advance`` only adds up, and Beam's own monitoring
shows the progress.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

from gobelin.store.files import read_bytes, write_bytes

_SECONDS_BETWEEN_WRITES = 0.2

BEFORE = "_before"
"""Name of one count: the number of the step's units that were done before the process began."""

_NOTE = "_note"  # beside the counts in the file

_counts: Counter[str] = Counter()
_note = ""
_file: str | None = None
_last_write = 0.0


def report_to(path: str) -> None:
    """Makes this process write its counts to ``path``. The path must be local, because it is written often."""
    global _file, _note
    _file, _note = path, ""
    _counts.clear()


def advance(what: str, by: int = 1) -> None:
    """Counts ``by`` more of ``what`` (pages, images, documents ...)."""
    global _last_write
    _counts[what] += by
    now = time.monotonic()
    if _file is not None and now - _last_write > _SECONDS_BETWEEN_WRITES:
        _last_write = now
        flush()


def reach(what: str, number: int) -> None:
    """Counts up to ``number`` of ``what``. Units before the first call count as done before this process began."""
    if not _counts[what]:
        _counts[BEFORE] = number - 1
    advance(what, number - _counts[BEFORE] - _counts[what])


def note(text: str) -> None:
    """Shows a few words beside the counts until the next call, such as a loss."""
    global _note
    _note = text


def flush() -> None:
    """Writes the counts now."""
    if _file is not None:
        write_bytes(_file, json.dumps({**_counts, **({_NOTE: _note} if _note else {})}, allow_nan=False).encode())


def read_counts(path: str) -> dict[str, int]:
    """The counts that another process wrote. They are empty until it first writes."""
    return {name: value for name, value in _read(path).items() if name != _NOTE}


def read_note(path: str) -> str:
    """The words that another process noted last, or an empty string."""
    return _read(path).get(_NOTE, "")


def _read(path: str) -> dict[str, Any]:
    try:
        return json.loads(read_bytes(path))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
