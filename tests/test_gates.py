"""Pages that are turned away before they are parsed, and those that must not be."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gobelin.transforms.pages.content.gates import Gates, refuse

GERMAN = (
    "Der alte Hafen liegt hinter der Markthalle, und an den meisten Tagen kommen die Boote herein, bevor die Sonne "
    "aufgeht. Wer lange hier wohnt, sagt, dass das Licht auf dem Wasser nie an zwei Tagen dasselbe ist. "
) * 6


def page(body: str, head: str = "") -> bytes:
    return f"<!doctype html><html><head><meta charset=utf-8>{head}</head><body>{body}</body></html>".encode()


@pytest.mark.parametrize(
    ("markup", "passes"),
    [
        ("<p>none</p>", False),
        ("<p>image imagination picturesque img</p>", False),
        ("<img src=a.png>", True),
        ("<IMG\nsrc=a.png>", True),
        ("<picture><source srcset=a.webp></picture>", True),
        ("<noscript><img src=a.png></noscript>", True),
        ("<amp-img src=a.png></amp-img>", True),
        ("<object data=a.png type=image/png></object>", True),
        ("<video poster=a.png></video>", True),
        ("<div role=img style='background-image: url(a.png)'></div>", True),
        ("<p>![a picture](a.png)</p>", True),
    ],
)
def test_pages_that_name_no_picture(markup: str, passes: bool) -> None:
    refusal = refuse(page(markup), (), Gates(require_image=True))
    assert (refusal is None) is passes
    assert refuse(page(markup), (), Gates()) is None
    if refusal is not None:
        assert (refusal.rule, refusal.value, refusal.threshold) == ("gate.require_image", 0, 1)


@pytest.mark.parametrize(("languages", "passes"), [((), True), (("de",), True), (("en", "de"), True), (("en",), False)])
def test_pages_in_another_language(languages: tuple[str, ...], passes: bool) -> None:
    refusal = refuse(page(f"<script>var the = 'and of to in';</script><p>{GERMAN}</p>"), (), Gates(languages=languages))
    assert (refusal is None) is passes
    if refusal is not None:
        assert (refusal.rule, refusal.detail, refusal.threshold) == ("gate.languages", "de", 0.9)


@pytest.mark.parametrize(
    "payload",
    [
        page("<p>Kurz.</p>"),
        GERMAN.encode("utf-16"),
        page(f"<p>{GERMAN}</p>").replace(b"s", "\xff".encode("latin-1")),
        b"",
    ],
    ids=["short", "utf-16", "not utf-8", "empty"],
)
def test_where_the_language_is_in_doubt_a_page_passes(payload: bytes) -> None:
    assert refuse(payload, (), Gates(languages=("en",))) is None


@pytest.mark.parametrize(
    ("headers", "head", "refused"),
    [
        ((), "", None),
        ((("X-Robots-Tag", "noai"),), "", "noai in header x-robots-tag: noai"),
        ((), "<meta name=robots content='noindex, noai'>", "noai in meta robots: noindex, noai"),
        ((), '<META content="noai" NAME="Robots">', "noai in meta robots: noai"),
        ((), "<meta name=description content=noai>", None),
        ((), "<meta name=robots content=noindex>", None),
    ],
)
def test_pages_that_opt_out(headers: Any, head: str, refused: str | None) -> None:
    refusal = refuse(page("<p>x", head), headers, Gates(deny_consent=("noai",)))
    assert (refusal.detail if refusal else None) == refused


@pytest.mark.parametrize("piece", [b"<", b"<script ", b"<!--", b"<meta ", b"<img", b"<a ", b"background ", b"<style>"])
def test_no_page_takes_long(piece: bytes) -> None:
    payload = piece * (4_000_000 // len(piece))
    started = time.process_time()
    refuse(payload, (), Gates(require_image=True, languages=("en",), deny_consent=("noai",)))
    assert time.process_time() - started < 2


def test_a_probability_beyond_one_is_refused() -> None:
    with pytest.raises(ValueError, match="min_language_score"):
        Gates(min_language_score=1.5)
