"""A standalone Flink on this machine: a job manager and two task managers, on loopback.

Flink's own jars come from PyPI (``apache-flink-libraries``); Beam's job server for Flink, a jar of Beam's, does not.

``python -m tests.flink_cluster`` puts Flink's jars into the user's cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.cluster import free_port, kill_session

VERSION = "1.20.5"
_JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_JAVA_UTILS = "org.apache.flink.runtime.util.bash.BashJavaUtils"
_RESULT = "BASH_JAVA_UTILS_EXEC_RESULT:"
_OPENED = ("lang", "util", "nio", "net", "time", "util.concurrent", "util.concurrent.atomic")
_SECONDS_TO_START = 240


def flink_folder() -> Path:
    """Where Flink's jars lie, once they are there."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache) / "gobelin" / f"flink-{VERSION}"


def get_flink() -> str | None:
    """Downloads Flink's jars (230 MB) unless they are there. Returns what went wrong."""
    folder = flink_folder()
    if folder.exists():
        return None
    if shutil.which("java") is None:
        return "Flink needs Java, and there is no `java` here: install Java 11 or 17"
    part = folder.with_name(f"flink-{os.getpid()}")
    part.mkdir(parents=True)
    try:
        package = f"apache-flink-libraries=={VERSION}"
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(part), package]
        if subprocess.run(download, check=False).returncode:
            return f"{package} could not be downloaded, see above"
        (archive,) = part.glob("*.tar.gz")
        with tarfile.open(archive) as opened:
            opened.extractall(part, filter="data")
        os.replace(part / archive.name.removesuffix(".tar.gz") / "deps", folder)
    finally:
        shutil.rmtree(part)
    return None


class FlinkCluster:
    """A cluster under way."""

    def __init__(self, folder: Path, num_task_managers: int = 2) -> None:
        self._folder, self._num_task_managers = folder, num_task_managers
        self._processes: list[subprocess.Popen[bytes]] = []
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Starts all processes and waits until every task manager is known."""
        (self._folder / "conf").mkdir(parents=True)
        (self._folder / "tmp").mkdir()
        (self._folder / "conf" / "config.yaml").write_text(self._config())
        self._launch("jobmanager", "GET_JM_RESOURCE_PARAMS", _JOB_MANAGER)
        for number in range(self._num_task_managers):
            self._launch(f"taskmanager-{number}", "GET_TM_RESOURCE_PARAMS", _TASK_MANAGER)
        self.wait_for_task_managers(self._num_task_managers)

    def wait_for_task_managers(self, number: int) -> None:
        """Waits until the job manager knows so many."""
        deadline = time.monotonic() + _SECONDS_TO_START
        while self._num_known() != number:
            assert all(process.poll() is None for process in self._processes), "ended before it was up: see its log"
            assert time.monotonic() < deadline, f"Flink does not come to {number} task managers"
            time.sleep(0.5)

    def kill_task_manager(self) -> None:
        """Ends the last one without a word, as a machine that is switched off."""
        process = self._processes.pop()
        kill_session(process.pid)
        process.wait()

    def add_task_manager(self) -> None:
        """In place of one that was killed."""
        self._launch(f"taskmanager-{free_port()}", "GET_TM_RESOURCE_PARAMS", _TASK_MANAGER)

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            kill_session(process.pid)
            process.wait()

    def get(self, path: str) -> Any:
        """What the REST address answers."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
            return json.load(answer)

    @property
    def process_ids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def _num_known(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            return int(self.get("/overview")["taskmanagers"])
        return 0

    def _config(self) -> str:
        settings = {
            "jobmanager.rpc.address": "127.0.0.1",
            "jobmanager.rpc.port": free_port(),
            "jobmanager.bind-host": "127.0.0.1",
            "jobmanager.memory.process.size": "1024m",
            "taskmanager.host": "127.0.0.1",
            "taskmanager.bind-host": "127.0.0.1",
            "taskmanager.memory.process.size": "1536m",
            "taskmanager.numberOfTaskSlots": 1,
            "parallelism.default": self._num_task_managers,
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "rest.port": self._port,
            "heartbeat.interval": 2000,
            "heartbeat.timeout": 10000,
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": 3,
            "restart-strategy.fixed-delay.delay": "2 s",
            "io.tmp.dirs": self._folder / "tmp",
        }
        return "".join(f"{name}: {value}\n" for name, value in settings.items())

    def _launch(self, name: str, kind: str, entry_point: str) -> None:
        jars = flink_folder() / "lib"
        classes = os.pathsep.join(str(path) for path in sorted(jars.glob("*.jar")))
        conf = str(self._folder / "conf")
        tool = os.pathsep.join((str(flink_folder() / "bin" / "bash-java-utils.jar"), classes))
        said = subprocess.run(
            ["java", "-cp", tool, _JAVA_UTILS, kind, "--configDir", conf], check=True, capture_output=True, text=True
        ).stdout
        lines = [line.partition(_RESULT)[2] for line in said.splitlines() if line.startswith(_RESULT)]
        java, dynamic = (shlex.split(line) for line in (*lines, "")[:2])
        opens = [f"--add-opens=java.base/java.{each}=ALL-UNNAMED" for each in _OPENED]
        opens.append("--add-opens=java.base/sun.net.util=ALL-UNNAMED")
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    ["java", *java, *opens, "-cp", classes, entry_point, "--configDir", conf, *dynamic],
                    cwd=self._folder, stdout=log, stderr=log, start_new_session=True,
                )
            )  # fmt: skip


@contextlib.contextmanager
def flink(folder: Path) -> Iterator[FlinkCluster]:
    """A cluster that is up; stops with the block."""
    cluster = FlinkCluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


if __name__ == "__main__":
    sys.exit(get_flink())
