"""Documents, and what was left out and why, as JSON lines: what a person pipes into jq."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

from gobelin.pipeline.run import RUN_NAME, OutputError
from gobelin.pipeline.state import read_json
from gobelin.transforms.shards import read_folder

SOURCES = {"extract": ("extract", "documents"), "select": ("select", "documents")}


def export_documents(output: Path, stage: str, stream: TextIO) -> int:
    """Writes the documents of a stage, one a line, in the order of their shards. Returns their number.

    Raises:
        OutputError: the stage has not run.
    """
    _check_done(output, stage)
    count = 0
    for row in read_folder(str(output.joinpath(*SOURCES[stage]))):
        stream.write(json.dumps(document_as_json(row), ensure_ascii=False) + "\n")
        count += 1
    return count


def export_decisions(output: Path, stage: str, stream: TextIO) -> int:
    """Writes the decisions of a stage, one a line. Returns their number.

    Raises:
        OutputError: the stage has not run.
    """
    _check_done(output, stage)
    count = 0
    for row in read_folder(str(output / stage / "decisions")):
        stream.write(json.dumps({name: value for name, value in row.items() if value is not None}, ensure_ascii=False))
        stream.write("\n")
        count += 1
    return count


def _check_done(output: Path, stage: str) -> None:
    run = read_json(output / RUN_NAME)
    if run is None or run["stages"][stage]["status"] != "done":
        raise OutputError(f"{output}: stage {stage} has not run with this recipe; `gobelin run` does it")


def document_as_json(row: dict[str, Any]) -> dict[str, Any]:
    """A row of ``DOCUMENTS`` as ``{"url", "items": [...]}``; an item is ``{"kind": "text", "role", "text"}`` or
    ``{"kind": "image", "url", ...}``."""
    items = []
    for node in row["nodes"]:
        if node["kind"] == "text":
            items.append({"kind": "text", "role": node["role"], "text": node["text"]})
        else:
            items.append(
                {
                    "kind": "image",
                    "url": node["image_url"],
                    "image_id": node["image_id"],
                    "alt": node["alt"],
                    "caption": node["caption"],
                }
            )
    return {"url": row["url"], "doc_id": row["doc_id"], "title": row["title"], "items": items}
