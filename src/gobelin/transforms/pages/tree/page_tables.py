"""Data tables as text: one line per row, cells separated by `` | ``, each in its column (``table_grid.py``).

A table holds data if it has at least two rows and two columns, and no cell holds another table, a heading, code, a form
or a quotation. Other tables are layout, and their cells are read like any container. A box is layout too: it has two
rows, and each row has words in at most one cell (for example "Note", and the note beside an icon).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from lxml import etree
from lxml.html import HtmlElement

from gobelin.data.model import Role
from gobelin.data.table_text import row_text
from gobelin.transforms.pages.images.image_references import sentinel_index
from gobelin.transforms.pages.tree.table_grid import Grid, Line, lay_out
from gobelin.transforms.pages.tree.visible_text import SKIPPED, fold, is_hidden

_LAYOUT = ("table", "pre", "h1", "h2", "h3", "form", "article", "blockquote")
_SPACED = frozenset((
    "br", "p", "div", "li", "ul", "ol", "dl", "dt", "dd", "h4", "h5", "h6", "section", "center", "figure",
    "figcaption", "address", "hr",
))  # fmt: skip
"""Elements that separate words inside a cell."""

_GROUPS = frozenset(("thead", "tbody", "tfoot"))


@dataclasses.dataclass(frozen=True, slots=True)
class TablePart:
    """The rows between two images, or the caption of the table."""

    text: str  # rows are in the format of ``data/table_text.py``
    role: Role
    link_chars: int
    num_links: int
    header_rows: int | None = None  # how many of the first rows are the table's head; None for a caption


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
    """Yields the parts of a data table in reading order; an image is its index. An image comes before its row, or after
    the
    row if all text of the row is in the cells before the image. The table's head stays with the first row below it.

    Args:
        with_hidden: whether to read hidden rows, cells and words as well.
    """
    part = _Part()
    grid = Grid()
    is_top = True  # no row of the table's body has been read yet
    for row in table.iter("tr", "caption"):
        if row.tag == "caption":
            yield from part.take()
            yield from _caption(row, with_hidden)
            continue
        shown = _shown(row, with_hidden)
        columns = grid.place(row, shown)
        cells = [] if _is_hidden_row(row, with_hidden) else [_read_cell(cell, with_hidden) for cell in shown]
        if not cells:
            continue
        is_top = is_top and _is_head(row, shown)
        images = [image for cell in cells for image in cell.images]
        is_text_first = bool(images) and _is_text_first(cells)
        if images and not is_text_first:
            if is_top or not part.is_head:
                yield from part.take()
            yield from images
        part.add(Line(columns, [cell.text for cell in cells], is_top), cells)
        if is_text_first:
            yield from part.take()
            yield from images
    yield from part.take()


class _Part:
    """The rows since the last image."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._link_chars = self._num_links = 0

    @property
    def is_head(self) -> bool:
        """Whether all rows so far belong to the table's head."""
        return all(line.is_head for line in self._lines)

    def add(self, line: Line, cells: list[_Cell]) -> None:
        self._link_chars += sum(cell.link_chars for cell in cells)
        self._num_links += sum(cell.num_links for cell in cells)
        if any(line.texts):
            self._lines.append(line)

    def take(self) -> Iterator[TablePart]:
        """Yields the rows so far as one part, and forgets them."""
        if self._lines:
            text = "\n".join(map(row_text, lay_out(self._lines)))
            header_rows = sum(line.is_head for line in self._lines)
            yield TablePart(text, Role.TABLE, self._link_chars, self._num_links, header_rows)
            self._lines = []
            self._link_chars = self._num_links = 0


def _caption(caption: HtmlElement, with_hidden: bool) -> Iterator[TablePart | int]:
    if with_hidden or not is_hidden(caption):
        cell = _read_cell(caption, with_hidden)
        yield from cell.images
        if cell.text:
            yield TablePart(cell.text, Role.CAPTION, cell.link_chars, cell.num_links)


def _is_head(row: HtmlElement, cells: list[HtmlElement]) -> bool:
    """Whether a row at the top belongs to the table's head: it is in <thead>, or all its cells are <th> or entirely
    bold."""
    parent = row.getparent()
    if parent is not None and parent.tag == "thead":
        return True
    return all(cell.tag == "th" or _is_bold(cell) for cell in cells)


def _is_bold(cell: HtmlElement) -> bool:
    """Whether all text of a cell is in one bold element. An empty cell counts as bold."""
    held = cell
    while len(held) == 1 and not (held.text or "").strip() and not (held[0].tail or "").strip():
        held = held[0]
        if held.tag in ("b", "strong"):
            return True
    return len(held) == 0 and not (held.text or "").strip()


def _is_hidden_row(row: HtmlElement, with_hidden: bool) -> bool:
    """Whether a row, or the row group around it, is hidden."""
    parent = row.getparent()
    return not with_hidden and (is_hidden(row) or (parent is not None and parent.tag in _GROUPS and is_hidden(parent)))


def _shown(row: HtmlElement, with_hidden: bool) -> list[HtmlElement]:
    return [cell for cell in row if with_hidden or not is_hidden(cell)]


def _is_text_first(cells: list[_Cell]) -> bool:
    """Whether all text of a row comes before its first image."""
    first = next(index for index, cell in enumerate(cells) if cell.images)
    return any(cell.text for cell in cells[:first]) and not any(cell.text for cell in cells[first:])


@dataclasses.dataclass(frozen=True, slots=True)
class _Cell:
    text: str
    link_chars: int
    num_links: int
    images: tuple[int, ...]


def _read_cell(cell: HtmlElement, with_hidden: bool) -> _Cell:
    """Reads one cell. Line breaks and block elements inside it become spaces."""
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
