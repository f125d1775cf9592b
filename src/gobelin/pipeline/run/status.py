"""The status of a run, in a file in its output folder. ``gobelin status`` reads it from another process or machine.

``OUT/.gobelin-status.json`` is written every few seconds while a command works, and once more when it ends. A thread
writes it, so a slow object store does not delay the run. A failed write is no error.
"""

from __future__ import annotations

import contextlib
import copy
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

from gobelin.errors import in_a_line
from gobelin.pipeline.run.events import Event, now
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.store.files import write_json
from gobelin.store.lock import machine
from gobelin.store.paths import is_remote, join

STATUS_NAME = ".gobelin-status.json"

SECONDS_BETWEEN_WRITES = 2.0
SECONDS_BETWEEN_REMOTE_WRITES = 20.0
"""Seconds between two writes to a store: each costs a put."""

SECONDS_TO_END = 5.0
"""Seconds for which a command that is over waits for the last write to a store."""

_MAX_ERROR = 1000

State = dict[str, Any]


class Status:
    """Reduces events to the current state of the run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state: State = {
            "state": "running",
            "owner": f"process {os.getpid()} on {socket.gethostname()}",
            "pid": os.getpid(),
            "machine": machine(),
            "started": now(),
            "updated": now(),
            "stage": None,
            "stage_started": None,
            "step": None,
            "last_error": None,
            "stages": {},
        }

    def now(self) -> State:
        """The current state."""
        with self._lock:
            self._state["updated"] = now()
            return copy.deepcopy(self._state)

    def tell(self, event: Event) -> None:
        with self._lock:
            self._take(event)

    def _take(self, event: Event) -> None:
        state, name = self._state, event["event"]
        match name:
            case "run_started":
                state |= {key: event[key] for key in ("recipe", "archives", "input_bytes")}
            case "stage_started":
                state |= {"stage": event["stage"], "stage_started": event["time"], "step": None}
            case "step_started":
                state["step"] = {"step": event["step"], "started": event["time"], "unit": event["unit"]}
            case "progress":
                step = state["step"] or {}
                names = ("step", "unit", "total", "done", "share", "counts", "seconds", "rate", "seconds_left")
                state["step"] = {"started": step.get("started")} | {key: event[key] for key in names}
            case "step_done":
                state["step"] = None
            case "stage_skipped":
                state["stages"][event["stage"]] = {}
            case "stage_done":
                counted = {key: event[key] for key in ("seconds", "documents", "images") if key in event}
                state["stages"][event["stage"]] = counted
                state |= {"stage": None, "stage_started": None, "step": None}
            case "run_done" | "run_failed" | "run_stopped":
                state["state"] = name.removeprefix("run_")
        if event["level"] == "error":
            text = str(event.get("error") or event.get("text") or "")[:_MAX_ERROR]
            state["last_error"] = {"time": event["time"], "stage": state["stage"], "text": text}


class _Writer(threading.Thread):
    """Writes the status until told to stop."""

    def __init__(self, status: Status, output: str) -> None:
        super().__init__(name="status", daemon=True)
        self._status, self._address = status, join(output, STATUS_NAME)
        self._pause = SECONDS_BETWEEN_REMOTE_WRITES if is_remote(output) else SECONDS_BETWEEN_WRITES
        self._is_over = threading.Event()

    def run(self) -> None:
        self._write()
        while not self._is_over.wait(self._pause):
            self._write()
        self._write()

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # nobody will know how it goes, and it goes on
            write_json(self._address, self._status.now())

    def end(self) -> None:
        self._is_over.set()
        self.join(SECONDS_TO_END)


@contextlib.contextmanager
def kept_status(output: str, screen: Screen, status: Status) -> Iterator[None]:
    """Keeps the status file of the output folder up to date while the block runs. The caller must hold the folder's
    lock."""
    screen.listeners.append(status)
    writer = _Writer(status, output)
    writer.start()
    try:
        yield
        screen.tell("run_done")
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        screen.tell("run_stopped", level="warning")
        raise
    except BaseException as error:
        screen.tell("run_failed", level="error", error=in_a_line(error))
        raise
    finally:
        writer.end()
        screen.listeners.remove(status)
