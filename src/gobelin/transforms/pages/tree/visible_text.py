"""Text as a browser shows it: which elements are invisible, and how white space folds."""

from __future__ import annotations

import re

from lxml.etree import _Element

from gobelin.transforms.pages.content.boilerplate import Kind, classify

SKIPPED = frozenset((
    "script", "style", "template", "head", "title", "meta", "link", "noscript", "svg", "canvas", "object", "embed",
    "applet", "audio", "video", "iframe", "frame", "frameset", "noframes", "select", "option", "optgroup",
    "datalist", "button", "input", "textarea", "progress", "meter", "map", "area", "rp", "rt", "annotation",
    "annotation-xml", "nextid", "basefont", "bgsound",
))  # fmt: skip
"""Elements whose text is not read. <rt> repeats a word as its pronunciation, and <annotation> repeats a formula as
TeX."""

CONTAINERS = frozenset((
    "body", "div", "section", "article", "main", "header", "footer", "nav", "aside", "form", "fieldset", "figure",
    "blockquote", "ul", "ol", "dl", "menu", "dir", "table", "center", "details", "td", "th", "tr", "dialog", "li",
    "address",
))  # fmt: skip
"""Elements that hold blocks."""

BREAK = "\x01"
"""Stands for a line break until the text is folded. Pages do not contain this character (``parse_html``)."""

_HIDDEN_STYLE = re.compile(r"display\s{0,9}:\s{0,9}none|visibility\s{0,9}:\s{0,9}(?:hidden|collapse)", re.I)
_MAX_STYLE_CHARS = 2000
_MAX_NAME_CHARS = 200
_INVISIBLE = str.maketrans("", "", "\xad\ufeff\u2060")


def hides(name: str, value: str) -> bool:
    """Whether an attribute (``style`` or ``hidden``) hides its element. ``hidden=until-found`` does not count as
    hidden, because a search in the page reveals it (HTML, section 6.1)."""
    if name == "style":
        return _HIDDEN_STYLE.search(value, 0, _MAX_STYLE_CHARS) is not None
    return name == "hidden" and value.strip().lower() != "until-found"


def is_hidden(element: _Element) -> bool:
    """Whether the page hides an element, by an attribute or by a class that conventionally does.

    ``aria-hidden`` does not count: captions are often hidden from screen readers, which read the alt text instead.
    """
    names = ""
    for name, value in element.items():
        if name == "class" or name == "id":
            names = f"{names} {value[:_MAX_NAME_CHARS]}"
        elif hides(name, value):
            return True
    return names != "" and classify(str(element.tag), names) >= Kind.GUTTER


def fold(text: str) -> str:
    """Folds white space, removes soft hyphens and zero-width joiners, and turns the mark of a line break into a line
    break."""
    if "\xad" in text or "\ufeff" in text or "\u2060" in text:
        text = text.translate(_INVISIBLE)
    if BREAK not in text:
        return " ".join(text.split())
    return "\n".join(" ".join(line.split()) for line in text.split(BREAK)).strip()
