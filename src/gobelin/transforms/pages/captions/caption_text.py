"""The text of a caption as a reader sees it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from lxml.etree import _Element, iterwalk

from gobelin.transforms.pages.tree.visible_text import is_hidden

MAX_CAPTION_CHARS = 1500
"""Maximum length of a caption that the page marks as one. The longest on 576 real pages has 1,290 characters."""

MAX_CLASS_CHARS = 512

HIDDEN_CLASS = re.compile(
    r"(?:^|[\s_-])(?:off-?screen|(?:visually|element)-?(?:hidden|invisible)|sr-only|screen-?reader(?:-text)?)(?:$|[\s_-])",
    re.I,
)
NO_WORDS = frozenset((
    "script", "style", "noscript", "svg", "button", "template",
))  # fmt: skip
_BLOCKS = frozenset((
    "p", "div", "br", "li", "dd", "dt", "td", "tr", "blockquote", "figcaption", "cite", "footer", "small",
))  # fmt: skip
_PERMALINKS = frozenset(("¶", "#", "§", "🔗"))


def text_of(element: _Element, is_shown: bool = False) -> str:
    """The text of an element with folded white space. Spaces separate blocks, and neighbouring spans with a class.

    Returns "" if there is no text, if it is far longer than a caption, or if the page hides it.

    Args:
        is_shown: whether to read the element although a style or class hides it. Captions are often hidden until the
            pointer is over the image.
    """
    if element.get("hidden") is not None or (is_hidden(element) and not is_shown):
        return ""
    pieces: list[str] = []
    length = 0
    walker = iterwalk(element, events=("start", "end", "comment", "pi"))
    for event, part in walker:
        if event == "start":
            if part.tag in _BLOCKS:
                pieces.append(" ")
            if part is not element and _is_unread(part):
                walker.skip_subtree()
            else:
                pieces.append(part.text or "")
            continue
        if part is element:
            continue
        if part.tag in _BLOCKS or (part.tag == "span" and not part.tail and part.get("class")):
            pieces.append(" ")
        pieces.append(part.tail or "")
        length += len(pieces[-1]) + len(part.text or "")
        if length > 4 * MAX_CAPTION_CHARS:
            return ""
    text = fold("".join(pieces))
    half = len(text) // 2
    return text[:half] if half > 8 and text[half] == " " and text[:half] == text[half + 1 :] else text  # repeated


def join_parts(texts: Sequence[str]) -> str:
    """Joins the parts of one caption. A part that is a truncated copy of another one is left out."""
    kept: list[str] = []
    for text in texts:
        start = text.rstrip(". …")[: max(len(text) * 3 // 4, 1)]
        if not any(other is not text and len(other) > len(text) and other.startswith(start) for other in texts):
            kept.append(text)
    return " ".join(dict.fromkeys(kept))


def _is_unread(part: _Element) -> bool:
    """Whether an element in a caption is not part of its text: a script, a permalink sign, a hint for screen
    readers."""
    if part.tag in NO_WORDS or (part.tag == "a" and (part.text or "").strip() in _PERMALINKS):
        return True
    return HIDDEN_CLASS.search(part.get("class", ""), 0, MAX_CLASS_CHARS) is not None or is_hidden(part)


def fold(text: str | None) -> str:
    return " ".join(text.split()) if text else ""


def has_words(text: str | None) -> bool:
    return text is not None and text != "" and not text.isspace()


def has_more(element: _Element, num_children: int) -> bool:
    """Whether an element has more than ``num_children`` children. ``len()`` would count all of them."""
    return next(islice(element, num_children, None), None) is not None


def colspan(cell: _Element) -> int:
    span = cell.get("colspan", "") if isinstance(cell.tag, str) else "0"
    return int(span) if span.isdecimal() and len(span) < 4 else 1
