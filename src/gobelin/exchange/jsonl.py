"""gobelin's own JSON lines: one document per line, for people, scripts and jq. Images are ids and addresses."""

from __future__ import annotations

from collections.abc import Iterator

from gobelin.data.rows import DocumentRow, NodeRow, Row
from gobelin.exchange.entry import (
    SIDE,
    Entry,
    EntryError,
    Origin,
    as_json,
    document_of,
    image_node,
    known_of,
    restored,
    side_of,
    text_node,
)
from gobelin.exchange.foreign_rows import damage_as_user_error
from gobelin.exchange.lines import read_entries
from gobelin.exchange.writing import Shard
from gobelin.store.files import open_input, output
from gobelin.store.paths import join, name_of


def document_as_json(row: DocumentRow) -> Row:
    """A row of ``DOCUMENTS`` as ``{"url", "items": [...]}``; an item is ``{"kind": "text", "role", "text"}`` or
    ``{"kind": "image", "url", ...}``."""
    items = []
    for node in row["nodes"]:
        if node["kind"] == "text":
            items.append({"kind": "text", "role": node["role"], "text": node["text"]})
        else:
            items.append(
                {
                    "kind": "image",
                    "url": node["image_url"],
                    "image_id": node["image_id"],
                    "alt": node["alt"],
                    "caption": node["caption"],
                }
            )
    return {"url": row["url"], "doc_id": row["doc_id"], "title": row["title"], "items": items}


def write_shard(shard: Shard) -> None:
    """One ``.jsonl`` file, with the side field."""
    with output(join(shard.folder, f"part-{shard.index:05d}-of-{shard.num_shards:05d}.jsonl")) as lines:
        for entry, _ in shard.items:
            value = {**document_as_json(entry.document), SIDE: side_of(entry.document)}
            lines.write(as_json(value).encode("utf-8", "replace") + b"\n")
            shard.written.rows += 1


def read_source(path: str) -> Iterator[Entry | EntryError]:
    """The documents of one file.

    Raises:
        UserError: it cannot be opened.
    """
    with damage_as_user_error(path, "JSON lines"), open_input(path) as lines:
        yield from read_entries(lines, name_of(path), entry_of_object)


def entry_of_object(value: Row, origin: Origin) -> Entry:
    """A document from an object. Its images have no bytes.

    Raises:
        EntryError: the object does not follow the format.
    """
    items = value.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise EntryError("malformed_row", "items is not a list of objects")
    texts = [item.get("text") for item in items if item.get("kind") == "text"]
    if not all(isinstance(text, str) for text in texts):
        raise EntryError("malformed_row", "a text that is not a string")
    num_images = sum(item.get("kind") == "image" for item in items)
    side = value.get(SIDE)
    nodes = restored(side, texts, num_images)
    if nodes is None:
        nodes = [_node(item) for item in items if item.get("kind") in ("text", "image")]
    document = document_of(side, nodes, origin, known_of(value))
    return Entry(document, (None,) * sum(node["kind"] == "image" for node in nodes))


def _node(item: Row) -> NodeRow:
    if item["kind"] == "text":
        node, role = text_node(item["text"]), item.get("role")
        return {**node, "role": role} if isinstance(role, str) else node
    return image_node(item.get("url"), item.get("alt"), item.get("caption"))
