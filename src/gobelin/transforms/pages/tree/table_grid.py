"""Places the cells of an HTML table on a grid. A spanning cell is at its first position, and the other positions are
empty.

Each word then occurs once, in its column. Repeated words would count twice in every score of the text, and TEDS gives
the same distance for both ways (docs/structure.md).
"""

from __future__ import annotations

import dataclasses
import re

from lxml.html import HtmlElement

MAX_SPAN = 1000
"""Maximum of ``colspan`` (HTML, section 4.9.12)."""

MAX_COVERED_COLUMNS = 1000
"""Maximum number of columns of a row that cells of earlier rows may cover. Further cells cover nothing below them."""

MAX_EMPTY = 20_000
"""Maximum number of empty cells of a table, plus four for each cell with words. Above it, spans are ignored."""

_NUMBER = re.compile(r"\s*\+?(\d{1,9})")


class Grid:
    """Finds the column of each cell, row by row. No cell extends beyond its row group (<thead>, <tbody>)."""

    def __init__(self) -> None:
        self._down: dict[int, int] = {}  # column -> number of rows below that a cell still covers
        self._group: HtmlElement | None = None

    def place(self, row: HtmlElement, cells: list[HtmlElement]) -> list[int]:
        """The columns of the cells of the next row, from 0."""
        if row.getparent() is not self._group:
            self._group, self._down = row.getparent(), {}
        covered = {column for column, rows in self._down.items() if rows}
        self._down = {column: rows - 1 for column, rows in self._down.items() if rows > 1}
        columns, column = [], 0
        for cell in cells:
            while column in covered:
                column += 1
            columns.append(column)
            width, height = _span(cell.get("colspan")), _span(cell.get("rowspan"), MAX_SPAN)
            if height > 1 and len(self._down) + width <= MAX_COVERED_COLUMNS:
                self._down.update(dict.fromkeys(range(column, column + width), height - 1))
            column += width
        return columns


def _span(value: str | None, of_zero: int = 1) -> int:
    """The number of positions that an attribute asks for. Zero means all rows that follow."""
    number = _NUMBER.match(value) if value else None
    if number is None:
        return 1
    return min(int(number[1]), MAX_SPAN) or of_zero


@dataclasses.dataclass(slots=True)
class Line:
    """A row: the texts of its cells, and the column of each."""

    columns: list[int]
    texts: list[str]
    is_head: bool


def lay_out(lines: list[Line]) -> list[list[str]]:
    """The texts of each row by column, up to the last one that is not empty. Columns in which no cell begins are left
    out."""
    used = sorted({column for line in lines for column in line.columns})
    places = {column: place for place, column in enumerate(used)}
    num_cells = sum(
        max((places[c] + 1 for c, text in zip(line.columns, line.texts, strict=True) if text), default=0)
        for line in lines
    )
    num_texts = sum(bool(text) for line in lines for text in line.texts)
    if num_cells - num_texts > MAX_EMPTY + 4 * num_texts:
        return [line.texts for line in lines]
    return [_laid_out(line, places) for line in lines]


def _laid_out(line: Line, places: dict[int, int]) -> list[str]:
    said = [(places[column], text) for column, text in zip(line.columns, line.texts, strict=True) if text]
    cells = [""] * (said[-1][0] + 1 if said else 0)
    for place, text in said:
        cells[place] = text
    return cells
