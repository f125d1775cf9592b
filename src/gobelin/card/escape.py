"""Escapes untrusted words (sites, licences, titles) for a Markdown file: they are shown as text, never as markup."""

from __future__ import annotations

import re
import unicodedata

MAX_CHARS = 120
"""Longer values are cut."""

_TICKS = re.compile(r"`+")
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def one_line(text: str, max_chars: int = MAX_CHARS) -> str:
    """A text on one line, without invisible characters (controls, direction marks), truncated."""
    seen = "".join(" " if unicodedata.category(each) in _UNSEEN else each for each in text[: 4 * max_chars])
    folded = " ".join(seen.split())
    return folded if len(folded) <= max_chars else folded[: max_chars - 1] + "…"


def code(text: str) -> str:
    """A code span that shows a text literally. It may be in a table cell."""
    shown = one_line(text).replace("|", "\\|")
    if not shown:
        return "(empty)"
    fence = "`" * (max(map(len, _TICKS.findall(shown)), default=0) + 1)
    space = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{space}{shown}{space}{fence}"
