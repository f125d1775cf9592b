"""Duplicates meet and others do not: against brute force, against the promised probabilities, in any order."""

import itertools
import os
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gobelin.transforms.near_duplicates import (
    MinHashConfig,
    connected_components,
    detection_probability,
    hamming,
    jaccard,
    minhash_band_keys,
    minhash_signature,
    phash_band_keys,
    phash_bucket_edges,
    shingle_hashes,
    star_edges,
    text_digest,
)

TEXT = "The old bridge was built when there was no other way across the river, and it is still used."
HASHES = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (TEXT, True),
        (TEXT.upper(), True),
        (TEXT.replace(" ", "\n\t").replace(",", " –"), True),
        ("Ｔｈｅ" + TEXT[3:], True),  # full-width letters are compatibility forms
        (TEXT.replace("old", "new"), False),
        (TEXT + " 2", False),
    ],
)
def test_text_digest_sees_words_only(other: str, same: bool) -> None:
    assert (text_digest(other) == text_digest(TEXT)) == same


@pytest.mark.parametrize("text", ["", " \n", "-- ... !!"])
def test_a_text_without_words_has_no_keys(text: str) -> None:
    assert text_digest(text) is None
    assert minhash_band_keys(text, MinHashConfig()) == ()


def test_shingles_are_windows_of_words() -> None:
    assert len(shingle_hashes("a b c d e f g", 5)) == 3
    assert len(shingle_hashes("a b c", 5)) == 1
    assert len(shingle_hashes("x " * 100, 5)) == 1
    assert jaccard(shingle_hashes("a b c d e f", 5), shingle_hashes("A, b c d e! z", 5)) == pytest.approx(1 / 3)
    assert len(shingle_hashes("今天很好吗", 2)) == 4


@pytest.mark.parametrize(("similarity", "expected"), [(0.8, 0.924), (0.5, 0.053), (1.0, 1.0), (0.0, 0.0)])
def test_detection_probability_of_the_default(similarity: float, expected: float) -> None:
    assert detection_probability(similarity, MinHashConfig()) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("similarity", [0.6, 0.75, 0.85])
def test_pairs_meet_as_often_as_promised(similarity: float) -> None:
    """1000 pairs of sets of that very similarity; the share that meets is within 3.5 standard errors."""
    config = MinHashConfig()
    generator = np.random.default_rng(7)
    num_common, num_pairs = 300, 1000
    num_each = round((num_common / similarity - num_common) / 2)  # in one of the two only
    num_found = 0
    for _ in range(num_pairs):
        items = generator.integers(0, 2**64, num_common + 2 * num_each, np.uint64)
        a = minhash_signature(items[: num_common + num_each], config).reshape(config.bands, config.rows)
        b = minhash_signature(generator.permutation(items[num_each:]), config).reshape(config.bands, config.rows)
        num_found += bool((a == b).all(1).any())
    expected = detection_probability(num_common / (num_common + 2 * num_each), config)
    assert abs(num_found / num_pairs - expected) < 3.5 * (expected * (1 - expected) / num_pairs) ** 0.5


def test_signature_estimates_jaccard() -> None:
    words = [f"w{index}" for index in range(400)]
    a, b = shingle_hashes(" ".join(words[:300]), 5), shingle_hashes(" ".join(words[100:]), 5)
    config = MinHashConfig(bands=64, rows=8)
    estimate = float((minhash_signature(a, config) == minhash_signature(b, config)).mean())
    assert estimate == pytest.approx(jaccard(a, b), abs=0.08)


def test_bands_do_not_share_keys() -> None:
    config = MinHashConfig()
    keys = minhash_band_keys(TEXT, config)
    assert len(set(keys)) == config.bands
    assert all(-(2**63) <= key < 2**63 for key in keys)


def test_keys_are_the_same_in_every_process() -> None:
    """Stored signatures are compared with those of later crawls, so the values themselves are pinned."""
    program = (
        "from gobelin.transforms.near_duplicates import *\n"
        f"print(minhash_band_keys({TEXT!r}, MinHashConfig())[:2], phash_band_keys('fedcba9876543210', 4)[:2])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert outputs == {"(-47908175815912632, 2458833297162284564) (-4082117036103307528, 2619283110252889925)"}


@settings(max_examples=200)
@given(HASHES, st.integers(0, 12), st.integers(1, 3), st.data())
def test_no_near_hash_is_missed(value: int, distance: int, joint: int, data: st.DataObject) -> None:
    bits = data.draw(st.lists(st.integers(0, 63), max_size=distance, unique=True))
    other = value ^ sum(1 << bit for bit in bits)
    a, b = f"{value:016x}", f"{other:016x}"
    assert hamming(a, b) == len(bits)
    assert set(phash_band_keys(a, distance, joint)) & set(phash_band_keys(b, distance, joint))


def test_far_hashes_seldom_meet() -> None:
    generator = random.Random(3)
    keys = [set(phash_band_keys(f"{generator.getrandbits(64):016x}", 4, 2)) for _ in range(200)]
    assert sum(bool(a & b) for a, b in itertools.combinations(keys, 2)) < 5


@pytest.mark.parametrize(("distance", "joint"), [(-1, 1), (64, 1), (3, 0), (60, 5)])
def test_distance_must_fit(distance: int, joint: int) -> None:
    with pytest.raises(ValueError, match="distance"):
        phash_band_keys("0" * 16, distance, joint)


def brute_force(members: list[tuple[str, str]], distance: int) -> dict[str, str]:
    near = [(a, b) for (a, x), (b, y) in itertools.combinations(members, 2) if hamming(x, y) <= distance]
    return connected_components(near)


def clustered_hashes(num: int, seed: int) -> list[tuple[str, str]]:
    """Hashes a few bits from one of num / 4 centres, so that some are near, some not, some in chains."""
    generator = random.Random(seed)
    centres = [generator.getrandbits(64) for _ in range(num // 4)]
    members = []
    for index in range(num):
        flips = sum(1 << bit for bit in generator.sample(range(64), generator.randrange(6)))
        members.append((f"image{generator.getrandbits(40):010x}{index}", f"{generator.choice(centres) ^ flips:016x}"))
    return members


@pytest.mark.parametrize("distance", [0, 2, 4, 8])
def test_bucket_edges_connect_what_is_near(distance: int) -> None:
    members = clustered_hashes(120, seed=distance)
    expected = brute_force(members, distance)
    edges = phash_bucket_edges(members, distance)
    assert connected_components(edges) == expected
    assert edges == phash_bucket_edges(members[::-1] + members, distance)
    assert len(edges) <= len(members)


def test_finer_buckets_miss_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    members = clustered_hashes(150, seed=11)
    expected = phash_bucket_edges(members, 5)
    monkeypatch.setattr("gobelin.transforms.near_duplicates._MAX_ALL_PAIRS", 10)
    assert phash_bucket_edges(members, 5) == expected != []


@pytest.mark.timeout(20)
def test_hot_buckets_are_cheap() -> None:
    """A placeholder met 100 000 times, and 20 000 different images whose keys happen to agree."""
    copies = [(f"copy{index:06}", "ff00ff00ff00ff00") for index in range(100_000)]
    assert len(phash_bucket_edges(copies, 4)) == 99_999
    generator = random.Random(5)
    crowd = [(f"image{index:05}", f"{generator.getrandbits(51):016x}") for index in range(20_000)]
    assert len(phash_bucket_edges(crowd, 4)) < 100
    assert len(star_edges(image_id for image_id, _ in copies)) == 99_999


def test_star_edges() -> None:
    assert star_edges(["c", "a", "b", "a"]) == [("b", "a"), ("c", "a")]
    assert star_edges(["a", "a"]) == []


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40), st.randoms(use_true_random=False))
def test_components_do_not_depend_on_order(pairs: list[tuple[int, int]], shuffler: random.Random) -> None:
    edges = [(f"{a:02}", f"{b:02}") for a, b in pairs]
    groups = connected_components(edges)
    shuffled = [shuffler.choice([(a, b), (b, a)]) for a, b in edges]
    shuffler.shuffle(shuffled)
    assert connected_components(shuffled) == groups
    # By definition: spread the smallest name along edges until nothing changes.
    names = {node: node for edge in edges for node in edge}
    while any(names[a] != names[b] for a, b in edges):
        for a, b in edges:
            names[a] = names[b] = min(names[a], names[b])
    assert groups == names


def test_long_chains_are_one_component() -> None:
    ids = [f"{index:06}" for index in range(50_000)]
    for edges in (list(itertools.pairwise(ids)), list(itertools.pairwise(ids[::-1]))):
        assert set(connected_components(edges).values()) == {"000000"}
