"""The status of a run, for another process or machine. Writes nothing and takes no lock."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any

from gobelin.pipeline.run.forecast import in_words
from gobelin.pipeline.run.open_run import check_output
from gobelin.pipeline.run.progress_bar import outcomes, stage_line
from gobelin.pipeline.run.remote_job import running_job
from gobelin.pipeline.run.stage_names import STAGES
from gobelin.pipeline.run.state import RUN_NAME, OutputError, read_json
from gobelin.pipeline.run.status import STATUS_NAME
from gobelin.store.lock import holder, is_dead
from gobelin.store.paths import join

SILENT_SECONDS = 120.0
"""Seconds after which a command that has not written its status no longer counts as running."""


def status_of(output: str) -> dict[str, Any]:
    """The status of a run: ``state`` (running, silent, dead, done, failed, stopped, or not begun), its owner, start
    time, current step, last error, job on another runner, and each stage.

    ``silent``: there was no update for ``SILENT_SECONDS``. ``dead``: the process ended without a final update. Ages are
    in seconds by the clock of this machine.

    Raises:
        OutputError: the folder is not the output folder of a run.
    """
    output = check_output(output)
    run = read_json(join(output, RUN_NAME))
    if run is None:
        raise OutputError(f"{output} is not the output folder of a run: there is no {RUN_NAME} in it")
    told = read_json(join(output, STATUS_NAME)) or {"state": "not begun"}
    found = {key: value for key, value in told.items() if key not in ("stages", "machine")}
    found |= {"output": output, "recipe": run["recipe"]["name"], "archives": len(run["input"])}
    found["input_bytes"] = sum(archive["bytes"] for archive in run["input"])
    lease = holder(output)
    found["lease"] = None if lease is None else {"owner": lease[0], "seconds_left": round(lease[1])}
    for name in ("started", "updated", "stage_started"):
        if told.get(name):
            found[f"seconds_since_{name}"] = round(_age(told[name]), 1)
    if told["state"] == "running":
        found["state"] = _liveness(told, found["seconds_since_updated"])
    job = running_job(output)
    found["job"] = None if job is None else {"job": job[0], "state": job[1]}
    is_under_way = found["state"] in ("running", "silent")
    found["stages"] = {name: _stage(name, run["stages"].get(name), told, is_under_way) for name in STAGES}
    return found


def _age(time: str) -> float:
    with contextlib.suppress(ValueError):
        return max(
            0.0, datetime.datetime.now(datetime.UTC).timestamp() - datetime.datetime.fromisoformat(time).timestamp()
        )
    return 0.0


def _liveness(told: dict[str, Any], age: float) -> str:
    if is_dead(told):
        return "dead"
    return "running" if age < SILENT_SECONDS else "silent"


def _stage(name: str, held: dict[str, Any] | None, told: dict[str, Any], is_under_way: bool) -> dict[str, Any]:
    if is_under_way and told.get("stage") == name:
        return {"status": "running"}
    if held is None or held.get("status") != "done":
        return {"status": "not done"}
    return {"status": "done", "seconds": held.get("seconds"), **outcomes(held)}


def describe(found: dict[str, Any]) -> Iterator[str]:
    """The result of ``status_of`` in lines for people."""
    noun = "archive" if found["archives"] == 1 else "archives"
    size = f"{found['archives']:,} {noun}, {found['input_bytes'] / 1e6:,.1f} MB"
    yield f"{found['output']}: recipe {found['recipe']}, {size}"
    yield _state_line(found)
    if found["lease"]:
        yield f"lease: {found['lease']['owner']}, for {found['lease']['seconds_left']} s unless it is renewed"
    if found["job"]:
        yield f"on another runner: {found['job']['job']}: {found['job']['state']}"
    for name, stage in found["stages"].items():
        match stage["status"]:
            case "done":
                yield _done_line(name, stage)
            case "running":
                yield f"{name:<10}runs  since {_clock(found['stage_started'])}; {_step_words(found.get('step'))}"
            case _:
                yield f"{name:<10}not done"
    error = found.get("last_error")
    if error:
        yield f"last error, {_clock(error['time'])}: {' '.join(error['text'].split())}"
    else:
        yield "no error"


def _done_line(name: str, stage: dict[str, Any]) -> str:
    shown: dict[str, Any] = {} if stage["seconds"] is None else {"seconds": stage["seconds"]}
    for unit in ("documents", "images"):
        if unit in stage:
            shown[unit] = {**stage[unit], "dropped": {"": stage[unit]["dropped"]}}
    return stage_line(name, shown)


def _state_line(found: dict[str, Any]) -> str:
    state = found["state"]
    if state == "not begun":
        return "not running; it has reported nothing yet"
    since = f"since {_clock(found['started'])} ({in_words(found['seconds_since_started'])}), {found['owner']}"
    heard = in_words(found["seconds_since_updated"])
    match state:
        case "running":
            return f"running {since}"
        case "silent":
            return f"silent: {found['owner']} was last heard of {heard} ago; if it is dead, the same command goes on"
        case "dead":
            return f"ended without a word {heard} ago ({found['owner']}); the same command goes on from there"
        case "done":
            return f"not running; the last command ended well {heard} ago"
        case _:
            return f"not running; the last command {state} {heard} ago; the same command goes on from there"


def _step_words(step: dict[str, Any] | None) -> str:
    if not step:
        return "between two steps"
    parts = [step["step"]]
    if step.get("share") is not None:
        parts.append(f"{100 * step['share']:.0f} %")
    parts += [f"{value:,} {name}" for name, value in sorted((step.get("counts") or {}).items()) if name != "bytes"]
    if step.get("rate") is not None:
        is_bytes = step.get("unit") == "bytes"
        parts.append(f"{step['rate'] / 1e6:,.1f} MB/s" if is_bytes else f"{step['rate']:,.1f} {step['unit']}/s")
    if step.get("seconds_left") is not None:
        parts.append(f"about {in_words(step['seconds_left'])} left")
    return ", ".join(parts)


def _clock(time: str | None) -> str:
    """A time in this machine's time zone."""
    if not time:
        return "?"
    return datetime.datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")
