"""Captures -> documents and images: the first half of ``extract``, all that can be done record by record.

``extract_page`` turns an HTML response into a ``PageDraft``: a document whose pictures are still lists of candidate
URLs. ``extract_image`` turns an image response into an ``ImageDraft``: checked, hashed, with its bytes. A ``data:``
image of a page becomes an image of its own. ``link.py`` joins the two by URL.

Every capture gives exactly one draft or one decision. What is large (nodes, bytes) goes into a spool; what leaves the
transforms are index rows of a few hundred bytes.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict

import apache_beam as beam
import pyarrow as pa

from gobelin.data.ids import document_id, image_id
from gobelin.data.model import Action, ArchiveTally, Decision, Document, Licence, Node, Role, Source, Unit, to_row
from gobelin.data.rows import Row
from gobelin.store.spool import Spool
from gobelin.transforms.archives.read_warc import Capture
from gobelin.transforms.boundary import Refused, WebStep, attempt
from gobelin.transforms.extract.config import ExtractConfig, image_limits
from gobelin.transforms.images.block_list import BlockHit, load_block_list
from gobelin.transforms.images.check_image import ImageFacts, ImageProblem, check_image
from gobelin.transforms.images.image_sandbox import ImageChecker
from gobelin.transforms.images.tiff_pages import DAMAGED_PAGES, IMAGE_PAGES, count_pages
from gobelin.transforms.pages.content.gates import Refusal, refuse
from gobelin.transforms.pages.content.language import identify_language
from gobelin.transforms.pages.images.image_references import ImageReference, decode_data_url
from gobelin.transforms.pages.tree.find_nodes import PageContent, PageProblem, TextPiece, read_page
from gobelin.transforms.progress import advance
from gobelin.transforms.rights.consent import consent_of_headers, merge_signals
from gobelin.transforms.urls import canonical_url, data_url_reference, url_key

PAGE_INDEX = pa.schema(
    [
        ("doc_id", pa.string()),
        ("url", pa.string()),
        ("url_key", pa.string()),
        ("warc_file", pa.string()),
        ("warc_offset", pa.int64()),
        ("warc_date", pa.string()),
        ("payload_digest", pa.string()),  # as the archive spells it; null where it has none
        ("consent", pa.list_(pa.string())),
        ("candidates", pa.list_(pa.list_(pa.string()))),  # URLs of each image node, best first
        ("candidate_keys", pa.list_(pa.list_(pa.string()))),  # their ``url_key``s
        ("path", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
    ]
)
"""One row a page draft: its keys, and where in a spool its document lies."""


class PageIndexRow(TypedDict):
    """A row of ``PAGE_INDEX``."""

    doc_id: str
    url: str
    url_key: str
    warc_file: str
    warc_offset: int
    warc_date: str
    payload_digest: str | None
    consent: Sequence[str]
    candidates: Sequence[Sequence[str]]
    candidate_keys: Sequence[Sequence[str]]
    path: str
    offset: int
    length: int


IMAGE_INDEX = pa.schema(
    [
        ("image_id", pa.string()),
        ("url", pa.string()),
        ("url_key", pa.string()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("md5", pa.string()),
        ("phash", pa.string()),
        ("dhash", pa.string()),
        ("colour", pa.string()),
        ("thumbnail", pa.string()),
        ("pdq", pa.string()),
        ("source_format", pa.string()),
        ("source_sha256", pa.string()),
        ("consent", pa.list_(pa.string())),
        ("source", pa.string()),
        ("warc_file", pa.string()),
        ("warc_offset", pa.int64()),
        ("warc_date", pa.string()),
        ("payload_digest", pa.string()),
        ("is_blocked", pa.bool_()),  # nothing but its URL is kept, so that no document names it
        ("path", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("copy_length", pa.int64()),  # bytes of the reduced copy, which lies behind the image's own; 0: there is none
    ]
)
"""One row an image draft: its keys and facts, and where in a spool its bytes lie."""


class ImageIndexRow(TypedDict):
    """A row of ``IMAGE_INDEX`` that stands for bytes."""

    image_id: str
    url: str
    url_key: str
    format: str
    width: int
    height: int
    md5: str
    phash: str
    dhash: str
    colour: str
    thumbnail: str
    pdq: str | None
    source_format: str | None
    source_sha256: str | None
    consent: Sequence[str]
    source: str
    warc_file: str
    warc_offset: int
    warc_date: str
    payload_digest: str | None
    is_blocked: bool
    path: str
    offset: int
    length: int
    copy_length: int  # 0: there is no copy


def address_keys(url: str, candidates: Sequence[Sequence[str]]) -> Row:
    """The columns of a page's index row that hold addresses and their keys, but for its own address."""
    keys = [[url_key(candidate) for candidate in urls] for urls in candidates]
    return {"url_key": url_key(url), "candidates": candidates, "candidate_keys": keys}


def blocked_row(url: str, warc_date: str | None = None, payload_digest: str | None = None) -> Row:
    """The index row of an image on a block list: its address, so that no document names it, and what revisits know
    it by."""
    row: Row = {
        **dict.fromkeys(IMAGE_INDEX.names),
        "url": url,
        "url_key": url_key(url),
        "consent": [],
        "is_blocked": True,
    }
    return {**row, "warc_date": warc_date, "payload_digest": payload_digest}


@dataclasses.dataclass(frozen=True, slots=True)
class PageDraft:
    """A document before its pictures are looked up."""

    document: Document  # image nodes without image_url and image_id
    candidates: tuple[tuple[str, ...], ...]  # URLs of each image node, best first
    payload_digest: str | None  # as the archive spells it


@dataclasses.dataclass(frozen=True, slots=True)
class ImageDraft:
    """A checked image under one URL."""

    image_id: str
    url: str
    facts: ImageFacts
    md5: str
    consent: tuple[str, ...]
    source: Source
    warc_file: str
    warc_offset: int
    warc_date: str
    payload_digest: str | None
    data: bytes
    source_format: str | None = None  # svg: ``data`` was rendered from a drawing
    source_sha256: str | None = None  # of the drawing's bytes
    pages_left_out: Decision | None = None  # of a TIFF


BLOCKED = "block_list"
"""Rule of what is on a list of files that may not be stored."""

Check = Callable[[bytes], ImageFacts | ImageProblem]
"""What tells an image's facts: ``ImageChecker.check``, or ``check_image`` under some limits."""


def extract_page(
    capture: Capture, config: ExtractConfig, check: Check | None = None
) -> tuple[PageDraft | Decision, dict[str, ImageDraft | Decision]]:
    """A page's draft, or the reason why there is none; and what came of each of its ``data:`` images, by their names.

    Args:
        check: None: images are decoded in this process.
    """
    blocked = load_block_list(config.block_list)
    hit = blocked.match_url(capture.url) if blocked else None
    if hit is not None:
        return _blocked(capture, Unit.DOCUMENT, hit), {}
    if capture.status != 200:
        return _decision(capture, Unit.DOCUMENT, Action.DROP, "http_status", capture.status, 200), {}
    if capture.is_truncated:
        return _decision(
            capture, Unit.DOCUMENT, Action.DROP, "page_bytes", len(capture.payload), config.max_page_bytes
        ), {}
    refusal = refuse(capture.payload, capture.headers, config.gates)
    if refusal is not None:
        return _refused(capture, Unit.DOCUMENT, refusal), {}
    content = read_page(capture.payload, capture.charset, capture.url, capture.headers)
    if isinstance(content, PageProblem):
        return _refused(capture, Unit.DOCUMENT, content), {}
    texts = [piece for piece in content.pieces if isinstance(piece, TextPiece)]
    if not texts:
        return _decision(capture, Unit.DOCUMENT, Action.DROP, "no_main_text", 0, 1), {}
    prose = [piece.text for piece in texts if piece.role != Role.CODE] or [piece.text for piece in texts]
    language = identify_language("\n".join(prose))
    nodes, candidates, images = _nodes(content, capture, config, check)
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
        licences=_unlisted(content.licences, config),
        consent=content.consent,
        charset=content.charset,
        extractor=content.extractor,
        page_kind=content.page_kind,
        nodes=tuple(nodes),
    )
    return PageDraft(document, tuple(candidates), capture.payload_digest), images


def _nodes(
    content: PageContent, capture: Capture, config: ExtractConfig, check: Check | None
) -> tuple[list[Node], list[tuple[str, ...]], dict[str, ImageDraft | Decision]]:
    blocked = load_block_list(config.block_list)
    nodes: list[Node] = []
    candidates: list[tuple[str, ...]] = []
    images: dict[str, ImageDraft | Decision] = {}  # a data: image that stands twice in a page is one image
    for piece in content.pieces:
        if isinstance(piece, TextPiece):
            nodes.append(
                Node(
                    "text", piece.role, piece.level, piece.text,
                    code_language=piece.code_language, header_rows=piece.header_rows,
                )
            )  # fmt: skip
            continue
        urls = []
        for url in piece.candidates:
            if url.startswith("data:"):
                url, outcome = _data_image(url, capture, config, check)
                images[url] = outcome
            urls.append(url)
        addresses = [*urls, piece.link_url] if piece.link_url else urls
        if blocked and any(blocked.match_url(url) for url in addresses):
            urls, piece = [], dataclasses.replace(piece, link_url=None)  # its other files show the same
        candidates.append(tuple(urls))
        nodes.append(_image_node(piece))
    return nodes, candidates, images


def _unlisted(licences: tuple[Licence, ...], config: ExtractConfig) -> tuple[Licence, ...]:
    """Without those of images whose address is on a list."""
    blocked = load_block_list(config.block_list)
    if blocked is None:
        return licences
    return tuple(each for each in licences if each.image_url is None or blocked.match_url(each.image_url) is None)


def _image_node(reference: ImageReference) -> Node:
    return Node(
        kind="image",
        alt=reference.alt,
        caption=reference.caption,
        title=reference.title,
        link_url=reference.link_url,
        rendered_width=reference.rendered_width,
        rendered_height=reference.rendered_height,
    )


def _data_image(
    url: str, capture: Capture, config: ExtractConfig, check: Check | None
) -> tuple[str, ImageDraft | Decision]:
    """The short name of a ``data:`` image, and its draft or why there is none."""
    decoded = decode_data_url(url)
    media_type, data = decoded if decoded else ("unknown", b"")
    name = data_url_reference(media_type, data)
    found = dataclasses.replace(capture, url=name, status=200, payload=data, payload_digest=None)
    return name, extract_image(found, config, check)


def image_row(draft: ImageDraft, url: str, spool: Spool) -> Row:
    """The index row of an image under this address; its bytes, and behind them its copy, go into the spool."""
    row = {name: getattr(draft, name) for name in IMAGE_INDEX.names if hasattr(draft, name)}
    facts = to_row(draft.facts)
    copy = facts.pop("copy") or b""
    del facts["rendered"]  # is the data
    lies = to_row(spool.write(draft.data + copy)) | {"length": len(draft.data), "copy_length": len(copy)}
    return row | facts | lies | {"url_key": url_key(url), "is_blocked": False}


def extract_image(capture: Capture, config: ExtractConfig, check: Check | None = None) -> ImageDraft | Decision:
    """An image response's draft, or the reason why there is none.

    Args:
        check: None: the image is decoded in this process.
    """
    limits = image_limits(config)
    if capture.status != 200:
        return _decision(capture, Unit.IMAGE, Action.DROP, "http_status", capture.status, 200)
    if capture.is_truncated:
        return _decision(capture, Unit.IMAGE, Action.DROP, "image_bytes", len(capture.payload), limits.max_bytes)
    blocked = load_block_list(config.block_list)
    hit = blocked.match(capture.url, capture.payload) if blocked else None
    if hit is not None:
        return _blocked(capture, Unit.IMAGE, hit)
    facts = check(capture.payload) if check else check_image(capture.payload, limits)
    if isinstance(facts, ImageFacts):
        hit = blocked.match_pdq(facts.pdq) if blocked else None
        if hit is not None:
            return _blocked(capture, Unit.IMAGE, hit)
        data = facts.rendered or capture.payload
        is_drawing = facts.rendered is not None
        return ImageDraft(
            image_id=image_id(data),
            url=capture.url,
            facts=facts,
            md5=hashlib.md5(data, usedforsecurity=False).hexdigest(),
            consent=merge_signals(consent_of_headers(capture.headers), capture.consent),
            source=Source(capture.source),
            warc_file=capture.warc_file,
            warc_offset=capture.warc_offset,
            warc_date=capture.warc_date,
            payload_digest=capture.payload_digest,
            data=data,
            source_format="svg" if is_drawing else None,
            source_sha256=hashlib.sha256(capture.payload).hexdigest() if is_drawing else None,
            pages_left_out=_pages_left_out(capture),
        )
    return _refused(capture, Unit.IMAGE, facts)


def _pages_left_out(capture: Capture) -> Decision | None:
    """Says how many pages of a TIFF are not in its image, which is the first one; None where there are no others."""
    num_pages, is_damaged = count_pages(capture.payload)
    if num_pages == 1 and not is_damaged:
        return None
    decision = _decision(capture, Unit.RECORD, Action.DROP, IMAGE_PAGES, num_pages - 1, 0)
    detail = DAMAGED_PAGES if is_damaged else None
    return dataclasses.replace(decision, image_id=image_id(capture.payload), detail=detail)


def _blocked(capture: Capture, unit: Unit, hit: BlockHit) -> Decision:
    """Says which list it was and which record, and nothing by which the file could be found on the web."""
    decision = _decision(capture, unit, Action.DROP, BLOCKED)
    return dataclasses.replace(decision, url=None, detail=hit.list_name)


def _refused(capture: Capture, unit: Unit, why: PageProblem | ImageProblem | Refusal) -> Decision:
    decision = _decision(capture, unit, why.action, why.rule, why.value, why.threshold)
    return dataclasses.replace(decision, detail=why.detail)


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


def _crash(capture: Capture, unit: Unit, refused: Refused) -> Decision:
    return dataclasses.replace(_decision(capture, unit, Action.FAIL, "extract_error"), detail=refused.detail)


_COUNTED = {Action.DROP: "dropped", Action.FAIL: "failed"}
"""What decisions are counted as while the stage runs."""


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


def spare_collector() -> None:
    """Lets the garbage collector look for cycles less often in this process. A page is thousands of short-lived objects
    without cycles; looking after every 700 costs about 8 % of a page's time."""
    gc.set_threshold(50_000, 20, 50)


class _Extractor(WebStep):
    """Holds one spool a bundle."""

    def __init__(self, config: ExtractConfig, spool_folder: str) -> None:
        self._config, self._spool_folder = config, spool_folder

    def setup(self) -> None:
        load_block_list(self._config.block_list)  # a list that cannot be read ends the run, not every record
        spare_collector()
        self._checker = ImageChecker(image_limits(self._config))

    def teardown(self) -> None:
        self._checker.close()

    def start_bundle(self) -> None:
        self._spool = Spool(self._spool_folder)

    def finish_bundle(self) -> None:
        self._spool.close()

    def _image(self, url: str, outcome: ImageDraft | Decision, capture: Capture) -> Iterator[beam.pvalue.TaggedOutput]:
        if isinstance(outcome, Decision):
            advance(_COUNTED[outcome.action])
            yield beam.pvalue.TaggedOutput("decisions", to_row(outcome))
            if outcome.rule == BLOCKED:
                digest = capture.payload_digest if url == capture.url else None  # a data: image has none
                yield beam.pvalue.TaggedOutput("images", blocked_row(url, capture.warc_date, digest))
            return
        if outcome.pages_left_out is not None:
            yield beam.pvalue.TaggedOutput("decisions", to_row(outcome.pages_left_out))
        yield beam.pvalue.TaggedOutput("images", image_row(outcome, url, self._spool))


class _ExtractPages(_Extractor):
    def process(self, capture: Capture) -> Iterator[beam.pvalue.TaggedOutput]:
        advance("pages")
        made = attempt(self._made, capture)
        if isinstance(made, Refused):
            yield beam.pvalue.TaggedOutput("decisions", to_row(_crash(capture, Unit.DOCUMENT, made)))
            return
        outcome, images = made
        if images:
            tally = ArchiveTally(capture.warc_file, 0, 0, len(images), 0)
            yield beam.pvalue.TaggedOutput("tallies", to_row(tally))
        for url, image in images.items():
            yield from self._image(url, image, capture)
        if isinstance(outcome, Decision):
            advance(_COUNTED[outcome.action])
            yield beam.pvalue.TaggedOutput("decisions", to_row(outcome))
            return
        row, payload = outcome
        yield beam.pvalue.TaggedOutput("pages", {**row, **to_row(self._spool.write(payload))})

    def _made(self, capture: Capture) -> tuple[tuple[Row, bytes] | Decision, dict[str, ImageDraft | Decision]]:
        """The index row of a page and the document as the spool holds it, or why it is none; and its data: images."""
        outcome, images = extract_page(capture, self._config, self._checker.check)
        if isinstance(outcome, Decision):
            return outcome, images
        names = ("doc_id", "url", "warc_file", "warc_offset", "warc_date", "consent")
        row = {name: getattr(outcome.document, name) for name in names}
        row |= {"payload_digest": outcome.payload_digest, **address_keys(outcome.document.url, outcome.candidates)}
        return (row, _as_json(outcome.document)), images


class _ExtractImages(_Extractor):
    def process(self, capture: Capture) -> Iterator[beam.pvalue.TaggedOutput]:
        advance("images")
        made = attempt(extract_image, capture, self._config, self._checker.check)
        outcome = _crash(capture, Unit.IMAGE, made) if isinstance(made, Refused) else made
        yield from self._image(capture.url, outcome, capture)
