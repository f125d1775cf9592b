"""Whole runs of bench/scale.py, on copies of real archives."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.scale_archives import copy_archive, count_responses
from bench.scale_meter import Found, Measured, Meter
from gobelin.pipeline.run import open_run as run_module
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.run.worker import Task
from gobelin.pipeline.stages import extract_link as link_module
from gobelin.pipeline.stages.score_join import run_join
from gobelin.pipeline.stages.select import run_select
from gobelin.store.dataset import num_rows_of


@dataclasses.dataclass(frozen=True, slots=True)
class Whole:
    """How whole runs are made."""

    archives: tuple[str, ...]
    workers: int
    pages_a_shard: int
    until: str
    on_s3: bool
    copies: str | None  # folder in which copies are kept
    rows_at_once: int


def run_pages(folder: str, num_pages: int, whole: Whole, screen: Screen) -> Found:
    """Costs of the steps of a whole run on copies of real archives: all archives as many times as it takes to have so
    many pages, so that all sizes have the same mix of pages."""
    counted = [count_responses(path) for path in whole.archives]
    rounds = -(-num_pages // sum(pages for pages, _ in counted))
    pages, pictures = (rounds * sum(numbers) for numbers in zip(*counted, strict=True))
    held = Path(whole.copies or folder)
    held.mkdir(parents=True, exist_ok=True)
    copies = [(path, f"{held}/{number:04d}-{Path(path).name}", number)
              for number in range(rounds) for path in whole.archives]  # fmt: skip
    Measured.meter = Meter()
    supervisor = Measured(whole.workers, f"{folder}/run", screen, "local", ())
    try:
        supervisor.run("(make archives)", [Task(Path(copy).name, copy_archive, (path, copy, number))
                                           for path, copy, number in copies if not Path(copy).exists()])  # fmt: skip
    finally:
        supervisor.close()
    facts = {"archives": len(copies), "archive_bytes": sum(os.path.getsize(copy) for _, copy, _ in copies),
             "pages": pages, "pictures": pictures, "shards": max(2, -(-pages // whole.pages_a_shard))}  # fmt: skip
    recipe = Path(folder, "recipe.yaml")
    recipe.write_text(
        f"name: scale\nextends: obelics\nnum_shards: {facts['shards']}\nscore: {{clip: null}}\n"
        "select: {image: {max_nsfw: null}}\n"
    )
    run_module.Supervisor = Measured  # type: ignore[misc]
    _in_batches_of(whole.rows_at_once)
    sources = [copy for _, copy, _ in copies]
    if whole.on_s3:
        with _on_s3() as (output, count_requests):
            Measured.meter = Meter(None, count_requests)
            _run_all(sources, str(recipe), output, whole, facts)
    else:
        Measured.meter = Meter(f"{folder}/out")
        _run_all(sources, str(recipe), f"{folder}/out", whole, facts)
    return Found(pages, facts, Measured.meter.costs)


def _in_batches_of(rows: int) -> None:
    """From now on the steps of this process have so many rows in a batch, and half as many images."""
    link_module.ROWS_AT_ONCE = rows
    run_select.__defaults__ = (rows,)
    run_join.__defaults__ = (rows // 2,)


def _run_all(sources: list[str], recipe: str, output: str, whole: Whole, facts: dict[str, int]) -> None:
    from gobelin.pipeline.cli.main import main as gobelin

    code = gobelin(["run", "--recipe", recipe, "--input", *sources, "--output", output, "--until", whole.until,
                    "--workers", str(whole.workers), "--quiet"])  # fmt: skip
    if code != 0:
        raise RuntimeError(f"the run ended with exit code {code}")
    facts |= {"documents": num_rows_of(f"{output}/extract/documents"),
              "images": num_rows_of(f"{output}/extract/images"),
              "kept_documents": num_rows_of(f"{output}/select/documents")}  # fmt: skip


@contextlib.contextmanager
def _on_s3() -> Iterator[tuple[str, Callable[[], Counter[str]]]]:
    """(output folder, requests of each method so far) on an S3 server in this process."""
    from tests.object_store import BUCKET, s3_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with s3_server() as (endpoint, door):
        os.environ |= {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
                       "AWS_REGION": "us-east-1"}  # fmt: skip
        yield f"s3://{BUCKET}/out", lambda: Counter(door.num_requests)
