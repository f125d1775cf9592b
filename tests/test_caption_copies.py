"""Captions without a page's buttons; what a page says or shows twice: beside a picture and in its caption, as a preview
and as the picture."""

from __future__ import annotations

import pytest

from gobelin.transforms.pages.captions.clean_caption import clean_caption
from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.tree.find_nodes import PageContent, read_page

URL = "https://quay.example/2024/ferry.html"
PROSE = (
    "The ferry has crossed the sound since April, and those who had laughed at its timetable now stand on the quay at "
    "six in the morning with their bicycles, their bread and their dogs."
)
CAPTION = "The ferry leaves the quay on its first morning"
ARTICLE = "<meta property=og:type content=article>"
MANUAL = "<meta name=generator content=Sphinx>"


def pieces(body: str, head: str = ARTICLE) -> list[str]:
    """Texts, and images as ``[file: caption]``."""
    html = f"<html><head><title>The ferry is back</title>{head}</head><body><article>{body}</article></body></html>"
    content = read_page(html.encode(), "utf-8", URL, ())
    assert isinstance(content, PageContent)
    return [
        f"[{piece.candidates[0].removeprefix('https://quay.example/2024/')}: {piece.caption or ''}]"
        if isinstance(piece, ImageReference)
        else piece.text
        for piece in content.pieces
    ]


@pytest.mark.parametrize(
    ("caption", "cleaned"),
    [
        ("The quay. Ada Wren hide caption toggle caption Ada Wren", "The quay. Ada Wren"),
        ("The quay Media playback is unsupported on your device", "The quay"),
        ("The quay, with ... [+] boats", "The quay, with ... boats"),
        ("1of4 The quay", "The quay"),
        ("(2/11) The quay", "The quay"),
        ("1 of 4 boats came home", "1 of 4 boats came home"),
        ("1/2 cup of milk", "1/2 cup of milk"),
        ("The quay is long. less The quay is ... more Photo: Ada Wren", "The quay is long. Photo: Ada Wren"),
        ("The quay is long. Boats less The quay is ... more", "The quay is long. Boats less The quay is ... more"),
        ("Photo: Ada Wren Photo: Ada Wren", "Photo: Ada Wren"),
        ("Row, row, row", "Row, row, row"),
        ("Enlarge this image", ""),
        ("They enlarge this harbour", "They enlarge this harbour"),
        ("点击查看大图", ""),
    ],
)
def test_clean_caption(caption: str, cleaned: str) -> None:
    assert clean_caption(caption) == cleaned


def figure(name: str, caption: str = "") -> str:
    words = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<figure><img src={name} width=640 height=400>{words}</figure>"


def test_a_page_shows_a_caption_without_buttons() -> None:
    found = pieces(
        f"<p>{PROSE}</p>{figure('a.jpg', CAPTION + ' hide caption')}<p>{PROSE} 2</p>{figure('b.jpg', '[+]')}"
    )
    assert found == [PROSE, f"[a.jpg: {CAPTION}]", f"{PROSE} 2", "[b.jpg: ]"]


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        (CAPTION, False),
        (f"{CAPTION[:40]} ... more", False),
        (f"{CAPTION}, and everybody is there", True),
        ("The ferry leaves", True),  # too short to be told from a line of its own
    ],
)
def test_a_text_beside_a_picture_that_its_caption_says(line: str, stays: bool) -> None:
    body = f"{figure('a.jpg', CAPTION)}<div>{line}</div><p>{PROSE}</p><p>{PROSE} 2</p>"
    assert (line in pieces(body)) is stays
    assert line in pieces(body, MANUAL)
    far = f"{figure('a.jpg', CAPTION)}{''.join(f'<p>{PROSE} {n}</p>' for n in range(6))}<p>{line}</p><p>{PROSE}</p>"
    assert line in pieces(far)


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ("max/60/1x5qZ8tK0pA.png?q=20", "max/1200/1x5qZ8tK0pA.png", "max/1200/1x5qZ8tK0pA.png"),
        ("max/1200/1x5qZ8tK0pA.png", "max/60/1x5qZ8tK0pA.png?q=20", "max/1200/1x5qZ8tK0pA.png"),
        ("max/60/1x5qZ8tK0pA.png", "max/1200/1x5qZ8tK0pB.png", None),
        ("20240114/map_of_ferries1.png", "20240115/map_of_ferries1.png", None),  # of two days
        ("60/picture.png", "1200/picture.png", None),
        ("show/ferries1234?size=60", "show/ferries1234?size=1200", None),  # no file
    ],
)
def test_of_two_versions_of_a_picture_in_a_row_the_larger_stays(first: str, second: str, kept: str | None) -> None:
    body = f"<p>{PROSE}</p>{figure(first)}{figure(second)}<p>{PROSE} 2</p>"
    shown = [line for line in pieces(body) if line.startswith("[")]
    assert shown == ([f"[{kept}: ]"] if kept else [f"[{first}: ]", f"[{second}: ]"])
    assert len([line for line in pieces(body, MANUAL) if line.startswith("[")]) == 2
    apart = f"<p>{PROSE}</p>{figure(first)}<p>{PROSE} 1</p>{figure(second)}<p>{PROSE} 2</p>"
    assert len([line for line in pieces(apart) if line.startswith("[")]) == 2


def test_the_version_with_the_caption_stays() -> None:
    small, large = "max/60/1x5qZ8tK0pA.png", "max/1200/1x5qZ8tK0pA.png"
    body = f"<p>{PROSE}</p>{figure(small, CAPTION)}{figure(large)}<p>{PROSE} 2</p>"
    assert [line for line in pieces(body) if line.startswith("[")] == [f"[{small}: {CAPTION}]"]
    other = f"<p>{PROSE}</p>{figure(small, CAPTION)}{figure(large, 'Another day at the quay')}<p>{PROSE} 2</p>"
    assert len([line for line in pieces(other) if line.startswith("[")]) == 2
