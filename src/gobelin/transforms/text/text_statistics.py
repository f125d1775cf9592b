"""Statistics of a text: its length, its words, shares of special characters and of listed words.

They are computed for a paragraph (a text node) and for a whole document, which have different thresholds. Nothing is
decided here.

    words               see words.py
    special characters  share of characters that are not letters: spaces, digits, punctuation, symbols (OBELICS)
    punctuation         share of . , ! ? ; : among punctuation marks and words; not for short paragraphs (OBELICS)
    stop, spam, ...     share of words that are on a list, see listed_words.py (OBELICS)
    frequent stop words number of distinct ones among the eight or so most frequent of the language (Gopher)
    word length         mean over all words; maximum (Gopher: 3 to 10; C4: at most 1000)
    symbols             "#", or ellipses if there are more of them, per word (Gopher)
    alphabetic words    share of the pieces between white space that contain a letter (Gopher)
    curly brackets,     number of occurrences (C4)
    javascript, policy
    phrases

Repetition and lines are in repetition.py and line_statistics.py. Sources: OBELICS (Laurençon et al. 2023, arXiv
2306.16527, A.1, and its released filters), Gopher (Rae et al. 2021, arXiv 2112.11446, A.1.1), C4 (Raffel et al. 2020,
arXiv 1910.10683, 2.2, and its code). docs/text-scores.md holds each definition and threshold beside its source.

Deliberate differences from OBELICS: special characters are Unicode categories instead of a list of a few hundred
characters; any white space separates words, not only space, tab and newline; punctuation of other scripts counts
(OBELICS is English only); the word lists are this project's own. As in Gopher, a word is a piece between white space,
but its length counts only its letters, and numbers are not words.

The words and most counts of a document are the sums over its texts, so each text is processed once. Cost: linear; about
3 MB of text per second and core for this file, repetition.py and line_statistics.py together.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from typing import Any

from gobelin.transforms.text.invisible import comparable
from gobelin.transforms.text.line_statistics import (
    PUNCTUATED,
    LineCounts,
    count_lines,
    line_statistics,
    lines_of,
    terminal_ratio,
)
from gobelin.transforms.text.listed_words import WordLists, separator_of, word_lists
from gobelin.transforms.text.repetition import (
    WORD_WINDOW,
    char_repetition_ratio,
    word_repetition,
    word_repetition_ratio,
)
from gobelin.transforms.text.words import LETTERS_A_WORD, UNSPACED, is_special, num_words, split_words

PARAGRAPH_MIN_TOKENS = 12
"""Number of words and punctuation marks below which OBELICS does not test the punctuation of a paragraph."""

_PUNCTUATION = frozenset(",;:?!." + "，；：？！。、" + "،؛؟" + "।॥" + "։" + "።፣፤")
_RUN = re.compile(r"[\w']+")

# Each of these occurs once in the usual filler text, and practically nowhere else.
_LOREM_IPSUM = (
    "lorem ipsum",
    "dolor sit amet",
    "consectetur adipiscing elit",
    "consectetur adipisicing elit",
    "consectetuer adipiscing elit",
    "sed do eiusmod",
    "sed diam nonummy",
    "incididunt ut labore",
    "dolore magna aliqua",
    "enim ad minim veniam",
    "quis nostrud exercitation",
    "ullamco laboris nisi",
    "duis aute irure",
    "reprehenderit in voluptate",
    "cillum dolore eu fugiat",
    "excepteur sint occaecat",
    "cupidatat non proident",
    "culpa qui officia",
    "deserunt mollit anim",
    "vestibulum ante ipsum",
    "pellentesque habitant morbi",
)
_LOREM_IPSUM_STARTS = frozenset(phrase.split()[0] for phrase in _LOREM_IPSUM)

_POLICY_PHRASES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
"""The English phrases in C4's code."""


@dataclasses.dataclass(frozen=True, slots=True)
class TextStatistics:
    """The result of ``text_statistics``. Ratios are in [0, 1]; None if they are undefined for the language or
    length."""

    num_words: int
    char_repetition_ratio: float
    word_repetition_ratio: float
    special_char_ratio: float
    stop_word_ratio: float | None
    flagged_word_ratio: float | None
    punctuation_ratio: float | None
    spam_word_ratio: float | None
    common_word_ratio: float | None
    num_lorem_ipsum: int
    mean_word_length: float | None  # in letters; None if words are letters
    max_word_length: int | None
    symbol_word_ratio: float  # symbols per word; may exceed 1
    alphabetic_word_ratio: float | None
    terminal_punctuation_ratio: float | None
    num_curly_brackets: int
    num_javascript: int
    num_policy_phrases: int | None


@dataclasses.dataclass(slots=True)
class TextCounts:
    """Counts of a text. The counts of a document are the sums over its texts."""

    text: str
    language: str | None
    lists: WordLists
    words: list[str]
    num_pieces: int
    num_words: int
    num_special: int
    num_marks: int
    num_tokens: int  # words, numbers and punctuation marks
    num_hashes: int
    num_ellipses: int
    num_curly_brackets: int
    num_javascript: int
    num_policy_phrases: int
    num_lorem_ipsum: int
    hits: dict[str, int]  # number of words on each list that the language has
    lines: list[str]
    line_counts: LineCounts


_SUMMED = ("num_pieces", "num_special", "num_marks", "num_tokens", "num_hashes", "num_ellipses", "num_curly_brackets",
           "num_javascript", "num_policy_phrases", "num_lorem_ipsum")  # fmt: skip


def text_statistics(
    text: str, language: str | None, punctuation_min_tokens: int = 0, lists: WordLists | None = None
) -> TextStatistics:
    """The statistics of a paragraph, or of a document (its texts joined by an empty line).

    Args:
        text: as extracted; may be empty (then every ratio is 0 or None).
        language: ISO 639-1 code. None, or a language without lists: ratios that need a list are None.
        punctuation_min_tokens: number of words and punctuation marks below which ``punctuation_ratio`` is None.
            OBELICS:
            ``PARAGRAPH_MIN_TOKENS`` for a paragraph, 0 for a document.
        lists: None: the packaged ones.
    """
    return TextStatistics(**statistics_of(count_text(text, language, lists), punctuation_min_tokens))


def count_text(
    text: str, language: str | None, lists: WordLists | None = None, is_list_item: bool = False
) -> TextCounts:
    """Counts the parts of a text; see ``text_statistics``. Invisible characters are ignored."""
    whole, text = text, comparable(text)
    lists = word_lists(language) if lists is None else lists
    characters = Counter(text)
    special = "".join(character for character in characters if is_special(character))
    words, num_pieces = split_words(text, special, language)
    num_marks = sum(characters[mark] for mark in special if mark in _PUNCTUATION)
    separator = separator_of(language)
    lower = text.lower() if "{" in special or language == "en" or "j" in characters or "J" in characters else ""
    lines = lines_of(text)
    return TextCounts(
        text=whole,
        language=language,
        lists=lists,
        words=words,
        num_pieces=num_pieces,
        num_words=num_words(words, language),
        num_special=sum(characters[character] for character in special),
        num_marks=num_marks,
        num_tokens=num_marks + (len(words) if language in UNSPACED else len(_RUN.findall(text))),
        num_hashes=characters["#"],
        num_ellipses=characters["…"] + (text.count("...") if "." in characters else 0),
        num_curly_brackets=characters["{"] + characters["}"],
        num_javascript=lower.count("javascript"),
        num_policy_phrases=sum(lower.count(phrase) for phrase in _POLICY_PHRASES) if language == "en" else 0,
        num_lorem_ipsum=num_lorem_ipsum(words),
        hits={
            kind: found.count(words, separator)
            for kind in ("stop", "flagged", "spam", "common")
            if (found := getattr(lists, kind)) is not None
        },
        lines=lines,
        line_counts=count_lines(lines, language, is_list_item),
    )


def join_counts(texts: list[TextCounts], language: str | None, lists: WordLists | None = None) -> TextCounts:
    """The counts of consecutive texts, joined by empty lines."""
    whole = count_text("", language, lists)
    whole.text = "\n\n".join(text.text for text in texts)
    whole.num_special = 2 * max(0, len(texts) - 1)  # the empty lines
    for text in texts:
        whole.words += text.words
        whole.lines += text.lines
        whole.line_counts.add(text.line_counts)
        for name in _SUMMED:
            setattr(whole, name, getattr(whole, name) + getattr(text, name))
        for kind, count in text.hits.items():
            whole.hits[kind] += count
    whole.num_words = num_words(whole.words, language)
    return whole


def statistics_of(counts: TextCounts, punctuation_min_tokens: int = 0) -> dict[str, Any]:
    """The statistics of a counted text, by the names of ``TextStatistics``."""
    # If words are letters, a window holds as many letters as five words have.
    window = WORD_WINDOW * LETTERS_A_WORD.get(counts.language or "", 1)
    return {
        **_shares(counts, punctuation_min_tokens),
        "word_repetition_ratio": word_repetition_ratio(counts.words, window),
    }


def document_statistics(
    texts: list[TextCounts], language: str | None, lists: WordLists | None = None
) -> dict[str, Any]:
    """The statistics of a document by name: those of ``TextStatistics``, ``Repetition`` and ``LineStatistics``, and
    ``num_stop_words``.

    Args:
        texts: its texts in order, without code.
    """
    whole = join_counts(texts, language, lists)
    lines = line_statistics(
        whole.line_counts, whole.lines, [text.text for text in texts if text.lines], whole.num_words, language
    )
    repetition = word_repetition(whole.words, LETTERS_A_WORD.get(language or "", 1))
    frequent = whole.lists.frequent
    return {
        **_shares(whole, 0),
        **dataclasses.asdict(repetition),
        **dataclasses.asdict(lines),
        "num_stop_words": None if frequent is None else frequent.count_distinct(whole.words),
    }


def _shares(counts: TextCounts, punctuation_min_tokens: int) -> dict[str, Any]:
    words, language, num_words = counts.words, counts.language, counts.num_words
    is_spaced = language not in UNSPACED
    has_marks = is_spaced or language in PUNCTUATED
    long_enough = counts.num_tokens >= punctuation_min_tokens
    lengths = list(map(len, words)) if is_spaced else []
    return {
        "num_words": num_words,
        "char_repetition_ratio": char_repetition_ratio(counts.text),
        "special_char_ratio": counts.num_special / max(1, len(counts.text)),
        "stop_word_ratio": _share(counts, "stop"),
        "flagged_word_ratio": _share(counts, "flagged"),
        "punctuation_ratio": counts.num_marks / max(1, counts.num_tokens) if has_marks and long_enough else None,
        "spam_word_ratio": _share(counts, "spam"),
        "common_word_ratio": _share(counts, "common"),
        "num_lorem_ipsum": counts.num_lorem_ipsum,
        "mean_word_length": sum(lengths) / max(1, len(lengths)) if is_spaced else None,
        "max_word_length": max(lengths, default=0) if is_spaced else None,
        "symbol_word_ratio": max(counts.num_hashes, counts.num_ellipses) / max(1, num_words),
        "alphabetic_word_ratio": len(words) / counts.num_pieces if counts.num_pieces else None,
        "terminal_punctuation_ratio": terminal_ratio(counts.line_counts, language, with_ellipses=False),
        "num_curly_brackets": counts.num_curly_brackets,
        "num_javascript": counts.num_javascript,
        "num_policy_phrases": counts.num_policy_phrases if language == "en" else None,
    }


def _share(counts: TextCounts, kind: str) -> float | None:
    found = counts.hits.get(kind)
    return None if found is None else min(1.0, found / max(1, counts.num_words))


def num_lorem_ipsum(words: list[str]) -> int:
    """The number of phrases of the usual filler text among the words."""
    if _LOREM_IPSUM_STARTS.isdisjoint(words):
        return 0
    joined = " ".join(words)
    return sum(joined.count(phrase) for phrase in _LOREM_IPSUM)
