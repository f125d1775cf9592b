"""Web archives -> pages, images, and a tally of what was there.

``read_archive`` goes through one WARC or ARC file from front to back with warcio and keeps two kinds of record: HTML
responses and image responses. What a record is, is decided by its content type and, where that is missing or lies,
by its first bytes. Nothing is judged here: a 404 page is a page with status 404.

What cannot be read is a ``fail`` decision: a record that is cut short or cannot be taken out of its encoding, and a
stretch of the file that holds no readable record, after which reading goes on at the next one that begins.

Costs 1-3 ms of CPU a record, memory for one payload.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import apache_beam as beam
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed
from warcio.recordloader import ArcWarcRecord

from gobelin.documents import Action, ArchiveTally, Decision, Unit, to_row
from gobelin.transforms.http_message import IMAGE_MAGIC, EncodingError, decode_body, header, read_head
from gobelin.transforms.progress import advance
from gobelin.transforms.shards import open_input
from gobelin.transforms.urls import well_formed

HTML_TYPES = ("text/html", "application/xhtml+xml")
GENERIC_TYPES = ("", "application/octet-stream", "binary/octet-stream", "application/unknown", "unknown/unknown")
"""Types that say nothing; the first bytes decide."""

_READ_ERRORS = (ArchiveLoadFailed, zlib.error, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError)
"""What warcio 1.8 lets out for damaged input: besides its own error, whatever its parsing stumbles over."""


@dataclasses.dataclass(frozen=True, slots=True)
class Capture:
    """One record's payload, decoded from its transfer and content encodings, and where it came from."""

    url: str
    status: int
    content_type: str  # lower case, without parameters; "" where the server named none
    charset: str | None  # as the server named it
    headers: tuple[tuple[str, str], ...]  # HTTP headers, as received
    payload: bytes
    is_truncated: bool  # longer than the limit: payload holds the beginning
    problem: str | None  # why the payload could not be taken out of its encoding
    warc_file: str
    warc_offset: int
    warc_length: int
    warc_date: str


@dataclasses.dataclass(frozen=True, slots=True)
class PageCapture:
    """An HTML response."""

    capture: Capture


@dataclasses.dataclass(frozen=True, slots=True)
class ImageCapture:
    """An image response."""

    capture: Capture


def read_archive(
    stream: BinaryIO, path: str, max_page_bytes: int, max_image_bytes: int
) -> Iterator[PageCapture | ImageCapture | Decision | ArchiveTally]:
    """Reads one archive.

    Args:
        stream: the archive's bytes, compressed or not, seekable.
        path: the name under which the archive is known in the output.
        max_page_bytes, max_image_bytes: payloads are cut there and marked as truncated.

    Yields:
        captures and decisions in the order of the file; an ``ArchiveTally`` last.
    """
    reader = _ArchiveReader(stream, path, max_page_bytes, max_image_bytes)
    start: int | None = 0
    while start is not None:
        yield from reader.read_from(start)
        start = reader.next_start()
        if reader.problem is not None:
            yield reader.problem
    yield reader.tally()


class _ArchiveReader:
    """Reads stretches of one archive with warcio, and finds where to go on behind damage."""

    def __init__(self, stream: BinaryIO, path: str, max_page_bytes: int, max_image_bytes: int) -> None:
        self._stream, self._path = stream, path
        self._limits = {PageCapture: max_page_bytes, ImageCapture: max_image_bytes}
        self._size = stream.seek(0, io.SEEK_END)
        self._reached = 0  # the end of the last record that was read
        self._error: str | None = None
        self._is_cut = False  # the last record was
        self._records = self._documents = self._images = 0
        self.problem: Decision | None = None

    def tally(self) -> ArchiveTally:
        other = self._records - self._documents - self._images
        return ArchiveTally(self._path, self._records, self._documents, self._images, other)

    def read_from(self, start: int) -> Iterator[PageCapture | ImageCapture | Decision]:
        """What can be read from a place on, until the file's end or damage that warcio cannot get over."""
        self._stream.seek(start)
        self._reached, self._error, self._is_cut, self.problem = start, None, False, None
        # warcio parses no HTTP: it gives up a file over a record without a URL, and hides what does not decode.
        iterator = ArchiveIterator(self._stream, no_record_parse=True, arc2warc=True)
        while True:
            try:
                # warcio prints warnings on records that lack their closing newline.
                with contextlib.redirect_stderr(io.StringIO()):
                    record = next(iterator, None)
                    if record is None:
                        return
                    self._records += 1
                    found = self._capture(record)
                    # Only now: warcio reads a record to its end to tell where it lies.
                    offset, length = iterator.get_record_offset(), iterator.get_record_length() or 0
                    is_cut = _is_cut(record)
            except _READ_ERRORS as error:
                self._error = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
                return
            self._reached = min(self._size, max(self._reached, offset if is_cut else offset + length))
            if found is not None:
                yield self._finished(found, offset, length, is_cut)
            elif is_cut:
                yield Decision(
                    stage="extract", unit=Unit.RECORD, action=Action.FAIL, rule="record_cut_short",
                    warc_file=self._path, warc_offset=offset,
                )  # fmt: skip
            if is_cut:  # warcio went to the file's end for the rest of it
                self._is_cut = True
                return

    def _finished(
        self, found: PageCapture | ImageCapture, offset: int, length: int, is_cut: bool
    ) -> PageCapture | ImageCapture | Decision:
        is_page = isinstance(found, PageCapture)
        self._documents += is_page
        self._images += not is_page
        capture = dataclasses.replace(found.capture, warc_offset=offset, warc_length=length)
        if is_cut or capture.problem is not None:
            return Decision(
                stage="extract", unit=Unit.DOCUMENT if is_page else Unit.IMAGE, action=Action.FAIL,
                rule="record_cut_short" if is_cut else "content_encoding", url=capture.url, detail=capture.problem,
                warc_file=self._path, warc_offset=offset,
            )  # fmt: skip
        return PageCapture(capture) if is_page else ImageCapture(capture)

    def next_start(self) -> int | None:
        """Where to go on after damage; None at the file's end. Sets ``problem`` where bytes were passed over."""
        if self._is_cut:
            return _find_record(self._stream, self._reached + 1)
        if self._error is None and self._size - self._reached <= _MAX_PADDING:
            return None
        start = _find_record(self._stream, self._reached + 1)
        self._records += 1
        passed_over = (self._size if start is None else start) - self._reached
        self.problem = Decision(
            stage="extract", unit=Unit.RECORD, action=Action.FAIL, rule="unreadable_archive", value=passed_over,
            detail=self._error or "no record can be read here", warc_file=self._path, warc_offset=self._reached,
        )  # fmt: skip
        return start

    def _capture(self, record: ArcWarcRecord) -> PageCapture | ImageCapture | None:
        """A record's capture, still without its place; None where it is neither a page nor an image."""
        if record.rec_type not in ("response", "resource"):
            return None
        url = record.rec_headers.get_header("WARC-Target-URI")
        if url is None:
            return None
        status = 200
        headers: tuple[tuple[str, str], ...] = ()
        declared = record.rec_headers.get_header("Content-Type") or ""
        if record.rec_type == "response":
            parsed = read_head(record.raw_stream)
            if parsed is None:
                return None
            status, headers = parsed
            declared = header(headers, "content-type")
        content_type, charset = parse_content_type(declared)
        if not _may_be_wanted(content_type):
            return None
        limit = max(self._limits.values())
        raw = record.raw_stream.read(limit + 1)
        problem = None
        try:
            payload = decode_body(raw, headers, limit)
        except EncodingError as error:
            payload, problem = raw, str(error)
        kind = kind_of(content_type, payload[:512])
        if kind is None:
            return None
        return kind(
            Capture(
                url=well_formed(url.strip().strip("<>")),
                status=status,
                content_type=content_type,
                charset=charset,
                headers=headers,
                payload=payload[: self._limits[kind]],
                is_truncated=len(payload) > self._limits[kind] or len(raw) > limit,
                problem=problem,
                warc_file=self._path,
                warc_offset=0,
                warc_length=0,
                warc_date=record.rec_headers.get_header("WARC-Date") or "",
            )
        )


def _is_cut(record: ArcWarcRecord) -> bool:
    """Whether a record that was read to its end holds less than it said, or breaks off before it could say how much."""
    if record.rec_headers.get_header("Content-Length") is None:
        return True
    return getattr(record.raw_stream, "limit", 0) > _MAX_MISCOUNT


def _find_record(stream: BinaryIO, start: int) -> int | None:
    """Where the next record begins at or after ``start``: a gzip member or a plain line with a WARC header."""
    stream.seek(start)
    base, held = start, b""
    while chunk := stream.read(1 << 20):
        held += chunk
        for match in _RECORD_START.finditer(held, 0, max(0, len(held) - _PEEK_BYTES)):
            if _begins_record(held[match.start() : match.start() + _PEEK_BYTES]):
                return base + match.start()
        base += max(0, len(held) - _PEEK_BYTES)
        held = held[-_PEEK_BYTES:]
    for match in _RECORD_START.finditer(held):
        if _begins_record(held[match.start() :]):
            return base + match.start()
    return None


_RECORD_START = re.compile(rb"\x1f\x8b\x08|(?<=\n)WARC/[01]\.")
_PEEK_BYTES = 4096
_MAX_MISCOUNT = 16
"""Bytes that a record may lack of its declared length: some ARC writers count line ends that are not there."""

_MAX_PADDING = 8
"""Bytes at a file's end that are no record: closing newlines, zeros."""


def _begins_record(head: bytes) -> bool:
    if head.startswith(b"WARC/"):
        return True
    try:
        text = zlib.decompressobj(31).decompress(head, 64)
    except zlib.error:
        return False
    return text.startswith((b"WARC/", b"http://", b"https://", b"filedesc://"))


def _may_be_wanted(content_type: str) -> bool:
    return content_type.startswith("image/") or content_type in HTML_TYPES or content_type in GENERIC_TYPES


def parse_content_type(value: str) -> tuple[str, str | None]:
    """Media type in lower case, and the charset parameter where there is one."""
    media_type, _, parameters = value.partition(";")
    charset = None
    for parameter in parameters.split(";"):
        name, _, given = parameter.partition("=")
        if name.strip().lower() == "charset" and given.strip():
            charset = given.strip().strip("\"'")
    return media_type.strip().lower(), charset


def kind_of(content_type: str, head: bytes) -> type[PageCapture] | type[ImageCapture] | None:
    """What a payload is, by its declared type; its first bytes decide where the type is missing or generic,
    and where a picture is declared to be a page."""
    looks_like_image = head.startswith(IMAGE_MAGIC)
    if content_type.startswith("image/"):
        return ImageCapture
    if content_type in HTML_TYPES:
        return ImageCapture if looks_like_image else PageCapture
    if content_type in GENERIC_TYPES:
        if looks_like_image:
            return ImageCapture
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:15].lower()
        if start.startswith((b"<!doctype html", b"<html")):
            return PageCapture
    return None


class ReadWarc(beam.PTransform):
    """Paths of archives -> captures (``pages``, ``images``), and rows of ``decisions`` and ``tallies``."""

    def __init__(self, max_page_bytes: int, max_image_bytes: int) -> None:
        self._max_page_bytes, self._max_image_bytes = max_page_bytes, max_image_bytes

    def expand(self, paths: beam.PCollection) -> beam.DoOutputsTuple:
        return paths | beam.ParDo(_ReadWarc(self._max_page_bytes, self._max_image_bytes)).with_outputs(
            "pages", "images", "decisions", "tallies"
        )


class _ReadWarc(beam.DoFn):
    def __init__(self, max_page_bytes: int, max_image_bytes: int) -> None:
        self._max_page_bytes, self._max_image_bytes = max_page_bytes, max_image_bytes

    def process(self, path: str) -> Iterator[beam.pvalue.TaggedOutput]:
        with open_input(path) as stream:
            for found in read_archive(stream, path, self._max_page_bytes, self._max_image_bytes):
                match found:
                    case PageCapture(capture):
                        yield beam.pvalue.TaggedOutput("pages", capture)
                        advance("bytes", capture.warc_length)
                    case ImageCapture(capture):
                        yield beam.pvalue.TaggedOutput("images", capture)
                        advance("bytes", capture.warc_length)
                    case Decision():
                        yield beam.pvalue.TaggedOutput("decisions", to_row(found))
                    case ArchiveTally():
                        yield beam.pvalue.TaggedOutput("tallies", to_row(found))
