"""Numbers about a text: its length, repetition, and shares of special characters and of words of each kind.

The definitions are those of OBELICS (Laurençon et al., 2023, arXiv 2306.16527, A.1, and its released filters),
which asks the same of a paragraph and of a whole document, with other thresholds. Nothing is decided here.

    words               white-space pieces, lower case, without special characters at their ends, unless empty
    char repetition     of all 10-character windows, the share that the most frequent distinct ones hold; as many
                        of them as min(floor(sqrt(distinct windows)), windows seen more than once)
    word repetition     the share of 5-word windows that occur more than once
    special characters  the share of characters that are no letters: spaces, digits, punctuation, symbols
    punctuation         the share of . , ! ? ; : among these and the words; not asked of short paragraphs
    stop, flagged, spam the share of words on a list of ``word_lists/<language>.yaml``

What differs from OBELICS, knowingly: special characters are Unicode categories (punctuation, symbols, numbers,
separators, controls) instead of a list of a few hundred; any white space separates words, not only space, tab
and newline; a curly apostrophe in a word counts as a straight one; the punctuation of other scripts counts
(OBELICS is English only); the word lists are this project's own.

Languages written without spaces (``UNSPACED``) have no words that could be counted without a segmenter. There,
each letter of such a script counts as one word (a run of other letters, such as a Latin name, is one too), so
``num_words`` is a number of letters: roughly 1.5 to 2 for a Chinese word, 3 to 4 for a Thai one. Limits meant for
words are that much off there. Word repetition is None, since windows of five letters repeat in any text; stop,
flagged and spam words are None for want of lists; punctuation is None where the script does without it (all but
Chinese and Japanese).

Cost: linear in the text, one ``Counter`` over its windows; about 2400 documents of 2 kB a second on one core.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import unicodedata
from collections import Counter
from pathlib import Path

import yaml

CHAR_WINDOW = 10
"""Characters a window, for the repetition of characters."""
WORD_WINDOW = 5
"""Words a window, for the repetition of words."""
PARAGRAPH_MIN_TOKENS = 12
"""Words and punctuation marks below which OBELICS does not ask a paragraph for punctuation."""

UNSPACED = frozenset(["zh", "yue", "wuu", "ja", "th", "lo", "km", "my", "bo"])
"""Chinese (also Cantonese and Wu), Japanese, Thai, Lao, Khmer, Burmese, Tibetan; ISO 639-1 or -3."""
_PUNCTUATED = frozenset(["zh", "yue", "wuu", "ja"])  # of these, the ones that use punctuation marks

_PUNCTUATION = frozenset(",;:?!." + "，；：？！。、" + "،؛؟" + "।॥" + "։" + "።፣፤")
_TOKEN = re.compile(rf"[\w']+|[{''.join(sorted(_PUNCTUATION))}]")
# Blocks of the scripts of UNSPACED: each character by itself, or a run of other letters and digits.
_BLOCKS = (
    "\u0e00-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese; Khmer
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # kana, Han
)
_UNSPACED_TOKEN = re.compile(rf"[{_BLOCKS}]|[^\W{_BLOCKS}]+")

# Each of these occurs once in the customary filler text and, for all practical purposes, nowhere else.
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


@dataclasses.dataclass(frozen=True, slots=True)
class WordLists:
    """The word lists of a language; None where it has no list of that kind. Words as ``words_of`` gives them."""

    stop: frozenset[str] | None = None
    flagged: frozenset[str] | None = None
    spam: frozenset[str] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class TextStatistics:
    """What ``text_statistics`` measured; ratios in [0, 1], None where language or length give no answer."""

    num_words: int
    char_repetition_ratio: float
    word_repetition_ratio: float | None
    special_char_ratio: float
    stop_word_ratio: float | None
    flagged_word_ratio: float | None
    punctuation_ratio: float | None
    spam_word_ratio: float | None
    num_lorem_ipsum: int


def text_statistics(text: str, language: str | None, punctuation_min_tokens: int = 0) -> TextStatistics:
    """The statistics of a paragraph, or of a document (its texts joined by an empty line).

    Args:
        text: as extracted; may be empty (then every ratio is 0 or None).
        language: ISO 639-1 code; None and languages without lists give None for the ratios that need a list.
        punctuation_min_tokens: with fewer words and punctuation marks, ``punctuation_ratio`` is None. OBELICS:
            ``PARAGRAPH_MIN_TOKENS`` for a paragraph, 0 for a document.
    """
    characters = Counter(text)
    special = "".join(character for character in characters if is_special(character))
    words = _words(text, special, language)
    lists = word_lists(language)
    unspaced = language in UNSPACED
    return TextStatistics(
        num_words=len(words),
        char_repetition_ratio=char_repetition_ratio(text),
        word_repetition_ratio=None if unspaced else word_repetition_ratio(words),
        special_char_ratio=sum(characters[character] for character in special) / max(1, len(text)),
        stop_word_ratio=_share(words, lists.stop),
        flagged_word_ratio=_share(words, lists.flagged),
        punctuation_ratio=_punctuation_ratio(text, words, language, punctuation_min_tokens),
        spam_word_ratio=_share(words, lists.spam),
        num_lorem_ipsum=num_lorem_ipsum(words),
    )


def words_of(text: str, language: str | None) -> list[str]:
    """The words of a text, lower case and without outer punctuation; characters in languages of ``UNSPACED``."""
    return _words(text, "".join(character for character in set(text) if is_special(character)), language)


def char_repetition_ratio(text: str, window: int = CHAR_WINDOW) -> float:
    """Share of the character windows that the most frequent ones hold, [0, 1]; 0 if there is no window."""
    num_windows = len(text) - window + 1
    if num_windows <= 0:
        return 0.0
    counts = Counter([text[start : start + window] for start in range(num_windows)])
    # Only repeated windows can count, so the singletons, nearly all of them, need not be sorted.
    repeated = sorted((count for count in counts.values() if count > 1), reverse=True)
    return sum(repeated[: math.isqrt(len(counts))]) / num_windows


def word_repetition_ratio(words: list[str], window: int = WORD_WINDOW) -> float:
    """Share of the word windows that occur more than once, [0, 1]; 0 if there is no window."""
    num_windows = len(words) - window + 1
    if num_windows <= 0:
        return 0.0
    counts = Counter(zip(*(words[start:] for start in range(window)), strict=False))
    if len(counts) == num_windows:
        return 0.0
    return sum(count for count in counts.values() if count > 1) / num_windows


def num_lorem_ipsum(words: list[str]) -> int:
    """Occurrences of phrases of the customary filler text among the words."""
    joined = " ".join(words)
    return sum(joined.count(phrase) for phrase in _LOREM_IPSUM)


@functools.cache
def is_special(character: str) -> bool:
    """True for what is no letter and no mark on one: punctuation, symbols, numbers, separators, controls."""
    return unicodedata.category(character)[0] in "PSNZC"


@functools.cache
def word_lists(language: str | None) -> WordLists:
    """The packaged lists of a language; all None if there are none."""
    path = Path(__file__).parent / "word_lists" / f"{language}.yaml"
    if language is None or not language.isalpha() or not path.exists():
        return WordLists()
    lists = yaml.safe_load(path.read_text(encoding="utf-8"))
    return WordLists(**{kind: frozenset(words.split()) for kind, words in lists.items()})


def _words(text: str, special: str, language: str | None) -> list[str]:
    # str.strip looks each character up in its argument, so it gets the few special characters that the text has.
    text = text.lower().replace("’", "'")
    strip = special + "'"
    if language not in UNSPACED:
        return [word for piece in text.split() if (word := piece.strip(strip))]
    words = [word for token in _UNSPACED_TOKEN.findall(text) if (word := token.strip(strip))]
    return [word for word in words if unicodedata.category(word[0])[0] == "L"]  # not the marks above a Thai letter


def _share(words: list[str], listed: frozenset[str] | None) -> float | None:
    if listed is None:
        return None
    return sum(word in listed for word in words) / max(1, len(words))


def _punctuation_ratio(text: str, words: list[str], language: str | None, min_tokens: int) -> float | None:
    if language in UNSPACED:
        if language not in _PUNCTUATED:
            return None
        num_marks = sum(character in _PUNCTUATION for character in text)
        num_tokens = num_marks + len(words)
    else:
        tokens = _TOKEN.findall(text)
        num_marks = sum(token in _PUNCTUATION for token in tokens)
        num_tokens = len(tokens)
    if num_tokens < min_tokens:
        return None
    return num_marks / max(1, num_tokens)
