"""Drawings in a page's own markup: pictures are told from icons, and become files that the renderer knows."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from gobelin.data.model import Decision, Unit
from gobelin.transforms.extract.config import ExtractConfig
from gobelin.transforms.extract.extract_image import ImageDraft
from gobelin.transforms.extract.extract_page import PageDraft, extract_page
from gobelin.transforms.images.open_image import ImageLimits
from gobelin.transforms.images.render_svg import render_svg
from gobelin.transforms.pages.images.data_urls import decode_data_url
from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.tree.find_nodes import PageContent, read_page

PROSE = "<p>The wheel of the mill turned all winter, and the miller wrote down each hour that it stood still.</p>" * 3
BARS = "".join(f"<rect x={20 * n} y={9 * n} width=15 height={90 - 9 * n} fill=teal />" for n in range(6))
LETTERS = "<path d='M0 0L90 0L90 60Z' />"


def drawings(svg: str, around: str = "<p>{}</p>") -> list[ImageReference]:
    body = f"<article>{PROSE}{around.format(svg)}{PROSE}</article>"
    html = f"<html><head><title>Mill</title></head><body>{body}</body></html>"
    content = read_page(html.encode(), "utf-8", "https://valley.example/mill", ())
    assert isinstance(content, PageContent)
    return [piece for piece in content.pieces if isinstance(piece, ImageReference)]


@pytest.mark.parametrize("is_on", [True, False])
def test_the_recipe_decides_whether_they_are_rendered(capture_of: Callable[..., Any], is_on: bool) -> None:
    body = f"<html><body><article>{PROSE}<svg width=300 height=100>{BARS}</svg>{PROSE}</article></body></html>"
    config = ExtractConfig(image=ImageLimits(svg=is_on))
    page, images = extract_page(capture_of("http://valley.example/mill", body.encode()), config)
    assert isinstance(page, PageDraft)
    (found,) = images.values()
    if is_on:
        assert isinstance(found, ImageDraft)
        assert (found.data[:4], found.source_format) == (b"\x89PNG", "svg")
    else:
        assert isinstance(found, Decision)
        assert (found.unit, found.detail) == (Unit.IMAGE, "svg")


def file_of(reference: ImageReference) -> bytes:
    decoded = decode_data_url(reference.candidates[0])
    assert decoded is not None
    assert decoded[0] == "image/svg+xml"
    return decoded[1]


@pytest.mark.parametrize(
    ("svg", "is_one"),
    [
        (f"<svg width=300 height=100>{BARS}</svg>", True),
        (f"<svg viewBox='0 0 300 100'>{BARS}</svg>", True),
        (f"<svg style='width: 300px; height: 100px'>{BARS}</svg>", True),
        (f"<svg width=100 height=100>{BARS}</svg>", False),
        (f"<svg viewBox='0 0 24 24'>{BARS}</svg>", False),
        (f"<svg width=300 height=48>{BARS}</svg>", False),
        ("<svg viewBox='0 0 300 100'><rect width=9 height=9 /></svg>", False),
        ("<svg viewBox='0 0 300 100'><rect width=9 height=9 /><text x=9 y=20>Hours</text></svg>", True),
        (f"<svg viewBox='0 0 300 100'>{LETTERS * 29}</svg>", False),  # a logo
        (f"<svg viewBox='0 0 300 100'>{LETTERS * 30}</svg>", True),
        (f"<svg viewBox='0 0 300 100'><defs>{BARS}</defs><use href='#a' /></svg>", False),
        (f"<svg viewBox='0 0 300 100' class=site-logo>{BARS}</svg>", False),
        (f"<svg viewBox='0 0 300 100' style='display:none'>{BARS}</svg>", False),
        (f"<svg viewBox='0 0 300 100' aria-hidden=true>{BARS}</svg>", False),
        (f"<a href=/mills><svg viewBox='0 0 299 100'>{BARS}</svg></a>", False),
        (f"<a href=/mills><svg viewBox='0 0 300 100'>{BARS}</svg></a>", True),
    ],
)
def test_pictures_are_told_from_icons(svg: str, is_one: bool) -> None:
    assert len(drawings(svg)) == is_one


def test_in_a_figure_one_shape_is_enough_and_the_caption_is_its_own() -> None:
    svg = "<svg viewBox='0 0 200 200'><title>A wheel</title><circle r=90 cx=99 cy=99 /></svg>"
    (found,) = drawings(svg, "<figure>{}<figcaption>The wheel, from the front</figcaption></figure>")
    assert (found.alt, found.caption) == ("A wheel", "The wheel, from the front")


def test_in_the_figure_of_another_picture_it_is_a_sign() -> None:
    sign = "<svg viewBox='0 0 200 200'><circle r=90 cx=99 cy=99 /></svg>"
    (found,) = drawings(sign, "<figure><img src=/wheel.jpg>{}</figure>")
    assert found.candidates == ("https://valley.example/wheel.jpg",)


def test_the_file_is_as_the_renderer_wants_it() -> None:
    gradient = "<linearGradient id=g><stop offset=0 stop-color=red /><stop offset=1 stop-color=red /></linearGradient>"
    svg = (
        f"<svg viewBox='0 0 200 100' width=120 onclick='go()'><defs>{gradient}</defs><script>go()</script>"
        "<style>.bar { fill: url(#g) }</style><rect class=bar width=100 height=100 />"
        "<rect x=100 width=100 height=100 fill='var(--colour, blue)' /><text x=0 y=0>Mill &amp; co</text></svg>"
    )
    (found,) = drawings(svg)
    data = file_of(found)
    assert b"go()" not in data
    assert b"&amp; co" in data
    with Image.open(io.BytesIO(render_svg(data))) as image:
        assert image.size == (120, 60)
        assert [image.convert("RGB").getpixel((x, 30)) for x in (30, 90)] == [(255, 0, 0), (0, 0, 255)]


def test_the_style_sheets_in_a_drawing_colour_it() -> None:
    css = ":root { --light: #0f0 } g.wheel > .rim { fill: var(--light) } .hub { fill: #00f }"
    for sheet in (f"<style>{css}</style>", f"<defs><style type=text/css><![CDATA[{css}]]></style></defs>"):
        rects = (
            "<g class=wheel><rect class=rim width=100 height=100 /></g><rect class=hub x=100 width=100 height=100 />"
        )
        (found,) = drawings(f"<svg viewBox='0 0 200 100'>{sheet}{rects}<text x=0 y=0>A wheel</text></svg>")
        with Image.open(io.BytesIO(render_svg(file_of(found)))) as image:
            assert [image.convert("RGB").getpixel((x, 50)) for x in (50, 150)] == [(0, 255, 0), (0, 0, 255)]


def test_hostile_drawings_stay_files_and_text_behind_them_stays() -> None:
    odd = (
        "<svg viewBox='0 0 300 100' a\"b=1 <x=2><rect width=9><p:q r:s=t />&lt;/svg&gt;"
        "<text x=9 y=9>A &lt;b&gt; &quot;</text></svg>"
    )
    (found,) = drawings(odd)
    render_svg(file_of(found))
    nested = drawings(f"<svg viewBox='0 0 300 100'>{'<g>' * 300}{BARS}{'</g>' * 300}</svg>")
    assert len(nested) == 1
    both = drawings(f"<svg viewBox='0 0 300 100'>{BARS}<svg viewBox='0 0 200 200'>{BARS}</svg></svg> and behind it")
    assert len(both) == 1
