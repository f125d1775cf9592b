"""Finds texts that consist mostly of control or replacement characters. They never become nodes.

Binary data (undeclared compression, a font with the type of a page, garbage after the end of a page) and text in an
unknown encoding arrive here as control characters and U+FFFD. ``without_unreadable`` works on the page's source, which
still has both: it removes the stretches between tags that hold too many of them, and reports their share, by which the
caller rejects a page. ``is_readable`` checks a single text that is about to become a node.
"""

from __future__ import annotations

import re

MAX_UNREADABLE_PAGE = 0.5
"""Maximum share of unreadable stretches in a page's text, in characters without white space. Above it, the page
fails."""

_MAX_BAD = 0.3
"""Maximum share of replacement and control characters in a readable text, without white space."""

_MAX_CONTROL = 0.05
"""Maximum share of control characters alone. Real text has none, and in compressed data one byte in nine is one."""

_MIN_CONTROL = 4

_CONTROL = r"\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f"
_IS_CONTROL = re.compile(f"[{_CONTROL}]")
_BAD = re.compile(f"[{_CONTROL}\x80-\x9f\ufffd-\uffff]")
_BLANKS = re.compile(r"\s+")
_MARKUP = re.compile(
    r"(<!--(?s:.*?)(?:-->|\Z)|<(?:script|style)\b(?s:.*?)(?:</(?:script|style)|\Z)|<[a-zA-Z/!?][^<>]{0,4000}>?)", re.I
)


def is_readable(text: str) -> bool:
    """Whether a text consists of more than control and replacement characters."""
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
    """Removes the unreadable stretches between tags from a page's source. Takes linear time.

    Returns:
        (the source without them, their share of the page's text in [0, 1]).
    """
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
