"""Texts that are alike meet and others do not, as often as the printed curve promises."""

import os
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gobelin.transforms.duplicates.minhash import (
    _WORD,
    MinHashConfig,
    band_probability,
    choose_bands,
    curve,
    detection_probability,
    jaccard,
    min_equal_bytes,
    minhash_values,
    normalised_words,
    shingle_hashes,
    signature_of_shingles,
    sketches_alike,
    text_signature,
)
from gobelin.transforms.text.invisible import comparable

TEXT = "The old bridge was built when there was no other way across the river, and it is still used."


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
    digests = {text_signature(text, MinHashConfig()).digest for text in (TEXT, other)}
    assert (len(digests) == 1) == same


@pytest.mark.parametrize("text", ["", " \n", "-- ... !!"])
def test_a_text_without_words_has_no_signature(text: str) -> None:
    signature = text_signature(text, MinHashConfig())
    assert (signature.digest, signature.bands, signature.sketch) == (None, (), b"")


@given(
    st.text(st.sampled_from("aZ9_ .,-=\u0338\u0301\u00dcß\ufb01\u2460\u2026\u3042\u4eca\u0e01\u00a0\x00\n")) | st.text()
)
def test_words_are_those_of_the_whole_text(text: str) -> None:
    """They are looked for piece by piece; normalising the whole text at once finds the same. Invisible characters do
    not count."""
    whole = unicodedata.normalize("NFKC", comparable(text)).casefold()
    assert [word.decode() for word in normalised_words(text)] == _WORD.findall(whole)


def test_shingles_are_windows_of_words() -> None:
    assert len(shingle_hashes("a b c d e f g", 5)) == 3
    assert len(shingle_hashes("a b c", 5)) == 1
    assert len(shingle_hashes("x " * 100, 5)) == 1
    assert jaccard(shingle_hashes("a b c d e f", 5), shingle_hashes("A, b c d e! z", 5)) == pytest.approx(1 / 3)
    assert len(shingle_hashes("\u4eca\u5929\u5f88\u597d\u5417", 2)) == 4
    assert not set(shingle_hashes("a b", 2)) & set(shingle_hashes("b a", 2)), "order matters"


@pytest.mark.parametrize(
    ("similarity", "expected"), [(0.8, (18, 7)), (0.5, (42, 3)), (0.9, (10, 12)), (0.05, (128, 1))]
)
def test_bands_follow_from_the_target(similarity: float, expected: tuple[int, int]) -> None:
    assert choose_bands(similarity) == expected
    config = MinHashConfig(similarity=similarity)
    assert (config.num_bands, config.num_rows) == expected


@pytest.mark.parametrize("similarity", [0.5, 0.65, 0.8, 0.9, 0.95])
def test_the_chosen_curve_is_the_steepest_that_keeps_the_promise(similarity: float) -> None:
    bands, rows = choose_bands(similarity)
    assert bands * rows <= 128
    assert band_probability(similarity, bands, rows) >= 0.95
    assert band_probability(similarity, 128 // (rows + 1), rows + 1) < 0.95


@pytest.mark.parametrize(("similarity", "expected"), [(0.8, 0.924), (0.5, 0.053), (1.0, 1.0), (0.0, 0.0)])
def test_band_probability_of_datatrove(similarity: float, expected: float) -> None:
    assert band_probability(similarity, 14, 8) == pytest.approx(expected, abs=5e-4)
    unverified = MinHashConfig(bands=14, rows=8, verify=False)
    assert detection_probability(similarity, unverified) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("similarity", [0.55, 0.7, 0.75, 0.8])
def test_detection_probability_against_a_simulation(similarity: float) -> None:
    """Independent values that are equal with that probability, or in their lowest byte by chance."""
    config = MinHashConfig()
    rng = np.random.default_rng(11)
    are_equal = rng.random((20_000, config.num_bands, config.num_rows)) < similarity
    bytes_equal = are_equal | (rng.random(are_equal.shape) < 1 / 256)
    found = are_equal.all(2).any(1) & (bytes_equal.sum((1, 2)) >= min_equal_bytes(config))
    expected = detection_probability(similarity, config)
    assert abs(found.mean() - expected) < 4 * (expected * (1 - expected) / len(found)) ** 0.5


def test_curve_names_the_choice() -> None:
    text = curve(MinHashConfig())
    assert "18 bands of 7 rows" in text
    row = next(line.split() for line in text.splitlines() if line.split()[0] == "0.80")
    assert row == ["0.80", "0.9855", "0.9678"]


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.9])
def test_pairs_are_joined_as_promised(similarity: float) -> None:
    """500 pairs of sets of that very similarity. At the target and above no fewer than promised (3.5 standard errors),
    far below it none: rensa's values vary a little less than independent ones, so the real curve is steeper."""
    config = MinHashConfig()
    generator = np.random.default_rng(7)
    num_common, num_pairs = 300, 500
    num_each = round((num_common / similarity - num_common) / 2)  # in one of the two only
    num_met = num_joined = 0
    for _ in range(num_pairs):
        items = generator.integers(0, 2**64, num_common + 2 * num_each, np.uint64)
        a = signature_of_shingles(items[: num_common + num_each], "a", config)
        b = signature_of_shingles(generator.permutation(items[num_each:]), "b", config)
        sketches = np.frombuffer(a.sketch + b.sketch, np.uint8).reshape(2, -1)
        met = bool(set(a.bands) & set(b.bands))
        num_met += met
        num_joined += met and bool(sketches_alike(sketches, config)(np.array([0]), np.array([1]))[0])
    exact = num_common / (num_common + 2 * num_each)
    met, joined = band_probability(exact, config.num_bands, config.num_rows), detection_probability(exact, config)
    assert abs(num_met / num_pairs - met) < 3.5 * max(met * (1 - met) / num_pairs, num_pairs**-2) ** 0.5
    if similarity >= config.similarity:
        assert num_joined / num_pairs > joined - 3.5 * (joined * (1 - joined) / num_pairs) ** 0.5
    elif similarity < 0.6:
        assert num_joined == 0


def test_values_estimate_jaccard() -> None:
    words = [f"w{index}" for index in range(400)]
    a, b = shingle_hashes(" ".join(words[:300]), 5), shingle_hashes(" ".join(words[100:]), 5)
    config = MinHashConfig(bands=64, rows=8)
    estimate = float((minhash_values(a, config) == minhash_values(b, config)).mean())
    assert estimate == pytest.approx(jaccard(a, b), abs=0.08)


def test_repeated_shingles_count_once() -> None:
    shingles = shingle_hashes(TEXT, 2)
    config = MinHashConfig()
    assert (minhash_values(np.tile(shingles, 3), config) == minhash_values(shingles, config)).all()


def test_lowest_bytes_agree_by_chance_as_bytes_do() -> None:
    rng = np.random.default_rng(2)
    config = MinHashConfig()
    sets = [minhash_values(rng.integers(0, 2**64, 400, np.uint64), config) for _ in range(200)]
    equal = np.mean([np.mean((a & 0xFF) == (b & 0xFF)) for a, b in zip(sets[::2], sets[1::2], strict=True)])
    assert equal == pytest.approx(1 / 256, rel=0.4)


def test_bands_do_not_share_keys() -> None:
    config = MinHashConfig()
    signature = text_signature(TEXT, config)
    assert len(set(signature.bands)) == config.num_bands
    assert len(signature.sketch) == config.num_hashes
    assert all(-(2**63) <= key < 2**63 for key in signature.bands)


def test_keys_are_the_same_in_every_process() -> None:
    """Stored signatures are compared with those of later crawls, so the values themselves are pinned."""
    program = (
        "from gobelin.transforms.duplicates.minhash import *\n"
        f"s = text_signature({TEXT!r}, MinHashConfig())\n"
        "print(s.digest[:8], s.bands[:2], s.sketch[:4].hex())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert outputs == {"32cbf4f7 (-1570109111351691872, -7083543870683213822) 5917054f"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"similarity": 0.0}, "similarity"),
        ({"similarity": 1.0}, "similarity"),
        ({"bands": 4}, "both or neither"),
        ({"bands": 0, "rows": 4}, "at least 1"),
        ({"window": 0}, "at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MinHashConfig(**values)  # type: ignore[arg-type]
