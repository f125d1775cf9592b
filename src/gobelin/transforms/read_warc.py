"""Web archives -> pages, images, and a tally of what was there.

``read_archive`` goes through one WARC or ARC file from front to back with warcio and keeps two kinds of record: HTML
responses and image responses. What a record is, is decided by its content type and, where that is missing or lies,
by its first bytes. Nothing is judged here: a 404 page is a page with status 404. A record that cannot be read is a
``fail`` decision; a file that breaks in the middle gives what stands before the break and a ``fail`` decision.

Costs 1-3 ms of CPU a record, memory for one payload.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import apache_beam as beam
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed
from warcio.recordloader import ArcWarcRecord

from gobelin.documents import Action, ArchiveTally, Decision, Unit, to_row
from gobelin.transforms.progress import advance
from gobelin.transforms.shards import open_input

HTML_TYPES = ("text/html", "application/xhtml+xml")

_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"\0\0\1\0")
"""First bytes of PNG, JPEG, GIF, WebP (checked further by the decoder), BMP, TIFF, ICO."""

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
        stream: the archive's bytes, compressed or not, at its beginning.
        path: the name under which the archive is known in the output.
        max_page_bytes, max_image_bytes: payloads are cut there and marked as truncated.

    Yields:
        captures and decisions in the order of the file; an ``ArchiveTally`` last.
    """
    records = documents = images = 0
    offset = 0
    iterator = ArchiveIterator(stream, arc2warc=True)
    while True:
        try:
            record = next(iterator, None)
            if record is None:
                break
        except _READ_ERRORS as error:
            records += 1
            yield Decision(
                stage="extract", unit=Unit.RECORD, action=Action.FAIL, rule="unreadable_archive",
                detail=f"{type(error).__name__}: {error}"[:300], warc_file=path, warc_offset=offset,
            )  # fmt: skip
            break
        records += 1
        try:
            found = _capture(record, path, max_page_bytes, max_image_bytes)
            # Only now: warcio reads a record to its end to tell where it lies.
            offset, length = iterator.get_record_offset(), iterator.get_record_length() or 0
        except _READ_ERRORS as error:
            # The length of what follows is unknown; warcio skips to the next record where it can.
            yield Decision(
                stage="extract", unit=Unit.RECORD, action=Action.FAIL, rule="unreadable_record",
                url=record.rec_headers.get_header("WARC-Target-URI") if record.rec_headers else None,
                detail=f"{type(error).__name__}: {error}"[:300], warc_file=path, warc_offset=offset,
            )  # fmt: skip
            continue
        if found is None:
            continue
        capture = dataclasses.replace(found.capture, warc_offset=offset, warc_length=length)
        if isinstance(found, PageCapture):
            documents += 1
            yield PageCapture(capture)
        else:
            images += 1
            yield ImageCapture(capture)
    yield ArchiveTally(path, records, documents, images, records - documents - images)


def _capture(
    record: ArcWarcRecord, path: str, max_page_bytes: int, max_image_bytes: int
) -> PageCapture | ImageCapture | None:
    if record.rec_type not in ("response", "resource"):
        return None
    url = record.rec_headers.get_header("WARC-Target-URI")
    http = record.http_headers
    if url is None or (http is None and record.rec_type == "response"):
        return None
    if http is not None:
        status = int(http.get_statuscode() or 0)
        headers = tuple((str(name), str(value)) for name, value in http.headers)
        declared = http.get_header("Content-Type") or ""
    else:
        status, headers = 200, ()
        declared = record.rec_headers.get_header("Content-Type") or ""
    content_type, charset = parse_content_type(declared)
    body = record.content_stream()
    head = body.read(512)
    kind = kind_of(content_type, head)
    if kind is None:
        return None
    limit = max_page_bytes if kind is PageCapture else max_image_bytes
    chunks = [head]
    size = len(head)
    while size <= limit and (chunk := body.read(min(1 << 16, limit + 1 - size))):
        chunks.append(chunk)
        size += len(chunk)
    payload = b"".join(chunks)
    return kind(
        Capture(
            url=url,
            status=status,
            content_type=content_type,
            charset=charset,
            headers=headers,
            payload=payload[:limit],
            is_truncated=len(payload) > limit,
            warc_file=path,
            warc_offset=0,
            warc_length=0,
            warc_date=record.rec_headers.get_header("WARC-Date") or "",
        )
    )


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
    looks_like_image = head.startswith(_MAGIC)
    if content_type.startswith("image/"):
        return ImageCapture
    if content_type in HTML_TYPES:
        return ImageCapture if looks_like_image else PageCapture
    if content_type in ("", "application/octet-stream", "binary/octet-stream", "application/unknown"):
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
