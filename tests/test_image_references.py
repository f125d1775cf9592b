"""Where a page may name a picture: every place gives a candidate, the best one first, and none is lost or made up."""

from __future__ import annotations

import time

import lxml.etree
import lxml.html
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gobelin.transforms.pages.images.image_candidates import USEFUL_WIDTH, is_image_file
from gobelin.transforms.pages.images.image_drafts import MAX_WORDS_CHARS
from gobelin.transforms.pages.images.image_references import (
    MAX_DIMENSION,
    SENTINEL,
    ImageReference,
    document_base,
    rewrite_images,
    sentinel_index,
)
from gobelin.transforms.pages.tree.find_nodes import PageContent, read_page
from gobelin.transforms.urls import url_key

BASE = "https://a.example/dir/page.html"
GIF = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
DATA_IMAGE = "data:image/png;base64," + "A" * 600
LONG_DATA_IMAGE = "data:image/png;base64," + "A" * 10_000


def parse(html: str) -> lxml.html.HtmlElement:
    return lxml.html.document_fromstring(f"<html><body>{html}</body></html>")


def references(html: str, base: str = BASE) -> list[ImageReference]:
    return rewrite_images(parse(html), base)


def candidates(html: str, base: str = BASE) -> list[list[str]]:
    """Candidates of each picture, without what they all begin with."""
    return [
        [url.removeprefix("https://a.example/dir/") for url in reference.candidates]
        for reference in references(html, base)
    ]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<img src=a.jpg>", [["a.jpg"]]),
        ("<img src='/a.jpg'>", [["https://a.example/a.jpg"]]),
        ("<img src='//cdn.example/a.jpg'>", [["https://cdn.example/a.jpg"]]),
        ("<img src='HTTP://cdn.example/a.jpg'>", [["HTTP://cdn.example/a.jpg"]]),
        ("<img src='../a.jpg'>", [["https://a.example/a.jpg"]]),
        ("<img src=' a.jpg\n'>", [["a.jpg"]]),
        ("<img src='a\nb.jpg'>", [["ab.jpg"]]),
        ("<img src='a b.jpg'>", [["a%20b.jpg"]]),
        ("<img src='a%20b.jpg'>", [["a%20b.jpg"]]),
        ("<img src='é.jpg'>", [["é.jpg"]]),
        ("<img src='w_1,h_2/a.jpg'>", [["w_1,h_2/a.jpg"]]),
        ("<img src='img\\a.jpg'>", [["img/a.jpg"]]),
        ("<img src='?id=1&amp;b=2'>", [["page.html?id=1&b=2"]]),
        ("<img src='photo/1234'>", [["photo/1234"]]),
        ("<img src='a.jpg#xywh=1'>", [["a.jpg"]]),
        ("<img src=a.jpg><img src=b.jpg>", [["a.jpg"], ["b.jpg"]]),
        ("<image src=a.jpg>", [["a.jpg"]]),
        # No address that could be in an archive: no picture.
        ("<img>", []),
        ("<img src=''>", []),
        ("<img src='   '>", []),
        ("<img src='#'>", []),
        ("<img src='page.html'>", []),
        ("<img src='javascript:void(0)'>", []),
        ("<img src='blob:https://a.example/1'>", []),
        ("<img src='about:blank'><img src=a.jpg>", [["a.jpg"]]),
        ("<img src='file:///etc/passwd'>", []),
        ("<img src='http://['><img src=a.jpg>", [["a.jpg"]]),
        ("<img src='ftp://a.example/a.jpg'>", []),
        ("<img src='{{ image.url }}'>", []),
        ("<img src='${image}'>", []),
    ],
)
def test_src(html: str, expected: list[list[str]]) -> None:
    assert candidates(html) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        # The widest first; each once; a src that the srcset does not name is taken for 640 px wide.
        ("<img src=s.jpg srcset='s.jpg 100w, l.jpg 800w, m.jpg 400w'>", [["l.jpg", "m.jpg", "s.jpg"]]),
        ("<img src=a.jpg srcset=''>", [["a.jpg"]]),
        ("<img srcset='a.jpg 1x, b.jpg 2x'>", [["b.jpg", "a.jpg"]]),
        ("<img src=x.jpg srcset='s.jpg 320w, l.jpg 800w'>", [["l.jpg", "x.jpg", "s.jpg"]]),
        ("<img src=x.jpg width=900 srcset='s.jpg 320w, l.jpg 800w'>", [["x.jpg", "l.jpg", "s.jpg"]]),
        ("<img width=300 srcset='a.jpg 1x, b.jpg 2x, c.jpg 500w'>", [["b.jpg", "c.jpg", "a.jpg"]]),
        # Of those that are large enough the smallest comes first.
        (
            f"<img srcset='a.jpg 800w, b.jpg {USEFUL_WIDTH - 1}w, c.jpg {USEFUL_WIDTH}w, d.jpg 5000w'>",
            [["c.jpg", "d.jpg", "b.jpg", "a.jpg"]],
        ),
        # <picture>; the image's own come first among equals, and what small screens get last.
        ("<picture><source data-srcset='b.jpg 900w'><source srcset='c.jpg 300w'><img></picture>", [["b.jpg", "c.jpg"]]),
        (
            "<picture><source srcset='a.webp 1x, a2.webp 2x' type=image/webp><img src=a.jpg></picture>",
            [["a2.webp", "a.jpg", "a.webp"]],
        ),
        ("<picture><source srcset=dark.png><img src=light.png></picture>", [["light.png", "dark.png"]]),
        (
            "<picture><source media='(max-width: 600px)' srcset='s.jpg 1x, s2.jpg 2x'><img src=a.jpg></picture>",
            [["a.jpg", "s.jpg", "s2.jpg"]],
        ),
        ("<picture><source srcset=a.jpg></picture><img src=b.jpg>", [["b.jpg"]]),
        ("<video><source src=a.mp4></video><img src=b.jpg>", [["b.jpg"]]),
        # SVG is kept, but last: nothing decodes it.
        (
            "<picture><source srcset=a.svg type=image/svg+xml><img src=a.png width=10></picture>",
            [["a.png", "a.svg"]],
        ),
        ("<img src=a.svg>", [["a.svg"]]),
        # What nothing here decodes is the last resort, whatever width it states.
        (
            "<picture><source type=image/jxl srcset='a.jxl 5000w'><source type=image/avif srcset='a.avif 800w'>"
            "<img src=a.jpg></picture>",
            [["a.avif", "a.jpg", "a.jxl"]],
        ),
    ],
)
def test_srcset_and_picture(html: str, expected: list[list[str]]) -> None:
    assert candidates(html) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        # A placeholder goes as soon as there is anything else.
        ("<img data-src=a.jpg src=spacer.gif>", [["a.jpg"]]),
        ("<img data-src=a.jpg src='/img/lazy-loader.svg'>", [["a.jpg"]]),
        ("<img src=a.jpg srcset='/img/loading.svg'>", [["a.jpg"]]),
        (f"<img srcset='{GIF} 1w, a.jpg 300w'>", [["a.jpg"]]),
        (f"<img data-original=a.jpg src='{GIF}'>", [["a.jpg"]]),
        ("<img data-lazy-src=a.jpg>", [["a.jpg"]]),
        ("<img data-srcset='a.jpg 1x, b.jpg 2x'>", [["b.jpg", "a.jpg"]]),
        (f"<img src='{GIF}' data-lazy-srcset='a.jpg 640w'>", [["a.jpg"]]),
        ("<img data-src='photo/1234'>", [["photo/1234"]]),
        ("<img data-src='a.jpg 1x, b.jpg 2x'>", [["b.jpg", "a.jpg"]]),
        ("<img data-bgset='x' data-src=\"url('a.jpg')\">", [["a.jpg"]]),
        ('<img data-src=\'{"default":{"src":"/a.jpg"}}\'>', [["https://a.example/a.jpg"]]),
        ("<img data-interchange='[a.jpg, small], [b.jpg, (retina)]'>", [["a.jpg", "b.jpg"]]),
        (
            '<img data-a-dynamic-image=\'{"https://i.example/a.jpg":[300,400],"https://i.example/b.jpg":[600,800]}\'>',
            [["https://i.example/b.jpg", "https://i.example/a.jpg"]],
        ),
        ("<img data-src='a_{width}x.jpg' data-widths='[180, 540, 1600, 2048]'>", [["a_1600x.jpg"]]),
        ("<img data-src='a_{width}x.jpg'>", [["a_1080x.jpg"]]),
        ("<img data-src='{{ url }}' src=a.jpg>", [["a.jpg"]]),
        # Flags are no addresses.
        ("<img src=a.jpg data-lazy=true data-image=12>", [["a.jpg"]]),
        # Any other attribute, by its value; its name tells large from small, and words from images.
        ("<img src=a.jpg data-whatever='b.jpg'>", [["a.jpg", "b.jpg"]]),
        ("<img src=a.jpg data-large-file=b.jpg data-thumb=c.jpg>", [["b.jpg", "a.jpg", "c.jpg"]]),
        ("<img src=a.jpg data-src-full=b.jpg data-src-mini=c.jpg>", [["b.jpg", "a.jpg", "c.jpg"]]),
        ("<img src=a.jpg alt='b.jpg' title='c.jpg' data-title=d.jpg data-fallback=e.jpg onerror='f.jpg'>", [["a.jpg"]]),
        # A wrapper's attributes, where the image has nothing to show.
        (f"<span data-original=a.jpg><img src='{GIF}'></span>", [["a.jpg"]]),
        ("<span data-original=b.jpg><img src=a.jpg></span>", [["a.jpg"]]),
        # Tags of scripts' own.
        ("<amp-img src=a.jpg width=600 height=400 layout=responsive></amp-img>", [["a.jpg"]]),
        ("<amp-img src=a.jpg><noscript><img src=b.jpg></noscript></amp-img>", [["a.jpg", "b.jpg"]]),
        ("<lazy-image src=a.jpg srcset='b.jpg 800w'></lazy-image>", [["b.jpg", "a.jpg"]]),
        # A site's own placeholder: several images name it beside different ones.
        ("".join(f"<img data-src={n}.jpg src=/x/face.jpg>" for n in range(3)), [["0.jpg"], ["1.jpg"], ["2.jpg"]]),
        (
            "".join(f"<img data-src={n}.jpg src=x.jpg>" for n in range(2)),
            [["0.jpg", "x.jpg"], ["1.jpg", "x.jpg"]],
        ),
        ("<img src=a.jpg data-src=b.jpg>" * 3, [["a.jpg", "b.jpg"][::-1]] * 3),
    ],
)
def test_lazy_loading(html: str, expected: list[list[str]]) -> None:
    assert candidates(html) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (f"<img src='{DATA_IMAGE}'>", [[DATA_IMAGE]]),
        (f"<img src='{DATA_IMAGE}' data-src=a.jpg>", [["a.jpg"]]),
        (f"<img src='{LONG_DATA_IMAGE}' data-src=a.jpg>", [["a.jpg", LONG_DATA_IMAGE]]),
        # Blank, and nothing else: no picture.
        (f"<img src='{GIF}'>", []),
        ("<img src=spacer.gif>", []),
        ("<img src='/i/1x1.png'>", []),
        ("<img src='pixel.gif?x=1'>", []),
        ("<img src='data:image/svg+xml,%3Csvg viewBox=%220 0 3 2%22/%3E'>", []),
        # Names that only look like it.
        ("<img src=blank-verse.jpg>", [["blank-verse.jpg"]]),
        ("<img src=loading-dock.jpg>", [["loading-dock.jpg"]]),
        ("<img src=88x31.png>", [["88x31.png"]]),
        ("<img src=loading-dock.jpg srcset='loading-dock-2.jpg 2x'>", [["loading-dock-2.jpg", "loading-dock.jpg"]]),
    ],
)
def test_data_images_and_blanks(html: str, expected: list[list[str]]) -> None:
    assert candidates(html) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<img data-src=a.jpg class=lazy><noscript><img src=b.jpg></noscript>", [["a.jpg", "b.jpg"]]),
        (f"<img src='{GIF}'><noscript><img src=b.jpg srcset='c.jpg 2x'></noscript>", [["c.jpg", "b.jpg"]]),
        (f"<noscript><img src=b.jpg></noscript><img src='{GIF}' data-src=a.jpg>", [["a.jpg", "b.jpg"]]),
        ("<a href=x><img data-src=a.jpg></a><noscript><img src=b.jpg></noscript>", [["a.jpg", "b.jpg"]]),
        ("<img src=a.jpg><p>far</p><noscript><div><img src=a.jpg></div></noscript>", [["a.jpg"]]),
        ("<p>text</p><noscript><img src=b.jpg></noscript>", [["b.jpg"]]),
        ("<noscript><img src=b.jpg><img src=c.jpg></noscript>", [["b.jpg"], ["c.jpg"]]),
        ("<noscript>&lt;img src=b.jpg&gt;</noscript>", [["b.jpg"]]),
        # Not a copy: the image before it is complete, there are words between, or it is several images' placeholder.
        ("<img src=a.jpg><noscript><img src=b.jpg></noscript>", [["a.jpg"], ["b.jpg"]]),
        ("<img data-src=a.jpg> words <noscript><img src=b.jpg></noscript>", [["a.jpg"], ["b.jpg"]]),
        (
            "<img src=p.jpg data-src=a.jpg><img src=p.jpg data-src=b.jpg><p>x</p>"
            "<noscript><img src=p.jpg data-src=c.jpg></noscript>",
            [["a.jpg"], ["b.jpg"], ["c.jpg"]],
        ),
        ("<noscript><p>Please enable JavaScript</p></noscript><img src=a.jpg>", [["a.jpg"]]),
        # Counting services.
        ("<script></script><noscript><img src='//t.example/collect?id=1'></noscript>", []),
        ("<noscript><img src='https://www.facebook.com/tr?id=1&amp;noscript=1'></noscript>", []),
        ("<noscript><img src='//t.example/x' style='display: none'></noscript>", []),
        ("<img src='//t.example/x' width=1 height=1>", []),
        ("<img src='line.png' width=600 height=1>", []),
        ("<img src='' data-src=a.jpg width=1 height=1>", [["a.jpg"]]),
    ],
)
def test_noscript(html: str, expected: list[list[str]]) -> None:
    assert candidates(html) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<svg><image href=a.jpg></image></svg>", [["a.jpg"]]),
        ("<svg><title>T</title><image xlink:href=a.svg src=a.png></image></svg>", [["a.png", "a.svg"]]),
        ("<svg><path d='M0 0'></path></svg>", []),
        ("<object type=image/svg+xml data=a.svg><img src=a.png></object>", [["a.png", "a.svg"]]),
        ("<object data=a.jpg>Your browser cannot show it</object>", [["a.jpg"]]),
        ("<object data=a.swf type=application/x-shockwave-flash><img src=a.jpg></object>", [["a.jpg"]]),
        ("<embed src=a.jpg>", [["a.jpg"]]),
        ("<embed src=a.swf>", []),
        ("<video poster=a.jpg><source src=a.mp4>no video</video>", [["a.jpg"]]),
        ("<video src=a.mp4></video>", []),
        ("<input type=image src=a.jpg>", []),
        ("<template><img src=a.jpg></template>", []),
        # Backgrounds: where the page says that they are images, and nothing else is there.
        ("<div role=img style='background: url(a.jpg)'></div>", [["a.jpg"]]),
        ("<div aria-label=Harbour style=\"background-image:url('a.jpg')\"></div>", [["a.jpg"]]),
        ("<figure><div style='background-image: url(a.jpg)'></div></figure>", [["a.jpg"]]),
        ("<div class='post-image' style='background-image: url( \"a.jpg\" )'></div>", [["a.jpg"]]),
        ("<div class=image data-bg=a.jpg></div>", [["a.jpg"]]),
        ("<div class=lazy-image data-src=photo/12 data-alt=Harbour></div>", [["photo/12"]]),
        ("<div style='background: url(a.jpg)'></div>", []),
        ("<div class=image style='background: url(a.jpg)'>words</div>", []),
        ("<div class=image style='background: url(a.jpg)'><img src=b.jpg></div>", [["b.jpg"]]),
        ("<div class=image style='background: url(a.jpg) repeat-x'></div>", []),
        ("<div class='image icon' style='background: url(a.jpg)'></div>", []),
        ("<div class=image style='background: url(/img/logo.png)'></div>", []),
        ("<div class=image style='clip-path: url(#p)'></div>", []),
        ("<div class=advert data-src='https://b.example/page'></div>", []),
    ],
)
def test_other_elements(html: str, expected: list[list[str]]) -> None:
    assert candidates(html) == expected


@pytest.mark.parametrize(
    ("html", "expected", "link"),
    [
        ("<a href=page2.html><img src=a.jpg></a>", ["a.jpg"], "https://a.example/dir/page2.html"),
        ("<a href=l.jpg><img src=a.jpg srcset='b.jpg 2000w'></a>", ["l.jpg", "b.jpg", "a.jpg"], f"{BASE[:22]}l.jpg"),
        ("<a href='l.JPG?x=1'><b><img src=a.jpg></b></a>", ["l.JPG?x=1", "a.jpg"], f"{BASE[:22]}l.JPG?x=1"),
        ("<a href='/wiki/File:Cat.jpg'><img src=a.jpg></a>", ["a.jpg"], "https://a.example/wiki/File:Cat.jpg"),
        ("<a href='#top'><img src=a.jpg></a>", ["a.jpg"], None),
        ("<a href='javascript:zoom()'><img src=a.jpg></a>", ["a.jpg"], None),
        ("<a name=x><img src=a.jpg></a>", ["a.jpg"], None),
    ],
)
def test_links(html: str, expected: list[str], link: str | None) -> None:
    assert candidates(html) == [expected]
    assert references(html)[0].link_url == link


def test_a_larger_version_belongs_to_the_first_image_in_its_link() -> None:
    assert candidates("<a href=l.jpg><img src=a.jpg><img src=b.jpg></a>") == [["l.jpg", "a.jpg"], ["b.jpg"]]


def test_a_button_that_enlarges_gives_the_larger_version_to_the_image_beside_it() -> None:
    html = "<div><img src=a.jpg width=400><span><a href=l.jpg><img src=plus.png width=18 height=14></a></span></div>"
    assert candidates(html) == [["l.jpg", "a.jpg"], ["plus.png"]]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example/a.jpg", True),
        ("https://a.example/a.JPEG?x", True),
        ("a.webp#x", True),
        ("https://a.example/File:a.jpg", False),
        ("https://a.example/File%3Aa.jpg", False),
        ("https://a.example/a.jpg/view", False),
        ("https://a.example/a.jpg.html", False),
        ("https://a.example/view?file=a.jpg", False),
        ("https://a.example/", False),
    ],
)
def test_is_image_file(url: str, expected: bool) -> None:
    assert is_image_file(url) == expected


@pytest.mark.parametrize(
    ("value", "pixels"),
    [
        ("300", 300),
        (" 300 ", 300),
        ("300px", 300),
        ("300.5", 300),
        ("2", 2),
        ("", None),
        ("100%", None),
        ("auto", None),
        ("-5", None),
        ("1e3", None),
        (str(MAX_DIMENSION), MAX_DIMENSION),
        (str(MAX_DIMENSION + 1), None),
        ("9" * 5000, None),
        ("٣٠٠", 300),  # Arabic digits: Python reads them, and no harm is done
    ],
)
def test_rendered_size(value: str, pixels: int | None) -> None:
    (reference,) = references(f'<img src=a.jpg width="{value}" height="{value}" alt="  An   old\nboat ">')
    assert (reference.rendered_width, reference.rendered_height) == (pixels, pixels)
    assert reference.alt == "An old boat"


@pytest.mark.parametrize(
    ("html", "size"),
    [
        ("<img src=a.jpg width=10 style='WIDTH: 300.7px; height:200px'>", (300, 200)),
        ("<img src=a.jpg style='max-width:300px; width:50%'>", (None, None)),
        ("<img src=a.jpg sizes='(max-width: 9px) 100vw, 600px'>", (600, None)),
        ("<img src=a.jpg width=10 sizes=600px>", (10, None)),
        ("<amp-img src=a.jpg width=16 height=9 layout=responsive></amp-img>", (None, None)),
        ("<img data-src=a.jpg><noscript><img src=a.jpg width=30 height=20></noscript>", (30, 20)),
    ],
)
def test_where_the_size_stands(html: str, size: tuple[int | None, int | None]) -> None:
    (reference,) = references(html)
    assert (reference.rendered_width, reference.rendered_height) == size


@pytest.mark.parametrize(
    ("html", "alt", "title"),
    [
        ("<img src=a.jpg alt=A title=T>", "A", "T"),
        ("<img src=a.jpg alt='' aria-label=L>", "L", None),
        ("<img data-src=a.jpg><noscript><img src=a.jpg alt=A title=T></noscript>", "A", "T"),
        ("<div role=img aria-label=L style='background:url(a.jpg)'></div>", "L", None),
        (f"<img src=a.jpg alt='{'x' * 10**5}'>", "x" * MAX_WORDS_CHARS, None),
    ],
)
def test_words(html: str, alt: str | None, title: str | None) -> None:
    (reference,) = references(html)
    assert (reference.alt, reference.title) == (alt, title)


def test_each_image_becomes_a_sentinel_of_its_place() -> None:
    tree = parse(
        f"<img src=''><img src=a.jpg class=x><picture><source srcset=b.webp><img src=b.jpg></picture>"
        f"<img src='{SENTINEL}7.jpg'><template><img src='{SENTINEL}0.jpg'></template>"
        f"<div class=image data-bg=c.jpg></div>"
        f"<video poster=d.jpg>words</video><noscript><img src=e.jpg></noscript><svg><image href=f.jpg></image></svg>"
        f"<embed src=g.jpg>after"
    )
    found = rewrite_images(tree, BASE)
    named = [sentinel_index(img.get("src") or "") for img in tree.iter("img")]
    assert named == [None, 0, 1, 2, None, 3, 4, 5, 6, 7]
    assert [reference.candidates[0][-5:] for reference in found] == [
        "a.jpg", "b.jpg", "7.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg", "g.jpg",
    ]  # fmt: skip
    assert not list(tree.iter("picture", "source", "noscript", "svg", "video", "embed"))
    assert "after" in tree.text_content()
    assert "words" not in tree.text_content()


def test_a_forgotten_end_tag_loses_nothing() -> None:
    tree = parse(f"<amp-img src=a.jpg><p>{'words ' * 100}</p><img src=b.jpg>")
    found = rewrite_images(tree, BASE)
    assert [reference.candidates[0][-5:] for reference in found] == ["a.jpg", "b.jpg"]
    assert "words" in tree.text_content()
    assert len(list(tree.iter("img"))) == 2


def test_plain_elements_will_do() -> None:
    """The tree need not be of lxml.html's element classes, which cost more."""
    tree = lxml.etree.fromstring("<p><img src='a.jpg'/></p>", lxml.etree.HTMLParser())
    assert [reference.candidates for reference in rewrite_images(tree, BASE)] == [("https://a.example/dir/a.jpg",)]


@pytest.mark.parametrize(
    ("html", "base"),
    [
        ("<base href='/x/'>", "https://a.example/x/"),
        ("<base href='//b.example/y'>", "https://b.example/y"),
        ("<base href='data:text/html,x'>", BASE),
        ("<base href='javascript:0'>", BASE),
        ("<base target=_top>", BASE),
        ("<base target=_top><base href=z/>", "https://a.example/dir/z/"),
        ("", BASE),
    ],
)
def test_document_base(html: str, base: str) -> None:
    assert document_base(lxml.html.document_fromstring(f"<head>{html}</head><body>x"), BASE) == base


def test_base_url_that_is_no_url() -> None:
    assert candidates("<img src=a.jpg>", "http://[") == []


def test_address_longer_than_servers_take() -> None:
    assert candidates(f"<img src='/{'a' * 9000}.jpg'>") == []


@pytest.mark.parametrize(
    ("src", "index"),
    [
        (f"{SENTINEL}0.jpg", 0),
        (f"{SENTINEL}123.jpg", 123),
        (f"{SENTINEL}x.jpg", None),
        (f"{SENTINEL}.jpg", None),
        (SENTINEL, None),
        ("7.jpg", None),
        ("https://a.example/7.jpg", None),
        ("", None),
    ],
)
def test_sentinel_index(src: str, index: int | None) -> None:
    assert sentinel_index(src) == index


_PIECES = st.sampled_from([
    "<img src=a.jpg>", "<img data-src=b.jpg>", "<picture>", "</picture>", "<source srcset='c.jpg 2x'>",
    "<noscript>", "</noscript>", "<figure>", "</figure>", "<figcaption>", "</figcaption>", "<a href=l.jpg>", "</a>",
    "<div class=figure>", "</div>", "<p class=caption>", "</p>", "words", "<object data=d.png>", "</object>",
    "<video poster=e.jpg>", "</video>", "<svg><image href=f.jpg>", "</svg>", "<td>", "<tr>", "<table>", "</table>",
    "<div class=image data-bg=g.jpg>", "<br>", "<amp-img src=h.jpg>", "</amp-img>", "<template>", "</template>",
    "<embed src=i.png>", "<center>", "<em>", "</em>",
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(_PIECES, max_size=25).map("".join))
def test_every_reference_stands_in_the_tree_once(html: str) -> None:
    tree = parse(html)
    found = rewrite_images(tree, BASE)
    places = [sentinel_index(img.get("src") or "") for img in tree.iter("img")]
    assert sorted(place for place in places if place is not None) == list(range(len(found)))
    assert all(reference.candidates for reference in found)


@pytest.mark.parametrize(
    ("name", "html"),
    [
        ("images", "<img src=a.jpg>" * 20_000),
        ("one link", "<a href=b.jpg>" + "<img src=a.jpg>" * 20_000),
        ("figures", "<figure><img src=a.jpg><figcaption>Words</figcaption></figure>" * 10_000),
        ("one figure", "<figure>" + "<img src=a.jpg>" * 10_000 + "<figcaption>a</figcaption>" * 10_000),
        ("nested figures", "<figure><img src=a.jpg><figcaption>b" * 10_000),
        ("nested pictures", "<picture><source srcset=b.jpg><img src=a.jpg>" * 10_000),
        ("sources", "<picture>" + "<source srcset='b.jpg 2x'>" * 20_000 + "<img src=c.jpg></picture>"),
        ("noscripts", f"<img src={GIF} data-src=a.jpg><noscript><img src=b.jpg></noscript>" * 10_000),
        ("noscripts as text", "<noscript>&lt;img src=b.jpg&gt;</noscript>" * 5_000),
        ("backgrounds", "<div class=img style='background:url(b.jpg)'></div>" * 20_000),
        ("nested backgrounds", "<div class=img style='background:url(b.jpg)'>" * 20_000),
        ("nested captions", "<figure><img src=a.jpg><figcaption>b" * 1_500 + "<b>x</b>" * 50_000),
        ("captions", "<div><img src=a.jpg></div><p class=caption>x</p>" * 10_000),
        ("one caption's frame", "<div class=figure><img src=a.jpg>" + "<p class=caption>x</p>" * 20_000),
        ("a caption of many parts", "<figure><img src=a.jpg><figcaption>" + "<b>x</b> " * 50_000),
        ("tables", "<table>" + "<tr><td><img src=a.jpg></td></tr><tr><td class=caption>x</td></tr>" * 5_000),
        ("a wide table", f"<table><tr>{'<td><img src=a.jpg></td>' * 9000}<tr>{'<td class=caption>x</td>' * 9000}"),
        ("a drawing of images", "<svg>" + "<image href=a.jpg></image>" * 20_000 + "</svg>"),
        ("attributes", "<img src=a.jpg " + " ".join(f"data-x{n}=b{n}.jpg" for n in range(2_000)) + ">"),
        ("long attributes", f"<img src=a.jpg alt='{'a ' * 10**6}' class='{'b ' * 10**6}' style='{'c:1px;' * 10**5}'>"),
        ("long srcset", "<img src=a.jpg srcset='" + "a.jpg 1w, " * 10**5 + "'>"),
        ("a long style", f"<div class=img style='{'url(' * 10**6}'></div>"),
        ("a long class of a caption", f"<div><img src=a.jpg></div><p class='{'caption ' * 10**5}'>x</p>"),
        ("data images", f"<img src='{LONG_DATA_IMAGE}'>" * 1_000),
        ("dots", f"<img src='https://a.example/{'../' * 2000}a.jpg'>" * 500),
    ],
    ids=lambda value: value if len(value) < 30 else "",
)
def test_hostile_pages_cost_their_length(name: str, html: str) -> None:
    parser = lxml.etree.HTMLParser(huge_tree=True)
    tree = lxml.etree.fromstring(f"<html><body>{html}</body></html>", parser)
    start = time.process_time()
    rewrite_images(tree, BASE)
    assert time.process_time() - start < 5.0  # the slowest takes 0.6 s on a quiet machine


@pytest.mark.parametrize(
    ("charset", "captured"),
    [("windows-1251", "%F1%E0%E4"), ("koi8-r", "%D3%C1%C4"), ("utf-8", "%D1%81%D0%B0%D0%B4")],
)
def test_an_image_is_found_under_the_address_that_a_browser_asks_for(charset: str, captured: str) -> None:
    """Its query in the encoding of the page, its path in UTF-8, also behind a <base> and in a srcset."""
    words = "Вишнёвый сад стоит на холме у реки, и каждую весну он цветёт белым, пока не придёт лето. " * 6
    html = (
        f"<html><head><meta charset={charset}><base href='/фото/'></head><body><article><p>{words}</p>"
        f"<img src='show?name=сад&amp;w=640' srcset='show?name=сад&amp;w=900 900w' width=640 height=480><p>{words}</p>"
        "</article></body></html>"
    )
    page = read_page(html.encode(charset), None, "https://сайт.example/page", ())
    assert isinstance(page, PageContent)
    assert page.charset == charset
    found = [url_key(url) for piece in page.pieces if isinstance(piece, ImageReference) for url in piece.candidates]
    folder = "https://xn--80aswg.example/%D1%84%D0%BE%D1%82%D0%BE"
    assert found == [url_key(f"{folder}/show?name={captured}&w={width}") for width in (900, 640)]
