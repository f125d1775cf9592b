"""Events of a run, for programs. Listeners receive each event; a log has one line of JSON per event.

Every event has ``time`` (RFC 3339, UTC), ``level`` (info, warning, error), ``event`` and, within a stage, ``stage``.

    run_started     output, recipe, archives, input_bytes
    stage_started
    step_started    step, unit, total
    progress        step, unit, total, done, share, counts, seconds, rate, seconds_left
    step_done       step, counts, seconds
    stage_skipped   (the stage was done already)
    stage_done      seconds, cpu_seconds; documents and images, each with seen, kept, dropped, failed
    message         text
    run_done
    run_failed      error
    run_stopped

``rate`` is in ``unit`` per second. Unknown values are null. Names are stable, and new ones may be added.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Protocol, TextIO

from gobelin.errors import UserError

SECONDS_BETWEEN_PROGRESS = 5.0
"""In a log."""

Event = dict[str, Any]


class Listener(Protocol):
    """An object that receives the events of a run."""

    def tell(self, event: Event) -> None:
        """Receives an event. Must not block."""


def now() -> str:
    """The current time in the format of events."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonLog:
    """Writes events to a stream, one JSON object per line. Writes a progress event only every few seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last_progress = 0.0

    def tell(self, event: Event) -> None:
        if event["event"] == "progress":
            if time.monotonic() - self._last_progress < SECONDS_BETWEEN_PROGRESS:
                return
            self._last_progress = time.monotonic()
        with contextlib.suppress(OSError):  # a log on a full disk ends no run
            self._stream.write(json.dumps(event, ensure_ascii=False) + "\n")
            self._stream.flush()


@contextlib.contextmanager
def json_log(path: str | None) -> Iterator[list[Listener]]:
    """The listeners that ``--log-json`` asks for. Events are appended to an existing file.

    Args:
        path: of a local file; ``-``: standard error; None: no log.

    Raises:
        UserError: the file cannot be opened.
    """
    if path is None:
        yield []
    elif path == "-":
        yield [JsonLog(sys.stderr)]
    elif path.startswith("--"):
        raise UserError(f"--log-json needs a file, or - for standard error, got {path}")
    else:
        try:
            stream = open(path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        except OSError as error:
            raise UserError(f"--log-json {path}: {error.strerror}") from None
        try:
            yield [JsonLog(stream)]
        finally:
            with contextlib.suppress(OSError):
                stream.close()
