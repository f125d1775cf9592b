"""The batches of ``extract_link.py``: where each step writes, and how its rows are partitioned for the next step's
batches.

If all rows fit into one batch, nothing is partitioned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pyarrow as pa

from gobelin.data.schemas import DECISIONS
from gobelin.pipeline.run.partition import Parted, Source, partition
from gobelin.pipeline.run.plan import Plan, in_even_batches
from gobelin.store.dataset import Attempt
from gobelin.store.paths import join
from gobelin.store.shards import shards_of
from gobelin.transforms.archives.revisits import REVISIT_INDEX, CapturesByRevisit, RevisitsByPlace
from gobelin.transforms.extract.indexes import IMAGE_INDEX, PAGE_INDEX
from gobelin.transforms.extract.resolve_urls import IMAGE_NAMES, WISHES, WishesBySlice
from gobelin.transforms.partition import ByShard, BySlice, DecisionsByShard, Partitioner, Split
from gobelin.transforms.rights.site_policy import POLICY_INDEX
from gobelin.transforms.rights.site_signals import PlacesByHost


@dataclasses.dataclass(frozen=True, slots=True)
class LinkJob:
    """The indexes of ``read_archives`` and ``fetch_images`` -> the data sets of ``extract``, in ``output``."""

    read_folders: tuple[str, ...]
    fetch_folders: tuple[str, ...]
    work: str  # folder for files between the steps
    output: Attempt
    num_shards: int
    agents: tuple[str, ...]  # robots; a signal says if robots.txt disallows one
    has_copies: bool = True  # whether reduced copies of images are kept
    num_url_parts: int = 1
    num_revisit_parts: int = 0
    num_host_parts: int = 0
    num_shard_parts: int = 1
    parted: dict[str, Parted] = dataclasses.field(default_factory=dict)  # the partitioned data sets by name

    @property
    def is_parted(self) -> bool:
        """Whether there are several batches, which need partitioned rows."""
        return self.num_url_parts > 1

    @property
    def shards(self) -> list[list[int]]:
        """The shards of the output that each batch writes."""
        return in_even_batches(range(self.num_shards), self.num_url_parts)

    @property
    def index_folders(self) -> tuple[str, ...]:
        return (*self.read_folders, *self.fetch_folders)

    @property
    def revisit_folders(self) -> tuple[str, ...]:
        """The folders that the batches of ``resolve_revisits`` write, one per batch. The next four properties are
        alike."""
        return self._folders("revisits", range(self.num_revisit_parts))

    @property
    def host_folders(self) -> tuple[str, ...]:
        return self._folders("hosts", range(self.num_host_parts))

    @property
    def url_folders(self) -> tuple[str, ...]:
        return self._folders("urls", range(self.num_url_parts))

    @property
    def document_folders(self) -> tuple[str, ...]:
        return self._folders("documents", (units[0] for units in self.shards))

    @property
    def image_folders(self) -> tuple[str, ...]:
        return self._folders("images", (units[0] for units in self.shards))

    @property
    def deciding_folders(self) -> tuple[str, ...]:
        """The folders with decisions, of all steps before the last."""
        made = (*self.revisit_folders, *self.host_folders, *self.document_folders, *self.image_folders)
        return (*self.index_folders, *made)

    def _folders(self, name: str, firsts: Iterable[int]) -> tuple[str, ...]:
        return tuple(self.folder(name, [first]) for first in firsts)

    def folder(self, name: str, units: list[int]) -> str:
        """The folder where a batch writes data for later steps."""
        return join(self.work, f"{name}-{units[0]}")

    def paths(self, part: str, units: list[int], folders: tuple[str, ...], name: str) -> list[str]:
        """The files that a batch reads.

        Args:
            part: name of a partitioned data set, of which the batch reads its own part.
            folders: if nothing was partitioned, the one batch reads the data sets ``name`` in these folders.
        """
        return self.parted[part].paths(part, units[0]) if part in self.parted else shards_of(folders, name)


def partition_sources(plan: Plan, job: LinkJob, name: str, *sources: Source) -> LinkJob:
    """Partitions the sources if there are several batches. Returns the job with the partitioned data sets in
    ``parted``."""
    if not job.is_parted:
        return job
    title = f"extract: deal out {name.replace('-', ' ')}"
    parted = partition(plan, title, join(job.work, f"parts-of-{name}"), sources)
    return dataclasses.replace(job, parted={**job.parted, **{each.split.name: parted for each in sources}})


_CAPTURE = ("url", "url_key", "warc_date", "payload_digest", "warc_file", "warc_offset")
CAPTURED_PAGE = ("doc_id", *_CAPTURE)
CAPTURED_IMAGE = ("image_id", "is_blocked", *_CAPTURE)
OF_PAGES = tuple(name for name in PAGE_INDEX.names if name not in ("url_key", "candidate_keys", "payload_digest"))
OF_IMAGES = tuple(name for name in IMAGE_INDEX.names if name != "url_key")


def sources_of_index(job: LinkJob) -> list[Source]:
    """The indexes, and how to partition them for each graph that reads them."""
    pages, images = shards_of(job.read_folders, "pages"), shards_of(job.index_folders, "images")
    num_urls, num_revisits = job.num_url_parts, job.num_revisit_parts
    sources = [
        Source(_split("pages", PAGE_INDEX, OF_PAGES, _shards(job, "doc_id"), job.num_shard_parts), pages),
        Source(Split("wishes", ("doc_id", "candidate_keys"), WISHES, WishesBySlice(num_urls), num_urls), pages),
        Source(Split("names", tuple(IMAGE_NAMES.names), IMAGE_NAMES, BySlice("url_key", num_urls), num_urls), images),
        Source(_split("images", IMAGE_INDEX, OF_IMAGES, _shards(job, "image_id"), job.num_shard_parts), images),
    ]
    if num_revisits:
        revisits = tuple(shards_of(job.read_folders, "revisits"))
        captures = CapturesByRevisit(revisits, num_revisits)
        every = tuple(REVISIT_INDEX.names)
        sources += [
            Source(_split("revisits", REVISIT_INDEX, every, RevisitsByPlace(num_revisits), num_revisits), revisits),
            Source(_split("captured_pages", PAGE_INDEX, CAPTURED_PAGE, captures, num_revisits), pages),
            Source(_split("captured_images", IMAGE_INDEX, CAPTURED_IMAGE, captures, num_revisits), images),
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
    """Ids and URLs, partitioned by host."""
    return _split(name, index, (identity, "url"), PlacesByHost(identity, job.num_host_parts), job.num_host_parts)


def sources_of_revisits(job: LinkJob) -> list[Source]:
    """Further URLs of images, partitioned by URL and by image."""
    names, num_urls = shards_of(job.revisit_folders, "names"), job.num_url_parts
    columns = tuple(IMAGE_NAMES.names)
    sources = [
        Source(Split("revisit_names", columns, IMAGE_NAMES, BySlice("url_key", num_urls), num_urls), names),
        by_shard(job, "names", job.revisit_folders, IMAGE_NAMES, "image_id", "revisited"),
    ]
    if job.num_host_parts:
        sources.append(Source(_places(job, "revisited_places", IMAGE_NAMES, "image_id"), names))
    return sources


def source_of_decisions(job: LinkJob) -> Source:
    deal = DecisionsByShard(job.num_shards, job.num_shard_parts)
    split = Split("decisions", tuple(DECISIONS.names), DECISIONS, deal, job.num_shard_parts)
    return Source(split, shards_of(job.deciding_folders, "decisions"))


def by_shard(
    job: LinkJob, name: str, folders: tuple[str, ...], schema: pa.Schema, key: str, made: str | None = None
) -> Source:
    """A data set that batches wrote into their folders, partitioned by output shard.

    Args:
        made: name of the partitioned data set, if it differs from ``name``.
    """
    split = Split(made or name, tuple(schema.names), schema, _shards(job, key), job.num_shard_parts)
    return Source(split, shards_of(folders, name))


def _shards(job: LinkJob, key: str) -> ByShard:
    return ByShard(key, job.num_shards, job.num_shard_parts)


def _split(name: str, index: pa.Schema, columns: tuple[str, ...], partitioner: Partitioner, num_parts: int) -> Split:
    """How to partition some columns of an index."""
    return Split(name, columns, pa.schema([index.field(column) for column in columns]), partitioner, num_parts)
