"""The text before and after an element in its line, across the inline elements around it."""

from __future__ import annotations

from itertools import islice

from lxml.etree import _Element

from gobelin.transforms.pages.tree.visible_text import SKIPPED

_MAX_STEPS = 24
_MAX_PARTS = 64
_NEVER: frozenset[str] = frozenset()

LINE_TAGS = frozenset((
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins",
    "kbd", "label", "mark", "nobr", "output", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup",
    "time", "tt", "u", "var", "wbr", "slot",
))  # fmt: skip
"""Inline elements."""


def is_in_line(element: _Element) -> bool:
    return element.tag in LINE_TAGS or (isinstance(element.tag, str) and "-" in element.tag)


def block_of(element: _Element) -> _Element | None:
    """The innermost block element around an element, or None if it is too far away."""
    parent = element.getparent()
    for _ in range(_MAX_STEPS):
        if parent is None or not is_in_line(parent):
            return parent
        parent = parent.getparent()
    return None


def text_before(element: _Element, num_chars: int, unread: frozenset[str] = _NEVER) -> str:
    """The last ``num_chars`` characters before an element in its line; fewer if the line begins earlier.

    Args:
        unread: tags whose text is ignored.
    """
    text = ""
    node = element
    for _ in range(_MAX_STEPS):
        previous = node.getprevious()
        if previous is not None:
            text = (previous.tail or "")[-num_chars:] + text
            if len(text) >= num_chars or not (
                is_in_line(previous) or previous.tag in SKIPPED or previous.tag in unread
            ):
                break
            if previous.tag not in unread and previous.tag not in SKIPPED:
                text = _last_text(previous, num_chars, unread) + text
                if len(text) >= num_chars:
                    break
            node = previous
            continue
        parent = node.getparent()
        if parent is None:
            break
        text = (parent.text or "")[-num_chars:] + text
        if len(text) >= num_chars or not is_in_line(parent):
            break
        node = parent
    return text[-num_chars:]


def text_behind(element: _Element, num_chars: int, unread: frozenset[str] = _NEVER) -> str:
    """The first ``num_chars`` characters after an element in its line; fewer if the line ends earlier.

    Args:
        unread: tags whose text is ignored.
    """
    text = ""
    node = element
    for _ in range(_MAX_STEPS):
        text += (node.tail or "")[:num_chars]
        if len(text) >= num_chars:
            break
        following = node.getnext()
        if following is None:
            parent = node.getparent()
            if parent is None or not is_in_line(parent):
                break
            node = parent
            continue
        if not (is_in_line(following) or following.tag in SKIPPED or following.tag in unread):
            break
        if following.tag not in unread and following.tag not in SKIPPED:
            text += _first_text(following, num_chars, unread)
        node = following
    return text[:num_chars]


def _last_text(element: _Element, num_chars: int, unread: frozenset[str]) -> str:
    if not unread:
        parts = [str(part)[-num_chars:] for part in islice(element.itertext(), _MAX_PARTS)]
        if len(parts) < _MAX_PARTS:
            return "".join(parts)[-num_chars:]
    text = ""
    for _ in range(_MAX_STEPS):
        if len(element) == 0:
            return (element.text or "")[-num_chars:] + text
        last = element[-1]
        text = (last.tail or "")[-num_chars:] + text
        if len(text) >= num_chars or last.tag in unread or last.tag in SKIPPED:
            return text
        element = last
    return text


def _first_text(element: _Element, num_chars: int, unread: frozenset[str]) -> str:
    for _ in range(_MAX_STEPS):
        if element.tag in unread or element.tag in SKIPPED:
            return ""
        if element.text or len(element) == 0:
            return (element.text or "")[:num_chars]
        element = element[0]
    return ""
