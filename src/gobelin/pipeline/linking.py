"""The steps that join pages and images: which graphs of ``extract_graphs.py`` run, over which units, in which batches.

A batch is as many units as together have about ``ROWS_AT_ONCE`` rows, and runs in a process of its own; so memory does
not grow with the input, as long as no single shard does. A cluster gets each graph once, with all units.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from gobelin.pipeline import extract_graphs
from gobelin.pipeline.context import GraphStep, in_batches
from gobelin.pipeline.extract_graphs import LinkJob
from gobelin.pipeline.state import count_rows
from gobelin.transforms.files import make_folder
from gobelin.transforms.shards import MAX_SLICES

ROWS_AT_ONCE = 20_000
"""Rows of the indexes (pages and images) that one process works on: about 10 KiB of memory each, beside 150 MiB."""

LINKED = ("documents", "images", "decisions", "archives", "fetches")
"""Data sets that linking writes."""


def link_steps(job: LinkJob, rows_at_once: int | None) -> Iterator[GraphStep]:
    """The steps, to be run one after the other. Makes the folders that they write to.

    Args:
        job: without slices and folders of batches.
        rows_at_once: ``ROWS_AT_ONCE``; None: everything in one batch, as a cluster gets it.
    """
    num_rows = _num_rows(job.read_folders, "pages") + _num_rows(job.index_folders, "images")
    num_batches = _num_batches(num_rows, rows_at_once)
    shards = in_batches(range(job.num_shards), num_batches)
    urls = in_batches(range(num_batches), num_batches)
    # Of captures only those travel that a batch's revisits may point to, so their own number decides.
    num_revisits = _num_rows(job.read_folders, "revisits")
    num_revisit_batches = _num_batches(num_revisits, rows_at_once)
    revisits = in_batches(range(num_revisit_batches), num_revisit_batches)
    has_revisits = num_revisits > 0
    job = dataclasses.replace(
        job,
        num_url_slices=num_batches,
        num_revisit_slices=num_revisit_batches,
        revisit_folders=_folders(job, "revisits", revisits, "names", "decisions") if has_revisits else (),
        url_folders=_folders(job, "urls", urls, "resolutions"),
        document_folders=_folders(job, "documents", shards, "shown", "decisions"),
        image_folders=_folders(job, "images", shards, "decisions"),
    )
    for name in LINKED:
        make_folder(f"{job.output}/{name}")
    by_shard = [(each, job) for each in shards]
    if has_revisits:
        by_revisit = [(each, job) for each in revisits]
        yield GraphStep("find what revisits point to", extract_graphs.resolve_revisits, by_revisit)
    yield GraphStep("look images up", extract_graphs.resolve_urls, [(each, job) for each in urls])
    yield GraphStep("write documents", extract_graphs.write_documents, by_shard, "documents")
    yield GraphStep("write images", extract_graphs.write_images, by_shard, "images")
    yield GraphStep("write decisions", extract_graphs.write_decisions, by_shard)


def _num_rows(folders: tuple[str, ...], name: str) -> int:
    """Rows of a data set in all of these folders."""
    return sum(count_rows(Path(folder, name)) for folder in folders)


def _num_batches(num_rows: int, rows_at_once: int | None) -> int:
    return 1 if rows_at_once is None else min(max(1, -(-num_rows // rows_at_once)), MAX_SLICES)


def _folders(job: LinkJob, name: str, batches: list[list[int]], *made: str) -> tuple[str, ...]:
    """Folders for what the batches of a graph leave."""
    folders = [extract_graphs.batch_folder(job, name, units) for units in batches]
    for folder in folders:
        for data_set in made:
            make_folder(f"{folder}/{data_set}")
    return tuple(folders)
