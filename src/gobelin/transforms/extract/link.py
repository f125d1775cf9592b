"""Joins pages and images by URL: the second half of ``extract``.

    page index --candidate URLs--+
                                 +--> for each image node, the best candidate that the archive holds
    image index --URL------------+
                                      |--> documents, sharded by doc_id, pulled from the spools
                                      +--> images that some document shows, once each, with all their URLs

Only keys are shuffled. Each step writes its results to files and the next step reads them, so each can be done for some
of the URLs, or some of the shards, at a time. Where one URL was captured more than once, the latest capture counts. A
page captured twice with the same payload is one document; the copy that comes first by (archive, offset) stays.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypedDict

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gobelin.data.ids import shard_of
from gobelin.data.model import Action, Decision, Unit, to_row
from gobelin.data.rows import DocumentRow, Row
from gobelin.data.schemas import DOCUMENTS, IMAGE_COPIES, IMAGES
from gobelin.store.shards import write_shard
from gobelin.store.spool import SpoolReader, SpoolRef
from gobelin.store.tables import read_tables, shard_path
from gobelin.transforms.boundary import Guarded, Refused, WebStep, attempt
from gobelin.transforms.extract.extract import ImageIndexRow, PageIndexRow
from gobelin.transforms.partition import Parts, slices_of
from gobelin.transforms.progress import advance
from gobelin.transforms.rights.consent import merge_signals
from gobelin.transforms.row_steps import empty_shards

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
"""One row an image under one URL: those columns of an image's index row that pages need."""


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
        ("place", pa.int32()),  # number of the image node among its document's
        ("rank", pa.int32()),  # number of the candidate, 0: the page's first choice
        ("image_id", pa.string()),  # null: the image is blocked, and the document must not name it
    ]
)
"""One row a candidate URL that the archive holds."""


class ResolutionRow(TypedDict):
    """A row of ``RESOLUTIONS``."""

    doc_id: str
    place: int
    rank: int
    image_id: str | None


SHOWN = pa.schema([("image_id", pa.string())])
"""One row an image that a document shows."""


@dataclasses.dataclass(frozen=True, slots=True)
class Resolution:
    """A wish of a document that the archive can fulfil; see ``RESOLUTIONS``."""

    place: int
    rank: int
    image_id: str | None


WISHES = pa.schema([("url_key", pa.string()), ("doc_id", pa.string()), ("place", pa.int32()), ("rank", pa.int32())])
"""One row a URL that an image node of a page names; ``place`` and ``rank`` as in ``RESOLUTIONS``."""


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
    """Deals the wishes of pages out by their keys (``partition.Deal``)."""

    num_parts: int

    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        wishes = wishes_of(table)
        return wishes, slices_of(wishes["url_key"], self.num_parts)


Wish = tuple[str, tuple[str, int, int]]
"""(``url_key``, (doc_id, place, rank))"""


def wishes_in_index(path: str) -> Iterator[Wish]:
    """What the pages in a file of the page index wish for."""
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
    """The latest capture of one URL; equal dates fall to the last place in the archives. One that is blocked goes
    before all."""
    rows = list(images)
    blocked = next((row for row in rows if row.get("is_blocked")), None)
    return blocked or max(rows, key=lambda row: (row["warc_date"], row["warc_file"], row["warc_offset"]), default=None)


def resolve_nodes(
    document: DocumentRow, candidates: Sequence[Sequence[str]], resolutions: Iterable[Resolution]
) -> DocumentRow:
    """The document with each image node's URL and, where the archive holds it, its image. Of a blocked image nothing is
    left by which it could be found.

    Args:
        candidates: URLs of each image node, best first.
    """
    best: dict[int, Resolution] = {}
    blocked = set()
    for resolution in resolutions:
        if resolution.image_id is None:
            blocked.add(resolution.place)
        held = best.get(resolution.place)
        if held is None or resolution.rank < held.rank:
            best[resolution.place] = resolution
    nodes = []
    place = 0
    for node in document["nodes"]:
        if node["kind"] == "image":
            found = None if place in blocked else best.get(place)
            urls = () if place in blocked else candidates[place]
            url = urls[found.rank if found else 0] if urls else None
            node = {**node, "image_url": url, "image_id": found.image_id if found else None}
            if place in blocked:
                node["link_url"] = None
            place += 1
        nodes.append(node)
    if not blocked:
        return {**document, "nodes": nodes}
    named = {url for place in blocked for url in candidates[place]}
    licences = [licence for licence in document["licences"] if licence["image_url"] not in named]
    return {**document, "nodes": nodes, "licences": licences}


class ResolveUrls(beam.PTransform):
    """(``Wish``es, rows of ``IMAGE_NAMES``) -> rows of ``RESOLUTIONS``."""

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


class WriteDocuments(beam.PTransform):
    """(page index rows, rows of ``RESOLUTIONS``, (doc_id, signals) pairs) of some shards -> these of ``documents``.

    Tagged outputs: ``shown``, rows of ``SHOWN``; ``decisions`` on pages captured twice, or that cannot be put together.
    """

    def __init__(self, folder: str, shards: Sequence[int], num_shards: int) -> None:
        self._folder, self._shards, self._num_shards = folder, shards, num_shards

    def expand(self, inputs: tuple[beam.PCollection, ...]) -> dict[str, beam.PCollection]:
        pages, resolutions, signals = inputs
        grouped = (
            {
                "pages": pages | "ByDocId" >> beam.Map(_by_doc_id),
                "resolutions": resolutions | "ResolutionsByDocId" >> beam.Map(_resolution_by_doc_id),
                "signals": signals,
            }
            | "JoinByDocId" >> beam.CoGroupByKey()
            | "KeepFirstCapture"
            >> beam.ParDo(Guarded(_keep_first_capture, _refuse_captures)).with_outputs("decisions", main="kept")
        )
        written = (
            (
                grouped.kept | "ToShard" >> beam.Map(_document_to_shard, self._num_shards),
                empty_shards(pages.pipeline, self._shards),
            )
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.ParDo(_WriteDocumentShard(self._folder, self._num_shards)).with_outputs(
                "shown", "decisions", main="paths"
            )
        )
        decisions = (grouped.decisions, written.decisions) | "DocumentDecisions" >> beam.Flatten()
        return {"shown": written.shown, "paths": written.paths, "decisions": decisions}


def _by_doc_id(page: PageIndexRow) -> tuple[str, PageIndexRow]:
    return page["doc_id"], page


def _resolution_by_doc_id(row: ResolutionRow) -> tuple[str, tuple[int, int, str | None]]:
    return row["doc_id"], (row["place"], row["rank"], row["image_id"])


def _keep_first_capture(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[Any]:
    doc_id, sides = joined
    # A bundle that was run twice indexes a capture twice: the same place in the archive is the same capture.
    captures = {(page["warc_file"], page["warc_offset"]): page for page in sides["pages"]}
    places = sorted(captures)
    for place in places[1:]:
        yield beam.pvalue.TaggedOutput(
            "decisions",
            to_row(
                Decision(
                    stage="extract", unit=Unit.DOCUMENT, action=Action.DROP, rule="captured_twice", doc_id=doc_id,
                    url=captures[place]["url"], value=len(places), threshold=1,
                    warc_file=place[0], warc_offset=place[1],
                )
            ),
        )  # fmt: skip
    consent = merge_signals(*(page["consent"] for page in captures.values()), *sides["signals"])
    yield {**captures[places[0]], "consent": consent}, list(sides["resolutions"])


def _refuse_captures(joined: tuple[str, dict[str, Iterable[Any]]], detail: str) -> Iterator[Decision]:
    captures = {(page["warc_file"], page["warc_offset"]): page for page in joined[1]["pages"]}
    return (_refused_page(captures[place], detail) for place in sorted(captures))


def _refused_page(page: PageIndexRow, detail: str) -> Decision:
    return Decision(
        stage="extract", unit=Unit.DOCUMENT, action=Action.FAIL, rule="extract_error", doc_id=page["doc_id"],
        url=page["url"], detail=detail, warc_file=page["warc_file"], warc_offset=page["warc_offset"],
    )  # fmt: skip


def _document_to_shard(kept: tuple[PageIndexRow, list[Any]], num_shards: int) -> tuple[int, Any]:
    return shard_of(kept[0]["doc_id"], num_shards), kept


class _WriteDocumentShard(WebStep):
    def __init__(self, folder: str, num_shards: int) -> None:
        self._folder, self._num_shards = folder, num_shards

    def process(self, element: tuple[int, Iterable[Any]]) -> Iterator[Any]:
        index, group = element
        kept = sorted((item for item in group if item is not None), key=lambda item: item[0]["doc_id"])
        path = shard_path(self._folder, index, self._num_shards)
        shown: set[str] = set()
        decisions: list[Decision] = []
        write_shard(path, self._documents(kept, shown, decisions), DOCUMENTS)
        yield path
        for decision in decisions:
            yield beam.pvalue.TaggedOutput("decisions", to_row(decision))
        for identifier in sorted(shown):
            yield beam.pvalue.TaggedOutput("shown", {"image_id": identifier})

    def _documents(
        self,
        kept: list[tuple[PageIndexRow, list[tuple[int, int, str | None]]]],
        shown: set[str],
        decisions: list[Decision],
    ) -> Iterator[DocumentRow]:
        reader = SpoolReader()
        for page, resolutions in kept:
            payload = reader.read(SpoolRef(page["path"], page["offset"], page["length"]))
            document = attempt(_put_together, page, resolutions, payload)
            if isinstance(document, Refused):
                decisions.append(_refused_page(page, document.detail))
                continue
            shown.update(node["image_id"] for node in document["nodes"] if node["image_id"])
            advance("documents")
            yield document
        reader.close()


def _put_together(page: PageIndexRow, resolutions: list[tuple[int, int, str | None]], payload: bytes) -> DocumentRow:
    found = (Resolution(*resolution) for resolution in resolutions)
    document = resolve_nodes(json.loads(payload), page["candidates"], found)
    document["consent"] = page["consent"]  # with what its site says
    return document


class WriteImages(beam.PTransform):
    """(image index rows, rows of ``SHOWN``, rows of ``IMAGE_NAMES`` by revisits, (image_id, signals) pairs) of some
    shards -> these of ``images``, and of
    ``copies`` where there is a folder for them.

    Tagged output ``decisions``: on image records whose bytes are stored already, or which no document shows.
    """

    def __init__(self, folder: str, copies: str | None, shards: Sequence[int], num_shards: int) -> None:
        self._folder, self._copies, self._shards, self._num_shards = folder, copies, shards, num_shards

    def expand(self, inputs: tuple[beam.PCollection, ...]) -> dict[str, beam.PCollection]:
        images, shown, revisited, signals = inputs
        grouped = (
            {
                "images": images | "ByImageId" >> beam.Map(_by_image_id),
                "shown": shown | "ShownIds" >> beam.Map(_shown_key),
                "revisited": revisited | "RevisitsById" >> beam.Map(_by_image_id),
                "signals": signals,
            }
            | "JoinByImageId" >> beam.CoGroupByKey()
            | "KeepShownOnce"
            >> beam.ParDo(Guarded(_keep_shown_once, _refuse_records)).with_outputs("decisions", main="kept")
        )
        paths = (
            (
                grouped.kept | "ToShard" >> beam.Map(_image_to_shard, self._num_shards),
                empty_shards(images.pipeline, self._shards),
            )
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.ParDo(_WriteImageShard(self._folder, self._copies, self._num_shards))
        )
        return {"paths": paths, "decisions": grouped.decisions}


def is_stored(image: ImageIndexRow) -> bool:
    """Whether an image index row stands for bytes."""
    return not image.get("is_blocked")


def _by_image_id(image: Row) -> tuple[str, Row]:
    return image["image_id"], image


def _shown_key(row: Row) -> tuple[str, bool]:
    return row["image_id"], True


def _keep_shown_once(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[Any]:
    identifier, sides = joined
    # data: images of one page share their page's place, so the URL is part of a record's identity.
    records = {(row["warc_file"], row["warc_offset"], row["url"]): row for row in sides["images"]}
    keys = sorted(records)
    is_shown = any(True for _ in sides["shown"])
    for key in keys[1:] if is_shown else keys:
        yield beam.pvalue.TaggedOutput(
            "decisions",
            to_row(
                Decision(
                    stage="extract", unit=Unit.IMAGE, action=Action.DROP,
                    rule="same_bytes_stored" if is_shown else "not_in_any_document",
                    image_id=identifier, url=key[2], value=len(keys) if is_shown else 0, threshold=1,
                    warc_file=key[0], warc_offset=key[1],
                )
            ),
        )  # fmt: skip
    if is_shown:
        consent = merge_signals(*(row["consent"] for row in records.values()), *sides["signals"])
        urls = {*(key[2] for key in keys), *(row["url"] for row in sides["revisited"])}
        yield {**records[keys[0]], "consent": consent}, sorted(urls)


def _refuse_records(joined: tuple[str, dict[str, Iterable[Any]]], detail: str) -> Iterator[Decision]:
    identifier, sides = joined
    records = {(row["warc_file"], row["warc_offset"], row["url"]) for row in sides["images"]}
    for warc_file, warc_offset, url in sorted(records):
        yield Decision(
            stage="extract", unit=Unit.IMAGE, action=Action.FAIL, rule="extract_error", image_id=identifier, url=url,
            detail=detail, warc_file=warc_file, warc_offset=warc_offset,
        )  # fmt: skip


def _image_to_shard(kept: tuple[ImageIndexRow, list[str]], num_shards: int) -> tuple[int, Any]:
    return shard_of(kept[0]["image_id"], num_shards), kept


class _WriteImageShard(beam.DoFn):
    def __init__(self, folder: str, copies: str | None, num_shards: int) -> None:
        self._folder, self._copies, self._num_shards = folder, copies, num_shards

    def process(self, element: tuple[int, Iterable[Any]]) -> Iterator[str]:
        index, group = element
        kept = sorted((item for item in group if item is not None), key=lambda item: item[0]["image_id"])
        path = shard_path(self._folder, index, self._num_shards)
        write_shard(path, self._images(kept), IMAGES)
        if self._copies is not None:
            write_shard(shard_path(self._copies, index, self._num_shards), _copies_of(kept), IMAGE_COPIES)
        yield path

    def _images(self, kept: list[tuple[ImageIndexRow, list[str]]]) -> Iterator[Row]:
        reader = SpoolReader()
        for row, urls in kept:
            data = reader.read(SpoolRef(row["path"], row["offset"], row["length"]))
            advance("images")
            yield {**{name: row.get(name) for name in IMAGES.names}, "data": data, "urls": urls}
        reader.close()


def _copies_of(kept: list[tuple[Row, list[str]]]) -> Iterator[Row]:
    reader = SpoolReader()
    for row, _ in kept:
        if row["copy_length"]:
            place = SpoolRef(row["path"], row["offset"] + row["length"], row["copy_length"])
            yield {"image_id": row["image_id"], "data": reader.read(place)}
    reader.close()
