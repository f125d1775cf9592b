"""Removes page furniture from a caption: words of buttons that show, hide or enlarge, slide numbers, messages of a
player that cannot play, and repetitions."""

from __future__ import annotations

import re

_BUTTONS = re.compile(
    r"\b(?:(?:hide|show|toggle|view|open|close|read) caption|media playback is (?:un|not )supported on your device"
    r"|(?:click|tap) (?:here )?to (?:enlarge|expand|zoom)|enlarge (?:this )?(?:image|photo|picture)|view in gallery"
    r"|(?:bild|foto) (?:vergrößern|anzeigen)|lihat foto|perbesar|ver (?:foto|imagen|galería))(?!\w)"
    r"|点击(?:查看大图|放大)|\[\+\]|写真を拡大|拡大写真|查看大图",
    re.I,
)
_MAY_HOLD = (
    "aption", "playback", "nlarge", "xpand", "zoom", "gallery", "vergr", "anzeigen", "ihat foto", "erbesar",
    "ver ", "[+]", "写真", "大图", "放大", "CAPTION", "ENLARGE", "VERGR", "Ver ", "VER ",
)  # fmt: skip
"""Each text with a button's words contains one of these, in the spellings that pages use."""

_SLIDE = re.compile(r"(?:\d{1,3}of\d{1,3}|[(\[]\d{1,3} ?/ ?\d{1,3}[)\]])\s?(?=\S)")
"""For example ``1of4`` or ``(1/4)``. ``1 of 4`` and ``1/4`` do not match, because they may be part of the caption."""

_CUT_OFF = re.compile(r"\s?(?:\.\.\.|…) more\b")
_LESS = re.compile(r"(?<=[.!?\"”’)]) less(?= [A-Z]|$)")
_MIN_REPEATED_CHARS = 7


def clean_caption(caption: str) -> str:
    """The cleaned caption with folded white space; empty if nothing is left."""
    text = caption
    if any(word in text for word in _MAY_HOLD) and _BUTTONS.search(text):
        text = " ".join(_BUTTONS.sub(" ", text).split())
    slide = _SLIDE.match(text)
    if slide is not None:
        text = text[slide.end() :]
    less = _LESS.search(text)
    if less is not None:
        text = f"{text[: less.start()]} {_without_cut_copy(text[: less.start()], text[less.end() :])}".strip()
    return _without_repeated_end(text)


def _without_cut_copy(whole: str, rest: str) -> str:
    """The text after a collapsible caption, without the collapsed copy of the caption."""
    cut = _CUT_OFF.search(rest)
    if cut is not None and whole.startswith(rest[: cut.start()].strip()):
        return rest[cut.end() :].strip()
    return rest.strip()


def _without_repeated_end(text: str) -> str:
    """The text without the second copy of its last words."""
    words = text.split(" ")
    for size in range(1, len(words) // 2 + 1):
        last = words[-size:]
        if last == words[-2 * size : -size] and len(" ".join(last)) >= _MIN_REPEATED_CHARS:
            return " ".join(words[:-size])
    return text
