"""Reading archives: what is a page, what is an image, what is neither; and that damage never goes unsaid."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from warcio.archiveiterator import ArchiveIterator
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from gobelin.data.model import Action, ArchiveTally, Decision, Unit
from gobelin.transforms.archives.read_warc import ImageCapture, PageCapture, read_archive

Read = Callable[..., list[Any]]
Make = Callable[..., Any]

HTML = b"<!doctype html><html><body><p>Hello, world.</p></body></html>"
MAX_PADDING = 8  # bytes at a file's end that the reader passes over
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def pages(found: list[Any]) -> list[PageCapture]:
    return [item for item in found if isinstance(item, PageCapture)]


def images(found: list[Any]) -> list[ImageCapture]:
    return [item for item in found if isinstance(item, ImageCapture)]


def decisions(found: list[Any]) -> list[Decision]:
    return [item for item in found if isinstance(item, Decision)]


def tally(found: list[Any]) -> ArchiveTally:
    """The tally, after checking that it comes last and that it agrees with what was yielded."""
    (last,) = [item for item in found if isinstance(item, ArchiveTally)]
    assert found[-1] is last
    decided = [decision.unit for decision in decisions(found)]
    assert last.num_documents == len(pages(found)) + decided.count(Unit.DOCUMENT)
    assert last.num_images == len(images(found)) + decided.count(Unit.IMAGE)
    assert last.num_records == last.num_documents + last.num_images + last.num_other
    return last


def incompressible(seed: int, num_bytes: int = 20_000) -> bytes:
    return b"<html><body>" + np.random.default_rng(seed).bytes(num_bytes).hex().encode() + b"</body></html>"


@pytest.mark.parametrize("compress", [True, False], ids=["gzip", "plain"])
def test_places_are_those_of_the_file(record: Make, read_records: Read, pack: Make, compress: bool) -> None:
    """Offset and length cut out of the file exactly the record they belong to."""
    records = [record(f"https://a.example/{number}", b"<html>%d" % number * 900) for number in range(4)]
    data = pack(records, compress)
    found = pages(read_records(data))
    assert [page.capture.url for page in found] == [each.url for each in records]
    for page, each in zip(found, records, strict=True):
        capture = page.capture
        piece = data[capture.warc_offset : capture.warc_offset + capture.warc_length]
        (alone,) = pages(read_records(piece))
        assert alone.capture.payload == each.body
        assert capture.warc_date == each.date


def test_what_a_capture_holds(record: Make, read_records: Read) -> None:
    headers = (("X-Robots-Tag", "noai"), ("X-Robots-Tag", "noindex"))
    found = read_records([record("https://a.example/", HTML, "text/html; charset=latin-1", headers=headers)])
    capture = pages(found)[0].capture
    assert (capture.status, capture.content_type, capture.charset) == (200, "text/html", "latin-1")
    assert capture.payload == HTML
    assert not capture.is_truncated
    assert [value for name, value in capture.headers if name.lower() == "x-robots-tag"] == ["noai", "noindex"]
    assert tally(found) == ArchiveTally("a.warc.gz", 1, 1, 0, 0)


def test_each_record_is_counted_once(record: Make, read_records: Read) -> None:
    found = read_records(
        [
            record("urn:info", b"software: x\r\n", "application/warc-fields", status=None, kind="warcinfo"),
            record("https://a.example/", b"GET / HTTP/1.1\r\n\r\n", status=None, kind="request"),
            record("https://a.example/", HTML),
            record("https://a.example/", b"x: y\r\n", status=None, kind="metadata"),
            record("https://a.example/a.png", PNG, "image/png"),
            record("https://a.example/old", b"", kind="revisit"),
            record("dns:a.example", b"20250102 192.0.2.1", "text/dns", status=None),
            record("https://a.example/style.css", b"p {}", "text/css"),
            record("https://a.example/gone", HTML, status="HTTP/1.1 404 Not Found"),
            record("https://a.example/b.png", PNG, "image/png", status=None, kind="resource"),
        ]
    )
    assert tally(found) == ArchiveTally("a.warc.gz", 10, 2, 2, 6)
    assert [page.capture.status for page in pages(found)] == [200, 404]
    assert decisions(found) == []


@pytest.mark.parametrize(
    ("status_line", "status"),
    [
        ("HTTP/1.1 200 OK", 200),
        ("HTTP/1.0 200", 200),
        ("HTTP/2 200", 200),
        ("HTTP/1.1 404 Not Found", 404),
        ("HTTP/1.1 301 Moved 200 times", 301),
        ("HTTP/1.1", 0),
        ("HTTP/1.1 OK", 0),
        ("HTTP/1.1 twohundred OK", 0),
    ],
)
def test_status(record: Make, read_records: Read, status_line: str, status: int) -> None:
    """A status that is no number is not 200, and costs neither its record nor the others."""
    found = read_records([record("https://a.example/", HTML, status=status_line), record("https://a.example/2", HTML)])
    assert [page.capture.status for page in pages(found)] == [status, 200]
    assert tally(found).num_records == 2


def brotli(data: bytes) -> bytes:
    return pytest.importorskip("brotli").compress(data)


def zstd(data: bytes) -> bytes:
    return pytest.importorskip("zstandard").compress(data)


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize(
    ("encoding", "encode_body"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("br", brotli),
        ("zstd", zstd),
        ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
        ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
        ("identity", bytes),
        ("gzip", bytes),  # the crawler stored the body decoded and kept the header
        ("br", bytes),
        ("gzip", lambda data: gzip.compress(data[:20]) + gzip.compress(data[20:])),
    ],
)
def test_content_encodings(record: Make, read_records: Read, encoding: str, encode_body: Callable) -> None:
    body = encode_body(HTML)
    found = read_records([record("https://a.example/", body, headers=(("Content-Encoding", encoding),))])
    assert [page.capture.payload for page in pages(found)] == [HTML]


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("br", b"\x8bnot brotli at all"), ("exi", b"\x80\0\1\2"), ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\3" + b"\xff" * 50)],
)
def test_undecodable_body_is_a_failure_not_a_page(record: Make, read_records: Read, encoding: str, body: bytes) -> None:
    found = read_records(
        [
            record("https://a.example/", body, headers=(("Content-Encoding", encoding),)),
            record("https://b.example/", HTML),
        ]
    )
    assert [page.capture.url for page in pages(found)] == ["https://b.example/"]
    (decision,) = decisions(found)
    assert (decision.unit, decision.action, decision.url) == (Unit.DOCUMENT, Action.FAIL, "https://a.example/")
    assert encoding in (decision.detail or "")
    tally(found)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd"])
def test_picture_under_a_stale_encoding_header(record: Make, read_records: Read, encoding: str) -> None:
    """Crawlers store bodies decoded and keep the header; what is a picture as it stands is taken as it stands."""
    found = read_records(
        [record("https://a.example/a.png", PNG, "image/png", headers=(("Content-Encoding", encoding),))]
    )
    assert [image.capture.payload for image in images(found)] == [PNG]


def chunked(data: bytes, size: int = 16) -> bytes:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x;note=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("value", ["chunked", "Chunked", "gzip, chunked"])
def test_chunked_bodies(record: Make, read_records: Read, value: str) -> None:
    found = read_records([record("https://a.example/", chunked(HTML), headers=(("Transfer-Encoding", value),))])
    assert pages(found)[0].capture.payload == HTML


def test_chunked_and_compressed(record: Make, read_records: Read) -> None:
    headers = (("Transfer-Encoding", "chunked"), ("Content-Encoding", "gzip"))
    found = read_records([record("https://a.example/", chunked(gzip.compress(HTML)), headers=headers)])
    assert pages(found)[0].capture.payload == HTML


def test_a_body_that_only_says_it_is_chunked(record: Make, read_records: Read) -> None:
    found = read_records([record("https://a.example/", HTML, headers=(("Transfer-Encoding", "chunked"),))])
    assert pages(found)[0].capture.payload == HTML


@pytest.mark.parametrize(
    "compress", [gzip.compress, zlib.compress, brotli, zstd], ids=["gzip", "deflate", "br", "zstd"]
)
def test_compressed_bomb_is_cut_at_the_limit(record: Make, read_records: Read, compress: Callable) -> None:
    encoding = {gzip.compress: "gzip", zlib.compress: "deflate", brotli: "br", zstd: "zstd"}[compress]
    body = compress(b"<html>" + bytes(50_000_000))
    assert len(body) < 100_000
    found = read_records(
        [record("https://a.example/", body, headers=(("Content-Encoding", encoding),))], limits=(100_000, 100_000)
    )
    capture = pages(found)[0].capture
    assert len(capture.payload) == 100_000
    assert capture.is_truncated


@pytest.mark.parametrize(("size", "is_truncated"), [(999, False), (1000, False), (1001, True), (90_000, True)])
@pytest.mark.parametrize(("content_type", "limits"), [("text/html", (1000, 10)), ("image/png", (10, 1000))])
def test_limits(
    record: Make, read_records: Read, size: int, is_truncated: bool, content_type: str, limits: tuple[int, int]
) -> None:
    found = read_records([record("https://a.example/", b"x" * size, content_type)], limits=limits)
    capture = found[0].capture
    assert (len(capture.payload), capture.is_truncated) == (min(size, 1000), is_truncated)


@pytest.mark.parametrize("body", [b"", b"\r\n"], ids=["HEAD", "blank"])
def test_empty_bodies_are_records_all_the_same(record: Make, read_records: Read, body: bytes) -> None:
    found = read_records([record("https://a.example/", body), record("https://a.example/a.png", body, "image/png")])
    assert (len(pages(found)), len(images(found))) == (1, 1)
    assert tally(found).num_other == 0


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("<https://a.example/>", "https://a.example/"),  # wget 1.19
        ("https://a.example/a b", "https://a.example/a%20b"),
        ("https://a.example/é", "https://a.example/é"),
    ],
)
def test_target_uri_as_crawlers_write_it(record: Make, read_records: Read, uri: str, url: str) -> None:
    assert pages(read_records([record(uri, HTML)]))[0].capture.url in (url, uri)


def test_url_in_no_known_encoding(record: Make, read_records: Read, pack_record: Make) -> None:
    broken = pack_record(record("https://a.example/XX", HTML)).replace(b"XX", b"\xe9\xff")
    found = read_records([broken, record("https://b.example/", HTML)])
    assert len(pages(found)) == 2
    pages(found)[0].capture.url.encode("utf-8")  # no lone surrogates


@pytest.mark.parametrize("compress", [True, False], ids=["gzip", "plain"])
@pytest.mark.parametrize(
    "odd",
    ["no target uri", "no http head", "nothing at all", "only a status line", "no end of head", "binary head"],
)
def test_one_odd_record_costs_no_other(
    record: Make, read_records: Read, pack_record: Make, compress: bool, odd: str
) -> None:
    good = [record(f"https://a.example/{number}", HTML) for number in range(3)]
    url = "https://a.example/odd"
    records = {
        "no target uri": record(None, HTML),
        "no http head": record(url, HTML, status=None),
        "nothing at all": record(url, b"", status=None),
        "only a status line": record(url, b"HTTP/1.1 200 OK\r\n", status=None),
        "no end of head": record(url, b"HTTP/1.1 200 OK\r\nContent-Type: text/html", status=None),
        "binary head": record(url, b"HTTP/1.1 200 \xff\xfe\r\nX-\x80: \0\r\n\r\n" + HTML, status=None),
    }
    found = read_records([good[0], records[odd], *good[1:]], compress)
    urls = [page.capture.url for page in pages(found)]
    assert [each for each in urls if each != url] == [each.url for each in good]
    assert tally(found).num_records == 4


@pytest.mark.parametrize("compress", [True, False], ids=["gzip", "plain"])
def test_garbage_between_records_is_reported(record: Make, read_records: Read, compress: bool) -> None:
    good = [record(f"https://a.example/{number}", incompressible(number)) for number in range(3)]
    found = read_records([good[0], b"garbage\r\nin the middle\r\n\r\n", *good[1:]], compress)
    assert [page.capture.url for page in pages(found)] == [each.url for each in good]
    (decision,) = decisions(found)
    assert (decision.unit, decision.action, decision.warc_file) == (Unit.RECORD, Action.FAIL, "a.warc.gz")
    tally(found)


def members(pack: Make, record: Make, count: int = 5, compress: bool = True) -> list[bytes]:
    return [pack([record(f"https://a.example/{n}", incompressible(n))], compress) for n in range(count)]


def test_damage_inside_a_gzip_member_is_reported(record: Make, read_records: Read, pack: Make) -> None:
    """The damaged page is no page, and the records behind it are found again."""
    parts = members(pack, record)
    middle = len(parts[2]) // 2
    damaged = bytearray(parts[2])
    damaged[middle : middle + 40] = bytes(byte ^ 0x5A for byte in damaged[middle : middle + 40])
    found = read_records(b"".join([*parts[:2], bytes(damaged), *parts[3:]]))
    assert [page.capture.url[-1] for page in pages(found)] == ["0", "1", "3", "4"]
    assert all(page.capture.payload == incompressible(int(page.capture.url[-1])) for page in pages(found))
    failed = decisions(found)
    assert failed
    assert {decision.action for decision in failed} == {Action.FAIL}
    start = len(parts[0]) + len(parts[1])
    assert all(start <= (decision.warc_offset or 0) < start + len(damaged) for decision in failed)
    tally(found)


def test_damaged_gzip_magic_is_reported(record: Make, read_records: Read, pack: Make) -> None:
    parts = members(pack, record)
    found = read_records(b"".join([*parts[:2], b"\0\0" + parts[2][2:], *parts[3:]]))
    assert [page.capture.url[-1] for page in pages(found)] == ["0", "1", "3", "4"]
    assert len(decisions(found)) == 1
    tally(found)


@pytest.mark.parametrize("compress", [True, False], ids=["gzip", "plain"])
@pytest.mark.parametrize("left", [0.02, 0.5, 0.98])
def test_a_file_that_breaks_off_is_reported(
    record: Make, read_records: Read, pack: Make, compress: bool, left: float
) -> None:
    """What stands before the break is there; the piece behind it is a failure, not a short page."""
    parts = members(pack, record, 2, compress)
    found = read_records(parts[0] + parts[1][: int(len(parts[1]) * left)])
    assert [page.capture.url[-1] for page in pages(found)] == ["0"]
    assert [decision.action for decision in decisions(found)] == [Action.FAIL]
    tally(found)


@pytest.mark.parametrize("compress", [True, False], ids=["gzip", "plain"])
def test_every_cut_of_an_archive_adds_up(record: Make, read_records: Read, pack: Make, compress: bool) -> None:
    """Cut anywhere: never an exception, never a page whose payload is not the true one."""
    bodies = {f"https://a.example/{n}": b"<html>" + np.random.default_rng(n).bytes(40).hex().encode() for n in range(3)}
    data = pack([record(url, body) for url, body in bodies.items()], compress)
    for length in range(0, len(data), 7):
        found = read_records(data[:length])
        tally(found)
        assert all(bodies[page.capture.url].startswith(page.capture.payload[:-16]) for page in pages(found))
        assert pages(found) or decisions(found) or length <= MAX_PADDING


@pytest.mark.parametrize("compress", [True, False], ids=["gzip", "plain"])
def test_random_damage_never_raises(record: Make, read_records: Read, pack: Make, compress: bool) -> None:
    data = pack([record(f"https://a.example/{n}", incompressible(n, 400)) for n in range(4)], compress)
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), 4):
            damaged[position] = rng.integers(256)
        tally(read_records(bytes(damaged)))


@pytest.mark.parametrize(
    "data", [b"", b"\x1f\x8b", b"\0" * 100, gzip.compress(b"", mtime=0), b"<html>no archive</html>"]
)
def test_files_without_a_record(read_records: Read, data: bytes) -> None:
    found = read_records(data)
    assert pages(found) == images(found) == []
    tally(found)


def test_one_gzip_member_around_many_records(record: Make, read_records: Read, pack: Make) -> None:
    """Not what the WARC standard asks for, but what ``gzip file.warc`` makes."""
    data = gzip.compress(pack([record(f"https://a.example/{n}", HTML) for n in range(3)], False))
    found = read_records(data)
    assert len(pages(found)) == 3
    assert decisions(found) == []
    tally(found)


def test_content_length_that_is_no_number(record: Make, read_records: Read, pack_record: Make) -> None:
    bad = pack_record(record("https://a.example/bad", HTML)).replace(b"Content-Length: ", b"Content-Length: x")
    found = read_records([record("https://a.example/0", HTML), bad, record("https://a.example/1", HTML)])
    assert [page.capture.url[-1] for page in pages(found) if "bad" not in page.capture.url] == ["0", "1"]
    tally(found)


def test_arc_files_are_read(read_records: Read) -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + HTML
    version = b"1 0 Archive\nURL IP-address Archive-date Content-type Archive-length\n"
    head = b"filedesc://a.arc 0.0.0.0 20250102030405 text/plain %d\n" % len(version)
    line = b"https://a.example/ 192.0.2.1 20250102030405 text/html %d\n" % len(body)
    found = read_records(head + version + b"\n" + line + body + b"\n")
    capture = pages(found)[0].capture
    assert (capture.url, capture.payload, capture.warc_date) == ("https://a.example/", HTML, "2025-01-02T03:04:05Z")


def test_agrees_with_warcio_on_what_warcio_writes() -> None:
    """An archive by another hand: its writer's records come out with the bytes that its own reader gives."""
    stream = io.BytesIO()
    writer = WARCWriter(stream, gzip=True)
    for number in range(5):
        http = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
        body = incompressible(number)
        record = writer.create_warc_record(
            f"https://a.example/{number}", "response", payload=io.BytesIO(body), length=len(body), http_headers=http
        )
        writer.write_record(record)
    stream.seek(0)
    expected = [
        (each.rec_headers.get_header("WARC-Target-URI"), each.content_stream().read())
        for each in ArchiveIterator(stream)
    ]
    found = list(read_archive(io.BytesIO(stream.getvalue()), "a.warc.gz", 10**6, 10**6))
    assert [(page.capture.url, page.capture.payload) for page in pages(found)] == expected


EDGE_CASES = Path(__file__).parents[2] / "shared" / "corpus" / "warc-edge"


def records_of_warcio(data: bytes) -> int:
    """How many records warcio gives out before it ends or gives up."""
    count = 0
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(Exception):
        for _ in ArchiveIterator(io.BytesIO(data), no_record_parse=True):
            count += 1
    return count


@pytest.mark.corpus
@pytest.mark.skipif(not EDGE_CASES.is_dir(), reason="the real corpus is not beside the checkout")
def test_archives_that_trouble_readers_add_up(read_records: Read) -> None:
    """Files of several readers' own tests: revisits, bad lengths, broken members, ARC 1.0, other formats."""
    for path in sorted(path for path in EDGE_CASES.rglob("*") if path.is_file()):
        data = path.read_bytes()
        found = read_records(data)
        tally(found)
        assert found[-1].num_records >= max(1, records_of_warcio(data)), path.name
