"""Joins two parts of a sentence if the image between them was dropped."""

from __future__ import annotations

from collections.abc import Iterable

from gobelin.data.rows import NodeRow

_CLOSING = frozenset(".,;:!?)]}\u2019\u201d%")
_FIRST_IDEOGRAPHIC = 0x2E80


def join(text: str, rest: str) -> str:
    """Both parts as one text. No space is inserted between Chinese or Japanese characters, nor before a comma."""
    is_close = rest[0] in _CLOSING or (ord(text[-1]) >= _FIRST_IDEOGRAPHIC and ord(rest[0]) >= _FIRST_IDEOGRAPHIC)
    return text + ("" if is_close else " ") + rest


def join_nodes(nodes: Iterable[NodeRow], indexes: Iterable[int], texts: Iterable[int]) -> list[NodeRow]:
    """The remaining nodes of a document, with sentences joined if the image inside them was dropped. A text that
    continued a
    dropped text starts a new sentence.

    Args:
        nodes: the remaining nodes.
        indexes: index of each of ``nodes`` in the document.
        texts: indexes of all texts of the document, in order.
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
