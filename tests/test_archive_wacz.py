"""WACZ: archives in a zip, read in place; and zips that mean harm."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that, equal_to

from gobelin.data.model import ArchiveTally, Decision
from gobelin.transforms.archives import wacz
from gobelin.transforms.archives.ranges import ArchiveRange, split_archive
from gobelin.transforms.archives.read_warc import PageCapture, ReadWarc, read_range

Make = Callable[..., Any]
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


@pytest.fixture(scope="session")
def warc(record: Make, pack: Make) -> Callable[..., bytes]:
    """(host, number of records, compress=True) -> an archive of pages of that host."""

    def make(host: str, count: int = 3, compress: bool = True) -> bytes:
        bodies = [b"<html>" + np.random.default_rng(n).bytes(2000).hex().encode() for n in range(count)]
        return pack([record(f"https://{host}/{n}", body) for n, body in enumerate(bodies)], compress)

    return make


@pytest.fixture
def write_zip(tmp_path: Path) -> Callable[..., str]:
    """({name: (data, method)} or [(name, data, method)]) -> path of a zip. Its name says nothing."""

    def write(members: list[tuple[str, bytes, int]]) -> str:
        path = tmp_path / "crawl.bin"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data, method in members:
                archive.writestr(zipfile.ZipInfo(name), data, method)
        return str(path)

    return write


def read(path: str, target_bytes: int | None = None) -> list[Any]:
    ranges = [ArchiveRange(path)] if target_bytes is None else split_archive(path, target_bytes)
    return [item for piece in ranges for item in read_range(piece, 10**7, 10**7)]


def urls(found: list[Any]) -> list[str]:
    return [item.capture.url for item in found if isinstance(item, PageCapture)]


def problems(found: list[Any]) -> list[tuple[str, str]]:
    decisions = [item for item in found if isinstance(item, Decision)]
    assert {decision.rule for decision in decisions} <= {"unreadable_archive", "record_cut_short"}
    return [(decision.warc_file or "", decision.detail or "") for decision in decisions]


@pytest.mark.parametrize("method", [STORED, DEFLATED], ids=["stored", "deflated"])
@pytest.mark.parametrize("target_bytes", [None, 1, 10_000, 10**9])
def test_archives_are_found_by_their_content(
    write_zip: Make, warc: Make, method: int, target_bytes: int | None
) -> None:
    path = write_zip(
        [
            ("datapackage.json", b"{}", DEFLATED),
            ("archive/", b"", STORED),
            ("archive/data.warc.gz", warc("a.example", 20), method),
            ("elsewhere/no-name", warc("b.example", 4, compress=False), method),
            ("indexes/index.cdx.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\3", STORED),
            ("pages/pages.jsonl", b"WARC/1.1 is a format\n", DEFLATED),
        ]
    )
    found = read(path, target_bytes)
    assert urls(found) == [f"https://a.example/{n}" for n in range(20)] + [f"https://b.example/{n}" for n in range(4)]
    assert problems(found) == []
    tallies = [item for item in found if isinstance(item, ArchiveTally)]
    assert sum(tally.num_documents for tally in tallies) == 24
    assert {tally.warc_file for tally in tallies} == {f"{path}!archive/data.warc.gz", f"{path}!elsewhere/no-name"}
    if target_bytes == 10_000 and method == STORED:
        assert len(tallies) > 4
    for page in (item.capture for item in found if isinstance(item, PageCapture)):
        assert page.warc_file.startswith(f"{path}!")


def test_the_transform_reads_ranges_and_paths(write_zip: Make, make_warc: Make, warc: Make, record: Make) -> None:
    path = write_zip([("archive/data.warc.gz", warc("a.example", 8), STORED)])
    other = make_warc("plain", [record("https://b.example/", b"<html>")], compress=False)
    with beam.Pipeline() as pipeline:
        found = pipeline | beam.Create([*split_archive(path, 5000), other], reshuffle=False) | ReadWarc(10**6, 10**6)
        assert_that(
            found.pages | beam.Map(lambda capture: capture.url),
            equal_to([f"https://a.example/{n}" for n in range(8)] + ["https://b.example/"]),
        )
        assert_that(
            found.tallies | "Sum" >> beam.Map(lambda row: row["num_documents"]) | beam.CombineGlobally(sum),
            equal_to([9]),
            label="tallies",
        )
        assert_that(found.decisions, equal_to([]), label="decisions")


def test_a_zip_without_archives_says_so(write_zip: Make) -> None:
    path = write_zip([("data/archive/test.txt", b"text", STORED)])
    found = read(path)
    assert problems(found) == [(path, "no archive in the zip")]
    assert read(path, 100) == found
    assert found[-1] == ArchiveTally(path, 1, 0, 0, 1)


@pytest.mark.parametrize("left", [4, 100, 0.5, 0.98])
def test_a_zip_that_breaks_off_says_so(write_zip: Make, warc: Make, left: float) -> None:
    path = Path(write_zip([("archive/a.warc.gz", warc("a.example"), STORED)]))
    data = path.read_bytes()
    path.write_bytes(data[: int(left if left > 1 else left * len(data))])
    found = read(str(path))
    assert urls(found) == []
    assert len(problems(found)) == 1
    assert read(str(path), 10) == found


def flags(path: str, name: bytes, bits: int, method: int | None = None) -> str:
    """Sets flag bits and the method of a member in the zip's directory."""
    data = bytearray(Path(path).read_bytes())
    entry = data.rindex(name) - 46
    assert data[entry : entry + 4] == b"PK\1\2"
    data[entry + 8] |= bits
    if method is not None:
        data[entry + 10 : entry + 12] = struct.pack("<H", method)
    Path(path).write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("bits", "method", "reason"), [(1, None, "encrypted"), (0, 14, "method 14"), (0, 98, "method 98")]
)
def test_members_that_cannot_be_opened_cost_no_other(
    write_zip: Make, warc: Make, bits: int, method: int | None, reason: str
) -> None:
    path = write_zip(
        [("archive/b.warc.gz", warc("b.example"), STORED), ("archive/a.warc.gz", warc("a.example"), STORED)]
    )
    flags(path, b"archive/b.warc.gz", bits, method)
    for target in (None, 4000):
        found = read(path, target)
        assert urls(found) == [f"https://a.example/{n}" for n in range(3)]
        ((name, detail),) = problems(found)
        assert name == f"{path}!archive/b.warc.gz"
        assert reason in detail


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name(write_zip: Make, warc: Make) -> None:
    path = write_zip([("archive/a", warc("a.example"), STORED), ("archive/a", warc("b.example"), STORED)])
    for target in (None, 4000):
        found = read(path, target)
        assert urls(found) == [f"https://a.example/{n}" for n in range(3)]
        ((name, detail),) = problems(found)
        assert name.startswith(f"{path}!archive/a (again")
        assert "have this name" in detail


@pytest.mark.parametrize("name", ["../../../etc/archive/x", "/archive/x", "archive/\x01\n", "archive/" + "n" * 5000])
def test_names_are_only_names(write_zip: Make, warc: Make, name: str, tmp_path: Path) -> None:
    path = write_zip([(name, warc("a.example"), DEFLATED)])
    before = sorted(tmp_path.parent.rglob("*"))
    assert len(urls(read(path, 100))) == 3
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_a_bomb_is_unpacked_to_a_limit(write_zip: Make, warc: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wacz, "MIN_RATIO_BYTES", 1 << 20)
    plain = warc("a.example", compress=False)
    path = write_zip([("archive/a", plain + bytes(100_000_000), DEFLATED)])
    found = read(path)
    assert len(urls(found)) == 3
    assert "64 times its size" in problems(found)[-1][1]


def test_members_that_overlap_are_refused(write_zip: Make, warc: Make) -> None:
    """The same bytes under many names: a bomb without any packing that is unusual."""
    path = write_zip([("archive/a", warc("a.example"), STORED), ("archive/b", warc("a.example"), STORED)])
    data = bytearray(Path(path).read_bytes())
    for name in (b"archive/a", b"archive/b"):
        entry = data.rindex(name) - 46
        data[entry + 42 : entry + 46] = bytes(4)  # both begin where the first does
    Path(path).write_bytes(data)
    assert problems(read(path)) == [(path, "members of the zip overlap")]


def test_a_directory_that_is_too_large_is_refused(write_zip: Make, warc: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip([("archive/a", warc("a.example"), STORED)] + [(f"x{n}", b"", STORED) for n in range(2000)])
    assert len(urls(read(path))) == 3
    monkeypatch.setattr(wacz, "MAX_DIRECTORY_BYTES", 70_000)
    ((_, detail),) = problems(read(path))
    assert "over 70000 bytes" in detail


def test_damage_in_a_deflated_member_is_said(write_zip: Make, warc: Make) -> None:
    path = write_zip([("archive/a", warc("a.example", 9, compress=False), DEFLATED)])
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = b"\xff" * 40
    Path(path).write_bytes(data)
    found = read(path)
    assert urls(found)[:2] == ["https://a.example/0", "https://a.example/1"]
    assert problems(found)


def test_random_damage_never_raises(write_zip: Make, warc: Make, tmp_path: Path) -> None:
    path = write_zip(
        [("archive/a", warc("a.example"), STORED), ("archive/b", warc("b.example", compress=False), DEFLATED)]
    )
    data = Path(path).read_bytes()
    rng = np.random.default_rng(0)
    tail = len(data) - 250  # the directory
    for number in range(120):
        damaged = bytearray(data)
        for position in rng.integers(tail if number % 2 else 0, len(data), 3):
            damaged[position] = rng.integers(256)
        Path(path).write_bytes(damaged)
        found = read(path)
        assert isinstance(found[-1], ArchiveTally)
        split_archive(path, 3000)


def test_a_slice_is_a_file_of_its_own() -> None:
    part = io.BufferedReader(wacz._Slice(io.BytesIO(bytes(range(100))), 10, 50))
    assert part.seek(0, io.SEEK_END) == 50
    assert part.read() == b""
    assert part.seek(45) == 45
    assert part.read() == bytes(range(55, 60))
    part.seek(-50, io.SEEK_END)
    assert part.read(3) == bytes(range(10, 13))
