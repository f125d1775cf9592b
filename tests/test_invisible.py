"""Characters that nobody sees stay in a text, and do not count where texts are compared."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gobelin.transforms.duplicates.minhash import MinHashConfig, text_signature
from gobelin.transforms.score.config import ScoreConfig
from gobelin.transforms.score.measure import measure_document
from gobelin.transforms.text.contamination import find_contamination, load_eval_texts
from gobelin.transforms.text.invisible import comparable
from gobelin.transforms.text.line_statistics import LineCounts, line_statistics
from gobelin.transforms.text.text_config import ContaminationConfig
from gobelin.transforms.text.text_statistics import text_statistics
from gobelin.transforms.text.words import words_of

PLAIN = "The keeper of the lighthouse climbed the winding stair every evening before the boats came home to the bay"
MARKS = {
    "space of width zero": "\u200b", "non-joiner": "\u200c", "joiner": "\u200d", "soft hyphen": "\u00ad",
    "byte order mark": "\ufeff", "word joiner": "\u2060", "left-to-right": "\u200e", "right-to-left": "\u200f",
    "isolate": "\u2068", "embedding": "\u202b", "Arabic letter mark": "\u061c", "variation selector": "\ufe0f",
}  # fmt: skip


def digest(text: str) -> str | None:
    return text_signature(text, MinHashConfig()).digest


def marked(text: str, mark: str) -> str:
    """The mark inside every word of over four letters, and around the first word."""
    words = [f"{word[:3]}{mark}{word[3:]}" if len(word) > 4 else word for word in text.split(" ")]
    return f"{mark}{words[0]}{mark} {' '.join(words[1:])}"


@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
def test_marked_texts_are_the_same(mark: str) -> None:
    other = marked(PLAIN, mark)
    assert other != PLAIN
    assert comparable(other) == PLAIN
    assert text_signature(other, MinHashConfig()) == text_signature(PLAIN, MinHashConfig())
    assert words_of(other, "en") == words_of(PLAIN, "en")
    one, two = (dataclasses.asdict(text_statistics(text, "en")) for text in (PLAIN, other))
    for of_characters in ("char_repetition_ratio", "special_char_ratio"):
        del one[of_characters], two[of_characters]
    assert one == two


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("می\u200cخواهم کتاب\u200cها را", "میخواهم کتابها را"),  # Persian
        ("क्\u200dष और र्\u200dय", "क्ष और र्य"),  # Devanagari
        ("ภาษา\u200bไทย", "ภาษาไทย"),  # Thai
        ("Donau\u00addampf\u00adschiff", "Donaudampfschiff"),
        ("i\ufe0e", "I"),
    ],
)
def test_scripts_that_need_them(one: str, other: str) -> None:
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("می\u200cخواهم", "می خواهم"),  # a space is seen
        ("re-cover", "recover"),
        ("cafe", "caf\u00e9"),
        ("a\u00a0b", "ab"),
        ("\u1160가", "가"),  # a filler stands for a letter
    ],
)
def test_what_is_seen_counts(one: str, other: str) -> None:
    assert digest(one) != digest(other)


def test_lines_and_paragraphs_that_repeat() -> None:
    texts = [PLAIN, marked(PLAIN, "\u200b"), PLAIN.replace("boats", "ships")]
    found = line_statistics(LineCounts(), texts, texts, 60, "en")
    assert found.duplicate_paragraph_ratio == found.duplicate_line_ratio == 1 / 3


def test_contamination(tmp_path: Path) -> None:
    path = tmp_path / "eval.txt"
    path.write_text(PLAIN, encoding="utf-8")
    index = load_eval_texts(ContaminationConfig(texts=(str(path),)))
    assert find_contamination([PLAIN], index).num_eval_ngrams > 0
    assert find_contamination([marked(PLAIN, "\u00ad")], index) == find_contamination([PLAIN], index)
    assert find_contamination([PLAIN[::-1]], index).num_eval_ngrams == 0


def test_paragraphs_of_a_site(a_document: Any) -> None:
    texts = [PLAIN, marked(PLAIN, "\u200d"), PLAIN + "!"]
    measured, _ = measure_document(a_document("d", texts), ScoreConfig())
    keys = measured["paragraphs"]
    assert keys[0] == keys[1] != keys[2]
