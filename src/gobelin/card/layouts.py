"""How the files of a folder are read, for loaders that use its data card."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pyarrow as pa

from gobelin.card.features import as_image
from gobelin.data.schemas import DOCUMENTS, IMAGES, NODE
from gobelin.exchange.blurring import FACES_BLURRED
from gobelin.exchange.entry import PICTURE_FACTS, SIDE
from gobelin.exchange.hf_parquet import PLAIN
from gobelin.exchange.nemo import NEMO
from gobelin.exchange.obelics import OBELICS

Kind = Literal["parquet", "jsonl", "zip", "tar", "files"]


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """One kind of rows in a folder: a configuration of ``datasets``, a record set of Croissant."""

    name: str
    pattern: str  # of its files, a glob from the folder
    kind: Kind
    schema: pa.Schema  # of its rows; of a tar, of the JSON in each sample
    what: str


def _marked(schema: pa.Schema, name: str) -> pa.Schema:
    index = schema.get_field_index(name)
    return schema.set(index, as_image(schema.field(index))).remove_metadata()


def images_layout(pattern: str, what: str, are_blurred: bool = False) -> Layout:
    """Rows of ``IMAGES``."""
    schema = IMAGES.append(pa.field(FACES_BLURRED, pa.bool_())) if are_blurred else IMAGES
    return Layout("images", pattern, "parquet", _marked(schema, "data"), what)


def documents_layout(pattern: str) -> Layout:
    """Rows of ``DOCUMENTS``."""
    return Layout("default", pattern, "parquet", DOCUMENTS, "one row per document")


_TEXT = pa.string()
_TEXTS = pa.list_(_TEXT)


def _without(fields: pa.Schema | pa.StructType, name: str) -> list[pa.Field]:
    return [field for field in fields if field.name != name]


_SIDE = pa.field(
    SIDE,
    pa.struct(
        [
            ("version", pa.int64()),
            ("document", pa.struct(_without(DOCUMENTS, "nodes"))),
            ("nodes", pa.list_(pa.struct(_without(NODE, "text")))),
        ]
    ),
)
_FACT_TYPES = {"urls": _TEXTS, "consent": _TEXTS, "warc_offset": pa.int64()}
_SIDE_OF_IMAGE = pa.field(
    SIDE,
    pa.struct([*((name, _FACT_TYPES.get(name, _TEXT)) for name in PICTURE_FACTS), (FACES_BLURRED, pa.bool_())]),
)

_JSONL = pa.schema(
    [
        ("url", _TEXT),
        ("doc_id", _TEXT),
        ("title", _TEXT),
        ("items", pa.list_(pa.struct([(name, _TEXT) for name in
                                      ("kind", "role", "text", "url", "image_id", "alt", "caption")]))),
        _SIDE,
    ]
)  # fmt: skip

_MMC4 = pa.schema(
    [
        ("text_list", _TEXTS),
        ("url", _TEXT),
        ("image_info", pa.list_(pa.struct([
            ("image_name", _TEXT), ("raw_url", _TEXT), ("matched_text_index", pa.int64()),
            ("matched_sim", pa.float64()), ("face_detections", _TEXT), _SIDE_OF_IMAGE]))),
        ("similarity_matrix", pa.list_(pa.list_(pa.float64()))),
        ("could_have_url_duplicate", pa.int64()),
        _SIDE,
    ]
)  # fmt: skip

_SAMPLE = pa.schema(
    [
        ("url", _TEXT),
        ("title", _TEXT),
        ("language", _TEXT),
        ("texts", _TEXTS),
        ("images", _TEXTS),
        ("image_metadata", pa.list_(pa.struct([
            ("url", _TEXT), ("alt", _TEXT), ("caption", _TEXT), ("width", pa.int64()), ("height", pa.int64()),
            ("sha256", _TEXT), _SIDE_OF_IMAGE]))),
        _SIDE,
    ]
)  # fmt: skip

_DOCUMENTS = "one row per document"
_OF_FORMAT = {
    "jsonl": Layout("default", "part-*.jsonl", "jsonl", _JSONL, _DOCUMENTS),
    "markdown": Layout("default", "*/*.md", "files", pa.schema([]), "one file per document, its images beside it"),
    "mmc4": Layout("default", "docs_shard_*.jsonl.zip", "zip", _MMC4, _DOCUMENTS),
    "nemo": Layout("default", "data/*.parquet", "parquet", _marked(NEMO, "binary_content"),
                   "one row per text or image; the rows of a document follow each other"),
    "obelics": Layout("default", "data/*.parquet", "parquet", OBELICS, _DOCUMENTS),
    "parquet": Layout("default", "data/*.parquet", "parquet", _marked(PLAIN, "images"), _DOCUMENTS),
    "webdataset": Layout("default", "*.tar", "tar", _SAMPLE, "one sample per document: a JSON file and its images"),
}  # fmt: skip


def layouts_of(name: str, with_images: bool, are_blurred: bool) -> list[Layout]:
    """The layouts of an export in a format.

    Args:
        with_images: whether a data set of images is beside the documents.
        are_blurred: whether it has the column ``faces_blurred``.
    """
    beside = images_layout("images/*.parquet", "one row per image that a document shows", are_blurred)
    return [_OF_FORMAT[name], *([beside] if with_images else [])]
