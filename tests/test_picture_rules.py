"""Pictures that go: icons of an article's buttons, signs above its text, and what a teaser that went leaves behind."""

from __future__ import annotations

import pytest

from gobelin.transforms.pages.find_nodes import PageContent, read_page
from gobelin.transforms.pages.image_references import ImageReference

URL = "https://paper.example/2024/tower.html"
PROSE = (
    "The tower on the hill has been open since Sunday, and more people came than the stairs could hold on one morning. "
    "From the top one sees the sea on clear days, although the keeper says that he has seen it only twice himself."
)
TITLE = "The tower is open"
ARTICLE = f"<title>{TITLE}</title><meta property='og:type' content='article'>"
MANUAL = f"<title>{TITLE}</title><meta name=generator content='Sphinx 7.1'>"
TEXT = f"<p>{PROSE}</p><p>{PROSE} Twice.</p>"


def images(body: str, head: str = ARTICLE) -> list[str]:
    content = read_page(f"<html><head>{head}</head><body>{body}</body></html>".encode(), "utf-8", URL, ())
    assert isinstance(content, PageContent)
    assert any(getattr(piece, "text", "").startswith(PROSE) for piece in content.pieces)
    return [piece.candidates[0].rsplit("/")[-1] for piece in content.pieces if isinstance(piece, ImageReference)]


def test_icons_of_an_article_go_and_its_pictures_stay() -> None:
    icons = "<div><img src=/share.png width=24 height=24 alt=share></div><div><img src=/vote.png width=33></div>"
    shown = "<figure><img src=/tower.jpg width=640 height=480></figure><p><img src=/stairs.jpg></p>"
    assert images(f"<article><h1>{TITLE}</h1>{TEXT}{icons}{shown}{TEXT}</article>") == ["tower.jpg", "stairs.jpg"]


def test_a_manual_keeps_the_signs_that_its_sentences_show() -> None:
    said = f"<p>Press <img src=/save.png width=16 height=16> to keep the drawing on disk.</p>{TEXT}"
    assert images(f"<div class=body><h1>{TITLE}</h1>{said}</div>", MANUAL) == ["save.png"]


SIGNS = "".join(f"<a href=https://s{n}.example/share><img src=/sign{n}.png></a>" for n in range(4))
COUNTS = "".join(f"<div><img src=/count{n}.png><span>{n}7</span></div>" for n in range(4))


@pytest.mark.parametrize("row", [SIGNS, COUNTS])
def test_a_row_of_signs_between_heading_and_text_goes(row: str) -> None:
    body = f"<h1>{TITLE}</h1><div class=info>{row}</div><div class=text>{TEXT}<p><img src=/tower.jpg></p>{TEXT}</div>"
    assert images(f"<div>{body}</div>") == ["tower.jpg"]


def test_pictures_above_the_text_that_say_what_they_are_stay() -> None:
    captioned = "".join(f"<figure><img src=/view{n}.jpg><figcaption>View {n}</figcaption></figure>" for n in range(4))
    plain = "".join(f"<p><img src=/view{n}.jpg></p>" for n in range(4))
    opened = "".join(f"<a href=/large{n}.jpg><img src=/view{n}.jpg></a>" for n in range(4))
    for row in (captioned, plain, opened):
        assert len(images(f"<div><h1>{TITLE}</h1>{row}{TEXT}</div>")) == 4


def test_a_teasers_picture_goes_with_its_words() -> None:
    link = "<a href=/2023/bell>"
    teaser = f"<div class=box><p>{link}The bell that fell from the tower</a></p>{link}<img src=/b.jpg></a></div>"
    assert images(f"<div><h1>{TITLE}</h1>{TEXT}{teaser}{TEXT}</div>") == []
    photo = "<div class=box><p>The bell that fell from the tower.</p><a href=/bell.jpg><img src=/bell-s.jpg></a></div>"
    assert images(f"<div><h1>{TITLE}</h1>{TEXT}{photo}{TEXT}</div>") in (["bell.jpg"], ["bell-s.jpg"])
