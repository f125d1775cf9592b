"""NVIDIA NeMo Curator's interleaved rows: one row per text or image (``nemo_curator/tasks/interleaved.py``).

    sample_id, position, modality      doc_id; from 0, or -1 for the document's row; text | image | metadata
    content_type, text_content         a MIME type; the text
    binary_content                     the image's bytes
    source_ref, materialize_error      null, because the row holds all data
    url, title, language               passed through, in the document's row
    role, image_url, alt, caption      passed through: the role of a text, the others of an image
    gobelin                            the side field of the document or the image, as JSON

Rows of one document are adjacent. A row group may end anywhere, so readers group by ``sample_id``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from operator import itemgetter

import pyarrow as pa

from gobelin.data.rows import NodeRow, Row
from gobelin.exchange.entry import (
    SIDE,
    Entry,
    EntryError,
    Origin,
    Picture,
    as_json,
    document_of,
    image_node,
    known_of,
    parse_side,
    picture_of,
    restored,
    side_of,
    side_of_picture,
    text_node,
)
from gobelin.exchange.foreign_rows import attempt
from gobelin.exchange.parquet_files import read_parquet, write_split
from gobelin.exchange.writing import Shard
from gobelin.store.paths import name_of

NEMO = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),
        pa.field("modality", pa.string(), nullable=False),
        ("content_type", pa.string()),
        ("text_content", pa.string()),
        ("binary_content", pa.large_binary()),
        ("source_ref", pa.string()),
        ("materialize_error", pa.string()),
        ("url", pa.string()),
        ("title", pa.string()),
        ("language", pa.string()),
        ("role", pa.string()),
        ("image_url", pa.string()),
        ("alt", pa.string()),
        ("caption", pa.string()),
        (SIDE, pa.string()),
    ]
)
"""The reserved columns of INTERLEAVED_SCHEMA in their order, then what is passed through."""

MAX_ROWS = 100_000
"""Rows of one sample that are held; a longer one is malformed."""

_EMPTY = dict.fromkeys(NEMO.names)


def write_shard(shard: Shard) -> None:
    """One Parquet file."""
    write_split(shard, itertools.chain.from_iterable(rows_of(entry) for entry, _ in shard.items), NEMO)


def rows_of(entry: Entry) -> Iterator[Row]:
    """The rows of a document. Every image node has a picture with bytes."""
    document = entry.document
    about = {name: document[name] for name in ("url", "title", "language")}
    side = as_json(side_of(document))
    key = {**_EMPTY, "sample_id": document["doc_id"]}
    yield {**key, "position": -1, "modality": "metadata", "content_type": "application/json", **about, SIDE: side}
    for position, (node, picture) in enumerate(entry.laid_out):
        row = {**key, "position": position, "modality": node["kind"]}
        if node["kind"] == "text":
            yield {**row, "content_type": "text/plain", "text_content": node["text"], "role": node["role"]}
            continue
        assert picture is not None
        row |= {name: node[name] for name in ("image_url", "alt", "caption")}
        side = as_json(side_of_picture(picture))
        yield {**row, "content_type": content_type(picture.facts["format"]), "binary_content": picture.data, SIDE: side}


def content_type(image_format: str) -> str:
    """MIME type of an image format."""
    return f"image/{'jp2' if image_format == 'jpeg2000' else image_format}"


def read_source(path: str) -> Iterator[Entry | EntryError]:
    """Yields the documents of one Parquet file. Adjacent rows with equal ``sample_id`` are a document."""
    rows = read_parquet(path, tuple(NEMO.names), ("sample_id", "position", "modality"))
    for number, (_, group) in enumerate(itertools.groupby(rows, itemgetter("sample_id"))):
        held = list(itertools.islice(group, MAX_ROWS + 1))
        yield attempt(entry_of_rows, held, Origin(name_of(path), number))


def entry_of_rows(rows: list[Row], origin: Origin) -> Entry:
    """A document from its rows, in any order. Ignores ``source_ref``, because it may name any file.

    Raises:
        EntryError: the rows do not follow the format.
    """
    if len(rows) > MAX_ROWS:
        raise EntryError("malformed_row", f"a sample of more than {MAX_ROWS} rows")
    if not all(type(row.get("position")) is int for row in rows):
        raise EntryError("malformed_row", "a row without position")
    ordered = sorted(rows, key=itemgetter("position"))
    about: Row = next((row for row in ordered if row.get("modality") == "metadata"), {})
    items = [row for row in ordered if row.get("modality") in ("text", "image")]
    texts = [row.get("text_content") or "" for row in items if row["modality"] == "text"]
    shown = [row for row in items if row["modality"] == "image"]
    side = parse_side(about.get(SIDE))
    nodes = restored(side, texts, len(shown))
    if nodes is None:
        nodes = [_node(row) for row in items if row["modality"] == "image" or (row.get("text_content") or "").strip()]
    return Entry(document_of(side, nodes, origin, known_of(about)), tuple(_picture(row) for row in shown))


def _node(row: Row) -> NodeRow:
    if row["modality"] == "text":
        return text_node(row["text_content"])
    return image_node(row.get("image_url"), row.get("alt"), row.get("caption"))


def _picture(row: Row) -> Picture | None:
    return picture_of(row.get("binary_content"), parse_side(row.get(SIDE)))
