"""A sentence that a picture stood in is one text again where the picture is left out."""

from __future__ import annotations

from typing import Any

import pytest

from gobelin.transforms.pages.tree.find_nodes import PageContent, TextPiece, read_page
from gobelin.transforms.text.join_sentences import join, join_nodes


@pytest.mark.parametrize(
    ("text", "rest", "whole"),
    [
        ("Press", "to save.", "Press to save."),
        ("Press the sign", ", then wait.", "Press the sign, then wait."),
        ("按", "保存", "按保存"),
        ("按", "Enter", "按 Enter"),
    ],
)
def test_the_space_between_two_parts(text: str, rest: str, whole: str) -> None:
    assert join(text, rest) == whole


def node(words: str | None, continues: bool | None = None) -> Any:
    return {"kind": "text" if words else "image", "text": words, "continues": continues}


BEGIN, ICON, MORE, ICON2, END = nodes = (
    node("Press"), node(None), node("and", continues=True), node(None), node("at once.", continues=True),
)  # fmt: skip


@pytest.mark.parametrize(
    ("left", "shown"),
    [
        ((0, 1, 2, 3, 4), ["Press", None, "and", None, "at once."]),
        ((0, 2, 4), ["Press and at once."]),
        ((0, 2, 3, 4), ["Press and", None, "at once."]),
        ((0, 1, 2, 4), ["Press", None, "and at once."]),
        ((0, 4), ["Press", "at once."]),  # what stood between them went, too
        ((2, 4), ["and at once."]),
    ],
)
def test_sentences_whose_pictures_went(left: tuple[int, ...], shown: list[str | None]) -> None:
    joined = join_nodes([nodes[index] for index in left], left, (0, 2, 4))
    assert [each["text"] for each in joined] == shown


def test_a_text_whose_beginning_is_gone_begins_anew() -> None:
    assert not join_nodes([MORE], (2,), (0, 2, 4))[0]["continues"]


def test_the_page_says_which_text_goes_on() -> None:
    body = (
        "<p>Press the sign <img src=/save.png> and wait until the light goes out.</p><p>Then close the lid.</p>"
        "<img src=/lid.png><p>The picture above shows how it must look.</p>"
    )
    content = read_page(
        f"<html><body><article>{body}</article></body></html>".encode(), "utf-8", "https://a.example/", ()
    )
    assert isinstance(content, PageContent)
    assert [piece.continues for piece in content.pieces if isinstance(piece, TextPiece)] == [False, True, False, False]
