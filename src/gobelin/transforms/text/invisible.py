"""Invisible characters. They stay in a text, and comparisons of texts ignore them.

Persian and the scripts of India need the joiner and the non-joiner of width zero, emoji too; Thai and Khmer mark words
by a space of width zero; editors leave soft hyphens, marks of direction and of byte order behind. Two texts that differ
in nothing else are the same to a reader, so duplicates, repeated lines, word counts, word lists and contamination
compare ``comparable(text)``.

The characters are those of Unicode's property Default_Ignorable_Code_Point (DerivedCoreProperties.txt, 16.0), but for
the fillers of Hangul, which stand for a letter.
"""

from __future__ import annotations

import re

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    "\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)


def comparable(text: str) -> str:
    """The text without invisible characters; of most texts the text itself."""
    return text if text.isascii() else _INVISIBLE.sub("", text)
