"""Word lists: the packaged ones (``word_lists/<language>.yaml``), and those that a recipe names.

    stop      function words, as many as possible; OBELICS uses their share of the words
    frequent  about eight of the most frequent stop words; Gopher counts how many distinct ones a text has
    spam      words of share bars, menus and calls to action
    flagged   words that are rare outside pornographic pages
    common    words that are common in the language; never packaged, see ``TextScoreConfig.common_words``

A recipe's list replaces the packaged one of that kind and language. Its file holds one word or phrase per line. Text
after a tab is ignored, and so are lines that start with "#". A file of common words may have a count per word
(``word<TAB>count``, or JSON: a list of words, or an object of words and counts).

Entries of several words are phrases, and each occurrence counts as one word. In languages of ``UNSPACED`` words are
letters, so each longer entry is a phrase.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Iterable, Mapping

import yaml

from gobelin.errors import UserError
from gobelin.store.files import exists, read_bytes
from gobelin.transforms.text.words import UNSPACED, words_of

KINDS = ("stop", "frequent", "spam", "flagged")


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """Entries of a list, in the form of ``words_of``."""

    words: frozenset[str]
    phrases: Mapping[str, tuple[tuple[str, ...], ...]]  # by their first word

    def __len__(self) -> int:
        return len(self.words) + sum(map(len, self.phrases.values()))

    def count(self, words: list[str], separator: str = " ") -> int:
        """The number of occurrences among the words of a text.

        Args:
            separator: "" if the words are letters.
        """
        found = 0
        if not self.words.isdisjoint(words):
            found = sum(map(self.words.__contains__, words))
        if self.phrases and not self.phrases.keys().isdisjoint(words):
            joined = _joined(words, separator)
            for first in self.phrases.keys() & set(words):
                found += sum(joined.count(_joined(phrase, separator)) for phrase in self.phrases[first])
        return found

    def count_distinct(self, words: list[str]) -> int:
        """The number of distinct single-word entries among the words."""
        return len(self.words.intersection(words))


@dataclasses.dataclass(frozen=True, slots=True)
class WordLists:
    """The word lists of a language; None for a kind without a list."""

    stop: Listed | None = None
    frequent: Listed | None = None
    spam: Listed | None = None
    flagged: Listed | None = None
    common: Listed | None = None


@functools.cache
def word_lists(language: str | None) -> WordLists:
    """The packaged lists of a language; all None if it has none."""
    path = os.path.join(os.path.dirname(__file__), "word_lists", f"{language}.yaml")
    if language is None or not language.isalpha() or not exists(path):
        return WordLists()
    lists = yaml.safe_load(read_bytes(path))
    return WordLists(**{kind: listed(words.split(), language) for kind, words in lists.items()})


def listed(entries: Iterable[str], language: str | None) -> Listed:
    """Makes a list from words and phrases in any spelling."""
    words, phrases = set(), set()
    for entry in entries:
        parts = tuple(words_of(entry, language))
        if len(parts) == 1:
            words.add(parts[0])
        elif parts:
            phrases.add(parts)
    by_first: dict[str, list[tuple[str, ...]]] = {}
    for parts in sorted(phrases):
        by_first.setdefault(parts[0], []).append(parts)
    return Listed(frozenset(words), {first: tuple(group) for first, group in by_first.items()})


def read_list(path: str, language: str, min_count: int = 0) -> Listed:
    """Reads a user's list.

    Args:
        min_count: entries with a lower count are left out; entries without a count stay.

    Raises:
        UserError: the file is missing, not UTF-8, or empty.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"word list {path} of {language}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"word list {path} of {language}: not UTF-8; save it as UTF-8, one word per line") from None
    counted = _json_entries(text, path) if path.endswith(".json") else _lines(text)
    found = listed((word for word, count in counted if count is None or count >= min_count), language)
    if not len(found):
        raise UserError(f"word list {path} of {language}: no words in it (one a line; a count may follow a tab)")
    return found


def _lines(text: str) -> Iterable[tuple[str, int | None]]:
    for line in text.splitlines():
        word, _, rest = line.partition("\t")
        if not word.startswith("#"):
            yield word, int(rest) if rest.strip().isdecimal() else None


def _json_entries(text: str, path: str) -> Iterable[tuple[str, int | None]]:
    try:
        values = json.loads(text)
    except ValueError:
        raise UserError(f"word list {path}: not valid JSON") from None
    if isinstance(values, dict):
        return [(str(word), int(count) if isinstance(count, (int, float)) else None) for word, count in values.items()]
    if isinstance(values, list):
        return [(str(word), None) for word in values]
    raise UserError(f"word list {path}: expected a list of words or an object of words and counts")


def _joined(words: Iterable[str], separator: str) -> str:
    # Each word has its own separators on both sides, so that two adjacent phrases are both found.
    return separator + (2 * separator).join(words) + separator


def separator_of(language: str | None) -> str:
    """The separator with which words of a language are joined."""
    return "" if language in UNSPACED else " "
