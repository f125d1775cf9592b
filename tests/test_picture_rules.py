"""Pictures that say nothing of an article: portraits, teasers, signs, banners; and those like them that are its own."""

from __future__ import annotations

import pytest

from gobelin.data.model import PageKind
from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.images.signs import is_sign
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
        (ImageReference(("https://f.example/p/7.png",), link_url="https://f.example/u/7", rendered_width=201), False),
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


@pytest.mark.parametrize(
    ("sign", "is_kept"),
    [
        ("<img src=/wp-content/themes/miller/images/stars-off.gif>", False),
        ("<img src=/plugins/votes/img/thumb-up.png>", False),
        ("<img src=/themes/of-our-time/mill.jpg>", True),  # a folder of pictures
        ("<img src=/wheel-on-grey.gif alt=Loading...>", False),
        ("<img src=/wheel-on-grey.gif alt='Loading the carts'>", True),
        ("<a href=/authors/ada><img src=/photos/ada.jpg></a>", False),
        ("<a href=/authors/ada><img src=/photos/ada.jpg width=480 height=320></a>", True),
        ("<a href=/authors><img src=/photos/all-of-us.jpg></a>", True),
        ("<a href=/columnists/ada><img src=/photos/ada.jpg></a>", False),
        ("<a href=/people/ada><img src=/photos/ada.jpg></a>", True),
        ("<img src=https://cdn.mill.example/valley-logo.svg>", True),  # of somebody
        ("<img src=https://www.valley.example/img/valley-logo.svg>", False),  # of the site
        ("<img src=https://www.valley.example/img/valley-mill.jpg>", True),
        ("<img src=/upload/2022/vip_3.png>", False),
        ("<img src=/upload/2022/vips_3.png>", True),
        ("<a href='https://x.example/intent/tweet?text=Wheel'><img src=/wheel-to-share.jpg></a>", False),
        ("<a href='https://x.example/intention'><img src=/wheel-to-share.jpg></a>", True),
        ("<a href='https://shop.example/cta/redirect/4'><img src=/book-now.png></a>", False),
        ("<img src=/photos/ada.jpg alt='Ada  Miller'>", False),
        ("<img src=/photos/ada.jpg alt='Ada Miller at the wheel'>", True),
        ("<img src='data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAADAAAAAwCAYAAABXAvmHAAAA'>", False),  # 48 x 48
        ("<img src='data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAQAAAADACAYAAABXAvmHAAAA'>", True),  # 256 x 192
    ],
)
def test_signs_between_the_paragraphs_of_an_article_go(sign: str, is_kept: bool) -> None:
    first, *rest = TEXT
    head = f"{ARTICLE}<meta name=author content='Ada Miller'>"
    padded = sign.replace("AvmHAAAA", "AvmHAAAA" + "A" * 400)  # a shorter one is blank
    assert len(pictures(f"<article>{first}<p>{padded}</p>{''.join(rest)}</article>", head)) == is_kept


@pytest.mark.parametrize(
    "name",
    [
        "default_avatar.jpg",
        "favicon.png",
        "qr-code-mill.png",
        "loader.svg",
        "icon-clock.png",
        "push_icon.gif",
        "video-overlay-med.png",
        "icons/tag_blue.gif",
        "assets/img/endorsement.svg",
    ],
)
def test_files_called_signs_go_beside_the_text_only(name: str) -> None:
    sign = f"<p><img src=/i/{name}></p>"
    first, *rest = TEXT
    assert pictures(f"<article>{''.join(TEXT)}{sign}</article>") == []
    assert pictures(f"<article>{first}{sign}{''.join(rest)}</article>") == [name.rpartition("/")[2]]


def test_what_an_article_shows_three_times_is_a_sign() -> None:
    dot = "<p><img src=/i/red-dot.png></p>"
    first, second, third = TEXT
    assert pictures(f"<article>{dot}{first}{dot}{second}{dot}{third}</article>") == []
    assert len(pictures(f"<article>{dot}{first}{second}{dot}{third}</article>")) == 2
    captioned = "<figure><img src=/i/dot.png><figcaption>The dot</figcaption></figure>"
    assert len(pictures(f"<article>{captioned}{first}{captioned}{second}{captioned}{third}</article>")) == 3


@pytest.mark.parametrize(
    ("beside", "is_kept"),
    [
        ("<img src=/i/90x90/ada.jpg>", False),  # the address says how large it is
        ("<img src='/i/ada.jpg?w=90&h=90'>", False),
        ("<img src=/i/320x320/ada.jpg>", True),
        ("<img src=/i/90x60/ada.jpg>", True),
        (f"<img src='/c?id={'5a' * 60}'>", False),  # a counter
        (f"<img src='/c?id={'5a' * 60}' alt='The wheel'>", True),
        (f"<img src='/c?file=wheel.jpg&id={'5a' * 60}'>", True),
        ("<a href=/offer><img src=/i/wide.jpg width=190 height=590></a>", False),
        ("<a href=/offer><img src=/i/wide.jpg width=290 height=590></a>", True),
    ],
)
def test_small_squares_counters_and_columns_of_offers_beside_the_text_go(beside: str, is_kept: bool) -> None:
    assert len(pictures(f"<article><p>{beside}</p>{''.join(TEXT)}</article>")) == is_kept


def test_of_an_articles_own_picture_the_thumbnails_go() -> None:
    head = f"{ARTICLE}<meta property=og:image content=https://valley.example/i/mill-in-spring.jpg>"
    figure = "<figure><img src=/i/mill-in-spring-800x600.jpg><figcaption>The mill</figcaption></figure>"
    first, *rest = TEXT
    small = "<p><img src=/i/mill-in-spring-95x95.jpg></p>"
    assert pictures(f"<article>{figure}{first}{small}{''.join(rest)}</article>", head) == ["mill-in-spring-800x600.jpg"]
    # Another picture whose name has the number of another is no copy, nor is one without a rival that says more.
    other = "<p><img src=/i/mill-in-spring-2-95x95.jpg width=640></p>"
    assert len(pictures(f"<article>{figure}{first}{other}{''.join(rest)}</article>", head)) == 2
    large = "<p><img src=/i/mill-in-spring-800x600.jpg></p>"
    assert len(pictures(f"<article>{large}{first}{large}{''.join(rest)}</article>", head)) == 2


@pytest.mark.parametrize("name", ["iconostasis.jpg", "playground.jpg", "iconsmith/tag.gif", "assets/mill.svg"])
def test_files_whose_names_hold_more_than_a_sign_stay_beside_the_text(name: str) -> None:
    assert len(pictures(f"<article>{''.join(TEXT)}<p><img src=/i/{name}></p></article>")) == 1


@pytest.mark.parametrize(
    ("image", "head", "is_kept"),
    [
        ("<a href=/wiki/good><img src=/good.png width=20 height=20></a>", "", False),
        ("<a href=/wiki/good><img src=/good.png width=40 height=40></a>", "", True),
        ("<img src=/good.png width=20 height=20>", "", True),  # may stand for a word
        ("<a href=/good-large.png><img src=/good.png width=20 height=20></a>", "", True),
        ("<a href=/wiki/good><img src=/good.png width=20 height=20></a>", "<meta name=generator content=Sphinx>", True),
        ("<img src=/good.png width=20 height=20>", ARTICLE, False),
    ],
)
def test_the_smallest_pictures_that_lead_to_a_page_go_but_from_manuals(image: str, head: str, is_kept: bool) -> None:
    first, *rest = TEXT
    assert len(pictures(f"<article>{first}<p>{image}</p>{''.join(rest)}</article>", head)) == is_kept


@pytest.mark.parametrize(("kind", "count"), [("product", 0), ("website", 3)])
def test_what_the_page_of_a_product_shows_three_times_goes(kind: str, count: int) -> None:
    body = f"<article>{''.join(f'{text}<p><img src=/sold-out.png></p>' for text in TEXT)}</article>"
    assert len(pictures(body, f"<meta property=og:type content={kind}>")) == count
