"""Every way in which an archive may be packed gives the same records, whole or damaged, named in any way."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterator
from typing import Any

import lz4.frame
import numpy as np
import pytest
import zstandard

from gobelin.data.model import Action, ArchiveTally, Decision, Unit
from gobelin.transforms.archives.heads import parse_arc_line
from gobelin.transforms.archives.read_warc import ImageCapture, PageCapture, PolicyCapture, Revisit, read_archive
from gobelin.transforms.archives.records import ArchiveRecords, Damage

Make = Callable[..., Any]

DICTIONARY = zstandard.ZstdCompressionDict(b"WARC/1.1\r\nWARC-Type: response\r\nContent-Type: text/html" * 40)
BODIES = {f"https://a.example/{n}": np.random.default_rng(n).bytes(100 * n * n).hex().encode() for n in range(20)}


def read(data: bytes) -> list[Any]:
    return list(read_archive(io.BytesIO(data), "a", 10**7, 10**7))


def pages(found: list[Any]) -> dict[str, bytes]:
    return {item.capture.url: item.capture.payload for item in found if isinstance(item, PageCapture)}


def failures(found: list[Any]) -> list[Decision]:
    decisions = [item for item in found if isinstance(item, Decision)]
    assert {decision.action for decision in decisions} <= {Action.FAIL}
    return decisions


def skippable(data: bytes, number: int = 0xD) -> bytes:
    return bytes([0x50 + number]) + b"\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def each(compress: Callable[[bytes], bytes]) -> Callable[[list[bytes]], bytes]:
    return lambda records: b"".join(map(compress, records))


def with_dictionary(head: bytes) -> Callable[[list[bytes]], bytes]:
    compressor = zstandard.ZstdCompressor(dict_data=DICTIONARY)
    return lambda records: skippable(head) + b"".join(compressor.compress(one) for one in records)


def streamed_zstd(data: bytes) -> bytes:
    compressor = zstandard.ZstdCompressor(write_checksum=True).compressobj()  # no content size in the frame
    return compressor.compress(data) + compressor.flush()


PACKINGS: dict[str, Callable[[list[bytes]], bytes]] = {
    "plain": each(bytes),
    "gzip": each(gzip.compress),
    "gzip, whole file": lambda records: gzip.compress(b"".join(records)),
    "gzip, two whole files": lambda records: each(gzip.compress)([b"".join(records[:7]), b"".join(records[7:])]),
    "gzip, records spread over members": lambda records: each(gzip.compress)(list(cut(b"".join(records), 777))),
    "gzip, zeros at the end": lambda records: each(gzip.compress)(records) + bytes(8),
    "gzip, empty members": lambda records: each(gzip.compress)([part for one in records for part in (one, b"")]),
    "gzip, with names": each(lambda one: b"\x1f\x8b\x08\x08" + gzip.compress(one, mtime=0)[4:10] + b"n" * 300 + b"\0"
                             + gzip.compress(one, mtime=0)[10:]),
    "zstd": each(zstandard.compress),
    "zstd, streamed": each(streamed_zstd),
    "zstd, whole file": lambda records: streamed_zstd(b"".join(records)),
    "zstd, dictionary": with_dictionary(DICTIONARY.as_bytes()),
    "zstd, packed dictionary": with_dictionary(zstandard.compress(DICTIONARY.as_bytes())),
    "zstd, other frames": lambda records: skippable(b"x", 3) + each(zstandard.compress)(records) + skippable(b"", 14),
    "lz4": each(lz4.frame.compress),
    "lz4, whole file": lambda records: lz4.frame.compress(b"".join(records), content_checksum=True),
    "lz4, checksums": each(lambda one: lz4.frame.compress(one, content_checksum=True, block_checksum=True)),
    "gzip, then zstd": lambda records: each(gzip.compress)(records[:9]) + each(zstandard.compress)(records[9:]),
    "plain, then gzip": lambda records: b"".join(records[:9]) + each(gzip.compress)(records[9:]),
}  # fmt: skip


@pytest.fixture(scope="session")
def records(record: Make, pack_record: Make) -> list[bytes]:
    return [pack_record(record(url, body)) for url, body in BODIES.items()]


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_packing_gives_every_record(records: list[bytes], packing: str) -> None:
    found = read(PACKINGS[packing](records))
    assert pages(found) == BODIES
    assert failures(found) == []
    assert found[-1] == ArchiveTally("a", 20, 20, 0, 0)


@pytest.mark.parametrize("packing", PACKINGS)
def test_no_two_records_have_one_place(records: list[bytes], packing: str) -> None:
    """A place names a record: what was captured twice is told from what was read twice by it."""
    found = read(PACKINGS[packing](records))
    places = [item.capture.warc_offset for item in found if isinstance(item, PageCapture)]
    assert len(set(places)) == len(BODIES)


@pytest.mark.parametrize("packing", [name for name in PACKINGS if "whole" not in name and "spread" not in name])
def test_a_place_is_enough_to_read_a_record_again(records: list[bytes], packing: str) -> None:
    data = PACKINGS[packing](records)
    for item in read(data):
        if isinstance(item, PageCapture):
            start = item.capture.warc_offset
            (again, *_) = read_archive(io.BytesIO(data), "a", 10**7, 10**7, start, start + 1)
            assert again == item


def test_places_in_a_shared_member_are_those_of_the_unpacked_file(records: list[bytes]) -> None:
    whole = b"".join(records)
    found = read(gzip.compress(whole))
    for item in found[:-1]:
        offset, length = item.capture.warc_offset, item.capture.warc_length
        assert whole[offset : offset + length].startswith(b"WARC/1.1\r\n")
        assert whole[offset : offset + length].endswith(BODIES[item.capture.url])


@pytest.mark.parametrize("packing", ["gzip, whole file", "zstd, whole file", "lz4, whole file"])
def test_what_stands_before_damage_is_read(records: list[bytes], packing: str) -> None:
    """Also where one member holds everything: up to the last bytes that can be unpacked."""
    data = PACKINGS[packing](records)
    found = read(data[: len(data) * 2 // 3])
    urls = list(pages(found))
    assert urls == list(BODIES)[: len(urls)]
    assert len(urls) >= 10
    assert [decision.rule for decision in failures(found)] == ["record_cut_short"]
    broken = bytearray(data)
    broken[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
    found = read(bytes(broken))
    assert all(BODIES[url] == body for url, body in list(pages(found).items())[:8])
    assert len(pages(found)) >= 8
    assert failures(found)


@pytest.mark.parametrize("packing", ["plain", "gzip", "zstd, dictionary", "zstd, streamed", "lz4", "lz4, checksums"])
def test_records_behind_damage_are_found(records: list[bytes], packing: str) -> None:
    """The head of record 7 is destroyed; every other record is there."""
    pack = PACKINGS[packing]
    start = len(pack(records[:7])) - (len(pack([])) if "dictionary" not in packing else 0)
    data = bytearray(pack(records))
    data[start : start + 30] = b"\xa5" * 30
    found = read(bytes(data))
    assert list(pages(found)) == [url for url in BODIES if not url.endswith("/7")]
    (decision,) = failures(found)
    assert (decision.unit, decision.warc_offset) == (Unit.RECORD, start)
    assert decision.value
    assert found[-1].num_records == 20


@pytest.mark.parametrize(("declared", "kept"), [(-1, True), (2, True), (16, True), (-3000, True), (900, False)])
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_lengths_that_are_wrong(records: list[bytes], compress: Callable, declared: int, kept: bool) -> None:
    """A record that says too much swallows no other; one that says too little keeps what it says."""
    good = b"Content-Length: %d" % (len(BODIES["https://a.example/9"]) + 59)
    assert good in records[9]
    wrong = records[9].replace(good, b"Content-Length: %d" % (len(BODIES["https://a.example/9"]) + 59 + declared))
    found = read(b"".join(map(compress, [*records[:9], wrong, *records[10:]])))
    assert set(BODIES) - set(pages(found)) == (set() if kept else {"https://a.example/9"})
    # A length too great by a few bytes costs nothing; a byte behind one that is too small is told.
    assert bool(failures(found)) == (declared < 0 or declared > 16)


@pytest.mark.parametrize("packing", ["plain", "gzip", "zstd, streamed", "lz4"])
@pytest.mark.parametrize(
    ("behind", "is_told"),
    [(b"", False), (b"\r\n\n", False), (b" \t\r\n", False), (b"0123456789abcdef", True), (b"x", True), (b"\0x", True)],
)
def test_bytes_behind_a_record(records: list[bytes], packing: str, behind: bytes, is_told: bool) -> None:
    """Blanks are passed over; any other bytes between two records are told with their place and number."""
    pack = PACKINGS[packing]
    found = read(pack([*records[:9], records[9] + behind, *records[10:]]))
    assert set(pages(found)) == set(BODIES)
    told = failures(found)
    assert [decision.rule for decision in told] == ["unreadable_archive"] * is_told
    assert sum(int(decision.value or 0) for decision in told) == len(behind) * is_told


@pytest.mark.parametrize("length", [b"", b"-5", b"1e3", b"9" * 30, b"9" * 9999, "\N{ARABIC-INDIC DIGIT ONE}".encode()])
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_lengths_that_are_none(records: list[bytes], compress: Callable, length: bytes) -> None:
    wrong = (
        b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: https://b.example/\r\nContent-Length: %b\r\n\r\nx\r\n\r\n"
    )
    found = read(b"".join(map(compress, [records[1], wrong % length, records[2]])))
    assert list(pages(found)) == ["https://a.example/1", "https://a.example/2"]
    (decision,) = failures(found)
    assert decision.rule == "record_cut_short"
    assert "length" in (decision.detail or "") or "missing" in (decision.detail or "")


def test_kinds_of_record(record: Make, read_records: Callable, png: Make) -> None:
    html = b"<!doctype html><p>Hello"
    found = read_records(
        [
            record("https://a.example/robots.txt", b"User-agent: *", "text/plain"),
            record("https://a.example/.well-known/tdmrep.json", b"[]", "application/json"),
            record("https://b.example/robots.txt", html, status="HTTP/1.1 404 Not Found"),
            record("https://c.example/robots.txt", b"x" * 600_000, "text/plain", status=None, kind="resource"),
            record("https://a.example/blog/robots.txt", b"no", "text/plain"),
            record("https://a.example/robots.txt?x", b"no", "text/plain"),
            record("https://a.example/", html, "text/html", status=None, kind="conversion"),
            record("https://a.example/", b"Hello", "text/plain", status=None, kind="conversion"),
            record("https://a.example/", png(), "image/png", status=None, kind="conversion"),
            record("https://a.example/data", png(), "image/png", status=None, kind="resource"),
            record("https://a.example/old", b"", kind="revisit"),
        ]
    )
    policies = [item.capture for item in found if isinstance(item, PolicyCapture)]
    assert [(each.url[8:], each.status, len(each.payload), each.is_truncated) for each in policies] == [
        ("a.example/robots.txt", 200, 13, False),
        ("a.example/.well-known/tdmrep.json", 200, 2, False),
        ("b.example/robots.txt", 404, len(html), False),
        ("c.example/robots.txt", 200, 512 << 10, True),
    ]
    assert [item.capture.status for item in found if isinstance(item, PageCapture)] == [200]
    assert len([item for item in found if isinstance(item, ImageCapture)]) == 2
    assert len([item for item in found if isinstance(item, Revisit)]) == 1
    assert found[-1] == ArchiveTally("a.warc.gz", 11, 1, 2, 8)


def test_revisits_and_digests() -> None:
    head = b"WARC/1.1\r\nWARC-Type: %b\r\nWARC-Target-URI: <https://a.example/>\r\nWARC-Date: 2025-01-02T03:04:05Z\r\n"
    digest = b"WARC-Payload-Digest: sha1:SUCGMUVXDKVB5CS2NL4R4JABNX7K466U\r\n"
    to = b"WARC-Refers-To-Target-URI: https://b.example/\r\nWARC-Refers-To-Date: 2024-01-02T03:04:05Z\r\n"
    body = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    data = b"".join(
        head % kind + extra + b"Content-Length: %d\r\n\r\n" % len(body) + body + b"\r\n\r\n"
        for kind, extra in ((b"response", digest), (b"revisit", digest + to), (b"Revisit", digest), (b"response", b""))
    )
    found = read(data)
    spelt = "sha1:SUCGMUVXDKVB5CS2NL4R4JABNX7K466U"
    assert [item.capture.payload_digest for item in found if isinstance(item, PageCapture)] == [spelt, None]
    first, second = (item for item in found if isinstance(item, Revisit))
    assert (first.url, first.warc_date) == ("https://a.example/", "2025-01-02T03:04:05Z")
    assert (first.refers_to_url, first.refers_to_date) == ("https://b.example/", "2024-01-02T03:04:05Z")
    assert (first.payload_digest, second.payload_digest, second.refers_to_url) == (spelt, spelt, None)
    assert data[first.warc_offset :].startswith(head % b"revisit")


@pytest.mark.parametrize(
    ("line", "url", "content_type", "length", "date"),
    [
        ("http://a/ 1.2.3.4 20250102030405 text/html 12", "http://a/", "text/html", "12", "2025-01-02T03:04:05Z"),
        ("http://a/b c 1.2.3.4 20250102030405 text/html 12", "http://a/b c", "text/html", "12", "2025-01-02T03:04:05Z"),
        ("http://a/ - 20250102030405 text/html; charset=x 12", "http://a/", "text/html; charset=x", "12",
         "2025-01-02T03:04:05Z"),
        ("http://a/ 1.2.3.4 20250102030405 text/html 200 - - 99 a.arc 12", "http://a/", "text/html", "12",
         "2025-01-02T03:04:05Z"),
        ("http://a/?d=1 1.2.3.4 20250102030405 x 5 1.2.3.4 20240102030405 text/html 12",
         "http://a/?d=1 1.2.3.4 20250102030405 x 5", "text/html", "12", "2024-01-02T03:04:05Z"),
        ("filedesc:// - - - 76", "filedesc://", "-", "76", ""),
        ("dns:a.example 1.2.3.4 20250102030405 text/dns 40", "dns:a.example", "text/dns", "40", "2025-01-02T03:04:05Z"),
    ],
)  # fmt: skip
def test_lines_of_arc(line: str, url: str, content_type: str, length: str, date: str) -> None:
    assert parse_arc_line(line.encode() + b"\n") == {
        "warc-target-uri": url, "content-type": content_type, "content-length": length, "warc-date": date,
    }  # fmt: skip


@pytest.mark.parametrize(
    "line", ["", "http://a/", "http://a/ 1.2.3.4 20250102030405 text/html x", "a b c d 5", "HTTP/1.1 200 OK and 5"]
)
def test_lines_of_no_arc(line: str) -> None:
    assert parse_arc_line(line.encode() + b"\n") is None


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_arc_bodies_without_an_http_head(compress: Callable) -> None:
    html = b"<html><p>Hello"
    version = b"1 1 Archive\nURL IP-address Archive-date Content-type Archive-length\n<x></x>\n"
    parts = [
        b"filedesc://a.arc 0.0.0.0 20250102030405 text/plain %d\n%b\n" % (len(version), version),
        b"http://a.example/ 192.0.2.1 19970102030405 text/html %d\n%b\n" % (len(html), html),
        b"http://a.example/2 192.0.2.1 19970102030405 text/html %d\n%b\n" % (len(html) + 1, html),  # counts the newline
        b"http://a.example/3 192.0.2.1 19970102030405 text/html %d\n%b\n" % (len(html), html),
    ]
    found = read(b"".join(map(compress, parts)))
    assert {url: body.rstrip() for url, body in pages(found).items()} == {
        f"http://a.example/{name}": html for name in ("", "2", "3")
    }
    assert failures(found) == []
    assert found[-1].num_records == 4


def test_a_bomb_is_left_where_it_is_one() -> None:
    """A member that unpacks to far more than its size is not unpacked to its end, and the next record is there."""
    head = b"WARC/1.1\r\nWARC-Type: resource\r\nWARC-Target-URI: https://a.example/%d\r\nContent-Type: text/html\r\n"
    good = head % 2 + b"Content-Length: 6\r\n\r\n<html>\r\n\r\n"
    bomb = head % 1 + b"Content-Length: 400000000\r\n\r\n" + bytes(400_000_000)
    for compress in (lambda data: gzip.compress(data, 1), zstandard.compress, lz4.frame.compress):
        archive = ArchiveRecords(io.BytesIO(compress(good) + compress(bomb) + compress(good)))
        taken = 0
        problems = []
        for item in archive:
            assert not isinstance(item, Damage)
            while data := item.read(1 << 20):
                taken += len(data)
            item.finish()
            problems.append(item.problem is not None)
        assert problems == [False, True, False]
        assert taken < 200_000_000
