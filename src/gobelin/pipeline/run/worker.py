"""The processes that do the work of a local run: a server that imports Beam once, and workers that it forks.

The supervisor starts the server and asks it for workers through a socket. The server forks them, waits for them and
reports how they ended. Each worker takes one task after another from its own socket. Each task has its own log and its
own file of counts. If a task fails, its worker ends, and the exit code and the last line of the log say why.

No process outlives the supervisor: the server and the workers end when the supervisor's side of their sockets is
closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import gc
import importlib
import json
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gobelin.errors import UserError, in_a_line, is_full, is_of_the_machine
from gobelin.pipeline.run.torchrun import is_started_by_torchrun
from gobelin.transforms import progress

DEFECT_CODE, NO_DEFECT_CODE, FULL_CODE = 1, 2, errno.ENOSPC
"""Exit codes of a worker whose task failed: a defect, a user's error, a full disk. The last line of its log says what
failed; of a full disk the code alone tells, because the log may lie on it."""

MAX_GROWTH_BYTES = 512 * 2**20
"""A worker whose memory has grown by more than this since it was forked ends after its task; a new one takes the
next. So what a task leaves behind does not add up."""

REPORT = struct.Struct("<?qq")
"""What the server says of a worker: (whether it has ended, process id, exit code; minus a signal's number)."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")

_SECONDS_TO_END = 2.0
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """A call ``function(*arguments)`` in a worker process. The task must be picklable and the function importable."""

    name: str
    function: Callable[..., None]
    arguments: tuple[Any, ...]
    alone: bool = False  # in a new process, which ends with the task: what loads torch, or sets threads


_stop_requested = threading.Event()


def stop_requested() -> bool:
    """Whether this worker process was asked to stop. Long functions should check it regularly."""
    return _stop_requested.is_set()


def heed_stop() -> None:
    """From now on, a request to stop only sets ``stop_requested``. Before this call, it ends the process
    immediately."""
    signal.signal(signal.SIGTERM, lambda *_: _stop_requested.set())


def serve() -> None:
    """The main function of a server process. Its arguments: ``sys.path`` as JSON, the socket's number, modules to
    import."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import_all(sys.argv[3:])
    serve_on(socket.socket(fileno=int(sys.argv[2])))


def serve_on(control: socket.socket) -> None:
    """Forks workers, waits for them and reports how they ended, until the other side closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if is_started_by_torchrun():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it goes to all of the group; a worker ends with a checkpoint
    wake_out, wake_in = os.pipe()
    os.set_blocking(wake_in, False)
    signal.signal(signal.SIGCHLD, _ignore)
    signal.set_wakeup_fd(wake_in, warn_on_full_buffer=False)
    workers: set[int] = set()
    try:
        while True:
            watched: list[Any] = [control, wake_out]
            ready, _, _ = select.select(watched, [], [])
            if wake_out in ready:
                os.read(wake_out, 4096)
                _report_ended(workers, control)
            if control in ready:
                message, files, _, _ = socket.recv_fds(control, 1, 1)
                if not message:
                    break
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for number in (wake_in, wake_out):
                        os.close(number)
                    control.close()
                    try:
                        _work(Connection(files[0]))
                    finally:
                        os._exit(DEFECT_CODE)
                os.close(files[0])
                workers.add(pid)
                control.send(REPORT.pack(False, pid, 0))
    except (BrokenPipeError, ConnectionResetError):
        pass  # the supervisor is gone
    _end_all(workers)


def import_all(modules: Sequence[str]) -> None:
    """Imports the modules that every worker needs, and excludes their objects from garbage collection."""
    gc.disable()
    for name in modules:
        importlib.import_module(name)
    gc.freeze()
    gc.enable()


def _ignore(*_: Any) -> None:
    """An empty signal handler. Without a handler, the signal would not wake ``select``."""


def _report_ended(workers: set[int], control: socket.socket) -> None:
    for pid in list(workers):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            workers.remove(pid)
            control.send(REPORT.pack(True, pid, os.waitstatus_to_exitcode(status)))


def _end_all(workers: set[int]) -> None:
    """Waits for workers, whose sockets are closed. After a while, kills them."""
    deadline = time.monotonic() + _SECONDS_TO_END
    while workers:
        workers -= {pid for pid in workers if os.waitpid(pid, os.WNOHANG)[0]}
        if time.monotonic() > deadline:
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            return
        if workers:
            time.sleep(0.01)


def _work(tasks: Connection) -> None:
    """The main loop of a worker. A task arrives as (file of counts, log) and the pickled task. For each finished task,
    the worker sends a bool: whether it takes another."""
    is_busy = threading.Event()
    threading.Thread(target=_end_with_supervisor, args=(tasks.fileno(), is_busy), daemon=True).start()
    stream = open(1, "w", closefd=False, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    sys.stdout = sys.stderr = stream
    _map_large_buffers()
    memory_before = _resident_bytes()
    with contextlib.suppress(EOFError, OSError):
        while not stop_requested():
            progress_file, log = tasks.recv()
            pickled = tasks.recv_bytes()
            is_busy.set()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _do(pickled, progress_file, log)
            _give_memory_back()
            takes_another = _resident_bytes() - memory_before < MAX_GROWTH_BYTES
            is_busy.clear()
            tasks.send(takes_another)
            if not takes_another:
                break
    _end_decoders()
    os._exit(0)


def _do(pickled: bytes, progress_file: Path, log: Path) -> None:
    """Runs a task. If it fails, this process ends."""
    try:
        _redirect(log)
        progress.report_to(str(progress_file))
        task: Task = pickle.loads(pickled)  # noqa: S301  # from the supervisor
        task.function(*task.arguments)
        sys.stdout.flush()
        progress.flush()
    except BaseException as error:  # noqa: BLE001  # whatever it was, it goes to the log and the process ends
        with contextlib.suppress(OSError):
            traceback.print_exc()
            print(in_a_line(error), flush=True)
        os._exit(_code_of(error))


def _code_of(error: BaseException) -> int:
    if is_full(error):
        return FULL_CODE
    is_defect = isinstance(error, Exception) and not (isinstance(error, UserError) or is_of_the_machine(error))
    return DEFECT_CODE if is_defect else NO_DEFECT_CODE


def _redirect(log: Path) -> None:
    """Redirects the output of this process and its native code to another log."""
    number = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(number, 1)
    os.dup2(number, 2)
    os.close(number)


def _end_decoders() -> None:
    """Ends this worker's decoding processes, so that their CPU time is counted."""
    module = sys.modules.get("gobelin.transforms.images.image_sandbox")
    if module is not None:
        module.end_children()


def _map_large_buffers() -> None:
    """Makes the C library allocate buffers of 4 MiB or more directly from the system, and return them when they are
    freed. By default it raises this limit to 32 MiB when such buffers come and go, as Beam's do. Then the heap gets
    holes as large as its content, which differ from run to run."""
    with contextlib.suppress(OSError, AttributeError):  # only the C library of GNU has it
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 4 * 2**20)
        library.mallopt(_M_TRIM_THRESHOLD, 32 * 2**20)


def _give_memory_back() -> None:
    """Returns freed memory to the system. Otherwise the next task would add to the memory of this one."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # only the C library of GNU has it
        ctypes.CDLL(None).malloc_trim(0)


def _resident_bytes() -> int:
    """Resident memory of this process in bytes; 0 if unknown."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _end_with_supervisor(number: int, is_busy: threading.Event) -> None:
    """Ends this process when the supervisor is gone, even in the middle of a task."""
    poller = select.poll()
    poller.register(number, 0)  # hanging up is always reported
    while not any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in poller.poll()):
        pass
    if is_busy.is_set():
        os._exit(1)


def server_command(number: int, modules: tuple[str, ...]) -> list[str]:
    """The command that starts a server, with the number of its socket and the modules to import."""
    code = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
        "from gobelin.pipeline.run.worker import serve; serve()"
    )
    return [sys.executable, "-c", code, json.dumps(sys.path), str(number), *modules]
