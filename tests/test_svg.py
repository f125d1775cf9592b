"""Drawings in SVG: rendered in the decoding process, with nothing from outside, or refused with a reason."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gobelin.data.model import Action, Decision
from gobelin.transforms.archives.read_warc import Capture
from gobelin.transforms.extract.config import ExtractConfig
from gobelin.transforms.extract.extract_image import ImageDraft, extract_image
from gobelin.transforms.images.check_image import ImageFacts, ImageLimits, ImageProblem, check_image
from gobelin.transforms.images.image_sandbox import ImageChecker
from gobelin.transforms.images.open_image import has_plugin, open_rgb
from gobelin.transforms.images.render_svg import generic_family, letters

LIMITS = ImageLimits()
SVG = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
RED = '<rect x="10" y="10" width="100" height="60" fill="#c00"/>'


def svg(inside: str = RED, root: str = 'width="200" height="120"', before: str = "") -> bytes:
    return f"{before}<svg {SVG} {root}>{inside}</svg>".encode()


def pixels(found: ImageFacts | ImageProblem) -> np.ndarray:
    assert isinstance(found, ImageFacts), found
    assert found.rendered is not None
    return np.asarray(Image.open(io.BytesIO(found.rendered)).convert("RGB"))


@pytest.fixture(scope="module")
def checker() -> Iterator[ImageChecker]:
    made = ImageChecker(LIMITS)
    yield made
    made.close()


def test_a_drawing_becomes_a_png_on_white(checker: ImageChecker) -> None:
    found = checker.check(svg())
    shown = pixels(found)
    assert shown.shape == (120, 200, 3)
    assert tuple(shown[5, 5]) == (255, 255, 255)
    assert tuple(shown[40, 60]) == (0xCC, 0, 0)
    assert isinstance(found, ImageFacts)
    assert (found.format, found.width, found.height) == ("png", 200, 120)
    assert found == check_image(svg(), LIMITS)  # byte for byte, in another process


@pytest.mark.parametrize(
    ("root", "size"),
    [
        ('width="3in" height="144pt"', (288, 192)),
        ('width="80mm" viewBox="0 0 40 10"', (302, 76)),
        ('viewBox="0 0 300 150"', (300, 150)),
        ('width="100%" height="100%" viewBox="0,0,90,30"', (90, 30)),
        ('height="50" viewBox="0 0 300 150"', (100, 50)),
        ('width="1e6" height="1e5"', (2048, 205)),
        ('viewBox="0 0 5000000 5000000"', (2048, 2048)),
        ('width="900000" height="1"', (2048, 1)),
    ],
)
def test_the_size_is_the_one_it_asks_for_up_to_a_limit(root: str, size: tuple[int, int]) -> None:
    found = check_image(svg('<rect width="9999999" height="40%" x="1" fill="navy"/>', root), LIMITS)
    if size == (2048, 1):
        assert isinstance(found, ImageFacts | ImageProblem)
    else:
        height, width, _ = pixels(found).shape
        assert (width, height) == size


@pytest.mark.parametrize(
    ("data", "rule", "detail"),
    [
        (svg(root=""), "image_svg", "size"),
        (svg(root='width="0" height="10"'), "image_svg", "size"),
        (svg(root='width="nan" height="inf"'), "image_svg", "size"),
        (svg(""), "image_svg", "nothing"),
        (svg('<rect width="90" height="90" fill="white"/>'), "image_svg", "nothing"),
        (svg('<symbol id="a"><path d="M0 0h9v9z"/></symbol>'), "image_svg", "nothing"),
        (svg(RED)[:-6], "undecodable_image", "XML"),
        (svg(RED + "&nbsp;"), "undecodable_image", "XML"),
        (b"<svg width='9' height='9'><rect width='9' height='9'/></svg>", "undecodable_image", "namespace"),
        (svg(RED + '<text x="9" y="90">\u6c34</text>'), "image_svg", "U+6C34"),
        (svg(RED + "<foreignObject width='90' height='20'><div>words</div></foreignObject>"), "image_svg", "HTML"),
        (svg(RED, before='<?xml-stylesheet href="a.css"?>'), "image_svg", "style sheet"),
    ],
)
def test_what_would_not_look_as_it_is_meant_is_refused(data: bytes, rule: str, detail: str) -> None:
    found = check_image(data, LIMITS)
    assert isinstance(found, ImageProblem)
    assert found.rule == rule
    assert detail in (found.detail or "")


def test_a_flow_chart_with_a_fallback_for_its_html_is_rendered() -> None:
    inside = "<switch><foreignObject width='90' height='20' requiredFeatures='x'><div>words</div></foreignObject>"
    inside += "<text x='20' y='100'>words</text></switch>"
    assert (pixels(check_image(svg(RED + inside), LIMITS))[85:105, 15:80] < 128).any()


def test_no_file_and_no_address_is_read(checker: ImageChecker, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (80, 80), "lime").save(secret)
    (tmp_path / "other.svg").write_bytes(svg('<g id="a">' + RED + "</g>"))
    inner = svg(f'<image width="80" height="80" href="{secret}"/>')
    hidden = base64.b64encode(inner).decode()
    shows = [
        f'<image width="80" height="80" href="{secret}"/>',
        f'<image width="80" height="80" xlink:href="file://{secret}"/>',
        '<image width="80" height="80" href="http://127.0.0.1:9/a.png"/>',
        f'<image width="80" height="80" href="data:image/svg+xml;base64,{hidden}"/>',
        f'<image width="80" height="80" href="data:text/plain;base64,{hidden}"/>',
        f'<use href="{tmp_path}/other.svg#a"/>',
        f'<filter id="f"><feImage href="{secret}"/></filter><rect width="80" height="80" filter="url(#f)"/>',
        f'<!--c--><g><svg><image width="80" height="80" href=" {secret}"/></svg></g>',
    ]
    for each in shows:
        found = checker.check(svg(RED + each))
        assert isinstance(found, ImageProblem), each
        assert (found.rule, found.action) == ("image_svg", Action.DROP), each
        assert "not in the file" in (found.detail or "")
    entity = f'<!DOCTYPE svg [<!ENTITY x SYSTEM "file://{secret}">]>'
    assert isinstance(checker.check(svg(RED + "<text y='99'>&x;</text>", before=entity)), ImageProblem)
    css = f"<style>@import url('file://{secret}'); rect {{ fill: url(file://{secret}) green }}</style>"
    assert not (pixels(checker.check(svg(RED + css))) == (0, 255, 0)).all(axis=2).any()


def test_a_picture_inside_and_links_and_scripts_are_no_references() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "lime").save(stream, "PNG")
    inside = (
        f'<image width="80" height="80" href="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"/>'
    )
    inside += '<a href="https://a.example/"><use xlink:href="#r"/></a><defs><g id="r">' + RED + "</g></defs>"
    inside += '<script href="a.js">document.documentElement.remove()</script>'
    shown = pixels(check_image(svg(inside), LIMITS))
    assert tuple(shown[5, 5]) == (0, 255, 0)
    assert tuple(shown[40, 100]) == (0xCC, 0, 0)


def test_drawings_that_were_made_to_do_harm_end_as_a_decision() -> None:
    bomb = "<!DOCTYPE svg [" + '<!ENTITY a0 "aaaaaaaaaaaaaaaaaaaa">'
    bomb += "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 20}">' for n in range(1, 12)) + "]>"
    uses = "".join(f'<g id="u{n}">' + f'<use href="#u{n - 1}"/>' * 20 + "</g>" for n in range(1, 12))
    blur = (
        '<filter id="f" x="-9" y="-9" width="99" height="99">'
        + "<feGaussianBlur stdDeviation='400'/><feTurbulence numOctaves='99'/>" * 200
        + "</filter>"
    )
    loop = '<pattern id="p" width="9" height="9"><rect width="9" height="9" fill="url(#p)"/></pattern>'
    files = [
        svg("<text y='90'>&a11;</text>", before=bomb),
        svg(f'<defs><g id="u0">{RED}</g>{uses}</defs><use href="#u11"/>'),
        svg(blur + '<rect width="2000" height="2000" filter="url(#f)"/>', 'width="2048" height="2048"'),
        svg(loop + '<rect width="99" height="99" fill="url(#p)"/>'),
        svg("<g>" * 50_000 + "</g>" * 50_000),
        svg('<g id="a"><use href="#b"/></g><g id="b"><use href="#a"/></g>'),
    ]
    harsh = ImageChecker(ImageLimits(max_seconds=1.0, max_memory=600 * 1024 * 1024))
    try:
        for data in files:
            found = harsh.check(data)
            assert isinstance(found, ImageProblem), data[:200]
        assert isinstance(harsh.check(svg()), ImageFacts)
    finally:
        harsh.close()


@pytest.mark.parametrize(
    ("names", "family"),
    [
        ("Arial", "sans-serif"),
        ("'Times New Roman'", "serif"),
        ("Helvetica, 'DejaVu Serif', sans-serif", "sans-serif"),
        ("Times,serif", "serif"),
        ("PT Sans", "sans-serif"),
        ("Source Code Pro", "monospace"),
        ("Courier New", "monospace"),
        ("inherit", "inherit"),
        ("Open Sans Serif", "sans-serif"),
    ],
)
def test_fonts_of_other_names_are_told_by_their_kind(names: str, family: str) -> None:
    assert generic_family(names) == family


def test_words_are_drawn_in_the_font_that_style_and_attributes_name() -> None:
    def width(style: str, attributes: str = "") -> int:
        inside = f"<style>{style}</style><text class='t' x='4' y='60' {attributes}>iiiiiiiiii</text>"
        dark = (pixels(check_image(svg(inside), LIMITS)) < 200).any(axis=(0, 2))
        return int(np.flatnonzero(dark).max())

    wide = width(".t { font: 20px/1.2 'Courier New' }")
    assert wide > 1.8 * width(".t { font: 20px/1.2 Arial }")
    assert width("", "font-size='20' font-family='Consolas'") == wide
    assert width("", "style='font-size:20px; font-family:\"Fira Code\"'") == wide
    assert {ord(each) for each in "aé\u03b1\u0416\u2211\u2192"} <= letters()
    assert ord("\u6c34") not in letters()


@pytest.mark.parametrize(
    ("css", "attributes"),
    [
        (".c { fill: var(--a) } :root { --a: #c00 }", ""),
        (".c { fill: var(--a, blue) } svg { --a: var(--b); --b: #c00; }", ""),
        (".c { fill: var(--a, rgb(204, 0, 0)) }", ""),
        ("", 'fill="var(--a, #c00)"'),
        ("", "style='fill: light-dark(#c00, rgb(0, 0, 0))'"),
        (":root { --a: #c00 } @media (prefers-color-scheme: dark) { :root { --a: #fff } }", 'fill="var(--a)"'),
        (".c { fill: #c00 } @media print { .c { fill: blue } }", ""),
    ],
)
def test_css_that_resvg_does_not_know_is_resolved(css: str, attributes: str) -> None:
    inside = f'<style>{css}</style><rect class="c" width="150" height="100" {attributes}/>'
    assert tuple(pixels(check_image(svg(inside), LIMITS))[60, 100]) == (0xCC, 0, 0)


def test_variables_that_name_each_other_end() -> None:
    loop = f":root {{ --a: var(--b) var(--b); --b: var(--a) var(--a) }} .c {{ fill: {'var(--a)' * 200} }}"
    assert isinstance(
        check_image(svg(f'<style>{loop}</style><rect class="c" width="9" height="9"/>{RED}'), LIMITS), ImageFacts
    )
    broken = "@media {" + "a{" * 2000 + "var(" * 2000
    assert isinstance(check_image(svg(f"<style>{broken}</style>{RED}"), LIMITS), ImageFacts)


def capture(data: bytes) -> Capture:
    return Capture(
        url="http://a.example/figure.svg", status=200, content_type="image/svg+xml", charset=None, headers=(),
        payload=data, is_truncated=False, problem=None, warc_file="a.warc", warc_offset=0, warc_length=0,
        warc_date="2026-01-01T00:00:00Z", payload_digest=None,
    )  # fmt: skip


def test_what_an_image_was_rendered_from_is_kept() -> None:
    draft = extract_image(capture(svg()), ExtractConfig())
    assert isinstance(draft, ImageDraft)
    assert draft.image_id == hashlib.sha256(draft.data).hexdigest()
    assert draft.md5 == hashlib.md5(draft.data).hexdigest()
    assert draft.data.startswith(b"\x89PNG")
    assert (draft.source_format, draft.source_sha256) == ("svg", hashlib.sha256(svg()).hexdigest())
    stream = io.BytesIO()
    Image.effect_noise((90, 90), 30).save(stream, "PNG")
    other = extract_image(capture(stream.getvalue()), ExtractConfig())
    assert isinstance(other, ImageDraft)
    assert (other.data, other.source_format, other.source_sha256) == (stream.getvalue(), None, None)


def test_a_recipe_may_refuse_drawings() -> None:
    config = ExtractConfig()
    found = extract_image(capture(svg()), dataclasses.replace(config, image=ImageLimits(svg=False)))
    assert isinstance(found, Decision)
    assert (found.rule, found.detail) == ("image_format", "svg")


@pytest.mark.parametrize(("file_format", "name"), [("HEIF", "heif"), ("JXL", "jxl")])
def test_heif_and_jpeg_xl_are_read_where_their_package_is_there(
    file_format: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert has_plugin(name)
    picture = Image.new("RGB", (96, 64), "navy")
    picture.paste("orange", (0, 0, 48, 64))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    stream = io.BytesIO()
    picture.save(stream, file_format, exif=exif.tobytes())
    data = stream.getvalue()
    checker = ImageChecker(LIMITS)
    try:
        found = checker.check(data)
        cut = checker.check(data[: len(data) // 2])
        small = check_image(data, ImageLimits(max_pixels=96 * 64 - 1))
    finally:
        checker.close()
    assert isinstance(found, ImageFacts)
    assert found.format == name
    shown = open_rgb(data)
    assert shown.size == (found.width, found.height)
    left, top = shown.getpixel((4, 30)), shown.getpixel((30, 4))
    is_turned = found.width == 64  # a container's own turn counts: HEIF has one, JPEG XL was written without
    assert is_turned == (name == "heif")
    red = top if is_turned else left
    assert isinstance(red, tuple)
    assert red[0] > 200
    assert isinstance(cut, ImageProblem)
    assert isinstance(small, ImageProblem)
    assert small.rule == "image_pixels"
    has_plugin.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    lacking = check_image(data, LIMITS)
    has_plugin.cache_clear()
    assert isinstance(lacking, ImageProblem)
    assert (lacking.rule, lacking.detail) == ("image_format", name)
