"""The steps that join pages and images: which graphs of ``extract_graphs.py`` run, over which units, in which batches.

A batch is as many units as together have about ``ROWS_AT_ONCE`` rows, and runs in a process of its own; so memory does
not grow with the input, as long as no single shard does. A cluster gets each graph once, with all units.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from gobelin.pipeline import extract_graphs
from gobelin.pipeline.extract_graphs import LinkJob
from gobelin.pipeline.state import count_rows
from gobelin.pipeline.supervisor import Graph
from gobelin.transforms.shards import make_folder

ROWS_AT_ONCE = 20_000
"""Rows of the indexes (pages and images) that one process works on: about 10 KiB of memory each, beside 150 MiB."""

LINKED = ("documents", "images", "decisions", "archives", "fetches")
"""Data sets that linking writes."""


@dataclasses.dataclass(frozen=True, slots=True)
class LinkStep:
    """One graph, and its (units, job) for each process."""

    title: str
    graph: Graph
    batches: list[tuple[list[int], LinkJob]]
    unit: str = ""


def link_steps(job: LinkJob, rows_at_once: int | None) -> Iterator[LinkStep]:
    """The steps, to be run one after the other. Makes the folders that they write to.

    Args:
        job: without slices and folders of batches.
        rows_at_once: ``ROWS_AT_ONCE``; None: everything in one batch, as a cluster gets it.
    """
    num_rows = sum(count_rows(Path(folder, name)) for folder in job.index_folders for name in ("pages", "images"))
    num_batches = 1 if rows_at_once is None else max(1, -(-num_rows // rows_at_once))
    slices = _batches(num_batches, num_batches)
    shards = _batches(job.num_shards, min(num_batches, job.num_shards))
    has_revisits = any(count_rows(Path(folder, "revisits")) for folder in job.read_folders)
    job = dataclasses.replace(
        job,
        num_slices=num_batches,
        revisit_folders=_folders(job, "revisits", slices, "names", "decisions") if has_revisits else (),
        url_folders=_folders(job, "urls", slices, "resolutions"),
        document_folders=_folders(job, "documents", shards, "shown", "decisions"),
        image_folders=_folders(job, "images", shards, "decisions"),
    )
    for name in LINKED:
        make_folder(f"{job.output}/{name}")
    if has_revisits:
        yield LinkStep("find what revisits point to", extract_graphs.resolve_revisits, [(each, job) for each in slices])
    yield LinkStep("look images up", extract_graphs.resolve_urls, [(each, job) for each in slices])
    yield LinkStep("write documents", extract_graphs.write_documents, [(each, job) for each in shards], "documents")
    yield LinkStep("write images", extract_graphs.write_images, [(each, job) for each in shards], "images")
    yield LinkStep("write decisions", extract_graphs.write_decisions, [(each, job) for each in shards])


def _batches(num_units: int, num_batches: int) -> list[list[int]]:
    return [list(range(first, num_units, num_batches)) for first in range(num_batches)]


def _folders(job: LinkJob, name: str, batches: list[list[int]], *made: str) -> tuple[str, ...]:
    """Folders for what the batches of a graph leave."""
    folders = [extract_graphs.batch_folder(job, name, units) for units in batches]
    for folder in folders:
        for data_set in made:
            make_folder(f"{folder}/{data_set}")
    return tuple(folders)
