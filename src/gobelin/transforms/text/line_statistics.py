"""Statistics of the lines of a text: bullets, ellipses, sentence ends, short lines, duplicate lines and paragraphs.

A document is a list of nodes here, not one plain text. Its **paragraphs** are its text nodes without code. Its
**lines** are the non-empty lines of these, without white space at their ends. So a heading, a list item, a caption and
a table row are lines, and an ordinary paragraph is one line, as in the plain text that Gopher, C4 and FineWeb read.

    bullet lines       share of lines that are list items, or start with a bullet, or with a hyphen and a space (Gopher)
    ellipsis lines     share of lines that end with "..." or "…" (Gopher)
    terminal           share of lines that end with . ! ? … or a quotation mark, or their equivalents in other scripts
    punctuation        (C4, FineWeb); for a single text without "..." (C4)
    short lines        share of lines of at most 30 characters (FineWeb); 10 letters in Chinese and Japanese
    duplicate lines,   share of those that occurred earlier in the document, by number and by characters (Gopher,
    paragraphs         FineWeb)
    line breaks        line breaks (number of lines - 1) per word (FineWeb)
    sentences          marks of sentence ends, followed by the text's end or by white space and no lower-case letter
                       (C4, where nltk counts them)

Some of these do not exist in every script. Thai, Lao, Khmer, Burmese and Tibetan do not mark sentence ends, so the
values that need them are None, and so is the share of short lines, whose length is not known there.

Sources: Gopher (arXiv 2112.11446, A.1.1), C4 (arXiv 1910.10683, 2.2), FineWeb (arXiv 2406.17557, 3.4) and the code of
FineWeb's filters. Cost: 0.15 ms for a text of 10 kB.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from gobelin.transforms.text.invisible import comparable
from gobelin.transforms.text.words import UNSPACED

SHORT_LINE = 30
"""Maximum number of characters of a short line."""
SHORT_LINE_LETTERS = 10
"""The same in Chinese and Japanese: as many two-letter words as 30 characters hold words of six characters with a
space."""

PUNCTUATED = frozenset(["zh", "yue", "wuu", "ja"])
"""The languages of ``UNSPACED`` that use punctuation marks."""

TERMINAL = tuple(".!?…\"'”’»“" + "。！？．｡」』”" + "؟۔" + "।॥" + "։" + "።፧" + "᠃")
_ELLIPSES = ("...", "…")
_BULLET = re.compile(r"[•‣⁃▪▫■□●○◦◆◇►▶➢➤·∙*–—-](?=\s)|[•‣▪■●◦►▶➢➤]")
# A run of marks counts once, at its start. The lookbehind stands after the first mark, so that `re` can jump from one
# mark to the next.
_SENTENCE_END = re.compile(r"[.!?…](?<![.!?…][.!?…])[.!?…]*+[\"'”’»)\]]*+(?=\s++[^\sa-zà-öø-ÿα-ωа-яё]|\s*+\Z)")
_OTHER_SENTENCE_END = re.compile(r"[。！？｡]++|[؟۔]++|[।॥።]++")


@dataclasses.dataclass(slots=True)
class LineCounts:
    """Counts of a text's lines. The counts of a document are the sums over its texts."""

    num_lines: int = 0
    num_bullets: int = 0
    num_ellipses: int = 0
    num_terminal: int = 0
    num_short: int = 0

    def add(self, other: LineCounts) -> None:
        self.num_lines += other.num_lines
        self.num_bullets += other.num_bullets
        self.num_ellipses += other.num_ellipses
        self.num_terminal += other.num_terminal
        self.num_short += other.num_short


@dataclasses.dataclass(frozen=True, slots=True)
class LineStatistics:
    """Shares of the lines in [0, 1], or 0 without lines; None if the script has no such property."""

    bullet_line_ratio: float
    ellipsis_line_ratio: float | None
    terminal_punctuation_ratio: float | None
    short_line_ratio: float | None
    duplicate_line_ratio: float
    duplicate_line_char_ratio: float
    duplicate_paragraph_ratio: float
    duplicate_paragraph_char_ratio: float
    line_break_ratio: float  # line breaks per word
    num_sentences: int | None


def lines_of(text: str) -> list[str]:
    """The non-empty lines of a text, without white space at their ends."""
    if "\n" not in text:
        stripped = text.strip()
        return [stripped] if stripped else []
    return [line for piece in text.split("\n") if (line := piece.strip())]


def count_lines(lines: list[str], language: str | None, is_list_item: bool = False) -> LineCounts:
    """Counts the lines of one text.

    Args:
        is_list_item: whether the page marks the text as a list item. Then its first line is a bullet line.
    """
    short = SHORT_LINE_LETTERS if language in UNSPACED else SHORT_LINE
    counts = LineCounts(num_lines=len(lines))
    for line in lines:
        if _BULLET.match(line):
            counts.num_bullets += 1
        if line.endswith(TERMINAL):
            counts.num_terminal += 1
            counts.num_ellipses += line.endswith(_ELLIPSES)
        counts.num_short += len(line) <= short
    if is_list_item and lines and not _BULLET.match(lines[0]):
        counts.num_bullets += 1
    return counts


def terminal_ratio(counts: LineCounts, language: str | None, with_ellipses: bool = True) -> float | None:
    """The share of lines that end as a sentence does; None if the script has no marks for it.

    Args:
        with_ellipses: whether "..." counts. It does for documents (FineWeb), but not for single lines (C4), because
            "Read more..." is not a sentence.
    """
    num_ends = counts.num_terminal - (0 if with_ellipses else counts.num_ellipses)
    return num_ends / max(1, counts.num_lines) if has_sentence_marks(language) else None


def line_statistics(
    counts: LineCounts, lines: list[str], paragraphs: list[str], num_words: int, language: str | None
) -> LineStatistics:
    """The statistics of a document.

    Args:
        counts: the sum over its texts.
        lines, paragraphs: in order.
        num_words: the number of words in all of them.
    """
    has_marks = has_sentence_marks(language)
    total = counts.num_lines
    line_ratio, line_char_ratio = _duplicates(lines)
    paragraph_ratio, paragraph_char_ratio = _duplicates(paragraphs)
    return LineStatistics(
        bullet_line_ratio=counts.num_bullets / max(1, total),
        ellipsis_line_ratio=counts.num_ellipses / max(1, total) if has_marks else None,
        terminal_punctuation_ratio=terminal_ratio(counts, language),
        short_line_ratio=counts.num_short / max(1, total) if has_marks else None,
        duplicate_line_ratio=line_ratio,
        duplicate_line_char_ratio=line_char_ratio,
        duplicate_paragraph_ratio=paragraph_ratio,
        duplicate_paragraph_char_ratio=paragraph_char_ratio,
        line_break_ratio=max(0, total - 1) / max(1, num_words),
        num_sentences=sum(map(count_sentences, paragraphs)) if has_marks else None,
    )


def count_sentences(text: str) -> int:
    """The number of marks that end a sentence."""
    count = len(_SENTENCE_END.findall(text))
    return count if text.isascii() else count + len(_OTHER_SENTENCE_END.findall(text))


def has_sentence_marks(language: str | None) -> bool:
    """Whether a language marks the ends of sentences."""
    return language not in UNSPACED or language in PUNCTUATED


def _duplicates(texts: Iterable[str]) -> tuple[float, float]:
    """Returns (share of the texts that occurred before, their share of the characters)."""
    seen: set[str] = set()
    num_texts = num_duplicates = num_chars = num_duplicate_chars = 0
    for text in texts:
        num_texts += 1
        num_chars += len(text)
        seen_as = comparable(text)
        if seen_as in seen:
            num_duplicates += 1
            num_duplicate_chars += len(text)
        else:
            seen.add(seen_as)
    return num_duplicates / max(1, num_texts), num_duplicate_chars / max(1, num_chars)
