"""The data model: documents, images, and the decisions on them. Rows of the data sets are these as plain values."""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
from typing import Any, overload

from gobelin.data.rows import ArchiveRow, DecisionRow, DocumentRow, ImageRow, NodeRow, Row


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


LANGUAGE = re.compile(r"[a-z0-9][a-z0-9+#._-]{0,29}")
"""What a name of a programming language may be."""


_FILE_NAME = re.compile(r"\S+\.(?:png|jpe?g|gif|webp|svg|bmp|avif|tiff?)", re.IGNORECASE)


class Role(enum.StrEnum):
    """What a text is on its page."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    LIST_ITEM = "list_item"
    QUOTATION = "quotation"
    CODE = "code"  # line breaks and indentation as they stand
    TABLE = "table"  # one line per row (``table_text.py``)
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
    code_language: str | None = None  # of code, as the page names it
    header_rows: int | None = None  # of a table: rows at its top that are its head
    continues: bool | None = None  # the line of the text before it, behind pictures
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
    """One distinct image. ``data`` are its bytes as they stood in the archive; of a drawing, a PNG of it."""

    image_id: str
    data: bytes
    format: str  # jpeg, png, webp, gif ...
    width: int
    height: int  # pixels, width and height as displayed (EXIF orientation applied)
    md5: str  # of data, hex; for lists of known files
    phash: str  # 64-bit perceptual hash (imagehash.phash), 16 hex digits
    dhash: str  # 64-bit difference hash (imagehash.dhash), 16 hex digits
    colour: str  # mean RGB of 4 x 4 cells, row by row, 96 hex digits: what the grey hashes cannot tell
    thumbnail: str  # size and 2304 greys, 4624 hex digits: verifies what the hashes find (images/thumbnail.py)
    pdq: str | None  # 256-bit PDQ hash, 64 hex digits; None where it was not asked for or its quality is too low
    source_format: str | None  # svg: ``data`` was rendered from a drawing
    source_sha256: str | None  # of the drawing's bytes as archived, hex
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


@overload
def to_row(value: Document) -> DocumentRow: ...
@overload
def to_row(value: Node) -> NodeRow: ...
@overload
def to_row(value: Image) -> ImageRow: ...
@overload
def to_row(value: Decision) -> DecisionRow: ...
@overload
def to_row(value: ArchiveTally) -> ArchiveRow: ...
@overload
def to_row(value: Any) -> Row: ...
def to_row(value: Any) -> Any:
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


def document_from_row(row: DocumentRow) -> Document:
    """The inverse of ``to_row``."""
    return Document(
        doc_id=row["doc_id"],
        url=row["url"],
        warc_file=row["warc_file"],
        warc_offset=row["warc_offset"],
        warc_length=row["warc_length"],
        warc_date=row["warc_date"],
        content_digest=row["content_digest"],
        title=row["title"],
        language=row["language"],
        language_score=row["language_score"],
        licences=tuple(Licence(**licence) for licence in row["licences"]),
        consent=tuple(row["consent"]),
        charset=row["charset"],
        extractor=row["extractor"],
        page_kind=None if row["page_kind"] is None else PageKind(row["page_kind"]),
        nodes=tuple(map(_node_from_row, row["nodes"])),
    )


def _node_from_row(row: NodeRow) -> Node:
    return Node(
        kind=row["kind"],
        role=None if row["role"] is None else Role(row["role"]),
        level=row["level"],
        text=row["text"],
        code_language=row.get("code_language"),
        header_rows=row.get("header_rows"),
        continues=row.get("continues"),
        image_url=row["image_url"],
        image_id=row["image_id"],
        alt=row["alt"],
        caption=row["caption"],
        title=row["title"],
        link_url=row["link_url"],
        rendered_width=row["rendered_width"],
        rendered_height=row["rendered_height"],
    )


def image_from_row(row: ImageRow) -> Image:
    """The inverse of ``to_row``."""
    return Image(
        image_id=row["image_id"],
        data=row["data"],
        format=row["format"],
        width=row["width"],
        height=row["height"],
        md5=row["md5"],
        phash=row["phash"],
        dhash=row["dhash"],
        colour=row["colour"],
        thumbnail=row["thumbnail"],
        pdq=row["pdq"],
        source_format=row["source_format"],
        source_sha256=row["source_sha256"],
        urls=tuple(row["urls"]),
        consent=tuple(row["consent"]),
        source=Source(row["source"]),
        warc_file=row["warc_file"],
        warc_offset=row["warc_offset"],
    )


def alt_text(alt: str | None) -> str | None:
    """An alternative text that says something: a file's name or path, which many pages give instead, does not."""
    return None if alt is None or _FILE_NAME.fullmatch(alt) else alt
