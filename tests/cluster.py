"""A portable runner with workers on other machines, as far as one machine can show it.

Prism (Beam's portable runner, in Go) is the job service. Worker pools are processes of their own, each with its own
working folder, home and temporary folder; what they share with the command is an object store. Prism starts one worker
for a job's environment; a front hands it to the next pool, as a service of Kubernetes does before pods. So the graphs
of a run, one after another, are worked on by turns.

``python -m tests.cluster`` builds Prism into the user's cache.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

BIN = Path(sys.executable).parent
_SECONDS_TO_START = 60


def prism_path() -> Path:
    """Where the binary of Prism lies that belongs to this Beam, once it is built."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache) / "gobelin" / f"prism-{importlib.metadata.version('apache-beam')}"


def build_prism() -> str | None:
    """Builds Prism unless it is there. Returns what went wrong."""
    path = prism_path()
    if path.exists():
        return None
    if shutil.which("go") is None:
        return "Prism is built with Go, and there is no `go` here: install it (https://go.dev/dl), at least 1.25"
    version = importlib.metadata.version("apache-beam")
    folder = path.parent / f"go-{os.getpid()}"
    folder.mkdir(parents=True)
    try:
        source = f"github.com/apache/beam/sdks/v2/go/cmd/prism@v{version}"
        done = subprocess.run(["go", "install", source], env={**os.environ, "GOBIN": str(folder)}, check=False)
        if done.returncode:
            return f"`go install {source}` failed, see above"
        os.replace(folder / "prism", path)
    finally:
        shutil.rmtree(folder)
    return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", port)) == 0:
                return
        assert process.poll() is None, "ended before it listened"
        assert time.monotonic() < deadline, "does not listen"
        time.sleep(0.1)


def members(session: int) -> list[int]:
    """Processes of a session that are still there, zombies left out."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, number = stat.read_text().rpartition(")")[2].split()[:4]
            if int(number) == session and state != "Z":
                found.append(int(stat.parent.name))
    return found


def kill_session(session: int) -> None:
    """Ends all processes of a session."""
    while pids := members(session):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


class _Server:
    """A server that runs as a session of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def _start(self, command: list[str], folder: Path, log: Path, environment: dict[str, str] | None = None) -> None:
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=file, stderr=file, start_new_session=True
            )
        wait_for_port(self.port, self._process)

    def kill(self) -> None:
        """Ends it and its children without a word, as a machine that is switched off."""
        if self._process is not None:
            kill_session(self._process.pid)
            self._process.wait()
            self._process = None


class JobService(_Server):
    """Prism."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def start(self) -> None:
        """Starts it; ``kill`` must have ended an earlier one."""
        command = [str(prism_path()), "--job_port", str(self.port), "--serve_http=false", "--log_level", "warn"]
        self._start(command, self._folder, self._folder / "prism.log")


class Pool(_Server):
    """Beam's external worker pool on a machine of its own: nothing but the network leads there."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.log = folder, folder / "log"
        for name in ("work", "home", "tmp"):
            (folder / name).mkdir(parents=True)

    def start(self) -> None:
        """Starts it; ``kill`` must have ended an earlier one."""
        own = {"HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "tmp")}
        # The pool starts workers as plain `python`.
        environment = {**os.environ, **own, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
        command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={self.port}"]
        self._start(command, self.folder / "work", self.log, environment)

    @property
    def num_workers(self) -> int:
        """Workers that it has now."""
        return len(self._workers())

    def signal_workers(self, number: signal.Signals) -> None:
        for pid in self._workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _workers(self) -> list[int]:
        return [pid for pid in members(self._process.pid) if pid != self._process.pid] if self._process else []

    @property
    def num_started(self) -> int:
        """Workers that it has ever started."""
        return self.log.read_text().count("Starting worker") if self.log.exists() else 0

    def left_over(self) -> list[str]:
        """Files that lie in its folders."""
        return sorted(str(path) for name in ("work", "home", "tmp") for path in (self.folder / name).rglob("*"))


class Front:
    """One address for several servers: each connection goes to the next of them that answers. It can be cut."""

    def __init__(self, ports: list[int]) -> None:
        self._ports, self._turn = ports, 0
        self._socket = socket.create_server(("localhost", 0))
        self.address = f"localhost:{self._socket.getsockname()[1]}"
        self._is_cut = False
        self._connections: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def cut(self) -> None:
        """Closes all connections; new ones are closed at once, until ``open``."""
        self._is_cut = True
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        self._is_cut = False

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        far = None if self._is_cut else self._connect()
        with near, contextlib.suppress(OSError):
            if far is not None:
                with far:
                    self._connections |= {near, far}
                    _copy_both_ways(near, far)
        self._connections -= {near, far}

    def _connect(self) -> socket.socket | None:
        for _ in self._ports:
            port = self._ports[self._turn % len(self._ports)]
            self._turn += 1
            with contextlib.suppress(OSError):
                return socket.create_connection(("localhost", port))
        return None


def _copy_both_ways(near: socket.socket, far: socket.socket) -> None:
    """Until one of them is closed."""
    other = {near: far, far: near}
    while True:
        for source in select.select([near, far], [], [])[0]:
            data = source.recv(65536)
            if not data:
                return
            other[source].sendall(data)


if __name__ == "__main__":
    sys.exit(build_prism())
