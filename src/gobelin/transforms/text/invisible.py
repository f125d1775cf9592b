"""Invisible characters. They stay in a text, but comparisons of texts ignore them.

Persian, Indic scripts and emoji need the zero-width joiner and non-joiner. Thai and Khmer mark words by a zero-width
space. Editors leave soft hyphens, direction marks and byte-order marks. A reader sees no difference between two texts
that differ only in these, so duplicates, repeated lines, word counts, word lists and contamination compare
``comparable(text)``.

The characters are those with Unicode's property Default_Ignorable_Code_Point (DerivedCoreProperties.txt, 16.0), without
the fillers of Hangul, which stand for a letter.
"""

from __future__ import annotations

import re

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    "\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)


def comparable(text: str) -> str:
    """The text without invisible characters. Most texts are returned unchanged."""
    return text if text.isascii() else _INVISIBLE.sub("", text)
