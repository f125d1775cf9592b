"""Code and tables as blocks of Markdown (CommonMark 0.31, tables as GitHub has them)."""

from __future__ import annotations

import re

from gobelin.data.table_text import table_cells

_FENCES = re.compile(r"`+")


def fenced(text: str, language: str = "") -> str:
    """Code between fences that it does not hold itself."""
    fence = "`" * longest_fence(text, 3)
    return f"{fence}{language}\n{text}\n{fence}"


def longest_fence(text: str, least: int) -> int:
    """One backtick more than the text has in a row, but ``least`` of them."""
    return max(least, 1 + max(map(len, _FENCES.findall(text)), default=0))


def table_as_markdown(text: str, header_rows: int | None) -> str:
    """A table as Markdown has it, with a line of hyphens below its head, which is one row: the first one of several, or
    an empty one where the table has none. Words stand as they are, but for a pipe in a cell (``\\|``).

    Args:
        header_rows: None: not known; the first row is the head then.
    """
    return markdown_rows([[cell.replace("|", "\\|") for cell in row] for row in table_cells(text)], header_rows)


def markdown_rows(rows: list[list[str]], header_rows: int | None) -> str:
    """Rows of cells, each written as Markdown, as ``table_as_markdown`` does."""
    if not rows:
        return ""
    width = len(rows[0])
    head, *others = rows if header_rows != 0 else [[""] * width, *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * width, *others))
