"""A document with its images, as exports and imports hold it, and the side field that makes a round trip exact.

Other formats have no place for roles, levels, captions or the origin of a page. If a format has room for extra fields,
an export adds a *side field* named ``gobelin``: the document's row without its texts, which the format holds itself. An
import uses it to restore the row exactly. Texts come from the format, so changes to them are kept. If the nodes of a
side field do not match the texts and images (something was added or removed), only its document fields are used. A
foreign file has no side field, and its texts become paragraphs.

A side field is untrusted, like the rest of the file: ``document_of`` checks types, ranges and ids.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import unicodedata
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from gobelin.data.ids import document_id
from gobelin.data.model import LANGUAGE, Document, Node, Role, Source, Unit, to_row
from gobelin.data.rows import DocumentRow, NodeRow, Row
from gobelin.data.schemas import DOCUMENTS, NODE
from gobelin.exchange.blurring import FACES_BLURRED
from gobelin.transforms.pages.content.language import identify_language
from gobelin.transforms.pages.tree.readable_text import is_readable
from gobelin.transforms.text.invisible import comparable
from gobelin.transforms.urls import canonical_url, well_formed

SIDE = "gobelin"
"""Name of the side field, in every format."""

SIDE_VERSION = 1

PICTURE_FACTS = ("urls", "consent", "source", "warc_file", "warc_offset")
"""What a side field says of a picture: all that its bytes do not."""

_EXTENSIONS = {"jpeg": "jpg", "tiff": "tif", "jpeg2000": "jp2"}
_HEX = re.compile(r"[0-9a-f]{32}")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_MAX_INT32 = 2**31 - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """An image of a document."""

    data: bytes | None  # None: the format holds its address alone
    facts: Row  # on the way out a row of IMAGES without data; on the way in what the side field says, or nothing
    withheld: str | None = None  # on the way out: the rule for which no bytes of it may leave


@dataclasses.dataclass(frozen=True, slots=True)
class LeftOut:
    """A part of a foreign document that was not taken. It becomes a decision with this ``rule``."""

    rule: str
    value: float | None = None
    threshold: float | None = None
    detail: str | None = None
    unit: Unit = Unit.RECORD


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A row of ``DOCUMENTS`` and the images of its image nodes, in order."""

    document: DocumentRow
    pictures: tuple[Picture | None, ...]  # None: the image is not at hand
    cosines: list[list[float]] | None = None  # on the way in: one list per image node, one number per text node
    left_out: tuple[LeftOut, ...] = ()  # on the way in

    @property
    def shown(self) -> list[tuple[NodeRow, Picture | None]]:
        """Image nodes, each with its image."""
        nodes = [node for node in self.document["nodes"] if node["kind"] == "image"]
        return list(zip(nodes, self.pictures, strict=True))

    @property
    def laid_out(self) -> list[tuple[NodeRow, Picture | None]]:
        """All nodes; image nodes with their image."""
        pictures = iter(self.pictures)
        return [(node, next(pictures) if node["kind"] == "image" else None) for node in self.document["nodes"]]


class EntryError(ValueError):
    """A row of a foreign file is invalid. It becomes a decision with this ``rule``."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule


def extension(image_format: str) -> str:
    """File name extension of an image format, without a dot."""
    return _EXTENSIONS.get(image_format, image_format)


def side_of(document: DocumentRow) -> Row:
    """The side field: the document and its nodes, without texts and nulls."""
    fields = {name: value for name, value in document.items() if name != "nodes" and value is not None}
    nodes = [
        {name: value for name, value in node.items() if name != "text" and value is not None}
        for node in document["nodes"]
    ]
    return {"version": SIDE_VERSION, "document": fields, "nodes": nodes}


def side_of_picture(picture: Picture) -> Row:
    """The facts about an image that its bytes do not contain; with ``faces_blurred`` if the recipe asks for it."""
    return {name: picture.facts[name] for name in (*PICTURE_FACTS, FACES_BLURRED) if name in picture.facts}


def as_json(value: Any) -> str:
    """Compact JSON with unsorted keys. Non-finite numbers cannot occur."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def parse_json(text: Any, what: str) -> Any:
    """The value of a JSON string.

    Raises:
        EntryError: it is not valid JSON, or nested too deeply.
    """
    if not isinstance(text, str):
        raise EntryError("malformed_row", f"{what} is not a string")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EntryError("malformed_row", f"{what} is not JSON: {error}") from None


def parse_side(text: str | None) -> Any:
    """The value of a side field in JSON; None if there is none."""
    return None if text is None else parse_json(text, SIDE)


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """The location of a foreign row."""

    file: str
    row: int  # from 0

    @property
    def url(self) -> str:
        """An address for a document that has none."""
        return f"urn:gobelin:import:{hashlib.blake2b(self.file.encode(), digest_size=8).hexdigest()}:{self.row}"


def text_node(text: str) -> NodeRow:
    """A text of a foreign file, whose role is unknown."""
    return to_row(Node("text", Role.PARAGRAPH, text=text))


def image_node(url: Any, alt: Any = None, caption: Any = None, width: Any = None, height: Any = None) -> NodeRow:
    """An image of a foreign file. Ignores values that are not strings, or not numbers of pixels."""
    return to_row(
        Node(
            "image", image_url=optional_text(url), alt=optional_text(alt), caption=optional_text(caption),
            rendered_width=_pixels(width), rendered_height=_pixels(height),
        )
    )  # fmt: skip


def _pixels(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _MAX_INT32 else None


def optional_text(value: Any) -> str | None:
    """A string that is not blank, or None."""
    return value if isinstance(value, str) and value else None


def split_texts(blocks: list[str], side: Any) -> list[str] | None:
    """Splits texts that a format has joined by an empty line, by the lengths in the side field. None if they do not
    match."""
    texts: list[str] = []
    runs = _runs_of_text(side)
    if runs is None or len(runs) != len(blocks):
        return None
    for block, lengths in zip(blocks, runs):
        start = 0
        for length in lengths:
            texts.append(block[start : start + length])
            start += length + len(JOINT)
            if block[start - len(JOINT) : start] not in (JOINT, ""):
                return None
        if start - len(JOINT) != len(block):
            return None
    return texts


JOINT = "\n\n"
"""What stands between two texts that a format has joined."""


def _runs_of_text(side: Any) -> list[list[int]] | None:
    nodes = side.get("nodes") if isinstance(side, dict) else None
    if not isinstance(nodes, list):
        return None
    runs: list[list[int]] = []
    previous: Any = "image"
    for node in nodes:
        kind = node.get("kind") if isinstance(node, dict) else None
        if kind == "text":
            length = node.get("length")
            if type(length) is not int or length < 0:
                return None
            if previous != "text":
                runs.append([])
            runs[-1].append(length)
        previous = kind
    return runs


def restored(side: Any, texts: list[str], num_images: int) -> list[NodeRow] | None:
    """The nodes of a side field, with these texts; None if they do not match."""
    nodes = side.get("nodes") if isinstance(side, dict) else None
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        return None
    kinds = [node.get("kind") for node in nodes]
    if kinds.count("text") != len(texts) or kinds.count("image") != num_images or len(kinds) != len(texts) + num_images:
        return None
    waiting = iter(texts)
    empty = dict.fromkeys(field.name for field in NODE)
    found: list[Any] = []
    for node in nodes:
        known = {name: value for name, value in node.items() if name in empty}
        found.append({**empty, **known, **({"text": next(waiting)} if node["kind"] == "text" else {})})
    return found


def document_of(side: Any, nodes: list[NodeRow], origin: Origin, known: Row) -> DocumentRow:
    """A row of ``DOCUMENTS`` for imported nodes.

    Args:
        side: the side field, or None.
        known: fields of ``DOCUMENTS`` from the format itself, used if there is no side field.

    Raises:
        EntryError: the side field holds invalid values.
    """
    if isinstance(side, dict) and isinstance(side.get("document"), dict):
        return _checked({**dict.fromkeys(DOCUMENTS.names), **side["document"], "nodes": nodes})
    nodes, known = _well_formed([captions_once(nodes), known])
    texts = [node["text"] for node in nodes if node["text"] is not None and is_readable(node["text"])]
    url: str = known.get("url") or origin.url
    content = json.dumps([[node["text"], node["image_url"]] for node in nodes]).encode()
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    language = identify_language("\n".join(texts))
    row = {
        "doc_id": document_id(canonical_url(url), digest),
        "url": url,
        "warc_file": origin.file,
        "warc_offset": origin.row,
        "warc_length": 0,
        "warc_date": "",
        "content_digest": digest,
        "title": None,
        "language": language[0] if language else None,
        "language_score": language[1] if language else None,
        "licences": [],
        "consent": [],
        "charset": "utf-8",
        "extractor": "import",
        "page_kind": None,
        **known,
        "nodes": nodes,
    }
    return _checked({**row, "url": url})


def captions_once(nodes: list[NodeRow]) -> list[NodeRow]:
    """Removes captions from nodes of a foreign document if a text beside the image is equal to the caption
    (``same_words``). Files of image-text pairs often hold the words twice.

    The texts beside an image are the last one before it and the first one after it. Other images may be between them.
    """
    before: list[str | None] = []
    after: list[str | None] = []
    for found, ordered in ((before, nodes), (after, nodes[::-1])):
        last = None
        for node in ordered:
            found.append(last)
            last = last if node["text"] is None else same_words(node["text"])
    beside = zip(before, reversed(after), strict=True)
    return [
        {**node, "caption": None} if node["caption"] and same_words(node["caption"]) in texts else node
        for node, texts in zip(nodes, beside, strict=True)
    ]


def same_words(text: str) -> str:
    """A normal form for comparing texts: Unicode NFC, folded white space, no invisible characters."""
    return " ".join(unicodedata.normalize("NFC", comparable(text)).split())


_DOCUMENT: TypeAdapter[Document] = TypeAdapter(Document)


def _well_formed(value: Any) -> Any:
    """The value with a question mark for each lone surrogate, which JSON can hold and UTF-8 cannot."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _checked(row: Row) -> DocumentRow:
    """The row, if it has the types and ranges of ``DOCUMENTS``. Raises EntryError otherwise."""
    try:
        document = _DOCUMENT.validate_json(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValidationError, ValueError, RecursionError) as error:
        raise EntryError("malformed_row", f"no document: {' '.join(str(error).split())[:200]}") from None
    if not _HEX.fullmatch(document.doc_id):
        raise EntryError("malformed_row", "doc_id is not 32 hex digits")
    for node in document.nodes:
        _check_node(node)
    numbers = (document.warc_offset, document.warc_length)
    if not all(0 <= number < 2**63 for number in numbers):
        raise EntryError("malformed_row", "a place in an archive is out of range")
    return cast(DocumentRow, {name: _listed(value) for name, value in to_row(document).items()})


def _check_node(node: Node) -> None:
    if node.kind not in ("text", "image") or (node.kind == "text") != (node.text is not None):
        raise EntryError("malformed_row", f"a node of kind {node.kind[:20]!r} with the wrong contents")
    if node.image_id is not None and not _IMAGE_ID.fullmatch(node.image_id):
        raise EntryError("malformed_row", "image_id is not 64 hex digits")
    if node.code_language is not None and not LANGUAGE.fullmatch(node.code_language):
        raise EntryError("malformed_row", "code_language is not the name of a language")
    for number in (node.level, node.header_rows, node.rendered_width, node.rendered_height):
        if number is not None and not 0 <= number <= _MAX_INT32:
            raise EntryError("malformed_row", f"a node's number is out of range: {number}")


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def picture_facts(side: Any) -> Row:
    """The valid facts about an image in a side field; empty if there are none."""
    if not isinstance(side, dict):
        return {}
    urls, consent = side.get("urls"), side.get("consent")
    offset = side.get("warc_offset")
    is_sound = (
        all(
            isinstance(each, list) and all(isinstance(item, str) and well_formed(item) == item for item in each)
            for each in (urls, consent)
        )
        and side.get("source") in set(Source)
        and isinstance(side.get("warc_file"), str)
        and well_formed(side["warc_file"]) == side["warc_file"]
        and type(offset) is int
        and 0 <= offset < 2**63
    )
    return {name: side[name] for name in PICTURE_FACTS} if is_sound else {}


def picture_of(data: Any, side: Any) -> Picture | None:
    """An imported image with its side field; None if there are no bytes."""
    return Picture(data, picture_facts(side)) if isinstance(data, bytes) and data else None


def known_of(value: Row) -> Row:
    """Address and title of a foreign document, for ``document_of``."""
    return {name: optional_text(value.get(name)) for name in ("url", "title")}
