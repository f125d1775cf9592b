"""The part of the stage ``extract`` that joins pages and images by URL.

    find what revisits point to  revisit records -> further URLs of images
    look images up               by slice of the URLs: candidates of image nodes -> the images that the input holds
    write documents              by shard: documents, and which images they show
    write images                 by shard: the images that some document shows
    write decisions              by shard: all decisions, tallies and fetches

A batch is as many units as together have about ``ROWS_AT_ONCE`` rows, and runs in a process of its own; so memory does
not grow with the input, as long as no single shard does. What one graph leaves for the next are small Parquet files,
sharded as the next reads them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from gobelin.documents import ARCHIVES, DECISIONS, FETCHES, shard_of
from gobelin.pipeline.context import Context
from gobelin.pipeline.plan import Batch, DataSet, Plan, Step, data_sets
from gobelin.pipeline.state import count_rows
from gobelin.store.dataset import Attempt
from gobelin.transforms.archives.revisits import ResolveRevisits, revisit_keys, revisit_place
from gobelin.transforms.extract import IMAGE_INDEX, PAGE_INDEX
from gobelin.transforms.files import join, shard_path
from gobelin.transforms.link import (
    IMAGE_NAMES,
    RESOLUTIONS,
    SHOWN,
    ResolveUrls,
    WriteDocuments,
    WriteImages,
    is_stored,
)
from gobelin.transforms.rights.site_policy import host_key
from gobelin.transforms.rights.site_signals import FindSiteSignals
from gobelin.transforms.shards import (
    MAX_SLICES,
    OfShards,
    OfSlices,
    OneOf,
    ReadRows,
    WriteDecisions,
    WriteRows,
    read_rows,
    shards_of,
)

Row = dict[str, Any]

ROWS_AT_ONCE = 20_000
"""Rows of the indexes (pages and images) that one process works on: about 10 KiB of memory each, beside 150 MiB."""


def link(context: Context, read: tuple[str, ...], fetched: tuple[str, ...]) -> None:
    """Joins pages and images of the indexes in these folders: the data sets of ``extract``."""
    folder, recipe = context.folder("extract"), context.recipe
    agents = recipe.extract.robots_agents
    job = LinkJob(read, fetched, join(folder.work, "link"), folder.attempt, recipe.num_shards, agents)
    run_link(context.plan, job, ROWS_AT_ONCE)


def run_link(plan: Plan, job: LinkJob, rows_at_once: int) -> None:
    """The steps.

    Args:
        job: without slices and folders of batches.
        rows_at_once: rows of the indexes in a batch.
    """
    indexes = [join(folder, "pages") for folder in job.read_folders]
    indexes += [join(folder, "images") for folder in job.index_folders]
    num_batches = _num_batches(plan, indexes, rows_at_once)
    shards = _dealt(job.num_shards, num_batches)
    # Of captures only those travel that a batch's revisits may point to, so their own number decides.
    held_revisits = [join(folder, "revisits") for folder in job.read_folders]
    num_revisit_batches = _num_batches(plan, held_revisits, rows_at_once)
    has_revisits = any(map(count_rows, held_revisits))
    revisits = [[number] for number in range(num_revisit_batches)] if has_revisits else []
    urls = [[number] for number in range(num_batches)]
    job = dataclasses.replace(
        job,
        num_url_slices=num_batches,
        num_revisit_slices=num_revisit_batches,
        revisit_folders=tuple(batch_folder(job, "revisits", units) for units in revisits),
        url_folders=tuple(batch_folder(job, "urls", units) for units in urls),
        document_folders=tuple(batch_folder(job, "documents", units) for units in shards),
        image_folders=tuple(batch_folder(job, "images", units) for units in shards),
    )
    num_shards, output = job.num_shards, job.output

    batches = [
        Batch(units, job, data_sets(folder, 1, "names", "decisions"))
        for units, folder in zip(revisits, job.revisit_folders)
    ]
    if batches:
        plan.run(Step("extract: find what revisits point to", resolve_revisits, batches))
    batches = [
        Batch(units, job, data_sets(folder, num_shards, "resolutions")) for units, folder in zip(urls, job.url_folders)
    ]
    plan.run(Step("extract: look images up", resolve_urls, batches))
    batches = [
        Batch(units, job, (DataSet(join(folder, "shown"), num_shards), *data_sets(folder, 1, "decisions")))
        for units, folder in zip(shards, job.document_folders)
    ]
    made = data_sets(output, num_shards, "documents")
    plan.run(Step("extract: write documents", write_documents, batches, made, "documents"))
    batches = [Batch(units, job, data_sets(folder, 1, "decisions")) for units, folder in zip(shards, job.image_folders)]
    plan.run(Step("extract: write images", write_images, batches, data_sets(output, num_shards, "images"), "images"))
    batches = [Batch(units, job) for units in shards]
    made = (*data_sets(output, num_shards, "decisions"), *data_sets(output, 1, "archives", "fetches"))
    plan.run(Step("extract: write decisions", write_decisions, batches, made))


def _dealt(num_units: int, num_batches: int) -> list[list[int]]:
    return [batch for first in range(num_batches) if (batch := list(range(first, num_units, num_batches)))]


def _num_batches(plan: Plan, data_sets: list[str], rows_at_once: int) -> int:
    """Batches for the rows of these data sets."""
    return min(plan.num_batches(sum(map(count_rows, data_sets)), rows_at_once), MAX_SLICES)


@dataclasses.dataclass(frozen=True, slots=True)
class LinkJob:
    """The indexes of ``read_archives`` and ``fetch_images`` -> the data sets of ``extract``, in ``output``."""

    read_folders: tuple[str, ...]
    fetch_folders: tuple[str, ...]
    work: str  # for what one graph leaves for the next
    output: Attempt
    num_shards: int
    agents: tuple[str, ...]  # of robots.txt, whose being disallowed is recorded
    num_url_slices: int = 1
    num_revisit_slices: int = 1
    revisit_folders: tuple[str, ...] = ()  # what each batch of a graph left
    url_folders: tuple[str, ...] = ()
    document_folders: tuple[str, ...] = ()
    image_folders: tuple[str, ...] = ()

    @property
    def index_folders(self) -> tuple[str, ...]:
        return (*self.read_folders, *self.fetch_folders)


def resolve_revisits(pipeline: beam.Pipeline, slices: list[int], job: LinkJob) -> None:
    """By unit (a slice of the revisits): find what each one points to; a folder with ``names`` and ``decisions``."""
    paths = shards_of(job.read_folders, "revisits")
    only = OfShards("place", frozenset(slices), job.num_revisit_slices)
    wanted = None if only.is_all else frozenset(_keys(paths, only))
    revisits = pipeline | "RevisitIndex" >> ReadRows(paths) | "OfSlice" >> beam.Filter(_is_of_slice, only)
    pages = pipeline | "PageIndex" >> ReadRows(shards_of(job.read_folders, "pages"), ["doc_id", *_CAPTURE])
    images = pipeline | "ImageIndex" >> ReadRows(
        shards_of(job.index_folders, "images"), ["image_id", "is_blocked", *_CAPTURE]
    )
    resolved = (revisits, pages, images) | "ResolveRevisits" >> ResolveRevisits(wanted)
    folder = batch_folder(job, "revisits", slices)
    _write_part(resolved.images, "names", join(folder, "names"), IMAGE_NAMES, "url")
    _write_part(resolved.decisions, "decisions", join(folder, "decisions"), DECISIONS, "url")


_CAPTURE = ("url", "url_key", "warc_date", "payload_digest", "warc_file", "warc_offset")


def _keys(paths: list[str], only: OfShards) -> Iterator[str]:
    for path in paths:
        for row in read_rows(path):
            if _is_of_slice(row, only):
                yield from (key for _, key in revisit_keys(row))


def _is_of_slice(revisit: Row, only: OfShards) -> bool:
    return only.holds(revisit_place(revisit))


def _write_part(rows: beam.PCollection, name: str, folder: str, schema: Any, sort_by: str) -> None:
    """A data set of one file."""
    rows | f"{name} to file" >> beam.Map(_to_first_shard) | f"Write {name}" >> WriteRows(folder, schema, 1, (sort_by,))


def resolve_urls(pipeline: beam.Pipeline, slices: list[int], job: LinkJob) -> None:
    """By unit (a slice of the URLs): find which candidates the input holds; ``resolutions`` by shard of document."""
    only = OfSlices("url_key", frozenset(slices), job.num_url_slices)
    names = (
        pipeline | "ImageIndex" >> ReadRows(shards_of(job.index_folders, "images"), IMAGE_NAMES.names, only),
        pipeline | "RevisitNames" >> ReadRows(shards_of(job.revisit_folders, "names"), None, only),
    ) | "Names" >> beam.Flatten()
    folder = batch_folder(job, "urls", slices)
    (
        names
        | "ResolveUrls" >> ResolveUrls(shards_of(job.read_folders, "pages"), only)
        | "ToDocumentShard" >> beam.Map(_to_shard, "doc_id", job.num_shards)
        | "WriteResolutions" >> WriteRows(join(folder, "resolutions"), RESOLUTIONS, job.num_shards, ("doc_id",))
    )


def write_documents(pipeline: beam.Pipeline, shards: list[int], job: LinkJob) -> None:
    """By unit (a shard of documents): write them; ``shown`` by shard of image, and ``decisions``."""
    only = OfShards("doc_id", frozenset(shards), job.num_shards)
    index = shards_of(job.read_folders, "pages")
    columns = [name for name in PAGE_INDEX.names if name not in ("url_key", "candidate_keys", "payload_digest")]
    pages = pipeline | "PageIndex" >> ReadRows(index, columns, only)
    resolutions = pipeline | "Resolutions" >> ReadRows(_own_shards(job.url_folders, "resolutions", shards, job))
    policies = _policies(pipeline, job, index, only)
    signals = (pages, policies) | "SignalsOfPages" >> FindSiteSignals("doc_id", job.agents)
    written = (pages, resolutions, signals.signals) | "WriteDocuments" >> WriteDocuments(
        job.output.data("documents"), shards, job.num_shards
    )
    folder = batch_folder(job, "documents", shards)
    (
        written["shown"]
        | "ToImageShard" >> beam.Map(_to_shard, "image_id", job.num_shards)
        | "WriteShown" >> WriteRows(join(folder, "shown"), SHOWN, job.num_shards, ("image_id",))
    )
    decisions = (written["decisions"], signals.decisions) | "AllDecisions" >> beam.Flatten()
    _write_part(decisions, "decisions", join(folder, "decisions"), DECISIONS, "doc_id")


def write_images(pipeline: beam.Pipeline, shards: list[int], job: LinkJob) -> None:
    """By unit (a shard of images): write those that a document shows; ``decisions``."""
    only = OfShards("image_id", frozenset(shards), job.num_shards)
    index, revisited = shards_of(job.index_folders, "images"), shards_of(job.revisit_folders, "names")
    images = (
        pipeline
        | "ImageIndex" >> ReadRows(index, [name for name in IMAGE_INDEX.names if name != "url_key"], only)
        | "WithBytes" >> beam.Filter(is_stored)
    )
    names = pipeline | "RevisitNames" >> ReadRows(revisited, ["image_id", "url"], only)
    shown = pipeline | "Shown" >> ReadRows(_own_shards(job.document_folders, "shown", shards, job))
    policies = _policies(pipeline, job, [*index, *revisited], only)
    all_names = (images, names) | "AllNames" >> beam.Flatten()
    signals = (all_names, policies) | "SignalsOfImages" >> FindSiteSignals("image_id", job.agents)
    written = (images, shown, names, signals.signals) | "WriteImages" >> WriteImages(
        job.output.data("images"), shards, job.num_shards
    )
    decisions = (written["decisions"], signals.decisions) | "AllDecisions" >> beam.Flatten()
    _write_part(decisions, "decisions", join(batch_folder(job, "images", shards), "decisions"), DECISIONS, "url")


def write_decisions(pipeline: beam.Pipeline, shards: list[int], job: LinkJob) -> None:
    """By unit (a shard of decisions): put together what was decided on the way; with the first, tallies and fetches."""
    left = (*job.index_folders, *job.revisit_folders, *job.document_folders, *job.image_folders)
    (
        pipeline
        | "Decisions" >> ReadRows(shards_of(left, "decisions"))
        | "WriteDecisions" >> WriteDecisions(job.output.data("decisions"), job.num_shards, shards)
    )
    if 0 in shards:
        for name, schema, key, folders in (
            ("fetches", FETCHES, "url", job.fetch_folders),
            ("archives", ARCHIVES, "warc_file", job.index_folders),
        ):
            rows = pipeline | f"Read{name}" >> ReadRows(shards_of(folders, name))
            _write_part(rows, name, job.output.data(name), schema, key)


def batch_folder(job: LinkJob, name: str, units: list[int]) -> str:
    """Where a batch of a linking graph leaves what the next graph reads."""
    return join(job.work, f"{name}-{units[0]}")


def _own_shards(folders: tuple[str, ...], name: str, shards: list[int], job: LinkJob) -> list[str]:
    return [shard_path(join(folder, name), index, job.num_shards) for folder in folders for index in shards]


def _policies(pipeline: beam.Pipeline, job: LinkJob, paths: list[str], only: OfShards) -> beam.PCollection:
    """The policies of the hosts in these rows; all, where rows of every shard are asked for."""
    needed = None
    if not only.is_all:
        urls = (row["url"] for path in paths for row in read_rows(path, [only.column, "url"], only))
        needed = OneOf("host", frozenset(map(host_key, urls)))
    return pipeline | "PolicyIndex" >> ReadRows(shards_of(job.index_folders, "policies"), None, needed)


def _to_shard(row: Row, key: str, num_shards: int) -> tuple[int, Row]:
    return shard_of(row[key], num_shards), row


def _to_first_shard(row: Row) -> tuple[int, Row]:
    return 0, row
