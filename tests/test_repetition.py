"""Repetition against its definitions, computed the slow way."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gobelin.transforms.text.repetition import (
    DUPLICATE_NGRAMS,
    TOP_NGRAMS,
    char_repetition_ratio,
    word_repetition,
    word_repetition_ratio,
)

WORDS = st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=60)


def slow_char_repetition(text: str, window: int) -> float:
    counts = Counter(text[start : start + window] for start in range(len(text) - window + 1))
    if not counts:
        return 0.0
    frequent = sorted(counts.values(), reverse=True)
    num_single = sum(count == 1 for count in frequent)
    return sum(frequent[: min(int(math.sqrt(len(frequent))), len(frequent) - num_single)]) / sum(frequent)


def slow_word_repetition(words: list[str], window: int) -> float:
    counts = Counter(" ".join(words[start : start + window]) for start in range(len(words) - window + 1))
    return sum(count for count in counts.values() if count > 1) / max(1, sum(counts.values()))


def letters_in(words: list[str], starts: list[int], n: int) -> float:
    inside = {place for start in starts for place in range(start, start + n)}
    return sum(len(words[place]) for place in inside) / max(1, sum(map(len, words)))


def slow_top(words: list[str], n: int) -> float:
    places: dict[tuple[str, ...], list[int]] = {}
    for start in range(len(words) - n + 1):
        places.setdefault(tuple(words[start : start + n]), []).append(start)
    repeated = [(len(starts), len("".join(gram)), -starts[0], starts) for gram, starts in places.items()]
    best = max(repeated, default=(0, 0, 0, []))
    return letters_in(words, best[3], n) if best[0] > 1 else 0.0


def slow_duplicate(words: list[str], n: int) -> float:
    grams = [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
    return letters_in(words, [start for start, gram in enumerate(grams) if gram in grams[:start]], n)


@given(st.text(alphabet="abc ", max_size=200), st.integers(1, 12), st.sampled_from([0, 10_000]))
def test_char_repetition_is_the_definition(text: str, window: int, long: int) -> None:
    """Both ways: by dictionary and by hashes."""
    assert char_repetition_ratio(text, window, long) == slow_char_repetition(text, window)


def test_hashes_see_every_character() -> None:
    text = "\ud800é𝔸" * 200
    assert char_repetition_ratio(text, long=0) == char_repetition_ratio(text, long=10_000) > 0


@given(WORDS, st.integers(1, 6))
def test_word_repetition_is_the_definition(words: list[str], window: int) -> None:
    assert word_repetition_ratio(words, window) == slow_word_repetition(words, window)


@given(WORDS)
def test_ngrams_are_the_definition(words: list[str]) -> None:
    found = word_repetition(words)
    assert found.word_repetition_ratio == slow_word_repetition(words, 5)
    for n in TOP_NGRAMS:
        assert getattr(found, f"top_{n}gram_char_ratio") == pytest.approx(slow_top(words, n)), n
    for n in DUPLICATE_NGRAMS:
        assert getattr(found, f"duplicate_{n}gram_char_ratio") == pytest.approx(slow_duplicate(words, n)), n


@given(WORDS)
def test_a_unit_of_two_takes_windows_twice_as_long(words: list[str]) -> None:
    found = word_repetition(words, unit=2)
    assert found.top_2gram_char_ratio == pytest.approx(slow_top(words, 4))
    assert found.duplicate_5gram_char_ratio == pytest.approx(slow_duplicate(words, 10))
    assert found.word_repetition_ratio == slow_word_repetition(words, 10)


@pytest.mark.parametrize(
    ("text", "top", "duplicate"),
    [
        ("", 0.0, 0.0),
        ("a b", 0.0, 0.0),
        ("one two one two three", 12 / 17, 0.0),
        ("a a a a", 1.0, 0.0),
        ("one two six ten red one two six ten red", 12 / 30, 0.5),
    ],
)
def test_by_hand(text: str, top: float, duplicate: float) -> None:
    found = word_repetition(text.split())
    assert found.top_2gram_char_ratio == pytest.approx(top)
    assert found.duplicate_5gram_char_ratio == pytest.approx(duplicate)
