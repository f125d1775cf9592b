"""Text statistics against the definitions, computed the slow way, and against texts whose kind is plain."""

import math
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gobelin.transforms.text_statistics import (
    PARAGRAPH_MIN_TOKENS,
    TextStatistics,
    char_repetition_ratio,
    text_statistics,
    word_lists,
    word_repetition_ratio,
    words_of,
)

# A plain paragraph in each language that has lists, written for this test.
PROSE = {
    "en": "The old bridge was built when there was no other way across the river, and it is still used by "
    "those who live on the far side. In winter, however, the water can rise so high that nobody will "
    "cross it.",
    "de": "Die alte Brücke wurde gebaut, als es noch keinen anderen Weg über den Fluss gab, und sie wird auch "
    "heute von denen benutzt, die auf der anderen Seite wohnen. Im Winter steht das Wasser aber oft "
    "sehr hoch.",
    "fr": "Le vieux pont a été construit quand il n'y avait pas encore d'autre passage sur la rivière, et il "
    "est toujours utilisé par ceux qui vivent de l'autre côté. En hiver, elle est souvent très haute.",
    "es": "El viejo puente fue construido cuando todavía no había otro paso sobre el río, y hoy lo usan los "
    "que viven al otro lado. En invierno, sin embargo, el agua puede estar muy alta y nadie lo cruza.",
    "it": "Il vecchio ponte è stato costruito quando non c'era ancora un altro passaggio sul fiume, e oggi è "
    "usato da quelli che vivono dall'altra parte. In inverno, però, l'acqua può essere molto alta.",
    "pt": "A velha ponte foi construída quando ainda não havia outra passagem sobre o rio, e hoje é usada por "
    "todos os que vivem do outro lado. No inverno, porém, a água pode estar muito alta e ninguém a "
    "atravessa.",
    "nl": "De oude brug is gebouwd toen er nog geen andere weg over de rivier was, en ze wordt ook nu nog "
    "gebruikt door de mensen die aan de andere kant wonen. In de winter staat het water echter vaak erg "
    "hoog.",
}
SPAM = "Share on Facebook, Share on Twitter, Pin on Pinterest. Click to subscribe! Follow us on Instagram. Login"
LOREM = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore."


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


@given(st.text(alphabet="abc ", max_size=200), st.integers(1, 12))
def test_char_repetition_is_the_definition(text: str, window: int) -> None:
    assert char_repetition_ratio(text, window) == slow_char_repetition(text, window)


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=60), st.integers(1, 6))
def test_word_repetition_is_the_definition(words: list[str], window: int) -> None:
    assert word_repetition_ratio(words, window) == slow_word_repetition(words, window)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"num_words": 0, "special_char_ratio": 0.0, "stop_word_ratio": 0.0, "punctuation_ratio": 0.0}),
        ("--- 12 ...", {"num_words": 0, "special_char_ratio": 1.0, "punctuation_ratio": 3 / 4}),
        ("The cat, the dog.", {"num_words": 4, "stop_word_ratio": 0.5, "punctuation_ratio": 2 / 6}),
        ("ab 1!", {"num_words": 1, "special_char_ratio": 3 / 5}),
        ("It isn’t (really) hers.", {"num_words": 4, "stop_word_ratio": 1.0}),
        ("one two three four five " * 2, {"num_words": 10, "word_repetition_ratio": 2 / 6}),
        ("porn or corn", {"flagged_word_ratio": 1 / 3}),
        ("Click click, walk", {"spam_word_ratio": 2 / 3}),
        (LOREM, {"num_lorem_ipsum": 5}),
        ("A lorry full of ipecac", {"num_lorem_ipsum": 0}),
    ],
)
def test_values_by_hand(text: str, expected: dict[str, float]) -> None:
    statistics = text_statistics(text, "en")
    assert {name: getattr(statistics, name) for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(("num_words", "expected"), [(10, None), (11, 1 / 12)])
def test_short_paragraphs_are_not_asked_for_punctuation(num_words: int, expected: float | None) -> None:
    statistics = text_statistics("word " * num_words + ".", "en", PARAGRAPH_MIN_TOKENS)
    assert statistics.punctuation_ratio == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("language", sorted(PROSE))
def test_prose_passes_the_document_rules_of_obelics(language: str) -> None:
    statistics = text_statistics(PROSE[language], language)
    assert statistics.stop_word_ratio is not None
    assert statistics.stop_word_ratio >= 0.35
    assert statistics.special_char_ratio <= 0.275
    assert statistics.punctuation_ratio is not None
    assert statistics.punctuation_ratio >= 0.03
    assert statistics.char_repetition_ratio <= 0.1
    assert statistics.word_repetition_ratio == 0.0
    assert statistics.spam_word_ratio is not None
    assert statistics.spam_word_ratio < 0.12


@pytest.mark.parametrize("language", sorted(PROSE))
def test_other_languages_lack_stop_words(language: str) -> None:
    """A stop list that fitted any language would measure nothing."""
    others = [text_statistics(text, language).stop_word_ratio for other, text in PROSE.items() if other != language]
    assert all(ratio is not None and ratio < 0.35 for ratio in others)


def test_spam_is_spam() -> None:
    ratio = text_statistics(SPAM, "en").spam_word_ratio
    assert ratio is not None
    assert ratio >= 0.12


@pytest.mark.parametrize("language", sorted(PROSE))
def test_every_listed_word_can_be_met(language: str) -> None:
    lists = word_lists(language)
    for words in (lists.stop, lists.spam, lists.flagged):
        unreachable = [word for word in words or () if words_of(word, language) != [word]]
        assert not unreachable


def test_unknown_languages_have_no_lists() -> None:
    for language in (None, "xx", "../en"):
        statistics = text_statistics(PROSE["en"], language)
        assert (statistics.stop_word_ratio, statistics.flagged_word_ratio, statistics.spam_word_ratio) == (None,) * 3
        assert statistics.num_words > 30
    assert text_statistics(PROSE["de"], "de").flagged_word_ratio is None


def test_unspaced_languages_count_letters() -> None:
    assert words_of("我们在2024年用Python写程序。", "zh") == [*"我们在年用", "python", *"写程序"]
    assert words_of("ที่นี่ดี", "th") == [*"ทนด"]
    chinese = text_statistics("今天很好，是的。", "zh")
    assert chinese == TextStatistics(6, 0.0, None, 0.25, None, None, 2 / 8, None, 0)
    assert text_statistics("ที่นี่ดี", "th").punctuation_ratio is None


def test_time_grows_with_length_only() -> None:
    def seconds(text: str) -> float:
        start = time.process_time()
        text_statistics(text, "en")
        return time.process_time() - start

    hostile = ["a" * 400_000, "!" * 400_000, "a." * 200_000, "ab " * 130_000, " " * 400_000, "'" * 400_000]
    assert max(seconds(text) for text in hostile) < 3.0
