"""Declarative shadow roots: the content of ``<template shadowrootmode>`` is shown in place of its host's children.

A browser attaches the template's content to the element around it (the host) and shows the content instead of the
host's children. A child is shown in the ``<slot>`` that has the name of the child's ``slot`` attribute. Children
without that attribute go to the slot without a name. A slot that gets no child shows its own content (HTML, section
4.12.3; DOM, section 4.2.2). This module changes the tree to what a browser shows. Children without a slot become a
template, which is never read. Other templates stay unread.
"""

from __future__ import annotations

import re
from itertools import islice

from lxml import etree
from lxml.etree import _Element

MAX_DEPTH = 1200
"""Maximum number of ancestors of a slot that is filled. A deeper slot shows its own content. Without this limit, filled
slots could make the tree deeper than the parser allows."""

_HOSTS = frozenset((
    "article", "aside", "blockquote", "body", "div", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "main",
    "nav", "p", "section", "span",
))  # fmt: skip
_UNSEEN = frozenset(("style", "script", "link", "template"))
_MODES = frozenset(("open", "closed"))
_CUSTOM = re.compile(r"[a-z][^\s/>]*-[^\s/>]*")


def show_shadow_root(template: _Element) -> None:
    """Replaces the host's children by the template's content, if the template is the first shadow root of its host."""
    host = template.getparent()
    if host is None or not _is_root(template) or not _is_host(host):
        return
    above = [parent.tag for parent in islice(template.iterancestors(), MAX_DEPTH)]
    if len(above) == MAX_DEPTH or "template" in above:  # too deep, or inside a template that is not shown
        return
    slots = _slots(template, len(above))
    children = [child for child in host if child is not template]
    tails = [host.text or "", *(child.tail or "" for child in host)]
    filled = {_slot_name(child) for child in children if child.tag not in _UNSEEN}
    if any(tail.strip() for tail in tails):
        filled.add("")
    for name in filled & slots.keys():
        slots[name].clear(keep_tail=True)
    default = slots.get("") if "" in filled else None
    host.text = None
    _add_text(default, tails[0])
    for child, tail in zip(list(host), tails[1:], strict=True):
        child.tail = None
        if child is not template:
            slot = slots.get(_slot_name(child)) if child.tag not in _UNSEEN else None
            if slot is not None:
                slot.append(child)
            else:
                child.tag = "template"  # it has no slot, so it is not shown
                child.attrib.clear()
        _add_text(default, tail)
    template.tag = "span"
    template.attrib.clear()


def _is_root(template: _Element) -> bool:
    mode = template.get("shadowrootmode") or template.get("shadowroot") or ""
    return mode.strip().lower() in _MODES


def _is_host(host: _Element) -> bool:
    return isinstance(host.tag, str) and (host.tag in _HOSTS or _CUSTOM.fullmatch(host.tag) is not None)


def _slot_name(child: _Element) -> str:
    return (child.get("slot") or "").strip()


def _slots(template: _Element, depth: int) -> dict[str, _Element]:
    """The first slot of each name, except for slots in nested templates.

    Args:
        depth: number of ancestors of the template.
    """
    slots: dict[str, _Element] = {}
    walk = etree.iterwalk(template, events=("start", "end"))
    for event, element in walk:
        if event == "end":
            depth -= 1
            continue
        depth += 1
        if element is not template and element.tag == "template":
            walk.skip_subtree()
        elif element.tag == "slot" and depth < MAX_DEPTH:
            slots.setdefault((element.get("name") or "").strip(), element)
    return slots


def _add_text(slot: _Element | None, text: str) -> None:
    """Appends text to the content of a slot."""
    if slot is None or not text:
        return
    if len(slot):
        slot[-1].tail = (slot[-1].tail or "") + text
    else:
        slot.text = (slot.text or "") + text
