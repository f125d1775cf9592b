"""The words of a page as a reader sees them, before anything else reads its tree: one place for what is written in one
way and shown in another, so that text, tables, captions and titles agree.

    shadow_roots     what a component shows stands where the component is
    formulas         TeX instead of drawings, MathML and images of formulas
    delimited_formulas   TeX that the page itself shows as text
    raised_numbers   10^8
    buttons          those in sentences and headings become words
    <del>            goes; <s> and <strike> where they are a number or a word that another one replaces

<del> is an edit: its words are no part of the document (HTML, section 4.7.2). <s> says that its words no longer hold,
which is so of prices; but manuals strike out what a program lost, and blogs what they mean: those a reader reads.

Every pass looks at the elements of its own names, and at a bounded number of others around each.
"""

from __future__ import annotations

import re
from itertools import islice

from lxml.etree import _Element

from gobelin.transforms.pages.tree.buttons import read_button
from gobelin.transforms.pages.tree.delimited_formulas import rewrite_delimited
from gobelin.transforms.pages.tree.formulas import rewrite_formula
from gobelin.transforms.pages.tree.raised_numbers import rewrite_raised
from gobelin.transforms.pages.tree.running_text import text_before, text_behind
from gobelin.transforms.pages.tree.shadow_roots import show_shadow_root

MAX_SHADOW_ROOTS = 2000
"""Shadow roots of a page that are opened; each looks at what it stands in."""

_MATH = ("math", "m:math", "mml:math")
_STRUCK = ("del", "s", "strike")
_DIGIT = re.compile(r"\d")
_NEAR = 30  # characters
_MAX_REPLACED_CHARS = 40
_MAX_STRUCK_CHARS = 5000
_MAX_STRUCK_PARTS = 500


def rewrite_words(tree: _Element, may_hold_formulas: bool = True) -> None:
    """Changes ``tree`` in place.

    Args:
        may_hold_formulas: whether to look for formulas in its text; ``delimited_formulas.may_hold_formulas`` tells.
    """
    if may_hold_formulas:
        rewrite_delimited(tree)
    for template in list(islice(tree.iter("template"), MAX_SHADOW_ROOTS)):
        show_shadow_root(template)
    found: dict[str, list[_Element]] = {}
    for element in tree.iter("script", "mjx-container", *_MATH, "img", "sup", "sub", "button", *_STRUCK):
        found.setdefault(str(element.tag), []).append(element)
    for tag in ("script", "mjx-container", *_MATH, "img"):
        for element in found.get(tag, ()):
            rewrite_formula(element)
    for element in tree.iter("sup", "sub") if "sup" in found or "sub" in found else ():
        rewrite_raised(element)
    for element in found.get("button", ()):
        read_button(element)
    for tag in _STRUCK:
        for element in found.get(tag, ()):
            if _is_short(element) and (tag == "del" or _is_replaced(element)):
                element.tag = "template"  # unread


def _is_short(element: _Element) -> bool:
    """Whether what is struck out is a remark; more is a page whose end tag was forgotten."""
    texts = [str(text) for text in islice(element.itertext(), _MAX_STRUCK_PARTS)]
    return len(texts) < _MAX_STRUCK_PARTS and sum(map(len, texts)) <= _MAX_STRUCK_CHARS


def _is_replaced(element: _Element) -> bool:
    """Whether what is struck out has its successor beside it: an inserted word, or a number by a number."""
    following = element.getnext()
    if following is not None and following.tag == "ins" and not (element.tail and not element.tail.isspace()):
        return True
    text = "".join(str(part) for part in islice(element.itertext(), _MAX_STRUCK_PARTS)).strip()
    if len(text) > _MAX_REPLACED_CHARS or not _DIGIT.search(text):
        return False
    return _DIGIT.search(text_behind(element, _NEAR) + text_before(element, _NEAR)) is not None
