"""Texts that are mostly control or replacement characters: they never become nodes.

Bytes that are no text (packed ones that nothing announces, a font under a page's type, rubbish behind the page's end)
and text in an encoding that nobody knows come here as control characters and U+FFFD. ``without_unreadable`` looks at
the page's source, where both are still there: stretches between tags that hold too many of them go, and where they are
most of the page, the page is no page. ``is_readable`` looks at a single text that is about to become a node.
"""

from __future__ import annotations

import re

MAX_UNREADABLE_PAGE = 0.5
"""Share of a page's text, in characters without blanks, in stretches that cannot be read. Above it, the page goes."""

_MAX_BAD = 0.3
"""Replacement and control characters among all of a text without blanks, above which it cannot be read."""

_MAX_CONTROL = 0.05
"""Control characters alone: no text has them, and one byte in nine of packed data is one."""

_MIN_CONTROL = 4

_CONTROL = r"\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f"
_IS_CONTROL = re.compile(f"[{_CONTROL}]")
_BAD = re.compile(f"[{_CONTROL}\x80-\x9f\ufffd-\uffff]")
_BLANKS = re.compile(r"\s+")
_MARKUP = re.compile(
    r"(<!--(?s:.*?)(?:-->|\Z)|<(?:script|style)\b(?s:.*?)(?:</(?:script|style)|\Z)|<[a-zA-Z/!?][^<>]{0,4000}>?)", re.I
)


def is_readable(text: str) -> bool:
    """Whether a text is more than control and replacement characters."""
    if (text.isprintable() and "\ufffd" not in text) or (text.isascii() and not _IS_CONTROL.search(text)):
        return True
    num_bad = len(_BAD.findall(text))
    if not num_bad:
        return True
    num_chars = len(_BLANKS.sub("", text))
    num_control = len(_IS_CONTROL.findall(text))
    if num_control >= _MIN_CONTROL and num_control > _MAX_CONTROL * num_chars:
        return False
    return num_bad <= _MAX_BAD * num_chars


def without_unreadable(text: str) -> tuple[str, float]:
    """A page's source without the stretches between tags that cannot be read, and their share of its text, [0, 1]. One
    linear pass."""
    parts = _MARKUP.split(text)
    kept = dropped = 0
    for place in range(0, len(parts), 2):
        part = parts[place]
        if not part:
            continue
        num_chars = len(_BLANKS.sub("", part))
        if is_readable(part):
            kept += num_chars
        else:
            parts[place] = " "
            dropped += num_chars
    return "".join(parts), dropped / max(1, kept + dropped)
