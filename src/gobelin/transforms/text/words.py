"""Splits text into words, in scripts with and without spaces between words.

A word is a piece between white space, in lower case and without special characters at its ends. A piece with nothing
else, such as a number, is not a word; this is as in OBELICS. Special characters are those of Unicode's categories P, S,
N, Z and C: punctuation, symbols, numbers, separators, controls. A curly apostrophe inside a word counts as a straight
one. Invisible characters (invisible.py) are ignored.

Words in languages of ``UNSPACED`` cannot be counted without a segmenter. In these, each letter of such a script is a
token (a run of other letters, such as a Latin name, is one token too), and ``LETTERS_A_WORD`` letters count as one
word:

    number of words    runs of other letters + letters / LETTERS_A_WORD, rounded up
    n words in a row   n * LETTERS_A_WORD tokens

Two letters per word approximate Chinese and Japanese prose (segmenters find 1.5 to 2). Four is a round number for Thai,
Lao, Khmer, Burmese and Tibetan, whose marks above and below letters are not counted. Limits in words are therefore
accurate to about a quarter in these languages.

Cost: linear; about 40 MB of English text per second and core.
"""

from __future__ import annotations

import functools
import re
import unicodedata

from gobelin.transforms.text.invisible import comparable

LETTERS_A_WORD = {"zh": 2, "yue": 2, "wuu": 2, "ja": 2, "th": 4, "lo": 4, "km": 4, "my": 4, "bo": 4}
"""Languages that are written without spaces, as ISO 639-1 or -3 codes: Chinese (also Cantonese and Wu), Japanese, Thai,
Lao, Khmer, Burmese, Tibetan."""

UNSPACED = frozenset(LETTERS_A_WORD)

# Unicode blocks of the scripts of UNSPACED. A token is one of their characters, or a run of other letters and digits.
BLOCKS = (
    "\u0e00-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese; Khmer
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # kana, Han
)
UNSPACED_TOKEN = re.compile(rf"[{BLOCKS}]|[^\W{BLOCKS}]+")
_MANY_SPECIAL = 300
"""Number of distinct special characters from which each is looked up separately. Only constructed texts have so
many."""
_BLOCK_LETTER = re.compile(rf"[{BLOCKS}]")


def words_of(text: str, language: str | None) -> list[str]:
    """The words of a text, in lower case and without outer punctuation. In languages of ``UNSPACED`` they are
    letters."""
    return split_words(text, special_characters(text), language)[0]


def split_words(text: str, special: str, language: str | None) -> tuple[list[str], int]:
    """Returns (words of a text, number of pieces: words, numbers and pieces of symbols).

    Args:
        special: the special characters that occur in the text (``special_characters``).
    """
    text = comparable(text).lower()
    if "’" in text:
        text = text.replace("’", "'")
    if language in UNSPACED:
        pieces = [piece for piece in UNSPACED_TOKEN.findall(text) if not _is_mark(piece[0])]  # e.g. a Thai tone
    else:
        pieces = text.split()
    # str.strip looks each character up in its argument, so it gets the few special characters that the text has.
    strip = special + "'"
    if len(strip) <= _MANY_SPECIAL:
        words = [word for piece in pieces if (word := piece.strip(strip))]
    else:
        words = [word for piece in pieces if (word := _strip_one_by_one(piece))]
    if language in UNSPACED:
        words = [word for word in words if _is_letter(word[0])]
    return words, len(pieces)


def special_characters(text: str) -> str:
    """The distinct special characters of a text."""
    return "".join(character for character in set(text) if is_special(character))


def num_words(words: list[str], language: str | None) -> int:
    """The number of words of a text with these words (or letters, in languages of ``UNSPACED``)."""
    letters_a_word = LETTERS_A_WORD.get(language or "")
    if letters_a_word is None:
        return len(words)
    num_letters = sum(1 for word in words if len(word) == 1 and _BLOCK_LETTER.match(word))
    return len(words) - num_letters + -(-num_letters // letters_a_word)


def _strip_one_by_one(piece: str) -> str:
    start, end = 0, len(piece)
    while start < end and (is_special(piece[start]) or piece[start] == "'"):
        start += 1
    while start < end and (is_special(piece[end - 1]) or piece[end - 1] == "'"):
        end -= 1
    return piece[start:end]


@functools.lru_cache(maxsize=1 << 16)
def is_special(character: str) -> bool:
    """Whether a character is punctuation, a symbol, a number, a separator or a control: neither a letter nor a mark on
    one."""
    return unicodedata.category(character)[0] in "PSNZC"


@functools.lru_cache(maxsize=1 << 16)
def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


@functools.lru_cache(maxsize=1 << 16)
def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] == "L"
