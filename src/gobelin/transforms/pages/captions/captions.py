"""Finds captions by the structure of the page, and removes them from its text.

There are three kinds, in this order. Each image has at most one caption, and each caption belongs to the nearest image.

    figcaption  of the innermost ``<figure>``, or of the one around it if that has no image of its own
    class       an element beside the image, or beside a wrapper that holds only the image, whose class says caption
                (``wp-caption-text``, ``imageCaption``, ``figure__legend``), or a table cell with such a class below
    frame       the rest of a small frame around one image: a ``figure``, a ``center``, an element of class ``figure``,
                ``illustration`` and similar, an ``em`` or ``small`` alone in the image's paragraph

A caption consists of text only (no image, heading, list, table or form) and has at most ``MAX_CAPTION_CHARS``
characters, or ``MAX_FRAME_CHARS`` if it comes from a frame. Longer texts stay in the text as body paragraphs. For each
image at most ``_MAX_LEVELS`` x ``_MAX_SIBLINGS`` elements are read, so the time is linear in the number of images.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from itertools import islice

from lxml.etree import _Element

from gobelin.transforms.pages.captions.caption_text import (
    HIDDEN_CLASS,
    MAX_CAPTION_CHARS,
    MAX_CLASS_CHARS,
    NO_WORDS,
    colspan,
    fold,
    has_more,
    has_words,
    join_parts,
    text_of,
)

MAX_FRAME_CHARS = 300
"""Maximum length of a caption that is recognised only by its place."""

_MAX_LEVELS = 16
_MAX_SIBLINGS = 4
_MAX_LABEL_CHARS = 60
"""Maximum length of a button, credit or count (``2 of 7``) between an image and its caption."""

_MAX_COLUMNS = 64
_MAX_FIGCAPTION_PARTS = 500
_MAX_PARTS = 60
"""Maximum number of elements in a caption, including links and emphasis."""

_CAPTION_CLASS = re.compile(
    r"(?:caption|captions|gallerytext|legende?|bildunterschrift|bildtext|pie-?(?:de-?)?foto|didascalia)"
    r"(?:[-_]*(?:text|txt|inner|content|body|block|line|wrapper|container|box|title|credit|img|image|main|teaser"
    r"|over(?:lay)?|hover)){0,2}"
    r"(?:___?\w{1,12})?$",
    re.I,
)
_NOT_CAPTION_CLASS = re.compile(
    r"(?:^|[-_])(?:no|has|with|without|hide|hidden|show|toggle|more|close|view|reveal|btn|button|icon|svg|nav|ad|form"
    r"|input|field(?:set)?|table|chart|headline)(?:[-_]|$)|^(?:no|with|without)caption",
    re.I,
)
_LABEL_CLASS = re.compile(
    r"credit|copyright|byline|source|licen[cs]e|enlarge|zoom|expand|button|btn|icon|label|count|duration|invisible",
    re.I,
)
_FRAME_CLASS = re.compile(
    r"(?:(?:article|story|post|news|inline|content)[-_]?)?(?:fig(?:ure|center|left|right|float|block)?"
    r"|illus(?:t(?:ration)?)?|illo|image|img|photo|foto|bild|picture|wp-caption|thumb|thumbinner)"
    r"(?:[-_]?(?:box|block|container|wrapper|wrap|center|left|right|inner|full|holder|frame|[rl](?![a-z])))?",
    re.I,
)
_CREDIT_CLASS = re.compile(r"(?:^|[\s_-])(?:credits?|source|copyright|photographer|fotograf)(?:[\s_-]|$)", re.I)
_STYLE_WIDTH = re.compile(r"(?:^|[;\s])width\s*:\s*(\d{2,4})(?:\.\d{0,9})?px", re.I)
_MAX_WIDER = 24
"""Number of px by which an element may be wider than an image and still be its frame."""

_MIN_SAME_CHARS = 20  # minimum length of an alt text that is repeated below its image
_MAX_LINK_LABEL_CHARS = 20
_SMALL_IMAGE = "small-img"  # a private tag, skipped like a line break
_NO_CAPTION_PARTS = frozenset((
    _SMALL_IMAGE,
    "img", "picture", "table", "ul", "ol", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "form", "input", "select",
    "textarea", "iframe", "video", "audio", "pre", "article", "section", "nav", "header", "footer", "aside",
    "figure",
))  # fmt: skip
_MEDIA = frozenset(("img", "picture", "figure", "table", "iframe", "video", "form", "ul", "ol"))
_SKIPPED = frozenset((
    _SMALL_IMAGE,
    "br", "hr", "script", "style", "noscript", "svg", "button", "template", "wbr", "meta", "link", "input",
    "label",
))  # fmt: skip
_TITLE_PARTS = frozenset(("b", "strong", "font", "big", "u"))
_TITLE_TAGS = frozenset(("h3", "h4", "h5", "h6"))  # below a picture in its frame
_EMPHASIS = frozenset(("em", "i", "small", "cite"))


def take_figcaption(figcaption: _Element) -> str | None:
    """Removes the text of a figcaption from the tree and returns it; images in it stay. Returns None, and changes
    nothing, if there is no text or it is longer than a caption."""
    parts = list(islice(figcaption.iter(), _MAX_FIGCAPTION_PARTS + 1))
    text = text_of(figcaption) if len(parts) <= _MAX_FIGCAPTION_PARTS else ""
    if not 0 < len(text) <= MAX_CAPTION_CHARS:
        return None
    _empty(figcaption)
    for image in parts:
        if image.tag == "img":
            image.tail = None
            figcaption.append(image)
    return text


def take_captions(images: Sequence[_Element], small: Sequence[_Element] = ()) -> dict[_Element, str]:
    """Finds the captions of images by class or by frame, and removes them from the tree.

    Args:
        images: ``img`` elements without a caption yet, in the page's order.
        small: icons and glyphs. A caption goes to a larger image beside it first.

    Returns:
        the captions by image.
    """
    taken: set[_Element] = set()
    captions: dict[_Element, str] = {}
    for image in small:
        image.tag = _SMALL_IMAGE
    # From the last to the first: a caption under a row of images goes to the one it stands next to.
    for image in reversed(images):
        text = _take_beside(image, taken)
        if text is not None:
            captions[image] = text
    for image in small:
        image.tag = "img"
    for image in reversed(small):
        text = _take_beside(image, taken)
        if text is not None:
            captions[image] = text
    return captions


def _take_beside(image: _Element, taken: set[_Element]) -> str | None:
    element = image
    for _ in range(_MAX_LEVELS):
        parent = element.getparent()
        if parent is None:
            return None
        found, is_alone = _classed_siblings(element, image.get("alt", ""))
        is_cell = parent.tag in ("td", "th")
        if not found and is_cell:
            found = _cell_below(parent)
        if found:
            texts = [_take(caption) for caption in found if caption not in taken]
            taken.update(found)
            return join_parts(texts) or None
        if parent.tag in ("body", "li") or (is_cell and not _is_only_cell(parent)):
            return None
        if _is_frame(parent) or _is_as_wide(parent, image):
            text = _take_frame(parent, element)
            if text is not None:
                return text
        if not is_alone or not _is_alone(element, parent):
            return None
        if parent.tag == "center" or parent.get("align") == "center":
            text = _take_centred_above(parent)
            if text is not None:
                return text
        element = parent
    return None


def _take_centred_above(frame: _Element) -> str | None:
    """Removes and returns the centred line right above a centred image. Bold or large text is a title and stays."""
    above = frame.getprevious()
    if above is None or not (above.tag == "center" or above.get("align") == "center") or has_words(above.tail):
        return None
    if any(part.tag in _TITLE_PARTS for part in islice(above.iter(), _MAX_PARTS)) or _is_link(above):
        return None
    text = _caption_text(above, MAX_FRAME_CHARS)
    if text is not None:
        _empty(above)
    return text


def _classed_siblings(element: _Element, alt: str) -> tuple[list[_Element], bool]:
    """Returns (caption elements with the credits between them, whether the element may be the only content of its
    parent).

    Captions are right after the element, or right before it if the two begin a block.

    Args:
        alt: alt text of the image. An element that repeats it is a caption.
    """
    found: list[_Element] = []
    credits: list[_Element] = []
    is_alone = True
    sibling = element
    for _ in range(_MAX_SIBLINGS):
        if has_words(sibling.tail):
            is_alone = False
            break
        following = sibling.getnext()
        if following is None:
            break
        sibling = following
        if sibling.tag in _SKIPPED:
            continue
        caption = _caption_in(sibling)
        if caption is None and _says(sibling, alt):
            caption = sibling
        if caption is not None:
            found += [*credits, caption]
            credits.clear()
        elif _is_credit(sibling):
            credits.append(sibling)
        elif found or not _is_short(sibling, _MAX_LABEL_CHARS):
            is_alone = False
            break
    if credits and (found or _is_frame(element.getparent())):
        found += credits
    if not found:
        previous = element.getprevious()
        if previous is not None and previous.getprevious() is None and not has_words(previous.tail):
            caption = _caption_in(previous)
            if caption is not None:
                found.append(caption)
    return found, is_alone


def _says(element: _Element, alt: str) -> bool:
    """Whether the text of an element equals a long alt text. In a link it would be the title of a teaser."""
    return len(alt) >= _MIN_SAME_CHARS and _caption_text(element, len(alt) + 1) == alt and not _is_link(element)


def _is_credit(element: _Element) -> bool:
    """Whether a short element names the creator of an image."""
    is_named = element.tag == "cite" or _names_credit(element.get("class", "")[:MAX_CLASS_CHARS])
    return is_named and _caption_text(element, _MAX_CREDIT_CHARS) is not None


_MAX_CREDIT_CHARS = 100


def _caption_in(element: _Element) -> _Element | None:
    """The element itself if its class says caption, else such an element among its first few descendants, else None."""
    for part in islice(element.iter(), 6):
        tag = part.tag
        if tag in _NO_CAPTION_PARTS:
            return None
        if tag == "figcaption" or tag == "caption" or _is_caption_class(part.get("class")):
            return part if _caption_text(part, MAX_CAPTION_CHARS, is_shown=True) is not None else None
    return None


def _cell_below(cell: _Element) -> list[_Element]:
    """The caption of an image in a table cell: the cell with a caption class below it in the next row; else empty."""
    row = cell.getparent()
    if row is None or row.tag != "tr" or has_more(row, _MAX_COLUMNS):
        return []
    below = row.getnext()
    if below is None or below.tag != "tr" or has_more(below, _MAX_COLUMNS):
        return []
    column = sum(colspan(before) for before in cell.itersiblings(preceding=True))
    start = 0
    for under in below:
        end = start + colspan(under)
        if start <= column < end:
            is_caption = _is_caption_class(under.get("class")) and _caption_text(under, MAX_CAPTION_CHARS) is not None
            caption = under if is_caption else _caption_in(under)
            return [caption] if caption is not None else []
        start = end
    return []


def _take_frame(frame: _Element, element: _Element) -> str | None:
    """Removes and returns the short text after the image in a frame around it, or None."""
    before = list(islice(element.itersiblings(preceding=True), _MAX_SIBLINGS + 1))
    after = list(islice(element.itersiblings(), _MAX_SIBLINGS + 1))
    if len(before) > _MAX_SIBLINGS or len(after) > _MAX_SIBLINGS:
        return None
    if has_words(frame.text) or any(has_words(part.tail) for part in before):
        return None
    filled = [part for part in before if not _is_empty(part)]
    if filled:
        return _take_above(frame, filled, [element, *after])
    has_text = any(has_words(part.tail) for part in (element, *after))
    if not has_text and all(_is_link(part) for part in after if part.tag not in _SKIPPED):
        return None
    is_sentence = frame.tag == "p"  # in a paragraph only what is set apart by emphasis is a caption
    texts = [fold(element.tail)]
    for part in after:
        if isinstance(part.tag, str) and part.tag not in _SKIPPED:
            text = _caption_text(part, MAX_FRAME_CHARS)
            if text is None and part.tag in _TITLE_TAGS and frame.tag not in ("p", "center"):
                text = text_of(part) or None
            if text is None and not _is_empty(part):
                return None
            if text is not None and is_sentence and part.tag not in _EMPHASIS:
                return None
            texts.append(text or "")
        texts.append(fold(part.tail))
        if is_sentence and has_words(part.tail):
            return None
    caption = " ".join(text for text in texts if text)
    if not caption or len(caption) > MAX_FRAME_CHARS or (is_sentence and texts[0]):
        return None
    element.tail = None
    for part in after:
        part.tail = None
        if isinstance(part.tag, str) and part.tag not in _SKIPPED:
            _empty(part)
    return caption


def _take_above(frame: _Element, before: list[_Element], rest: list[_Element]) -> str | None:
    """Removes and returns the single line above an image, if the frame is marked as a figure and has no other text."""
    if frame.tag in ("p", "center") or frame.get("align") == "center" or len(before) > 1 or _is_link(before[0]):
        return None
    if any(has_words(part.tail) or not _is_empty(part) for part in rest[1:]) or has_words(rest[0].tail):
        return None
    text = _caption_text(before[0], MAX_FRAME_CHARS)
    if text is not None:
        _empty(before[0])
    return text


def _is_only_cell(cell: _Element) -> bool:
    """Whether a table only frames one cell."""
    row = cell.getparent()
    if row is None or row.tag != "tr" or has_more(row, 1):
        return False
    rows = row.getparent()
    return rows is not None and not has_more(rows, 3) and sum(part.tag in ("tr", "tbody") for part in rows) == 1


def _is_link(element: _Element) -> bool:
    """Whether all text of a small element is in links: a button, a menu, a download."""
    if element.tag == "a":
        return True
    parts = list(islice(element.iter(), _MAX_PARTS))
    in_links = {part for link in parts if link.tag == "a" for part in link.iter()}
    return not any(
        (part not in in_links and has_words(part.text))
        or (part is not element and part.getparent() not in in_links and has_words(part.tail))
        for part in parts
    )


def _is_as_wide(element: _Element, image: _Element) -> bool:
    """Whether a style makes an element as wide as its image or a little wider, so that it is the frame around the
    image."""
    match = _STYLE_WIDTH.search(element.get("style", "")[:200]) if element.tag in ("div", "span") else None
    width = image.get("width", "")
    return match is not None and width.isdecimal() and 0 <= int(match[1]) - int(width) <= _MAX_WIDER


def _is_frame(element: _Element | None) -> bool:
    if element is None:
        return False
    if element.tag in ("figure", "center", "p") or (element.tag == "div" and element.get("align") == "center"):
        return True
    names = element.get("class") if element.tag in ("div", "span", "dl") else None
    return names is not None and len(names) <= MAX_CLASS_CHARS and _names_frame(names)


def _is_caption_class(names: str | None) -> bool:
    return names is not None and len(names) <= MAX_CLASS_CHARS and _names_caption(names)


# Pages of a site share their classes.
@functools.lru_cache(4096)
def _names_frame(names: str) -> bool:
    return any(_FRAME_CLASS.fullmatch(name) for name in names.split())


@functools.lru_cache(4096)
def _names_caption(names: str) -> bool:
    return any(_CAPTION_CLASS.search(name) and not _NOT_CAPTION_CLASS.search(name) for name in names.split())


@functools.lru_cache(4096)
def _names_credit(names: str) -> bool:
    return _CREDIT_CLASS.search(names) is not None


@functools.lru_cache(4096)
def _names_label(names: str) -> bool:
    return _LABEL_CLASS.search(names) is not None


@functools.lru_cache(4096)
def _names_hidden(names: str) -> bool:
    return HIDDEN_CLASS.search(names) is not None


def _is_alone(element: _Element, parent: _Element) -> bool:
    """Whether an element is the only content of its parent, except for images before it and labels beside it."""
    if has_words(parent.text) and not (parent.tag == "a" and len(parent.text or "") <= _MAX_LINK_LABEL_CHARS):
        return False
    is_before = True
    for count, part in enumerate(parent):
        if count > 2 * _MAX_SIBLINGS or has_words(part.tail):
            return False
        if part is element:
            is_before = False
        elif not (_is_empty(part) or _is_label(part) or (is_before and _is_wordless(part))):
            return False
    return True


def _is_empty(element: _Element) -> bool:
    """Whether a small element holds neither text nor an image."""
    return not isinstance(element.tag, str) or element.tag in _SKIPPED or _is_short(element, 0)


def _is_label(element: _Element) -> bool:
    """Whether an element is a credit, a button or a similar short text that may stand beside an image."""
    names = element.get("class", "")[:MAX_CLASS_CHARS]
    if _names_hidden(names):
        return _is_short(element, MAX_FRAME_CHARS)
    return _is_short(element, _MAX_LABEL_CHARS) and (_names_label(names) or _is_link(element))


def _is_wordless(element: _Element) -> bool:
    """Whether an element is small and holds no text."""
    parts = list(islice(element.iter(), 9))
    return len(parts) < 9 and not any(has_words(part.text) or has_words(part.tail) for part in parts)


def _is_short(element: _Element, max_chars: int) -> bool:
    """Whether an element is small and holds no image and at most ``max_chars`` characters."""
    text = element.text
    if element.tag in _MEDIA or (text is not None and len(text) > max_chars and len(text.strip()) > max_chars):
        return element.tag in NO_WORDS
    num_chars = 0
    for count, part in enumerate(element.iter()):
        if count > 8 or part.tag in _MEDIA:
            return False
        if part.text is not None and isinstance(part.tag, str) and part.tag not in NO_WORDS:
            num_chars += len(part.text.strip())
        if part is not element and part.tail is not None:
            num_chars += len(part.tail.strip())
        if num_chars > max_chars:
            return False
    return True


def _caption_text(element: _Element, max_chars: int, is_shown: bool = False) -> str | None:
    """The text of an element if it can be a caption, else None."""
    for count, part in enumerate(element.iter()):
        if count > _MAX_PARTS or part.tag in _NO_CAPTION_PARTS:
            return None
    text = text_of(element, is_shown)
    return text if 0 < len(text) <= max_chars else None


def _take(element: _Element) -> str:
    text = text_of(element, is_shown=True)
    _empty(element)
    return text


def _empty(element: _Element) -> None:
    """Empties an element. It stays in the tree as a block, because removing it would join its tail to the text before
    it."""
    element.clear(keep_tail=True)
    element.tag = "div" if element.tag not in ("td", "th", "dd") else element.tag
