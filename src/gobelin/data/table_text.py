"""A table as text, and back: one line per row, cells apart by `` | ``.

A row has no empty cells at its end; readers fill rows up to the widest. A cell that is a pipe, or holds one between
spaces, has it as ``\\|``. So a text, and whatever replaces words in it, is all that a table node holds of its cells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SEPARATOR = " | "

_LONE = re.compile(r"(?<!\S)\\*\|(?!\S)")
_ESCAPED = re.compile(r"(?<!\S)\\(\\*\|)(?!\S)")
_BETWEEN = re.compile(r"(?:^|(?<=\s))\|(?=\s|$)")


def row_text(cells: Sequence[str]) -> str:
    """The line of a row; empty where all cells are.

    Args:
        cells: their white space is folded.
    """
    last = max((index for index, cell in enumerate(cells) if cell), default=-1)
    return SEPARATOR.join(_LONE.sub(r"\\\g<0>", cell) for cell in cells[: last + 1]).strip()


def row_cells(line: str) -> list[str]:
    """The cells of a line, without the white space around each."""
    return [_ESCAPED.sub(r"\1", cell.strip()) for cell in _BETWEEN.split(line)]


def table_cells(text: str) -> list[list[str]]:
    """The rows of a table, all as wide as the widest. Lines of white space alone do not count."""
    rows = [row_cells(line) for line in text.split("\n") if line.strip()]
    width = max(map(len, rows), default=0)
    return [[*row, *[""] * (width - len(row))] for row in rows]
