"""What a srcset, a sizes attribute and a data: URL say; and that megabytes of them cost no more than their length."""

from __future__ import annotations

import base64
import time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gobelin.transforms.pages.images.data_urls import decode_data_url
from gobelin.transforms.pages.images.srcset import MAX_CANDIDATES, parse_srcset, slot_width

GIF = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


@pytest.mark.parametrize(
    ("srcset", "expected"),
    [
        ("a.jpg", ["a.jpg 1x"]),
        ("a.jpg 1x, b.jpg 2x", ["a.jpg 1x", "b.jpg 2x"]),
        ("a.jpg 320w,b.jpg 640w", ["a.jpg 320w", "b.jpg 640w"]),
        ("a.jpg 1.5x", ["a.jpg 1.5x"]),
        ("\n  a.jpg   320w\t,\n  b.jpg\n640w\n", ["a.jpg 320w", "b.jpg 640w"]),
        ("a.jpg, b.jpg 2x", ["a.jpg 1x", "b.jpg 2x"]),
        # Commas inside an address do not end it; a comma at its end does.
        ("c/w_1,h_2/a.jpg 100w, c/w_2,h_4/a.jpg 200w", ["c/w_1,h_2/a.jpg 100w", "c/w_2,h_4/a.jpg 200w"]),
        ("a.jpg,b.jpg 2x", ["a.jpg,b.jpg 2x"]),
        ("a.jpg,,, b.jpg 2x", ["a.jpg 1x", "b.jpg 2x"]),
        (", ,a.jpg 2x,, ,", ["a.jpg 2x"]),
        (f"{GIF} 1x, b.jpg 2x", [f"{GIF} 1x", "b.jpg 2x"]),
        # Width and height together; a height alone says nothing of the width.
        ("a.jpg 100w 50h, b.jpg 2x", ["a.jpg 100w", "b.jpg 2x"]),
        ("a.jpg 50h", ["a.jpg 1x"]),
        # A descriptor that is none: that candidate goes, the others stay.
        ("a.jpg big, b.jpg 2x", ["b.jpg 2x"]),
        ("a.jpg -1x, b.jpg 2x", ["b.jpg 2x"]),
        ("a.jpg 1..2x, b.jpg 2x", ["b.jpg 2x"]),
        # An address with spaces, against the standard but on real pages.
        ("my photo.jpg 2x, b.jpg 2x", ["my photo.jpg 2x", "b.jpg 2x"]),
        ("on the beach.jpg 640w", ["on the beach.jpg 640w"]),
        ("see page 3 640w", []),
        ("", []),
        (" , ,, ", []),
    ],
)
def test_parse_srcset(srcset: str, expected: list[str]) -> None:
    assert [
        f"{address} {width:g}w" if width is not None else f"{address} {density:g}x"
        for address, width, density in parse_srcset(srcset)
    ] == expected


@pytest.mark.parametrize(
    "srcset",
    [
        " " * 200_000,
        "," * 200_000,
        ", " * 100_000,
        "a.jpg  " * 50_000,
        "a.jpg 1x," * 50_000,
        "a" * 200_000 + " 1w 2h",
        "a.jpg " + "1w " * 60_000,
        f"data:image/png;base64,{'A' * 500_000} 1w, b.jpg 2w",
    ],
    ids=lambda srcset: srcset[:12],
)
def test_parse_srcset_is_linear(srcset: str) -> None:
    start = time.process_time()
    assert len(parse_srcset(srcset)) <= MAX_CANDIDATES
    assert time.process_time() - start < 1.0


_ADDRESSES = st.text(alphabet="abc/._-,%?=&;:é", min_size=1, max_size=20).filter(lambda text: text.strip(",") == text)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(_ADDRESSES, st.integers(1, 9999)), max_size=8))
def test_parse_srcset_gives_back_what_was_written(written: list[tuple[str, int]]) -> None:
    srcset = ", ".join(f"{address} {width}w" for address, width in written)
    assert [(address, width) for address, width, _ in parse_srcset(srcset)] == written


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab,. \t1wxh\n", max_size=60))
def test_parse_srcset_makes_nothing_up(srcset: str) -> None:
    for address, width, density in parse_srcset(srcset):
        assert address
        assert all(part in srcset for part in address.split())
        assert (width is None) != (density is None) or width is not None


@pytest.mark.parametrize(
    ("sizes", "width"),
    [
        ("600px", 600),
        ("(max-width: 600px) 100vw, 600px", 600),
        ("(max-width: 600px) 480px, 800.5px", 800),
        ("100vw", None),
        ("(min-width: 600px) 50vw, calc(100vw - 20px)", None),
        ("auto", None),
        ("", None),
        (None, None),
        ("9" * 100_000 + "px", None),
    ],
)
def test_slot_width(sizes: str | None, width: int | None) -> None:
    assert slot_width(sizes) == width


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
    start = time.process_time()
    assert decode_data_url(url) is None
    assert time.process_time() - start < 1.0


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_data_urls_give_back_their_bytes(data: bytes) -> None:
    assert decode_data_url("data:image/png;base64," + base64.b64encode(data).decode()) == ("image/png", data)
    assert decode_data_url("data:image/png," + quote(data)) == ("image/png", data)
