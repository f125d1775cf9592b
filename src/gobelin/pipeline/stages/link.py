"""The part of the stage ``extract`` that joins pages and images by URL.

    find what revisits point to  revisit records -> further URLs of images
    find what sites say          by host, where there are several batches: signals of policies for pages and images
    look images up               by slice of the URLs: candidates of image nodes -> the images that the input holds
    write documents              by shard: documents, and which images they show
    write images                 by shard: the images that some document shows
    write decisions              by shard: all decisions, tallies and fetches

A batch is as many units as together have about ``ROWS_AT_ONCE`` rows, and runs in a process of its own; so memory does
not grow with the input, as long as no single shard does. Each graph writes small Parquet files that the next one reads.
Where there are several batches, rows are dealt out first to the batches that read them (``stages/partition.py``).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import apache_beam as beam
import pyarrow as pa

from gobelin.data.ids import shard_of
from gobelin.data.rows import Row
from gobelin.data.schemas import ARCHIVES, DECISIONS, FETCHES
from gobelin.pipeline.run.context import Context
from gobelin.pipeline.run.plan import Batch, DataSet, Plan, Step, data_sets, in_even_batches
from gobelin.pipeline.run.state import count_rows
from gobelin.pipeline.stages.partition import Parted, Source, num_batches, partition
from gobelin.store.dataset import Attempt
from gobelin.store.paths import join
from gobelin.store.shards import Known, read_rows, shards_of
from gobelin.transforms.archives.revisits import (
    REVISIT_INDEX,
    CapturesByRevisit,
    ResolveRevisits,
    RevisitsByPlace,
    revisit_keys,
)
from gobelin.transforms.extract.extract import IMAGE_INDEX, PAGE_INDEX
from gobelin.transforms.extract.link import (
    IMAGE_NAMES,
    RESOLUTIONS,
    SHOWN,
    WISHES,
    ResolveUrls,
    WishesBySlice,
    WriteDocuments,
    WriteImages,
    is_stored,
    wishes_in_index,
    wishes_in_part,
)
from gobelin.transforms.partition import ByShard, BySlice, Deal, DecisionsByShard, Split
from gobelin.transforms.rights.site_policy import POLICY_INDEX
from gobelin.transforms.rights.site_signals import FindSiteSignals, PlacesByHost
from gobelin.transforms.row_steps import ReadRows, WriteDecisions, WriteRows

ROWS_AT_ONCE = 20_000
"""Rows of the indexes (pages and images) that one process works on: about 10 KiB of memory each, beside 150 MiB."""


def link(context: Context, read: tuple[str, ...], fetched: tuple[str, ...]) -> None:
    """Joins pages and images of the indexes in these folders: the data sets of ``extract``."""
    folder, recipe = context.folder("extract"), context.recipe
    agents = recipe.extract.robots_agents
    job = LinkJob(
        read, fetched, join(folder.work, "link"), folder.attempt, recipe.num_shards, agents,
        has_copies=recipe.extract.image.copy_side_px > 0,
    )  # fmt: skip
    run_link(context.plan, job, ROWS_AT_ONCE)


def run_link(plan: Plan, job: LinkJob, rows_at_once: int) -> None:
    """The steps.

    Args:
        job: without slices and folders of batches.
        rows_at_once: rows of the indexes in a batch.
    """
    indexes = [join(folder, "pages") for folder in job.read_folders]
    indexes += [join(folder, "images") for folder in job.index_folders]
    num_urls = num_batches(plan, indexes, rows_at_once)
    has_policies = any(count_rows(join(folder, "policies")) for folder in job.index_folders)
    shards = in_even_batches(range(job.num_shards), num_urls)
    # Of captures only those travel that a batch's revisits may point to, so their own number decides.
    held_revisits = [join(folder, "revisits") for folder in job.read_folders]
    has_revisits = any(map(count_rows, held_revisits))
    num_revisit_batches = num_batches(plan, held_revisits, rows_at_once) if has_revisits else 0
    revisits = [[number] for number in range(num_revisit_batches)]
    urls = [[number] for number in range(num_urls)]
    # Where pages of a host are spread over batches, its policies are read once, and not once a batch.
    hosts = urls if has_policies and num_urls > 1 else []
    job = dataclasses.replace(
        job,
        num_url_parts=num_urls,
        num_revisit_parts=num_revisit_batches,
        num_host_parts=len(hosts),
        num_shard_parts=len(shards),
        revisit_folders=tuple(batch_folder(job, "revisits", units) for units in revisits),
        host_folders=tuple(batch_folder(job, "hosts", units) for units in hosts),
        url_folders=tuple(batch_folder(job, "urls", units) for units in urls),
        document_folders=tuple(batch_folder(job, "documents", units) for units in shards),
        image_folders=tuple(batch_folder(job, "images", units) for units in shards),
    )
    num_shards, output, is_parted = job.num_shards, job.output, num_urls > 1

    def deal_out(job: LinkJob, name: str, *sources: Source) -> LinkJob:
        """With the sources dealt out, where batches would each go through all of them."""
        if not is_parted:
            return job
        title = f"extract: deal out {name.replace('-', ' ')}"
        parted = partition(plan, title, join(job.work, f"parts-of-{name}"), sources)
        return dataclasses.replace(job, parted={**job.parted, **{each.split.name: parted for each in sources}})

    job = deal_out(job, "index", *_sources_of_index(job))
    if revisits:
        batches = [
            Batch(units, job, data_sets(folder, 1, "names", "decisions"))
            for units, folder in zip(revisits, job.revisit_folders)
        ]
        plan.run(Step("extract: find what revisits point to", resolve_revisits, batches))
        job = deal_out(job, "revisits", *_sources_of_revisits(job))
    if hosts:
        batches = [
            Batch(units, job, data_sets(folder, 1, "page_signals", "image_signals", "decisions"))
            for units, folder in zip(hosts, job.host_folders)
        ]
        plan.run(Step("extract: find what sites say", find_signals, batches))
        signals = (
            _by_shard(job, name, job.host_folders, schema, key)
            for name, schema, key in (
                ("page_signals", PAGE_SIGNALS, "doc_id"), ("image_signals", IMAGE_SIGNALS, "image_id"),
            )
        )  # fmt: skip
        job = deal_out(job, "signals", *signals)
    num_files = 1 if is_parted else num_shards
    batches = [
        Batch(units, job, data_sets(folder, num_files, "resolutions")) for units, folder in zip(urls, job.url_folders)
    ]
    plan.run(Step("extract: look images up", resolve_urls, batches))
    job = deal_out(job, "addresses", _by_shard(job, "resolutions", job.url_folders, RESOLUTIONS, "doc_id"))
    batches = [
        Batch(units, job, (DataSet(join(folder, "shown"), num_files), *data_sets(folder, 1, "decisions")))
        for units, folder in zip(shards, job.document_folders)
    ]
    made = data_sets(output, num_shards, "documents")
    plan.run(Step("extract: write documents", write_documents, batches, made, "documents"))
    job = deal_out(job, "shown-images", _by_shard(job, "shown", job.document_folders, SHOWN, "image_id"))
    batches = [Batch(units, job, data_sets(folder, 1, "decisions")) for units, folder in zip(shards, job.image_folders)]
    made = data_sets(output, num_shards, "images", *(["copies"] if job.has_copies else []))
    plan.run(Step("extract: write images", write_images, batches, made, "images"))
    job = deal_out(job, "decisions", _source_of_decisions(job))
    batches = [Batch(units, job) for units in shards]
    made = (*data_sets(output, num_shards, "decisions"), *data_sets(output, 1, "archives", "fetches"))
    plan.run(Step("extract: write decisions", write_decisions, batches, made))


@dataclasses.dataclass(frozen=True, slots=True)
class LinkJob:
    """The indexes of ``read_archives`` and ``fetch_images`` -> the data sets of ``extract``, in ``output``."""

    read_folders: tuple[str, ...]
    fetch_folders: tuple[str, ...]
    work: str  # for files that one graph writes and the next one reads
    output: Attempt
    num_shards: int
    agents: tuple[str, ...]  # of robots.txt, whose being disallowed is recorded
    has_copies: bool = True  # whether reduced copies of images are kept
    num_url_parts: int = 1
    num_revisit_parts: int = 1
    num_host_parts: int = 0
    num_shard_parts: int = 1
    revisit_folders: tuple[str, ...] = ()  # what each batch of a graph left
    host_folders: tuple[str, ...] = ()
    url_folders: tuple[str, ...] = ()
    document_folders: tuple[str, ...] = ()
    image_folders: tuple[str, ...] = ()
    parted: dict[str, Parted] = dataclasses.field(default_factory=dict)  # data sets that were dealt out

    @property
    def index_folders(self) -> tuple[str, ...]:
        return (*self.read_folders, *self.fetch_folders)

    @property
    def deciding_folders(self) -> tuple[str, ...]:
        made = (*self.revisit_folders, *self.host_folders, *self.document_folders, *self.image_folders)
        return (*self.index_folders, *made)


_CAPTURE = ("url", "url_key", "warc_date", "payload_digest", "warc_file", "warc_offset")
_CAPTURED_PAGE = ("doc_id", *_CAPTURE)
_CAPTURED_IMAGE = ("image_id", "is_blocked", *_CAPTURE)
_OF_PAGES = tuple(name for name in PAGE_INDEX.names if name not in ("url_key", "candidate_keys", "payload_digest"))
_OF_IMAGES = tuple(name for name in IMAGE_INDEX.names if name != "url_key")


def _sources_of_index(job: LinkJob) -> list[Source]:
    """The indexes, dealt out to the batches of each graph that reads them."""
    pages, images = shards_of(job.read_folders, "pages"), shards_of(job.index_folders, "images")
    num_urls, num_revisits = job.num_url_parts, job.num_revisit_parts
    sources = [
        Source(_split("pages", PAGE_INDEX, _OF_PAGES, _shards(job, "doc_id"), job.num_shard_parts), pages),
        Source(Split("wishes", ("doc_id", "candidate_keys"), WISHES, WishesBySlice(num_urls), num_urls), pages),
        Source(Split("names", tuple(IMAGE_NAMES.names), IMAGE_NAMES, BySlice("url_key", num_urls), num_urls), images),
        Source(_split("images", IMAGE_INDEX, _OF_IMAGES, _shards(job, "image_id"), job.num_shard_parts), images),
    ]
    if num_revisits:
        revisits = tuple(shards_of(job.read_folders, "revisits"))
        captures = CapturesByRevisit(revisits, num_revisits)
        every = tuple(REVISIT_INDEX.names)
        sources += [
            Source(_split("revisits", REVISIT_INDEX, every, RevisitsByPlace(num_revisits), num_revisits), revisits),
            Source(_split("captured_pages", PAGE_INDEX, _CAPTURED_PAGE, captures, num_revisits), pages),
            Source(_split("captured_images", IMAGE_INDEX, _CAPTURED_IMAGE, captures, num_revisits), images),
        ]
    if job.num_host_parts:
        of_hosts = ByShard("host", job.num_host_parts, job.num_host_parts)
        policies, every = shards_of(job.index_folders, "policies"), tuple(POLICY_INDEX.names)
        sources += [
            Source(_split("policies", POLICY_INDEX, every, of_hosts, job.num_host_parts), policies),
            Source(_places(job, "page_places", PAGE_INDEX, "doc_id"), pages),
            Source(_places(job, "image_places", IMAGE_INDEX, "image_id"), images),
        ]
    return sources


def _places(job: LinkJob, name: str, index: pa.Schema, identity: str) -> Split:
    """Ids and URLs, dealt out by host."""
    return _split(name, index, (identity, "url"), PlacesByHost(identity, job.num_host_parts), job.num_host_parts)


def _sources_of_revisits(job: LinkJob) -> list[Source]:
    """Further URLs of images, dealt out by URL and by image."""
    names, num_urls = shards_of(job.revisit_folders, "names"), job.num_url_parts
    columns = tuple(IMAGE_NAMES.names)
    sources = [
        Source(Split("revisit_names", columns, IMAGE_NAMES, BySlice("url_key", num_urls), num_urls), names),
        _by_shard(job, "names", job.revisit_folders, IMAGE_NAMES, "image_id", "revisited"),
    ]
    if job.num_host_parts:
        sources.append(Source(_places(job, "revisited_places", IMAGE_NAMES, "image_id"), names))
    return sources


def _source_of_decisions(job: LinkJob) -> Source:
    deal = DecisionsByShard(job.num_shards, job.num_shard_parts)
    split = Split("decisions", tuple(DECISIONS.names), DECISIONS, deal, job.num_shard_parts)
    return Source(split, shards_of(job.deciding_folders, "decisions"))


def _by_shard(
    job: LinkJob, name: str, folders: tuple[str, ...], schema: pa.Schema, key: str, made: str | None = None
) -> Source:
    """What batches left, dealt out to the batches of shards."""
    split = Split(made or name, tuple(schema.names), schema, _shards(job, key), job.num_shard_parts)
    return Source(split, shards_of(folders, name))


def _shards(job: LinkJob, key: str) -> ByShard:
    return ByShard(key, job.num_shards, job.num_shard_parts)


def _split(name: str, index: pa.Schema, columns: tuple[str, ...], deal: Deal, num_parts: int) -> Split:
    """Some columns of an index, dealt out."""
    return Split(name, columns, pa.schema([index.field(column) for column in columns]), deal, num_parts)


def _paths(job: LinkJob, part: str, units: list[int], folders: tuple[str, ...], name: str) -> list[str]:
    """The files that a batch reads: its part, where they were dealt out; all of the data sets ``name`` in the folders,
    where there is one batch."""
    return job.parted[part].paths(part, units[0]) if part in job.parted else shards_of(folders, name)


def resolve_revisits(pipeline: beam.Pipeline, parts: list[int], job: LinkJob) -> None:
    """By unit (a part of the revisits): find what each one points to; a folder with ``names`` and ``decisions``."""
    paths = _paths(job, "revisits", parts, job.read_folders, "revisits")
    pages = _paths(job, "captured_pages", parts, job.read_folders, "pages")
    images = _paths(job, "captured_images", parts, job.index_folders, "images")
    wanted = None
    if job.parted:
        wanted = frozenset(key for path in paths for row in read_rows(path) for _, key in revisit_keys(row))
    resolved = (
        pipeline | "RevisitIndex" >> ReadRows(paths),
        pipeline | "PageIndex" >> ReadRows(pages, list(_CAPTURED_PAGE)),
        pipeline | "ImageIndex" >> ReadRows(images, list(_CAPTURED_IMAGE)),
    ) | "ResolveRevisits" >> ResolveRevisits(wanted)
    folder = batch_folder(job, "revisits", parts)
    _write_part(resolved.images, "names", join(folder, "names"), IMAGE_NAMES, "url")
    _write_part(resolved.decisions, "decisions", join(folder, "decisions"), DECISIONS, "url")


def _write_part(rows: beam.PCollection, name: str, folder: str, schema: Any, sort_by: str) -> None:
    """A data set of one file."""
    rows | f"{name} to file" >> beam.Map(_to_first_shard) | f"Write {name}" >> WriteRows(folder, schema, 1, (sort_by,))


PAGE_SIGNALS = pa.schema([("doc_id", pa.string()), ("signals", pa.list_(pa.string()))])
IMAGE_SIGNALS = pa.schema([("image_id", pa.string()), ("signals", pa.list_(pa.string()))])


def find_signals(pipeline: beam.Pipeline, parts: list[int], job: LinkJob) -> None:
    """By unit (a part of the hosts): what their policies say of their pages and images; ``decisions``."""
    folder = batch_folder(job, "hosts", parts)
    revisited = _paths(job, "revisited_places", parts, (), "names")
    policies = pipeline | "Policies" >> ReadRows(_paths(job, "policies", parts, (), "policies"))
    decisions = []
    for name, schema, identity, paths in (
        ("page_signals", PAGE_SIGNALS, "doc_id", _paths(job, "page_places", parts, (), "pages")),
        ("image_signals", IMAGE_SIGNALS, "image_id", [*_paths(job, "image_places", parts, (), "images"), *revisited]),
    ):
        places = pipeline | f"Places {name}" >> ReadRows(paths, [identity, "url"])
        found = (places, policies) | name >> FindSiteSignals(identity, job.agents)
        rows = found.signals | f"Rows {name}" >> beam.Map(_signals_row, identity)
        _write_part(rows, name, join(folder, name), schema, identity)
        decisions.append(found.decisions)
    all_decisions = tuple(decisions) | "AllDecisions" >> beam.Flatten()
    _write_part(all_decisions, "decisions", join(folder, "decisions"), DECISIONS, "url")


def resolve_urls(pipeline: beam.Pipeline, parts: list[int], job: LinkJob) -> None:
    """By unit (a part of the URLs): find which candidates the input holds; ``resolutions`` by shard of document."""
    pages = _paths(job, "wishes", parts, job.read_folders, "pages")
    images = _paths(job, "names", parts, job.index_folders, "images")
    revisited = _paths(job, "revisit_names", parts, job.revisit_folders, "names")
    names = (
        pipeline | "ImageIndex" >> ReadRows(images, IMAGE_NAMES.names, Known("url_key")),
        pipeline | "RevisitNames" >> ReadRows(revisited, None, Known("url_key")),
    ) | "Names" >> beam.Flatten()
    read_wishes = wishes_in_part if job.parted else wishes_in_index
    wishes = pipeline | "Pages" >> beam.Create(pages) | "Wishes" >> beam.FlatMap(read_wishes)
    resolutions = (wishes, names) | "ResolveUrls" >> ResolveUrls()
    _write_by_shard(resolutions, "resolutions", batch_folder(job, "urls", parts), RESOLUTIONS, "doc_id", job)


def _write_by_shard(
    rows: beam.PCollection, name: str, folder: str, schema: pa.Schema, key: str, job: LinkJob
) -> None:  # fmt: skip
    """A data set by shard; of one file, where it will be dealt out to other batches."""
    num_files = 1 if job.parted else job.num_shards
    (
        rows
        | f"{name} to shard" >> beam.Map(_to_shard, key, num_files)
        | f"Write {name}" >> WriteRows(join(folder, name), schema, num_files, (key,))
    )


def write_documents(pipeline: beam.Pipeline, shards: list[int], job: LinkJob) -> None:
    """By unit (a shard of documents): write them; ``shown`` by shard of image, and ``decisions``."""
    index = _paths(job, "pages", shards, job.read_folders, "pages")
    resolved = _paths(job, "resolutions", shards, job.url_folders, "resolutions")
    pages = pipeline | "PageIndex" >> ReadRows(index, list(_OF_PAGES), Known("doc_id"))
    resolutions = pipeline | "Resolutions" >> ReadRows(resolved)
    signals, undecided = _signals(pipeline, job, shards, "page_signals", pages, "doc_id")
    written = (pages, resolutions, signals) | "WriteDocuments" >> WriteDocuments(
        job.output.data("documents"), shards, job.num_shards
    )
    folder = batch_folder(job, "documents", shards)
    _write_by_shard(written["shown"], "shown", folder, SHOWN, "image_id", job)
    decisions = (written["decisions"], *undecided) | "AllDecisions" >> beam.Flatten()
    _write_part(decisions, "decisions", join(folder, "decisions"), DECISIONS, "doc_id")


def write_images(pipeline: beam.Pipeline, shards: list[int], job: LinkJob) -> None:
    """By unit (a shard of images): write those that a document shows; ``decisions``."""
    index = _paths(job, "images", shards, job.index_folders, "images")
    revisited = _paths(job, "revisited", shards, job.revisit_folders, "names")
    shown_paths = _paths(job, "shown", shards, job.document_folders, "shown")
    known = Known("image_id")
    images = pipeline | "ImageIndex" >> ReadRows(index, list(_OF_IMAGES), known) | "WithBytes" >> beam.Filter(is_stored)
    names = pipeline | "RevisitNames" >> ReadRows(revisited, ["image_id", "url"], known)
    shown = pipeline | "Shown" >> ReadRows(shown_paths)
    all_names = (images, names) | "AllNames" >> beam.Flatten()
    signals, undecided = _signals(pipeline, job, shards, "image_signals", all_names, "image_id")
    written = (images, shown, names, signals) | "WriteImages" >> WriteImages(
        job.output.data("images"), job.output.data("copies") if job.has_copies else None, shards, job.num_shards
    )
    decisions = (written["decisions"], *undecided) | "AllDecisions" >> beam.Flatten()
    _write_part(decisions, "decisions", join(batch_folder(job, "images", shards), "decisions"), DECISIONS, "url")


def write_decisions(pipeline: beam.Pipeline, shards: list[int], job: LinkJob) -> None:
    """By unit (a shard of decisions): put together what was decided on the way; with the first, tallies and fetches."""
    paths = _paths(job, "decisions", shards, job.deciding_folders, "decisions")
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
            _write_part(rows, name, job.output.data(name), schema, key)


def batch_folder(job: LinkJob, name: str, units: list[int]) -> str:
    """Where a batch of a linking graph leaves what the next graph reads."""
    return join(job.work, f"{name}-{units[0]}")


def _signals(
    pipeline: beam.Pipeline, job: LinkJob, shards: list[int], name: str, rows: beam.PCollection, identity: str
) -> tuple[beam.PCollection, list[beam.PCollection]]:
    """(id, signals) pairs of these rows, and decisions on them: found here, or by ``find_signals``."""
    if job.parted:
        paths = job.parted[name].paths(name, shards[0]) if name in job.parted else []
        signals = pipeline | "Signals" >> ReadRows(paths) | "ById" >> beam.Map(_signals_by_id, identity)
        return signals, []
    policies = pipeline | "PolicyIndex" >> ReadRows(shards_of(job.index_folders, "policies"))
    found = (rows, policies) | "SiteSignals" >> FindSiteSignals(identity, job.agents)
    return found.signals, [found.decisions]


def _signals_by_id(row: Row, identity: str) -> tuple[str, list[str]]:
    return row[identity], row["signals"]


def _signals_row(found: tuple[str, tuple[str, ...]], identity: str) -> Row:
    return {identity: found[0], "signals": list(found[1])}


def _to_shard(row: Row, key: str, num_shards: int) -> tuple[int, Row]:
    return shard_of(row[key], num_shards), row


def _to_first_shard(row: Row) -> tuple[int, Row]:
    return 0, row
