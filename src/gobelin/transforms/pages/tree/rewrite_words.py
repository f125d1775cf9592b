"""Rewrites the words of a page to what a reader sees, before anything else reads the tree. Text, tables, captions and
titles then agree.

    shadow_roots     the content of a component stands at its place
    formulas         TeX instead of drawings, MathML and images of formulas
    delimited_formulas   TeX that the page itself shows as text
    raised_numbers   10^8
    buttons          buttons in sentences and headings become words
    reference_entries   a member or a parameter and its type become one line
    <del>            is removed; <s> and <strike> are removed if a number or a word beside them replaces theirs

<del> marks an edit: its words are no longer part of the document (HTML, section 4.7.2). <s> marks words that no longer
apply, such as old prices. But manuals strike out what a program lost, and blogs strike out words that they mean;
readers read those.

Each pass visits the elements with its tags, and a bounded number of others around each.
"""

from __future__ import annotations

import re
from itertools import islice

from lxml.etree import _Element

from gobelin.transforms.pages.tree.buttons import read_button
from gobelin.transforms.pages.tree.delimited_formulas import rewrite_delimited
from gobelin.transforms.pages.tree.formulas import rewrite_formula
from gobelin.transforms.pages.tree.raised_numbers import rewrite_raised
from gobelin.transforms.pages.tree.reference_entries import join_member, join_signature, write_classifiers
from gobelin.transforms.pages.tree.running_text import text_before, text_behind
from gobelin.transforms.pages.tree.shadow_roots import show_shadow_root

MAX_SHADOW_ROOTS = 2000
"""Maximum number of shadow roots of a page that are opened. Each reads its surroundings."""

_MATH = ("math", "m:math", "mml:math")
_ENTRIES = {"table": join_signature, "td": join_member, "dt": write_classifiers}
_STRUCK = ("del", "s", "strike")
_DIGIT = re.compile(r"\d")
_NEAR = 30  # characters
_MAX_REPLACED_CHARS = 40
_MAX_STRUCK_CHARS = 5000
_MAX_STRUCK_PARTS = 500


def rewrite_words(tree: _Element, may_hold_formulas: bool = True) -> None:
    """Rewrites ``tree`` in place.

    Args:
        may_hold_formulas: whether to search the text for formulas (see ``delimited_formulas.may_hold_formulas``).
    """
    if may_hold_formulas:
        rewrite_delimited(tree)
    for template in list(islice(tree.iter("template"), MAX_SHADOW_ROOTS)):
        show_shadow_root(template)
    found: dict[str, list[_Element]] = {}
    for element in tree.iter("script", "mjx-container", *_MATH, "img", "sup", "sub", "button", *_ENTRIES, *_STRUCK):
        found.setdefault(str(element.tag), []).append(element)
    for tag in ("script", "mjx-container", *_MATH, "img"):
        for element in found.get(tag, ()):
            rewrite_formula(element)
    for element in tree.iter("sup", "sub") if "sup" in found or "sub" in found else ():
        rewrite_raised(element)
    for element in found.get("button", ()):
        read_button(element)
    for tag, rewrite in _ENTRIES.items():
        for element in found.get(tag, ()):
            rewrite(element)
    for tag in _STRUCK:
        for element in found.get(tag, ()):
            if _is_short(element) and (tag == "del" or _is_replaced(element)):
                element.tag = "template"  # unread


def _is_short(element: _Element) -> bool:
    """Whether the deleted part is short. A longer one means that an end tag is missing."""
    texts = [str(text) for text in islice(element.itertext(), _MAX_STRUCK_PARTS)]
    return len(texts) < _MAX_STRUCK_PARTS and sum(map(len, texts)) <= _MAX_STRUCK_CHARS


def _is_replaced(element: _Element) -> bool:
    """Whether a replacement stands beside the struck-out text: an inserted word, or another number beside a number."""
    following = element.getnext()
    if following is not None and following.tag == "ins" and not (element.tail and not element.tail.isspace()):
        return True
    text = "".join(str(part) for part in islice(element.itertext(), _MAX_STRUCK_PARTS)).strip()
    if len(text) > _MAX_REPLACED_CHARS or not _DIGIT.search(text):
        return False
    return _DIGIT.search(text_behind(element, _NEAR) + text_before(element, _NEAR)) is not None
