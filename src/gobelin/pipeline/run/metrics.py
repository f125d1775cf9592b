"""Metrics of a run for Prometheus: a page on a local port, or a file for node_exporter's textfile collector.

gobelin_run_info{recipe, output}                            1
gobelin_run_running                                         1 while it runs, 0 when it has ended
gobelin_run_failed                                          1 when it ended with an error
gobelin_run_start_time_seconds, gobelin_run_update_time_seconds
gobelin_stage_done{stage}                                   1
gobelin_stage_seconds{stage}                                seconds of a stage that ran in this run
gobelin_stage_records{stage, unit, outcome}                 unit: documents, images; outcome: seen, kept, dropped ...
gobelin_step_info{stage, step}                              1 for the current step
gobelin_step_items{item}                                    items of the step so far: pages, images, documents, dropped
gobelin_step_progress_ratio, gobelin_step_rate, gobelin_step_seconds_left
"""

from __future__ import annotations

import contextlib
import datetime
import threading
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gobelin.errors import UserError
from gobelin.pipeline.run.status import State, Status

SECONDS_BETWEEN_WRITES = 10.0


class _Metrics(Collector):
    def __init__(self, status: Status, output: str) -> None:
        self._status, self._output = status, output

    def collect(self) -> Iterator[Any]:
        state = self._status.now()
        info = GaugeMetricFamily("gobelin_run_info", "The run.", labels=("recipe", "output"))
        info.add_metric((str(state.get("recipe", "")), self._output), 1)
        yield info
        yield GaugeMetricFamily("gobelin_run_running", "Whether it runs.", float(state["state"] == "running"))
        yield GaugeMetricFamily("gobelin_run_failed", "Whether it failed.", float(state["state"] == "failed"))
        for name, key in (("start", "started"), ("update", "updated")):
            seconds = datetime.datetime.fromisoformat(state[key]).timestamp()
            yield GaugeMetricFamily(f"gobelin_run_{name}_time_seconds", "Seconds since 1970.", seconds)
        yield from _of_stages(state["stages"])
        yield from _of_step(state)


def _of_stages(stages: dict[str, Any]) -> Iterator[GaugeMetricFamily]:
    done = GaugeMetricFamily("gobelin_stage_done", "Stages that are done.", labels=("stage",))
    seconds = GaugeMetricFamily("gobelin_stage_seconds", "Seconds that a stage took.", labels=("stage",))
    records = GaugeMetricFamily("gobelin_stage_records", "Records.", labels=("stage", "unit", "outcome"))
    for stage, summary in stages.items():
        done.add_metric((stage,), 1)
        if "seconds" in summary:
            seconds.add_metric((stage,), summary["seconds"])
        for unit in ("documents", "images"):
            for outcome, number in summary.get(unit, {}).items():
                records.add_metric((stage, unit, outcome), number)
    yield from (done, seconds, records)


def _of_step(state: State) -> Iterator[GaugeMetricFamily]:
    step = state["step"]
    if not step:
        return
    info = GaugeMetricFamily("gobelin_step_info", "The step under way.", labels=("stage", "step"))
    info.add_metric((str(state["stage"]), step["step"]), 1)
    yield info
    items = GaugeMetricFamily("gobelin_step_items", "What the step has done so far.", labels=("item",))
    for item, number in (step.get("counts") or {}).items():
        items.add_metric((item,), number)
    yield items
    for name, key, about in (
        ("progress_ratio", "share", "How much of the step is done, 0 to 1."),
        ("rate", "rate", "Items of the step's unit a second."),
        ("seconds_left", "seconds_left", "Seconds until the step is done, about."),
    ):
        if step.get(key) is not None:
            yield GaugeMetricFamily(f"gobelin_step_{name}", about, step[key])


@contextlib.contextmanager
def published(where: str, status: Status, output: str) -> Iterator[None]:
    """Publishes metrics while the block runs.

    Args:
        where: a port on 127.0.0.1, or the path of a file.

    Raises:
        UserError: the port is in use, or the file cannot be written.
    """
    registry = CollectorRegistry()
    registry.register(_Metrics(status, output))
    try:
        if where.isdecimal():
            server, thread = start_http_server(int(where), "127.0.0.1", registry)
        else:
            write_to_textfile(where, registry)
    except (OSError, OverflowError) as error:
        raise UserError(f"--metrics {where}: {getattr(error, 'strerror', None) or error}") from None
    if where.isdecimal():
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
        return
    is_over = threading.Event()
    writer = threading.Thread(target=_write, args=(where, registry, is_over), name="metrics", daemon=True)
    writer.start()
    try:
        yield
    finally:
        is_over.set()
        writer.join()


def _write(path: str, registry: CollectorRegistry, is_over: threading.Event) -> None:
    while True:
        has_ended = is_over.wait(SECONDS_BETWEEN_WRITES)
        with contextlib.suppress(OSError):
            write_to_textfile(path, registry)
        if has_ended:
            return
