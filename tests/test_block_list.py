"""Lists of hashes: read, refused where they are none, and found again, exactly and nearly."""

from __future__ import annotations

import hashlib
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from gobelin.transforms.images.block_list import (
    BlockHit,
    BlockListConfig,
    PdqIndex,
    contains,
    dihedral_forms,
    load_block_list,
    load_hashes,
    url_spellings,
)

Make = Callable[..., Any]


@pytest.fixture
def a_list(tmp_path: Path) -> Callable[..., str]:
    """(lines, name) -> path of a list file."""

    def make(lines: list[str], name: str = "list.txt") -> str:
        (tmp_path / name).write_text("\n".join(lines))
        return str(tmp_path / name)

    return make


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def flipped(digest: str, places: list[int]) -> str:
    return f"{int(digest, 16) ^ sum(1 << place for place in places):064x}"


def test_bytes_are_found_by_either_hash(a_list: Make) -> None:
    config = BlockListConfig(md5=(a_list([md5(b"one")], "m.txt"),), sha256=(a_list([sha256(b"two")], "s.txt"),))
    blocked = load_block_list(config)
    assert blocked is not None
    assert blocked.match("https://a.example/1.png", b"one") == BlockHit("m.txt", "md5")
    assert blocked.match(None, b"two") == BlockHit("s.txt", "sha256")
    assert blocked.match(None, b"three") is None
    assert blocked.match_bytes(md5(b"one"), sha256(b"one")) == BlockHit("m.txt", "md5")
    assert blocked.match_bytes("", sha256(b"two")) == BlockHit("s.txt", "sha256")
    assert blocked.match_bytes(md5(b"two"), "") is None
    assert blocked.match_pdq("0" * 64) is None


def test_the_list_that_holds_a_hash_is_named(a_list: Make) -> None:
    paths = tuple(a_list([md5(name.encode())], f"{name}.txt") for name in ("a", "b", "c"))
    blocked = load_block_list(BlockListConfig(md5=paths))
    assert blocked is not None
    assert [blocked.match(None, name) for name in (b"a", b"b", b"c", b"d")] == [
        BlockHit("a.txt", "md5"), BlockHit("b.txt", "md5"), BlockHit("c.txt", "md5"), None
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("https://a.example/x.png", "https://a.example/x.png"),
        ("https://a.example/x.png", "http://A.example/x.png"),
        ("http://a.example/x.png", "https://a.example/x.png#top"),
        ("//a.example/x.png", "https://a.example:443/x.png"),
        ("https://a.example/?b=2&a=1", "https://a.example/?b=2&a=1"),
        ("https://a.example/?a=1&b=2", "https://a.example?b=2&a=1"),
        ("https://a.example/%C3%A9.png", "https://a.example/é.png"),
    ],
)
def test_urls_are_found_in_any_spelling(a_list: Make, listed: str, found: str) -> None:
    by_sha256 = load_block_list(BlockListConfig(url_sha256=(a_list([sha256(listed.encode())], "u.txt"),)))
    by_md5 = load_block_list(BlockListConfig(url_md5=(a_list([md5(listed.encode())], "v.txt"),)))
    assert by_sha256 is not None
    assert by_md5 is not None
    assert by_sha256.match(found, b"") == BlockHit("u.txt", "url_sha256")
    assert by_md5.match_url(found) == BlockHit("v.txt", "url_md5")
    for other in ("https://a.example/y.png", "", "http://[", "data:image/png;sha256=00", "\ud800"):
        assert by_sha256.match_url(other) is None


def test_spellings_hold_what_was_found_first() -> None:
    assert url_spellings("http://[bad")[0] == "http://[bad"
    spellings = url_spellings("HTTP://A.example/x#f")
    assert spellings[0] == "HTTP://A.example/x#f"
    assert {"http://a.example/x", "https://a.example/x", "//a.example/x"} <= set(spellings)


def test_comments_case_and_line_ends(a_list: Make, tmp_path: Path) -> None:
    digests = [md5(str(number).encode()) for number in range(4)]
    path = tmp_path / "crlf.txt"
    lines = ["# a list", "", digests[0], f"  {digests[1].upper()}  # why", digests[2]]
    path.write_bytes(("\r\n".join(lines) + f"\n{digests[0]}\n{digests[3]}").encode())
    hashes = load_hashes(str(path), 16)
    assert [row.tobytes().hex() for row in hashes] == sorted(digests)
    assert len(load_hashes(a_list(["# nothing yet"], "none.txt"), 16)) == 0


@pytest.mark.parametrize(
    ("lines", "number"),
    [
        (["zz" * 16], 1),
        (["# x", "", "ab" * 15], 3),
        (["ab" * 16, "ab" * 17], 2),
        (["ab" * 16 + "," + "ab" * 16], 1),
        (["ab" * 16] * 9 + ["a " * 16], 10),
        (["https://a.example/x.png"], 1),
        (["é" * 16], 1),
    ],
)
def test_what_is_no_list_says_where(a_list: Make, lines: list[str], number: int) -> None:
    with pytest.raises(ValueError, match=f"list.txt, line {number}: .*32 hexadecimal digits"):
        load_block_list(BlockListConfig(md5=(a_list(lines),)))


def test_line_numbers_across_reads(a_list: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gobelin.transforms.images.block_list._READ_BYTES", 100)
    good = [md5(str(number).encode()) for number in range(50)]
    hashes = load_hashes(a_list(good), 16)
    assert [row.tobytes().hex() for row in hashes] == sorted(good)
    with pytest.raises(ValueError, match="line 51:"):
        load_hashes(a_list([*good, "x"]), 16)


def test_a_missing_list_stops_the_run() -> None:
    with pytest.raises(ValueError, match=r"no-such-list\.txt cannot be read"):
        load_block_list(BlockListConfig(sha256=("/no-such-list.txt",)))


def test_every_hash_is_found_and_no_other(a_list: Make) -> None:
    """Also hashes that start or end with zeros, and lists of one."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (500, 16), dtype=np.uint8)
    rows[:50, :9], rows[50:100, 7:], rows[100] = 0, 0, 255
    hashes = load_hashes(a_list([row.tobytes().hex() for row in rows]), 16)
    for row in rows:
        assert contains(hashes, row.tobytes())
        row[15] ^= 1
        assert contains(hashes, row.tobytes()) == any((row == other).all() for other in hashes)
    assert not contains(hashes[:0], bytes(16))


def test_configurations_are_loaded_once_and_travel(a_list: Make) -> None:
    config = BlockListConfig(md5=(a_list([md5(b"one")]),))
    copy = pickle.loads(pickle.dumps(config))  # noqa: S301  # what Beam does with it
    assert load_block_list(config) is load_block_list(copy)
    assert load_block_list(BlockListConfig()) is None
    for distance in (-1, 65):
        with pytest.raises(ValueError, match="pdq_distance"):
            BlockListConfig(pdq_distance=distance)


@pytest.mark.parametrize("distance", [0, 7, 15, 16, 31, 40])
def test_near_hashes_are_found_up_to_the_distance(distance: int) -> None:
    """Against counting the bits of every pair; with changes spread over all bands and heaped in one."""
    draw = random.Random(distance)
    digests = [f"{draw.getrandbits(256):064x}" for _ in range(300)]
    index = PdqIndex(np.array([list(bytes.fromhex(each)) for each in digests], np.uint8), distance)
    for digest in digests[:40]:
        spread, heaped = draw.sample(range(256), distance + 1), list(range(100, 101 + distance))
        for places in (spread, heaped):
            within, beyond = flipped(digest, places[:-1]), flipped(digest, places)
            assert index.holds(np.array([list(bytes.fromhex(within))], np.uint8))
            assert not index.holds(np.array([list(bytes.fromhex(beyond))], np.uint8))


def test_an_empty_index_holds_nothing() -> None:
    assert not PdqIndex(np.empty((0, 32), np.uint8), 31).holds(dihedral_forms("ab" * 32))


def test_pdq_lists(a_list: Make) -> None:
    digest = f"{random.Random(1).getrandbits(256):064x}"
    blocked = load_block_list(BlockListConfig(pdq=(a_list([digest], "p.txt"),)))
    assert blocked is not None
    hit = BlockHit("p.txt", "pdq")
    places = list(range(0, 256, 8))
    assert blocked.match_pdq(flipped(digest, places[:31])) == hit
    assert blocked.match_pdq(flipped(digest, places[:32])) is None
    assert blocked.match_pdq(None) is None
    strict = load_block_list(BlockListConfig(pdq=(a_list([digest], "p.txt"),), pdq_distance=0))
    assert strict is not None
    assert strict.match_pdq(digest) == hit
    assert strict.match_pdq(flipped(digest, [5])) is None


def test_turned_and_mirrored_pictures_are_near(a_list: Make, encode: Make) -> None:
    """The eight forms of a hash are those of the eight forms of its picture, but for a few bits."""
    pytest.importorskip("pdqhash")
    from gobelin.transforms.images.measure_image import pdq_hash

    rng = np.random.default_rng(5)
    blots = rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)
    photo = PillowImage.fromarray(blots).resize((1200, 900), PillowImage.Resampling.BICUBIC)
    original = pdq_hash(photo)
    assert original is not None
    blocked = load_block_list(BlockListConfig(pdq=(a_list([original], "p.txt"),)))
    assert blocked is not None
    for method in PillowImage.Transpose:
        turned = pdq_hash(photo.transpose(method))
        assert turned is not None
        assert (int(turned, 16) ^ int(original, 16)).bit_count() > 60, "a form that is near anyway tests nothing"
        assert blocked.match_pdq(turned) == BlockHit("p.txt", "pdq"), method
    other = pdq_hash(PillowImage.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize((900, 900)))
    assert other is not None
    assert blocked.match_pdq(other) is None
