"""The stage ``report``: the report of a run, as one HTML page."""

from __future__ import annotations

from typing import Any

from gobelin.pipeline.run.context import Context
from gobelin.store.paths import join


def report(context: Context) -> dict[str, Any]:
    """Runs the stage. Returns the path of the page."""
    from gobelin.report.page import write_report

    write_report(context.output, join(context.output, "report"))
    return {"path": "report/index.html"}
