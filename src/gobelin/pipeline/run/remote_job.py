"""Jobs on a runner other than the local one: submits and watches them, cancels them with the command, and finds jobs of
earlier commands.

While a job runs, ``OUT/.gobelin-job.json`` names it. Ctrl-C and SIGTERM cancel the job. A command that was killed
leaves the file behind. The next command asks the job service (Beam's JobService: Flink, Spark, Prism) for the state of
the job, and waits for the job or cancels it. It asks for the job's unique *name*, so it also finds a job whose id was
never returned. If no service can be asked, it says so. Such a job does no harm: it writes the same bytes, or writes
into the folder of its own attempt.

A job service may be unavailable for a while. This module then asks for the states that Beam's connection missed. If the
service is silent for ``SECONDS_OF_SILENCE``, the command ends, and the file remains.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

from gobelin.errors import UserError
from gobelin.store.files import delete, read_json, write_json
from gobelin.store.paths import join

NOTE_NAME = ".gobelin-job.json"

CHOICES = ("wait", "cancel")
"""What becomes of a job that an earlier command left running."""

SECONDS_TO_CANCEL = 60.0
"""Seconds for which a stopped command waits until its job has ended."""

SECONDS_TO_ANSWER = 20.0
"""Seconds for which a job service may be silent before it counts as one that cannot be asked."""

SECONDS_OF_SILENCE = 120
"""Seconds for which the job service of a job under way may be silent, or away, unless Beam's ``--job_server_timeout``
says otherwise; then the command gives up."""

_POLL_SECONDS, _WATCH_SECONDS = 1.0, 5.0
_SECONDS_OF_A_JOB = 30 * 86400
"""Seconds after which Beam ends the streams in which a job service tells how a job goes, and why it failed."""

_AGAIN = "give the same command again: it waits for the job, or repeats the step"
_JOB_NAME_OPTION = "beam:option:job_name:v1"
_SILENT = "UNKNOWN"
"""In place of a state: it cannot be found out."""

_UNTOLD = "not told by its job service"
"""In place of a state: the service answers, and cannot list its jobs."""

_NOT_THERE = "not known to its job service"
"""In place of a state: the service answers, and has no such job (any more)."""

_ENDED = ("DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED", "STOPPED", _NOT_THERE)
"""States of a job that writes nothing any more. STOPPED: prepared, and never begun."""

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """A running job."""

    name: str
    title: str  # of the step
    runner: str
    endpoint: str | None = None  # of the job service
    job_id: str | None = None  # None: not known yet

    def __str__(self) -> str:
        return f"job {self.job_id or self.name} on {self.runner}"


class JobLostError(RuntimeError):
    """A job cannot be watched any more, and may still run."""


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
    """Builds a pipeline, submits it to a runner of Beam and waits until it is done.

    Args:
        output: folder of the run, where the job is recorded while it runs.

    Raises:
        Exception: the runner's own, if the job failed.
        JobLostError: the state of the job cannot be found out any more.
        BaseException: whatever stopped this process; the job is cancelled.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, PortableOptions

    options = PipelineOptions(["--runner", runner, f"--job_server_timeout={SECONDS_OF_SILENCE}", *beam_args])
    named, portable = options.view_as(GoogleCloudOptions), options.view_as(PortableOptions)
    step = graph.__name__.strip("_").replace("_", "-")
    once = uuid.uuid4().hex[:8]
    named.job_name = f"{named.job_name or 'gobelin'}-{step}-{once}"
    patience = portable.job_server_timeout
    endpoint = portable.job_endpoint if portable.job_endpoint != "embed" else None  # that is a thread of this process
    note = Note(named.job_name, title, runner, endpoint)
    if endpoint is not None:  # Beam would end the streams of a job after this time, too; `_watch` is patient by itself
        portable.job_server_timeout = _SECONDS_OF_A_JOB
    pipeline = beam.Pipeline(options=options)
    _name_environments(pipeline, once)
    graph(pipeline, units, job)
    address = join(output, NOTE_NAME)
    write_json(address, dataclasses.asdict(note))
    with _without_traces_of_cut_streams():
        _run(pipeline, note, address, patience, say)


def _name_environments(pipeline: Any, name: str) -> None:
    """Adds a name to the ids of a pipeline's environments.

    Prism identifies a worker by the number of its job and the id of its environment. A restarted Prism counts jobs from
    1 again. Without this name, a late worker of an old job could take data of the new job, which would then never end.
    """
    from apache_beam.pipeline import ComponentIdMap
    from apache_beam.transforms.environments import Environment

    class Named(ComponentIdMap):
        def get_or_assign(self, obj: Any = None, obj_type: Any = None, label: str | None = None) -> str:
            label = f"{name}_{label or type(obj).__name__}" if obj_type is Environment else label
            return str(super().get_or_assign(obj, obj_type, label))

    pipeline.component_id_map = Named()


def _run(pipeline: Any, note: Note, address: str, patience: float, say: Say) -> None:
    """Submits a pipeline, waits for its job and keeps the note up to date. Raises the errors of ``run_remotely``."""
    handed = result = None
    try:
        handed = _begin(note, pipeline.run)
        result = _watch(note, handed, patience, say)
        note = dataclasses.replace(note, job_id=_id_of(result))
        write_json(address, dataclasses.asdict(note))
        say(f"{note.title}: {note}")
        state = _watch(note, _begin(note, result.wait_until_finish), patience, say, _ENDED)
    except JobLostError:
        raise
    except Exception as error:
        if result is None:
            if _ask(note, "Cancel") == _SILENT and note.endpoint is not None:
                raise _lost(note, patience) from error
            delete(address)
            raise
        state = _state_of(note, result)
        if state not in _ENDED and note.endpoint is None:
            raise JobLostError(f"{note} may still run ({state}): {error}; {_AGAIN}") from error
        if state not in _ENDED or state == _NOT_THERE:
            state = _watch_without_stream(note, patience, say)
        elif state != "DONE":  # otherwise its stream alone was cut
            delete(address)
            raise
    except BaseException:
        if result is None and handed is not None:
            with contextlib.suppress(Exception):  # so that nothing is handed over once it is cancelled
                result = handed.result(SECONDS_TO_ANSWER)
        if _cancel_and_wait(note, result):
            delete(address)
        raise
    delete(address)
    if state != "DONE":
        raise RuntimeError(f"{note} ended in the state {state}")


def _watch_without_stream(note: Note, patience: float, say: Say) -> str:
    """The final state of a job whose stream of states was cut.

    Raises:
        JobLostError: the service is silent, or was restarted and does not know the job.
    """
    say(f"{note}: the connection to {note.endpoint} was cut; it is asked again for up to {patience:g} s")
    state = _wait_for(note, None, None, patience)
    if state == _SILENT:
        raise _lost(note, patience)
    if state in (_UNTOLD, _NOT_THERE):
        raise JobLostError(f"{note} is {state}, {note.endpoint}; {_AGAIN}")
    return state


def _begin(note: Note, call: Callable[[], Any]) -> futures.Future[Any]:
    """Calls a function of Beam. With a job service, the call runs in a thread, because it may never return if the
    service is gone. (Without one, a job server in this process sets signal handlers, which only the main thread may
    do.)"""
    found: futures.Future[Any] = futures.Future()

    def act() -> None:
        try:
            found.set_result(call())
        except Exception as error:  # noqa: BLE001  # each runner's own; it is raised where the result is taken
            found.set_exception(error)

    if note.endpoint is None:
        act()
    else:
        threading.Thread(target=act, daemon=True).start()
    return found


def _watch(note: Note, call: futures.Future[Any], patience: float, say: Say, last: tuple[str, ...] = ()) -> Any:
    """Waits for the result of a call as long as the job service answers.

    Args:
        last: final states of the job. If the call does not end soon after one of them, returns the state.

    Raises:
        JobLostError: the service was silent for too long.
        Exception: the call's own.
    """
    heard, is_told = time.monotonic(), False
    while not futures.wait([call], _WATCH_SECONDS).done:
        state, now = _ask(note, "GetState"), time.monotonic()
        if state != _SILENT:
            heard = now
        elif now - heard > patience:
            raise _lost(note, patience)
        elif not is_told:
            say(f"{note}: its job service {note.endpoint} does not answer; it is asked again for up to {patience:g} s")
        is_told = state == _SILENT
        if state in last and state != _NOT_THERE and not futures.wait([call], SECONDS_TO_ANSWER).done:
            return state  # the stream was cut, and neither side was told
    return call.result()


def _lost(note: Note, patience: float) -> JobLostError:
    run_on = f"; {note} may still run" if note.job_id is not None else ""
    silent = f"the job service {note.endpoint} did not answer for {patience:g} s (--job_server_timeout)"
    return JobLostError(f"{silent}{run_on}; is it there? {_AGAIN}")


@contextlib.contextmanager
def _without_traces_of_cut_streams() -> Iterator[None]:
    """Suppresses tracebacks of Beam's message thread, which ends with an exception when its stream is cut."""
    import grpc

    before = threading.excepthook

    def hook(told: threading.ExceptHookArgs) -> None:
        if not isinstance(told.exc_value, grpc.RpcError):
            before(told)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def running_job(output: str) -> tuple[str, str] | None:
    """(job recorded in an output folder, its state in a word); None if no job is recorded."""
    try:
        note = Note(**read_json(join(output, NOTE_NAME)))
    except (FileNotFoundError, UserError, TypeError):
        return None
    state = _state_of(note, None)
    return str(note), "unknown" if state in (_SILENT, _UNTOLD) else state


def meet_running_job(output: str, choice: str, say: Say, beam_args: Sequence[str] = ()) -> None:
    """Finds the job that an earlier command left in an output folder, and waits for it or cancels it.

    Args:
        choice: one of ``CHOICES``.
        beam_args: of this command.

    Raises:
        UserError: the job does not end, or its service does not answer and this command would use the same service.
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
    if state == _SILENT and any(note.endpoint in each for each in beam_args if note.endpoint):
        raise UserError(
            f"an earlier command left {note}, and its job service {note.endpoint} does not answer; start it, or wait "
            "until it answers, and give the same command again"
        )
    if state in (_SILENT, _UNTOLD, _NOT_THERE):
        why = f"it is {state}" if state == _NOT_THERE else "its state is unknown"
        say(
            f"an earlier command left {note}, and {why}: going on. If it still runs, it writes the same bytes, or "
            "into the folder of another attempt, which nobody reads"
        )
    elif state not in _ENDED:
        say(f"an earlier command left {note}, for {note.title!r}; it is {state}: {choice}")
        if choice == "cancel":
            _ask(note, "Cancel")
        state = _wait_for(note, None, SECONDS_TO_CANCEL if choice == "cancel" else None, SECONDS_OF_SILENCE)
        say(f"{note} is {state}")
        if state not in _ENDED and choice == "cancel":
            raise UserError(f"{note} does not end; wait for it, or end it where it runs, and start again")
    delete(address)


def _cancel_and_wait(note: Note, result: Any) -> bool:
    """Cancels a job and reports it. Returns whether the job has ended."""
    print(f"\ngobelin: {note} is being cancelled", file=sys.stderr, flush=True)
    logging.disable(logging.ERROR)  # Beam reports its streams that are cut; the job's state is said below
    # In a thread, because the call may never return if the service is gone.
    cancel = result.cancel if result is not None else lambda: _ask(note, "Cancel")
    thread = threading.Thread(target=_quietly, args=(cancel,), daemon=True)
    thread.start()
    thread.join(SECONDS_TO_ANSWER)
    state = _wait_for(note, result, SECONDS_TO_CANCEL, SECONDS_TO_ANSWER)
    logging.disable(logging.NOTSET)
    has_ended = state in _ENDED
    more = "" if has_ended else "; it may run on, and the same command meets it"
    print(f"gobelin: {note} is {state}{more}", file=sys.stderr, flush=True)
    return has_ended


def _quietly(act: Callable[[], Any]) -> None:
    with contextlib.suppress(Exception):  # each runner's own; the job's state tells how it went
        act()


def _wait_for(note: Note, result: Any, seconds: float | None, patience: float) -> str:
    """Waits until a job has ended, ``seconds`` have passed, or the service has been silent for ``patience`` seconds.
    Returns the job's state."""
    start = heard = time.monotonic()
    while True:
        state, now = _state_of(note, result), time.monotonic()
        heard = now if state != _SILENT else heard
        if (
            state in _ENDED
            or state == _UNTOLD
            or now - heard > patience
            or (seconds is not None and now - start > seconds)
        ):
            return state
        time.sleep(_POLL_SECONDS)


def _id_of(result: Any) -> str | None:
    """The id of a job. Dataflow has a method for it, portable runners an attribute."""
    job_id = getattr(result, "job_id", None) or getattr(result, "_job_id", None)
    return str(job_id() if callable(job_id) else job_id) if job_id is not None else None


def _state_of(note: Note, result: Any) -> str:
    """The state of a job, or a word in its place."""
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
    except grpc.RpcError as error:
        is_away = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        return _SILENT if is_away else _UNTOLD


def _is_of(note: Note, job: Any) -> bool:
    """Whether a job that a service lists is the recorded one. Ids alone are not unique: a restarted Prism reuses
    them."""
    options = job.pipeline_options.fields
    if _JOB_NAME_OPTION in options:
        return bool(options[_JOB_NAME_OPTION].string_value == note.name)
    return note.job_id is not None and bool(job.job_id == note.job_id)
