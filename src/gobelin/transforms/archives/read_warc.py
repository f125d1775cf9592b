"""Reads web archives: yields pages, images, site policies, revisits, and a tally of the records.

``read_archive`` iterates over the records of a WARC or ARC file, or of a range of it. It keeps HTML pages, images,
policies of sites (robots.txt, tdmrep.json), revisits, and redirects. The first bytes and the content type of a record
determine its kind (``content_types.py``). Nothing is judged here: a 404 page is a page with status 404.

Each record with bytes of HTML or an image becomes a capture or a decision. Unreadable data becomes a ``fail`` decision:
a truncated record, a record without address, a record that cannot be decoded, or a stretch of the file without a
readable record. Reading continues after it (``records.py``). A page with a type that browsers do not show as a page is
a ``drop`` decision.

Takes 40 microseconds of CPU per record plus the time for decompression, and memory for one payload.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator
from typing import BinaryIO

import apache_beam as beam

from gobelin.data.model import Action, ArchiveTally, Decision, Source, Unit, to_row
from gobelin.transforms.archives.content_types import GENERIC_TYPES, SNIFFED_BYTES, Kind, kind_of, parse_content_type
from gobelin.transforms.archives.http_message import (
    MAX_HEAD_BYTES,
    EncodingError,
    begins_head,
    decode_body,
    header,
    read_head,
)
from gobelin.transforms.archives.ranges import ArchiveRange, open_range, whole_archives
from gobelin.transforms.archives.records import ArchiveRecords, Damage, Place, Record
from gobelin.transforms.archives.wacz import ContainerError
from gobelin.transforms.boundary import Refused, WebStep, attempt
from gobelin.transforms.progress import advance
from gobelin.transforms.urls import resolve, url_key, well_formed

MAX_POLICY_BYTES = 512 << 10
"""Maximum size of a robots.txt or tdmrep.json. RFC 9309, 2.5: a parser must read at least 500 KiB."""

_PEEKED_BYTES = 8192
"""Number of bytes of each record that are read first: enough for its first decompressed bytes."""

_POLICY_URL = re.compile(r"https?://[^/?#]+/(?:robots\.txt|\.well-known/tdmrep\.json)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Capture:
    """The payload of one record, decoded from transfer and content encodings, and its origin."""

    url: str
    status: int
    content_type: str  # lower case, without parameters; "" if the server declared none
    charset: str | None  # as the server declared it
    headers: tuple[tuple[str, str], ...]  # HTTP headers, as received
    payload: bytes
    is_truncated: bool  # whether it is longer than the limit; ``payload`` holds its beginning
    problem: str | None  # why the payload could not be decoded
    warc_file: str
    warc_offset: int
    warc_length: int
    warc_date: str
    payload_digest: str | None = None  # as in the archive, mostly "sha1:" and base 32; not verified
    consent: tuple[str, ...] = ()  # consent signals from other sources than the headers
    source: Source = Source.ARCHIVE


@dataclasses.dataclass(frozen=True, slots=True)
class PageCapture:
    """An HTML response."""

    capture: Capture


@dataclasses.dataclass(frozen=True, slots=True)
class ImageCapture:
    """An image response."""

    capture: Capture


@dataclasses.dataclass(frozen=True, slots=True)
class PolicyCapture:
    """A site's robots.txt or /.well-known/tdmrep.json, of any status and type."""

    capture: Capture


@dataclasses.dataclass(frozen=True, slots=True)
class Revisit:
    """A record that states that its URL had the same content as another record.

    The other record is that of ``refers_to_url`` at ``refers_to_date``, or any with the same ``payload_digest``
    (WARC/1.1,
    6.7). A redirect states the same about its ``Location``.
    """

    url: str
    warc_date: str
    refers_to_url: str | None
    refers_to_date: str | None
    payload_digest: str | None  # as in the archive
    warc_file: str
    warc_offset: int
    is_redirect: bool = False


Found = PageCapture | ImageCapture | PolicyCapture | Revisit | Decision | ArchiveTally
_CaptureKind = type[PageCapture] | type[ImageCapture] | type[PolicyCapture]
_UNITS: dict[type, Unit] = {
    PageCapture: Unit.DOCUMENT, ImageCapture: Unit.IMAGE, PolicyCapture: Unit.RECORD,
}  # fmt: skip

_CAPTURES: dict[Kind, _CaptureKind] = {
    Kind.PAGE: PageCapture, Kind.MISTYPED_PAGE: PageCapture, Kind.IMAGE: ImageCapture,
}  # fmt: skip


def read_range(piece: ArchiveRange, max_page_bytes: int, max_image_bytes: int) -> Iterator[Found]:
    """Reads a range of an archive, or all archives of a WACZ that is given as a whole; see ``read_archive``."""
    try:
        for archive in whole_archives(piece):
            try:
                with open_range(archive) as (stream, problem):
                    limits = max_page_bytes, max_image_bytes
                    place = archive.start, archive.end
                    yield from read_archive(stream, archive.name, *limits, *place, problem, archive.only)
            except ContainerError as error:
                yield from _unreadable(archive.name, str(error))
    except ContainerError as error:
        yield from _unreadable(piece.name, str(error))


def _unreadable(name: str, problem: str) -> Iterator[Found]:
    yield _failed("unreadable_archive", name, 0, detail=problem)
    yield ArchiveTally(name, 1, 0, 0, 1)


def read_archive(
    stream: BinaryIO,
    name: str,
    max_page_bytes: int,
    max_image_bytes: int,
    start: int = 0,
    end: int | None = None,
    problem: str | None = None,
    only: Collection[int] | None = None,
) -> Iterator[Found]:
    """Reads one archive or a range of it.

    Args:
        stream: the archive's bytes, compressed or not, seekable.
        name: the name of the archive in the output.
        max_page_bytes, max_image_bytes: longer payloads are cut off and marked as truncated.
        start, end: see ``ArchiveRange``.
        problem: a known problem of the stream.
        only: offsets of the wanted records; None: all.

    Yields:
        captures, revisits and decisions in the order of the file, and an ``ArchiveTally`` at the end. Policies,
        revisits and
        unreadable stretches count as records of the kind ``other`` in it.
    """
    limits: dict[_CaptureKind, int] = {
        PageCapture: max_page_bytes, ImageCapture: max_image_bytes, PolicyCapture: MAX_POLICY_BYTES,
    }  # fmt: skip
    num_records = num_documents = num_images = 0
    archive, wanted = ArchiveRecords(stream, start, end), None if only is None else frozenset(only)
    for record in archive:
        num_records += 1
        if isinstance(record, Damage):
            yield _failed("unreadable_archive", name, record.offset, value=record.num_bytes, detail=record.detail)
            continue
        found = attempt(_read_record, record, name, limits)
        if wanted is not None and record.finish().offset not in wanted:
            num_records -= 1
            continue
        if isinstance(found, Refused):
            found = _failed("extract_error", name, record.finish().offset, detail=found.detail)
        unit = _unit_of(found)
        num_documents += unit == Unit.DOCUMENT
        num_images += unit == Unit.IMAGE
        if found is not None:
            yield found
            redirect = _redirect(found.capture) if isinstance(found, (PageCapture, ImageCapture)) else None
            if redirect is not None:
                yield redirect
    if problem is not None:
        num_records += 1
        yield _failed("unreadable_archive", name, archive.size, detail=problem)
    yield ArchiveTally(name, num_records, num_documents, num_images, num_records - num_documents - num_images)


def _read_record(record: Record, name: str, limits: dict[_CaptureKind, int]) -> Found | None:
    read = _read_revisit(record, name) if record.kind == "revisit" else _read_capture(record, name, limits)
    return _judge(read, record, name, record.finish())


def _unit_of(found: Found | None) -> Unit:
    """The unit as which a record is counted."""
    if isinstance(found, Decision):
        return found.unit
    return _UNITS.get(type(found), Unit.RECORD)


def _judge(found: Found | None, record: Record, name: str, place: Place) -> Found | None:
    """The result of reading a record, or a decision if it cannot be used."""
    capture = found.capture if isinstance(found, (PageCapture, ImageCapture, PolicyCapture)) else None
    unit, url = _unit_of(found), capture.url if capture else None
    if record.problem is not None:
        return _failed("record_cut_short", name, place.offset, unit, url or None, detail=record.problem)
    if capture is not None and not capture.url:
        return _failed("no_target_uri", name, place.offset, unit, detail=capture.content_type[:100] or None)
    if capture is not None and capture.problem is not None:
        return _failed("content_encoding", name, place.offset, unit, url, detail=capture.problem)
    return found


def _failed(
    rule: str, name: str, offset: int, unit: Unit = Unit.RECORD, url: str | None = None,
    value: float | None = None, detail: str | None = None,
) -> Decision:  # fmt: skip
    return Decision(
        stage="extract", unit=unit, action=Action.FAIL, rule=rule, url=url, value=value, detail=detail,
        warc_file=name, warc_offset=offset,
    )  # fmt: skip


def _read_revisit(record: Record, name: str) -> Revisit | None:
    url = _clean_url(record.fields.get("warc-target-uri"))
    if url is None:
        return None
    return Revisit(
        url=url,
        warc_date=record.fields.get("warc-date", ""),
        refers_to_url=_clean_url(record.fields.get("warc-refers-to-target-uri")),
        refers_to_date=record.fields.get("warc-refers-to-date"),
        payload_digest=record.fields.get("warc-payload-digest"),
        warc_file=name,
        warc_offset=record.finish().offset,
    )


def _redirect(capture: Capture) -> Revisit | None:
    """The target of a response with status 3xx; None if there is none, or if it is another spelling of the same URL."""
    target = resolve(capture.url, header(capture.headers, "location")) if 300 <= capture.status < 400 else None
    if target is None or url_key(target) == url_key(capture.url):
        return None
    return Revisit(
        capture.url, capture.warc_date, target, None, None, capture.warc_file, capture.warc_offset, is_redirect=True
    )


def _read_capture(
    record: Record, name: str, limits: dict[_CaptureKind, int]
) -> PageCapture | ImageCapture | PolicyCapture | Revisit | Decision | None:
    """The capture of a record (with the URL "" if it has none). For a redirect without a page or image, its target; for
    a page that is not read, a decision; None for other kinds of records."""
    if record.kind not in ("response", "resource", "conversion"):
        return None
    url = _clean_url(record.fields.get("warc-target-uri")) or ""
    status = 200
    headers: tuple[tuple[str, str], ...] = ()
    content_type, charset = parse_content_type(record.fields.get("content-type", ""))
    if record.kind == "response" and begins_head(record.peek(16)):
        parsed = read_head(record)
        if parsed is None:
            return _head_failed(record, name, url, f"no whole HTTP head within {MAX_HEAD_BYTES} bytes")
        status, headers = parsed
        content_type, charset = parse_content_type(header(headers, "content-type"))
    elif content_type == "application/http":
        return _head_failed(record, name, url, "no HTTP head") if record.peek(1) else None
    # Otherwise there is only the body: in resources, in old ARC files, and for other protocols.
    is_policy = _POLICY_URL.fullmatch(url) is not None and not content_type.startswith("image/")
    is_redirect = 300 <= status < 400
    kind, packing = _sniff(record, content_type, headers)
    if not is_policy and not is_redirect:
        if kind is Kind.MISTYPED_PAGE and url:
            return _mistyped(record, name, url, content_type)
        if kind is Kind.OTHER and packing is not None and content_type in GENERIC_TYPES:
            return _failed("content_encoding", name, record.finish().offset, url=url or None, detail=packing)
        if kind is Kind.OTHER:
            return None
    limit = MAX_POLICY_BYTES if is_policy else max(limits.values())
    raw = record.read(limit + 1)
    place = record.finish()
    problem = None
    try:
        payload = decode_body(raw, headers, limit)
    except EncodingError as error:
        payload, problem = raw, str(error)
    wanted: _CaptureKind | None = PolicyCapture if is_policy else _CAPTURES.get(kind)
    max_bytes = limits[wanted or PageCapture]
    capture = Capture(
        url=url,
        status=status,
        content_type=content_type,
        charset=charset,
        headers=headers,
        payload=payload[:max_bytes],
        is_truncated=len(payload) > max_bytes or len(raw) > limit,
        problem=problem,
        warc_file=name,
        warc_offset=place.offset,
        warc_length=place.length,
        warc_date=record.fields.get("warc-date", ""),
        payload_digest=record.fields.get("warc-payload-digest"),
    )
    if wanted is None:
        return _redirect(capture) if url else None
    return wanted(capture)


def _sniff(record: Record, content_type: str, headers: tuple[tuple[str, str], ...]) -> tuple[Kind, str | None]:
    """Returns (kind of a record by its first bytes; why these could not be decompressed, or None)."""
    raw = record.peek(_PEEKED_BYTES)
    try:
        return kind_of(content_type, decode_body(raw, headers, SNIFFED_BYTES)[:SNIFFED_BYTES]), None
    except EncodingError as error:
        return kind_of(content_type, raw[:SNIFFED_BYTES]), str(error)


def _head_failed(record: Record, name: str, url: str, detail: str) -> Decision:
    return _failed("http_head", name, record.finish().offset, url=url or None, detail=detail)


def _mistyped(record: Record, name: str, url: str, content_type: str) -> Decision:
    return Decision(
        stage="extract", unit=Unit.DOCUMENT, action=Action.DROP, rule="content_type", url=url,
        detail=content_type[:100], warc_file=name, warc_offset=record.finish().offset,
    )  # fmt: skip


def _clean_url(url: str | None) -> str | None:
    """The URL in a header, without blanks and without the angle brackets that wget 1.19 wrote."""
    return None if url is None else well_formed(url.strip().strip("<>").replace(" ", "%20")) or None


class ReadWarc(beam.PTransform):
    """Archives or ranges of them (``ArchiveRange`` or a path) -> tagged outputs:

    ``pages``, ``images``, ``policies`` (``Capture``), and rows of ``revisits`` (``Revisit``), ``decisions`` and
    ``tallies``. There
    is one tally per range; their sums are those of the file.
    """

    def __init__(self, max_page_bytes: int, max_image_bytes: int) -> None:
        self._max_page_bytes, self._max_image_bytes = max_page_bytes, max_image_bytes

    def expand(self, ranges: beam.PCollection) -> beam.DoOutputsTuple:
        return ranges | beam.ParDo(_ReadWarc(self._max_page_bytes, self._max_image_bytes)).with_outputs(
            "pages", "images", "policies", "revisits", "decisions", "tallies"
        )


class _ReadWarc(WebStep):
    def __init__(self, max_page_bytes: int, max_image_bytes: int) -> None:
        self._max_page_bytes, self._max_image_bytes = max_page_bytes, max_image_bytes

    def process(self, piece: ArchiveRange | str) -> Iterator[beam.pvalue.TaggedOutput]:
        if isinstance(piece, str):
            piece = ArchiveRange(piece)
        for found in read_range(piece, self._max_page_bytes, self._max_image_bytes):
            match found:
                case PageCapture(capture):
                    yield beam.pvalue.TaggedOutput("pages", capture)
                    advance("bytes", capture.warc_length)
                case ImageCapture(capture):
                    yield beam.pvalue.TaggedOutput("images", capture)
                    advance("bytes", capture.warc_length)
                case PolicyCapture(capture):
                    yield beam.pvalue.TaggedOutput("policies", capture)
                case Revisit():
                    yield beam.pvalue.TaggedOutput("revisits", to_row(found))
                case Decision():
                    yield beam.pvalue.TaggedOutput("decisions", to_row(found))
                case ArchiveTally():
                    yield beam.pvalue.TaggedOutput("tallies", to_row(found))
