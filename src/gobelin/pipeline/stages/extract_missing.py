"""The part of the stage ``extract`` that finds the images to fetch: those that no archive holds.

    look addresses up   by slice of the URLs: which addresses of each page are archived, or were tried before
    choose addresses    by slice of the pages: for each image without an archived address, the address to fetch
    write addresses     by shard of hosts: each address once

If all rows fit into one batch, one pipeline does all three. Otherwise rows are first partitioned for the batches that
read them (``run/partition.py``), so memory does not grow with the number of pages.
"""

from __future__ import annotations

import dataclasses

import apache_beam as beam
import pyarrow as pa

from gobelin.data.ids import shard_of
from gobelin.pipeline.run.partition import Parted, Source, num_batches, partition
from gobelin.pipeline.run.plan import Batch, Plan, Step, data_sets, in_even_batches, is_complete
from gobelin.store.paths import join
from gobelin.store.shards import Known, shards_of
from gobelin.transforms.extract.indexes import PAGE_INDEX
from gobelin.transforms.fetching.wanted_urls import (
    CHOSEN,
    KEYS,
    TAKEN,
    WANTED,
    WISHES,
    ChooseUrls,
    FindTaken,
    OneSpelling,
    UrlsByKey,
    WantedRow,
    WishesByUrl,
    key_of_fetch,
    wishes_in_index,
    wishes_in_part,
)
from gobelin.transforms.partition import ByShard, BySlice, Split
from gobelin.transforms.row_steps import ReadRows, WriteOneFile, WriteRows

_OF_PAGES = ("doc_id", "candidates", "candidate_keys")
_PAGES = pa.schema([PAGE_INDEX.field(name) for name in _OF_PAGES])


@dataclasses.dataclass(frozen=True, slots=True)
class WantJob:
    """The indexes in all folders of ``read_archives`` and of earlier rounds of ``fetch_images`` -> URLs to fetch.

    The output is the data set ``name`` in the folder ``work``. All URLs of a host are in one shard.
    """

    read_folders: tuple[str, ...]
    fetch_folders: tuple[str, ...]
    work: str
    name: str
    num_candidates: int  # addresses tried for one image, at most
    num_shards: int
    with_drawings: bool = True  # whether SVG is worth fetching


def run_want(plan: Plan, title: str, job: WantJob, rows_at_once: int) -> None:
    """Writes the data set ``job.name`` if it does not exist.

    Args:
        rows_at_once: rows of the indexes per batch.
    """
    wanted = data_sets(job.work, job.num_shards, job.name)
    if is_complete(wanted):
        return
    # Only the rows of archives count, so that the number is the same in each round.
    num_parts = num_batches(plan, [join(each, name) for each in job.read_folders for name in _INDEXES], rows_at_once)
    if num_parts == 1:
        plan.run(Step(title, want_images, [Batch([], job)], wanted))
        return
    work, parts = join(job.work, job.name), range(num_parts)
    dealt: list[Parted] = []

    def partition_into(words: str, folder: str, *sources: Source) -> None:
        dealt.append(partition(plan, f"{title}: deal out {words}", folder, sources))

    partition_into("index", join(job.work, "parts-of-wanted-index"), *_of_archives(job, num_parts))
    if job.fetch_folders:
        partition_into("fetched", f"{work}-parts-of-fetched", *_of_fetches(job, num_parts))

    looked_up = [
        LookUpJob(
            wishes=_paths(dealt, "wishes", part),
            archived=_paths(dealt, "archived", part),
            tried=_paths(dealt, "tried", part),
            folder=f"{work}-taken-{part}",
        )
        for part in parts
    ]
    batches = [Batch([], each, data_sets(each.folder, 1, "taken")) for each in looked_up]
    plan.run(Step(f"{title}: look addresses up", look_up, batches))
    source = _source("taken", TAKEN, [each.folder for each in looked_up], BySlice("doc_id", num_parts))
    partition_into("taken", f"{work}-parts-of-taken", source)

    chosen = [
        ChooseJob(
            pages=_paths(dealt, "pages", part),
            taken=_paths(dealt, "taken", part),
            num_candidates=job.num_candidates,
            with_drawings=job.with_drawings,
            folder=f"{work}-chosen-{part}",
        )
        for part in parts
    ]
    batches = [Batch([], each, data_sets(each.folder, 1, "chosen")) for each in chosen]
    plan.run(Step(f"{title}: choose addresses", choose, batches))
    shards = in_even_batches(range(job.num_shards), num_parts)
    by_host = ByShard("host", job.num_shards, len(shards))
    source = _source("chosen", CHOSEN, [each.folder for each in chosen], by_host)
    partition_into("chosen", f"{work}-parts-of-chosen", source)

    batches = [
        Batch(each, WriteJob(_paths(dealt, "chosen", part), join(job.work, job.name), job.num_shards))
        for part, each in enumerate(shards)
    ]
    plan.run(Step(f"{title}: write addresses", write_wanted, batches, wanted))


_INDEXES = ("pages", "images")


def _of_archives(job: WantJob, num_parts: int) -> list[Source]:
    """The data of the archives. It is partitioned in the first round, for all rounds."""
    pages = shards_of(job.read_folders, "pages")
    return [
        Source(Split("wishes", ("doc_id", "candidate_keys"), WISHES, WishesByUrl(num_parts), num_parts), pages),
        Source(Split("pages", _OF_PAGES, _PAGES, BySlice("doc_id", num_parts), num_parts), pages),
        _archived(job.read_folders, num_parts),
    ]


def _of_fetches(job: WantJob, num_parts: int) -> list[Source]:
    """What earlier rounds fetched, and what they failed to fetch."""
    tried = Split("tried", ("url",), KEYS, UrlsByKey(num_parts), num_parts)
    return [_archived(job.fetch_folders, num_parts), Source(tried, shards_of(job.fetch_folders, "fetches"))]


def _archived(folders: tuple[str, ...], num_parts: int) -> Source:
    split = Split("archived", ("url_key",), KEYS, BySlice("url_key", num_parts), num_parts)
    return Source(split, shards_of(folders, "images"))


def _source(name: str, schema: pa.Schema, folders: list[str], deal: BySlice | ByShard) -> Source:
    """A data set that the batches of a step wrote into their folders."""
    return Source(Split(name, tuple(schema.names), schema, deal, deal.num_parts), shards_of(folders, name))


def _paths(dealt: list[Parted], name: str, part: int) -> list[str]:
    """The files of a part of a data set, in all partitions that have a data set of this name."""
    return [path for parted in dealt if name in parted.num_parts for path in parted.paths(name, part)]


def want_images(pipeline: beam.Pipeline, _: list[int], job: WantJob) -> None:
    """Finds the URLs to fetch in one pipeline."""
    paths = shards_of(job.read_folders, "pages")
    pages = pipeline | "PageIndex" >> ReadRows(paths, list(_OF_PAGES))
    images = shards_of((*job.read_folders, *job.fetch_folders), "images")
    fetches = pipeline | "Fetches" >> ReadRows(shards_of(job.fetch_folders, "fetches"), ["url"])
    taken = (
        pipeline | "Pages" >> beam.Create(paths) | "Wishes" >> beam.FlatMap(wishes_in_index),
        pipeline | "ImageIndex" >> ReadRows(images, ["url_key"], Known("url_key")),
        fetches | "KeysOfFetches" >> beam.Map(key_of_fetch),
    ) | "FindTaken" >> FindTaken()
    chosen = (pages, taken) | "ChooseUrls" >> ChooseUrls(job.num_candidates, job.with_drawings)
    _write_wanted(chosen, join(job.work, job.name), job.num_shards, None)


@dataclasses.dataclass(frozen=True, slots=True)
class LookUpJob:
    """Files of ``WISHES``, and of ``KEYS`` for archived and for tried addresses -> rows of ``TAKEN``, in ``folder``."""

    wishes: list[str]
    archived: list[str]
    tried: list[str]
    folder: str


def look_up(pipeline: beam.Pipeline, _: list[int], job: LookUpJob) -> None:
    """Finds which addresses of each page are archived or were tried."""
    taken = (
        pipeline | "Pages" >> beam.Create(job.wishes) | "Wishes" >> beam.FlatMap(wishes_in_part),
        pipeline | "ImageIndex" >> ReadRows(job.archived),
        pipeline | "Fetches" >> ReadRows(job.tried),
    ) | "FindTaken" >> FindTaken()
    taken | "Write" >> WriteOneFile(join(job.folder, "taken"), TAKEN, tuple(TAKEN.names))


@dataclasses.dataclass(frozen=True, slots=True)
class ChooseJob:
    """Files of the page index and of ``TAKEN`` -> rows of ``CHOSEN``, in ``folder``."""

    pages: list[str]
    taken: list[str]
    num_candidates: int
    with_drawings: bool
    folder: str


def choose(pipeline: beam.Pipeline, _: list[int], job: ChooseJob) -> None:
    """Chooses the address to fetch for each image of these pages that has no archived address."""
    chosen = (
        pipeline | "PageIndex" >> ReadRows(job.pages),
        pipeline | "Taken" >> ReadRows(job.taken),
    ) | "ChooseUrls" >> ChooseUrls(job.num_candidates, job.with_drawings)
    chosen | "Write" >> WriteOneFile(join(job.folder, "chosen"), CHOSEN, tuple(CHOSEN.names))


@dataclasses.dataclass(frozen=True, slots=True)
class WriteJob:
    """Files of ``CHOSEN`` -> shards of ``WANTED``, the data set ``folder``."""

    chosen: list[str]
    folder: str
    num_shards: int


def write_wanted(pipeline: beam.Pipeline, shards: list[int], job: WriteJob) -> None:
    """For each unit (a shard of hosts): writes the addresses to fetch, each once."""
    _write_wanted(pipeline | "Chosen" >> ReadRows(job.chosen), job.folder, job.num_shards, shards)


def _write_wanted(chosen: beam.PCollection, folder: str, num_shards: int, shards: list[int] | None) -> None:
    urls = chosen | "OneSpelling" >> OneSpelling() | "ByHost" >> beam.Map(_host_to_shard, num_shards)
    urls | "Write" >> WriteRows(folder, WANTED, num_shards, ("url",), shards)


def _host_to_shard(wanted: tuple[str, WantedRow], num_shards: int) -> tuple[int, WantedRow]:
    host, row = wanted
    return shard_of(host, num_shards), row
