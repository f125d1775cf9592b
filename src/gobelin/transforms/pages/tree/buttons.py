"""Decides which buttons belong to the text, and which only perform an action.

Structure decides first. The words of a button are kept if the button is

    all of a heading, a term of a glossary (<dt>), a <summary> or a heading cell of a table
    inside a sentence: words stand before it, and the sentence continues after it
    at the beginning or end of a sentence, or before the panel that it opens, unless its words name an action

They are dropped in code, menus, toolbars and dialogs, in a button that submits a form, and in any other button that
stands alone.
"""

from __future__ import annotations

import re
from itertools import islice

from lxml.etree import _Element

from gobelin.transforms.pages.tree.button_words import names_action
from gobelin.transforms.pages.tree.running_text import block_of, text_before, text_behind

_MAX_ANCESTORS = 24
_MAX_CHARS = 300
_MAX_PARTS = 60
_NEAR = 60  # characters on each side that are read
_UNREAD = frozenset(("button", "a"))
_TITLES = frozenset(("h1", "h2", "h3", "h4", "h5", "h6", "dt", "summary", "th", "legend"))
_PROSE = frozenset(("p", "li", "dd", "blockquote", "figcaption", "td", "div", "section", "article", "body", "caption"))
_ENDS_IN_TEXT = frozenset(("p", "dd", "blockquote", "figcaption", "td"))
_TOOLS = frozenset(("nav", "menu", "pre", "dialog", "footer", "aside"))
_TOOL_ROLES = frozenset(
    ("toolbar", "navigation", "menu", "menubar", "tablist", "search", "group", "dialog", "radiogroup")
)
_ACTING = re.compile(
    r"(?:^|[\s_-])(?:copy|clipboard|shar(?:e|ing)|close|menu|search|submit|play|pause|mute|like|follow|subscribe|vote|tab"
    r"|navbar|hamburger|edit|reply|cta|dismiss|prev|next|fullscreen|download|print)(?:[\s_-]|$)",
    re.I,
)
_OPENS_PANEL = re.compile(r"accordion|collaps|disclosure|faq|question|expand|toggle|panel|spoiler", re.I)
_WORD = re.compile(r"[^\W\d_]")
_GOES_ON = re.compile(r"\s*(?:[,;.!?)…:»”\"']|['’]s\b)|\s+[^\W_(]|[^\W\d_]")
_ENDED = re.compile(r"[.!?:…。！？：|•·]\s*$")
_PANELS = frozenset(("div", "p", "section", "ul", "ol", "dl"))
_MAX_PANEL_PARTS = 400
_MIN_PANEL_CHARS = 80


def read_button(button: _Element) -> None:
    """Turns a <button> into a <span> or <div>, whose words are read, if its words belong to the text."""
    words = "".join(str(text) for text in islice(button.itertext(), _MAX_PARTS)).strip()
    if not words or len(words) > _MAX_CHARS or not any(map(str.isalnum, words)):
        return
    if _is_tool(button):
        return
    block = block_of(button)
    if block is None:
        return
    before = text_before(button, _NEAR, _UNREAD)
    behind = text_behind(button, _NEAR, _UNREAD)
    names = f"{button.get('class') or ''} {button.get('id') or ''}"[:400]
    acts = _ACTING.search(names) is not None or names_action(words)
    has_before = _WORD.search(before) is not None
    goes_on = _WORD.search(behind) is not None and _GOES_ON.match(behind) is not None
    if _is_title(block):
        is_read = not (has_before or _WORD.search(behind)) or (not acts and (goes_on or not has_before))
    elif block.tag not in _PROSE:
        is_read = False
    elif has_before and goes_on and not _ENDED.search(before):
        is_read = True
    elif goes_on and not has_before:
        is_read = not acts
    elif has_before and not _ENDED.search(before):
        ends = behind.strip()[:1] in tuple(".,;!?…)。") and behind.strip() != ""
        is_read = not acts and (ends or block.tag in _ENDS_IN_TEXT)
    elif not has_before and not _WORD.search(behind) and not acts and _opens_panel(button, names):
        button.tag = "div"
        return
    else:
        is_read = not acts and block.tag == "td" and _WORD.search(words) is not None
    if is_read:
        button.tag = "span"
        button.attrib.pop("class", None)  # it describes a button


def _is_tool(button: _Element) -> bool:
    """Whether a button performs an action by its place: in a toolbar, a menu or code, or as the submit button of a
    form."""
    if (button.get("role") or "").strip().lower() in ("tab", "menuitem", "switch", "option", "combobox"):
        return True
    sends = (button.get("type") or "submit").strip().lower() != "button"
    for parent in islice(button.iterancestors(), _MAX_ANCESTORS):
        if parent.tag in _TOOLS or (parent.get("role") or "").strip().lower() in _TOOL_ROLES:
            return True
        if parent.tag == "form" and sends:
            return True
    return False


def _is_title(block: _Element) -> bool:
    return block.tag in _TITLES or (block.get("role") or "").strip().lower() == "heading"


def _opens_panel(button: _Element, names: str) -> bool:
    """Whether a button that is alone in its block is the title of a panel: it declares that it opens one, and text
    follows."""
    if button.get("aria-expanded") is None and not _OPENS_PANEL.search(names):
        return False
    place = button
    for _ in range(3):
        following = place.getnext()
        if following is not None and following.tag != "button":
            return following.tag in _PANELS and _is_panel(following)
        parent = place.getparent()
        if parent is None or following is not None:
            return False
        place = parent
    return False


def _is_panel(element: _Element) -> bool:
    """Whether an element holds text outside links, and no <h1> or <h2> before it: those belong to the page."""
    num_chars = 0
    for part in islice(element.iter(), _MAX_PANEL_PARTS):
        if part.tag in ("h1", "h2", "nav"):
            return False
        if part.tag not in _UNREAD and isinstance(part.tag, str):
            num_chars += len((part.text or "").strip())
        num_chars += len((part.tail or "").strip()) if part is not element else 0
    return num_chars >= _MIN_PANEL_CHARS
