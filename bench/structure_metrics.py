"""Compares two readings of a page's structure: texts, code, formulas, tables, headings.

    text, code, formulas  1 - edit distance / length of the longer one, in characters, of all blocks of a kind together
    tables                the same of their cells as text; and TEDS (Zhong et al., 2020, arXiv 1911.10683)
    headings              F1 over (level, words)
    languages             share of the blocks of code whose source names a language, for which the same name comes out

A page counts for a kind if its source or the reading holds some of it. For languages only the source decides.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Sequence

KINDS = ("text", "code", "languages", "formulas", "tables", "TEDS", "headings", "headings without level")

_WRAPPERS = re.compile(
    r"\\(?:begin|end)\{(?:split|equation|align|aligned|gather|gathered)\*?\}|\\displaystyle|\\(?:label|tag)\{[^}]*\}"
)
_NUMBER = re.compile(r"^\d+(?:\.\d+)*\.\s+")
_ALIASES = {"py": "python", "python3": "python", "js": "javascript", "ts": "typescript", "yml": "yaml", "rs": "rust"}


@dataclasses.dataclass(slots=True)
class Cell:
    """A cell of a table."""

    text: str
    columns: int = 1
    rows: int = 1


@dataclasses.dataclass(slots=True)
class Table:
    """Rows of cells, of which the first ``header_rows`` are the head."""

    rows: list[list[Cell]]
    header_rows: int = 0


@dataclasses.dataclass(slots=True)
class Structure:
    """What a page holds, in reading order."""

    texts: list[str] = dataclasses.field(default_factory=list)  # headings and items of lists, too
    code: list[tuple[str | None, str]] = dataclasses.field(default_factory=list)  # (language, text)
    formulas: list[str] = dataclasses.field(default_factory=list)
    tables: list[Table] = dataclasses.field(default_factory=list)
    headings: list[tuple[int, str]] = dataclasses.field(default_factory=list)


def scores_of(truth: Structure, found: Structure) -> dict[str, float]:
    """Of each kind that one of the two holds, how alike they are, in [0, 1]."""
    scores = {}
    for kind, of in _BY_TEXT.items():
        pair = of(truth), of(found)
        if any(pair):
            scores[kind] = similarity(*pair)
    if any(language for language, _ in truth.code):
        scores["languages"] = _languages(truth.code, found.code)
    if truth.tables or found.tables:
        scores["TEDS"] = teds_of_pages(truth.tables, found.tables)
    if truth.headings or found.headings:
        named = [[(level, heading_words(text)) for level, text in each.headings] for each in (truth, found)]
        scores["headings"] = f1(*named)
        scores["headings without level"] = f1(*([words for _, words in each] for each in named))
    return scores


def folded(text: str) -> str:
    return " ".join(text.split())


def heading_words(text: str) -> str:
    """A heading without what generators add: a number before it, a sign that links to it behind it."""
    return _NUMBER.sub("", folded(text)).rstrip(" \u00b6#\u200b\u26d3\u2693\ufe0e")


def plain_tex(tex: str) -> str:
    """A formula without white space, and without what generators put around it."""
    return "".join(_WRAPPERS.sub("", tex).split())


def _code_text(code: Sequence[tuple[str | None, str]]) -> str:
    return "\n".join("\n".join(line.rstrip() for line in text.strip("\n").split("\n")) for _, text in code)


def _table_text(tables: Sequence[Table]) -> str:
    return "\n".join("|".join(folded(cell.text) for cell in row) for table in tables for row in table.rows)


_BY_TEXT: dict[str, Callable[[Structure], str]] = {
    "text": lambda page: "\n".join(text for text in map(folded, page.texts) if text),
    "code": lambda page: _code_text(page.code),
    "formulas": lambda page: "\n".join(map(plain_tex, page.formulas)),
    "tables": lambda page: _table_text(page.tables),
}


def f1(truth: Sequence[object], found: Sequence[object]) -> float:
    """Of two multisets."""
    both = sum((Counter(truth) & Counter(found)).values())
    return 2 * both / (len(truth) + len(found)) if truth or found else 1.0


def _languages(truth: Sequence[tuple[str | None, str]], found: Sequence[tuple[str | None, str]]) -> float:
    """Blocks are found again by their letters; one that is not found has no language."""
    by_text: dict[str, list[str | None]] = {}
    for language, text in found:
        by_text.setdefault("".join(text.split()), []).append(language)
    num_named = num_same = 0
    for language, text in truth:
        held = by_text.get("".join(text.split()), [])
        other = held.pop(0) if held else None
        if language:
            num_named += 1
            num_same += other is not None and _alias(other) == _alias(language)
    return num_same / num_named


def _alias(language: str) -> str:
    return _ALIASES.get(language.lower(), language.lower())


def similarity(one: str, other: str) -> float:
    """1 - edit distance / length of the longer one; 1 where both are empty."""
    longest = max(len(one), len(other))
    return 1 - edit_distance(one, other) / longest if longest else 1.0


def edit_distance(one: str, other: str) -> int:
    """Levenshtein's, by Myers' bit vectors (1999) as Hyyrö (2003) has them: a number holds a column of the matrix."""
    start = 0
    stop = min(len(one), len(other))
    while start < stop and one[start] == other[start]:
        start += 1
    end = 0
    while end < stop - start and one[-1 - end] == other[-1 - end]:
        end += 1
    one, other = one[start : len(one) - end], other[start : len(other) - end]
    if not one or not other:
        return len(one) + len(other)
    places: dict[str, int] = {}
    for index, letter in enumerate(one):
        places[letter] = places.get(letter, 0) | 1 << index
    full, last = (1 << len(one)) - 1, 1 << (len(one) - 1)
    plus, minus, distance = full, 0, len(one)
    for letter in other:
        equal = places.get(letter, 0)
        vertical = equal | minus
        horizontal = (((equal & plus) + plus) ^ plus) | equal
        up = minus | ~(horizontal | plus) & full
        down = plus & horizontal
        distance += bool(up & last) - bool(down & last)
        up = (up << 1 | 1) & full
        down = (down << 1) & full
        plus = down | ~(vertical | up) & full
        minus = up & vertical
    return distance


def teds_of_pages(truth: Sequence[Table], found: Sequence[Table]) -> float:
    """Mean TEDS of the tables of a page, in their order, as they fit best; a table without a partner counts 0."""
    best = [[0.0] * (len(found) + 1) for _ in range(len(truth) + 1)]
    for i, one in enumerate(truth):
        for j, other in enumerate(found):
            best[i + 1][j + 1] = max(best[i][j] + teds(one, other), best[i][j + 1], best[i + 1][j])
    return best[-1][-1] / max(len(truth), len(found))


def teds(truth: Table, found: Table) -> float:
    """1 - edit distance / nodes of the larger one, of trees table - rows - cells.

    Nodes map to nodes of their kind. Leaving out or adding one costs 1; so does a cell of another span, and a row that
    moves between head and body. Other cells cost the share of their letters that differs.
    """
    size = max(1 + len(table.rows) + sum(map(len, table.rows)) for table in (truth, found))

    def row_cost(i: int, j: int) -> float:
        moved = (i < truth.header_rows) != (j < found.header_rows)
        one, other = truth.rows[i], found.rows[j]
        return moved + _aligned(len(one), len(other), lambda a, b: _cell_cost(one[a], other[b]), _one, _one)

    rows = _aligned(
        len(truth.rows), len(found.rows), row_cost, lambda i: 1 + len(truth.rows[i]), lambda j: 1 + len(found.rows[j])
    )
    return 1 - min(rows, size) / size


def _one(_: int) -> float:
    return 1


def _cell_cost(one: Cell, other: Cell) -> float:
    if (one.columns, one.rows) != (other.columns, other.rows):
        return 1
    return 1 - similarity(folded(one.text), folded(other.text))


def _aligned(
    num_one: int, num_other: int, change: Callable[[int, int], float], leave: Callable[[int], float],
    add: Callable[[int], float],
) -> float:  # fmt: skip
    """The least cost of making one sequence of the other."""
    before = [0.0]
    for j in range(num_other):
        before.append(before[-1] + add(j))
    for i in range(num_one):
        row = [before[0] + leave(i)]
        for j in range(num_other):
            row.append(min(before[j] + change(i, j), before[j + 1] + leave(i), row[j] + add(j)))
        before = row
    return before[-1]
