"""Windows of a loader made before they are asked for, in a process of its own: the next one during training on one."""

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
    """A process that makes windows. It ends with this object, or when this process ends, however it does.

    Args:
        loader: whose windows; a copy of it goes to the process.
    """

    def __init__(self, loader: Loader) -> None:
        context = multiprocessing.get_context("spawn")  # what torch has started does not survive a fork
        self._tasks, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, loader), daemon=True)
        self._process.start()
        theirs.close()
        self._asked: int | None = None

    def take(self, number: int) -> Window | None:
        """A window by its number; the next one is begun. None where the process has failed: what is wrong is found when
        the window is made here."""
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
    """The loop of the process: it makes one window after another until its input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, to all its processes: the one that trains decides
    with contextlib.suppress(EOFError, OSError):
        while True:
            tasks.send(loader.make_window(tasks.recv()))
