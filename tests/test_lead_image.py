"""The picture that a page names as its own belongs to the article wherever the body shows it, and only there."""

from __future__ import annotations

import pytest

from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.images.picture_names import picture_name
from gobelin.transforms.pages.tree.find_nodes import PageContent, read_page

URL = "https://paper.example/2024/the-crane.html"
PROSE = (
    "The crane stood on the quay for sixty years, and nobody remembers who had ordered it from the yard upriver. "
    "On Monday it was taken apart, and the parts were loaded on a barge that left the harbour with the evening tide."
)
TITLE = "The crane has left"
BODY = f"<p>{PROSE}</p><p>{PROSE} Again.</p><p>{PROSE} Once more.</p>"
HEAD = f"<title>{TITLE}</title><meta property='og:image' content='https://cdn.example/1200x630/old-crane-quay.jpg'>"
MENU = "<ul>" + "".join(f"<li><a href=/{n}>Section number {n}</a></li>" for n in range(6)) + "</ul>"
PICTURE = "<img src=/i/old-crane-quay-640x480.jpg>"


def read(body: str, head: str = HEAD) -> PageContent:
    content = read_page(f"<html><head>{head}</head><body>{body}</body></html>".encode(), "utf-8", URL, ())
    assert isinstance(content, PageContent)
    return content


def outline(content: PageContent) -> list[str]:
    lines = []
    for piece in content.pieces:
        if isinstance(piece, ImageReference):
            lines.append(f"[{piece.candidates[0].rsplit('/')[-1]}]")
        else:
            lines.append("PROSE" if piece.text.startswith(PROSE) else piece.text)
    return lines


@pytest.mark.parametrize(
    "body",
    [
        f"<div class=top><div>{PICTURE}</div></div><div>{MENU}</div><div><h1>{TITLE}</h1>{BODY}</div>",
        f"<div>{MENU}</div><div class=no-print>{PICTURE}</div><div><h1>{TITLE}</h1>{BODY}</div>",
        f"<div>{MENU}</div><div><a href={URL}>{PICTURE}</a></div><div><h1>{TITLE}</h1>{BODY}</div>",
        f"<div><h1>{TITLE}</h1><div class='widget media'><figure>{PICTURE}</figure></div>{BODY}</div>",
    ],
)
def test_it_is_kept_where_the_page_shows_it(body: str) -> None:
    kept = outline(read(body))
    assert kept.count("[old-crane-quay-640x480.jpg]") == 1
    assert kept.index("[old-crane-quay-640x480.jpg]") < kept.index("PROSE")


@pytest.mark.parametrize(
    ("link", "width", "is_kept"),
    [
        (URL, 320, True),
        (URL + "#top", 320, True),
        (URL, 60, False),  # too small to show anything
        ("https://paper.example/2024/the-barge.html", 320, False),
        ("https://paper.example/", 320, False),
    ],
)
def test_in_a_list_of_what_is_read_most_the_link_to_this_page_shows_its_picture(
    link: str, width: int, is_kept: bool
) -> None:
    picture = PICTURE.replace(">", f" width={width}>")
    item = f"<li><a href='{link}'>{picture}</a><a href='{link}'>Most read</a></li>"
    body = f"<div><h1>{TITLE}</h1>{BODY}</div><aside class=most-read><ul>{item}</ul></aside>"
    assert ("[old-crane-quay-640x480.jpg]" in outline(read(body))) is is_kept


@pytest.mark.parametrize(("width", "is_kept"), [(600, True), (200, False)])
def test_large_and_alone_right_below_the_text_it_belongs_to_it(width: int, is_kept: bool) -> None:
    picture = PICTURE.replace(">", f" width={width}>")
    below = f"<div class=row><div><h1>{TITLE}</h1>{BODY}</div><ul><li>{picture}</li></ul>{MENU}</div>"
    assert ("[old-crane-quay-640x480.jpg]" in outline(read(f"<div>{below}</div>"))) is is_kept


@pytest.mark.parametrize(
    "body",
    [
        f"<nav><a href=/crane>{PICTURE}</a></nav><div><h1>{TITLE}</h1>{BODY}</div>",
        f"<ul><li><a href=/1>{PICTURE}</a><a href=/1>The crane has gone</a></ul><div><h1>{TITLE}</h1>{BODY}</div>",
        f"<div class=author-avatar>{PICTURE}</div><div>{MENU}</div><div><h1>{TITLE}</h1>{BODY}</div>",
        f"<div><h1>{TITLE}</h1>{BODY}</div><footer>{PICTURE}</footer>",
    ],
)
def test_in_menus_and_portraits_it_is_not_the_articles(body: str) -> None:
    assert "[old-crane-quay-640x480.jpg]" not in outline(read(body))


def test_another_picture_or_the_sites_logo_is_not_taken() -> None:
    above = "<div class=top><img src=/i/{}></div>"
    article = f"<div>{MENU}</div><div><h1>{TITLE}</h1>{BODY}</div>"
    assert "[new-bridge-opens.jpg]" not in outline(read(above.format("new-bridge-opens.jpg") + article))
    logo = HEAD.replace("old-crane-quay.jpg", "paper-logo-large.png")
    assert "[paper-logo-large.png]" not in outline(read(above.format("paper-logo-large.png") + article, logo))


def test_its_caption_comes_with_it() -> None:
    picture = f"<div>{PICTURE}<p class=caption>The crane in spring</p></div>"
    body = f"{picture}<div>{MENU}</div><div><h1>{TITLE}</h1>{BODY}</div>"
    images = [piece for piece in read(body).pieces if isinstance(piece, ImageReference)]
    assert [image.caption for image in images] == ["The crane in spring"]
    assert "The crane in spring" not in outline(read(body))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example/up/harbour-crane-300x200.jpg", "https://b.example/w_640,q_80/harbour-crane.webp", True),
        ("https://a.example/harbour-crane.jpg?w=6", "https://r.io/?u=https%3A%2F%2Fa.io%2Fharbour-crane.jpg", True),
        ("https://a.example/i/6641adf768c24_h366.jpg", "https://a.example/i/6641adf768c24_w960_r1.778.jpg", True),
        ("https://a.example/0aa1/hero-image.png", "https://a.example/0bb2/hero-image.png", False),
        ("https://a.example/2024/DSC-1234.jpg", "https://a.example/2024/DSC-1235.jpg", False),
        ("https://a.example/harbour-crane.jpg", "https://a.example/harbour-bridge.jpg", False),
    ],
)  # fmt: skip
def test_names_of_pictures(one: str, other: str, same: bool) -> None:
    assert (picture_name(one) == picture_name(other)) is same


def test_hostile_addresses_and_many_metas_cost_little() -> None:
    metas = "".join(f"<meta property=og:image content='https://a.example/{'-123' * 300}{n}.jpg'>" for n in range(3000))
    images = "".join(f"<img src='/{'-99x99' * 300}{n}.jpg'>" for n in range(3000))
    assert "PROSE" in outline(read(f"<h1>{TITLE}</h1>{BODY}{images}", f"<title>{TITLE}</title>{metas}"))
