"""The measure of pictures in bench/extraction_pictures.py on cases small enough to be worked out by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "bench"))

import extraction_pictures as pictures
from extraction_gold import Page
from extraction_metrics import Piece, normal_url

URL = "https://paper.example/2024/harbour.html"


def shown(*addresses: str) -> Piece:
    return Piece(urls=frozenset(normal_url(URL, address) for address in addresses))


@pytest.mark.parametrize(
    "other",
    [
        "https://cdn.example/resize/1024x433/uploads/2024/05/Harbour-Crane.jpg?w=1024",
        "https://paper.example/uploads/2024/05/harbour-crane-300x200.webp",
        "https://proxy.example/fit?url=https%3A%2F%2Fpaper.example%2Fup%2Fharbour-crane.jpg",
        "https://cdn.example/w_1200,q_80/harbour-crane_w640.jpg",
    ],
)
def test_sizes_and_hosts_do_not_tell_pictures_apart(other: str) -> None:
    assert pictures.picture_name(other) == pictures.picture_name("https://paper.example/harbour-crane.jpg")


def test_a_name_that_many_pictures_share_is_told_by_its_folder() -> None:
    one, other = "https://a.example/i/01HXF99EY5/hero-image.png", "https://a.example/i/01HYAJPNH6/hero-image.png"
    assert pictures.picture_name(one) != pictures.picture_name(other)


def test_lead_picture_is_one_that_the_body_shows() -> None:
    head = '<head><meta property="og:image" content="https://paper.example/i/{}.jpg"></head>'
    body = '<body><p>Text</p><img src="/i/harbour-crane-640x480.jpg"></body>'

    def page(name: str) -> Page:
        return Page("p", "s", URL, "utf-8", f"<html>{head.format(name)}{body}</html>".encode())

    names = pictures.lead_pictures(page("harbour-crane"))
    assert names
    assert pictures.keeps_lead(names, [Piece("Text"), shown("/i/harbour-crane-320x240.jpg")])
    assert not pictures.keeps_lead(names, [Piece("Text"), shown("/i/other-picture.jpg")])
    assert not pictures.lead_pictures(page("harbour-logo"))
    assert not pictures.lead_pictures(page("another-crane"))


@pytest.mark.parametrize(
    "shown",
    [
        "<img class='avatar small' src=/i/harbour-crane.jpg>",
        "<div style='width: 0; display: none'><img src=/i/harbour-crane.jpg></div>",
        "<img src=/i/other.jpg data-page=/2024/harbour-crane/>",
    ],
)
def test_portraits_hidden_pictures_and_links_show_no_lead_picture(shown: str) -> None:
    head = '<head><meta property="og:image" content="https://paper.example/i/harbour-crane.jpg"></head>'
    page = Page("p", "s", URL, "utf-8", f"<html>{head}<body><p>Text</p>{shown}</body></html>".encode())
    assert not pictures.lead_pictures(page)


def test_marks_count_what_is_kept_wrong_and_missed() -> None:
    own = (frozenset((normal_url(URL, "/a.jpg"),)), frozenset((normal_url(URL, "/b.jpg"),)))
    marks = pictures.Marks(own, frozenset((normal_url(URL, "/still.jpg"),)))
    output = [shown("/a.jpg"), shown("/a.jpg"), shown("/still.jpg"), shown("/teaser.jpg"), Piece("Text")]
    assert pictures.score_marks(marks, output) == (1, 1, 1)
