"""Archives that mean harm: each costs time and memory bounded by its size, and the records around it are there."""

from __future__ import annotations

import gzip
import io
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import lz4.frame
import pytest
import zstandard

from gobelin.data.model import ArchiveTally
from gobelin.transforms.archives.http_message import read_head
from gobelin.transforms.archives.read_warc import PageCapture, read_archive

LIMIT = 1_000_000
MAX_CPU_SECONDS = 60.0  # each takes under one here; what is not bounded takes minutes
MAX_BYTES = 40_000_000


def record(name: str, body: bytes, headers: bytes = b"", length: bytes | None = None) -> bytes:
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + headers + b"\r\n" + body
    head = b"WARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: https://%b.example/\r\nContent-Length: %b\r\n\r\n"
    return head % (name.encode(), b"%d" % len(http) if length is None else length) + http + b"\r\n\r\n"


FIRST, LAST = record("first", b"<html>"), record("last", b"<html>")


def bomb(compressor: Any, megabytes: int) -> bytes:
    """One record of zeros, compressed piece by piece."""
    parts = [compressor.compress(record("bomb", b"<html>", length=b"%d" % (megabytes << 20))[:-4])]
    parts += [compressor.compress(bytes(1 << 20)) for _ in range(megabytes)]
    return b"".join(parts) + compressor.flush()


def head(lines: bytes) -> bytes:
    return b"WARC/1.1\r\nWARC-Type: response\r\n" + lines


PLAIN: dict[str, Callable[[], bytes]] = {
    "a head of 20 MB": lambda: head(b"X: " + b"a" * 20_000_000 + b"\r\n\r\n"),
    "heads without an end": lambda: b"\r\n" + b"WARC/1.1\na:b\n" * 200_000,
    "first lines only": lambda: b"\r\n" + b"WARC/1.1\n" * 400_000,
    "heads without a field": lambda: b"WARC/1.1\r\n\r\n" * 300_000,
    "a head of 80,000 continued lines": lambda: head(b"X: a\n" + b" a\n" * 80_000 + b"\n"),
    "a head of 60,000 fields": lambda: head(b"a:b\n" * 60_000 + b"\n"),
    "lengths to the file's end": lambda: record("x", b"<html>", length=b"9" * 15) * 2000,
    "lengths beyond the next record": lambda: record("x", b"<html>", length=b"250") * 5000,
    "lines like those of an ARC": lambda: b"http://a/ 1.2.3.4 20200101000000 x 99999999999\n" * 3000,
    "zeros": lambda: bytes(50_000_000),
    "blank lines": lambda: b"\r\n" * 20_000_000,
    "spaces": lambda: b"\r\n" + b" " * 20_000_000,
    "words": lambda: b"a: b\n" * 2_000_000,
}
MEMBERS: dict[str, Callable[[], bytes]] = {
    "magic": lambda: b"\x1f\x8b\x08\0\0\0\0\0\0\3" * 100_000,
    "members that break off": lambda: gzip.compress(FIRST)[:-20] * 20_000,
    "stored blocks in each other": lambda: (
        b"\x1f\x8b\x08\0\0\0\0\0\0\3\0\xff\xff\0\0WARC/1.1\r\nWARC-Type: response\r\n\r\n" * 2_000
    ),
    "empty members": lambda: gzip.compress(b"") * 100_000,
    "a bomb": lambda: bomb(zlib.compressobj(1, wbits=31), 300),
    "a bomb of blank lines": lambda: gzip.compress(b"\r\n" * 100_000_000, 1),
    "a bomb of text": lambda: gzip.compress(b"no record\n" * 20_000_000, 1),
    "chunks of one byte": lambda: gzip.compress(
        record("x", b"1\r\na\r\n" * 1_000_000, b"Transfer-Encoding: chunked\r\n")
    ),
    "a chunk's endless size": lambda: gzip.compress(record("x", b"0" * 9_000_000, b"Transfer-Encoding: chunked\r\n")),
    "a body of 40,000 members": lambda: gzip.compress(
        record("x", gzip.compress(b"") * 40_000, b"Content-Encoding: gzip\r\n")
    ),
    "a body packed 5 times": lambda: gzip.compress(record("x", b"", b"Content-Encoding: " + b"gzip," * 5 + b"\r\n")),
}


def check(data: bytes) -> list[Any]:
    start = time.process_time()
    found = list(read_archive(io.BytesIO(data), "a", LIMIT, LIMIT))
    assert time.process_time() - start < MAX_CPU_SECONDS
    urls = [item.capture.url for item in found if isinstance(item, PageCapture)]
    assert urls[0] == "https://first.example/"
    assert urls[-1] == "https://last.example/"
    assert isinstance(found[-1], ArchiveTally)
    return found


@pytest.mark.parametrize("harm", PLAIN)
@pytest.mark.parametrize("compress", [bytes, lambda data: gzip.compress(data, 1)], ids=["plain", "gzip"])
def test_harm_between_two_records(harm: str, compress: Callable[[bytes], bytes]) -> None:
    check(compress(FIRST) + compress(PLAIN[harm]()) + compress(LAST))


@pytest.mark.parametrize("harm", MEMBERS)
def test_harm_in_members(harm: str) -> None:
    check(gzip.compress(FIRST) + MEMBERS[harm]() + gzip.compress(LAST))


@pytest.mark.parametrize(
    ("compress", "compressor"),
    [
        (gzip.compress, lambda: zlib.compressobj(wbits=31)),
        (zstandard.compress, lambda: zstandard.ZstdCompressor().compressobj()),
        (lz4.frame.compress, lz4.frame.LZ4FrameCompressor),
    ],
    ids=["gzip", "zstd", "lz4"],
)
def test_bombs_take_little_memory(compress: Callable[[bytes], bytes], compressor: Callable[[], Any]) -> None:
    if compressor is lz4.frame.LZ4FrameCompressor:
        data = compress(record("bomb", b"<html>" + bytes(150_000_000)))
    else:
        data = bomb(compressor(), 150)
    data = compress(FIRST) + data + compress(LAST)
    tracemalloc.start()
    try:
        check(data)
        assert tracemalloc.get_traced_memory()[1] < MAX_BYTES
    finally:
        tracemalloc.stop()


def test_skippable_frames() -> None:
    frames = b"\x50\x2a\x4d\x18\0\0\0\0" * 200_000
    check(zstandard.compress(FIRST) + frames + zstandard.compress(LAST))


def test_continued_http_headers_take_linear_time() -> None:
    start = time.process_time()
    parsed = read_head(io.BytesIO(b"HTTP/1.1 200 OK\r\nX: a\r\n" + b" a\r\n" * 50_000 + b"\r\n"))
    assert parsed is not None
    assert read_head(io.BytesIO(b"HTTP/1.1 200 OK\r\nX: a\r\n" + b" a\r\n" * 1_000_000)) is None
    assert time.process_time() - start < 2
