"""Tables of data as text: a line a row, cells separated by `` | ``.

A table is data where it has two rows and two columns and no cell holds more than a few lines: no other table, no
heading, code, form or quotation. Other tables lay out a page; their cells are read like any container. So are those of
a box: two rows, of which none has words in two cells ("Note", and the note, beside an icon).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from lxml import etree
from lxml.html import HtmlElement

from gobelin.data.model import Role
from gobelin.transforms.pages.images.image_references import sentinel_index
from gobelin.transforms.pages.tree.visible_text import SKIPPED, fold, is_hidden

CELL_SEPARATOR = " | "

_LAYOUT = ("table", "pre", "h1", "h2", "h3", "form", "article", "blockquote")
_SPACED = frozenset((
    "br", "p", "div", "li", "ul", "ol", "dl", "dt", "dd", "h4", "h5", "h6", "section", "center", "figure",
    "figcaption", "address", "hr",
))  # fmt: skip
"""Elements inside a cell that separate words."""

_GROUPS = frozenset(("thead", "tbody", "tfoot"))


@dataclasses.dataclass(frozen=True, slots=True)
class TablePart:
    """Rows between two images, or the table's caption."""

    text: str
    role: Role
    link_chars: int
    num_links: int


def is_data_table(table: HtmlElement) -> bool:
    num_rows = 0
    widest = 0
    for element in table.iter("tr", *_LAYOUT):
        if element.tag == "tr":
            num_rows += 1
            widest = max(widest, len(element))
        elif element is not table:
            return False
    return num_rows >= 2 and widest >= 2 and not (num_rows == 2 and _is_box(table))


def _is_box(table: HtmlElement) -> bool:
    return max(sum(any(map(str.strip, cell.itertext())) for cell in row) for row in table.iter("tr")) == 1


def read_table(table: HtmlElement, with_hidden: bool = False) -> Iterator[TablePart | int]:
    """The parts of a data table in reading order. An image, by its index, stands before the row that it is in; behind
    the row where all its text is in the cells before the image.

    Args:
        with_hidden: reads the rows, cells and words that the page hides, too.
    """
    lines: list[str] = []
    link_chars = num_links = 0
    for row in table.iter("tr", "caption"):
        shown = [] if _is_hidden_row(row, with_hidden) else [row] if row.tag == "caption" else _shown(row, with_hidden)
        cells = [_read_cell(cell, with_hidden) for cell in shown]
        if not cells:
            continue
        images = [image for cell in cells for image in cell.images]
        line = CELL_SEPARATOR.join(cell.text for cell in cells).strip() if any(cell.text for cell in cells) else ""
        is_text_first = bool(images) and row.tag == "tr" and _is_text_first(cells)
        if (images or row.tag == "caption") and lines and not is_text_first:
            yield TablePart("\n".join(lines), Role.TABLE, link_chars, num_links)
            lines, link_chars, num_links = [], 0, 0
        if not is_text_first:
            yield from images
        if row.tag == "caption":
            if cells[0].text:
                yield TablePart(cells[0].text, Role.CAPTION, cells[0].link_chars, cells[0].num_links)
            continue
        link_chars += sum(cell.link_chars for cell in cells)
        num_links += sum(cell.num_links for cell in cells)
        if line:
            lines.append(line.removesuffix(CELL_SEPARATOR.rstrip()).strip() if is_text_first else line)
        if is_text_first:
            yield TablePart("\n".join(lines), Role.TABLE, link_chars, num_links)
            lines, link_chars, num_links = [], 0, 0
            yield from images
    if lines:
        yield TablePart("\n".join(lines), Role.TABLE, link_chars, num_links)


def _is_hidden_row(row: HtmlElement, with_hidden: bool) -> bool:
    """Whether a row, or the group of rows around it, is hidden."""
    parent = row.getparent()
    return not with_hidden and (is_hidden(row) or (parent is not None and parent.tag in _GROUPS and is_hidden(parent)))


def _shown(row: HtmlElement, with_hidden: bool) -> list[HtmlElement]:
    return [cell for cell in row if with_hidden or not is_hidden(cell)]


def _is_text_first(cells: list[_Cell]) -> bool:
    """Whether the text of a row ends before its first image begins."""
    first = next(index for index, cell in enumerate(cells) if cell.images)
    return any(cell.text for cell in cells[:first]) and not any(cell.text for cell in cells[first:])


@dataclasses.dataclass(frozen=True, slots=True)
class _Cell:
    text: str
    link_chars: int
    num_links: int
    images: tuple[int, ...]


def _read_cell(cell: HtmlElement, with_hidden: bool) -> _Cell:
    """Line breaks and blocks inside a cell become spaces."""
    buffer: list[str] = []
    images: list[int] = []
    link_chars = num_links = link_depth = 0
    walk = etree.iterwalk(cell, events=("start", "end"))
    for event, element in walk:
        tag = element.tag
        if event == "start":
            if tag in SKIPPED or (
                element is not cell and not with_hidden and len(element.attrib) and is_hidden(element)
            ):
                walk.skip_subtree()
                continue
            if tag == "a":
                link_depth += 1
                num_links += 1
            elif tag == "img":
                index = sentinel_index(element.get("src") or "")
                if index is not None:
                    images.append(index)
            text = element.text
        else:
            if tag == "a" and link_depth:
                link_depth -= 1
            text = element.tail if element is not cell else None
        if tag in _SPACED:
            buffer.append(" ")
        if text:
            buffer.append(text)
            if link_depth:
                link_chars += len(text.strip())
    return _Cell(fold("".join(buffer)), link_chars, num_links, tuple(images))
