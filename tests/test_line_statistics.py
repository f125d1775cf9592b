"""Lines, paragraphs and sentences of a document."""

from __future__ import annotations

import time

import pytest

from gobelin.transforms.text.line_statistics import (
    SHORT_LINE,
    LineCounts,
    LineStatistics,
    count_lines,
    count_sentences,
    line_statistics,
    lines_of,
)


def measure(paragraphs: list[str], language: str | None = "en", num_words: int = 10) -> LineStatistics:
    counts = LineCounts()
    lines = []
    for paragraph in paragraphs:
        lines += lines_of(paragraph)
        counts.add(count_lines(lines_of(paragraph), language))
    return line_statistics(counts, lines, paragraphs, num_words, language)


@pytest.mark.parametrize(
    ("text", "lines"),
    [("", []), ("a", ["a"]), (" a \n\n\tb\r\n", ["a", "b"]), ("\n \n", []), ("a\u2028b", ["a\u2028b"])],
)
def test_lines(text: str, lines: list[str]) -> None:
    assert lines_of(text) == lines


@pytest.mark.parametrize(
    ("line", "is_bullet"),
    [
        ("• one", True),
        ("•one", True),
        ("- one", True),
        ("– one", True),
        ("* one", True),
        ("-one", False),
        ("*one*", False),
        ("1. one", False),
        ("one • two", False),
    ],
)
def test_bullets(line: str, is_bullet: bool) -> None:
    assert measure([line]).bullet_line_ratio == is_bullet


def test_list_items_are_bullet_lines() -> None:
    """The page's own bullets are not in the text."""
    assert count_lines(["one", "more of it"], "en", is_list_item=True).num_bullets == 1
    assert count_lines(["• one"], "en", is_list_item=True).num_bullets == 1
    assert count_lines([], "en", is_list_item=True).num_bullets == 0


@pytest.mark.parametrize(
    ("line", "language", "is_terminal", "is_ellipsis"),
    [
        ("It ends.", "en", 1, 0),
        ("Does it?", "en", 1, 0),
        ('"It does."', "en", 1, 0),
        ("It does!”", "en", 1, 0),
        ("A heading", "en", 0, 0),
        ("A colon:", "en", 0, 0),
        ("(in brackets.)", "en", 0, 0),
        ("Read more...", "en", 1, 1),
        ("Read more…", "en", 1, 1),
        ("结束了。", "zh", 1, 0),
        ("「終わった」", "ja", 1, 0),
        ("هل انتهى؟", "ar", 1, 0),
        ("ขอบคุณ", "th", None, None),
    ],
)
def test_how_lines_end(line: str, language: str, is_terminal: int | None, is_ellipsis: int | None) -> None:
    found = measure([line], language)
    assert (found.terminal_punctuation_ratio, found.ellipsis_line_ratio) == (is_terminal, is_ellipsis)


@pytest.mark.parametrize(
    ("line", "language", "is_short"),
    [
        ("x" * SHORT_LINE, "en", True),
        ("x" * (SHORT_LINE + 1), "en", False),
        ("字" * 10, "zh", True),
        ("字" * 11, "zh", False),
        ("ก" * 11, "th", None),
    ],
)
def test_short_lines(line: str, language: str, is_short: bool | None) -> None:
    assert measure([line], language).short_line_ratio == is_short


def test_duplicates_are_those_that_stood_before() -> None:
    found = measure(["ab", "ab\ncdef", "ab"])
    assert found.duplicate_line_ratio == pytest.approx(2 / 4)
    assert found.duplicate_line_char_ratio == pytest.approx(4 / 10)
    assert found.duplicate_paragraph_ratio == pytest.approx(1 / 3)
    assert found.duplicate_paragraph_char_ratio == pytest.approx(2 / 11)


@pytest.mark.parametrize(("paragraphs", "num_words", "ratio"), [([], 0, 0), (["a"], 1, 0), (["a", "b\nc"], 4, 0.5)])
def test_line_breaks_for_each_word(paragraphs: list[str], num_words: int, ratio: float) -> None:
    assert measure(paragraphs, num_words=num_words).line_break_ratio == ratio


def test_a_document_without_text() -> None:
    assert measure([]) == LineStatistics(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)
    assert measure([], "th").num_sentences is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("No end", 0),
        ("One. Two! Three?", 3),
        ("One... Two?! Three.", 3),
        ("It is 3.5 m long, e.g. here, at a.example.", 1),
        ('She said "Stop." Then (at last.) it ended.', 2),
        ("One.\nTwo.", 2),
        ("One. two", 0),
        ("Ёлка. Дом. дом.", 2),
        ("一。二！三？", 3),
        ("一……二。", 1),
        ("एक। दो।", 2),
        ("هل؟ نعم.", 2),
        (".....a", 0),
    ],
)
def test_sentences(text: str, expected: int) -> None:
    assert count_sentences(text) == expected


@pytest.mark.parametrize("unit", [".", "!?", ". ", ".\n\n", ".'", '."', "。", "a.", ". a", "؟", ".)]", " ", ".  \t"])
def test_sentences_in_linear_time(unit: str) -> None:
    text = unit * (400_000 // len(unit)) + "a"
    start = time.process_time()
    count_sentences(text)
    assert time.process_time() - start < 2.0
