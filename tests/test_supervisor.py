"""Worker processes: failures are told, signals are heeded, nothing is left behind, and a rerun goes on.

Tasks are code as strings (``exec``), so that a worker process needs nothing of the tests to run them.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gobelin.errors import is_full
from gobelin.pipeline.run import worker
from gobelin.pipeline.run.inputs import MIN_BATCH_BYTES
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.run.supervisor import StepFailedError, Supervisor
from gobelin.pipeline.run.worker import Task
from gobelin.pipeline.stages.extract import INDEXES

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc"),
]

Make = Callable[..., Any]
BIN = Path(sys.executable).parent


def task(name: str, code: str) -> Task:
    return Task(name, exec, (code,))


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(2, str(tmp_path), Screen(quiet=True), "local", (), modules=())
    yield supervisor
    supervisor.close()


def log_of(folder: Path, name: str) -> str:
    return (folder / "logs" / f"{name}.log").read_text()


# ------------------------------------------------------------------------------------------------ tasks


def test_all_tasks_run_at_most_so_many_at_a_time(supervisor: Supervisor, tmp_path: Path) -> None:
    code = (
        "import time, pathlib; start = time.time(); time.sleep(0.4);"
        "pathlib.Path({path!r}).write_text(f'{{start}} {{time.time()}}')"
    )
    supervisor.run("step", [task(f"t{n}", code.format(path=str(tmp_path / f"{n}.txt"))) for n in range(5)])
    spans = [tuple(map(float, path.read_text().split())) for path in tmp_path.glob("*.txt")]
    assert len(spans) == 5
    overlaps = [sum(start <= moment < end for start, end in spans) for moment, _ in spans]
    assert max(overlaps) == 2


def test_no_tasks_are_no_work(supervisor: Supervisor) -> None:
    supervisor.run("step", [])


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise RuntimeError('boom')", "step failed: RuntimeError: boom"),
        (
            "print('on its way'); from gobelin.errors import UserError; raise UserError('give another\\npath')",
            "step failed: give another path\n",
        ),
        ("raise ValueError('a list of 3')", "step failed: ValueError: a list of 3; this is a defect of gobelin"),
        ("raise MemoryError", "step failed: out of memory\n"),
        ("import errno; raise OSError(errno.EACCES, 'Not yours')", "step failed: [Errno 13] Not yours\n"),
        ("import os; os._exit(3)", "step failed: exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9 (out of memory?)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by signal 11"),
        ("raise SystemExit(4)", "step failed: SystemExit: 4\n"),
        ("print('caf\\u00e9'); raise KeyError('x')", "step failed: KeyError: 'x'"),
    ],
)
def test_a_failing_task_is_told(supervisor: Supervisor, tmp_path: Path, code: str, expected: str) -> None:
    """The reason in a line, and where the whole story is."""
    with pytest.raises(StepFailedError) as caught:
        supervisor.run("step", [task("bad", code)])
    assert expected in str(caught.value)
    assert str(tmp_path / "logs" / "bad.log") in str(caught.value)


@pytest.mark.parametrize(
    "code",
    [
        "import errno; raise OSError(errno.ENOSPC, 'No space left on device')",
        "import errno; raise OSError(errno.EDQUOT, 'Disk quota exceeded')",
        "raise RuntimeError('OSError: [Errno 28] No space left on device [while running Write]')",
        "try: open('/dev/full', 'w').write('x' * 10**6)\nexcept OSError: raise KeyError('written')",
        "print('x')",
    ],
)
def test_a_full_disk_is_told_without_a_log(supervisor: Supervisor, tmp_path: Path, code: str) -> None:
    """The log lies on that disk: nothing can be written there."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "bad.log").symlink_to("/dev/full")
    with pytest.raises(StepFailedError, match=r"^step failed: no space left on the disk$") as caught:
        supervisor.run("step", [task("bad", code)])
    assert is_full(caught.value)


def test_the_log_holds_the_traceback_and_the_output(
    supervisor: Supervisor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = "import os, sys; print('said'); print('warned', file=sys.stderr); os.write(1, b'raw\\n'); 1 / 0"
    with pytest.raises(StepFailedError):
        supervisor.run("step", [task("bad", code)])
    log = log_of(tmp_path, "bad")
    assert all(words in log for words in ("said", "warned", "raw", "Traceback", "ZeroDivisionError"))
    captured = capfd.readouterr()
    assert "said" not in captured.out + captured.err


def test_a_failure_stops_the_others(supervisor: Supervisor, tmp_path: Path) -> None:
    """At once where they let themselves be stopped, after some seconds where they do not."""
    pid_file = tmp_path / "pid"
    stubborn = (
        "import os, pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(100)"
    )
    wait = f"import os, time\nwhile not os.path.exists({str(pid_file)!r}): time.sleep(0.05)\nraise RuntimeError"
    start = time.monotonic()
    with pytest.raises(StepFailedError):
        supervisor.run("step", [task("stubborn", stubborn), task("bad", wait), task("never", "open('/never')")])
    assert time.monotonic() - start < 30
    assert not Path(f"/proc/{pid_file.read_text()}").exists()
    assert not (tmp_path / "logs" / "never.log").exists()


def test_a_worker_can_ask_whether_to_stop(supervisor: Supervisor, tmp_path: Path) -> None:
    patient = (
        "import pathlib, time\nfrom gobelin.pipeline.run.worker import heed_stop, stop_requested\nheed_stop()\n"
        f"pathlib.Path({str(tmp_path / 'ready')!r}).touch()\n"
        "while not stop_requested(): time.sleep(0.05)\n"
        f"pathlib.Path({str(tmp_path / 'saved')!r}).touch()\n"
    )
    ready = str(tmp_path / "ready")
    wait = f"import pathlib, time\nwhile not pathlib.Path({ready!r}).exists(): time.sleep(0.05)\nraise RuntimeError"
    with pytest.raises(StepFailedError):
        supervisor.run("step", [task("patient", patient), task("bad", wait)])
    assert (tmp_path / "saved").exists()


def test_threads_of_a_task_are_limited(supervisor: Supervisor, tmp_path: Path) -> None:
    code = "import os; print({name: os.environ.get(name) for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS')})"
    supervisor.run("step", [task("t", code)], threads=3)
    assert "'OMP_NUM_THREADS': '3'" in log_of(tmp_path, "t")


def test_progress_of_all_tasks_is_added_up(tmp_path: Path) -> None:
    """And what an earlier run left in the files is not."""
    shown: list[dict[str, int]] = []

    class Step:
        update = finish = staticmethod(lambda counts: shown.append(dict(counts)))

    class Watching(Screen):
        @contextlib.contextmanager
        def step(self, *_: Any, **__: Any) -> Iterator[Any]:
            yield Step()

    (tmp_path / "progress").mkdir()
    (tmp_path / "progress" / "t0.json").write_text('{"pages": 1000}')
    supervisor = Supervisor(2, str(tmp_path), Watching(quiet=True), "local", ())
    code = "from gobelin.transforms.progress import advance\nfor _ in range({}): advance('pages')"
    supervisor.run("step", [task(f"t{n}", code.format(n + 1)) for n in range(3)], "pages", 6)
    assert shown[-1]["pages"] == 6
    assert max(counts.get("pages", 0) for counts in shown) == 6


def test_lines_are_printed_where_there_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    supervisor = Supervisor(1, str(tmp_path), Screen(), "local", (), modules=())
    supervisor.run(
        "a step", [task("t", "from gobelin.transforms.progress import advance; advance('pages', 1234)")], "pages"
    )
    line = capsys.readouterr().out
    assert "a step" in line
    assert "1,234 pages" in line


# ------------------------------------------------------------------------------------------------ signals

NUM_ARCHIVES = 5
RECIPE = "name: small\nnum_shards: 2\nselect: {image: {min_side_px: 40}, document: {unique: [near]}}\n"


@pytest.fixture(scope="module")
def archives(
    tmp_path_factory: pytest.TempPathFactory, record: Make, pack: Make, png: Make, html_page: Make, prose: str
) -> Path:
    """A folder of archives, each about a second's work, which is mostly a process's start."""
    folder = tmp_path_factory.mktemp("archives")
    for number in range(NUM_ARCHIVES):
        records = []
        for page in range(number * 5, number * 5 + 5):
            text = "".join(f"<p>Paragraph {n} of page {page}. {prose}</p><img src=/{page % 7}.png>" for n in range(6))
            records.append(record(f"https://a.example/{page}", html_page(text)))
        records += [record(f"https://a.example/{n}.png", png(n), "image/png") for n in range(number, 7)]
        filling = record(f"https://a.example/{number}.bin", bytes(MIN_BATCH_BYTES), "application/zip")  # a batch each
        (folder / f"{number}.warc").write_bytes(pack([*records, filling], compress=False))
    (folder / "small.yaml").write_text(RECIPE)
    return folder


class Started:
    """``gobelin run`` as a person starts it in a terminal: a session of its own, Ctrl-C not ignored."""

    def __init__(self, archives: Path, output: Path) -> None:
        argv = [
            str(BIN / "gobelin"), "run", "--recipe", str(archives / "small.yaml"),
            "--input", str(archives / "*.warc"), "--output", str(output), "--until", "select", "--workers", "2",
        ]  # fmt: skip
        # Shells start background jobs, and test runners may be started, with SIGINT ignored; exec keeps that.
        code = (
            "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
        )
        self.output = output
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def wait_until_half_done(self) -> None:
        """Until one batch of archives is read; then there is something done and something under way."""
        deadline = time.monotonic() + 60
        while not finished_batches(self.output):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def members(self) -> list[int]:
        """Processes of its session that are still there, zombies left out."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.process.pid and state != "Z":
                    found.append(int(stat.parent.name))
        return found

    def gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.members():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def clean_up(self) -> None:
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate(timeout=10)


@pytest.fixture
def start(archives: Path) -> Iterator[Callable[[Path], Started]]:
    started: list[Started] = []

    def begin(output: Path) -> Started:
        started.append(Started(archives, output))
        return started[-1]

    yield begin
    for each in started:
        each.clean_up()


def finished_batches(output: Path) -> list[str]:
    """Batches of archives whose indexes are all there."""
    folders = (output / "extract" / "work").glob("*/read-*")
    return sorted(folder.name for folder in folders if len(list(folder.glob("*/part-*.parquet"))) == len(INDEXES))


def digests(output: Path) -> dict[str, str]:
    files = sorted(output.rglob("*.parquet"))
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def undisturbed(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of a run that nobody stopped."""
    run = Started(archives, tmp_path_factory.mktemp("undisturbed") / "out")
    out, err = run.process.communicate(timeout=120)
    assert run.process.returncode == 0, out + err
    return digests(run.output)


def go_on(run: Started, start: Callable[[Path], Started]) -> str:
    """Runs the same command again to its end; returns what it said."""
    again = start(run.output)
    out, err = again.process.communicate(timeout=120)
    assert again.process.returncode == 0, out + err
    assert "Traceback" not in out + err
    return out


@pytest.mark.slow
@pytest.mark.parametrize("to_whom", ["whole group", "command alone"])
def test_ctrl_c(start: Callable[[Path], Started], tmp_path: Path, undisturbed: dict[str, str], to_whom: str) -> None:
    """A terminal signals the whole foreground group; ``kill -INT`` only the command."""
    run = start(tmp_path / "out")
    run.wait_until_half_done()
    asked = time.monotonic()
    if to_whom == "whole group":
        os.killpg(run.process.pid, signal.SIGINT)
    else:
        os.kill(run.process.pid, signal.SIGINT)
    out, err = run.process.communicate(timeout=20)
    assert time.monotonic() - asked < 8
    assert run.process.returncode == 130
    assert "Traceback" not in out + err
    assert "goes on from here" in err
    assert len(err.strip().splitlines()) == 1
    assert run.gone_within(2), "no process is left"
    done = finished_batches(run.output)
    assert 0 < len(done) < NUM_ARCHIVES
    if to_whom == "command alone":
        return
    for log in (run.output / "logs").iterdir():
        log.unlink()
    go_on(run, start)
    read_again = list((run.output / "logs").glob("read_archives-*.log"))
    assert len(read_again) == NUM_ARCHIVES - len(done), "what was read is not read again"
    assert digests(run.output) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
def test_workers_do_not_outlive_their_supervisor(tmp_path: Path, number: signal.Signals) -> None:
    """However it dies: what a batch system sends, what a closed terminal sends, what the kernel does without memory.
    An orphan would work for hours, and write beside the workers of the rerun."""
    pid_file = tmp_path / "pid"
    code = f"import os, pathlib, time; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(120)"
    program = (
        "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # nohup leaves it ignored
        "from pathlib import Path\nfrom gobelin.pipeline.run.progress_bar import Screen\n"
        "from gobelin.pipeline.run.supervisor import Supervisor, Task\n"
        f"supervisor = Supervisor(1, {str(tmp_path)!r}, Screen(True), 'local', (), modules=())\n"
        f"supervisor.run('step', [Task('sleep', exec, ({code!r},))])"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    worker = int(pid_file.read_text())
    process.send_signal(number)
    process.wait(timeout=20)
    deadline = time.monotonic() + 6
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    outlived = is_alive(worker)
    if outlived:
        os.kill(worker, signal.SIGKILL)
    assert not outlived


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.slow
def test_sigkill(start: Callable[[Path], Started], tmp_path: Path, undisturbed: dict[str, str]) -> None:
    """What the kernel does when memory runs out: no word, no cleaning up; the rerun finishes with the same bytes."""
    run = start(tmp_path / "out")
    run.wait_until_half_done()
    run.process.kill()
    run.process.wait()
    run.process.communicate()
    go_on(run, start)
    assert digests(run.output) == undisturbed
    assert not (run.output / "extract" / "work").exists()


@pytest.mark.slow
def test_a_worker_that_is_killed_ends_the_run_with_a_word(start: Callable[[Path], Started], tmp_path: Path) -> None:
    run = start(tmp_path / "out")
    deadline = time.monotonic() + 60
    is_killed = False
    while not is_killed:
        assert run.process.poll() is None
        assert time.monotonic() < deadline
        for pid in filter(is_worker, run.members()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                is_killed = True
        time.sleep(0.01)
    _, err = run.process.communicate(timeout=30)
    assert run.process.returncode == 1
    assert "killed by signal 9" in err
    assert "Traceback" not in err
    assert run.gone_within(5)


def is_worker(pid: int) -> bool:
    """A process that writes to a log of its own."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/fd/1").endswith(".log")
    return False


def test_screen_says_nothing_when_quiet() -> None:
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        Screen(quiet=True).say("words")
    assert stream.getvalue() == ""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no malloc_trim")
def test_what_a_task_has_freed_goes_back_to_the_system() -> None:
    """Also where something that stays lies above it in memory."""
    freed = [bytes(1000) for _ in range(100_000)]
    stays = bytes(1000)
    del freed
    before = worker._resident_bytes()
    worker._give_memory_back()
    assert worker._resident_bytes() < before - 50 * 2**20
    assert len(stays) == 1000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_large_buffers_leave_no_holes_in_the_heap() -> None:
    code = """
from gobelin.pipeline.run import worker
worker._map_large_buffers()
size = 6 * 2**20
for _ in range(3):
    bytes(size).upper()  # by itself the C library would now keep buffers of this size in its heap
buffers = [bytes(size).upper() for _ in range(20)]
before = worker._resident_bytes()
del buffers[:-1:2]  # every other one: the heap cannot shrink from its top
print(before - worker._resident_bytes())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) > 50 * 2**20
