"""Parts of a text that rules may take for boilerplate: headings, lists of articles, boxes, captions, authors of a
quotation. Each case stands beside a near neighbour that is boilerplate."""

from __future__ import annotations

import pytest

from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.tree.find_nodes import PageContent, TextPiece, read_page

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


QUOTE = "What the wheel has ground cannot be ground again, as they say on the river."


def inside(body: str, head: str = "") -> list[str]:
    """What is kept of something that stands in the middle of a text."""
    around = f"<main><h1>The mill</h1><p>{PROSE} 1</p>{body}<p>{PROSE} 2</p><p>{PROSE} 3</p></main>"
    kept = outline(read(around, f"<title>The harbour at night</title>{head}"))
    assert kept[:2] == ["The mill", "PROSE 1"]
    assert kept[-2:] == ["PROSE 2", "PROSE 3"]
    return kept[2:-2]


@pytest.mark.parametrize(
    "title",
    [
        "<div class=callout-header><div class=callout-title-container>Mind the step</div></div>",
        "<div class=aside-title>Mind the step</div>",
        "<p class=widget-title>Mind the step</p>",
    ],
)
def test_the_title_of_a_box_stays_with_it(title: str) -> None:
    assert inside(f"<div class='callout'>{title}<div class=callout-body><p>{PROSE}</p></div></div>") == [
        "Mind the step",
        "PROSE",
    ]
    assert inside(f"<div class='callout'>{title}</div>") == []
    assert inside(f"<div class='note'>{title.replace('Mind', '<a href=/x>Mind</a>')}<p>{PROSE}</p></div>") == ["PROSE"]


@pytest.mark.parametrize("number", ["", "3.4 ", "<span>12</span> ", "A.1 ", "IV. "])
@pytest.mark.parametrize("classes", ["", "class='section level2'", "class='level2 has-anchor'"])
def test_a_section_named_by_its_own_heading_stays(number: str, classes: str) -> None:
    section = f"<section id=tooltip {classes}><h2>{number}Tooltip</h2><p>{PROSE}</p><img src=a.jpg></section>"
    assert [line.rsplit(" ")[-1] for line in inside(section)] == ["Tooltip", "PROSE", "[a.jpg]"]
    assert inside(section.replace("<h2>", "<h2>Our ")) == []


@pytest.mark.parametrize(
    ("section", "kept"),
    [
        (f"<div id=recommended-settings><h2>Recommended settings</h2><p>{PROSE}</p></div>",
         ["Recommended settings", "PROSE"]),
        (f"<div id=recommended-articles><h2>Recommended articles</h2><p>{PROSE}</p></div>", []),
        ("<figure id=tooltip><img src=a.jpg><figcaption>A tip.</figcaption></figure>", ["[a.jpg]"]),
        ("<figure class=share><a href=/s><img src=a.jpg></a></figure>", []),
    ],
)  # fmt: skip
def test_sections_and_figures_by_their_names(section: str, kept: list[str]) -> None:
    assert inside(section) == kept


@pytest.mark.parametrize(
    ("quotation", "kept"),
    [
        (f"<blockquote><p>{QUOTE}</p><p class=author>Ann</p></blockquote>", [QUOTE, "Ann"]),
        (f"<blockquote><p>{QUOTE}</p><footer>Ann, <cite>Mills</cite></footer></blockquote>", [QUOTE, "Ann, Mills"]),
        (f"<div class=epigraph><p>{QUOTE}</p><div class=author>Ann</div></div>", [QUOTE, "Ann"]),
        (f"<p class=epigraph>{QUOTE}</p><p class=author>Ann</p>", [QUOTE, "Ann"]),
        (f"<p>{QUOTE}</p><p class=quote-author>Ann</p>", [QUOTE, "Ann"]),
        (f"<blockquote>{QUOTE}</blockquote><div class=author>— Ann</div>", [QUOTE, "— Ann"]),
        # Whose text this is, and other things in a quotation.
        (f"<blockquote>{QUOTE}</blockquote><div class=author>By Ann</div>", [QUOTE]),
        ("<p class=author>By Ann</p>", []),
        (f"<p>{QUOTE}</p><p class=author>By Ann</p>", [QUOTE]),
        (f"<blockquote><p>{QUOTE}</p><div class=share>Share this</div></blockquote>", [QUOTE]),
    ],
)
def test_who_is_quoted(quotation: str, kept: list[str]) -> None:
    assert inside(quotation) == kept


@pytest.mark.parametrize(
    "figure",
    [
        "<figure><img src=a.jpg><figcaption>One line.</figcaption></figure><p class=caption>Another line.</p>",
        "<p><img src=a.jpg></p><p class=caption>One line.</p><p class=caption>Another line.</p>",
        "<div><img src=a.jpg><p>{}</p></div><p class=caption>One line.</p><p class=credit>Another line.</p>",
    ],
)
def test_a_second_caption_is_not_lost(figure: str) -> None:
    body = f"<main><h1>The mill</h1><p>{PROSE} 1</p>{figure.format(PROSE)}<p>{PROSE} 2</p></main>"
    images = [piece for piece in read(body).pieces if isinstance(piece, ImageReference)]
    assert [image.caption for image in images] == ["One line. Another line."]


@pytest.mark.parametrize("name", ["has-sidebar-left", "layout_with_sidebar", "sidebar"])
def test_a_page_of_short_items_is_content_whatever_its_wrapper_is_called(name: str) -> None:
    items = "".join(f"<li>Part {n}</li>" for n in range(12))
    page = f"<div class={name}><ul class=nav>{LINKS}</ul><h2>Parts</h2><ul>{items}</ul></div><footer>Imprint</footer>"
    assert outline(read(page)) == ["Parts", *(f"Part {n}" for n in range(12))]
    beside = f"<main><h1>The mill</h1><p>{PROSE}</p><p>{PROSE} 2</p></main><div class={name}><ul>{items}</ul></div>"
    assert outline(read(beside)) == ["The mill", "PROSE", "PROSE 2"]


def test_a_caption_whose_image_is_left_out_stays_text() -> None:
    teasers = f"<ul>{LINKS}<li><a href=/v><img src=a.jpg></a></li></ul>"
    article = "<meta property=og:type content=article>"
    assert inside(f"{teasers}<div><div class=credits><p>{PROSE}</p></div></div>", article) == ["PROSE"]


@pytest.mark.parametrize(
    ("title", "is_kept"),
    [
        ("Another name", True),
        ("Neural networks and deep learning", True),  # a part of a title that is no part of its own
        ("Deep learning", False),
        ("Deep learning - Neural networks", False),
        ("Neural networks | Deep learning", False),
    ],
)
def test_the_heading_above_the_region_is_a_node_unless_the_title_is_it(title: str, is_kept: bool) -> None:
    prose = "".join(
        f"<p>In chapter {number} we saw how hard it is to train a network of many layers.</p>" for number in range(9)
    )
    source = f"<title>{title}</title><header><h1>Deep learning</h1></header><article>{prose}</article>"
    content = read_page(source.encode(), None, "https://a.example/", ())
    assert isinstance(content, PageContent)
    first = content.pieces[0]
    assert isinstance(first, TextPiece)
    assert (first.text == "Deep learning") is is_kept
