"""What ``bench/structure.py`` measures with: distances, trees of tables, structures read from Markdown."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

from structure_markdown import NotPlain, read_markdown, source_to_markdown
from structure_metrics import (
    Cell,
    Structure,
    Table,
    edit_distance,
    heading_words,
    scores_of,
    similarity,
    teds,
    teds_of_pages,
)


def slow_distance(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row = row, [i]
        for j, b in enumerate(other, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
    return row[-1]


@given(*[st.text(st.sampled_from("abc \n\U0001f600"), max_size=40)] * 2)
def test_the_edit_distance_is_that_of_the_matrix(one: str, other: str) -> None:
    assert edit_distance(one, other) == slow_distance(one, other)


def test_the_edit_distance_of_long_texts() -> None:
    one = "The harbour had been busy since the early morning. " * 400
    assert edit_distance(one, one.replace("busy", "calm")) == 4 * 400
    assert similarity(one, "") == 0
    assert similarity("", "") == 1


def table(*rows: str, header_rows: int = 1) -> Table:
    return Table([[Cell(text) for text in row.split("|")] for row in rows], header_rows)


def test_teds_counts_nodes() -> None:
    truth = table("a|b", "c|d")  # 1 + 2 + 4 nodes
    assert teds(truth, truth) == 1
    assert teds(truth, table("a|b")) == pytest.approx(1 - 3 / 7)
    assert teds(truth, table("a|b", "c|dx")) == pytest.approx(1 - 0.5 / 7)
    assert teds(truth, table("a|b", "c|d", header_rows=0)) == pytest.approx(1 - 1 / 7)
    assert teds(truth, table("a|b", "c")) == pytest.approx(1 - 1 / 7)
    assert teds(truth, Table([], 0)) == pytest.approx(1 - 6 / 7)


def test_a_cell_that_spans_costs_as_much_repeated_as_left_empty() -> None:
    truth = Table([[Cell("a", columns=2)], [Cell("b"), Cell("c")]], 1)
    assert teds(truth, table("a|a", "b|c")) == teds(truth, table("a|", "b|c")) == pytest.approx(1 - 2 / 7)


def test_tables_of_a_page_are_compared_in_their_order() -> None:
    one, other = table("a|b", "c|d"), table("x|y", "z|z")
    assert teds_of_pages([one, other], [other]) == 0.5
    assert teds_of_pages([one], [other, one]) == 0.5
    assert teds_of_pages([one, other], [one, other]) == 1


def test_scores_of_a_page() -> None:
    truth = Structure(["A b", "c"], [("python", "x = 1\n"), (None, "y")], ["a_1"], [], [(1, "A"), (2, "B")])
    found = Structure(["A b", "c"], [(None, "y"), ("py", "x = 1")], ["a_1 "], [], [(1, "1. A ¶"), (3, "B")])
    scores = scores_of(truth, found)
    assert scores["text"] == scores["languages"] == scores["formulas"] == 1
    assert 0 < scores["code"] < 1  # the order counts
    assert scores["headings"] == 0.5
    assert scores["headings without level"] == 1
    assert "TEDS" not in scores
    assert "languages" not in scores_of(Structure(code=[(None, "y")]), found)


@pytest.mark.parametrize(
    ("heading", "words"), [("1.10. Trees¶", "Trees"), ("2001: a year #", "2001: a year"), ("3 boats", "3 boats")]
)
def test_words_of_headings(heading: str, words: str) -> None:
    assert heading_words(heading) == words


def test_markdown_is_read_as_what_it_holds() -> None:
    text = (
        "# So *it* is\n\nA `b $c$` and $x_1$,\n$$y\n= z$$ and $`a*b`$.\n\n- one\n\n```python x=1\na = '$x$'\n```\n\n"
        "```math\nq\n```\n\n|  |  |\n|---|---|\n| $u$ | w \\| v |\n\n| h |\n|---|\n| i |\n"
    )
    page = read_markdown(text, has_formulas=True)
    assert [" ".join(each.split()) for each in page.texts] == ["So it is", "A b $c$ and , and .", "one", ""]
    assert page.code == [("python", "a = '$x$'\n")]
    assert ["".join(tex.split()) for tex in page.formulas] == ["x_1", "y=z", "a*b", "q", "u"]
    assert page.headings == [(1, "So it is")]
    rows = [[[cell.text.strip() for cell in row] for row in each.rows] for each in page.tables]
    assert (rows, [each.header_rows for each in page.tables]) == ([[["", "w | v"]], [["h"], ["i"]]], [0, 1])
    assert read_markdown("from $5 to $x$", has_formulas=False).formulas == []


def test_what_generators_add_becomes_commonmark() -> None:
    text = '---\ntitle: T\n---\n## A {#a}\n\n!!! note "Mind"\n    so\n\n    ```py\n    x\n    ```\n\nend\n'
    page = read_markdown(source_to_markdown(text, "MkDocs"), False)
    assert page.headings == [(1, "T"), (2, "A")]
    assert page.texts == ["T", "A", "Mind", "so", "end"]
    assert page.code == [("py", "x\n")]
    chunk = read_markdown(source_to_markdown("````{r fit, echo=TRUE}\ny\n```\n", "Pandoc"), False)
    assert chunk.code == [("r", "y\n")]
    hidden = read_markdown(source_to_markdown("```rust,ignore\n# use a;\nb\n#\n/// c\n```\n", "mdBook"), False)
    assert hidden.code == [("rust", "b\n/// c\n")]


@pytest.mark.parametrize("text", ["{{#include a.md}}", "a\n\n<div>b</div>", "x [^1]\n\n[^1]: y"])
def test_sources_that_only_their_generator_reads_are_left_out(text: str) -> None:
    with pytest.raises(NotPlain):
        source_to_markdown(text, "mdBook")
