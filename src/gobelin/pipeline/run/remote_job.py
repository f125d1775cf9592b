"""Jobs on another runner than the local one: handed over, watched, cancelled with the command, met again by the next.

While a job runs, ``OUT/.gobelin-job.json`` says which one it is. Ctrl-C and SIGTERM cancel it. A command that was
killed leaves the file behind; the next one asks the job service (Beam's JobService: Flink, Spark, Prism) what became of
the job, and waits for it or cancels it. It asks for the job's *name*, which no other job has, so it finds a job whose
id never came back, too. Where nobody can be asked, it says so: such a job writes the same bytes, or into the folder of
its own attempt.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from gobelin.errors import UserError
from gobelin.store.files import delete, read_json, write_json
from gobelin.store.paths import join

NOTE_NAME = ".gobelin-job.json"

CHOICES = ("wait", "cancel")
"""What becomes of a job that an earlier command left running."""

SECONDS_TO_CANCEL = 60.0
"""So long a command that was stopped waits until its job has ended."""

SECONDS_TO_ANSWER = 20.0
"""So long a job service may be silent before it counts as one that cannot be asked."""

_POLL_SECONDS = 1.0
_JOB_NAME_OPTION = "beam:option:job_name:v1"
_SILENT = "UNKNOWN"
"""In place of a state: nobody tells it."""

_NOT_THERE = "not known to its job service"
"""In place of a state: the service answers, and has no such job (any more)."""

_ENDED = ("DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED", "STOPPED", _NOT_THERE)
"""States of a job that writes nothing any more. STOPPED: prepared, and never begun."""

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """A job that is under way."""

    name: str
    title: str  # of the step
    runner: str
    endpoint: str | None = None  # of the job service
    job_id: str | None = None  # None: not known yet

    def __str__(self) -> str:
        return f"job {self.job_id or self.name} on {self.runner}"


class JobLostError(RuntimeError):
    """A job can no longer be watched, and may still run."""


def run_remotely(
    title: str,
    graph: Callable[[Any, list[Any], Any], None],
    units: list[Any],
    job: Any,
    runner: str,
    beam_args: tuple[str, ...],
    output: str,
    say: Say,
) -> None:
    """Builds a pipeline, hands it to a runner of Beam's and waits until it is done.

    Args:
        output: folder of the run, where the job is noted while it runs.

    Raises:
        Exception: each runner's own, where the job failed.
        JobLostError: nobody tells any more how the job goes.
        BaseException: what stopped this process; the job is cancelled.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, PortableOptions

    options = PipelineOptions(["--runner", runner, *beam_args])
    named = options.view_as(GoogleCloudOptions)
    step = graph.__name__.strip("_").replace("_", "-")
    named.job_name = f"{named.job_name or 'gobelin'}-{step}-{uuid.uuid4().hex[:8]}"
    note = Note(named.job_name, title, runner, options.view_as(PortableOptions).job_endpoint)
    pipeline = beam.Pipeline(options=options)
    graph(pipeline, units, job)
    address, result = join(output, NOTE_NAME), None
    write_json(address, dataclasses.asdict(note))
    try:
        result = pipeline.run()
        note = dataclasses.replace(note, job_id=_id_of(result))
        write_json(address, dataclasses.asdict(note))
        say(f"{title}: {note}")
        state = result.wait_until_finish()
    except Exception as error:
        if result is None:
            _ask(note, "Cancel")
        elif (state := _state_of(note, result)) not in _ENDED:
            raise JobLostError(f"{note} may still run ({state}), the same command meets it: {error}") from error
        delete(address)
        raise
    except BaseException:
        if _cancel_and_wait(note, result):
            delete(address)
        raise
    delete(address)
    if state != "DONE":
        raise RuntimeError(f"{note} ended in the state {state}")


def running_job(output: str) -> tuple[str, str] | None:
    """(the job that is noted in an output folder, its state in a word); None where none is."""
    try:
        note = Note(**read_json(join(output, NOTE_NAME)))
    except (FileNotFoundError, UserError, TypeError):
        return None
    state = _state_of(note, None)
    return str(note), "nobody can be asked" if state == _SILENT else state


def meet_running_job(output: str, choice: str, say: Say) -> None:
    """Asks what became of the job that an earlier command left in an output folder; waits for it, or cancels it.

    Args:
        choice: of ``CHOICES``.
    """
    address = join(output, NOTE_NAME)
    try:
        note = Note(**read_json(address))
    except FileNotFoundError:
        return
    except (UserError, TypeError):
        say(f"{address} does not name a job, and is deleted")
        delete(address)
        return
    state = _state_of(note, None)
    if state in (_SILENT, _NOT_THERE):
        why = "nobody can be asked how it goes" if state == _SILENT else f"it is {state}"
        say(
            f"an earlier command left {note}, and {why}: going on. Should it still run, it writes the same bytes, or "
            "into the folder of another attempt, which nobody reads"
        )
    elif state not in _ENDED:
        say(f"an earlier command left {note}, for {note.title!r}; it is {state}: {choice}")
        if choice == "cancel":
            _ask(note, "Cancel")
        state = _wait_for(note, None, SECONDS_TO_CANCEL if choice == "cancel" else None)
        say(f"{note} is {state}")
        if state not in _ENDED and choice == "cancel":
            raise UserError(f"{note} does not end; wait for it, or end it where it runs, and start again")
    delete(address)


def _cancel_and_wait(note: Note, result: Any) -> bool:
    """Cancels a job and says so. Returns whether it has ended."""
    print(f"\ngobelin: {note} is being cancelled", file=sys.stderr, flush=True)
    logging.disable(logging.ERROR)  # Beam reports its streams that are cut; the job's state is said below
    # In a thread: a service that is gone may keep the call for ever.
    cancel = result.cancel if result is not None else lambda: _ask(note, "Cancel")
    thread = threading.Thread(target=_quietly, args=(cancel,), daemon=True)
    thread.start()
    thread.join(SECONDS_TO_ANSWER)
    state = _wait_for(note, result, SECONDS_TO_CANCEL)
    logging.disable(logging.NOTSET)
    has_ended = state in _ENDED
    more = "" if has_ended else "; it may run on, and the same command meets it"
    print(f"gobelin: {note} is {state}{more}", file=sys.stderr, flush=True)
    return has_ended


def _quietly(act: Callable[[], Any]) -> None:
    with contextlib.suppress(Exception):  # each runner's own; the job's state tells how it went
        act()


def _wait_for(note: Note, result: Any, seconds: float | None) -> str:
    """The state of a job when it has ended, or after some seconds, or when nobody could be asked for a while."""
    start = heard = time.monotonic()
    while True:
        state, now = _state_of(note, result), time.monotonic()
        heard = now if state != _SILENT else heard
        if state in _ENDED or now - heard > SECONDS_TO_ANSWER or (seconds is not None and now - start > seconds):
            return state
        time.sleep(_POLL_SECONDS)


def _id_of(result: Any) -> str | None:
    """The id of a job: Dataflow has a method for it, the portable runners an attribute."""
    job_id = getattr(result, "job_id", None) or getattr(result, "_job_id", None)
    return str(job_id() if callable(job_id) else job_id) if job_id is not None else None


def _state_of(note: Note, result: Any) -> str:
    """The state of a job, or what stands in place of one."""
    if note.endpoint is None:
        with contextlib.suppress(Exception):  # each runner's own
            return str(result.state) if result is not None else _SILENT
        return _SILENT
    return _ask(note, "GetState")


def _ask(note: Note, what: str) -> str:
    """Asks a job service for a job's state, or to cancel it. Returns the state."""
    import grpc
    from apache_beam.portability.api import beam_job_api_pb2 as api
    from apache_beam.portability.api import beam_job_api_pb2_grpc as services

    if note.endpoint is None:
        return _SILENT
    try:
        with grpc.insecure_channel(note.endpoint) as channel:
            service = services.JobServiceStub(channel)
            jobs = service.GetJobs(api.GetJobsRequest(), timeout=SECONDS_TO_ANSWER).job_info
            found = next((job for job in jobs if _is_of(note, job)), None)
            if found is None:
                return _NOT_THERE
            if what == "Cancel":
                service.Cancel(api.CancelJobRequest(job_id=found.job_id), timeout=SECONDS_TO_ANSWER)
            return str(api.JobState.Enum.Name(found.state))
    except grpc.RpcError:
        return _SILENT


def _is_of(note: Note, job: Any) -> bool:
    """Whether a job that a service lists is the noted one. Ids alone may begin anew with the service (Prism's do)."""
    options = job.pipeline_options.fields
    if _JOB_NAME_OPTION in options:
        return bool(options[_JOB_NAME_OPTION].string_value == note.name)
    return note.job_id is not None and bool(job.job_id == note.job_id)
