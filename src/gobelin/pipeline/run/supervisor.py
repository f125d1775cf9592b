"""Runs graphs and functions in worker processes, and adds what Beam's local runner lacks: signals, progress, logs.

Locally, the units of a graph are cut into batches. Each batch is one pipeline on Beam's in-process runner (FnApiRunner)
in a worker process. At most ``workers`` processes work at a time. Each takes one batch after another, over all steps
(worker.py). Workers ignore Ctrl-C, and the supervisor ends them. What a task prints goes to ``logs/``. What it counts
goes to a file of its own, and the supervisor adds these files up for the bar. If a task fails, the step ends with the
last line of the task's log.

With another runner (Flink, Dataflow, Beam's portable job service) the same graph gets all units in one pipeline
(remote_job.py).
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from gobelin.errors import DEFECT, in_a_line
from gobelin.pipeline.run.progress_bar import Screen, Step
from gobelin.pipeline.run.worker import DEFECT_CODE, FULL_CODE, Task
from gobelin.pipeline.run.worker_pool import PRELOAD, ServerGoneError, Worker, WorkerPool
from gobelin.transforms import progress

LOCAL_NAMES = ("local", "direct", "directrunner", "fnapirunner")
"""Runner names that mean Beam's in-process runner under this supervisor."""

_POLL_SECONDS = 0.1

Graph = Callable[[Any, list[Any], Any], None]
"""(pipeline, units, job) -> None; adds the job's steps to the pipeline."""


class StepFailedError(RuntimeError):
    """A worker process failed. The message has the reason and the path of the log. If a disk is full, the cause is an
    ``OSError`` (ENOSPC)."""


class Supervisor:
    """Runs tasks, at most ``workers`` at the same time."""

    def __init__(
        self,
        workers: int,
        folder: str,
        screen: Screen,
        runner: str,
        beam_args: tuple[str, ...],
        modules: tuple[str, ...] = PRELOAD,  # that workers have imported when they start
        output: str | None = None,  # the run's folder, where a job on another runner is noted; None: ``folder``
    ) -> None:
        self._workers, self._folder, self._screen = workers, Path(folder), screen
        self._runner, self._beam_args = runner, beam_args
        self._output = folder if output is None else output
        self._pool = WorkerPool(modules=modules)

    def say(self, text: str) -> None:
        """Prints one line for the user."""
        self._screen.say(text)

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
        before: int = 0,
    ) -> None:
        """Runs a graph once for each (units, job).

        Args:
            unit, total: what the bar counts, and the number of these.
            before: number of them that an earlier command has done.
        """
        if not batches:
            return
        if not self.is_local:
            from gobelin.pipeline.run.remote_job import JobLostError, run_remotely

            with self._screen.step(title) as step:
                for units, job in batches:
                    where = self._runner, self._beam_args, self._output
                    try:
                        run_remotely(title, graph, units, job, *where, self._screen.say)
                    except JobLostError as error:
                        raise StepFailedError(f"{title}: {error}") from error
                    except Exception as error:  # each runner of Beam's raises its own
                        raise StepFailedError(f"{title} failed on {self._runner}: {in_a_line(error)}") from error
                step.finish({})
            return
        tasks = [
            Task(f"{graph.__name__}-{index}", run_pipeline, (graph, units, job, self._beam_args))
            for index, (units, job) in enumerate(batches)
        ]
        self.run(title, tasks, unit, total, before=before)

    def run(
        self,
        title: str,
        tasks: Sequence[Task],
        unit: str = "",
        total: int | None = None,
        threads: int = 1,
        before: int = 0,
    ) -> None:
        """Runs tasks until all are done.

        Args:
            threads: of torch and NumPy, in each process.
            before: as in ``run_graph``.

        Raises:
            StepFailedError: a task failed; the others are stopped.
            KeyboardInterrupt: the user interrupted the command; all tasks are stopped.
        """
        if not tasks:
            return
        files = {task.name: self._folder / "progress" / f"{task.name}.json" for task in tasks}
        for folder in ("progress", "logs"):
            (self._folder / folder).mkdir(parents=True, exist_ok=True)
        for file in files.values():
            file.unlink(missing_ok=True)
        pool = self._pool if threads == 1 else WorkerPool(threads, ())  # no graph of Beam's
        with self._screen.step(title, unit, total, before) as step:
            try:
                self._run(title, list(tasks), files, pool, step)
            except ServerGoneError as error:
                raise StepFailedError(f"{title} failed: {error}") from None
            finally:
                if pool is not self._pool:
                    pool.close()
            step.finish(_total(files))

    def _run(self, title: str, waiting: list[Task], files: dict[str, Path], pool: WorkerPool, step: Step) -> None:
        running: dict[Worker, Task] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self._workers:
                    task = waiting.pop(0)
                    running[self._start(task, files[task.name], pool)] = task
                wait([pool.control, *(worker.tasks for worker in running)], _POLL_SECONDS)
                self._show(step, files)
                pool.read_reports()
                for worker, task in list(running.items()):
                    takes_another = _answer(worker)
                    if takes_another is None:
                        exit_code = pool.exit_code(worker)
                        if exit_code is not None:
                            del running[worker]
                            worker.tasks.close()
                            cause = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if exit_code == FULL_CODE else None
                            raise StepFailedError(self._reason(title, task.name, exit_code)) from cause
                        continue
                    del running[worker]
                    if takes_another and not task.alone:
                        pool.give_back(worker)
                    else:
                        worker.tasks.close()
        finally:
            pool.stop(list(running))

    def _start(self, task: Task, progress_file: Path, pool: WorkerPool) -> Worker:
        log = self._folder / "logs" / f"{task.name}.log"
        while True:
            worker = pool.take(is_new=task.alone)
            if worker.start(task, progress_file, log):
                return worker
            worker.tasks.close()

    def close(self) -> None:
        """Ends the worker processes."""
        self._pool.close()

    def _show(self, step: Step, files: dict[str, Path]) -> None:
        step.note = next(filter(None, (progress.read_note(str(file)) for file in files.values())), "")
        step.update(_total(files))

    def _reason(self, title: str, name: str, exit_code: int) -> str:
        if exit_code == FULL_CODE:
            return f"{title} failed: no space left on the disk"
        log = self._folder / "logs" / f"{name}.log"
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
        if exit_code < 0:
            last = f"killed by signal {-exit_code}" + (" (out of memory?)" if exit_code == -signal.SIGKILL else "")
        else:
            last = lines[-1] if lines else f"exit code {exit_code}"
            last += f"; {DEFECT}" if lines and exit_code == DEFECT_CODE else ""
        return f"{title} failed: {last}\n(the whole story is in {log})"


def _total(files: dict[str, Path]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for file in files.values():
        counts.update(progress.read_counts(str(file)))
    return dict(counts)


def _answer(worker: Worker) -> bool | None:
    """Whether a worker that has finished its task takes another. None: it has not finished."""
    try:
        return worker.tasks.recv() if worker.tasks.poll() else None
    except (EOFError, OSError):  # it has ended; how, the server reports
        return None


def run_pipeline(graph: Graph, units: list[Any], job: Any, beam_args: tuple[str, ...]) -> None:
    """Builds and runs one pipeline in this process."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from apache_beam.runners.runner import PipelineState

    # gobelin's own graphs need no type check in each pipeline, which takes a tenth of a pipeline's cost.
    options = PipelineOptions([*beam_args, "--no_pipeline_type_check"])
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=options)
    graph(pipeline, units, job)
    state = pipeline.run().wait_until_finish()
    if state != PipelineState.DONE:
        raise RuntimeError(f"the pipeline ended in the state {state}")
