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
import functools
import hashlib
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from gobelin.scores import DataSet, Score, columns

SCHEMA_VERSION = 3
"""Raised when a data set of an older version can no longer be read by this code."""


class Action(enum.StrEnum):
    """What a decision did to its subject."""

    DROP = "drop"  # left out by a rule
    FAIL = "fail"  # could not be read or scored; nothing is known about its worth
    REPLACE = "replace"  # kept, with a part of it replaced (an e-mail address by a placeholder, a failed score by null)


class Unit(enum.StrEnum):
    """What a decision is about; the unit in which it is counted."""

    DOCUMENT = "document"  # one HTML response (extract), one document (later stages)
    IMAGE = "image"  # one image record (extract), one distinct image (later stages)
    NODE = "node"  # one text or image node of a document
    RECORD = "record"  # a piece of an archive that is neither a page nor an image by itself


class Role(enum.StrEnum):
    """What a text is on its page."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    LIST_ITEM = "list_item"
    QUOTATION = "quotation"
    CODE = "code"  # line breaks and indentation as they stand
    TABLE = "table"  # a line a row
    CAPTION = "caption"  # of something that is no image; an image's caption is its own field


class PageKind(enum.StrEnum):
    """What a page is."""

    ARTICLE = "article"
    LIST = "list"  # of articles
    THREAD = "thread"  # posts of a conversation
    QUESTION = "question"  # and its answers
    PRODUCT = "product"
    MANUAL = "manual"
    OTHER = "other"


class Source(enum.StrEnum):
    """Where an image's bytes come from."""

    ARCHIVE = "archive"
    FETCHED = "fetched"


@dataclasses.dataclass(frozen=True, slots=True)
class Licence:
    """A licence statement found in a page; recorded, never believed."""

    uri: str
    scope: str  # page | image | unknown
    evidence: str  # where it was found, for example "a[rel=license]"
    image_url: str | None = None  # what it is about, where the page says so


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """A piece of a document in reading order: a text (``kind="text"``) or an image (``kind="image"``)."""

    kind: str
    role: Role | None = None  # of a text
    level: int | None = None  # a heading's, from 1 to 6; a list item's nesting, from 1
    text: str | None = None
    image_url: str | None = None  # absolute; a digest reference for data: images
    image_id: str | None = None  # None: the archive holds no usable image at that URL
    alt: str | None = None
    caption: str | None = None
    title: str | None = None
    link_url: str | None = None  # where a click on the image leads
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
    licences: tuple[Licence, ...]
    consent: tuple[str, ...]  # opt-out signals as found, "where: value", sorted
    charset: str  # WHATWG name of the encoding under which the page was read
    extractor: str  # which way its main content was found
    page_kind: PageKind | None  # None: imported
    nodes: tuple[Node, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """One distinct image. ``data`` are its bytes as they stood in the archive."""

    image_id: str
    data: bytes
    format: str  # jpeg, png, webp, gif ...
    width: int
    height: int  # pixels, width and height as displayed (EXIF orientation applied)
    md5: str  # of data, hex; for lists of known files
    phash: str  # 64-bit perceptual hash (imagehash.phash), 16 hex digits
    dhash: str  # 64-bit difference hash (imagehash.dhash), 16 hex digits
    colour: str  # mean RGB of 4 x 4 cells, row by row, 96 hex digits: what the grey hashes cannot tell
    thumbnail: str  # size and 576 greys, 2320 hex digits: verifies what the hashes find (images/thumbnail.py)
    pdq: str | None  # 256-bit PDQ hash, 64 hex digits; None where it was not asked for or its quality is too low
    urls: tuple[str, ...]  # every URL of the input that gave these bytes, sorted
    consent: tuple[str, ...]  # opt-out signals of the responses that gave these bytes, sorted
    source: Source
    warc_file: str  # "" for a fetched image
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
        _field(
            "role", _TEXT, "heading | paragraph | list_item | quotation | code | table | caption; null for an image"
        ),
        _field("level", pa.int32(), "of a heading, [1, 6]; nesting of a list item, from 1"),
        _field("text", _TEXT, "UTF-8, as extracted"),
        _field("image_url", _TEXT, "absolute URL; a digest reference for data: images"),
        _field("image_id", _TEXT, "sha256 hex; null where the archive has no usable image"),
        _field("alt", _TEXT, "alternative text"),
        _field("caption", _TEXT, "caption of the image's figure"),
        _field("title", _TEXT, "title attribute"),
        _field("link_url", _TEXT, "absolute URL of the link around the image"),
        _field("rendered_width", pa.int32(), "px"),
        _field("rendered_height", pa.int32(), "px"),
    ]
)

DOCUMENTS = pa.schema(
    [
        _required("doc_id", _TEXT, "blake2b-128 hex of canonical URL and payload digest"),
        _required("url", _TEXT, "WARC-Target-URI"),
        _required("warc_file", _TEXT, "path as given"),
        _required("warc_offset", pa.int64(), "bytes, in the file; unpacked where records share a gzip member"),
        _required("warc_length", pa.int64(), "bytes, in the compressed file"),
        _required("warc_date", _TEXT, "ISO 8601, UTC"),
        _required("content_digest", _TEXT, "sha256 of the decoded payload"),
        _field("title", _TEXT, "page title"),
        _field("language", _TEXT, "ISO 639-1 (639-3 where there is none)"),
        _field("language_score", _RATIO, "probability, [0, 1]"),
        _required("licences", pa.list_(pa.struct([
            _required("uri", _TEXT, "URI"), _required("scope", _TEXT, "page | image | unknown"),
            _required("evidence", _TEXT, "where found"), _field("image_url", _TEXT, "absolute URL")])),
            "as found, not verified"),
        _required("consent", pa.list_(_TEXT), "opt-out signals as found, sorted"),
        _required("charset", _TEXT, "WHATWG name of the encoding"),
        _required("extractor", _TEXT, "which way the main content was found"),
        _field("page_kind", _TEXT, "article | list | thread | question | product | manual | other; null: imported"),
        _required("nodes", pa.list_(NODE), "text and images in reading order"),
    ]
)  # fmt: skip

IMAGES = pa.schema(
    [
        _required("image_id", _TEXT, "sha256 hex of data"),
        _required("data", pa.large_binary(), "the image file's bytes, as archived"),
        _required("format", _TEXT, "jpeg | png | webp | gif ..."),
        _required("width", pa.int32(), "px, as displayed"),
        _required("height", pa.int32(), "px, as displayed"),
        _required("md5", _TEXT, "md5 hex of data"),
        _required("phash", _TEXT, "64-bit perceptual hash, hex"),
        _required("dhash", _TEXT, "64-bit difference hash, hex"),
        _required("colour", _TEXT, "mean RGB of 4 x 4 cells, row by row: 96 hex digits"),
        _required(
            "thumbnail", _TEXT, "width and height, 8 digits each, and 576 greys by rows, 4 each: 2320 hex digits"
        ),
        _field("pdq", _TEXT, "256-bit PDQ hash, hex; null: not asked for, or of low quality"),
        _required("urls", pa.list_(_TEXT), "every URL with these bytes, sorted"),
        _required("consent", pa.list_(_TEXT), "opt-out signals of the image's own responses, sorted"),
        _required("source", _TEXT, "archive | fetched"),
        _required("warc_file", _TEXT, "path as given"),
        _required("warc_offset", pa.int64(), "bytes, in the file; unpacked where records share a gzip member"),
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

FETCHES = pa.schema(
    [
        _required("url", _TEXT, "as the page names it"),
        _required("host", _TEXT, "host name"),
        _required("status", _TEXT, "outcome, see FetchStatus in transforms/fetching/fetch_config.py"),
        _field("http_status", pa.int32(), "of the last response"),
        _required("tries", pa.int32(), "requests for this URL, redirects not counted"),
        _required("num_bytes", pa.int64(), "body bytes received"),
        _field("final_url", _TEXT, "after redirects"),
        _field("detail", _TEXT, "free text"),
    ]
)

NOT_RUN = pa.schema(
    [
        _required("rule", _TEXT, "name of a rule that the recipe asks for"),
        _required("times", pa.int64(), "nodes or documents for which it found no score"),
    ]
)

HEAD_VALUES = pa.list_(
    pa.struct([_required("name", _TEXT, "of the head or prompts"), _required("value", _RATIO, "its own scale")])
)

FACES = pa.list_(
    pa.struct(
        [
            *(
                _required(name, _RATIO, "share of width or height, [0, 1], from the upper left")
                for name in ("x0", "y0", "x1", "y1")
            ),
            _required("score", _RATIO, "the detector's own, [0, 1]"),
        ]
    )
)


def _with_scores(data_set: DataSet, facts: dict[str, list[pa.Field]]) -> list[pa.Field]:
    """The scores of a data set as the table has them (``scores.py``), each followed by its ``facts``: columns that no
    rule compares. Those of "first" and "last" stand there."""
    fields = list(facts["first"])
    for column in columns(data_set):
        fields += [column, *facts.get(column.name, ())]
    return fields + facts.get("last", [])


NODE_SCORES = pa.struct(
    _with_scores(
        "nodes",
        {
            "first": [_required("kind", _TEXT, "text | image")],
            "site_count": [
                # text nodes; image nodes: in alternative text, caption, title and link
                _field("num_emails", _COUNT, "e-mail addresses"),
                _field("num_ips", _COUNT, "public IP addresses"),
                _field("num_phones", _COUNT, "telephone numbers"),
                _field("num_cards", _COUNT, "payment card numbers"),
                _field("num_ibans", _COUNT, "bank account numbers"),
                _field("num_secrets", _COUNT, "keys and passwords"),
                # image nodes
                _field("image_id", _TEXT, "see images; null where the image is missing"),
                _field("format", _TEXT, "see images"),
                _field("width", pa.int32(), "px"),
                _field("height", pa.int32(), "px"),
                _field("phash", _TEXT, "64-bit, hex"),
            ],
            "num_documents": [_field("consent", pa.list_(_TEXT), "see images")],
            "near_count": [_field("near_group", _TEXT, "see image scores")],
            "clip_caption": [
                _field(
                    "clip_assigned", pa.int32(), "position of the text that the image is assigned to, one image a text"
                )
            ],
            "num_eval_images": [_field("eval_image", _TEXT, "path of the first of them")],
            "watermark": [_field("heads", HEAD_VALUES, "scores of further heads and prompts")],
        },
    )
)

_EARLIER = pa.struct(
    [
        _required("kind", _TEXT, "url | older_url | exact | near"),
        _required("doc_id", _TEXT, "see signatures"),
        _required("run", _TEXT, "output folder of the earlier run, as the recipe names it"),
    ]
)

DOCUMENT_SCORES = pa.schema(
    _with_scores(
        "documents",
        {
            "first": [_required("doc_id", _TEXT, "see documents")],
            "num_words": [_required("num_images", _COUNT, "image nodes whose image is at hand")],
            "eval_word_ratio": [_field("eval_source", _TEXT, "file with the most of these n-grams")],
            "last": [
                _required("url_group", _TEXT, "smallest doc_id with the same canonical URL"),
                _required("exact_group", _TEXT, "smallest doc_id with the same text"),
                _required("near_group", _TEXT, "smallest doc_id connected by near-duplicate text"),
                _required(
                    "earlier",
                    pa.list_(_EARLIER),
                    "documents of earlier runs that this one duplicates, sorted by kind",
                ),
                _field("clip_model", _TEXT, "fingerprint of the model behind the clip_ scores"),
                _required("nodes", pa.list_(NODE_SCORES), "one for each node of the document, same order"),
            ],
        },
    )
)

IMAGE_SCORES = pa.schema(
    _with_scores(
        "images",
        {
            "first": [
                _required("image_id", _TEXT, "see images"),
                _required("width", pa.int32(), "px"),
                _required("height", pa.int32(), "px"),
                _required("phash", _TEXT, "64-bit, hex"),
            ],
            "num_documents": [
                _required("near_group", _TEXT, "smallest image_id connected by perceptual near-duplication")
            ],
            "near_count": [
                _field("semantic_group", _TEXT, "smallest image_id connected by embedding similarity; null: not run")
            ],
            "watermark": [
                _field("heads", HEAD_VALUES, "scores of further heads and prompts"),
                _field("faces", FACES, "the largest first; null: not looked for"),
            ],
            "last": [_field("clip_model", _TEXT, "fingerprint of the model behind the embedding")],
        },
    )
)


@dataclasses.dataclass(frozen=True, slots=True)
class ScoreSchemas:
    """What ``score/documents`` and ``score/images`` hold in a run."""

    documents: pa.Schema
    images: pa.Schema
    node_names: tuple[str, ...]


def score_schemas(added: Iterable[Score] = ()) -> ScoreSchemas:
    """The schemas with the scores of a recipe's plug-ins behind gobelin's own."""
    by_data_set = {
        data_set: [score.column(data_set) for score in added if data_set in score.data_sets]
        for data_set in ("documents", "nodes", "images")
    }
    nodes = pa.struct([*NODE_SCORES, *by_data_set["nodes"]])
    own = [field.with_type(pa.list_(nodes)) if field.name == "nodes" else field for field in DOCUMENT_SCORES]
    return ScoreSchemas(
        pa.schema([*own, *by_data_set["documents"]]),
        pa.schema([*IMAGE_SCORES, *by_data_set["images"]]),
        tuple(field.name for field in nodes),
    )


OWN_SCORES = score_schemas()


SIGNATURES = pa.schema(
    [
        _required("doc_id", _TEXT, "see documents"),
        _required("url_key", _TEXT, "canonical URL"),
        _required("warc_date", _TEXT, "ISO 8601, UTC"),
        _field("text_digest", _TEXT, "128-bit hash of the words, hex; null: no words"),
        _required("bands", pa.list_(pa.int64()), "MinHash band keys"),
        _required("sketch", pa.binary(), "lowest byte of each MinHash value"),
    ]
)

IMAGE_SIGNATURES = pa.schema(
    [
        _required("image_id", _TEXT, "see images"),
        _required("phash", _TEXT, "64-bit, hex"),
        _required("dhash", _TEXT, "64-bit, hex"),
        _required("colour", _TEXT, "see images"),
        _required("thumbnail", _TEXT, "see images"),
        _required("num_documents", _COUNT, "documents of this run that show these bytes"),
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

IMAGE_LATENTS = IMAGE_CODES.append(
    _required("latents", pa.list_(pa.float16()), "N x d numbers, token by token in raster order; codes are N zeros")
)
"""In place of ``IMAGE_CODES`` where the tokens of the image tokenizer are continuous."""

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


CONTINUOUS_TOKEN_SHARDS = TOKEN_SHARDS.append(
    _required("latents", pa.list_(pa.float16()), "N x d numbers of each image, in the order of image_spans")
)
"""In place of ``TOKEN_SHARDS`` where the tokens of the image tokenizer are continuous."""


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
    """A dataclass of this module as a row of its schema (nested dataclasses become structs).

    As ``dataclasses.asdict``, in a third of its time: what cannot change is not copied.
    """
    kind: Any = type(value)
    return {name: _plain(getattr(value, name)) for name in _field_names(kind) or ()}


def _plain(value: Any) -> Any:
    kind: Any = type(value)
    if kind is tuple:
        return tuple([_plain(each) for each in value])
    return value if _field_names(kind) is None else to_row(value)


@functools.cache
def _field_names(kind: Any) -> tuple[str, ...] | None:
    """None: it is no dataclass."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


def document_from_row(row: dict[str, Any]) -> Document:
    """The inverse of ``to_row`` for a row of ``DOCUMENTS``."""
    return Document(
        **{
            **row,
            "licences": tuple(Licence(**licence) for licence in row["licences"]),
            "consent": tuple(row["consent"]),
            "nodes": tuple(Node(**node) for node in row["nodes"]),
        }
    )


def image_from_row(row: dict[str, Any]) -> Image:
    """The inverse of ``to_row`` for a row of ``IMAGES``."""
    return Image(**{**row, "urls": tuple(row["urls"]), "consent": tuple(row["consent"])})
