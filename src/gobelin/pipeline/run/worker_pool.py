"""The supervisor's side of the worker processes: requests workers from a server, and keeps idle workers."""

from __future__ import annotations

import dataclasses
import logging
import os
import pickle
import select
import signal
import socket
import subprocess
import time
import weakref
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gobelin.pipeline.run.worker import REPORT, THREAD_VARIABLES, Task, import_all, serve_on, server_command

_SECONDS_TO_STOP = 4.0
PRELOAD = ("gobelin.pipeline.run.preload",)
"""Modules that the server imports, so that every worker has them."""

_MEMORY = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
"""Arrow's own allocators keep what is freed: 50 MiB in a worker. A call (``set_memory_pool``) would leave them to those
parts of Arrow that ask for the default one."""

_QUIET = {"TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that spin starve each other on a shared machine (8 times slower)."""


class ServerGoneError(RuntimeError):
    """The process that forks workers has ended, or did not start."""


@dataclasses.dataclass(slots=True, eq=False)
class Worker:
    """A worker process, and the socket through which it takes tasks."""

    pid: int
    tasks: Connection

    def start(self, task: Task, progress_file: Path, log: Path) -> bool:
        """Sends a task. Returns whether the process was alive to take it."""
        pickled = pickle.dumps(task)
        try:
            self.tasks.send((progress_file, log))
            self.tasks.send_bytes(pickled)
        except OSError:
            return False
        return True


class _Forked:
    """A server that was forked from this process."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def wait(self, timeout: float | None = None) -> None:
        """Waits until it has ended. Raises TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not os.waitpid(self._pid, os.WNOHANG)[0]:
            if timeout is not None and deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("worker server", timeout)
            time.sleep(0.01)

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)


_forked: list[tuple[socket.socket, _Forked]] = []
"""The server that ``fork_server`` made, until a pool takes it."""


def fork_server() -> None:
    """Imports the modules of workers in this process, and forks the server of the next pool from it. So there is one
    import for both.

    Call it only in a process that has no threads and has opened nothing yet, such as the command line at its start.
    Without this call, a pool starts a server of its own.
    """
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1") | _QUIET | _MEMORY)  # before NumPy and Arrow are imported
    import_all(PRELOAD)
    near, far = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", force=True)
            near.close()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            serve_on(far)
        finally:
            os._exit(0)
    far.close()
    _forked.append((near, _Forked(pid)))


class WorkerPool:
    """Workers with the same number of threads. They live until ``close``, or as long as this object."""

    def __init__(self, threads: int = 1, modules: tuple[str, ...] = PRELOAD) -> None:
        self._threads, self._modules = threads, modules
        self._server: subprocess.Popen[bytes] | _Forked | None = None
        self._control: socket.socket | None = None
        self._idle: list[Worker] = []
        self._ended: dict[int, int] = {}
        self._unread = b""
        self._finalizer: weakref.finalize[..., Any] | None = None

    @property
    def control(self) -> socket.socket:
        """A socket that becomes readable when a worker has ended. Starts the server."""
        if self._control is None:
            if _forked and self._threads == 1 and self._modules == PRELOAD:
                self._control, self._server = _forked.pop()
                self._finalizer = weakref.finalize(self, _end, self._control, self._server, self._idle)
                return self._control
            self._control, far = socket.socketpair()
            threads = dict.fromkeys(THREAD_VARIABLES, str(self._threads))
            self._server = subprocess.Popen(
                server_command(far.fileno(), self._modules),
                stdin=subprocess.DEVNULL,
                pass_fds=[far.fileno()],
                env={**os.environ, **threads, **_QUIET, **_MEMORY},
            )
            far.close()
            self._finalizer = weakref.finalize(self, _end, self._control, self._server, self._idle)
        return self._control

    def take(self, is_new: bool = False) -> Worker:
        """An idle worker, or a new one.

        Raises:
            ServerGoneError: no server can start a worker.
        """
        self.read_reports()
        while self._idle and not is_new:
            worker = self._idle.pop()
            if worker.pid not in self._ended:
                return worker
            worker.tasks.close()
        near, far = socket.socketpair()
        with far:
            try:
                socket.send_fds(self.control, [b"w"], [far.fileno()])
                pid = self._read_pid()
            except OSError as error:
                near.close()
                raise ServerGoneError(f"no worker process can be started: {error}") from None
        return Worker(pid, Connection(near.detach()))

    def give_back(self, worker: Worker) -> None:
        """Keeps a worker that takes another task."""
        self._idle.append(worker)

    def exit_code(self, worker: Worker) -> int | None:
        """The exit code of a worker, or the negative number of the signal that ended it. None: it has not ended."""
        return self._ended.get(worker.pid)

    def read_reports(self) -> None:
        """Reads the server's reports about ended workers."""
        while self._control is not None and select.select([self._control], [], [], 0)[0]:
            if not self._fill():
                raise ServerGoneError("the process that starts worker processes was ended")
            while self._read() is not None:
                pass

    def stop(self, workers: list[Worker]) -> None:
        """Asks workers to stop, and kills them after a few seconds."""
        self._signal(workers, signal.SIGTERM)
        deadline = time.monotonic() + _SECONDS_TO_STOP
        try:
            while any(self.exit_code(worker) is None for worker in workers):
                if time.monotonic() > deadline:
                    self._signal(workers, signal.SIGKILL)
                    deadline = time.monotonic() + _SECONDS_TO_STOP
                select.select([self.control], [], [], 0.1)
                self.read_reports()
        except ServerGoneError:
            self._signal(workers, signal.SIGKILL)
        for worker in workers:
            worker.tasks.close()

    def close(self) -> None:
        """Ends idle workers and the server."""
        if self._finalizer is not None:
            self._finalizer()
        self._control = self._server = self._finalizer = None

    def _signal(self, workers: list[Worker], number: int) -> None:
        for worker in workers:
            if self.exit_code(worker) is None:
                try:
                    os.kill(worker.pid, number)
                except ProcessLookupError:
                    continue

    def _read_pid(self) -> int:
        """The process id of the requested worker."""
        while True:
            pid = self._read()
            if pid is not None and pid > 0:
                return pid
            if pid is None and not self._fill():
                raise ConnectionResetError("the process that starts them has ended")

    def _read(self) -> int | None:
        """Reads one report: the process id of a started worker; 0: a worker ended; None: no report."""
        if len(self._unread) < REPORT.size:
            return None
        has_ended, pid, code = REPORT.unpack(self._unread[: REPORT.size])
        self._unread = self._unread[REPORT.size :]
        if not has_ended:
            return pid
        self._ended[pid] = code
        return 0

    def _fill(self) -> bool:
        received = self.control.recv(4096)
        self._unread += received
        return bool(received)


def _end(control: socket.socket, server: subprocess.Popen[bytes] | _Forked, idle: list[Worker]) -> None:
    """Closes the sockets, so that the processes at their other ends exit."""
    for worker in idle:
        worker.tasks.close()
    idle.clear()
    control.close()
    try:
        server.wait(_SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
