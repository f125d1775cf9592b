"""A supervisor for tests that starts no process."""

from __future__ import annotations

from typing import Any

from gobelin.pipeline.run.supervisor import run_pipeline


class InProcess:
    """Runs everything where it is called."""

    is_local = True
    cpu_seconds = 0.0

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def close(self) -> None: ...

    def run(self, title: str, tasks: list[Any], *_: Any, **__: Any) -> None:
        for task in tasks:
            task.function(*task.arguments)

    def run_graph(self, title: str, graph: Any, batches: list[Any], *_: Any) -> None:
        for units, job in batches:
            run_pipeline(graph, units, job, ())
