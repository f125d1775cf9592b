"""The data model: documents, images, scores, decisions, and the Parquet schema of each data set.

One dataclass per row type, one Arrow schema per data set; a test pins that the two agree. Every field of a
schema carries its unit or meaning as field metadata (key ``unit``), so a Parquet file explains itself.

Identity
    ``doc_id``    128-bit BLAKE2b of canonical URL + payload digest, 32 hex digits.
    ``image_id``  SHA-256 of the image file's bytes, 64 hex digits: the same bytes are the same image everywhere.
    ``shard_of``  which shard a row with that id lives in; depends on the id alone, so the same input gives the
                  same files whatever the runner, the number of workers or the order of the input.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1
"""Raised when a data set of an older version can no longer be read by this code."""


class Action(enum.StrEnum):
    """What a decision did to its subject."""

    DROP = "drop"  # left out by a rule
    FAIL = "fail"  # could not be read or scored; nothing is known about its worth
    REPLACE = "replace"  # kept, with a part of it replaced (an e-mail address by a placeholder)


class Unit(enum.StrEnum):
    """What a decision is about; the unit in which it is counted."""

    DOCUMENT = "document"  # one HTML response (extract), one document (later stages)
    IMAGE = "image"  # one image record (extract), one distinct image (later stages)
    NODE = "node"  # one text or image node of a document
    RECORD = "record"  # a piece of an archive that could not be told to be a page or an image


@dataclasses.dataclass(frozen=True, slots=True)
class Licence:
    """A licence statement found in a page; recorded, never believed."""

    uri: str
    scope: str  # page | unknown
    evidence: str  # where it was found, for example "a[rel=license]"


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """A piece of a document in reading order: a text (``kind="text"``) or an image (``kind="image"``)."""

    kind: str
    text: str | None = None
    image_url: str | None = None  # absolute; a digest reference for data: images
    image_id: str | None = None  # None: the archive holds no usable image at that URL
    alt: str | None = None
    caption: str | None = None
    rendered_width: int | None = None  # pixels, as the page asks for
    rendered_height: int | None = None

    @property
    def is_image(self) -> bool:
        return self.kind == "image"


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """One page: its provenance, what it says about itself, and its nodes in reading order."""

    doc_id: str
    url: str
    warc_file: str
    warc_offset: int
    warc_length: int
    warc_date: str
    content_digest: str  # "sha256:" + hex of the decoded payload
    title: str | None
    language: str | None  # ISO 639-1
    language_score: float | None  # probability, [0, 1]
    licence: Licence | None
    consent: tuple[str, ...]  # opt-out signals as found, "where: value", sorted
    nodes: tuple[Node, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """One distinct image. ``data`` are its bytes as they stood in the archive."""

    image_id: str
    data: bytes
    format: str  # jpeg, png, webp, gif ...
    width: int
    height: int
    phash: str  # 64-bit perceptual hash (imagehash.phash), 16 hex digits
    urls: tuple[str, ...]  # every URL of the input that gave these bytes, sorted
    warc_file: str
    warc_offset: int


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """Why something was dropped, failed or was changed: ``value`` stood on the wrong side of ``threshold``."""

    stage: str
    unit: Unit
    action: Action
    rule: str  # fixed, short, snake_case; dotted by section, for example "text.min_words"
    doc_id: str | None = None
    node_index: int | None = None  # position in the document's nodes, from 0
    image_id: str | None = None
    url: str | None = None
    value: float | None = None
    threshold: float | None = None
    detail: str | None = None  # what a number cannot say: the banned word, the library's message
    warc_file: str | None = None
    warc_offset: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ArchiveTally:
    """How many records of each kind one archive held, counted by the reader and by nobody else."""

    warc_file: str
    num_records: int
    num_documents: int  # HTML responses
    num_images: int  # image responses and data: images
    num_other: int


def _field(name: str, kind: pa.DataType, unit: str, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit})


def _required(name: str, kind: pa.DataType, unit: str) -> pa.Field:
    return _field(name, kind, unit, nullable=False)


_TEXT = pa.string()
_COUNT = pa.int32()
_RATIO = pa.float32()

NODE = pa.struct(
    [
        _required("kind", _TEXT, "text | image"),
        _field("text", _TEXT, "UTF-8, as extracted"),
        _field("image_url", _TEXT, "absolute URL; a digest reference for data: images"),
        _field("image_id", _TEXT, "sha256 hex; null where the archive has no usable image"),
        _field("alt", _TEXT, "alternative text"),
        _field("caption", _TEXT, "figcaption of the enclosing figure"),
        _field("rendered_width", pa.int32(), "px"),
        _field("rendered_height", pa.int32(), "px"),
    ]
)

DOCUMENTS = pa.schema(
    [
        _required("doc_id", _TEXT, "blake2b-128 hex of canonical URL and payload digest"),
        _required("url", _TEXT, "WARC-Target-URI"),
        _required("warc_file", _TEXT, "path as given"),
        _required("warc_offset", pa.int64(), "bytes, in the compressed file"),
        _required("warc_length", pa.int64(), "bytes, in the compressed file"),
        _required("warc_date", _TEXT, "ISO 8601, UTC"),
        _required("content_digest", _TEXT, "sha256 of the decoded payload"),
        _field("title", _TEXT, "page title"),
        _field("language", _TEXT, "ISO 639-1 (639-3 where there is none)"),
        _field("language_score", _RATIO, "probability, [0, 1]"),
        _field("licence", pa.struct([_field("uri", _TEXT, "URI"), _field("scope", _TEXT, "page | unknown"),
                                     _field("evidence", _TEXT, "where found")]), "as found, not verified"),
        _required("consent", pa.list_(_TEXT), "opt-out signals as found, sorted"),
        _required("nodes", pa.list_(NODE), "text and images in reading order"),
    ]
)  # fmt: skip

IMAGES = pa.schema(
    [
        _required("image_id", _TEXT, "sha256 hex of data"),
        _required("data", pa.large_binary(), "the image file's bytes, as archived"),
        _required("format", _TEXT, "jpeg | png | webp | gif ..."),
        _required("width", pa.int32(), "px"),
        _required("height", pa.int32(), "px"),
        _required("phash", _TEXT, "64-bit perceptual hash, hex"),
        _required("urls", pa.list_(_TEXT), "every URL with these bytes, sorted"),
        _required("warc_file", _TEXT, "path as given"),
        _required("warc_offset", pa.int64(), "bytes, in the compressed file"),
    ]
)

DECISIONS = pa.schema(
    [
        _required("stage", _TEXT, "extract | score | select | tokenize"),
        _required("unit", _TEXT, "document | image | node | record"),
        _required("action", _TEXT, "drop | fail | replace"),
        _required("rule", _TEXT, "name of the rule"),
        _field("doc_id", _TEXT, "see documents"),
        _field("node_index", pa.int32(), "position in the document, from 0"),
        _field("image_id", _TEXT, "see images"),
        _field("url", _TEXT, "URL of the page or image"),
        _field("value", pa.float64(), "in the rule's own unit"),
        _field("threshold", pa.float64(), "in the rule's own unit"),
        _field("detail", _TEXT, "free text"),
        _field("warc_file", _TEXT, "path as given"),
        _field("warc_offset", pa.int64(), "bytes, in the compressed file"),
    ]
)

ARCHIVES = pa.schema(
    [
        _required("warc_file", _TEXT, "path as given"),
        _required("num_records", pa.int64(), "records"),
        _required("num_documents", pa.int64(), "HTML responses"),
        _required("num_images", pa.int64(), "image responses and data: images"),
        _required("num_other", pa.int64(), "records"),
    ]
)

NOT_RUN = pa.schema(
    [
        _required("rule", _TEXT, "name of a rule that the recipe asks for"),
        _required("times", pa.int64(), "nodes or documents for which it found no score"),
    ]
)

NODE_SCORES = pa.struct(
    [
        _required("kind", _TEXT, "text | image"),
        # text nodes; every ratio as OBELICS defines it (transforms/text_statistics.py)
        _field("num_words", _COUNT, "words"),
        _field("char_repetition_ratio", _RATIO, "[0, 1], 10-grams"),
        _field("word_repetition_ratio", _RATIO, "[0, 1], 5-grams"),
        _field("special_char_ratio", _RATIO, "[0, 1]"),
        _field("stop_word_ratio", _RATIO, "[0, 1]; null where the language has no list"),
        _field("flagged_word_ratio", _RATIO, "[0, 1]; null where the language has no list"),
        _field("punctuation_ratio", _RATIO, "[0, 1]; null under 12 tokens"),
        _field("spam_word_ratio", _RATIO, "[0, 1]; null where the language has no list"),
        _field("num_lorem_ipsum", _COUNT, "occurrences of filler phrases"),
        _field("num_emails", _COUNT, "e-mail addresses"),
        _field("site_count", _COUNT, "times this very text occurs on its host"),
        # image nodes
        _field("image_id", _TEXT, "see images; null where the image is missing"),
        _field("format", _TEXT, "see images"),
        _field("width", pa.int32(), "px"),
        _field("height", pa.int32(), "px"),
        _field("phash", _TEXT, "64-bit, hex"),
        _field("num_documents", _COUNT, "documents that show these bytes"),
        _field("near_count", _COUNT, "documents that show an image of its near-duplicate group"),
        _field("clip_text_max", _RATIO, "cosine, highest over the document's texts"),
        _field("clip_near_max", _RATIO, "cosine, higher of the nearest text before and after"),
        _field("clip_alt", _RATIO, "cosine with the alternative text"),
        _field("clip_caption", _RATIO, "cosine with the caption"),
        _field("nsfw", _RATIO, "probability, [0, 1]"),
        _field("aesthetic", _RATIO, "head's own scale"),
    ]
)

DOCUMENT_SCORES = pa.schema(
    [
        _required("doc_id", _TEXT, "see documents"),
        _required("num_words", _COUNT, "words"),
        _required("num_images", _COUNT, "image nodes whose image is at hand"),
        _field("char_repetition_ratio", _RATIO, "[0, 1], 10-grams"),
        _field("word_repetition_ratio", _RATIO, "[0, 1], 5-grams"),
        _field("special_char_ratio", _RATIO, "[0, 1]"),
        _field("stop_word_ratio", _RATIO, "[0, 1]; null where the language has no list"),
        _field("flagged_word_ratio", _RATIO, "[0, 1]; null where the language has no list"),
        _field("punctuation_ratio", _RATIO, "[0, 1]"),
        _field("spam_word_ratio", _RATIO, "[0, 1]; null where the language has no list"),
        _field("num_lorem_ipsum", _COUNT, "occurrences of filler phrases"),
        _required("url_group", _TEXT, "smallest doc_id with the same canonical URL"),
        _required("exact_group", _TEXT, "smallest doc_id with the same text"),
        _required("near_group", _TEXT, "smallest doc_id connected by near-duplicate text"),
        _field("clip_model", _TEXT, "fingerprint of the model behind the clip_ scores"),
        _required("nodes", pa.list_(NODE_SCORES), "one for each node of the document, same order"),
    ]
)

IMAGE_SCORES = pa.schema(
    [
        _required("image_id", _TEXT, "see images"),
        _required("width", pa.int32(), "px"),
        _required("height", pa.int32(), "px"),
        _required("phash", _TEXT, "64-bit, hex"),
        _required("num_documents", _COUNT, "documents that show these bytes"),
        _required("near_group", _TEXT, "smallest image_id connected by perceptual near-duplication"),
        _required("near_count", _COUNT, "documents that show an image of the group"),
        _field("nsfw", _RATIO, "probability, [0, 1]"),
        _field("aesthetic", _RATIO, "head's own scale"),
        _field("clip_model", _TEXT, "fingerprint of the model behind the embedding"),
    ]
)

IMAGE_EMBEDDINGS = pa.schema(
    [
        _required("image_id", _TEXT, "see images"),
        _required("embedding", pa.list_(pa.float16()), "L2-normalised"),
    ]
)

TEXT_EMBEDDINGS = pa.schema(
    [
        _required("doc_id", _TEXT, "see documents"),
        _required("node_index", pa.int32(), "position in the document, from 0"),
        _required("role", _TEXT, "text | alt | caption"),
        _required("embedding", pa.list_(pa.float16()), "L2-normalised"),
    ]
)

IMAGE_CODES = pa.schema(
    [
        _required("image_id", _TEXT, "see images"),
        _required("codes", pa.list_(pa.int32()), "[0, K), raster order"),
    ]
)

TOKEN_SHARDS = pa.schema(
    [
        _required("doc_id", _TEXT, "see documents"),
        _required("tokens", pa.list_(pa.int32()), "ids of vocabulary.json"),
        _required("image_spans", pa.list_(pa.struct([
            _required("start", pa.int32(), "index in tokens of the first image token (after begin-of-image)"),
            _required("length", pa.int32(), "image tokens"),
            _required("image_id", _TEXT, "see images"),
        ])), "in reading order"),
    ]
)  # fmt: skip


def shard_of(identifier: str, num_shards: int) -> int:
    """The shard, in [0, num_shards), of a row with this id. Uniform; depends on the id alone."""
    digest = hashlib.blake2b(identifier.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % num_shards


def document_id(canonical_url: str, content_digest: str) -> str:
    """128-bit id of a page: its canonical URL and the digest of its payload, as 32 hex digits."""
    return hashlib.blake2b(f"{canonical_url}\n{content_digest}".encode(), digest_size=16).hexdigest()


def image_id(data: bytes) -> str:
    """Content address of an image: SHA-256 of its bytes as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def to_row(value: Any) -> dict[str, Any]:
    """A dataclass of this module as a row of its schema (nested dataclasses become structs)."""
    return dataclasses.asdict(value)


def document_from_row(row: dict[str, Any]) -> Document:
    """The inverse of ``to_row`` for a row of ``DOCUMENTS``."""
    licence = row["licence"]
    return Document(
        **{
            **row,
            "licence": None if licence is None else Licence(**licence),
            "consent": tuple(row["consent"]),
            "nodes": tuple(Node(**node) for node in row["nodes"]),
        }
    )


def image_from_row(row: dict[str, Any]) -> Image:
    """The inverse of ``to_row`` for a row of ``IMAGES``."""
    return Image(**{**row, "urls": tuple(row["urls"])})
