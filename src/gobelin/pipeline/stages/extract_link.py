"""The part of the stage ``extract`` that joins pages and images by URL.

    find what revisits point to  revisit records -> further URLs of images
    find what sites say          with several batches, by host: what site policies say about pages and images
    look images up               by slice of the URLs: candidates of image nodes -> images that the input holds
    write documents              by shard: documents, and the images that they show
    write images                 by shard: the images that at least one document shows
    write decisions              by shard: all decisions, tallies and fetches

A batch has as many units as hold about ``ROWS_AT_ONCE`` rows together, and runs in a process of its own. So memory does
not grow with the input, as long as no single shard does. Each graph writes small Parquet files that later graphs read.
With several batches, rows are first partitioned for the batches that read them (``extract_link_batches.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import apache_beam as beam
import pyarrow as pa

from gobelin.data.ids import shard_of
from gobelin.data.schemas import ARCHIVES, DECISIONS, FETCHES
from gobelin.pipeline.run.context import Context
from gobelin.pipeline.run.partition import num_batches
from gobelin.pipeline.run.plan import Batch, DataSet, Plan, Step, data_sets
from gobelin.pipeline.stages.extract_link_batches import (
    CAPTURED_IMAGE,
    CAPTURED_PAGE,
    OF_IMAGES,
    OF_PAGES,
    LinkJob,
    by_shard,
    partition_sources,
    source_of_decisions,
    sources_of_index,
    sources_of_revisits,
)
from gobelin.store.dataset import num_rows_of
from gobelin.store.paths import join
from gobelin.store.shards import Known, read_rows, shards_of
from gobelin.transforms.archives.revisits import ResolveRevisits, revisit_keys
from gobelin.transforms.extract.resolve_urls import (
    IMAGE_NAMES,
    RESOLUTIONS,
    ResolveUrls,
    wishes_in_index,
    wishes_in_part,
)
from gobelin.transforms.extract.write_documents import SHOWN, WriteDocuments
from gobelin.transforms.extract.write_images import WriteImages, is_stored
from gobelin.transforms.rights.site_signals import FindSiteSignals
from gobelin.transforms.row_steps import ReadRows, WriteDecisions, WriteOneFile, WriteRows

ROWS_AT_ONCE = 20_000
"""Rows of the indexes (pages and images) that one process works on: about 10 KiB of memory each, beside 150 MiB."""


def link(context: Context, read: tuple[str, ...], fetched: tuple[str, ...]) -> None:
    """Joins pages and images of the indexes in these folders, and writes the data sets of ``extract``."""
    folder, recipe = context.folder("extract"), context.recipe
    agents = recipe.extract.robots_agents
    job = LinkJob(
        read, fetched, join(folder.work, "link"), folder.attempt, recipe.num_shards, agents,
        has_copies=recipe.extract.image.copy_side_px > 0,
    )  # fmt: skip
    run_link(context.plan, job, ROWS_AT_ONCE)


def run_link(plan: Plan, job: LinkJob, rows_at_once: int) -> None:
    """Runs the steps in order.

    Args:
        job: numbers of batches are not set yet.
        rows_at_once: rows of the indexes per batch.
    """
    job = _in_batches(plan, job, rows_at_once)
    job = partition_sources(plan, job, "index", *sources_of_index(job))
    if job.num_revisit_parts:
        batches = _batches(job, "revisits", _numbers(job.num_revisit_parts), {"names": 1, "decisions": 1})
        plan.run(Step("extract: find what revisits point to", resolve_revisits, batches))
        job = partition_sources(plan, job, "revisits", *sources_of_revisits(job))
    if job.num_host_parts:
        made = {"page_signals": 1, "image_signals": 1, "decisions": 1}
        plan.run(
            Step(
                "extract: find what sites say", find_signals, _batches(job, "hosts", _numbers(job.num_host_parts), made)
            )
        )
        of_pages = by_shard(job, "page_signals", job.host_folders, PAGE_SIGNALS, "doc_id")
        of_images = by_shard(job, "image_signals", job.host_folders, IMAGE_SIGNALS, "image_id")
        job = partition_sources(plan, job, "signals", of_pages, of_images)

    num_files = 1 if job.is_parted else job.num_shards
    batches = _batches(job, "urls", _numbers(job.num_url_parts), {"resolutions": num_files})
    plan.run(Step("extract: look images up", resolve_urls, batches))
    job = partition_sources(
        plan, job, "addresses", by_shard(job, "resolutions", job.url_folders, RESOLUTIONS, "doc_id")
    )

    batches = _batches(job, "documents", job.shards, {"shown": num_files, "decisions": 1})
    made_documents = data_sets(job.output, job.num_shards, "documents")
    num_pages = sum(num_rows_of(join(folder, "pages")) for folder in job.read_folders)
    plan.run(Step("extract: write documents", write_documents, batches, made_documents, "documents", num_pages))
    job = partition_sources(plan, job, "shown-images", by_shard(job, "shown", job.document_folders, SHOWN, "image_id"))

    batches = _batches(job, "images", job.shards, {"decisions": 1})
    made_images = data_sets(job.output, job.num_shards, "images", *(["copies"] if job.has_copies else []))
    plan.run(Step("extract: write images", write_images, batches, made_images, "images"))
    job = partition_sources(plan, job, "decisions", source_of_decisions(job))

    batches = [Batch(units, job) for units in job.shards]
    made_last = (*data_sets(job.output, job.num_shards, "decisions"), *data_sets(job.output, 1, "archives", "fetches"))
    plan.run(Step("extract: write decisions", write_decisions, batches, made_last))


def _in_batches(plan: Plan, job: LinkJob, rows_at_once: int) -> LinkJob:
    """Returns the job with its numbers of batches."""
    indexes = [join(folder, "pages") for folder in job.read_folders]
    indexes += [join(folder, "images") for folder in job.index_folders]
    num_urls = num_batches(plan, indexes, rows_at_once)
    # A batch gets only the captures that its revisits may point to, so the number of revisits decides.
    revisits = [join(folder, "revisits") for folder in job.read_folders]
    num_revisits = num_batches(plan, revisits, rows_at_once) if any(map(num_rows_of, revisits)) else 0
    # If the pages of a host are spread over batches, its policies are read once, not once per batch.
    has_policies = any(num_rows_of(join(folder, "policies")) for folder in job.index_folders)
    num_hosts = num_urls if has_policies and num_urls > 1 else 0
    job = dataclasses.replace(job, num_url_parts=num_urls, num_revisit_parts=num_revisits, num_host_parts=num_hosts)
    return dataclasses.replace(job, num_shard_parts=len(job.shards))


def _numbers(num_parts: int) -> list[list[int]]:
    return [[number] for number in range(num_parts)]


def _batches(job: LinkJob, name: str, units_of_batches: list[list[int]], made: dict[str, int]) -> list[Batch]:
    """The batches of a step. ``made`` maps the name of each data set that a batch writes to its number of files."""

    def writes(units: list[int]) -> tuple[DataSet, ...]:
        folder = job.folder(name, units)
        return tuple(DataSet(join(folder, data_set), num_files) for data_set, num_files in made.items())

    return [Batch(units, job, writes(units)) for units in units_of_batches]


def resolve_revisits(pipeline: beam.Pipeline, parts: list[int], job: LinkJob) -> None:
    """For each unit (a part of the revisits): finds what each revisit points to. Writes ``names`` and ``decisions``."""
    paths = job.paths("revisits", parts, job.read_folders, "revisits")
    pages = job.paths("captured_pages", parts, job.read_folders, "pages")
    images = job.paths("captured_images", parts, job.index_folders, "images")
    wanted = None
    if job.parted:
        wanted = frozenset(key for path in paths for row in read_rows(path) for _, key in revisit_keys(row))
    resolved = (
        pipeline | "RevisitIndex" >> ReadRows(paths),
        pipeline | "PageIndex" >> ReadRows(pages, list(CAPTURED_PAGE)),
        pipeline | "ImageIndex" >> ReadRows(images, list(CAPTURED_IMAGE)),
    ) | "ResolveRevisits" >> ResolveRevisits(wanted)
    folder = job.folder("revisits", parts)
    resolved.images | "Write names" >> WriteOneFile(join(folder, "names"), IMAGE_NAMES, ("url",))
    resolved.decisions | "Write decisions" >> WriteOneFile(join(folder, "decisions"), DECISIONS, ("url",))


PAGE_SIGNALS = pa.schema([("doc_id", pa.string()), ("signals", pa.list_(pa.string()))])
IMAGE_SIGNALS = pa.schema([("image_id", pa.string()), ("signals", pa.list_(pa.string()))])


def find_signals(pipeline: beam.Pipeline, parts: list[int], job: LinkJob) -> None:
    """For each unit (a part of the hosts): finds what site policies say about pages and images. Writes ``decisions``,
    too."""
    folder = job.folder("hosts", parts)
    revisited = job.paths("revisited_places", parts, (), "names")
    policies = pipeline | "Policies" >> ReadRows(job.paths("policies", parts, (), "policies"))
    decisions = []
    for name, schema, identity, paths in (
        ("page_signals", PAGE_SIGNALS, "doc_id", job.paths("page_places", parts, (), "pages")),
        ("image_signals", IMAGE_SIGNALS, "image_id", [*job.paths("image_places", parts, (), "images"), *revisited]),
    ):
        places = pipeline | f"Places {name}" >> ReadRows(paths, [identity, "url"])
        found = (places, policies) | name >> FindSiteSignals(identity, job.agents)
        rows = found.signals | f"Rows {name}" >> beam.Map(_signals_row, identity)
        rows | f"Write {name}" >> WriteOneFile(join(folder, name), schema, (identity,))
        decisions.append(found.decisions)
    all_decisions = tuple(decisions) | "AllDecisions" >> beam.Flatten()
    all_decisions | "Write decisions" >> WriteOneFile(join(folder, "decisions"), DECISIONS, ("url",))


def resolve_urls(pipeline: beam.Pipeline, parts: list[int], job: LinkJob) -> None:
    """For each unit (a part of the URLs): finds the candidates that the input holds. Writes ``resolutions`` by document
    shard."""
    pages = job.paths("wishes", parts, job.read_folders, "pages")
    images = job.paths("names", parts, job.index_folders, "images")
    revisited = job.paths("revisit_names", parts, job.revisit_folders, "names")
    names = (
        pipeline | "ImageIndex" >> ReadRows(images, IMAGE_NAMES.names, Known("url_key")),
        pipeline | "RevisitNames" >> ReadRows(revisited, None, Known("url_key")),
    ) | "Names" >> beam.Flatten()
    read_wishes = wishes_in_part if job.parted else wishes_in_index
    wishes = pipeline | "Pages" >> beam.Create(pages) | "Wishes" >> beam.FlatMap(read_wishes)
    resolutions = (wishes, names) | "ResolveUrls" >> ResolveUrls()
    _write_by_shard(resolutions, "resolutions", job.folder("urls", parts), RESOLUTIONS, "doc_id", job)


def _write_by_shard(
    rows: beam.PCollection, name: str, folder: str, schema: pa.Schema, key: str, job: LinkJob
) -> None:  # fmt: skip
    """Writes a data set by shard, or as one file if it will be partitioned for other batches."""
    num_files = 1 if job.parted else job.num_shards
    (
        rows
        | f"{name} to shard" >> beam.Map(_to_shard, key, num_files)
        | f"Write {name}" >> WriteRows(join(folder, name), schema, num_files, (key,))
    )


def write_documents(pipeline: beam.Pipeline, shards: list[int], job: LinkJob) -> None:
    """For each unit (a shard of documents): writes them, ``shown`` by shard of image, and ``decisions``."""
    index = job.paths("pages", shards, job.read_folders, "pages")
    resolved = job.paths("resolutions", shards, job.url_folders, "resolutions")
    pages = pipeline | "PageIndex" >> ReadRows(index, list(OF_PAGES), Known("doc_id"))
    resolutions = pipeline | "Resolutions" >> ReadRows(resolved)
    signals, undecided = _signals(pipeline, job, shards, "page_signals", pages, "doc_id")
    written = (pages, resolutions, signals) | "WriteDocuments" >> WriteDocuments(
        job.output.data("documents"), shards, job.num_shards
    )
    folder = job.folder("documents", shards)
    _write_by_shard(written["shown"], "shown", folder, SHOWN, "image_id", job)
    decisions = (written["decisions"], *undecided) | "AllDecisions" >> beam.Flatten()
    decisions | "Write decisions" >> WriteOneFile(join(folder, "decisions"), DECISIONS, ("doc_id",))


def write_images(pipeline: beam.Pipeline, shards: list[int], job: LinkJob) -> None:
    """For each unit (a shard of images): writes the images that a document shows, and ``decisions``."""
    index = job.paths("images", shards, job.index_folders, "images")
    revisited = job.paths("revisited", shards, job.revisit_folders, "names")
    shown_paths = job.paths("shown", shards, job.document_folders, "shown")
    known = Known("image_id")
    images = pipeline | "ImageIndex" >> ReadRows(index, list(OF_IMAGES), known) | "WithBytes" >> beam.Filter(is_stored)
    names = pipeline | "RevisitNames" >> ReadRows(revisited, ["image_id", "url"], known)
    shown = pipeline | "Shown" >> ReadRows(shown_paths)
    all_names = (images, names) | "AllNames" >> beam.Flatten()
    signals, undecided = _signals(pipeline, job, shards, "image_signals", all_names, "image_id")
    written = (images, shown, names, signals) | "WriteImages" >> WriteImages(
        job.output.data("images"), job.output.data("copies") if job.has_copies else None, shards, job.num_shards
    )
    decisions = (written["decisions"], *undecided) | "AllDecisions" >> beam.Flatten()
    decisions | "Write decisions" >> WriteOneFile(join(job.folder("images", shards), "decisions"), DECISIONS, ("url",))


def write_decisions(pipeline: beam.Pipeline, shards: list[int], job: LinkJob) -> None:
    """For each unit (a shard): merges the decisions of all steps. The batch with the first shard also writes tallies
    and fetches."""
    paths = job.paths("decisions", shards, job.deciding_folders, "decisions")
    (
        pipeline
        | "Decisions" >> ReadRows(paths)
        | "WriteDecisions" >> WriteDecisions(job.output.data("decisions"), job.num_shards, shards)
    )
    if 0 in shards:
        for name, schema, key, folders in (
            ("fetches", FETCHES, "url", job.fetch_folders),
            ("archives", ARCHIVES, "warc_file", job.index_folders),
        ):
            rows = pipeline | f"Read{name}" >> ReadRows(shards_of(folders, name))
            rows | f"Write {name}" >> WriteOneFile(job.output.data(name), schema, (key,))


def _signals(
    pipeline: beam.Pipeline, job: LinkJob, shards: list[int], name: str, rows: beam.PCollection, identity: str
) -> tuple[beam.PCollection, list[beam.PCollection]]:
    """Pairs (id, signals) for these rows, and the decisions on them. With several batches, ``find_signals`` has found
    them."""
    if job.parted:
        paths = job.parted[name].paths(name, shards[0]) if name in job.parted else []
        signals = pipeline | "Signals" >> ReadRows(paths) | "ById" >> beam.Map(_signals_by_id, identity)
        return signals, []
    policies = pipeline | "PolicyIndex" >> ReadRows(shards_of(job.index_folders, "policies"))
    found = (rows, policies) | "SiteSignals" >> FindSiteSignals(identity, job.agents)
    return found.signals, [found.decisions]


def _signals_by_id(row: Mapping[str, Any], identity: str) -> tuple[str, list[str]]:
    return row[identity], row["signals"]


def _signals_row(found: tuple[str, tuple[str, ...]], identity: str) -> dict[str, Any]:
    return {identity: found[0], "signals": list(found[1])}


def _to_shard(row: Mapping[str, Any], key: str, num_shards: int) -> tuple[int, Mapping[str, Any]]:
    return shard_of(row[key], num_shards), row
