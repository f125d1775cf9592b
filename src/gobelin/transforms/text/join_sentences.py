"""Joins two parts of a sentence if the picture between them was left out."""

from __future__ import annotations

from collections.abc import Iterable

from gobelin.data.rows import NodeRow

_CLOSING = frozenset(".,;:!?)]}\u2019\u201d%")
_FIRST_IDEOGRAPHIC = 0x2E80


def join(text: str, rest: str) -> str:
    """Both parts as one. Chinese and Japanese have no space between words, and no language has one before a comma."""
    is_close = rest[0] in _CLOSING or (ord(text[-1]) >= _FIRST_IDEOGRAPHIC and ord(rest[0]) >= _FIRST_IDEOGRAPHIC)
    return text + ("" if is_close else " ") + rest


def join_nodes(nodes: Iterable[NodeRow], indexes: Iterable[int], texts: Iterable[int]) -> list[NodeRow]:
    """The nodes of a document of which some were left out, sentences whose pictures went joined. A text that went on
    with one that is gone begins anew.

    Args:
        indexes: where each of ``nodes`` stood in the document.
        texts: where texts stood in the document, in order.
    """
    ordered = list(texts)
    before = dict(zip(ordered, [-1, *ordered], strict=False))
    joined: list[NodeRow] = []
    last = -1
    for node, index in zip(nodes, indexes, strict=True):
        held = joined[-1] if joined else None
        is_next = before.get(index) == last
        if node.get("continues") and is_next and held is not None and held["text"] and node["text"]:
            joined[-1] = {**held, "text": join(held["text"], node["text"])}
        else:
            joined.append(node if is_next or not node.get("continues") else {**node, "continues": None})
        if node["kind"] == "text":
            last = index
    return joined
