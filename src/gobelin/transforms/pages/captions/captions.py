"""Captions: the words beside an image that describe it, found by the page's structure, taken out of its text.

Three kinds, in this order; each image has one caption at most, and each caption one image, the nearest.

    figcaption  of the innermost ``<figure>``, or of the one around it if that has no image of its own
    class       an element beside the image, or beside a wrapper that holds the image alone, whose class says caption
                (``wp-caption-text``, ``imageCaption``, ``figure__legend``), or a table cell of that class below
    frame       the rest of a small frame around one image: a ``figure``, a ``center``, an element of class ``figure``,
                ``illustration`` and the like, an ``em`` or ``small`` alone in the image's paragraph

A caption is text only (no image, heading, list, table or form) and at most ``MAX_CAPTION_CHARS`` long; frames take
``MAX_FRAME_CHARS``. What is longer stays in the text: body paragraphs are worth more there. Each image looks at no
more than ``_MAX_LEVELS`` x ``_MAX_SIBLINGS`` elements around it, so the whole is linear in their number.
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
"""Longest caption that is known by its place alone."""

_MAX_LEVELS = 16
_MAX_SIBLINGS = 4
_MAX_LABEL_CHARS = 60
"""Longest button, credit or count (``2 of 7``) that may stand between an image and its caption."""

_MAX_COLUMNS = 64
_MAX_FIGCAPTION_PARTS = 500
_MAX_PARTS = 60
"""Elements that a caption may consist of; links and emphasis in it count."""

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
"""px by which an element may be wider than a picture and still be the frame around it."""

_MIN_SAME_CHARS = 20  # of an alternative text that stands below its image once more
_MAX_LINK_LABEL_CHARS = 20
_SMALL_IMAGE = "small-img"  # a tag of our own, passed over like a line break
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
    """The words of a figcaption, taken out of the tree; images in it stay. None, and nothing done, if it has none, or
    more than a caption has."""
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
    """The captions of images by class or by frame, taken out of the tree.

    Args:
        images: ``img`` elements without a caption yet, in the page's order.
        small: others, too small to be what a caption beside them describes if there is a larger one.
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
    """The centred line right above a centred image, in plain words: what is set in bold or large is a title."""
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
    """Elements of class caption right behind an element, or the one before it where the two begin a block, with the
    credits between; and whether the element may be all that its parent holds, by what is behind it.

    Args:
        alt: the image's alternative text: what repeats it is a caption.
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
    """Whether an element says what a long alternative text does, and nothing else. In a link it is a teaser's title."""
    return len(alt) >= _MIN_SAME_CHARS and _caption_text(element, len(alt) + 1) == alt and not _is_link(element)


def _is_credit(element: _Element) -> bool:
    """Whether a short element names who made a picture."""
    is_named = element.tag == "cite" or _names_credit(element.get("class", "")[:MAX_CLASS_CHARS])
    return is_named and _caption_text(element, _MAX_CREDIT_CHARS) is not None


_MAX_CREDIT_CHARS = 100


def _caption_in(element: _Element) -> _Element | None:
    """The element if it is a caption by its class, or the caption among its first few descendants."""
    for part in islice(element.iter(), 6):
        tag = part.tag
        if tag in _NO_CAPTION_PARTS:
            return None
        if tag == "figcaption" or tag == "caption" or _is_caption_class(part.get("class")):
            return part if _caption_text(part, MAX_CAPTION_CHARS, is_shown=True) is not None else None
    return None


def _cell_below(cell: _Element) -> list[_Element]:
    """The caption of an image in a table cell: the cell of class caption under it in the next row."""
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
    """What else stands in a frame around one image, where it is little, and behind the image; taken out."""
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
    """The one line over an image, in a frame that its tag or class names a figure and that holds no other words."""
    if frame.tag in ("p", "center") or frame.get("align") == "center" or len(before) > 1 or _is_link(before[0]):
        return None
    if any(has_words(part.tail) or not _is_empty(part) for part in rest[1:]) or has_words(rest[0].tail):
        return None
    text = _caption_text(before[0], MAX_FRAME_CHARS)
    if text is not None:
        _empty(before[0])
    return text


def _is_only_cell(cell: _Element) -> bool:
    """Whether a table is no more than a frame around one cell."""
    row = cell.getparent()
    if row is None or row.tag != "tr" or has_more(row, 1):
        return False
    rows = row.getparent()
    return rows is not None and not has_more(rows, 3) and sum(part.tag in ("tr", "tbody") for part in rows) == 1


def _is_link(element: _Element) -> bool:
    """Whether the words of a small element are all links: a button, a menu, a download."""
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
    """Whether an element's style makes it as wide as its picture, or a little wider: it is the frame around it."""
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
    """Whether an element is all that its parent holds but for other images before it and labels beside it."""
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
    """Whether there is neither a word nor an image in a small element."""
    return not isinstance(element.tag, str) or element.tag in _SKIPPED or _is_short(element, 0)


def _is_label(element: _Element) -> bool:
    """Whether an element is a credit, a button or the like: a few words that may stand beside an image."""
    names = element.get("class", "")[:MAX_CLASS_CHARS]
    if _names_hidden(names):
        return _is_short(element, MAX_FRAME_CHARS)
    return _is_short(element, _MAX_LABEL_CHARS) and (_names_label(names) or _is_link(element))


def _is_wordless(element: _Element) -> bool:
    """Whether a small element holds images at most."""
    parts = list(islice(element.iter(), 9))
    return len(parts) < 9 and not any(has_words(part.text) or has_words(part.tail) for part in parts)


def _is_short(element: _Element, max_chars: int) -> bool:
    """Whether a small element holds no image, and no more than that many characters."""
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
    """The words of an element that can be a caption; None where it cannot be one."""
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
    """Empties an element. It stays in the tree as a block: taking it out would copy its tail to its neighbour."""
    element.clear(keep_tail=True)
    element.tag = "div" if element.tag not in ("td", "th", "dd") else element.tag
