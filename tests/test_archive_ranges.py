"""Cutting archives: the ranges of a file hold exactly the records of one pass, wherever the file is cut."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gobelin.data.model import ArchiveTally, Decision
from gobelin.transforms.archives.ranges import ArchiveRange, split_archive
from gobelin.transforms.archives.read_warc import read_range

Make = Callable[..., Any]

CORPUS = Path(__file__).parents[2] / "shared" / "corpus"
LIMIT = 10**7
DICTIONARY = zstandard.ZstdCompressionDict(b"WARC/1.1\r\nWARC-Type: response\r\nContent-Type: text/html" * 40)
DICTIONARY.precompute_compress(level=3)


def skippable(data: bytes) -> bytes:
    return b"\x5d\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data


def zstd_with_dictionary(records: list[bytes]) -> bytes:
    compressor = zstandard.ZstdCompressor(dict_data=DICTIONARY, write_checksum=True)
    head = skippable(zstandard.compress(DICTIONARY.as_bytes()))
    return head + b"".join(compressor.compress(each) for each in records)


def each(compress: Callable[[bytes], bytes]) -> Callable[[list[bytes]], bytes]:
    return lambda records: b"".join(compress(one) for one in records)


CONTAINERS: dict[str, Callable[[list[bytes]], bytes]] = {
    "plain": each(bytes),
    "gzip": each(lambda one: gzip.compress(one, mtime=0)),
    "gzip, stored": each(lambda one: gzip.compress(one, 0, mtime=0)),
    "zstd": each(lambda one: zstandard.ZstdCompressor(write_checksum=True).compress(one)),
    "zstd dictionary": zstd_with_dictionary,
    "lz4": each(lambda one: lz4.frame.compress(one, content_checksum=True)),
    "gzip, whole": lambda records: gzip.compress(b"".join(records), mtime=0),
}
CONTAINERS["plain, then gzip"] = lambda records: b"".join(records[:3]) + gzip.compress(b"".join(records[3:]), mtime=0)
SPLITTABLE = [name for name in CONTAINERS if "whole" not in name and "then" not in name]


def contents(ranges: list[ArchiveRange]) -> tuple[list[Any], list[int]]:
    """What ranges give, in their order: everything but the tallies, and the sums of those."""
    found = [item for piece in ranges for item in read_range(piece, LIMIT, LIMIT)]
    tallies = [dataclasses.astuple(item)[1:] for item in found if isinstance(item, ArchiveTally)]
    return [item for item in found if not isinstance(item, ArchiveTally)], [sum(column) for column in zip(*tallies)]


def check_cuts(path: Path, target_bytes: int) -> list[ArchiveRange]:
    """The ranges of a file, after checking that they cover it and hold what one pass holds."""
    ranges = split_archive(str(path), target_bytes)
    by_member: dict[str | None, list[ArchiveRange]] = {}
    for piece in ranges:
        by_member.setdefault(piece.member, []).append(piece)
    for pieces in by_member.values():
        assert pieces[0].start == 0
        assert all(left.end == right.start for left, right in itertools.pairwise(pieces))
    assert contents(ranges) == contents([ArchiveRange(str(path))])
    return ranges


def random_bytes(seed: int, size: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)


@pytest.mark.parametrize("container", CONTAINERS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 30_000), min_size=1, max_size=30), target=st.integers(1, 200_000))
def test_ranges_hold_the_records_of_one_pass(
    tmp_path: Path, record: Make, pack_record: Make, container: str, sizes: list[int], target: int
) -> None:
    records = [
        pack_record(record(f"https://a.example/{n}", b"<html>" + random_bytes(n, size))) for n, size in enumerate(sizes)
    ]
    path = tmp_path / "archive"
    path.write_bytes(CONTAINERS[container](records))
    check_cuts(path, target)


@pytest.mark.parametrize("container", SPLITTABLE)
def test_large_files_are_cut_as_asked(tmp_path: Path, record: Make, pack_record: Make, container: str) -> None:
    records = [pack_record(record(f"https://a.example/{n}", random_bytes(n, 20_000).hex().encode())) for n in range(60)]
    path = tmp_path / "archive"
    path.write_bytes(CONTAINERS[container](records))
    size = path.stat().st_size
    ranges = check_cuts(path, size // 4)
    assert 3 <= len(ranges) <= 5
    for piece in ranges:
        assert piece.end is not None
        assert piece.end - piece.start < size / 2


@pytest.mark.parametrize("target", [1, 5000, 10**9])
def test_one_member_around_many_records_is_one_range(tmp_path: Path, record: Make, pack: Make, target: int) -> None:
    path = tmp_path / "archive"
    path.write_bytes(
        gzip.compress(pack([record(f"https://a.example/{n}", random_bytes(n, 9000)) for n in range(9)], False))
    )
    assert len(check_cuts(path, target)) == 1


@pytest.mark.parametrize("outer", SPLITTABLE)
@pytest.mark.parametrize("inner", SPLITTABLE)
def test_archives_inside_archives_are_payloads(
    tmp_path: Path, record: Make, pack_record: Make, outer: str, inner: str
) -> None:
    """A crawled archive stands in the outer one as it is (not compressed, or in stored blocks): its records look like
    records of the outer file, and are none."""
    sizes = [3000] * 60 + [70_000] * 6  # the outer packing finds no repetition in what is far apart
    hidden = [pack_record(record(f"https://hidden.example/{n}", random_bytes(n, size))) for n, size in enumerate(sizes)]
    payload = CONTAINERS[inner](hidden)
    records = [pack_record(record(f"https://a.example/{n}", payload, "application/octet-stream")) for n in range(4)] + [
        pack_record(record(f"https://a.example/{n}", random_bytes(n, 500))) for n in range(4, 8)
    ]
    records.append(
        pack_record(record("https://a.example/8", CONTAINERS[inner](hidden[:6]), "application/octet-stream"))
    )
    path = tmp_path / "archive"
    path.write_bytes(CONTAINERS[outer](records))
    for target in (1_000, 100_000, 450_000):
        found, sums = contents(check_cuts(path, target))
        assert sums[0] == 9
        assert not any("hidden" in repr(item)[:2000] for item in found)


@pytest.mark.parametrize("container", SPLITTABLE)
def test_damaged_files_give_the_same_in_ranges(tmp_path: Path, record: Make, pack_record: Make, container: str) -> None:
    records = [pack_record(record(f"https://a.example/{n}", random_bytes(n, 8_000))) for n in range(80)]
    rng = np.random.default_rng(7)
    data = bytearray(CONTAINERS[container](records))
    for position in rng.integers(0, len(data) - 4000, 6):
        data[position : position + 4000] = rng.bytes(4000)
    path = tmp_path / "archive"
    path.write_bytes(data)
    for target in (20_000, 60_000, 200_000):
        found, _ = contents(check_cuts(path, target))
        assert sum(isinstance(item, Decision) for item in found) >= 1
        assert sum(not isinstance(item, Decision) for item in found) >= 50


def test_a_range_that_ends_inside_a_record_says_so(tmp_path: Path, record: Make, pack: Make) -> None:
    path = tmp_path / "archive"
    path.write_bytes(pack([record(f"https://a.example/{n}", random_bytes(n, 5000)) for n in range(4)]))
    found = list(read_range(ArchiveRange(str(path), 0, 7000), LIMIT, LIMIT))
    decision = found[-2]
    assert isinstance(decision, Decision)
    assert "inside a record" in (decision.detail or "")


def test_a_target_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="target_bytes is 0"):
        split_archive(str(tmp_path / "a"), 0)


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason="the real corpus is not beside the checkout")
@pytest.mark.parametrize("folder", ["web", "warc-edge"])
def test_real_archives_give_the_same_in_ranges(folder: str) -> None:
    for path in sorted(path for path in (CORPUS / folder).rglob("*") if path.is_file()):
        size = path.stat().st_size
        for parts in (3, 17):
            check_cuts(path, max(1, size // parts))
