"""The stage ``extract``: archives are read in batches, missing images fetched if the recipe says so, all is linked."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from gobelin.documents import Action, Unit
from gobelin.pipeline import extract_graphs
from gobelin.pipeline.context import Context, balanced_counts
from gobelin.pipeline.extract_graphs import FETCH_INDEXES, INDEXES, FetchJob, LinkJob, ReadJob, WantJob
from gobelin.pipeline.inputs import read_batches
from gobelin.pipeline.linking import ROWS_AT_ONCE, link_steps
from gobelin.pipeline.recipe import fingerprint
from gobelin.pipeline.state import count_decisions, count_rows, row_groups
from gobelin.transforms.fetching.fetch import check_fetch_extra
from gobelin.transforms.files import make_folder
from gobelin.transforms.images.block_list import load_block_list


def extract_archives(context: Context) -> dict[str, Any]:
    """Archives -> documents and images. Returns what was counted."""
    folder = context.folder("extract")
    recipe = context.recipe
    load_block_list(recipe.extract.block_list)  # a list that cannot be read is an error before anything starts
    if recipe.extract.fetch.enabled:
        check_fetch_extra()
    batches = []
    for ranges in read_batches(context.archives):
        job_folder = folder.work / f"read-{fingerprint([dataclasses.astuple(piece) for piece in ranges])}"
        job = ReadJob(recipe.extract, str(job_folder), recipe.num_shards if not context.supervisor.is_local else 1)
        batches.append((ranges, job))
    read = [job.folder for _, job in batches]
    waiting = [(ranges, job) for ranges, job in batches if not is_read(job)]
    for _, job in waiting:
        for name in ("spools", *INDEXES):
            make_folder(f"{job.folder}/{name}")
    context.supervisor.run_graph(
        "extract: read archives",
        extract_graphs.read_archives,
        waiting,
        "bytes",
        sum(archive.size for archive in context.archives),
    )
    fetched = fetch_missing(context, tuple(read)) if recipe.extract.fetch.enabled else ()
    link(context, tuple(read), fetched)
    return count_extract(folder.path)


def link(context: Context, read: tuple[str, ...], fetched: tuple[str, ...]) -> None:
    """Joins pages and images of the indexes in these folders: the data sets of ``extract``."""
    folder, recipe = context.folder("extract"), context.recipe
    job = LinkJob(
        read, fetched, str(folder.work / "link"), str(folder.path), recipe.num_shards, recipe.extract.robots_agents
    )
    for step in link_steps(job, ROWS_AT_ONCE if context.supervisor.is_local else None):
        context.supervisor.run_graph(f"extract: {step.title}", step.graph, step.batches, step.unit)


def fetch_missing(context: Context, read: tuple[str, ...]) -> tuple[str, ...]:
    """Asks for images that no archive holds: a round for each further address of an image. Returns the folders."""
    config = context.recipe.extract
    work, num_shards = context.folder("extract").work, context.recipe.num_shards
    folders: list[str] = []
    for turn in range(1, config.fetch.num_candidates + 1):
        wanted = str(work / f"wanted-{turn}")
        make_folder(wanted)
        want = WantJob(read, tuple(folders), wanted, config.fetch.num_candidates, num_shards)
        if len(list(Path(wanted).glob("*.parquet"))) < num_shards:
            context.supervisor.run_graph(
                f"extract: missing images, round {turn}", extract_graphs.want_images, [([], want)]
            )
        shards = [[index] for index in range(num_shards)] if context.supervisor.is_local else [list(range(num_shards))]
        jobs = [
            FetchJob(config, wanted, num_shards, str(work / f"fetch-{turn}-{group[0]}"), len(group)) for group in shards
        ]
        waiting = [(group, job) for group, job in zip(shards, jobs) if not is_read(job, FETCH_INDEXES)]
        for _, job in waiting:
            for name in ("spools", *FETCH_INDEXES):
                make_folder(f"{job.folder}/{name}")
        total = count_rows(Path(wanted))
        context.supervisor.run_graph(
            f"extract: fetch images, round {turn}", extract_graphs.fetch_images, waiting, "fetches", total
        )
        folders += [job.folder for job in jobs]
    return tuple(folders)


def is_read(job: ReadJob | FetchJob, indexes: tuple[str, ...] = INDEXES) -> bool:
    """Whether a batch was read to its end: its indexes are there; each appears whole or not at all."""
    return all(len(list(Path(job.folder, name).glob("*.parquet"))) == job.num_index_shards for name in indexes)


def count_extract(folder: Path) -> dict[str, Any]:
    """What the data sets of ``extract`` say of documents, images, records and fetches."""
    archives: Counter[str] = Counter()
    for table in row_groups(folder / "archives", ["num_documents", "num_images", "num_records", "num_other"]):
        archives.update({name: pc.sum(table[name]).as_py() or 0 for name in table.column_names})
    fetches: Counter[str] = Counter()
    for table in row_groups(folder / "fetches", ["status"]):
        fetches.update(table["status"].to_pylist())
    decisions = count_decisions(folder / "decisions")
    return {
        "documents": balanced_counts(
            archives["num_documents"], count_rows(folder / "documents"), decisions, Unit.DOCUMENT
        ),
        "images": balanced_counts(archives["num_images"], count_rows(folder / "images"), decisions, Unit.IMAGE),
        "records": {
            "seen": archives["num_records"],
            "other": archives["num_other"],
            "unreadable": sum(decisions[Unit.RECORD][Action.FAIL].values()),
            "revisits": decisions[Unit.RECORD][Action.DROP].get("revisit", 0),
        },
        "fetches": dict(sorted(fetches.items())),
    }
