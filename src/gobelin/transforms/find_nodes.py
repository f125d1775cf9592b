"""One HTML page -> its nodes in reading order: paragraphs of text, and the pictures between them.

trafilatura tells main content from navigation and keeps the order; ``rewrite_images`` makes sure that it sees every
picture. Each block (paragraph, heading, list item, quotation, table row) becomes a text node; a picture inside a
block splits it. 15-40 ms of CPU a page, nearly all of it trafilatura's.
"""

from __future__ import annotations

import codecs
import dataclasses
import re

import lxml.html
import webencodings
from lxml.etree import ParserError, _Element
from lxml.html import HtmlElement
from trafilatura import bare_extraction

from gobelin.documents import Licence
from gobelin.transforms.consent import find_consent, find_licence
from gobelin.transforms.image_references import ImageReference, rewrite_images, sentinel_index
from gobelin.transforms.urls import resolve

_BLOCKS = {"p", "head", "item", "quote", "row", "list", "table", "ab", "div"}
_HOLDS_SENTENCES = {"p", "head", "item", "cell", "hi", "ref", "del"}
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16le"), (codecs.BOM_UTF16_BE, "utf-16be"))
MAX_UNREADABLE_RATIO = 0.01
"""Characters of a page that its encoding may leave unreadable, [0, 1]: pages are pasted together from others."""

_META_CHARSET = re.compile(rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.I)
_CONTROL = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclasses.dataclass(frozen=True, slots=True)
class TextPiece:
    """A block of text: white space folded, but for code, which stays as it is."""

    text: str
    is_code: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class PageContent:
    """What one page holds: its title, what it says of its use, and its pieces in reading order."""

    title: str | None
    licence: Licence | None
    consent: tuple[str, ...]
    pieces: tuple[TextPiece | ImageReference, ...]


def read_page(
    payload: bytes, charset: str | None, url: str, headers: tuple[tuple[str, str], ...]
) -> PageContent | None:
    """Parses a page and finds its main content. None where there is nothing to parse.

    Args:
        charset: as the server named it; wrong or unknown names are passed over.
    """
    tree = parse_html(payload, charset)
    if tree is None:
        return None
    base_url = _base_url(tree, url)
    title = tree.findtext(".//title")
    consent = find_consent(tree, headers)
    licence = find_licence(tree, base_url)
    references = rewrite_images(tree, base_url)
    _tidy(tree)
    extracted = bare_extraction(
        tree, url=url, fast=True, include_comments=False, include_images=True, include_tables=True
    )
    body = getattr(extracted, "body", None)
    walk = _Walk(references)
    if body is not None:
        walk.visit(body)
        walk.flush()
    return PageContent(" ".join((title or "").split()) or None, licence, consent, tuple(walk.pieces))


def parse_html(payload: bytes, charset: str | None) -> HtmlElement | None:
    """The page as a tree; None where it holds no element."""
    text = _CONTROL.sub("", decode(payload, charset))
    # lxml refuses a str that declares its own encoding.
    text = re.sub(r"^\s*<\?xml[^>]{0,200}\?>", "", text, count=1)
    if not text.strip():
        return None
    try:
        return lxml.html.document_fromstring(text)
    except (ParserError, ValueError):
        return None


def decode(payload: bytes, charset: str | None) -> str:
    """The page's text. Encodings are tried in the order byte-order mark, header, meta, UTF-8, each under the names that
    browsers know (WHATWG: latin-1 means Windows-1252); one that leaves more than a few characters unreadable is not
    believed. At last Windows-1252, which can read anything."""
    labels = [label for bom, label in _BOMS if payload.startswith(bom)]
    if charset:
        labels.append(charset)
    meta = _META_CHARSET.search(payload[:4096])
    if meta:
        label = meta.group(1).decode("ascii", "replace")
        # A page whose meta could be read as ASCII is no UTF-16, whatever it says.
        labels.append("utf-8" if label.lower().startswith("utf-16") else label)
    for label in dict.fromkeys((*labels, "utf-8")):
        encoding = webencodings.lookup(label)
        if encoding is None or encoding.name in ("replacement", "x-user-defined"):
            continue
        text = encoding.codec_info.decode(payload, "replace")[0]
        if text.count("\ufffd") <= MAX_UNREADABLE_RATIO * len(text):
            return text.removeprefix("\ufeff")
    return payload.decode("cp1252", "replace")


def _tidy(tree: HtmlElement) -> None:
    """Takes out what is on a page for the eye only: numbers beside lines of code, signs that link to a heading.
    Line breaks inside code become characters."""
    for element in list(tree.iter("td", "span", "pre", "div", "a")):
        names = (element.get("class") or "").lower().split()
        is_gutter = element.tag != "a" and not _GUTTERS.isdisjoint(names)
        is_permalink = element.tag == "a" and element.text_content().strip() in _PERMALINKS
        if (is_gutter or is_permalink) and element.getparent() is not None and element.find(".//img") is None:
            element.drop_tree()
    for pre in tree.iter("pre"):
        for line_break in list(pre.iter("br")):
            line_break.tail = "\n" + (line_break.tail or "")
            line_break.drop_tag()


_GUTTERS = {"gutter", "linenos", "lineno", "line-numbers", "line-numbers-rows", "linenodiv", "rouge-gutter"}
_PERMALINKS = {"¶", "#", "§", "🔗"}


def _base_url(tree: HtmlElement, url: str) -> str:
    base = tree.find(".//base[@href]")
    return (resolve(url, base.get("href") or "") if base is not None else None) or url


class _Walk:
    """Goes through trafilatura's tree in reading order and cuts it into pieces."""

    def __init__(self, references: list[ImageReference]) -> None:
        self._references = references
        self._buffer: list[str] = []
        self.pieces: list[TextPiece | ImageReference] = []

    def flush(self) -> None:
        """What stands in the buffer is a piece of text. Only explicit line breaks stay."""
        text = "\n".join(" ".join(line.split()) for line in "".join(self._buffer).split("\n")).strip()
        self._buffer.clear()
        if text:
            self.pieces.append(TextPiece(text))

    def visit(self, element: _Element) -> None:
        tag = element.tag
        if tag == "graphic":
            index = sentinel_index(element.get("src") or "")
            if index is not None and index < len(self._references):
                self.flush()
                self.pieces.append(self._references[index])
            return
        if tag == "code" and self._is_block_of_code(element):
            self.flush()
            code = "".join(element.itertext()).strip("\n")
            if code.strip():
                self.pieces.append(TextPiece(code, is_code=True))
            return
        if tag in _BLOCKS:
            self.flush()
        if tag == "lb":
            self._buffer.append("\n")
        self._write(element.text)
        for child in element:
            self.visit(child)
            if tag == "row":
                self._buffer.append(" ")
            self._write(child.tail)
        if tag in _BLOCKS:
            self.flush()

    def _write(self, text: str | None) -> None:
        if text:
            self._buffer.append(text.replace("\n", " "))

    def _is_block_of_code(self, element: _Element) -> bool:
        """Code of one line inside a paragraph is a part of its sentence."""
        parent = element.getparent()
        is_inline = parent is not None and parent.tag in _HOLDS_SENTENCES
        return not is_inline or "\n" in "".join(element.itertext()).strip()
