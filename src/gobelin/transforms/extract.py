"""Captures -> documents and images: the first half of ``extract``, all that can be done record by record.

``extract_page`` turns an HTML response into a ``PageDraft``: a document whose pictures are still lists of candidate
URLs. ``extract_image`` turns an image response into an ``ImageDraft``: checked, hashed, with its bytes. A ``data:``
image of a page becomes an image of its own. ``link.py`` joins the two by URL.

Every capture gives exactly one draft or one decision. What is large (nodes, bytes) goes into a spool; what leaves the
transforms are index rows of a few hundred bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator

import apache_beam as beam
import pyarrow as pa

from gobelin.documents import (
    Action,
    ArchiveTally,
    Decision,
    Document,
    Node,
    Unit,
    document_id,
    image_id,
    to_row,
)
from gobelin.transforms.check_image import ImageFacts, ImageLimits, check_image
from gobelin.transforms.find_nodes import PageContent, TextPiece, read_page
from gobelin.transforms.image_references import ImageReference, decode_data_url
from gobelin.transforms.language import identify_language
from gobelin.transforms.progress import advance
from gobelin.transforms.read_warc import Capture
from gobelin.transforms.shards import Spool
from gobelin.transforms.urls import canonical_url, data_url_reference, describe

PAGE_INDEX = pa.schema(
    [
        ("doc_id", pa.string()),
        ("url", pa.string()),
        ("warc_file", pa.string()),
        ("warc_offset", pa.int64()),
        ("candidates", pa.list_(pa.list_(pa.string()))),  # of each image node, best first
        ("path", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
    ]
)
"""One row a page draft: its keys, and where in a spool its document lies."""

IMAGE_INDEX = pa.schema(
    [
        ("image_id", pa.string()),
        ("url", pa.string()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("phash", pa.string()),
        ("warc_file", pa.string()),
        ("warc_offset", pa.int64()),
        ("warc_date", pa.string()),
        ("path", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
    ]
)
"""One row an image draft: its keys and facts, and where in a spool its bytes lie."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ExtractConfig:
    """What may be read at all. None of these judges quality: that is ``select``."""

    max_page_bytes: int = 10 * 1024 * 1024
    """Bytes of an HTML page after decoding; longer pages are dropped unparsed."""

    image: ImageLimits = dataclasses.field(default_factory=ImageLimits)
    """What may be opened as a picture."""

    def __post_init__(self) -> None:
        if self.max_page_bytes < 1:
            raise ValueError(f"max_page_bytes must be at least 1, got {self.max_page_bytes}")


@dataclasses.dataclass(frozen=True, slots=True)
class PageDraft:
    """A document before its pictures are looked up."""

    document: Document  # image nodes without image_url and image_id
    candidates: tuple[tuple[str, ...], ...]  # URLs of each image node, best first


@dataclasses.dataclass(frozen=True, slots=True)
class ImageDraft:
    """A checked image under one URL."""

    image_id: str
    url: str
    facts: ImageFacts
    warc_file: str
    warc_offset: int
    warc_date: str
    data: bytes


def extract_page(capture: Capture, config: ExtractConfig) -> tuple[PageDraft | Decision, list[ImageDraft | Decision]]:
    """A page's draft, or the reason why there is none; and what came of each of its ``data:`` images."""
    if capture.status != 200:
        return _decision(capture, Unit.DOCUMENT, Action.DROP, "http_status", capture.status, 200), []
    if capture.is_truncated:
        return _decision(
            capture, Unit.DOCUMENT, Action.DROP, "page_bytes", len(capture.payload), config.max_page_bytes
        ), []
    content = read_page(capture.payload, capture.charset, capture.url, capture.headers)
    if content is None:
        return _decision(capture, Unit.DOCUMENT, Action.FAIL, "empty_page", len(capture.payload)), []
    texts = [piece for piece in content.pieces if isinstance(piece, TextPiece)]
    if not texts:
        return _decision(capture, Unit.DOCUMENT, Action.DROP, "no_main_text", 0, 1), []
    prose = [piece.text for piece in texts if not piece.is_code] or [piece.text for piece in texts]
    language = identify_language("\n".join(prose))
    nodes, candidates, images = _nodes(content, capture, config.image)
    digest = "sha256:" + hashlib.sha256(capture.payload).hexdigest()
    document = Document(
        doc_id=document_id(canonical_url(capture.url), digest),
        url=capture.url,
        warc_file=capture.warc_file,
        warc_offset=capture.warc_offset,
        warc_length=capture.warc_length,
        warc_date=capture.warc_date,
        content_digest=digest,
        title=content.title,
        language=language[0] if language else None,
        language_score=language[1] if language else None,
        licence=content.licence,
        consent=content.consent,
        nodes=tuple(nodes),
    )
    return PageDraft(document, tuple(candidates)), images


def _nodes(
    content: PageContent, capture: Capture, limits: ImageLimits
) -> tuple[list[Node], list[tuple[str, ...]], list[ImageDraft | Decision]]:
    nodes: list[Node] = []
    candidates: list[tuple[str, ...]] = []
    images: dict[str, ImageDraft | Decision] = {}  # a data: image that stands twice in a page is one image
    for piece in content.pieces:
        if isinstance(piece, TextPiece):
            nodes.append(Node(kind="text", text=piece.text))
            continue
        urls = []
        for url in piece.candidates:
            if url.startswith("data:"):
                url, outcome = _data_image(url, capture, limits)
                images[url] = outcome
            urls.append(url)
        candidates.append(tuple(urls))
        nodes.append(_image_node(piece))
    return nodes, candidates, list(images.values())


def _image_node(reference: ImageReference) -> Node:
    return Node(
        kind="image",
        alt=reference.alt,
        caption=reference.caption,
        rendered_width=reference.rendered_width,
        rendered_height=reference.rendered_height,
    )


def _data_image(url: str, capture: Capture, limits: ImageLimits) -> tuple[str, ImageDraft | Decision]:
    """The short name of a ``data:`` image, and its draft or why there is none."""
    decoded = decode_data_url(url)
    media_type, data = decoded if decoded else ("unknown", b"")
    name = data_url_reference(media_type, data)
    return name, extract_image(dataclasses.replace(capture, url=name, status=200, payload=data), limits)


def extract_image(capture: Capture, limits: ImageLimits) -> ImageDraft | Decision:
    """An image response's draft, or the reason why there is none."""
    if capture.status != 200:
        return _decision(capture, Unit.IMAGE, Action.DROP, "http_status", capture.status, 200)
    if capture.is_truncated:
        return _decision(capture, Unit.IMAGE, Action.DROP, "image_bytes", len(capture.payload), limits.max_bytes)
    facts = check_image(capture.payload, limits)
    if isinstance(facts, ImageFacts):
        return ImageDraft(
            image_id=image_id(capture.payload),
            url=capture.url,
            facts=facts,
            warc_file=capture.warc_file,
            warc_offset=capture.warc_offset,
            warc_date=capture.warc_date,
            data=capture.payload,
        )
    return dataclasses.replace(
        _decision(capture, Unit.IMAGE, facts.action, facts.rule, facts.value, facts.threshold),
        detail=facts.detail,
    )


def _decision(
    capture: Capture,
    unit: Unit,
    action: Action,
    rule: str,
    value: float | None = None,
    threshold: float | None = None,
) -> Decision:
    return Decision(
        stage="extract",
        unit=unit,
        action=action,
        rule=rule,
        url=capture.url,
        value=value,
        threshold=threshold,
        warc_file=capture.warc_file,
        warc_offset=capture.warc_offset,
    )


def _as_json(document: Document) -> bytes:
    """A document as the spool holds it. A lone surrogate, which UTF-8 cannot write, becomes a question mark."""
    return json.dumps(to_row(document), ensure_ascii=False).encode("utf-8", "replace")


def _crash(capture: Capture, unit: Unit, error: Exception) -> Decision:
    detail = describe(error)
    return dataclasses.replace(_decision(capture, unit, Action.FAIL, "extract_error"), detail=detail)


class ExtractPages(beam.PTransform):
    """Page captures -> index rows ``pages`` and ``images``, ``decisions``, ``tallies`` (of data: images)."""

    def __init__(self, config: ExtractConfig, spool_folder: str) -> None:
        self._config, self._spool_folder = config, spool_folder

    def expand(self, captures: beam.PCollection) -> beam.DoOutputsTuple:
        return captures | beam.ParDo(_ExtractPages(self._config, self._spool_folder)).with_outputs(
            "pages", "images", "decisions", "tallies"
        )


class ExtractImages(beam.PTransform):
    """Image captures -> index rows ``images``, and ``decisions``."""

    def __init__(self, config: ExtractConfig, spool_folder: str) -> None:
        self._config, self._spool_folder = config, spool_folder

    def expand(self, captures: beam.PCollection) -> beam.DoOutputsTuple:
        return captures | beam.ParDo(_ExtractImages(self._config, self._spool_folder)).with_outputs(
            "images", "decisions"
        )


class _Extractor(beam.DoFn):
    """Holds one spool a bundle."""

    def __init__(self, config: ExtractConfig, spool_folder: str) -> None:
        self._config, self._spool_folder = config, spool_folder

    def start_bundle(self) -> None:
        self._spool = Spool(self._spool_folder)

    def finish_bundle(self) -> None:
        self._spool.close()

    def _image(self, outcome: ImageDraft | Decision) -> beam.pvalue.TaggedOutput:
        if isinstance(outcome, Decision):
            return beam.pvalue.TaggedOutput("decisions", to_row(outcome))
        ref = self._spool.write(outcome.data)
        row = {name: getattr(outcome, name) for name in IMAGE_INDEX.names if hasattr(outcome, name)}
        return beam.pvalue.TaggedOutput("images", {**row, **to_row(outcome.facts), **to_row(ref)})


class _ExtractPages(_Extractor):
    def process(self, capture: Capture) -> Iterator[beam.pvalue.TaggedOutput]:
        advance("pages")
        outcome: PageDraft | Decision
        try:
            outcome, images = extract_page(capture, self._config)
        except Exception as error:  # noqa: BLE001  # the stage boundary: one bad page never ends a run
            outcome, images = _crash(capture, Unit.DOCUMENT, error), []
        if images:
            tally = ArchiveTally(capture.warc_file, 0, 0, len(images), 0)
            yield beam.pvalue.TaggedOutput("tallies", to_row(tally))
        yield from map(self._image, images)
        if isinstance(outcome, Decision):
            yield beam.pvalue.TaggedOutput("decisions", to_row(outcome))
            return
        ref = self._spool.write(_as_json(outcome.document))
        row = {name: getattr(outcome.document, name) for name in ("doc_id", "url", "warc_file", "warc_offset")}
        yield beam.pvalue.TaggedOutput("pages", {**row, "candidates": outcome.candidates, **to_row(ref)})


class _ExtractImages(_Extractor):
    def process(self, capture: Capture) -> Iterator[beam.pvalue.TaggedOutput]:
        advance("images")
        try:
            outcome = extract_image(capture, self._config.image)
        except Exception as error:  # noqa: BLE001  # the stage boundary: one bad picture never ends a run
            outcome = _crash(capture, Unit.IMAGE, error)
        yield self._image(outcome)
