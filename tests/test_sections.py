"""Parts of a text that rules may take for boilerplate: headings, lists of articles, boxes, captions, authors of a
quotation. Each case stands beside a near neighbour that is boilerplate."""

from __future__ import annotations

import pytest

from gobelin.transforms.pages.find_nodes import PageContent, read_page
from gobelin.transforms.pages.image_references import ImageReference

PROSE = (
    "The mill stands where two streams meet, and its wheel has turned since the bridge was built. On a still day "
    "one hears it from the church, a low sound that those who live nearby no longer notice."
)
LINKS = "".join(f"<li><a href=/{n}>Another page, number {n}</a></li>" for n in range(6))
LONG = "A heading that is set in large type although it says as much as a paragraph, for the page has no other words."


def read(body: str, title: str = "<title>The harbour at night</title>") -> PageContent:
    content = read_page(
        f"<html><head>{title}</head><body>{body}</body></html>".encode(), "utf-8", "https://a.example/", ()
    )
    assert isinstance(content, PageContent)
    return content


def outline(content: PageContent) -> list[str]:
    """Each piece: its text, or its image's file in brackets; PROSE by its name."""
    return [
        f"[{piece.candidates[0].rsplit('/')[-1]}]"
        if isinstance(piece, ImageReference)
        else piece.text.replace(PROSE, "PROSE")
        for piece in content.pieces
    ]


@pytest.mark.parametrize(
    ("inside", "kept"),
    [
        ("<h2>I</h2><h2>Of boats</h2>{p}", ["I", "Of boats", "PROSE"]),
        ("<h3>1911</h3><h2>Of boats</h2>{p}", ["1911", "Of boats", "PROSE"]),
        ("{p}<h2>The end</h2>", ["PROSE", "The end"]),
        (f"<h2>{LONG}</h2><ul>{LINKS}</ul><h2>Twice: {LONG}</h2>{{p}}", [LONG, f"Twice: {LONG}", "PROSE"]),
        ("<h2>Of boats</h2><h3>Of sails</h3><img src=a.jpg>{p}", ["Of boats", "Of sails", "[a.jpg]", "PROSE"]),
        # What stood below went, so the heading goes; and the one above, of which nothing is left.
        (f"<h2>Links</h2><ul>{LINKS}</ul><h2>Of boats</h2>{{p}}", ["Of boats", "PROSE"]),
        (f"<h2>Links</h2><h3>Elsewhere</h3><ul>{LINKS}</ul><h2>Of boats</h2>{{p}}", ["Of boats", "PROSE"]),
        (f"{{p}}<h2>Links</h2><ul>{LINKS}</ul>", ["PROSE"]),
        (f"<h2>Of boats</h2><h3>Links</h3><ul>{LINKS}</ul>{{p}}", ["Of boats", "Links", "PROSE"]),
    ],
)
def test_a_heading_goes_only_with_what_stood_below_it(inside: str, kept: list[str]) -> None:
    body = f"<article><h1>The harbour at night</h1><p>{PROSE} 1</p>{inside.format(p=f'<p>{PROSE}</p>')}</article>"
    assert outline(read(body)) == ["The harbour at night", "PROSE 1", *kept]


def test_a_last_heading_whose_section_lies_outside_is_left_out() -> None:
    body = f"<div><article><p>{PROSE}</p><p>{PROSE} 2</p><h2>Elsewhere</h2></article><ul>{LINKS}</ul></div>"
    assert outline(read(body)) == ["PROSE", "PROSE 2"]


def test_a_page_that_is_a_heading_keeps_it() -> None:
    assert outline(read(f"<div class=content><h2>Part 2</h2></div><div class=footer>{LINKS}</div>")) == ["Part 2"]


def tips(number: int, inside: str) -> str:
    return "".join(f"<article><h3>{n}. A tip</h3><img src={n}.jpg><p>{inside} {n}</p></article>" for n in range(number))


@pytest.mark.parametrize("holder", ["article", "div"])
def test_articles_in_an_article_are_its_parts_where_they_are_most_of_it(holder: str) -> None:
    listed = [part for n in range(4) for part in (f"{n}. A tip", f"[{n}.jpg]", f"PROSE {n}")]
    body = (
        f"<article><h1>Four tips</h1><p>{PROSE}</p><{holder}>{tips(4, PROSE)}</{holder}><p>{PROSE} Last.</p></article>"
    )
    assert outline(read(body)) == ["Four tips", "PROSE", *listed, "PROSE Last."]


@pytest.mark.parametrize(
    "behind",
    [
        f"<h2>You may also like</h2>{tips(4, PROSE)}",  # most of the page, but it says what it is
        f"<div>{tips(2, 'Only a line.')}</div>",
    ],
)
def test_articles_in_an_article_are_teasers_where_they_are_little_or_named(behind: str) -> None:
    body = f"<article><h1>Tips</h1><p>{PROSE} 1</p><p>{PROSE} 2</p>{behind}</article>"
    assert outline(read(body))[:3] == ["Tips", "PROSE 1", "PROSE 2"]
    assert "[1.jpg]" not in outline(read(body))


@pytest.mark.parametrize(
    ("above", "title", "kept"),
    [
        ("<header><h1>Rigging by hand</h1></header>", "<title>A page</title>", ["Rigging by hand"]),
        # The document has it as its title.
        ("<header><h1>Rigging by hand</h1></header>", "", []),
        ("<header><h1>Rigging by hand</h1></header>", "<title>Rigging by hand - The port</title>", []),
        ("<header><h1><a href=/>The port</a></h1></header>", "<title>A page</title>", []),
        ("<header><h2>The port</h2></header>", "<title>A page</title>", []),
    ],
)
def test_the_heading_of_the_page_above_the_text(above: str, title: str, kept: list[str]) -> None:
    body = f"{above}<article><div class=body><p>{PROSE}</p><p>{PROSE} Twice.</p></div></article>"
    content = read(body, title)
    assert outline(content) == [*kept, "PROSE", "PROSE Twice."]
    assert kept or content.title
