"""Entries of reference manuals: a line to a reader, which the page holds in several elements.

What joins them stands in the style sheet, or they are cells of a table. The types that a signature links to are its
words, and no menu: their links are not counted.

    docutils, Sphinx   <dt>width<span class="classifier">float</span>               width : float
    Doxygen            <td class="memItemLeft">int <td class="memItemRight">size()  int size()
    Doxygen            <table class="memname"><td>int size<td>(<td>int n<td>)       int size ( int n )
"""

from __future__ import annotations

from lxml.etree import _Element

_TYPES = frozenset(("memItemLeft", "memTemplItemLeft"))
_MEMBERS = frozenset(("memItemRight", "memTemplItemRight"))
_TABLE_PARTS = ("tbody", "tr", "td")


def write_classifiers(term: _Element) -> None:
    """Writes the sign that stands before each classifier of a <dt>, if the page's own text has none."""
    before = term.text or ""
    for part in term:
        if part.tag == "span" and "classifier" in _classes(part) and not before.rstrip().endswith(":"):
            part.text = f" : {part.text or ''}"
        before = "".join(map(str, part.itertext())) + (part.tail or "")


def join_member(cell: _Element) -> None:
    """Puts the name of a member into the cell of its type."""
    following = cell.getnext()
    if following is None or _TYPES.isdisjoint(_classes(cell)) or _MEMBERS.isdisjoint(_classes(following)):
        return
    if len(cell):
        cell[-1].tail = f"{cell[-1].tail or ''} "
    else:
        cell.text = f"{cell.text or ''} "
    cell.append(following)
    following.tag = "span"
    _unlink(cell)


def join_signature(table: _Element) -> None:
    """Makes a table that lays out one signature a line of text."""
    if "memname" in _classes(table):
        for part in list(table.iter(*_TABLE_PARTS)):
            part.tag = "span"
            part.tail = part.tail or " "
        table.tag = "div"
        _unlink(table)


def _unlink(line: _Element) -> None:
    for link in list(line.iter("a")):
        link.tag = "span"


def _classes(element: _Element) -> list[str]:
    return (element.get("class") or "").split()
