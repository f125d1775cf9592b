"""Tables of pages: cells in their columns, rows of the head counted, text that gives the cells back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gobelin.data.markdown_blocks import table_as_markdown
from gobelin.data.model import Role
from gobelin.data.table_text import row_cells, row_text, table_cells
from gobelin.transforms.pages.images.image_references import SENTINEL
from gobelin.transforms.pages.tree.page_tables import TablePart, read_table
from gobelin.transforms.pages.tree.parse_html import parse_html

SPANS = (
    "<tr><th rowspan=2>Boat</th><th colspan=2>Length</th><th>Built</th></tr>"
    "<tr><th>least</th><th>most</th><th>in</th></tr>"
    "<tr><td rowspan=2>ewer</td><td>12</td><td>18</td><td>Blankenese</td></tr>"
    "<tr><td colspan=2>unknown</td><td>Elmshorn</td></tr>"
    "<tr><td colspan=4>seen by nobody</td></tr>"
)


def parts_of(rows: str) -> list[TablePart]:
    tree = parse_html(f"<html><body><table>{rows}</table>")
    return [part for part in read_table(tree.find(".//table")) if isinstance(part, TablePart)]  # type: ignore[union-attr]


def cells_of(rows: str) -> list[list[str]]:
    (part,) = parts_of(rows)
    return table_cells(part.text)


def test_a_cell_that_spans_stands_once_and_leaves_its_other_places_empty() -> None:
    assert cells_of(SPANS) == [
        ["Boat", "Length", "", "Built"],
        ["", "least", "most", "in"],
        ["ewer", "12", "18", "Blankenese"],
        ["", "unknown", "", "Elmshorn"],
        ["seen by nobody", "", "", ""],
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("<tr><td colspan=0>a<td>b<tr><td>c<td>d", [["a", "b"], ["c", "d"]]),
        ("<tr><td colspan=-2>a<td colspan=x>b<tr><td>c<td>d", [["a", "b"], ["c", "d"]]),
        ("<tr><td colspan=3>a<td>b<tr><td colspan=3>c<td>d", [["a", "b"], ["c", "d"]]),
        ("<tr><td rowspan=0>a<td>b<tr><td>c<tr><td>d", [["a", "b"], ["", "c"], ["", "d"]]),
        ("<thead><tr><th rowspan=9>a<th>b</thead><tbody><tr><td>c<td>d", [["a", "b"], ["c", "d"]]),
        ("<tr><td>a<td>b<tr style='display:none'><td rowspan=2>x<td>y<tr><td>c", [["a", "b"], ["", "c"]]),
    ],
)
def test_spans_as_browsers_read_them(rows: str, expected: list[list[str]]) -> None:
    assert cells_of(rows) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (SPANS, 2),
        ("<thead><tr><td>a<td>b</thead><tr><td>c<td>d", 1),
        ("<tr><td><b>a</b><td><p><strong>b</strong></p><tr><td>c<td>d", 1),
        ("<tr><td><b>a</b> more<td><b>b</b><tr><td>c<td>d", 0),
        ("<tr><td>a<td>b<tr><th>c<th>d<tr><td>e<td>f", 0),
        ("<tr><th>a<td>b<tr><th>c<td>d", 0),
        ("<tr><td><td><th>a<tr><th>b<td>c<td>d", 1),
    ],
)
def test_rows_of_the_head(rows: str, expected: int) -> None:
    (part,) = parts_of(rows)
    assert part.header_rows == expected


def test_rows_behind_an_image_have_no_head() -> None:
    rows = f"<tr><th>a<th>b<tr><td>c<td>d<tr><td><img src={SENTINEL}0.jpg>e<td>f<tr><th>g<th>h"
    assert [(part.text, part.header_rows) for part in parts_of(rows)] == [("a | b\nc | d", 1), ("e | f\ng | h", 0)]


def test_no_table_is_a_way_to_make_much_of_little() -> None:
    wide = "".join(f"<td>{index}" for index in range(900))
    rows = f"<tr>{wide}" + "<tr><td>x<td colspan=898><td>y" * 3000
    (part,) = parts_of(rows)
    assert part.role is Role.TABLE
    assert len(part.text) < len(rows)
    (part,) = parts_of("<tr><td rowspan=1000 colspan=1000>a<td>b" + "<tr><td>c" * 2000)
    assert len(part.text) < 40_000


@given(st.lists(st.text(st.sampled_from("a|\\ \n")).map(lambda text: " ".join(text.split())), min_size=1, max_size=4))
def test_a_line_gives_its_cells_back(cells: list[str]) -> None:
    while cells and not cells[-1]:
        cells.pop()
    assert row_cells(row_text(cells)) == (cells or [""])


def test_a_cell_at_the_start_may_be_empty() -> None:
    assert table_cells("a | b\n| c") == [["a", "b"], ["", "c"]]


@pytest.mark.parametrize(
    ("header_rows", "expected"),
    [
        (None, "| a | b\\|c |\n| --- | --- |\n| d |  |"),
        (1, "| a | b\\|c |\n| --- | --- |\n| d |  |"),
        (2, "| a | b\\|c |\n| --- | --- |\n| d |  |"),
        (0, "|  |  |\n| --- | --- |\n| a | b\\|c |\n| d |  |"),
    ],
)
def test_a_table_as_markdown(header_rows: int | None, expected: str) -> None:
    assert table_as_markdown("a | b|c\nd", header_rows) == expected
