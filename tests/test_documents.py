"""The data model: dataclasses and Arrow schemas agree, and neither changes without notice."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pyarrow as pa
import pytest

from gobelin.data import schemas
from gobelin.data.ids import document_id, image_id, shard_of
from gobelin.data.model import (
    Action,
    ArchiveTally,
    Decision,
    Document,
    Image,
    Licence,
    Node,
    PageKind,
    Role,
    Source,
    Unit,
    document_from_row,
    image_from_row,
    to_row,
)
from gobelin.data.schemas import (
    ARCHIVES,
    CONTINUOUS_TOKEN_SHARDS,
    DECISIONS,
    DOCUMENT_SCORES,
    DOCUMENTS,
    FETCHES,
    IMAGE_CODES,
    IMAGE_COPIES,
    IMAGE_EMBEDDINGS,
    IMAGE_LATENTS,
    IMAGE_SCORES,
    IMAGE_SIGNATURES,
    IMAGES,
    NODE,
    NODE_SCORES,
    NOT_RUN,
    SCHEMA_VERSION,
    SIGNATURES,
    TEXT_EMBEDDINGS,
    TOKEN_INDEX,
    TOKEN_SHARDS,
    WIDE_IMAGE_CODES,
)

SCHEMAS = {
    "documents": DOCUMENTS,
    "images": IMAGES,
    "image_copies": IMAGE_COPIES,
    "decisions": DECISIONS,
    "archives": ARCHIVES,
    "fetches": FETCHES,
    "not_run": NOT_RUN,
    "document_scores": DOCUMENT_SCORES,
    "image_scores": IMAGE_SCORES,
    "signatures": SIGNATURES,
    "image_signatures": IMAGE_SIGNATURES,
    "image_embeddings": IMAGE_EMBEDDINGS,
    "text_embeddings": TEXT_EMBEDDINGS,
    "image_codes": IMAGE_CODES,
    "wide_image_codes": WIDE_IMAGE_CODES,
    "token_shards": TOKEN_SHARDS,
    "token_index": TOKEN_INDEX,
    "image_latents": IMAGE_LATENTS,
    "continuous_token_shards": CONTINUOUS_TOKEN_SHARDS,
}

FINGERPRINT = (5, "6874d1968e8e1931")
"""(SCHEMA_VERSION, digest of all schemas). Data sets written by an older version must stay readable: a new digest asks
whether the version has to go up with it."""


def fingerprint() -> str:
    lines = [
        f"{name} {field.name} {field.type} {field.nullable}" for name, schema in SCHEMAS.items() for field in schema
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def test_schemas_change_only_with_notice() -> None:
    assert (SCHEMA_VERSION, fingerprint()) == FINGERPRINT


def test_no_schema_is_left_out_of_the_fingerprint() -> None:
    in_module = {id(value) for value in vars(schemas).values() if isinstance(value, pa.Schema)}
    assert in_module == {id(schema) for schema in SCHEMAS.values()}


@pytest.mark.parametrize(
    ("dataclass", "fields"),
    [
        (Document, DOCUMENTS),
        (Image, IMAGES),
        (Decision, DECISIONS),
        (ArchiveTally, ARCHIVES),
        (Node, NODE),
        (Licence, DOCUMENTS.field("licences").type.value_type),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_dataclass_and_schema_name_the_same_fields(dataclass: type, fields: Any) -> None:
    assert [field.name for field in dataclasses.fields(dataclass)] == [field.name for field in fields]


@pytest.mark.parametrize(
    ("dataclass", "fields"), [(Document, DOCUMENTS), (Image, IMAGES), (Decision, DECISIONS), (Node, NODE)]
)
def test_a_field_is_nullable_where_its_annotation_says_so(dataclass: type, fields: Any) -> None:
    by_annotation = {field.name: "None" in str(field.type) for field in dataclasses.fields(dataclass)}
    assert by_annotation == {field.name: field.nullable for field in fields}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_says_its_unit(name: str) -> None:
    assert [field.name for field in SCHEMAS[name] if not (field.metadata or {}).get(b"unit")] == []


@pytest.mark.parametrize("struct", [NODE, NODE_SCORES], ids=["node", "node_scores"])
def test_every_field_of_a_node_says_its_unit(struct: pa.StructType) -> None:
    assert [field.name for field in struct if not (field.metadata or {}).get(b"unit")] == []


def a_document(**changes: Any) -> Document:
    values: dict[str, Any] = {
        "doc_id": "0" * 32,
        "url": "https://a.example/",
        "warc_file": "a.warc.gz",
        "warc_offset": 5,
        "warc_length": 70,
        "warc_date": "2025-01-02T03:04:05Z",
        "content_digest": "sha256:00",
        "title": "Straße 𝔸",
        "language": "de",
        "language_score": 0.5,
        "licences": (Licence("https://l.example/", "page", "link[rel=license]"),),
        "consent": ("meta robots: noai",),
        "charset": "utf-8",
        "extractor": "fast",
        "page_kind": PageKind.ARTICLE,
        "nodes": (
            Node("text", Role.HEADING, 1, text="x"),
            Node("image", image_url="https://a.example/1.png", rendered_width=5),
        ),
    }
    return Document(**{**values, **changes})


@pytest.mark.parametrize(
    "document",
    [a_document(), a_document(licences=(), title=None, language=None, language_score=None, consent=(), nodes=())],
    ids=["full", "sparse"],
)
def test_document_survives_parquet_rows(document: Document) -> None:
    row = pa.Table.from_pylist([to_row(document)], schema=DOCUMENTS).to_pylist()[0]
    assert document_from_row(row) == document


def test_image_survives_parquet_rows() -> None:
    image = Image(
        "f" * 64, b"\0\xff", "png", 3, 4, "a" * 32, "0" * 16, "1" * 16, "2" * 96, "3" * 2320, None, "svg", "4" * 64,
        ("https://a.example/a", "https://a.example/b"), ("header x-robots-tag: noai",), Source.ARCHIVE, "a.warc", 7,
    )  # fmt: skip
    assert image_from_row(pa.Table.from_pylist([to_row(image)], schema=IMAGES).to_pylist()[0]) == image


def test_decision_fits_its_schema() -> None:
    decision = Decision("extract", Unit.NODE, Action.DROP, "text.min_words", node_index=0, value=1.0)
    row = pa.Table.from_pylist([to_row(decision)], schema=DECISIONS).to_pylist()[0]
    assert (row["unit"], row["action"], row["node_index"], row["doc_id"]) == ("node", "drop", 0, None)


def test_ids_are_pinned() -> None:
    """Ids are in every file ever written: they may not change."""
    assert document_id("//a.example/", "sha256:00") == "14ffb3b09b00c3a0eb381f3586c18c6d"
    assert image_id(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert [shard_of(name, 8) for name in ("a", "b", "c", "é")] == [7, 5, 3, 7]


def test_document_id_tells_url_and_digest_apart() -> None:
    assert document_id("ab", "c") != document_id("a", "bc")


def test_shards_fill_evenly() -> None:
    counts = [0] * 8
    for number in range(8000):
        counts[shard_of(f"{number:032x}", 8)] += 1
    assert min(counts) > 850
    assert max(counts) < 1150
