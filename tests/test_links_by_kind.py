"""Lists of links are boilerplate in an article and content in a manual; of other pages, between their prose."""

from __future__ import annotations

import pytest

from gobelin.transforms.pages.tree.find_nodes import PageContent, read_page

PROSE = (
    "The clock daemon compares the time of several servers with that of the machine and slows down or speeds up the "
    "clock until both agree, which takes some minutes after a start and a few seconds each hour from then on."
)
LINKS = "<ul>" + "".join(f"<li><a href=/d{n}.html>The command number {n}</a></li>" for n in range(5)) + "</ul>"
ROW = "<p><a href=/a.html>The list of all commands</a> <a href=/b.html>The list of all files</a></p>"
ARTICLE = "<meta property=og:type content=article>"
MANUAL = "<meta name=generator content='Asciidoctor 2.0.20'>"


def read(body: str, head: str) -> list[str]:
    html = f"<html><head><title>The clock daemon</title>{head}</head><body><div>{body}</div></body></html>"
    content = read_page(html.encode(), "utf-8", "https://clock.example/daemon.html", ())
    assert isinstance(content, PageContent)
    return [piece.text for piece in content.pieces if hasattr(piece, "text")]


TWO = f"<p>{PROSE}</p>", f"<p>{PROSE} So it does.</p>"


@pytest.mark.parametrize(("head", "above", "between", "below"), [(ARTICLE, 0, 0, 0), ("", 0, 5, 0), (MANUAL, 0, 5, 5)])
def test_lists_of_links(head: str, above: int, between: int, below: int) -> None:
    for body, count in (
        (f"{LINKS}{TWO[0]}{TWO[1]}", above),
        (f"{TWO[0]}{LINKS}{TWO[1]}", between),
        (f"{TWO[0]}{TWO[1]}{LINKS}", below),
    ):
        assert sum(text.startswith("The command") for text in read(body, head)) == count


@pytest.mark.parametrize(("head", "count"), [(ARTICLE, 0), ("", 0), (MANUAL, 1)])
def test_paragraphs_of_links(head: str, count: int) -> None:
    said = read(f"{TWO[0]}{ROW}{TWO[1]}", head)
    assert sum(text.startswith("The list of all") for text in said) == count


@pytest.mark.parametrize(("head", "between", "below"), [(ARTICLE, 0, 0), ("", 1, 0), (MANUAL, 1, 1)])
def test_a_paragraph_that_is_one_link(head: str, between: int, below: int) -> None:
    link = "<p><a href=/a.html>The list of all commands of the clock</a></p>"
    assert sum(text.startswith("The list") for text in read(f"{TWO[0]}{link}{TWO[1]}", head)) == between
    assert sum(text.startswith("The list") for text in read(f"{TWO[0]}{TWO[1]}{link}", head)) == below


@pytest.mark.parametrize(("head", "is_kept"), [(ARTICLE, False), (MANUAL, True)])
def test_what_stands_above_the_heading_of_a_section_stays_in_a_manual(head: str, is_kept: bool) -> None:
    opening = "<p>Package <a href=/p>net.clock</a>, since <a href=/n>the second edition</a></p>"
    links = "<p>See <a href=/q>all other classes of the package</a>.</p>"
    said = read(f"<h2>Class Clock</h2>{opening}{links}<h3>The clock daemon</h3>{TWO[0]}{TWO[1]}", head)
    assert any(text.startswith("Package") for text in said) is is_kept
