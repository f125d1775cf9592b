"""Shared fixtures: web archives and pictures, made on the spot.

Tests cannot import each other (``--import-mode=importlib``), so what several files need comes from here as a fixture,
builders included: ``make_warc``, ``record``, ``png``, ``jpeg``, ``html_page``.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

PROSE = (
    "The old harbour lies behind the market hall, and on most mornings the boats come in before the sun is up. "
    "People who have lived here for a long time say that the light on the water is never the same on two days."
)
"""Plain English: enough of it for main-content extraction, language identification and the ratio rules."""


@dataclasses.dataclass(frozen=True)
class WarcRecord:
    """One record to be written. ``status`` is the whole status line; None leaves the HTTP part out."""

    url: str | None
    body: bytes
    content_type: str = "text/html; charset=utf-8"
    status: str | None = "HTTP/1.1 200 OK"
    headers: tuple[tuple[str, str], ...] = ()
    kind: str = "response"
    date: str = "2025-01-02T03:04:05Z"


def record_bytes(record: WarcRecord) -> bytes:
    """A WARC/1.1 record, byte by byte: also what no proper writer would write."""
    block = record.body
    warc_type = "application/octet-stream"
    if record.status is not None:
        lines = [record.status, f"Content-Type: {record.content_type}"]
        lines += [f"{name}: {value}" for name, value in record.headers]
        block = ("\r\n".join(lines) + "\r\n\r\n").encode() + record.body
        warc_type = "application/http; msgtype=response"
    elif record.kind != "response":
        warc_type = record.content_type
    head = ["WARC/1.1", f"WARC-Type: {record.kind}", f"WARC-Date: {record.date}"]
    if record.url is not None:
        head.append(f"WARC-Target-URI: {record.url}")
    head += ["WARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-000000000000>", f"Content-Type: {warc_type}"]
    head.append(f"Content-Length: {len(block)}")
    return ("\r\n".join(head) + "\r\n\r\n").encode() + block + b"\r\n\r\n"


def warc_bytes(records: Iterable[WarcRecord | bytes], compress: bool = True) -> bytes:
    """An archive; a ``bytes`` element is one record as it is. One gzip member a record, without time stamps."""
    raw = (record if isinstance(record, bytes) else record_bytes(record) for record in records)
    return b"".join(gzip.compress(each, mtime=0) if compress else each for each in raw)


def noise(seed: int, height: int, width: int) -> np.ndarray:
    """A coarse random pattern, uint8 (height, width, 3): compresses well, and no two seeds look alike."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(PillowImage.fromarray(small).resize((width, height), PillowImage.Resampling.BILINEAR))


@pytest.fixture(scope="session")
def record() -> type[WarcRecord]:
    """The class of a record to be written: ``record(url, body, content_type=..., status=...)``."""
    return WarcRecord


@pytest.fixture(scope="session")
def pack() -> Callable[..., bytes]:
    """(records, compress=True) -> the bytes of an archive."""
    return warc_bytes


@pytest.fixture(scope="session")
def pack_record() -> Callable[[WarcRecord], bytes]:
    """The bytes of one record, uncompressed."""
    return record_bytes


@pytest.fixture
def make_warc(tmp_path: Path) -> Callable[..., str]:
    """(name, records, compress=True) -> path of an archive that holds them."""

    def make(name: str, records: Iterable[WarcRecord | bytes], compress: bool = True) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(warc_bytes(records, compress))
        return str(path)

    return make


def _encode(image: PillowImage.Image, image_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """(Pillow image, format, **options) -> file bytes."""
    return _encode


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """(seed, width=200, height=160) -> a PNG; another seed is another picture."""

    def make(seed: int = 0, width: int = 200, height: int = 160) -> bytes:
        return _encode(PillowImage.fromarray(noise(seed, height, width)), "PNG")

    return make


@pytest.fixture(scope="session")
def jpeg() -> Callable[..., bytes]:
    """(seed, width=200, height=160) -> a JPEG."""

    def make(seed: int = 0, width: int = 200, height: int = 160) -> bytes:
        return _encode(PillowImage.fromarray(noise(seed, height, width)), "JPEG", quality=90)

    return make


@pytest.fixture(scope="session")
def prose() -> str:
    """A paragraph of plain English of about forty words."""
    return PROSE


@pytest.fixture(scope="session")
def html_page() -> Callable[..., bytes]:
    """(main content as HTML, title, head as HTML) -> a page with navigation around it, in UTF-8."""

    def make(content: str, title: str = "A page", head: str = "") -> bytes:
        return (
            f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}</title>{head}</head><body>"
            '<nav><ul><li><a href="/">Home</a></li><li><a href="/about">About</a></li></ul></nav>'
            f"<main><article><h1>{title}</h1>{content}</article></main>"
            "<footer><p>All rights reserved</p></footer></body></html>"
        ).encode()

    return make


@pytest.fixture(scope="session")
def read_records() -> Callable[..., list[Any]]:
    """(records or an archive's bytes, compress=True, limits=(page, image)) -> everything ``read_archive`` yields."""
    from gobelin.transforms.read_warc import read_archive

    def read(
        records: Iterable[WarcRecord | bytes] | bytes, compress: bool = True, limits: tuple[int, int] = (10**7, 10**7)
    ) -> list[Any]:
        data = records if isinstance(records, bytes) else warc_bytes(records, compress)
        return list(read_archive(io.BytesIO(data), "a.warc.gz", *limits))

    return read


@pytest.fixture(scope="session")
def capture_of(read_records: Callable[..., list[Any]]) -> Callable[..., Any]:
    """Arguments of ``WarcRecord`` -> the one capture that the reader makes of it."""

    def capture(*arguments: Any, **options: Any) -> Any:
        (found,) = [item.capture for item in read_records([WarcRecord(*arguments, **options)]) if hasattr(item, "capture")]
        return found

    return capture
