"""Markdown: a folder of plain files, one per document, with its images beside it.

    00000/TITLE-DOC_ID.md       front matter (address, title, language, licences, scores), then the document
    00000/images/IMAGE_ID.jpg   the images of the shard's documents

File names have only ASCII letters, digits and hyphens, which every file system supports. Equal documents have equal
names. Markdown can be written but not read, because an import needs a format that keeps everything.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

import yaml

from gobelin.data.model import Role, alt_text
from gobelin.data.rows import DocumentRow, NodeRow, Row
from gobelin.errors import UserError
from gobelin.exchange.entry import Entry, EntryError, Picture, extension
from gobelin.exchange.markdown_text import code, emphasised, heading, image, prose, table
from gobelin.exchange.writing import Shard
from gobelin.store.files import write_bytes
from gobelin.store.paths import join

MAX_TITLE_CHARS = 60
"""Length to which a title is cut in the name of a file."""

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


def write_shard(shard: Shard) -> None:
    """The files of a shard."""
    folder = join(shard.folder, f"{shard.index:05d}")
    seen: set[str] = set()
    for entry, _ in shard.items:
        document = entry.document
        scores = shard.scores(document["doc_id"]) if shard.scores is not None else {}
        text = front_matter(document, scores) + "\n" + body(entry)
        write_bytes(join(folder, file_name(document)), text.encode("utf-8", "replace"))
        for node, picture in entry.shown:
            assert picture is not None
            assert picture.data is not None
            name = image_name(node, picture)
            if name not in seen:
                write_bytes(join(folder, "images", name), picture.data)
                seen.add(name)
        shard.written.rows += 1


def read_source(path: str) -> Iterator[Entry | EntryError]:
    """Markdown is not read.

    Raises:
        UserError: always.
    """
    raise UserError(f"{path}: Markdown can only be written: --format parquet keeps everything")


def file_name(document: DocumentRow) -> str:
    """Name of a document's file: words of its title, and its id."""
    plain = unicodedata.normalize("NFKD", document["title"] or "").encode("ascii", "ignore").decode().lower()
    words = _NOT_IN_NAMES.sub("-", plain)[:MAX_TITLE_CHARS].strip("-")
    return f"{words}-{document['doc_id']}.md" if words else f"{document['doc_id']}.md"


def image_name(node: NodeRow, picture: Picture) -> str:
    """Name of an image's file."""
    return f"{node['image_id']}.{extension(picture.facts['format'])}"


def front_matter(document: DocumentRow, scores: Row) -> str:
    """The metadata of the document, as YAML between lines of hyphens."""
    licences = [{name: licence[name] for name in ("uri", "scope")} for licence in document["licences"]]
    known: Row = {
        "url": document["url"],
        "title": document["title"],
        "language": document["language"],
        "captured": document["warc_date"] or None,
        "page_kind": document["page_kind"],
        "licences": licences,
        "consent": document["consent"],
        "doc_id": document["doc_id"],
        "scores": _OneLine({name: _rounded(value) for name, value in scores.items() if value is not None}),
    }
    told = {name: value for name, value in known.items() if value not in (None, [], {})}
    return f"---\n{yaml.dump(told, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)}---\n"


class _OneLine(dict[str, object]):
    """A mapping on one line: forty scores would push the document out of sight."""


class _Dumper(yaml.SafeDumper):
    """Puts texts with invisible characters in double quotes, where YAML escapes them."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


def _represent_line(dumper: yaml.SafeDumper, mapping: _OneLine) -> yaml.MappingNode:
    return dumper.represent_mapping("tag:yaml.org,2002:map", mapping, flow_style=True)


_Dumper.add_representer(str, _represent)
_Dumper.add_representer(_OneLine, _represent_line)


def _rounded(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def body(entry: Entry) -> str:
    """The document, block by block."""
    blocks: list[str] = []
    depth = 0  # of the list that the block before belongs to; 0: none
    outermost = 1  # level of its outermost item: a picture between items begins another list, whose items stay siblings
    for node, picture in entry.laid_out:
        if node["role"] == Role.LIST_ITEM and node["text"] is not None:
            level = max(1, node["level"] or 1)
            outermost = min(outermost, level) if depth else level
            deeper = min(level - outermost + 1, depth + 1)
            item = _item(node["text"], deeper)
            if item and depth:
                blocks[-1] += f"\n{item}"
            elif item:
                blocks.append(item)
            depth = deeper if item else depth
            continue
        if depth and node["role"] == Role.PARAGRAPH and node["level"]:
            depth = max(1, min(node["level"] - outermost + 1, depth))
            indent = "  " * depth
            words = prose(node["text"] or "", indent)
            blocks[-1] += f"\n\n{indent}{words}" if words else ""
            continue
        block = _image(node, picture) if picture is not None else _text(node)
        if block:
            blocks.append(block)
            depth = 0
    return "\n\n".join(blocks) + "\n" if blocks else ""


def _item(text: str, depth: int) -> str:
    indent = "  " * depth
    words = prose(text, indent)
    return f"{'  ' * (depth - 1)}- {words}" if words else ""


def _text(node: NodeRow) -> str:
    text, role = node["text"] or "", node["role"]
    if role == Role.HEADING:
        return heading(text, min(max(1, node["level"] or 2), 6))
    if role == Role.CODE:
        return code(text, node.get("code_language") or "")
    if role == Role.TABLE:
        return table(text, node.get("header_rows"))
    if role == Role.CAPTION:
        return emphasised(text)
    if role == Role.QUOTATION:
        words = prose(text, "> ")
        return f"> {words}" if words else ""
    return prose(text)


def _image(node: NodeRow, picture: Picture) -> str:
    shown = image(alt_text(node["alt"]) or "", f"images/{image_name(node, picture)}")
    caption = emphasised(node["caption"] or "")
    return f"{shown}\n\n{caption}" if caption else shown
