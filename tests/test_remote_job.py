"""What becomes of a job that an earlier command left, with a job service that answers, one that is silent, and none."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import apache_beam as beam
import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2 as api
from apache_beam.portability.api import beam_job_api_pb2_grpc as services

from gobelin.errors import UserError
from gobelin.pipeline.run import remote_job
from gobelin.pipeline.run.remote_job import NOTE_NAME, JobLostError, meet_running_job, run_remotely

pytestmark = pytest.mark.timeout(60)


class Service(services.JobServiceServicer):
    """A job service with one job, whose state is the next of ``states``; the last one stays."""

    def __init__(self) -> None:
        self.name, self.states, self.cancelled = "gobelin-read-1", ["RUNNING"], False
        self.says_names, self.heeds_cancel = True, True
        self.sleeps = False
        self.endpoint = ""

    def GetJobs(self, request: Any, context: Any) -> Any:
        if self.sleeps:
            time.sleep(1)
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        info = api.JobInfo(job_id="job-7", job_name="job", state=api.JobState.Enum.Value(state))
        if self.says_names:
            info.pipeline_options.update({"beam:option:job_name:v1": self.name})
        return api.GetJobsResponse(job_info=[api.JobInfo(job_id="job-1"), info])

    def Cancel(self, request: Any, context: Any) -> Any:
        assert request.job_id == "job-7"
        self.cancelled = True
        if self.heeds_cancel:
            self.states = ["CANCELLING", "CANCELLED"]
        return api.CancelJobResponse(state=api.JobState.CANCELLING)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    for name in ("_POLL_SECONDS", "_WATCH_SECONDS"):
        monkeypatch.setattr(remote_job, name, 0.01)
    monkeypatch.setattr(remote_job, "SECONDS_TO_ANSWER", 0.5)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    service = Service()
    services.add_JobServiceServicer_to_server(service, server)
    service.endpoint = f"localhost:{server.add_insecure_port('localhost:0')}"
    server.start()
    yield service
    server.stop(None).wait()


def left(folder: str, **changes: Any) -> Path:
    """A note in a folder."""
    note = {"name": "gobelin-read-1", "title": "read", "runner": "FlinkRunner", "endpoint": None, "job_id": "job-7"}
    path = Path(folder) / NOTE_NAME
    path.write_text(json.dumps(note | changes))
    return path


def meet(folder: Path, choice: str = "wait") -> list[str]:
    said: list[str] = []
    meet_running_job(str(folder), choice, said.append)
    return said


def test_no_note_no_word(tmp_path: Path) -> None:
    assert meet(tmp_path) == []


def test_a_running_job_is_waited_for(service: Service, tmp_path: Path) -> None:
    service.states = ["RUNNING", "RUNNING", "DONE"]
    note = left(str(tmp_path), endpoint=service.endpoint)
    assert meet(tmp_path) == [
        "an earlier command left job job-7 on FlinkRunner, for 'read'; it is RUNNING: wait",
        "job job-7 on FlinkRunner is DONE",
    ]
    assert not note.exists()
    assert not service.cancelled


def test_a_running_job_is_cancelled(service: Service, tmp_path: Path) -> None:
    note = left(str(tmp_path), endpoint=service.endpoint)
    assert meet(tmp_path, "cancel")[-1] == "job job-7 on FlinkRunner is CANCELLED"
    assert service.cancelled
    assert not note.exists()


def test_a_job_that_does_not_let_itself_be_cancelled(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_job, "SECONDS_TO_CANCEL", 0.1)
    service.heeds_cancel = False
    note = left(str(tmp_path), endpoint=service.endpoint)
    with pytest.raises(UserError, match="job job-7 on FlinkRunner does not end"):
        meet(tmp_path, "cancel")
    assert note.exists()


@pytest.mark.parametrize("state", ["DONE", "FAILED", "STOPPED"])
def test_of_a_job_that_has_ended_nothing_is_said(service: Service, tmp_path: Path, state: str) -> None:
    service.states = [state]
    note = left(str(tmp_path), endpoint=service.endpoint)
    assert meet(tmp_path) == []
    assert not note.exists()


def test_a_job_whose_id_never_came_back_is_found_by_its_name(service: Service, tmp_path: Path) -> None:
    left(str(tmp_path), endpoint=service.endpoint, job_id=None)
    assert "gobelin-read-1 on FlinkRunner" in meet(tmp_path, "cancel")[0]
    assert service.cancelled


def test_another_job_of_the_same_id_is_left_alone(service: Service, tmp_path: Path) -> None:
    """Prism counts from 1 again when it is started anew."""
    service.name = "somebody-else"
    left(str(tmp_path), endpoint=service.endpoint)
    (said,) = meet(tmp_path, "cancel")
    assert "not known to its job service: going on" in said
    assert not service.cancelled


def test_a_service_that_tells_no_names_is_asked_by_id(service: Service, tmp_path: Path) -> None:
    service.says_names = False
    left(str(tmp_path), endpoint=service.endpoint)
    meet(tmp_path, "cancel")
    assert service.cancelled


@pytest.mark.parametrize("endpoint", [None, "localhost:1"])
def test_where_nobody_can_be_asked_it_is_said(tmp_path: Path, endpoint: str | None) -> None:
    note = left(str(tmp_path), endpoint=endpoint)
    (said,) = meet(tmp_path)
    assert "its state is unknown: going on" in said
    assert not note.exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"name": 1, "other": 2}'])
def test_a_damaged_note_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / NOTE_NAME).write_text(content)
    (said,) = meet(tmp_path)
    assert "does not name a job" in said
    assert not (tmp_path / NOTE_NAME).exists()


# ------------------------------------------------------------------------------------------------ while a job runs


class Result:
    """A pipeline's result on a runner without a job service."""

    def __init__(self, state: str, error: BaseException | None) -> None:
        self.state, self._error, self.cancelled = state, error, False

    def job_id(self) -> str:
        return "2026-01"

    def wait_until_finish(self) -> str:
        if self._error is not None:
            raise self._error
        return self.state

    def cancel(self) -> None:
        self.state, self.cancelled = "CANCELLED", True


def run_with(result: Result, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(remote_job, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(remote_job, "SECONDS_TO_ANSWER", 0.5)
    monkeypatch.setattr(beam.Pipeline, "run", lambda *_, **__: result)
    said: list[str] = []
    run_remotely("read", lambda *_: None, [], None, "DirectRunner", (), str(folder), said.append)
    return said


def test_a_job_is_noted_while_it_runs_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_with(Result("DONE", None), tmp_path, monkeypatch) == ["read: job 2026-01 on DirectRunner"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)], ids=["ctrl-c", "sigterm"])
def test_what_stops_the_command_cancels_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    result = Result("RUNNING", error)
    with pytest.raises(type(error)):
        run_with(result, tmp_path, monkeypatch)
    assert result.cancelled
    assert "job 2026-01 on DirectRunner is CANCELLED" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_cannot_be_cancelled_stays_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = Result("RUNNING", KeyboardInterrupt())
    monkeypatch.setattr(remote_job, "SECONDS_TO_CANCEL", 0.1)
    monkeypatch.setattr(result, "cancel", lambda: time.sleep(30))
    with pytest.raises(KeyboardInterrupt):
        run_with(result, tmp_path, monkeypatch)
    assert "it may run on, and the same command meets it" in capsys.readouterr().err
    assert json.loads((tmp_path / NOTE_NAME).read_text())["job_id"] == "2026-01"


def test_a_job_that_failed_is_noted_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="boom"):
        run_with(Result("FAILED", RuntimeError("boom")), tmp_path, monkeypatch)
    with pytest.raises(RuntimeError, match="job 2026-01 on DirectRunner ended in the state DRAINED"):
        run_with(Result("DRAINED", None), tmp_path, monkeypatch)
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_is_out_of_sight_stays_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JobLostError, match=r"may still run \(RUNNING\): cut; give the same command again"):
        run_with(Result("RUNNING", RuntimeError("cut")), tmp_path, monkeypatch)
    assert (tmp_path / NOTE_NAME).exists()


class Cut(Result):
    """A pipeline's result on a job service, whose stream of states is cut, or never ends."""

    def __init__(self, error: BaseException | None, never_ends: bool = False) -> None:
        super().__init__("RUNNING", error)
        self._never_ends = never_ends

    def job_id(self) -> str:
        return "job-7"

    def wait_until_finish(self) -> str:
        if self._never_ends:
            time.sleep(100)
        return super().wait_until_finish()


def run_on(service: Service, result: Result, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    service.says_names = False
    monkeypatch.setattr(beam.Pipeline, "run", lambda *_, **__: result)
    said: list[str] = []
    beam_args = (f"--job_endpoint={service.endpoint}", "--job_server_timeout=1")
    run_remotely("read", lambda *_: None, [], None, "PortableRunner", beam_args, str(folder), said.append)
    return said


@pytest.mark.parametrize("states", [["DONE"], ["RUNNING", "RUNNING", "DONE"]])
def test_a_stream_that_is_cut_is_done_without(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: list[str]
) -> None:
    service.states = states
    said = run_on(service, Cut(RuntimeError("cut")), tmp_path, monkeypatch)
    assert [line for line in said if "was cut; it is asked again for up to 1 s" in line] == said[1:]
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_ended_without_a_word_is_not_waited_for(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a load balancer forgets an idle connection."""
    service.states = ["RUNNING", "DONE"]
    run_on(service, Cut(None, never_ends=True), tmp_path, monkeypatch)
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_fails_after_its_stream_was_cut(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.states = ["RUNNING", "FAILED"]
    with pytest.raises(RuntimeError, match="job job-7 on PortableRunner ended in the state FAILED"):
        run_on(service, Cut(RuntimeError("cut")), tmp_path, monkeypatch)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_cut", [True, False])
def test_a_job_service_that_falls_silent_ends_the_command(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_cut: bool
) -> None:
    service.sleeps = True
    with pytest.raises(JobLostError, match=r"did not answer for 1 s .*; job job-7 on PortableRunner may still run"):
        run_on(service, Cut(RuntimeError("cut"), never_ends=not is_cut), tmp_path, monkeypatch)
    assert (tmp_path / NOTE_NAME).exists()


class Worked(Service):
    """A job service whose job fails after a while, and that says why."""

    def DescribePipelineOptions(self, request: Any, context: Any) -> Any:
        return api.DescribePipelineOptionsResponse()

    def Prepare(self, request: Any, context: Any) -> Any:
        self.name = request.pipeline_options.fields["beam:option:job_name:v1"].string_value
        self.environments = list(request.pipeline.components.environments)
        return api.PrepareJobResponse(preparation_id="job-7")

    def Run(self, request: Any, context: Any) -> Any:
        return api.RunJobResponse(job_id="job-7")

    def GetStateStream(self, request: Any, context: Any) -> Any:
        yield api.JobStateEvent(state=api.JobState.RUNNING)
        time.sleep(2)
        self.states = ["FAILED"]
        yield api.JobStateEvent(state=api.JobState.FAILED)

    def GetMessageStream(self, request: Any, context: Any) -> Any:
        time.sleep(1.5)
        said = api.JobMessage(importance=api.JobMessage.JOB_MESSAGE_ERROR, message_text="no such column: alt")
        yield api.JobMessagesResponse(message_response=said)


def test_of_a_job_that_outlasts_the_patience_with_its_service_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_job, "_WATCH_SECONDS", 0.1)
    environments = []
    for _ in range(2):
        server, service, said = grpc.server(futures.ThreadPoolExecutor(8)), Worked(), list[str]()
        services.add_JobServiceServicer_to_server(service, server)
        beam_args = (
            f"--job_endpoint=localhost:{server.add_insecure_port('localhost:0')}", "--job_server_timeout=1",
            "--environment_type=EXTERNAL", "--environment_config=localhost:1",
        )  # fmt: skip
        server.start()
        try:
            with pytest.raises(RuntimeError, match="no such column: alt"):
                run_remotely(
                    "read", lambda pipeline, *_: pipeline | beam.Create([1]), [], None, "PortableRunner", beam_args,
                    str(tmp_path), said.append,
                )  # fmt: skip
        finally:
            server.stop(None).wait()
        assert said == ["read: job job-7 on PortableRunner"]
        environments += service.environments
    assert len(environments) == 2
    assert len(set(environments)) == 2, "workers of two jobs would have the same name"


def test_a_job_that_its_service_forgot(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = Cut(RuntimeError("cut"))
    monkeypatch.setattr(result, "job_id", lambda: "job-8")
    with pytest.raises(JobLostError, match="job job-8 on PortableRunner is not known to its job service, localhost:"):
        run_on(service, result, tmp_path, monkeypatch)


def test_a_job_service_that_is_not_there(tmp_path: Path) -> None:
    beam_args = ("--job_endpoint=localhost:1", "--job_server_timeout=1")
    with pytest.raises(JobLostError, match=r"localhost:1 did not answer for 1 s \(--job_server_timeout\); is it there"):
        run_remotely("read", lambda *_: None, [], None, "PortableRunner", beam_args, str(tmp_path), print)


def test_a_command_for_a_service_that_is_away_meets_nothing(tmp_path: Path) -> None:
    note = left(str(tmp_path), endpoint="localhost:1")
    with pytest.raises(UserError, match="its job service localhost:1 does not answer"):
        meet_running_job(str(tmp_path), "wait", print, ("--job_endpoint=localhost:1",))
    assert note.exists()
