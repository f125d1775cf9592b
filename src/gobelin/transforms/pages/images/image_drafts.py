"""An image while its page is read: its relevant ancestors, its size on the page, its texts."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from itertools import islice

from lxml.etree import _Element

from gobelin.transforms.pages.images.image_candidates import Found
from gobelin.transforms.pages.images.srcset import slot_width

MAX_DIMENSION = 1 << 20
"""Maximum width or height in px. A larger value in a page is ignored."""

MAX_ANCESTORS = 24
"""Number of ancestors of an image that are read. libxml2 nests each <source> in the previous one, so a <picture> may be
far away."""

MAX_WORDS_CHARS = 4096
"""Maximum length of an alt text or a title. The rest is cut off."""

SMALL_PX = 64
"""An image with a shorter side below this is an icon or a glyph."""

_UNSEEN = frozenset(("template", "script", "style", "textarea", "head", "select"))
_TELLING = frozenset(("a", "picture", "figure", "noscript", "svg", *_UNSEEN))
_STYLE_PX = re.compile(r"(?:^|[;\s])(width|height)\s*:\s*(\d{1,7})(?:\.\d{0,9})?px", re.I)
_PIXELS = re.compile(r"\s*(\d{1,9})(?:\.\d{0,9})?\s*(?:px)?\s*", re.I)
_TAG = re.compile(r"<[^<>]{0,200}>")


@dataclasses.dataclass(slots=True, eq=False)
class Draft:
    """An image while its page is read."""

    element: _Element
    place: int  # index in the order of the page
    found: list[Found]
    alt: str | None
    title: str | None
    caption: str | None = None  # from an attribute
    link_url: str | None = None
    larger: str | None = None  # the image file that it links to
    width: int | None = None  # px on the page
    height: int | None = None
    is_lazy: bool = False
    is_drawing: bool = False  # an inline drawing, which is never a blank
    holds_content: bool = False  # whether the element also holds content of the page, because an end tag is missing
    figure: _Element | None = None
    outer_figure: _Element | None = None
    noscript: _Element | None = None  # the <noscript> around it

    @property
    def is_small(self) -> bool:
        """Whether the page shows it as an icon. A caption then describes a larger image, if there is one."""
        return min(self.width or SMALL_PX, self.height or SMALL_PX) < SMALL_PX


@dataclasses.dataclass(slots=True)
class Place:
    """The relevant ancestors of an element that shows an image."""

    link: _Element | None = None
    picture: _Element | None = None
    figure: _Element | None = None
    outer_figure: _Element | None = None
    noscript: _Element | None = None
    svg: _Element | None = None
    holder: _Element | None = None
    is_unseen: bool = False


def place_of(element: _Element, holders: Collection[_Element]) -> Place:
    """Finds the innermost link, picture, figure and so on around an element.

    Args:
        holders: elements that are images themselves; images inside them are fallbacks.
    """
    place = Place()
    for parent in islice(element.iterancestors(), MAX_ANCESTORS):
        tag = parent.tag
        if holders and parent in holders:
            if place.holder is None:
                place.holder = parent
            continue
        if tag not in _TELLING:
            continue
        if tag == "a":
            place.link = place.link if place.link is not None else parent
        elif tag == "picture":
            place.picture = place.picture if place.picture is not None else parent
        elif tag == "figure":
            if place.figure is None:
                place.figure = parent
            elif place.outer_figure is None:
                place.outer_figure = parent
        elif tag == "noscript":
            place.noscript = parent
        elif tag == "svg":
            place.svg = parent
        elif tag in _UNSEEN:
            place.is_unseen = True
    return place


def rendered_size(attributes: Mapping[str, str]) -> tuple[int | None, int | None]:
    """(width, height) in px that the page gives an image: by inline style, else by attribute, else by ``sizes``."""
    width = _pixels(attributes.get("width"))
    height = _pixels(attributes.get("height"))
    style = attributes.get("style")
    if style:
        for name, number in _STYLE_PX.findall(style[:2048]):
            if int(number) <= MAX_DIMENSION:
                if name.lower() == "width":
                    width = int(number)
                else:
                    height = int(number)
    if width is None:
        width = slot_width(attributes.get("sizes"))
    return width, height


def _pixels(value: str | None) -> int | None:
    if value is None:
        return None
    if len(value) < 6 and value.isascii() and value.isdecimal():
        return int(value)
    match = _PIXELS.fullmatch(value)
    return int(match.group(1)) if match and int(match.group(1)) <= MAX_DIMENSION else None


def attribute_caption(text: str | None) -> str | None:
    """The caption in an attribute of a gallery, without tags; None if there is none."""
    caption = clean(_TAG.sub(" ", text[:2000])) if text else None
    return caption if caption is not None and "<" not in caption else None


def clean(text: str | None) -> str | None:
    """Folds white space and limits the length. Returns None if nothing is left."""
    return " ".join(text[: 2 * MAX_WORDS_CHARS].split())[:MAX_WORDS_CHARS] or None if text else None
