"""Where a page may name a picture: every place gives a candidate, the best one first, and none is lost or made up."""

from __future__ import annotations

import base64
import time
from urllib.parse import quote

import lxml.html
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gobelin.transforms.image_references import (
    MAX_CANDIDATES,
    MAX_DIMENSION,
    SENTINEL,
    ImageReference,
    decode_data_url,
    parse_srcset,
    rewrite_images,
    sentinel_index,
)

BASE = "https://a.example/dir/page.html"
GIF = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


def references(html: str, base: str = BASE) -> list[ImageReference]:
    return rewrite_images(lxml.html.document_fromstring(f"<html><body>{html}</body></html>"), base)


def candidates(html: str, base: str = BASE) -> list[list[str]]:
    """Candidates of each picture, without what they all begin with."""
    return [
        [url.removeprefix("https://a.example/dir/") for url in reference.candidates]
        for reference in references(html, base)
    ]


@pytest.mark.parametrize(
    ("srcset", "expected"),
    [
        ("a.jpg", [("a.jpg", 1000.0)]),
        ("a.jpg 1x, b.jpg 2x", [("a.jpg", 1000.0), ("b.jpg", 2000.0)]),
        ("a.jpg 320w,b.jpg 640w", [("a.jpg", 320.0), ("b.jpg", 640.0)]),
        ("a.jpg 1.5x", [("a.jpg", 1500.0)]),
        ("\n  a.jpg   320w\t,\n  b.jpg\n640w\n", [("a.jpg", 320.0), ("b.jpg", 640.0)]),
        ("a.jpg, b.jpg 2x", [("a.jpg", 1000.0), ("b.jpg", 2000.0)]),
        # Commas inside an address do not end it; a comma at its end does.
        ("c/w_1,h_2/a.jpg 100w, c/w_2,h_4/a.jpg 200w", [("c/w_1,h_2/a.jpg", 100.0), ("c/w_2,h_4/a.jpg", 200.0)]),
        ("a.jpg,b.jpg 2x", [("a.jpg,b.jpg", 2000.0)]),
        ("a.jpg,,, b.jpg 2x", [("a.jpg", 1000.0), ("b.jpg", 2000.0)]),
        (", ,a.jpg 2x,, ,", [("a.jpg", 2000.0)]),
        (f"{GIF} 1x, b.jpg 2x", [(GIF, 1000.0), ("b.jpg", 2000.0)]),
        # Width and height together; a height alone says nothing of the width.
        ("a.jpg 100w 50h, b.jpg 2x", [("a.jpg", 100.0), ("b.jpg", 2000.0)]),
        # A descriptor that is none: that candidate goes, the others stay.
        ("a.jpg big, b.jpg 2x", [("b.jpg", 2000.0)]),
        ("a.jpg -1x, b.jpg 2x", [("b.jpg", 2000.0)]),
        ("a.jpg 1..2x, b.jpg 2x", [("b.jpg", 2000.0)]),
        ("my photo.jpg 2x, b.jpg 2x", [("b.jpg", 2000.0)]),
        ("", []),
        (" , ,, ", []),
    ],
)
def test_parse_srcset(srcset: str, expected: list[tuple[str, float]]) -> None:
    assert parse_srcset(srcset) == expected


@pytest.mark.parametrize(
    "srcset",
    [
        " " * 200_000,
        "," * 200_000,
        ", " * 100_000,
        "a" * 200_000 + " 1w 2h 3q",
        "data:image/png;base64," + "A" * 200_000 + " nonsense",
        "a.jpg 1x," + " " * 200_000 + "b c d",
        "a 1x," * 40_000,
        "a " * 100_000,
        "1" * 200_000,
        "a.jpg " + "1" * 200_000 + "x",
        "a.jpg " + "1w " * 60_000,
    ],
    ids=lambda value: value[:12],
)
def test_parse_srcset_is_linear(srcset: str) -> None:
    """200 kB of anything in milliseconds: a page may hold them, and no exception ends a loop."""
    start = time.perf_counter()
    found = parse_srcset(srcset)
    assert time.perf_counter() - start < 1.0
    assert len(found) <= MAX_CANDIDATES


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.from_regex(r"[a-z/][a-z/,]{0,8}[a-z]", fullmatch=True), st.integers(1, 4000)), max_size=8))
def test_parse_srcset_gives_back_what_was_written(written: list[tuple[str, int]]) -> None:
    srcset = ", ".join(f"{address} {width}w" for address, width in written)
    assert parse_srcset(srcset) == [(address, float(width)) for address, width in written]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab,.: \t\n12wxh", max_size=40))
def test_parse_srcset_makes_nothing_up(srcset: str) -> None:
    for address, size in parse_srcset(srcset):
        assert address in srcset
        assert not any(character.isspace() for character in address)
        assert size >= 0


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<img src=a.jpg>", [["a.jpg"]]),
        ("<img src='/a.jpg'>", [["https://a.example/a.jpg"]]),
        ("<img src='//cdn.example/a.jpg'>", [["https://cdn.example/a.jpg"]]),
        ("<img src='HTTP://cdn.example/a.jpg'>", [["HTTP://cdn.example/a.jpg"]]),
        ("<img src='../a.jpg'>", [["https://a.example/a.jpg"]]),
        ("<img src=' a.jpg\n'>", [["a.jpg"]]),
        ("<img src='?id=1&amp;b=2'>", [["page.html?id=1&b=2"]]),
        ("<img src=a.jpg><img src=b.jpg>", [["a.jpg"], ["b.jpg"]]),
        # srcset: the largest first, the plain address last; each once.
        ("<img src=s.jpg srcset='s.jpg 100w, l.jpg 800w, m.jpg 400w'>", [["l.jpg", "m.jpg", "s.jpg"]]),
        ("<img src=a.jpg srcset=''>", [["a.jpg"]]),
        ("<img srcset='a.jpg 1x, b.jpg 2x'>", [["b.jpg", "a.jpg"]]),
        # Lazy loading: the true address stands in an attribute of the script's.
        ("<img data-src=a.jpg src=spacer.gif>", [["a.jpg", "spacer.gif"]]),
        (f"<img data-original=a.jpg src='{GIF}'>", [["a.jpg"]]),
        ("<img data-lazy-src=a.jpg>", [["a.jpg"]]),
        ("<img data-srcset='a.jpg 1x, b.jpg 2x'>", [["b.jpg", "a.jpg"]]),
        (f"<img src='{GIF}' data-lazy-srcset='a.jpg 640w'>", [["a.jpg"]]),
        # <picture>
        (
            "<picture><source srcset='a.webp 1x, a2.webp 2x' type=image/webp><img src=a.jpg></picture>",
            [["a2.webp", "a.webp", "a.jpg"]],
        ),
        ("<picture><source data-srcset='b.jpg 900w'><source srcset='c.jpg 300w'><img></picture>", [["b.jpg", "c.jpg"]]),
        # a data: image by itself is a picture; beside a real address it is a placeholder.
        (f"<img src='{GIF}'>", [[GIF]]),
        # noscript: the copy of the lazy image before it, or the only one.
        ("<img data-src=a.jpg class=lazy><noscript><img src=b.jpg></noscript>", [["a.jpg", "b.jpg"]]),
        (f"<img src='{GIF}'><noscript><img src=b.jpg srcset='c.jpg 2x'></noscript>", [["c.jpg", "b.jpg"]]),
        ("<p>text</p><noscript><img src=b.jpg></noscript>", [["b.jpg"]]),
        ("<a href=x><img data-src=a.jpg></a><noscript><img src=b.jpg></noscript>", [["a.jpg", "b.jpg"]]),
        ("<noscript><p>Please enable JavaScript</p></noscript><img src=a.jpg>", [["a.jpg"]]),
        # No address that could be in an archive: no picture.
        ("<img>", []),
        ("<img src=''>", []),
        ("<img src='   '>", []),
        ("<img src='javascript:void(0)'>", []),
        ("<img src='blob:https://a.example/1'>", []),
        ("<img src='about:blank'><img src=a.jpg>", [["a.jpg"]]),
        ("<img src='file:///etc/passwd'>", []),
        ("<img src='http://['><img src=a.jpg>", [["a.jpg"]]),
        ("<img src='ftp://a.example/a.jpg'>", []),
        ("<svg><image href=a.jpg></image></svg>", []),
    ],
)
def test_candidates(html: str, expected: list[list[str]]) -> None:
    assert candidates(html) == expected


def test_base_url_that_is_no_url() -> None:
    assert candidates("<img src=a.jpg>", "http://[") == []


def test_address_longer_than_servers_take() -> None:
    assert candidates(f"<img src='/{'a' * 9000}.jpg'>") == []


@pytest.mark.parametrize(
    ("html", "captions"),
    [
        ("<figure><img src=a.jpg><figcaption>The <b>old</b>\n harbour</figcaption></figure>", ["The old harbour"]),
        ("<figure><figcaption>Above</figcaption><img src=a.jpg></figure>", ["Above"]),
        ("<figure><a href=x><img src=a.jpg></a><div><figcaption>Deep</figcaption></div></figure>", ["Deep"]),
        ("<figure><img src=a.jpg><img src=b.jpg><figcaption>Both</figcaption></figure>", ["Both", None]),
        ("<figure><img src=a.jpg><figcaption> \n </figcaption></figure>", [None]),
        ("<img src=a.jpg><figcaption>Astray</figcaption>", [None]),
        (
            "<figure><figure><img src=a.jpg><figcaption>A</figcaption></figure>"
            "<figure><img src=b.jpg><figcaption>B</figcaption></figure></figure>",
            ["A", "B"],
        ),
        ("<figure><img src=a.jpg><figcaption>Seen <img src=b.jpg> here</figcaption></figure>", ["Seen here"]),
    ],
)
def test_captions(html: str, captions: list[str | None]) -> None:
    found = references(html)
    assert [reference.caption for reference in found][: len(captions)] == captions


def test_a_caption_is_taken_out_of_the_text() -> None:
    tree = lxml.html.document_fromstring("<figure><img src=a.jpg><figcaption>Words</figcaption> and a tail</figure>")
    rewrite_images(tree, BASE)
    assert "Words" not in tree.text_content()
    assert "and a tail" in tree.text_content()


@pytest.mark.parametrize(
    ("value", "pixels"),
    [
        ("300", 300),
        (" 300 ", 300),
        ("300px", 300),
        ("300.5", 300),
        ("0", 0),
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


def test_each_image_becomes_a_sentinel_of_its_place() -> None:
    tree = lxml.html.document_fromstring(
        f"<body><img src=''><img src=a.jpg class=x><picture><source srcset=b.webp><img src=b.jpg></picture>"
        f"<img src='{SENTINEL}7.jpg'></body>"
    )
    found = rewrite_images(tree, BASE)
    named = [sentinel_index(img.get("src") or "") for img in tree.iter("img")]
    assert named == [None, 0, 1, 2]
    assert len(found) == 3
    assert not list(tree.iter("picture", "source"))


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


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("data:image/png;base64," + base64.b64encode(b"\x89PNG").decode(), ("image/png", b"\x89PNG")),
        ("data:image/png;base64," + base64.b64encode(b"\x89PNG").decode().rstrip("="), ("image/png", b"\x89PNG")),
        ("data:image/png;base64," + quote(base64.b64encode(b"\xfb\xff").decode()), ("image/png", b"\xfb\xff")),
        ("data:image/png;base64,iV BO\nRw==", ("image/png", b"\x89PNG")),
        ("DATA:Image/PNG;BASE64,AAAA", ("image/png", b"\0\0\0")),
        ("data:image/svg+xml;utf8,<svg/>", ("image/svg+xml", b"<svg/>")),
        ("data:image/svg+xml;charset=utf-8,%3Csvg%2F%3E", ("image/svg+xml", b"<svg/>")),
        ("data:image/svg+xml;charset=utf-8;base64,PHN2Zy8+", ("image/svg+xml", b"<svg/>")),
        ("data:,hello", ("text/plain", b"hello")),
        ("data:image/gif;base64,", ("image/gif", b"")),
        ("data:image/png;base64,A", None),
        ("data:image/png;base64", None),
        ("data:", None),
        ("data:" + "a" * 100 + "/png,x", None),
    ],
)
def test_decode_data_url(url: str, expected: tuple[str, bytes] | None) -> None:
    assert decode_data_url(url) == expected


@pytest.mark.parametrize(
    "url", ["data:" + ";a" * 50_000, "data:image/png" + ";a=b" * 50_000, "data:a/b;" + "=" * 10**6]
)
def test_decode_data_url_is_linear(url: str) -> None:
    start = time.perf_counter()
    assert decode_data_url(url) is None
    assert time.perf_counter() - start < 1.0


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_data_urls_give_back_their_bytes(data: bytes) -> None:
    assert decode_data_url("data:image/png;base64," + base64.b64encode(data).decode()) == ("image/png", data)
    assert decode_data_url("data:image/png," + quote(data)) == ("image/png", data)


def test_many_pictures_are_linear() -> None:
    html = "".join(f"<figure><img src={n}.jpg><figcaption>Number {n}</figcaption></figure>" for n in range(3000))
    start = time.perf_counter()
    assert len(references(html)) == 3000
    assert time.perf_counter() - start < 2.0
