"""The stage ``extract``: archives -> documents and images.

    read archives   by range of an archive: extract pages and images, write payloads to spools and rows to an index
    missing images  find the images that no archive holds (extract_missing.py)  } in rounds, if the recipe
    fetch images    request them from the web                                   } fetches images
    link            join pages and images by URL (extract_link.py)

Large payloads (a page's nodes, an image's bytes) are written to a spool when they are first read. Indexes hold
references to them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
import pyarrow.compute as pc

from gobelin.data.ids import shard_of
from gobelin.data.model import Action, ArchiveTally, Unit, to_row
from gobelin.data.rows import ArchiveRow
from gobelin.data.schemas import ARCHIVES, DECISIONS, FETCHES
from gobelin.pipeline.recipe.recipe import fingerprint
from gobelin.pipeline.run.context import Context, balanced_counts
from gobelin.pipeline.run.counts import count_decisions, row_groups
from gobelin.pipeline.run.crawl_index import Records, load_records
from gobelin.pipeline.run.inputs import read_batches
from gobelin.pipeline.run.plan import Batch, Step, data_sets
from gobelin.pipeline.stages.extract_link import ROWS_AT_ONCE, link
from gobelin.pipeline.stages.extract_missing import WantJob, run_want
from gobelin.store.dataset import Attempt, num_rows_of
from gobelin.store.paths import join
from gobelin.store.shards import read_rows
from gobelin.store.tables import shard_path
from gobelin.transforms.archives.ranges import ArchiveRange
from gobelin.transforms.archives.read_warc import Capture, ReadWarc
from gobelin.transforms.archives.revisits import REVISIT_INDEX
from gobelin.transforms.extract.block_revisits import BlockRevisits
from gobelin.transforms.extract.config import ExtractConfig
from gobelin.transforms.extract.extract import ExtractImages, ExtractPages
from gobelin.transforms.extract.indexes import IMAGE_INDEX, PAGE_INDEX
from gobelin.transforms.fetching.fetch import FetchImages, check_fetch
from gobelin.transforms.fetching.fetch_config import FetchStatus
from gobelin.transforms.images.block_list import load_block_list
from gobelin.transforms.rights.site_policy import POLICY_INDEX
from gobelin.transforms.rights.site_signals import PolicyRows
from gobelin.transforms.row_steps import RowsOf, WriteDataSets


def extract(context: Context) -> dict[str, Any]:
    """Runs the stage on web archives. Returns its counts."""
    recipe, plan = context.recipe, context.plan
    load_block_list(recipe.extract.block_list)  # a list that cannot be read is an error before anything starts
    if recipe.extract.fetch.enabled:
        check_fetch(recipe.extract.fetch)
    batches = []
    for group in plan.groups(read_batches(context.archives, _records(context))):
        ranges = [piece for batch in group for piece in batch]
        name = fingerprint([dataclasses.astuple(piece) for piece in ranges])
        folder = join(context.folder("extract").work, f"read-{name}")
        job = ReadJob(recipe.extract, folder, min(len(group), recipe.num_shards))
        size = sum(piece.end - piece.start for piece in ranges if piece.end is not None)
        batches.append(Batch(ranges, job, data_sets(folder, job.num_index_shards, *INDEXES), size))
    num_bytes = sum(archive.size for archive in context.archives)
    plan.run(Step("extract: read archives", read_archives, batches, unit="bytes", total=num_bytes))
    read = tuple(batch.job.folder for batch in batches)
    fetched = fetch_missing(context, read) if recipe.extract.fetch.enabled else ()
    link(context, read, fetched)
    return count_extract(context.folder("extract").attempt)


def _records(context: Context) -> dict[str, Records]:
    """The records to read of each archive that is read only in part, by the archive's path."""
    digest = next((archive.records for archive in context.archives if archive.records is not None), None)
    return {} if digest is None else load_records(context.output, digest)


def fetch_missing(context: Context, read: tuple[str, ...]) -> tuple[str, ...]:
    """Fetches images that no archive holds. Each round tries one more address of an image. Returns the rounds'
    folders."""
    config, num_shards, plan = context.recipe.extract, context.recipe.num_shards, context.plan
    work = context.folder("extract").work
    folders: list[str] = []
    num_candidates = config.fetch.num_candidates
    for turn in range(1, num_candidates + 1):
        want = WantJob(read, tuple(folders), work, f"wanted-{turn}", num_candidates, num_shards, config.image.svg)
        run_want(plan, f"extract: missing images, round {turn}", want, ROWS_AT_ONCE)
        wanted = join(work, want.name)
        batches = []
        for group in plan.groups([[index] for index in range(num_shards)]):
            shards = [index for each in group for index in each]
            folder = join(work, f"fetch-{turn}-{shards[0]}")
            job = FetchJob(config, wanted, num_shards, folder, len(shards))
            batches.append(Batch(shards, job, data_sets(folder, job.num_index_shards, *FETCH_INDEXES)))
        title = f"extract: fetch images, round {turn}"
        plan.run(Step(title, fetch_images, batches, unit="fetches", total=num_rows_of(wanted)))
        folders += [batch.job.folder for batch in batches]
    return tuple(folders)


def count_extract(attempt: Attempt) -> dict[str, Any]:
    """Counts documents, images, records and fetches in the data sets of ``extract``."""
    archives: Counter[str] = Counter()
    for table in row_groups(attempt.data("archives"), ["num_documents", "num_images", "num_records", "num_other"]):
        archives.update({name: pc.sum(table[name]).as_py() or 0 for name in table.column_names})
    fetches: Counter[str] = Counter()
    http_errors: Counter[str] = Counter()
    for table in row_groups(attempt.data("fetches"), ["status", "http_status"]):
        fetches.update(table["status"].to_pylist())
        failed = table.filter(pc.equal(table["status"], str(FetchStatus.HTTP_ERROR)))
        http_errors.update(map(str, failed["http_status"].to_pylist()))
    decisions = count_decisions(attempt.data("decisions"))
    num_documents, num_images = num_rows_of(attempt.data("documents")), num_rows_of(attempt.data("images"))
    return {
        "documents": balanced_counts(archives["num_documents"], num_documents, decisions, Unit.DOCUMENT),
        "images": balanced_counts(archives["num_images"], num_images, decisions, Unit.IMAGE),
        "records": {
            "seen": archives["num_records"],
            "other": archives["num_other"],
            "unreadable": sum(decisions[Unit.RECORD][Action.FAIL].values()),
            "revisits": decisions[Unit.RECORD][Action.DROP].get("revisit", 0),
        },
        "fetches": dict(sorted(fetches.items())),
        "http_errors": dict(sorted(http_errors.items())),
    }


@dataclasses.dataclass(frozen=True, slots=True)
class ReadJob:
    """Archives -> spools and their index, in ``folder``."""

    config: ExtractConfig
    folder: str
    num_index_shards: int


INDEXES = {
    "pages": RowsOf(PAGE_INDEX, ("warc_file",)),
    "images": RowsOf(IMAGE_INDEX, ("warc_file",)),
    "policies": RowsOf(POLICY_INDEX, ("host",)),
    "revisits": RowsOf(REVISIT_INDEX, ("warc_file",)),
    "decisions": RowsOf(DECISIONS, ("warc_file",)),
    "archives": RowsOf(ARCHIVES, ("warc_file",)),
}
"""Data sets that ``read_archives`` writes."""


def read_archives(pipeline: beam.Pipeline, archives: list[ArchiveRange], job: ReadJob) -> None:
    """For each unit (an archive or a range of one): finds pages and images, extracts both, and writes spools and an
    index."""
    spools = join(job.folder, "spools")
    records = (
        pipeline
        | "Archives" >> beam.Create(archives)
        | "ReadWarc" >> ReadWarc(job.config.max_page_bytes, job.config.image.max_bytes)
    )
    pages = records.pages | "ExtractPages" >> ExtractPages(job.config, spools)
    images = records.images | "ExtractImages" >> ExtractImages(job.config, spools)
    revisits = records.revisits | "BlockRevisits" >> BlockRevisits(job.config.block_list)

    policies = records.policies | "PolicyRows" >> PolicyRows()
    index = {
        "pages": (pages.pages,),
        "images": (pages.images, images.images, revisits.images),
        "policies": (policies.policies,),
        "revisits": (revisits.revisits,),
        "decisions": (records.decisions, pages.decisions, images.decisions, revisits.decisions, policies.decisions),
        "archives": (records.tallies, pages.tallies),
    }
    index | "WriteIndex" >> WriteDataSets(job.folder, job.num_index_shards, INDEXES, _place)


def _place(row: Mapping[str, Any], num_shards: int) -> int:
    place = f"{row.get('warc_file') or row.get('origin')} {row.get('warc_offset')} {row.get('url')}"
    return shard_of(place, num_shards)


@dataclasses.dataclass(frozen=True, slots=True)
class FetchJob:
    """URLs in ``wanted`` -> spools and their index, in ``folder``."""

    config: ExtractConfig
    wanted: str
    num_shards: int  # of ``wanted``
    folder: str
    num_index_shards: int


FETCH_INDEXES = {
    "images": RowsOf(IMAGE_INDEX, ("url",)),
    "decisions": RowsOf(DECISIONS, ("url",)),
    "policies": RowsOf(POLICY_INDEX, ("host",)),
    "fetches": RowsOf(FETCHES, ("url",)),
    "archives": RowsOf(ARCHIVES, ("warc_file",)),
}
"""Data sets that ``fetch_images`` writes."""


def fetch_images(pipeline: beam.Pipeline, shards: list[int], job: FetchJob) -> None:
    """For each unit (a shard of URLs): fetches the images of its hosts and extracts them like images of an archive."""
    config = job.config
    fetched = (
        pipeline
        | "Shards" >> beam.Create([shard_path(job.wanted, index, job.num_shards) for index in shards])
        | "Urls" >> beam.FlatMap(_urls)
        | "FetchImages"
        >> FetchImages(config.fetch, config.image.max_bytes, job.num_shards, config.block_list, config.robots_agents)
    )
    images = fetched.images | "ExtractImages" >> ExtractImages(config, join(job.folder, "spools"))

    index = {
        "images": (images.images,),
        "decisions": (images.decisions,),
        "policies": (fetched.policies,),
        "fetches": (fetched.fetches,),
        "archives": (fetched.images | "Tally" >> beam.Map(_fetched_tally),),
    }
    index | "WriteIndex" >> WriteDataSets(job.folder, job.num_index_shards, FETCH_INDEXES, _place)


def _urls(path: str) -> Iterator[str]:
    for row in read_rows(path):
        yield row["url"]


def _fetched_tally(capture: Capture) -> ArchiveRow:
    return to_row(ArchiveTally(capture.warc_file, 0, 0, 1, 0))
