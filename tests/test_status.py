"""How a run goes, for those who watch: the log of events, metrics, and ``gobelin status`` from another process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gobelin.pipeline.ask.status import describe, status_of
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.run import progress_bar
from gobelin.pipeline.run import status as run_status
from gobelin.pipeline.run.events import JsonLog, json_log
from gobelin.pipeline.run.metrics import published
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.run.remote_job import NOTE_NAME
from gobelin.pipeline.run.status import STATUS_NAME, Status, kept_status
from gobelin.store.files import read_json, write_json
from gobelin.store.lock import locked
from gobelin.store.paths import join
from gobelin.transforms import progress
from tests.crawl_server import crawl_server

COMMAND = [sys.executable, "-c", "from gobelin.pipeline.cli.main import entry; entry()"]


def gobelin(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *argv], capture_output=True, text=True, timeout=120)


class Kept:
    """Keeps events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def tell(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]


@pytest.fixture
def crawl(make_warc: Callable[..., str], record: Any, html_page: Any, prose: str, png: Any) -> str:
    content = f"<p>{prose}</p><img src='a.png'>"
    pages = [record(f"https://a.example/{i}", html_page(content, f"Page {i}")) for i in range(4)]
    bad = record("https://a.example/404", html_page("<p>none</p>"), status="HTTP/1.1 404 Not Found")
    return make_warc("crawl.warc.gz", [*pages, bad, record("https://a.example/a.png", png(), content_type="image/png")])


def test_a_run_is_logged_and_measured(crawl: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, log, metrics = tmp_path / "out", tmp_path / "log.jsonl", tmp_path / "gobelin.prom"
    command = ["extract", "--recipe", "gobelin", "--input", crawl, "--output", str(out), "--set", "num_shards=2"]
    assert main([*command, "--log-json", str(log), "--metrics", str(metrics), "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "extract   done  5 documents: 4 kept, 1 dropped, 0 failed; 1 images: 1 kept, 0 dropped, 0 failed; " in said
    events = [json.loads(line) for line in log.read_text().splitlines()]
    names = [event["event"] for event in events]
    assert names[:2] == ["message", "run_started"]
    assert [name for name in names if name.startswith(("stage", "run"))] == [
        "run_started", "stage_started", "stage_done", "run_done",
    ]  # fmt: skip
    assert all({"time", "level", "event"} <= event.keys() for event in events)
    (done,) = [event for event in events if event["event"] == "stage_done"]
    assert done["documents"] == {"seen": 5, "kept": 4, "dropped": 1, "failed": 0}
    assert {event["stage"] for event in events if event["event"].startswith("step")} == {"extract"}
    held = metrics.read_text()
    assert 'gobelin_stage_records{outcome="kept",stage="extract",unit="documents"} 4.0' in held
    assert "gobelin_run_running 0.0" in held
    assert "gobelin_run_failed 0.0" in held

    assert main(["extract", "--output", str(out), "--log-json", str(log), "--set", "extract.gates.min_words=oops"]) == 2
    (failed,) = [json.loads(line) for line in log.read_text().splitlines()[len(events) :]]
    assert failed["event"] == "run_failed"
    assert failed["level"] == "error"
    assert "min_words" in failed["error"]
    assert main(["status", str(out)]) == 0
    said = capsys.readouterr().out
    assert "not running; the last command ended well" in said
    assert "extract   done  5 documents: 4 kept" in said
    assert "score     not done" in said


def test_a_log_goes_to_standard_error(crawl: str, tmp_path: Path) -> None:
    log = ["--log-json", "-", "--quiet", "--workers", "1", "--set", "num_shards=1"]
    done = gobelin("extract", "--recipe", "gobelin", "--input", crawl, "--output", str(tmp_path / "out"), *log)
    assert (done.returncode, done.stdout) == (0, "")
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()][-1] == "run_done"


def test_a_log_needs_a_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, told in (("--quiet", "needs a file"), (str(tmp_path / "none" / "log"), "No such file")):
        assert main(["extract", "--output", str(tmp_path / "out"), "--log-json", place]) == 2
        assert told in capsys.readouterr().err


def test_status_from_another_process(crawl: str, tmp_path: Path) -> None:
    """While a server holds an answer back, and after the command was killed."""
    out = tmp_path / "out"
    with crawl_server() as server:
        server.files["crawl.warc.gz"] = Path(crawl).read_bytes()
        server.is_held = (out / "extract" / "work").exists
        argv = ["extract", "--recipe", "gobelin", "--input", f"{server.url}/crawl.warc.gz", "--output", str(out)]
        run = subprocess.Popen([*COMMAND, *argv, "--quiet", "--workers", "1"], start_new_session=True)
        try:
            assert server.held.wait(100)
            _until(lambda: status_of(str(out)), lambda found: found.get("stage") == "extract")
            asked = gobelin("status", str(out), "--json")
            assert asked.returncode == 0, asked.stderr
            found = json.loads(asked.stdout)
            assert (found["state"], found["pid"], found["stage"]) == ("running", run.pid, "extract")
            assert found["stages"]["extract"] == {"status": "running"}
            lines = gobelin("status", str(out)).stdout.splitlines()
            assert lines[0] == f"{out}: recipe gobelin, 1 archive, {found['input_bytes'] / 1e6:,.1f} MB"
            assert lines[1].startswith("running since ")
            assert any(line.startswith("extract   runs  since ") for line in lines)
        finally:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
        found = status_of(str(out))
        assert found["state"] == "dead"
        assert "the same command goes on from there" in "\n".join(describe(found))
        server.is_held = lambda: False
        server.release.set()
        again = gobelin(*argv, "--workers", "1")
        assert again.returncode == 0, again.stderr
        assert status_of(str(out))["state"] == "done"


def test_status_of_a_folder_on_a_store(object_store: str, crawl: str, monkeypatch: pytest.MonkeyPatch) -> None:
    output = f"{object_store}/out"
    argv = ["extract", "--recipe", "gobelin", "--input", crawl, "--output", output, "--workers", "1", "--quiet"]
    assert main(argv) == 0
    assert status_of(output)["state"] == "done"
    monkeypatch.setattr(run_status, "SECONDS_BETWEEN_REMOTE_WRITES", 0.05)
    screen = Screen(quiet=True)
    with locked(output), kept_status(output, screen, Status()):
        screen.begin_stage("score")
        with screen.step("score: measure documents", "documents", 8, before=2) as step:
            step.update({"documents": 2, "dropped": 1})
            found = _until(lambda: status_of(output), lambda found: (found.get("step") or {}).get("share") == 0.5)
    assert (found["state"], found["stage"]) == ("running", "score")
    assert found["lease"]["owner"].startswith(f"process {os.getpid()} on ")
    assert found["step"]["counts"] == {"documents": 4, "dropped": 1}
    lines = list(describe(found))
    assert any(line.startswith("lease: process ") for line in lines)
    assert any("score: measure documents, 50 %, 4 documents, 1 dropped, " in line for line in lines)


def _until(ask: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    for _ in range(400):
        found = ask()
        if holds(found):
            return found
        threading.Event().wait(0.05)
    raise AssertionError(found)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """An output folder as a run leaves it in its first moments."""
    output = str(tmp_path / "out")
    write_json(join(output, "run.json"), {"recipe": {"name": "gobelin"}, "input": [], "stages": {}})
    return output


def test_a_failure_is_kept(folder: str) -> None:
    screen = Screen(quiet=True)
    with pytest.raises(ValueError, match="pages"), kept_status(folder, screen, Status()):  # noqa: PT012
        screen.begin_stage("extract")
        raise ValueError("pages <b>\nand more")
    found = status_of(folder)
    assert (found["state"], found["last_error"]["stage"]) == ("failed", "extract")
    lines = list(describe(found))
    assert lines[1].startswith("not running; the last command failed ")
    assert lines[-1].endswith("ValueError: pages <b> and more")
    assert screen.listeners == []


def test_one_that_is_not_heard_of_is_silent(folder: str) -> None:
    with kept_status(folder, Screen(quiet=True), Status()):
        pass
    told = read_json(join(folder, STATUS_NAME))
    write_json(
        join(folder, STATUS_NAME), {**told, "state": "running", "machine": "another", "updated": "2020-01-01T00:00:00Z"}
    )
    assert status_of(folder)["state"] == "silent"
    write_json(join(folder, STATUS_NAME), {**told, "state": "running", "machine": "another"})
    assert status_of(folder)["state"] == "running"


def test_status_of_a_job_elsewhere(folder: str) -> None:
    note = {"name": "gobelin-read-1", "title": "extract: read archives", "runner": "FlinkRunner"}
    write_json(join(folder, NOTE_NAME), note)
    found = status_of(folder)
    assert found["job"] == {"job": "job gobelin-read-1 on FlinkRunner", "state": "unknown"}
    assert "on another runner: job gobelin-read-1 on FlinkRunner: unknown" in list(describe(found))
    write_json(join(folder, NOTE_NAME), ["no", "note"])
    assert status_of(folder)["job"] is None


def test_status_of_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path)]) == 2
    assert "is not the output folder of a run" in capsys.readouterr().err


def test_metrics_on_a_port(folder: str) -> None:
    status, screen = Status(), Screen(quiet=True)
    screen.listeners.append(status)
    screen.begin_stage("extract")
    with screen.step("extract: read archives", "pages", 8) as step, published("0", status, folder):
        step.update({"pages": 2})
    with pytest.raises(Exception, match="--metrics"), published("70000", status, folder):
        pass
    with pytest.raises(Exception, match="--metrics"), published(join(folder, "none", "a.prom"), status, folder):
        pass


def test_the_metrics_page(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    status, screen = Status(), Screen(quiet=True)
    screen.listeners.append(status)
    screen.begin_stage("extract")
    with screen.step("extract: read archives", "pages", 8) as step, published(str(port), status, folder):
        step.update({"pages": 2, "dropped": 1})
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            page = answer.read().decode()
    assert 'gobelin_step_items{item="dropped"} 1.0' in page
    assert "gobelin_step_progress_ratio 0.25" in page
    assert "gobelin_run_running 1.0" in page


def test_a_resumed_step_goes_on_where_it_was() -> None:
    screen, kept = Screen(quiet=True), Kept()
    screen.listeners.append(kept)
    with screen.step("train", "steps", 100) as step:
        step.update({"_before": 40, "steps": 10})
    with screen.step("extract: read archives", "bytes", 1000, before=900) as step:
        step.update({"bytes": 50, "pages": 3})
    train, read = kept.named("progress")
    assert (train["share"], train["counts"]) == (0.5, {"steps": 50})
    assert (read["share"], read["done"]) == (0.95, 950)
    assert read["seconds_left"] <= read["seconds"] + 0.1


def test_a_log_of_progress_has_a_line_every_few_seconds(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w") as stream:
        screen = Screen(quiet=True)
        screen.listeners.append(JsonLog(stream))
        with screen.step("train", "steps", 100) as step:
            for number in range(50):
                step.update({"steps": number})
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert events == ["step_started", "progress"]


def test_a_note_stands_beside_the_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker notes a loss; its file holds the words apart from the counts, and the bar shows both."""
    file = str(tmp_path / "train.json")
    progress.report_to(file)
    try:
        progress.note("loss 3.214")
        progress.reach("steps", 50)
        progress.flush()
    finally:
        monkeypatch.setattr(progress, "_file", None)
    assert progress.read_counts(file)["steps"] == 1
    assert "_note" not in progress.read_counts(file)
    assert progress.read_note(file) == "loss 3.214"
    assert progress.read_note(str(tmp_path / "none")) == ""
    shown: list[str] = []
    screen = Screen(quiet=True)
    monkeypatch.setattr(screen, "show", shown.append)
    monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LINES", -1.0)
    with screen.step("train", "steps", 100) as step:
        step.note = progress.read_note(file)
        step.update(progress.read_counts(file))
    assert "loss 3.214" in shown[0]


def test_a_log_on_a_full_disk_ends_no_run() -> None:
    with json_log("/dev/full") as listeners:
        for listener in listeners:
            listener.tell({"event": "message", "text": "nobody will read it"})


def test_an_input_without_pages_is_said(
    make_warc: Callable[..., str], record: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    style = record("https://a.example/a.css", b"p { color: red }", content_type="text/css")
    argv = ["run", "--recipe", "small", "--input", make_warc("a.warc.gz", [style, style]), "--until", "select"]
    assert main([*argv, "--output", str(tmp_path / "out"), "--workers", "1", "--set", "num_shards=1"]) == 0
    assert "nothing was kept: the input holds no page, in 2 records" in capsys.readouterr().out
