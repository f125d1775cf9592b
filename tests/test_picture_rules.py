"""Pictures that say nothing of an article: portraits, teasers, signs, banners; and those like them that are its own."""

from __future__ import annotations

import pytest

from gobelin.data.model import PageKind
from gobelin.transforms.pages.content.thread_content import is_sign
from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.tree.find_nodes import PageContent, read_page

URL = "https://valley.example/2024/mill.html"
PROSE = (
    "The mill wheel has been turning again since Easter, although the miller had sworn that the river would never be "
    "high enough for it, and the bakers of three villages come with their carts on market days."
)
TEXT = f"<p>{PROSE}</p>", f"<p>{PROSE} Again.</p>", f"<p>{PROSE} And again.</p>"
ARTICLE = "<meta property=og:type content=article>"


def pictures(body: str, head: str = ARTICLE) -> list[str]:
    html = f"<html><head><title>The wheel turns</title>{head}</head><body>{body}</body></html>"
    content = read_page(html.encode(), "utf-8", URL, ())
    assert isinstance(content, PageContent)
    return [piece.candidates[0].rsplit("/")[-1] for piece in content.pieces if isinstance(piece, ImageReference)]


LINKED = "<p><a href=/people/ada><img src=/ada.jpg {}></a></p>"


@pytest.mark.parametrize("size", ["", "width=128 height=128"])
def test_a_small_picture_beside_the_text_that_leads_to_a_page_goes(size: str) -> None:
    first, *rest = TEXT
    linked = LINKED.format(size)
    assert pictures(f"<article>{linked}{''.join(TEXT)}</article>") == []
    assert pictures(f"<article>{''.join(TEXT)}{linked}</article>") == []
    # Between the paragraphs it may be what they speak of.
    assert pictures(f"<article>{first}{linked}{''.join(rest)}</article>") == ["ada.jpg"]
    # A page that does not say that it is an article may be a manual, where a picture leads to a chapter.
    assert pictures(f"<article>{linked}{''.join(TEXT)}</article>", head="") == ["ada.jpg"]


@pytest.mark.parametrize(
    "kept",
    [
        LINKED.format("width=640 height=400"),
        "<p><a href=/ada-large.jpg><img src=/ada.jpg></a></p>",
        "<figure><a href=/people/ada><img src=/ada.jpg></a><figcaption>Ada at the wheel</figcaption></figure>",
        "<p><img src=/ada.jpg width=128 height=128></p>",
    ],
)
def test_large_captioned_and_unlinked_pictures_stay(kept: str) -> None:
    assert len(pictures(f"<article>{kept}{''.join(TEXT)}</article>")) == 1


@pytest.mark.parametrize(("height", "count"), [(27, 0), (48, 0), (49, 1)])
def test_a_picture_as_flat_as_a_line_goes(height: int, count: int) -> None:
    flat = f"<p><img src=/bar.png width=300 height={height}></p>"
    assert len(pictures(f"<article>{TEXT[0]}{flat}{TEXT[1]}{TEXT[2]}</article>")) == count


def icons(names: list[str], alt: str) -> str:
    return "".join(f"<span><img src=/common/{name} alt='{alt}'></span>" for name in names)


SIGNS = ["icon_face.gif", "icon_bird.gif", "btn_print.gif"]


def test_rows_of_icons_below_the_text_go_whatever_the_page_says_of_itself() -> None:
    body = f"<div>{''.join(TEXT)}{{}}</div>"
    assert pictures(body.format(icons(SIGNS, "Print")), head="") == []
    for row in (
        icons(SIGNS[:2], "Print"),  # two are no row
        icons(["iconic.gif", "embtn.gif", "silicon.gif"], "Print"),
        icons(SIGNS, "The wheel from below in winter"),
    ):
        assert pictures(body.format(row), head="")


@pytest.mark.parametrize(
    ("reference", "is_one"),
    [
        (ImageReference(("https://f.example/p/7.png",), link_url="https://f.example/u/7", rendered_width=72), True),
        (ImageReference(("https://f.example/p/7.png",), link_url="https://f.example/u/7", rendered_width=101), False),
        (ImageReference(("https://f.example/p/7.png",), link_url="https://f.example/7.jpg", rendered_width=72), False),
        (ImageReference(("https://f.example/p/7.png",), rendered_width=72), False),
        (ImageReference(("https://f.example/p/official-badge.svg",)), True),
        (ImageReference(("https://f.example/p/badger.jpg",)), False),
    ],
)
def test_small_pictures_of_a_thread_that_lead_to_a_page_are_signs(reference: ImageReference, is_one: bool) -> None:
    assert is_sign(reference) is is_one


@pytest.mark.parametrize(
    ("meta", "kind"),
    [
        ("<meta name=pubdate content=2024-05-01>", PageKind.ARTICLE),
        ("<meta property=article:published_time content=2024-05-01T10:00>", PageKind.ARTICLE),
        ("<meta itemprop=datePublished content=2024-05-01>", PageKind.ARTICLE),
        ("<meta name=publishdate content=''>", PageKind.OTHER),
        ("<meta name=citation_publication_date content=2015>", PageKind.OTHER),
        ("<meta name=author content=Ada>", PageKind.OTHER),
    ],
)
def test_a_page_with_the_date_of_its_publication_is_an_article(meta: str, kind: PageKind) -> None:
    html = f"<html><head><title>Mill</title>{meta}</head><body><p>{PROSE}</p></body></html>"
    content = read_page(html.encode(), "utf-8", URL, ())
    assert isinstance(content, PageContent)
    assert content.page_kind is kind
