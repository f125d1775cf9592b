"""The article of a news page is told from what else the page says at length."""

from __future__ import annotations

import pytest
from lxml.html import HtmlElement

from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.tree import find_nodes
from gobelin.transforms.pages.tree.find_nodes import PageContent, read_page

URL = "https://paper.example/2024/ferry.html"
PROSE = (
    "The ferry to the island will run every hour from May, and the harbour office has ordered a second boat for the "
    "summer. Passengers had asked for it since the bridge was closed to lorries, as the mayor said on Tuesday."
)
OTHER = (
    "Nobody in the council wanted to answer the letter at first, although it had been lying on the table for weeks, "
    "and the chairwoman opened the window instead of the envelope until the members had all gone home for the night."
)
TITLE = "The ferry runs every hour"
HEAD = f"<title>{TITLE} - The Paper</title>"
TEXT = f"<p>{PROSE}</p><p>{PROSE} Twice.</p>"
SAID = [TITLE, "PROSE", "PROSE Twice."]
LINKS = "".join(f"<li><a href=/{n}>Another story, number {n}</a></li>" for n in range(6))


def read(body: str, head: str = HEAD) -> list[str]:
    content = read_page(f"<html><head>{head}</head><body>{body}</body></html>".encode(), "utf-8", URL, ())
    assert isinstance(content, PageContent)
    lines = []
    for piece in content.pieces:
        if isinstance(piece, ImageReference):
            lines.append(f"[{piece.candidates[0].rsplit('/')[-1]}]")
        else:
            lines.append(piece.text.replace(PROSE, "PROSE").replace(OTHER, "OTHER"))
    return lines


LONGER = "".join(f"<p>{OTHER} {n}</p>" for n in range(6))
NEXT = f"<article class=story><h1>The council answers</h1>{LONGER}</article>"
SUMMARIES = "".join(
    f"<div class='pick pick-{n}'><a href=/{n}><img src=/t{n}.jpg></a><p>{OTHER[: 90 + n]}.</p></div>" for n in range(14)
)


@pytest.mark.parametrize(
    "body",
    [
        f"<div><article class=story><h1>{TITLE}</h1>{TEXT}</article>{NEXT}{NEXT}</div>",
        f"<div><article><h1>{TITLE}</h1>{TEXT}</article><div class=x7f3a>{LONGER}</div></div>",
        f"<main><h1>{TITLE}</h1><div class=entry-content>{TEXT}</div><div class=picks>{SUMMARIES}</div></main>",
        f"<main><h1>{TITLE}</h1><section itemprop=articleBody>{TEXT}</section><section>{LONGER}</section></main>",
        f"<h1>{TITLE}</h1><div class=article-body>{TEXT}</div><ul>{LINKS}</ul><div class=box>{LONGER}</div>",
    ],
)
def test_what_is_longer_than_the_article_is_left_out(body: str) -> None:
    assert [line for line in read(body) if line != TITLE] == SAID[1:]


@pytest.mark.parametrize(
    "body",
    [
        # Parts of one text, each in an element of its own.
        f"<main><h1>{TITLE}</h1><div class=article-body>{TEXT}</div><figure><img src=a.jpg></figure>"
        f"<div class=article-body>{LONGER}</div></main>",
        # An article whose lead stands above what is named as its body.
        f"<article><h1>{TITLE}</h1><p>{OTHER} 5</p><div class=article-body>{TEXT}</div></article>",
        # The element of the article holds next to nothing.
        f"<main><article><h1>{TITLE}</h1><p>By our reporter.</p></article><div>{LONGER}{TEXT}</div></main>",
    ],
)
def test_all_of_a_text_is_kept(body: str) -> None:
    kept = read(body)
    assert "OTHER 5" in kept
    assert "PROSE Twice." in kept


def test_a_box_with_the_pages_name_is_not_the_article_whose_story_stands_above_it() -> None:
    box = f"<div class=recipe><h2>{TITLE}</h2><div class=recipe-entry-content>{TEXT}</div></div>"
    story = "".join(f"<p>{OTHER} {n}</p>" for n in range(3, 7))
    kept = read(f"<article><h1>News: {TITLE}!</h1><div class=entry-content>{story}{box}</div></article>")
    assert "OTHER 5" in kept
    # Where next to nothing stands above, what has the page's name is the article.
    kept = read(f"<div class=entry-content><p>By our reporter.</p>{box}<section>{LONGER}</section></div>")
    assert not any(line.startswith("OTHER") for line in kept)


@pytest.mark.parametrize(
    ("tag", "body", "is_enough"),
    [
        ("article", "", True),
        ("div class=article-body", "", True),
        ("div", "", False),
        ("article", f', "articleBody": "{OTHER} {OTHER} {OTHER}"', False),  # its beginning; a script shows the rest
    ],
)
def test_a_short_text_is_enough_where_its_element_says_that_it_is_the_article(
    tag: str, body: str, is_enough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[HtmlElement] = []
    monkeypatch.setattr(find_nodes, "choose_with_trafilatura", lambda tree, *_: asked.append(tree) or [])
    told = "The gulls have learnt to open the bags of the bakery, and the baker has learnt to live with all of it."
    data = f'<script type="application/ld+json">{{"@type": "NewsArticle"{body}}}</script>'
    kept = read(f"<h1>Gulls</h1><{tag}>{told}</{tag.split()[0]}>", f"<title>Gulls</title>{data}")
    assert kept[-1] == told
    assert (not asked) is is_enough


def test_a_list_of_articles_stays_a_list() -> None:
    stories = "".join(
        f"<article class=story><h2>Story {n} of the week</h2><p>{OTHER} {n}</p></article>" for n in range(4)
    )
    kept = read(f"<main><h1>All that was told</h1>{stories}</main>", "<title>The Paper</title>")
    assert [f"OTHER {n}" for n in range(4)] == [line for line in kept if line.startswith("OTHER")]


def test_whole_posts_below_the_name_of_the_site_are_a_list() -> None:
    posts = "".join(f"<article id=post-{n} class='post h'><h2>Post {n}</h2><p>{OTHER} {n}</p></article>" for n in "ab")
    kept = read(f"<h1>The Island Paper</h1><main>{posts}</main>", "<title>The Island Paper</title>")
    assert [line for line in kept if line.startswith("OTHER")] == ["OTHER a", "OTHER b"]
    # Of another make is what stands beside an article.
    teaser = f"<article class=pick><h2>Another</h2><p>{OTHER}</p></article>"
    article = f"<article class=story>{TEXT}</article>"
    assert read(f"<h1>{TITLE}</h1><main>{article}{teaser}</main>")[-2:] == SAID[1:]


def test_pictures_under_headings_belong_to_the_text_that_introduces_them() -> None:
    shown = "".join(
        f"<div class=item><h2>{n}. The quay in spring</h2><figure><img src=/q{n}.jpg></figure></div>"
        for n in range(1, 6)
    )
    page = f"<div class=article-body><div class=part>{TEXT}</div>{shown}</div><div class=side><ul>{LINKS}</ul></div>"
    kept = read(f"<h1>{TITLE}</h1>{page}")
    assert [f"[q{n}.jpg]" for n in range(1, 6)] == [line for line in kept if line.startswith("[")]


def test_what_holds_the_pages_own_heading_and_text_is_no_boilerplate() -> None:
    page = f"<div class=related-wrap><h1>{TITLE}</h1>{TEXT}</div>"
    more = f"<div class=more-stories><h2>More</h2>{LONGER}</div>"
    assert "PROSE" in read(page + more)
    heading = f"<nav class=breadcrumb><h1>{TITLE}</h1></nav><div>{TEXT}</div>"
    assert read(heading)[-2:] == SAID[1:]


def card(number: int, inside: str) -> str:
    title = f"<h5><a href=/{number}>The bridge that nobody wanted, part {number}</a></h5>"
    return f"<li class='card n{number}'><a href=/{number}><img src=/c{number}.jpg></a>{title}{inside}</li>"


LONG = "".join(f"<p>{PROSE} {n}</p>" for n in range(4))


@pytest.mark.parametrize(
    "inside",
    [f"<div class=text>{OTHER}</div>", f"<p>{OTHER}</p><span>4 May 2024</span>", "<p>Some few words of it.</p>"],
)
def test_teasers_with_summaries_below_the_text_go(inside: str) -> None:
    cards = "".join(card(n, inside) for n in range(6))
    kept = read(
        f"<div class=page><h1>{TITLE}</h1><div>{LONG}</div><div class=m><h5>Daily</h5><ul>{cards}</ul></div></div>"
    )
    assert [line for line in kept if line.startswith("PROSE")] == [f"PROSE {n}" for n in range(4)]
    assert not any(line.startswith(("[", "OTHER", "The bridge")) for line in kept)


def test_cards_stay_where_they_are_the_content_or_no_teasers() -> None:
    cards = "".join(card(n, f"<p>{OTHER} {n}</p>") for n in range(6))
    listed = read(f"<div class=page><h1>{TITLE}</h1><p>What we wrote this week.</p><ul>{cards}</ul></div>")
    assert "OTHER 3" in listed
    # Steps with a picture that opens large and no title that is a link.
    steps = "".join(
        f"<li class=step><a href=/s{n}.jpg><img src=/s{n}-300x200.jpg></a><p>{OTHER} {n}</p></li>" for n in range(6)
    )
    told = read(f"<div class=page><h1>{TITLE}</h1><div>{LONG}</div><ol>{steps}</ol></div>")
    assert [line for line in told if line.startswith("OTHER")] == [f"OTHER {n}" for n in range(6)]
