"""What a payload is: by the types that servers name, of any number and spelling, and by first bytes."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gobelin.data.model import ArchiveTally, Decision, Unit
from gobelin.transforms.archives.content_types import Kind, kind_of, parse_content_type
from gobelin.transforms.archives.http_message import EncodingError, decode_body, read_head
from gobelin.transforms.archives.read_warc import ImageCapture, PageCapture, read_archive

HTML = b"<!doctype html><html><body><p>The ferry leaves at nine.</p></body></html>"


def picture(name: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (24, 18), (200, 30, 60)).save(stream, name, **options)
    return stream.getvalue()


PICTURES = {name: picture(name) for name in ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "ICO", "TIFF", "PPM")}


@pytest.mark.parametrize(
    ("content_type", "head", "expected"),
    [
        ("text/html", b"<p>", Kind.PAGE),
        ("text/html", b"", Kind.PAGE),
        ("application/xhtml+xml", b"<?xml", Kind.PAGE),
        ("image/png", b"<html>", Kind.IMAGE),
        ("image/svg+xml", b"<svg>", Kind.IMAGE),
        # Letters that begin a picture begin a text as well.
        ("text/html", b"BMW sells cars.", Kind.PAGE),
        ("text/html", b"RIFFs on the guitar, and WEBP too.", Kind.PAGE),
        ("text/html", b"GIF89a is a format of 1989, said the man.", Kind.PAGE),
        ("text/html", b"II*III* stars", Kind.PAGE),
        ("text/plain", b"P3 is the third platform.", Kind.OTHER),
        ("", b"RIFF\0\0\0\0WAVEfmt ", Kind.OTHER),
        ("", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", Kind.OTHER),
        ("", b"%PDF-1.7\n\0\1", Kind.OTHER),
        ("text/html", b"<svg width=9>", Kind.PAGE),
        ("text/xml", b"<?xml version='1.0'?><!-- by hand --><svg xmlns='x'>", Kind.IMAGE),
        ("", b"<!-- an icon below --><div><svg>", Kind.PAGE),
        # Where the type says nothing, the first tag does.
        ("", b"\xef\xbb\xbf \n<!DOCTYPE HTML>", Kind.PAGE),
        ("application/octet-stream", b"<HTML>", Kind.PAGE),
        ("", b"<!-- saved from a disk -->", Kind.PAGE),
        ("", b"<!-- a feed --><rss version='2.0'>", Kind.OTHER),
        ("", b"<?xml version='1.0'?>\n<!DOCTYPE html><html>", Kind.PAGE),
        ("", b"<head><meta name=a content=b></head>", Kind.PAGE),
        ("", b"<article class=x>", Kind.PAGE),
        ("", b"Warning: mysql_connect() failed\n<!doctype html>\n<html>", Kind.PAGE),
        ("", "<!doctype html><html>".encode("utf-16"), Kind.PAGE),
        ("", "<html><body>".encode("utf-16-be"), Kind.PAGE),
        ("", b"<note>", Kind.OTHER),
        ("", b"document.write('<html>')", Kind.OTHER),
        ("", b"", Kind.OTHER),
        ("application/xml", b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'>", Kind.PAGE),
        ("application/rss+xml", b"<?xml version='1.0'?><rss>", Kind.OTHER),
        # A page under a type that browsers show as something else, and what is no page.
        ("text/plain", b"<html>", Kind.MISTYPED_PAGE),
        ("text/css", b"<!DOCTYPE html><title>404</title>", Kind.MISTYPED_PAGE),
        ("application/msword", b"<html xmlns:o='urn:x'>", Kind.MISTYPED_PAGE),
        ("text/plain", b"<b>bold</b> words", Kind.OTHER),
        ("application/javascript", b"<!-- hide\nvar a", Kind.OTHER),
        ("text/css", b"p {}", Kind.OTHER),
        ("application/json", b'{"a": "<html>"}', Kind.OTHER),
        ("application/octet-stream", b"PK\3\4", Kind.OTHER),
        ("font/woff2", b"wOF2\0\1\0\0", Kind.OTHER),
    ],
)
def test_kind_of(content_type: str, head: bytes, expected: Kind) -> None:
    assert kind_of(content_type, head) is expected


@pytest.mark.parametrize("content_type", ["", "text/html", "text/plain", "application/json", "video/mp4", "image/x"])
@pytest.mark.parametrize("name", PICTURES)
def test_bytes_of_a_picture_are_a_picture(content_type: str, name: str) -> None:
    assert kind_of(content_type, PICTURES[name][:64]) is Kind.IMAGE


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text/html", ("text/html", None)),
        ("Text/HTML; Charset=UTF-8", ("text/html", "UTF-8")),
        ('text/html;charset="iso-8859-1"', ("text/html", "iso-8859-1")),
        ("text/html; boundary=x; charset = 'gbk'", ("text/html", "gbk")),
        ("text/html; charset=", ("text/html", None)),
        ("text/html;;charset=koi8-r", ("text/html", "koi8-r")),
        ('text/html; title="a;b, charset=big5"; charset=gbk', ("text/html", "gbk")),
        ("", ("", None)),
        # The last that can be parsed counts; a charset goes on where the type is the same (Fetch, 3.5).
        ("text/html, text/html", ("text/html", None)),
        ("text/html; charset=gbk, text/html", ("text/html", "gbk")),
        ("text/html, text/html; charset=gbk", ("text/html", "gbk")),
        ("text/plain, text/html", ("text/html", None)),
        ("text/html, */*", ("text/html", None)),
        ("text/html, nonsense", ("text/html", None)),
        # What breaks the rules is no type; a charset is read out of it all the same.
        ("text/html charset=gbk", ("", "gbk")),
        ("text/html, charset=gbk", ("text/html", "gbk")),
        ("html", ("", None)),
        ("text/", ("", None)),
    ],
)
def test_parse_content_type(value: str, expected: tuple[str, str | None]) -> None:
    assert parse_content_type(value) == expected


@pytest.mark.parametrize("length", [8190, 8191, 8192, 8193, 16384, 200_000])
def test_a_long_header_line_ends_no_head_and_makes_no_header(length: int) -> None:
    """The line is as long as a reader's buffer, or longer; behind its 8,192nd byte stands what looks like a header."""
    line = b"X-Long: " + b"a" * (length - 8)
    for tail in (b"", b"Content-Type: text/plain"):
        stream = io.BytesIO(b"HTTP/1.1 200 OK\r\n" + line + tail + b"\r\nContent-Type: text/html\r\n\r\nbody")
        status, headers = read_head(stream) or (0, ())
        assert status == 200
        assert [name for name, _ in headers] == ["X-Long", "Content-Type"]
        assert headers[1][1] == "text/html"
        assert stream.read() == b"body"


def test_a_long_status_line_makes_no_header() -> None:
    stream = io.BytesIO(b"HTTP/1.1 404 " + b"x" * 8179 + b"Content-Type: text/css\r\nContent-Type: text/html\r\n\r\n")
    assert read_head(stream) == (404, (("Content-Type", "text/html"),))


def test_heads_without_an_end_and_interim_heads() -> None:
    assert read_head(io.BytesIO(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000)) is None
    assert read_head(io.BytesIO(b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 60_000 + b"\r\n")) is None
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    assert read_head(io.BytesIO(interim * 3 + b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n")) == (200, (("A", "b"),))


def chunked(data: bytes) -> bytes:
    return b"".join(
        b"%x\r\n%b\r\n" % (len(data[at : at + 30]), data[at : at + 30]) for at in range(0, len(data), 30)
    ) + (b"0\r\n\r\n")


ZSTD = zstandard.ZstdCompressor().compress


@pytest.mark.parametrize(
    ("headers", "pack"),
    [
        # No header announces it.
        ({}, gzip.compress),
        ({}, zlib.compress),
        ({}, ZSTD),
        ({}, lambda data: gzip.compress(gzip.compress(data))),
        # More or less than the header says.
        ({"Content-Encoding": "gzip"}, lambda data: gzip.compress(gzip.compress(data))),
        ({"Content-Encoding": "gzip, gzip"}, gzip.compress),
        ({"Content-Encoding": "gzip", "content-encoding": "x-gzip"}, gzip.compress),
        ({"Content-Encoding": "br"}, gzip.compress),
        ({"Content-Encoding": "gzip"}, lambda data: b"\xef\xbb\xbf" + data),
        ({"Content-Encoding": "gzip;q=1.0"}, gzip.compress),
        ({"Content-Encoding": ' "GZip" '}, gzip.compress),
        ({"Content-Encoding": "no-such-coding"}, gzip.compress),
        ({"Content-Encoding": "no-such-coding"}, bytes),
        # Transfer codings.
        ({"Transfer-Encoding": "gzip, chunked"}, lambda data: chunked(gzip.compress(data))),
        ({"Transfer-Encoding": "gzip", "transfer-encoding": "chunked"}, lambda data: chunked(gzip.compress(data))),
        (
            {"Transfer-Encoding": "gzip, chunked", "Content-Encoding": "br"},
            lambda data: chunked(gzip.compress(brotli.compress(data))),
        ),
        ({"Transfer-Encoding": "gzip, chunked"}, bytes),
        ({"Transfer-Encoding": "chunked"}, gzip.compress),
    ],
)
@pytest.mark.parametrize("body", [HTML, b"<p>" + b"The ferry leaves at nine. " * 300, PICTURES["PNG"]])
def test_bodies_come_out_whatever_the_headers_say(
    headers: dict[str, str], pack: Callable[[bytes], bytes], body: bytes
) -> None:
    if b"\xef\xbb\xbf" in pack(b"<"):
        body = HTML
    assert decode_body(pack(body), tuple(headers.items()), 1 << 20).removeprefix(b"\xef\xbb\xbf") == body


@pytest.mark.parametrize("text", [b"x^2 + y^2 = r^2 is a circle. ", b"x^ ", b"12\nab\n"])
def test_text_is_not_taken_for_packed(text: bytes) -> None:
    assert decode_body(text, (), 1000) == text
    assert decode_body(text * 30, (), 1000) == text * 30


@pytest.mark.parametrize("pack", [gzip.compress, ZSTD])
def test_what_is_packed_and_damaged_or_packed_for_ever_is_a_problem(pack: Callable[[bytes], bytes]) -> None:
    packed = pack(bytes(range(256)) * 40)
    with pytest.raises(EncodingError):
        decode_body(packed[:20] + bytes(40) + packed[20:], (), 1 << 20)
    body = HTML
    for _ in range(6):
        body = pack(body)
    with pytest.raises(EncodingError):
        decode_body(body, (), 1 << 20)


def test_an_undeclared_bomb_is_cut_at_the_limit() -> None:
    assert len(decode_body(gzip.compress(b"<html>" + bytes(30_000_000)), (), 100_000)) == 100_001


TYPES = st.lists(
    st.sampled_from([
        "text/html", "TEXT/HTML; charset=utf-8", "text/html;;", "text/html charset=x", "text/html, charset=x", "html",
        "", "text/plain", "text/css", "application/json", "application/octet-stream", "image/png", "image/", "*/*",
        "application/xhtml+xml", "text/xml", "font/woff2", "a/b/c", "video/mp4", '"', "application/gzip",
        "application/http",
    ]),
    max_size=3,
)  # fmt: skip
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, "gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": ZSTD,
}  # fmt: skip
STARTS = [
    b"<!doctype html><html>", b"<html>", b"\xef\xbb\xbf<HTML>", b"<!-- c --><html>", b"<?xml version='1.0'?><html>",
    b" \r\n\t<head>", b"<body class=a>",
]  # fmt: skip


@settings(deadline=None, max_examples=250)
@given(
    types=TYPES,
    start=st.sampled_from([*STARTS, *PICTURES.values()]),
    packed=st.lists(st.sampled_from(list(CODINGS)), max_size=2),
    is_declared=st.booleans(),
    has_url=st.booleans(),
    kind=st.sampled_from(["response", "resource", "conversion"]),
    has_head=st.booleans(),
)
def test_no_page_and_no_picture_leaves_unseen(
    types: list[str],
    start: bytes,
    packed: list[str],
    is_declared: bool,
    has_url: bool,
    kind: str,
    has_head: bool,
) -> None:
    """Each record whose bytes are HTML or an image is a capture or a decision, and counted once."""
    is_page = start in STARTS
    body = start + b"<p>The ferry leaves at nine.</p>" * 20 if is_page else start
    for name in packed:
        body = CODINGS[name](body)
    has_head = has_head and kind == "response"
    is_declared = is_declared and has_head
    if "br" in packed and not is_declared:
        return  # nothing tells its bytes
    lines = [b"HTTP/1.1 200 OK", *(f"Content-Type: {each}".encode() for each in types)]
    lines += [f"Content-Encoding: {name}".encode() for name in packed if name and is_declared]
    block = b"\r\n".join([*lines, b"", body]) if has_head else body
    warc_type = "application/http; msgtype=response" if kind == "response" else (types or [""])[0]
    head = f"WARC/1.1\r\nWARC-Type: {kind}\r\nContent-Type: {warc_type}\r\nContent-Length: {len(block)}\r\n"
    if has_url:
        head += "WARC-Target-URI: https://a.example/x\r\n"
    found = list(read_archive(io.BytesIO(head.encode() + b"\r\n" + block + b"\r\n\r\n"), "a", 1 << 20, 1 << 20))
    (outcome, tally) = found
    assert isinstance(outcome, (PageCapture, ImageCapture, Decision))
    assert isinstance(tally, ArchiveTally)
    unit = outcome.unit if isinstance(outcome, Decision) else None
    assert tally.num_records == 1
    assert tally.num_documents == int(isinstance(outcome, PageCapture) or unit is Unit.DOCUMENT)
    assert tally.num_images == int(isinstance(outcome, ImageCapture) or unit is Unit.IMAGE)
    if not has_url:
        assert isinstance(outcome, Decision)
    elif isinstance(outcome, (PageCapture, ImageCapture)) and not is_page:
        assert isinstance(outcome, ImageCapture)


@pytest.mark.parametrize("content_type", ["text/css", "application/javascript", "font/woff2", "text/plain", ""])
def test_what_is_neither_page_nor_picture_is_counted_and_no_decision(
    content_type: str, record: Callable[..., Any], read_records: Callable[..., list[Any]]
) -> None:
    found = read_records([record("https://a.example/x", b"p { color: red } " * 50, content_type)])
    assert found == [ArchiveTally("a.warc.gz", 1, 0, 0, 1)]


def test_a_page_under_another_type_is_a_decision(
    record: Callable[..., Any], read_records: Callable[..., list[Any]]
) -> None:
    decision, tally = read_records([record("https://a.example/x", HTML, "text/plain")])
    assert (decision.rule, decision.action, decision.unit) == ("content_type", "drop", Unit.DOCUMENT)
    assert (decision.url, decision.detail) == ("https://a.example/x", "text/plain")
    assert tally == ArchiveTally("a.warc.gz", 1, 1, 0, 0)


@pytest.mark.parametrize(("body", "unit"), [(HTML, Unit.DOCUMENT), (PICTURES["PNG"], Unit.IMAGE)])
def test_a_record_without_an_address_is_a_decision(
    body: bytes, unit: Unit, record: Callable[..., Any], read_records: Callable[..., list[Any]]
) -> None:
    decision, tally = read_records([record(None, body)])
    assert (decision.rule, decision.action, decision.unit, decision.url) == ("no_target_uri", "fail", unit, None)
    assert tally.num_documents + tally.num_images == 1
    assert read_records([record(None, b"p {}", "text/css")])[0] == ArchiveTally("a.warc.gz", 1, 0, 0, 1)


def test_a_response_without_its_head_is_a_decision(
    record: Callable[..., Any], pack_record: Callable[..., bytes], read_records: Callable[..., list[Any]]
) -> None:
    torn = pack_record(record("https://a.example/x", HTML)).replace(b"HTTP/1.1 200", b"HTTQ/1.1 200")
    torn = torn.replace(b"application/octet-stream", b"application/http; msgtype=response")
    decision, _ = read_records([torn])
    assert (decision.rule, decision.action, decision.detail) == ("http_head", "fail", "no HTTP head")
