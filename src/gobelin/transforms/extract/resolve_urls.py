"""Finds which of the image URLs in pages the input contains.

    page index --candidate URLs--+
                                 +--by URL--> for each image node, the candidates in the archives
    image index --URL------------+

If one URL was captured more than once, the latest capture counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, TypedDict

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gobelin.store.tables import read_tables
from gobelin.transforms.partition import Parts, slices_of

IMAGE_NAMES = pa.schema(
    [
        ("url", pa.string()),
        ("url_key", pa.string()),
        ("image_id", pa.string()),  # null: the image is blocked
        ("is_blocked", pa.bool_()),
        ("warc_date", pa.string()),
        ("warc_file", pa.string()),
        ("warc_offset", pa.int64()),
    ]
)
"""One row per image and URL, with the columns of the image's index row that pages need."""


class ImageNameRow(TypedDict):
    """A row of ``IMAGE_NAMES``."""

    url: str
    url_key: str
    image_id: str | None
    is_blocked: bool
    warc_date: str
    warc_file: str
    warc_offset: int


RESOLUTIONS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("place", pa.int32()),  # index of the image node among the image nodes of its document
        ("rank", pa.int32()),  # index of the candidate, 0: the page's first choice
        ("image_id", pa.string()),  # null: the image is blocked, and the document must not name it
    ]
)
"""One row per candidate URL that the archives contain."""


class ResolutionRow(TypedDict):
    """A row of ``RESOLUTIONS``."""

    doc_id: str
    place: int
    rank: int
    image_id: str | None


WISHES = pa.schema([("url_key", pa.string()), ("doc_id", pa.string()), ("place", pa.int32()), ("rank", pa.int32())])
"""One row per candidate URL of an image node; ``place`` and ``rank`` as in ``RESOLUTIONS``."""


def wishes_of(pages: pa.Table) -> pa.Table:
    """The rows of ``WISHES`` of these pages.

    Args:
        pages: columns ``doc_id`` and ``candidate_keys`` of the page index.
    """
    images = pages["candidate_keys"].combine_chunks()
    candidates = images.flatten()
    keys = candidates.flatten()
    image = pc.list_parent_indices(candidates).to_numpy()  # of each key
    page_of_image = pc.list_parent_indices(images).to_numpy()
    page = page_of_image[image]
    ranks = np.arange(len(keys)) - np.searchsorted(image, image)
    places = image - np.searchsorted(page_of_image, page)
    documents = pages["doc_id"].combine_chunks().take(pa.array(page))
    return pa.table([keys, documents, pa.array(places, pa.int32()), pa.array(ranks, pa.int32())], WISHES)


@dataclasses.dataclass(frozen=True, slots=True)
class WishesBySlice:
    """Partitions the candidate URLs of pages by their keys (``partition.Partitioner``)."""

    num_parts: int

    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        wishes = wishes_of(table)
        return wishes, slices_of(wishes["url_key"], self.num_parts)


Wish = tuple[str, tuple[str, int, int]]
"""(``url_key``, (doc_id, place, rank))"""


def wishes_in_index(path: str) -> Iterator[Wish]:
    """The candidate URLs of the pages in a file of the page index."""
    for table in read_tables(path, ["doc_id", "candidate_keys"]):
        yield from _wishes_in(wishes_of(table))


def wishes_in_part(path: str) -> Iterator[Wish]:
    """The rows of a file of ``WISHES``."""
    for table in read_tables(path):
        yield from _wishes_in(table)


def _wishes_in(wishes: pa.Table) -> Iterator[Wish]:
    columns = wishes.filter(pc.is_valid(wishes["url_key"])).to_pydict()
    for key, doc_id, place, rank in zip(*(columns[name] for name in WISHES.names), strict=True):
        yield key, (doc_id, place, rank)


def choose_capture(images: Iterable[ImageNameRow]) -> ImageNameRow | None:
    """The latest capture of one URL; of equal dates, the last one in the archives. A blocked one has priority over all
    others."""
    rows = list(images)
    blocked = next((row for row in rows if row.get("is_blocked")), None)
    return blocked or max(rows, key=lambda row: (row["warc_date"], row["warc_file"], row["warc_offset"]), default=None)


class ResolveUrls(beam.PTransform):
    """(``Wish`` pairs, rows of ``IMAGE_NAMES``) -> rows of ``RESOLUTIONS``."""

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        wishes, names = inputs
        return (
            {"wishes": wishes, "names": names | "ByUrl" >> beam.Map(_by_url)}
            | "JoinByUrl" >> beam.CoGroupByKey()
            | "Resolve" >> beam.FlatMap(_resolve)
        )


def _by_url(name: ImageNameRow) -> tuple[str, ImageNameRow]:
    return name["url_key"], name


def _resolve(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[ResolutionRow]:
    image = choose_capture(joined[1]["names"])
    if image is not None:
        for doc_id, place, rank in joined[1]["wishes"]:
            yield {"doc_id": doc_id, "place": place, "rank": rank, "image_id": image["image_id"]}
