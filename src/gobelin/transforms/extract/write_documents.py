"""Writes pages with their resolved images into the data set ``documents``.

A page that was captured twice with the same payload is one document. The capture that comes first by (archive, offset)
stays.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypedDict

import apache_beam as beam
import pyarrow as pa

from gobelin.data.ids import shard_of
from gobelin.data.model import Action, Decision, Unit, to_row
from gobelin.data.rows import DocumentRow
from gobelin.data.schemas import DOCUMENTS
from gobelin.store.shards import write_shard
from gobelin.store.spool import SpoolReader, SpoolRef
from gobelin.store.tables import shard_path
from gobelin.transforms.boundary import Guarded, Refused, WebStep, attempt
from gobelin.transforms.extract.indexes import PageIndexRow
from gobelin.transforms.extract.resolve_urls import ResolutionRow
from gobelin.transforms.progress import advance
from gobelin.transforms.rights.consent import merge_signals
from gobelin.transforms.row_steps import empty_shards

SHOWN = pa.schema([("image_id", pa.string())])
"""One row per image that a document shows."""


class ShownRow(TypedDict):
    """A row of ``SHOWN``."""

    image_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Resolution:
    """A candidate of a document that the archives contain; see ``RESOLUTIONS``."""

    place: int
    rank: int
    image_id: str | None


def resolve_nodes(
    document: DocumentRow, candidates: Sequence[Sequence[str]], resolutions: Iterable[Resolution]
) -> DocumentRow:
    """The document with each image node's URL and, if the archives contain it, its image. For a blocked image,
    everything is removed
    by which it could be found.

    Args:
        candidates: URLs of each image node, best first.
        resolutions: candidates in the archives.
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


class WriteDocuments(beam.PTransform):
    """(page index rows, rows of ``RESOLUTIONS``, (doc_id, signals) pairs) of some shards -> these shards of
    ``documents``.

    Tagged outputs: ``shown``, rows of ``SHOWN``; ``decisions`` on pages that were captured twice or cannot be
    assembled.
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
    # A bundle that ran twice indexes a capture twice. Equal positions in the archive are the same capture.
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
    document["consent"] = page["consent"]  # including the signals of its site
    return document
