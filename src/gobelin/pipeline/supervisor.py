"""Runs graphs and functions in worker processes, and owns what Beam's local runner does not: signals, progress, logs.

Locally a graph by unit is cut into batches of units; each batch is one pipeline on Beam's in-process runner
(FnApiRunner) in a process of its own, at most ``workers`` at a time. Processes are forked from a server that has
imported Beam once. They ignore Ctrl-C; the supervisor ends them. Their output goes to ``logs/``, their counts to a
file each, which the supervisor adds up into a bar. A process that fails ends the step with the last line of its log.

With another runner (Flink, Dataflow, Beam's portable job service) the same graph gets all units in one pipeline.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pyarrow as pa

from gobelin.errors import DEFECT, UserError, in_a_line, is_of_the_machine
from gobelin.pipeline.progress_bar import Screen, Step
from gobelin.transforms import progress

LOCAL_NAMES = ("local", "direct", "directrunner", "fnapirunner")
"""Runner names that mean Beam's in-process runner under this supervisor."""

_POLL_SECONDS = 0.1
_SECONDS_TO_STOP = 4.0

_DEFECT, _NO_DEFECT = 1, 2
"""Exit codes of a worker process that failed, by whose fault it was; the last line of its log says what it was."""

CPU_MILLISECONDS = "cpu_ms"
"""Name under which a worker process counts its own time."""

Graph = Callable[[Any, list[Any], Any], None]
"""(pipeline, units, job) -> None; adds the job's steps to the pipeline."""


class StepFailedError(RuntimeError):
    """A worker process failed; the message holds the reason and the log's path."""


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """Something to do in a process of its own: ``function(*arguments)``. Must be picklable."""

    name: str
    function: Callable[..., None]
    arguments: tuple[Any, ...]


class Supervisor:
    """Runs tasks, at most ``workers`` at a time."""

    def __init__(self, workers: int, folder: Path, screen: Screen, runner: str, beam_args: tuple[str, ...]) -> None:
        self._workers, self._folder, self._screen = workers, folder, screen
        self._runner, self._beam_args = runner, beam_args
        self._context: ForkServerContext | None = None
        self.cpu_seconds = 0.0  # of the worker processes that have ended

    @property
    def is_local(self) -> bool:
        return self._runner.lower() in LOCAL_NAMES

    def run_graph(
        self,
        title: str,
        graph: Graph,
        batches: Sequence[tuple[list[Any], Any]],
        unit: str = "",
        total: int | None = None,
    ) -> None:
        """Runs a graph once for each (units, job).

        Args:
            unit, total: what the bar counts, and how many there will be.
        """
        if not batches:
            return
        if not self.is_local:
            with self._screen.step(title) as step:
                for units, job in batches:
                    try:
                        run_pipeline(graph, units, job, ("--runner", self._runner, *self._beam_args))
                    except Exception as error:  # each runner of Beam's raises its own
                        raise StepFailedError(f"{title} failed on {self._runner}: {in_a_line(error)}") from error
                step.finish({})
            return
        tasks = [
            Task(f"{graph.__name__}-{index}", run_pipeline, (graph, units, job, self._beam_args))
            for index, (units, job) in enumerate(batches)
        ]
        self.run(title, tasks, unit, total)

    def run(
        self, title: str, tasks: Sequence[Task], unit: str = "", total: int | None = None, threads: int = 1
    ) -> None:
        """Runs tasks to their end.

        Args:
            threads: of torch, in each process.

        Raises:
            StepFailedError: one failed; the others are stopped.
            KeyboardInterrupt: as it comes; all are stopped.
        """
        waiting = list(tasks)
        running: dict[str, BaseProcess] = {}
        files = {task.name: self._folder / "progress" / f"{task.name}.json" for task in tasks}
        for folder in ("progress", "logs"):
            (self._folder / folder).mkdir(parents=True, exist_ok=True)
        for file in files.values():
            file.unlink(missing_ok=True)
        with self._screen.step(title, unit, total) as step:
            try:
                while waiting or running:
                    while waiting and len(running) < self._workers:
                        task = waiting.pop(0)
                        running[task.name] = self._start(task, files[task.name], threads)
                    time.sleep(_POLL_SECONDS)
                    self._show(step, files)
                    for name, process in list(running.items()):
                        if process.exitcode is None:
                            continue
                        del running[name]
                        if process.exitcode != 0:
                            raise StepFailedError(self._reason(title, name, process.exitcode))
            finally:
                _stop(list(running.values()))
            counts = _total(files)
            self.cpu_seconds += counts.pop(CPU_MILLISECONDS, 0) / 1000
            step.finish(counts)

    def _start(self, task: Task, progress_file: Path, threads: int) -> BaseProcess:
        if self._context is None:
            self._context = multiprocessing.get_context("forkserver")
            self._context.set_forkserver_preload(["gobelin.pipeline.preload"])
        log = self._folder / "logs" / f"{task.name}.log"
        process = self._context.Process(target=_work, args=(task, progress_file, log, threads), daemon=True)
        process.start()
        return process

    def _show(self, step: Step, files: dict[str, Path]) -> None:
        step.update(_total(files))

    def _reason(self, title: str, name: str, exit_code: int) -> str:
        log = self._folder / "logs" / f"{name}.log"
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
        if exit_code < 0:
            last = f"killed by signal {-exit_code}" + (" (out of memory?)" if exit_code == -signal.SIGKILL else "")
        else:
            last = lines[-1] if lines else f"exit code {exit_code}"
            last += f"; {DEFECT}" if lines and exit_code == _DEFECT else ""
        return f"{title} failed: {last}\n(the whole story is in {log})"


def _total(files: dict[str, Path]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for file in files.values():
        counts.update(progress.read_counts(file))
    return dict(counts)


def _stop(processes: list[BaseProcess]) -> None:
    """Asks processes to stop, and after a few seconds makes them."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _SECONDS_TO_STOP
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.exitcode is None:
            process.kill()
            process.join()


_stop_requested = threading.Event()


def stop_requested() -> bool:
    """Whether this worker process was asked to stop; long functions ask now and then."""
    return _stop_requested.is_set()


def heed_stop() -> None:
    """From now on a request to stop is only noted, for ``stop_requested``; before, it ends the process at once."""
    signal.signal(signal.SIGTERM, lambda *_: _stop_requested.set())


def _work(task: Task, progress_file: Path, log: Path, threads: int) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["OMP_WAIT_POLICY"] = (
        "PASSIVE"  # threads that spin starve each other on a shared machine (8 times slower)
    )
    with log.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        sys.stdout = sys.stderr = stream
        progress.report_to(progress_file)
        pa.set_memory_pool(pa.system_memory_pool())  # gives memory back: 30 % less at the peak of a graph
        try:
            task.function(*task.arguments)
        except BaseException as error:  # noqa: BLE001  # whatever it was, it goes to the log and the process ends
            traceback.print_exc()
            print(in_a_line(error), flush=True)
            is_defect = isinstance(error, Exception) and not (isinstance(error, UserError) or is_of_the_machine(error))
            os._exit(_DEFECT if is_defect else _NO_DEFECT)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)  # that ended: decoding processes
        seconds = time.process_time() + children.ru_utime + children.ru_stime
        progress.advance(CPU_MILLISECONDS, round(1000 * seconds))
        progress.flush()


def _end_with_supervisor() -> None:
    """Ends this process when the supervisor is gone. (The server that forked it lives as long as a worker does.)"""
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        supervisor.join()
        os._exit(1)


def run_pipeline(graph: Graph, units: list[Any], job: Any, beam_args: tuple[str, ...]) -> None:
    """Builds and runs one pipeline: in this process, or where ``--runner`` says."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from apache_beam.runners.runner import PipelineState

    options = PipelineOptions(list(beam_args))
    runner = None if "--runner" in beam_args else FnApiRunner()
    pipeline = beam.Pipeline(runner=runner, options=options)
    graph(pipeline, units, job)
    state = pipeline.run().wait_until_finish()
    if state != PipelineState.DONE:
        raise RuntimeError(f"the pipeline ended in the state {state}")
