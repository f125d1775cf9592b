"""Plain Parquet files with one row per document. The package ``datasets`` decodes their images by itself.

    texts, images      lists of equal length; at each place exactly one of the two is not null
    images             struct{bytes, path}, and the file says that it is an ``Image``
    doc_id, url, title, language
    image_metadata     JSON list: address, alt, caption, width and height of each image
    gobelin            the side field, as JSON

``datasets.load_dataset(FOLDER)`` finds the files by their names. Foreign files need ``texts`` and ``images`` as above,
where an image may also be an address. Columns ``url`` and ``title`` are optional.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

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
    extension,
    image_node,
    known_of,
    optional_text,
    parse_json,
    parse_side,
    picture_of,
    restored,
    side_of,
    text_node,
)
from gobelin.exchange.parquet_files import parallel_lists, read_entries, write_split
from gobelin.exchange.webdataset import image_metadata
from gobelin.exchange.writing import Shard

_STRINGS = ("doc_id", "url", "title", "language")
_TEXT = {"dtype": "string", "_type": "Value"}
_FEATURES = {
    **dict.fromkeys(_STRINGS, _TEXT),
    "texts": {"feature": _TEXT, "_type": "Sequence"},
    "images": {"feature": {"_type": "Image"}, "_type": "Sequence"},
    "image_metadata": _TEXT,
    SIDE: _TEXT,
}

PLAIN = pa.schema(
    [
        *((name, pa.string()) for name in _STRINGS),
        ("texts", pa.list_(pa.string())),
        ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
        ("image_metadata", pa.string()),
        (SIDE, pa.string()),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)
"""The metadata is what ``datasets`` writes and reads: which column is an image."""


def write_shard(shard: Shard) -> None:
    """One Parquet file."""
    write_split(shard, (plain_row(entry) for entry, _ in shard.items), PLAIN)


def plain_row(entry: Entry) -> Row:
    """A document as a row of ``PLAIN``. Every image node has a picture with bytes."""
    document = entry.document
    images: list[Row | None] = []
    described = []
    for node, picture in entry.laid_out:
        if node["kind"] == "text":
            images.append(None)
            continue
        assert picture is not None
        images.append({"bytes": picture.data, "path": f"{node['image_id']}.{extension(picture.facts['format'])}"})
        described.append(image_metadata(node, picture))
    return {
        **{name: value for name, value in document.items() if name in _STRINGS},
        "texts": [node["text"] for node in document["nodes"]],
        "images": images,
        "image_metadata": as_json(described),
        SIDE: as_json(side_of(document)),
    }


def read_source(path: str) -> Iterator[Entry | EntryError]:
    """The documents of one Parquet file."""
    return read_entries(path, PLAIN.names, ("texts", "images"), entry_of_row)


def entry_of_row(row: Row, origin: Origin) -> Entry:
    """A document from a row.

    Raises:
        EntryError: the row does not follow the format.
    """
    texts, images = parallel_lists(row)
    shown = [image for image in images if image is not None]
    side = parse_side(row.get(SIDE))
    described = parse_json(row["image_metadata"], "image_metadata") if row.get("image_metadata") else []
    described = described if isinstance(described, list) else []
    nodes = restored(side, [text for text in texts if text is not None], len(shown))
    if nodes is None:
        metadata = iter([*described, *[None] * len(shown)])
        nodes = [
            _image(image, next(metadata)) if text is None else text_node(text) for text, image in zip(texts, images)
        ]
    pictures = [
        _picture(image, described[place] if place < len(described) else None) for place, image in enumerate(shown)
    ]
    return Entry(document_of(side, nodes, origin, known_of(row)), tuple(pictures))


def _image(image: Any, described: Any) -> NodeRow:
    known = described if isinstance(described, dict) else {}
    return image_node(optional_text(image) or known.get("url"), known.get("alt"), known.get("caption"))


def _picture(image: Any, described: Any) -> Picture | None:
    data = image.get("bytes") if isinstance(image, dict) else None
    side = described.get(SIDE) if isinstance(described, dict) else None
    return picture_of(data, side)
