"""Parses the text of a page into the one tree that everything else reads.

libxml2 (2.14) has two limits. It takes time quadratic in the number of attributes of a tag, so a tag with more than
``MAX_ATTRIBUTES`` loses them. It stops below 2,048 open elements and drops the rest of the page. Pages reach that depth
by thousands of missing end tags; then all tags of the deeply nested names are removed, and the rest is parsed again.
Parsing 130 KB takes 1 ms, and at most ``MAX_TRIES`` times that.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from itertools import islice
from typing import cast

from lxml import etree
from lxml.html import HtmlElement

from gobelin.data.model import Action
from gobelin.transforms.pages.tree.readable_text import MAX_UNREADABLE_PAGE, without_unreadable

MAX_TAGS = 250_000
"""Maximum number of ``<`` signs of a page. A book of 60,000 words with 350 figures has 8,000. Each takes 10-20 us, here
and in all later walks over the tree, so a page takes at most 4 s of CPU."""

MAX_ATTRIBUTES = 500
"""Maximum number of attributes of one tag in a long page. A tag takes time quadratic in them (0.2 s for 10,000). With
this limit, 10 MB of tags that are just below it take 3 s."""

MAX_TRIES = 3

_CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\r") + b"\x7f"
"""Characters that XML forbids. Each is one byte in UTF-8."""

_REFERENCE_TO_CONTROL = re.compile(
    rb"&#(?:[xX]0*(?:[0-8bcefBCEF]|1[0-9a-fA-F]|7[fF]|[fF]{3}[efEF])(?![0-9a-fA-F])"
    rb"|0*(?:[0-8]|1[1245-9]|2[0-9]|3[01]|127|6553[45])(?![0-9]));?"
)
_NO_CHARACTERS = re.compile(rb"\xef\xbf[\xbe\xbf]")  # U+FFFE, U+FFFF
"""lxml reads these characters but refuses to write them, so a page would fail when a rule moves its text."""

_MIN_BAD = 4
"""Number of control and replacement characters from which the page is searched for unreadable stretches."""

_ALL_HTML = etree.ElementDefaultClassLookup(element=HtmlElement)
_IN_HEAD = frozenset((
    "title", "meta", "link", "base", "basefont", "bgsound", "style", "script", "noscript", "template", "object",
    "isindex",
))  # fmt: skip
_TEXT_LEVEL = frozenset((
    "a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "em", "font", "i", "ins", "kbd", "mark", "s", "small",
    "span", "strike", "strong", "sub", "sup", "tt", "u",
))  # fmt: skip
_LONG_PAGE_BYTES = 200_000
"""Shorter pages are not searched for long tags. Even if one tag with 40,000 attributes fills such a page, it takes 3
s."""

_LONG_TAG_BYTES = 2 * MAX_ATTRIBUTES
"""Minimum size of a tag with ``MAX_ATTRIBUTES`` attributes."""

_ATTRIBUTE = rb"""[^\s=>/]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s"'>][^\s>]*+)?+)?+"""
_START_TAG = re.compile(rb"<[a-zA-Z][^\s/>]*+(?:[\s/=]*+" + _ATTRIBUTE + rb")*+[\s/=]*+")
_ATTRIBUTES = re.compile(rb"=?" + _ATTRIBUTE)
_TOO_DEEP = "Excessive depth"


@dataclasses.dataclass(frozen=True, slots=True)
class PageProblem:
    """The reason why a page could not be read. The fields are those of a ``Decision``."""

    action: Action
    rule: str
    value: float | None = None
    threshold: float | None = None
    detail: str | None = None


def parse_html(text: str) -> HtmlElement | PageProblem:
    """Parses a page into a tree without comments. Returns a problem if the page is empty, too large, too deep or
    unreadable."""
    source = text.encode("utf-8", "replace")
    data = source.translate(None, _CONTROL)  # characters are counted in the text, at a tenth of what bytes cost
    num_replaced = text.count("\ufffd") if "\ufffd" in text else 0  # looking is a fifth of counting
    if len(source) - len(data) + num_replaced >= _MIN_BAD:
        text, share = without_unreadable(text)
        if share > MAX_UNREADABLE_PAGE:
            return PageProblem(Action.FAIL, "unreadable_text", share, MAX_UNREADABLE_PAGE)
        data = text.encode("utf-8", "replace").translate(None, _CONTROL)
    if b"&#" in data:
        data = _REFERENCE_TO_CONTROL.sub(b"", data)
    if "\ufffe" in text or "\uffff" in text:
        data = _NO_CHARACTERS.sub(b"", data)
    if len(data) > MAX_TAGS and (num_tags := data.count(b"<")) > MAX_TAGS:
        return PageProblem(Action.DROP, "page_tags", num_tags, MAX_TAGS)
    if len(data) >= _LONG_PAGE_BYTES:
        data = _without_long_tags(data)
    for _ in range(MAX_TRIES):
        parser = etree.HTMLParser(
            encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=True, collect_ids=False
        )
        parser.set_element_class_lookup(_ALL_HTML)  # the lookup of lxml.html calls Python for each element
        try:
            tree = cast(HtmlElement | None, etree.fromstring(data, parser))
        except etree.XMLSyntaxError:
            return PageProblem(Action.FAIL, "empty_page", len(data))
        if tree is None:
            return PageProblem(Action.FAIL, "empty_page", len(data))
        if not any(_TOO_DEEP in error.message for error in parser.error_log.filter_from_fatals()):
            _end_head(tree)
            return tree
        data, depth = _without_deep_tags(tree, data)
    return PageProblem(Action.FAIL, "page_depth", depth, detail="depth of nested elements")


def _end_head(tree: HtmlElement) -> None:
    """Moves elements that a head cannot hold to the body. Pages may omit the tags of both, and libxml2 ends a head only
    at elements of HTML 4: an <article> or <main> after a <title> would stay in the head, with everything inside it."""
    head = tree.find("head") if tree.tag == "html" else None
    first = next((child for child in head if child.tag not in _IN_HEAD), None) if head is not None else None
    if head is None or first is None:
        return
    body = tree.find("body")
    if body is None:
        body = etree.SubElement(tree, "body")
    moved = [first, *first.itersiblings()]
    last, text = moved[-1], body.text
    body[:0] = moved
    if text:
        last.tail = (last.tail or "") + text
        body.text = None


def _without_long_tags(data: bytes) -> bytes:
    """Removes the attributes of tags that have too many. One linear pass: the patterns are possessive and do not
    overlap."""
    parts: list[bytes] = []
    done = 0
    for match in _START_TAG.finditer(data):
        start, end = match.span()
        if end - start >= _LONG_TAG_BYTES:
            num_attributes = sum(1 for _ in islice(_ATTRIBUTES.finditer(data, start, end), MAX_ATTRIBUTES + 1))
            if num_attributes > MAX_ATTRIBUTES:
                name = re.match(rb"<[a-zA-Z][^\s/>]*+", data[start : start + 100])
                parts += [data[done:start], name.group() if name else b"<p"]
                done = end
    return b"".join([*parts, data[done:]])


def _without_deep_tags(tree: HtmlElement, data: bytes) -> tuple[bytes, int]:
    """Returns the page without the tags whose nesting makes it deep, and the depth."""
    element = tree
    while len(element):
        element = element[-1]
    names = [str(parent.tag) for parent in element.iterancestors()]
    for name, times in Counter(names).most_common(8):
        if times < 100:
            break
        gap = b" " if name in _TEXT_LEVEL else b"<p>"
        data = re.sub(rb"</?" + re.escape(name.encode()) + rb"(?=[\s>/])[^>]*>", gap, data, flags=re.I)
    return data, len(names)
