"""Rows of an HTML table on a grid: a cell that spans is at its first place, and the places that it covers are empty.

So each word stands once, in its column: repeated words would count twice in every score of the text, and TEDS takes
both ways for equally far from a cell that spans (docs/structure.md).
"""

from __future__ import annotations

import dataclasses
import re

from lxml.html import HtmlElement

MAX_SPAN = 1000
"""As HTML limits ``colspan`` (section 4.9.12)."""

MAX_COVERED_COLUMNS = 1000
"""Columns of a row that cells of rows above may cover; further cells cover nothing below them."""

MAX_EMPTY = 20_000
"""Empty cells that a table may have, and four for each cell with words; of a table with more, spans are passed over."""

_NUMBER = re.compile(r"\s*\+?(\d{1,9})")


class Grid:
    """Finds the column of each cell, row by row. No cell reaches beyond its group (<thead>, <tbody>)."""

    def __init__(self) -> None:
        self._down: dict[int, int] = {}  # column -> rows below that a cell still covers
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
    """How many places an attribute asks for; zero rows are all that follow."""
    number = _NUMBER.match(value) if value else None
    if number is None:
        return 1
    return min(int(number[1]), MAX_SPAN) or of_zero


@dataclasses.dataclass(slots=True)
class Line:
    """A row: its cells and the column of each."""

    columns: list[int]
    texts: list[str]
    is_head: bool


def lay_out(lines: list[Line]) -> list[list[str]]:
    """The cells of each row, up to its last one that says something. A column in which no cell begins is left out."""
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
