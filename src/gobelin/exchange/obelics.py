"""OBELICS: one row per document, parallel lists of texts and image addresses (Laurençon et al., arXiv 2306.16527).

    texts, images      lists of equal length; at each place exactly one of the two is not null. Neighbouring texts are
                       joined by an empty line (build_obelics/13_final_processing.py)
    metadata           JSON list of that length: null for a text; for an image its document_url, unformatted_src, src,
                       formatted_filename, alt_text, rendered_width, rendered_height, original_width, original_height,
                       format, as far as known (utils/simplification_utils.py)
    general_metadata   JSON: url, warc_filename, warc_record_offset, warc_record_length

``general_metadata`` also holds the side field. An image is an address. ``--with-images`` also writes the bytes, as
gobelin's own data set ``images``. Foreign texts are split at empty lines, which separate paragraphs in OBELICS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from gobelin.data.rows import NodeRow, Row
from gobelin.exchange.entry import (
    JOINT,
    SIDE,
    Entry,
    EntryError,
    Origin,
    Picture,
    as_json,
    document_of,
    image_node,
    optional_text,
    parse_json,
    restored,
    side_of,
    split_texts,
    text_node,
)
from gobelin.exchange.parquet_files import parallel_lists, read_entries, write_split
from gobelin.exchange.writing import Shard

OBELICS = pa.schema(
    [
        ("images", pa.list_(pa.string())),
        ("metadata", pa.string()),
        ("general_metadata", pa.string()),
        ("texts", pa.list_(pa.string())),
    ]
)
"""The published columns, in their order."""

_EMPTY_LINES = re.compile(r"\n\n")
_OFFSET = range(2**63)


def write_shard(shard: Shard) -> None:
    """One Parquet file."""
    write_split(shard, (obelics_row(entry) for entry, _ in shard.items), OBELICS)


def obelics_row(entry: Entry) -> Row:
    """A document as a row of ``OBELICS``."""
    document = entry.document
    texts: list[str | None] = []
    images: list[str | None] = []
    metadata: list[Row | None] = []
    for node, picture in entry.laid_out:
        if node["kind"] == "image":
            texts.append(None)
            images.append(node["image_url"])
            metadata.append(_image_metadata(node, picture, document["url"]))
        elif texts and texts[-1] is not None:
            texts[-1] += JOINT + (node["text"] or "")
        else:
            texts.append(node["text"])
            images.append(None)
            metadata.append(None)
    side = side_of(document)
    for node, described in zip(document["nodes"], side["nodes"]):
        if node["text"] is not None:
            described["length"] = len(node["text"])
    general = {
        "url": document["url"],
        "warc_filename": document["warc_file"],
        "warc_record_offset": document["warc_offset"],
        "warc_record_length": document["warc_length"],
        SIDE: side,
    }
    return {"images": images, "metadata": as_json(metadata), "general_metadata": as_json(general), "texts": texts}


def _image_metadata(node: NodeRow, picture: Picture | None, document_url: str) -> Row:
    facts = picture.facts if picture else {}
    known = {
        "document_url": document_url,
        "unformatted_src": node["image_url"],
        "src": node["image_url"],
        "formatted_filename": formatted_filename(node["image_url"] or ""),
        "alt_text": node["alt"],
        "rendered_width": node["rendered_width"],
        "rendered_height": node["rendered_height"],
        "original_width": facts.get("width"),
        "original_height": facts.get("height"),
        "format": facts.get("format"),
    }
    return {name: value for name, value in known.items() if value is not None and value != ""}


def formatted_filename(url: str) -> str:
    """Words of a file's name up to its first dot, without digits and punctuation; empty if almost nothing is left."""
    stem = url.rpartition("/")[2].partition(".")[0]
    if "?" in stem or url.startswith("data:"):
        return ""
    words = re.sub(r"%[0-9A-Fa-f]{2}|[0-9]+x[0-9]+|[0-9_+%-]", " ", stem).split()
    return " ".join(words) if len("".join(words)) > 1 else ""


def read_source(path: str) -> Iterator[Entry | EntryError]:
    """The documents of one Parquet file."""
    return read_entries(path, OBELICS.names, ("texts", "images"), entry_of_row)


def entry_of_row(row: Row, origin: Origin) -> Entry:
    """A document from a row of ``OBELICS``. Its images have no bytes.

    Raises:
        EntryError: the row does not follow the format.
    """
    texts, images = parallel_lists(row)
    metadata = parse_json(row.get("metadata") or "[]", "metadata")
    general = parse_json(row.get("general_metadata") or "{}", "general_metadata")
    if not isinstance(metadata, list) or not isinstance(general, dict):
        raise EntryError("malformed_row", "metadata is not a list, or general_metadata not an object")
    side = general.get(SIDE)
    blocks = [text for text in texts if text is not None]
    cut = split_texts(blocks, side)
    nodes = restored(side, cut, len(texts) - len(blocks)) if cut is not None else None
    if nodes is None:
        described = metadata if len(metadata) == len(texts) else [None] * len(texts)
        nodes = list(_foreign_nodes(texts, images, described))
    document = document_of(side, nodes, origin, _known(general))
    return Entry(document, (None,) * sum(node["kind"] == "image" for node in nodes))


def _foreign_nodes(texts: list[Any], images: list[Any], metadata: list[Any]) -> Iterator[NodeRow]:
    for text, image, described in zip(texts, images, metadata):
        if text is None:
            known = described if isinstance(described, dict) else {}
            sides = known.get("rendered_width"), known.get("rendered_height")
            yield image_node(image, known.get("alt_text"), None, *sides)
        else:
            yield from (text_node(paragraph) for paragraph in _EMPTY_LINES.split(text) if paragraph.strip())


def _known(general: Row) -> Row:
    """Fields of ``DOCUMENTS`` from ``general_metadata``."""
    known: Row = {"url": optional_text(general.get("url"))}
    offset, length = general.get("warc_record_offset"), general.get("warc_record_length")
    if isinstance(general.get("warc_filename"), str) and offset in _OFFSET and length in _OFFSET:
        known |= {"warc_file": general["warc_filename"], "warc_offset": offset, "warc_length": length}
    return known
