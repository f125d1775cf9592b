"""Prefetches windows of a loader in a separate process."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gobelin.train.batches import Loader, Window

SECONDS_TO_END = 5.0


class Prefetcher:
    """A process that makes windows. It ends with this object, or whenever this process ends.

    Args:
        loader: that makes the windows; the process gets a copy.
    """

    def __init__(self, loader: Loader) -> None:
        context = multiprocessing.get_context("spawn")  # what torch has started does not survive a fork
        self._tasks, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, loader), daemon=True)
        self._process.start()
        theirs.close()
        self._asked: int | None = None

    def take(self, number: int) -> Window | None:
        """A window by its number. Also starts making the next one. None if the process has failed; making the window in
        this process then raises the error."""
        try:
            if self._asked is not None and self._asked != number:
                self._tasks.recv()
                self._asked = None
            if self._asked is None:
                self._tasks.send(number)
            window: Window = self._tasks.recv()
            self._tasks.send(number + 1)
        except (EOFError, OSError):
            return None
        self._asked = number + 1
        return window

    def close(self) -> None:
        """Ends the process."""
        self._tasks.close()
        self._process.terminate()
        self._process.join(SECONDS_TO_END)


def _serve(tasks: Connection, loader: Any) -> None:
    """The main loop of the process: makes windows until its input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, to all its processes: the one that trains decides
    with contextlib.suppress(EOFError, OSError):
        while True:
            tasks.send(loader.make_window(tasks.recv()))
