"""The Beam graphs of ``extract``: archives -> pages and images -> documents. Conventions as in ``graphs.py``.

    read_archives     archives -> spools of pages and images, and an index of each
    want_images       which images no archive holds        } in rounds, where the recipe fetches
    fetch_images      ask for them, as if archives had them }
    resolve_revisits  revisit records -> further URLs of images
    resolve_urls      candidate URLs of image nodes -> the images that the input holds
    write_documents   documents, and which images they show
    write_images      the images that some document shows
    write_decisions   all decisions, tallies and fetches

The last five *link* pages and images. Their units are slices of the URLs or shards of a data set, so that a local
worker holds the keys of its units and no more; what one graph leaves for the next is small Parquet files, sharded as
the next reads them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from gobelin.documents import ARCHIVES, DECISIONS, FETCHES, ArchiveTally, shard_of, to_row
from gobelin.transforms.archives.ranges import ArchiveRange
from gobelin.transforms.archives.read_warc import Capture, ReadWarc
from gobelin.transforms.archives.revisits import REVISIT_INDEX, ResolveRevisits, revisit_keys, revisit_place
from gobelin.transforms.block_revisits import BlockRevisits
from gobelin.transforms.extract import IMAGE_INDEX, PAGE_INDEX, ExtractImages, ExtractPages
from gobelin.transforms.extract_config import ExtractConfig
from gobelin.transforms.fetching.fetch import FetchImages
from gobelin.transforms.fetching.wanted_urls import WANTED, WantedUrls
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
from gobelin.transforms.rights.site_policy import POLICY_INDEX, host_key
from gobelin.transforms.rights.site_signals import FindSiteSignals, PolicyRows
from gobelin.transforms.shards import (
    OfShards,
    OfSlices,
    OneOf,
    ReadRows,
    WriteDecisions,
    WriteRows,
    read_rows,
    shards_of,
)
from gobelin.transforms.urls import host_of

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class ReadJob:
    """Archives -> spools and their index, in ``folder``."""

    config: ExtractConfig
    folder: str
    num_index_shards: int


INDEXES = ("pages", "images", "policies", "revisits", "decisions", "archives")
"""Data sets that ``read_archives`` writes."""


def read_archives(pipeline: beam.Pipeline, archives: list[ArchiveRange], job: ReadJob) -> None:
    """By unit (an archive, or a range of one): find pages and images, extract both, write payloads down."""
    spools = join(job.folder, "spools")
    records = (
        pipeline
        | "Archives" >> beam.Create(archives)
        | "ReadWarc" >> ReadWarc(job.config.max_page_bytes, job.config.image.max_bytes)
    )
    pages = records.pages | "ExtractPages" >> ExtractPages(job.config, spools)
    images = records.images | "ExtractImages" >> ExtractImages(job.config, spools)
    revisits = records.revisits | "BlockRevisits" >> BlockRevisits(job.config.block_list)

    _write_index("pages", (pages.pages,), PAGE_INDEX, job)
    _write_index("images", (pages.images, images.images, revisits.images), IMAGE_INDEX, job)
    policies = records.policies | "PolicyRows" >> PolicyRows()
    decisions = (records.decisions, pages.decisions, images.decisions, revisits.decisions, policies.decisions)
    _write_index("decisions", decisions, DECISIONS, job)
    _write_index("archives", (records.tallies, pages.tallies), ARCHIVES, job)
    _write_index("policies", (policies.policies,), POLICY_INDEX, job, "host")
    _write_index("revisits", (revisits.revisits,), REVISIT_INDEX, job)


def _write_index(
    name: str, rows: tuple[beam.PCollection, ...], schema: Any, job: ReadJob | FetchJob, sort_by: str = "warc_file"
) -> None:
    (
        rows
        | f"{name}/Flatten" >> beam.Flatten()
        | f"{name}/ToShard" >> beam.Map(_by_place, job.num_index_shards)
        | f"{name}/Write" >> WriteRows(join(job.folder, name), schema, job.num_index_shards, (sort_by,))
    )


def _by_place(row: Row, num_shards: int) -> tuple[int, Row]:
    place = f"{row.get('warc_file') or row.get('origin')} {row.get('warc_offset')} {row.get('url')}"
    return shard_of(place, num_shards), row


@dataclasses.dataclass(frozen=True, slots=True)
class WantJob:
    """The index of all ``read_archives`` and earlier ``fetch_images`` folders -> URLs to fetch, in ``output``."""

    read_folders: tuple[str, ...]
    fetch_folders: tuple[str, ...]
    output: str
    num_candidates: int
    num_shards: int


def want_images(pipeline: beam.Pipeline, _: list[Any], job: WantJob) -> None:
    """Which images no archive holds; their URLs, all of one host in one shard."""
    folders = (*job.read_folders, *job.fetch_folders)
    pages = pipeline | "PageIndex" >> ReadRows(
        shards_of(job.read_folders, "pages"), ["doc_id", "candidates", "candidate_keys"]
    )
    images = pipeline | "ImageIndex" >> ReadRows(shards_of(folders, "images"), ["url_key"])
    fetches = pipeline | "Fetches" >> ReadRows(shards_of(job.fetch_folders, "fetches"), ["url"])
    (
        (pages, images, fetches)
        | "WantedUrls" >> WantedUrls(job.num_candidates)
        | "ByHost" >> beam.Map(_url_to_shard, job.num_shards)
        | "Write" >> WriteRows(job.output, WANTED, job.num_shards, ("url",))
    )


def _url_to_shard(url: str, num_shards: int) -> tuple[int, Row]:
    return shard_of(host_of(url), num_shards), {"url": url}


@dataclasses.dataclass(frozen=True, slots=True)
class FetchJob:
    """URLs in ``wanted`` -> spools and their index, in ``folder``."""

    config: ExtractConfig
    wanted: str
    num_shards: int  # of ``wanted``
    folder: str
    num_index_shards: int


FETCH_INDEXES = ("images", "policies", "decisions", "archives", "fetches")
"""Data sets that ``fetch_images`` writes."""


def fetch_images(pipeline: beam.Pipeline, shards: list[int], job: FetchJob) -> None:
    """By unit (a shard of URLs): ask for the images of its hosts, and extract them as if an archive had held them."""
    config = job.config
    fetched = (
        pipeline
        | "Shards" >> beam.Create([shard_path(job.wanted, index, job.num_shards) for index in shards])
        | "Urls" >> beam.FlatMap(_urls)
        | "FetchImages"
        >> FetchImages(config.fetch, config.image.max_bytes, job.num_shards, config.block_list, config.robots_agents)
    )
    images = fetched.images | "ExtractImages" >> ExtractImages(config, join(job.folder, "spools"))

    _write_index("images", (images.images,), IMAGE_INDEX, job, "url")
    _write_index("decisions", (images.decisions,), DECISIONS, job, "url")
    _write_index("policies", (fetched.policies,), POLICY_INDEX, job, "host")
    _write_index("fetches", (fetched.fetches,), FETCHES, job, "url")
    _write_index("archives", (fetched.images | "Tally" >> beam.Map(_fetched_tally),), ARCHIVES, job)


def _urls(path: str) -> Iterator[str]:
    for row in read_rows(path):
        yield row["url"]


def _fetched_tally(capture: Capture) -> Row:
    return to_row(ArchiveTally(capture.warc_file, 0, 0, 1, 0))


@dataclasses.dataclass(frozen=True, slots=True)
class LinkJob:
    """The indexes of ``read_archives`` and ``fetch_images`` -> the data sets of ``extract``, in ``output``."""

    read_folders: tuple[str, ...]
    fetch_folders: tuple[str, ...]
    work: str  # for what one graph leaves for the next
    output: str
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
    _write_part(resolved.images, join(folder, "names"), IMAGE_NAMES, "url")
    _write_part(resolved.decisions, join(folder, "decisions"), DECISIONS, "url")


_CAPTURE = ("url", "url_key", "warc_date", "payload_digest", "warc_file", "warc_offset")


def _keys(paths: list[str], only: OfShards) -> Iterator[str]:
    for path in paths:
        for row in read_rows(path):
            if _is_of_slice(row, only):
                yield from (key for _, key in revisit_keys(row))


def _is_of_slice(revisit: Row, only: OfShards) -> bool:
    return only.holds(revisit_place(revisit))


def _write_part(rows: beam.PCollection, folder: str, schema: Any, sort_by: str) -> None:
    """A data set of one file."""
    name = folder.rpartition("/")[2].title()
    rows | f"{name}ToFile" >> beam.Map(_to_first_shard) | f"Write{name}" >> WriteRows(folder, schema, 1, (sort_by,))


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
        join(job.output, "documents"), shards, job.num_shards
    )
    folder = batch_folder(job, "documents", shards)
    (
        written["shown"]
        | "ToImageShard" >> beam.Map(_to_shard, "image_id", job.num_shards)
        | "WriteShown" >> WriteRows(join(folder, "shown"), SHOWN, job.num_shards, ("image_id",))
    )
    decisions = (written["decisions"], signals.decisions) | "AllDecisions" >> beam.Flatten()
    _write_part(decisions, join(folder, "decisions"), DECISIONS, "doc_id")


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
        join(job.output, "images"), shards, job.num_shards
    )
    decisions = (written["decisions"], signals.decisions) | "AllDecisions" >> beam.Flatten()
    _write_part(decisions, join(batch_folder(job, "images", shards), "decisions"), DECISIONS, "url")


def write_decisions(pipeline: beam.Pipeline, shards: list[int], job: LinkJob) -> None:
    """By unit (a shard of decisions): put together what was decided on the way; with the first, tallies and fetches."""
    left = (*job.index_folders, *job.revisit_folders, *job.document_folders, *job.image_folders)
    (
        pipeline
        | "Decisions" >> ReadRows(shards_of(left, "decisions"))
        | "WriteDecisions" >> WriteDecisions(join(job.output, "decisions"), job.num_shards, shards)
    )
    if 0 in shards:
        for name, schema, key, folders in (
            ("fetches", FETCHES, "url", job.fetch_folders),
            ("archives", ARCHIVES, "warc_file", job.index_folders),
        ):
            rows = pipeline | f"Read{name}" >> ReadRows(shards_of(folders, name))
            _write_part(rows, join(job.output, name), schema, key)


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
