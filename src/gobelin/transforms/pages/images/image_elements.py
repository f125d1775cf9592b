"""Collects the elements of a page that show an image, each with all its addresses. ``rewrite_images`` starts from them.

    img, image, amp-img ...       their attributes, and the <source>s of the <picture> around them
    object, embed                 if their type or address is that of an image; an image inside is their fallback
    video                         its poster, a still that the reader sees
    svg > image                   the raster image in a drawing
    svg                           a drawing that is more than an icon: see ``inline_drawings``
    noscript                      a copy: joined to its lazy image, else an image of its own
    style="background: url()"     if it is content: see ``_Reader.read_background``

Ignored are form buttons (``input type=image``), the content of templates, scripts and the head, images of one pixel,
and images of known tracking services. One pass in document order; at most ``MAX_ANCESTORS`` ancestors of each image are
read.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from itertools import islice

from lxml.etree import _Element

from gobelin.transforms.pages.images.image_attributes import Kind, attribute_kind
from gobelin.transforms.pages.images.image_candidates import (
    UNKNOWN_WIDTH,
    Found,
    from_attributes,
    from_css,
    from_source,
    image_url,
    is_image_file,
    is_placeholder,
    names_image_file,
)
from gobelin.transforms.pages.images.image_drafts import (
    MAX_ANCESTORS,
    Draft,
    Place,
    attribute_caption,
    clean,
    place_of,
    rendered_size,
)
from gobelin.transforms.pages.images.inline_drawings import drawing_title, drawing_url, is_picture
from gobelin.transforms.pages.images.noscript_images import join_noscript, parse_noscript
from gobelin.transforms.pages.tree.formulas import formula_of_image
from gobelin.transforms.urls import resolve

SENTINEL = "https://image.invalid/"

_MAX_CONTENT = 32
"""Number of elements inside an object or a background that are searched for words."""

_MAX_FALLBACK_CHARS = 300
"""Maximum length of the fallback text in an <object> or a <video>. A longer text is content of the page."""

_ICON_PX = 32
"""An image of at most this width and height that links to an image file is the button that enlarges its neighbour."""

_CUSTOM_TAGS = ("amp-img", "amp-anim", "lazy-image", "lazy-img", "progressive-image", "v-img")
_POSTER_TAGS = ("video", "amp-video")
_BACKGROUND_TAGS = ("div", "figure")
_TAGS = (
    "img", "image", *_CUSTOM_TAGS, *_POSTER_TAGS, "object", "embed", "source", "noscript", "figcaption", "svg",
)  # fmt: skip
_HOLDERS = frozenset((*_CUSTOM_TAGS, *_POSTER_TAGS, "object"))
_SHOWS_IMAGE = frozenset(_TAGS) - {"source", "figcaption", "svg"}
_PAGE_TAGS = (_SHOWS_IMAGE - {"image"}) | {"p", "div", "ul", "table", "section", "article", "figure", "picture"}
_NOT_BARE = _SHOWS_IMAGE | {"svg", "iframe", "input", "picture", "form"}
_MAX_DRAWING = 256
_MAY_HOLD = _HOLDERS | {"embed", "image"}
_LAZY_BACKGROUND = ("data-bg", "data-background-image", "data-background")
_COUNTERS = (
    "scorecardresearch.", "quantserve.", "doubleclick.", "facebook.com/tr", "statcounter.", "piwik", "matomo",
    "google-analytics", "hit.xiti", "/avw.php", "mc.yandex.ru/watch", "counter.yadro", "vgwort.de", ".2o7.net",
    "/pixel?", "/track?",
)  # fmt: skip
"""Parts of addresses of tracking services, collected from <noscript> on real pages."""

_MAX_WIDTH = re.compile(r"max-width:\s*(\d{1,5})px")
_IMAGE_WORD = re.compile(r"image|img|photo|picture|cover|hero|thumb|poster|lazy", re.I)
_ORNAMENT_WORD = re.compile(
    r"(?:^|[^a-z])(?:icons?|logos?|sprites?|arrows?|bullets?|avatars?|pattern|texture|gradient|buttons?|flags?|line)(?:[^a-z]|$)",
    re.I,
)


@dataclasses.dataclass(slots=True)
class PageImages:
    """The result of ``collect_images``, in document order."""

    drafts: list[Draft] = dataclasses.field(default_factory=list)
    figcaptions: list[tuple[_Element, int]] = dataclasses.field(default_factory=list)  # with number of images before
    sources: list[_Element] = dataclasses.field(default_factory=list)


def collect_images(tree: _Element, base_url: str) -> PageImages:
    """Collects the images of a page with their addresses. <noscript> copies are joined to their originals."""
    reader = _Reader(base_url)
    backgrounds = {element for element in tree.iter(*_BACKGROUND_TAGS) if _may_have_background(element)}
    for element in list(tree.iter(*_TAGS, *_BACKGROUND_TAGS) if backgrounds else tree.iter(*_TAGS)):
        tag = element.tag
        if tag in _BACKGROUND_TAGS:
            if element in backgrounds:
                reader.read_background(element)
        elif tag == "figcaption":
            reader.page.figcaptions.append((element, len(reader.page.drafts)))
        elif tag == "source":
            reader.read_source(element)
        elif tag == "svg":
            reader.read_drawing(element)
        elif tag == "noscript":
            if len(element) == 0 and element.text and "<img" in element.text:
                for img in parse_noscript(element):
                    if formula_of_image(img) is None:  # a copy of a formula that is text already
                        reader.read_image(img)
        else:
            reader.read_image(element)
    reader.page.drafts = join_noscript(reader.page.drafts)
    return reader.page


def _may_have_background(element: _Element) -> bool:
    style = element.get("style")
    return bool((style and "url(" in style) or element.get("data-src") or element.get("data-bg"))


class _Reader:
    """Collects the images of one page, element by element in document order."""

    def __init__(self, base_url: str) -> None:
        self.page = PageImages()
        self._base_url = base_url
        self._holders: dict[_Element, Draft] = {}
        self._pictures: dict[_Element, list[Found]] = {}
        self._backgrounds: set[_Element] = set()
        self._drawings: set[_Element] = set()
        self._links: set[_Element] = set()  # links whose target was used as the larger version of an image

    def read_source(self, source: _Element) -> None:
        self.page.sources.append(source)
        picture = next((p for p in islice(source.iterancestors(), MAX_ANCESTORS) if p.tag == "picture"), None)
        if picture is not None:
            attributes = dict(source.items())
            limit = _MAX_WIDTH.search(attributes.get("media", ""), 0, 256)
            found = from_source(attributes, self._base_url, int(limit.group(1)) if limit else None)
            self._pictures.setdefault(picture, []).extend(found)

    def read_image(self, element: _Element) -> None:
        place = place_of(element, self._holders)
        attributes = dict(element.items())
        if attributes.get("src", "").startswith(SENTINEL):  # the page must not forge a sentinel
            del element.attrib["src"]
        if place.is_unseen:
            return
        drawing = place.svg if element.tag == "image" else None
        if drawing is not None:
            if drawing in self._drawings:  # a drawing of several images is not a picture
                return
            self._drawings.add(drawing)
            found = self._svg_image(attributes)
        elif element.tag in ("object", "embed"):
            found = self._plugin_image(attributes)
            if not found:
                return
        elif element.tag in _POSTER_TAGS:
            poster = attributes.get("poster") or attributes.get("data-poster") or ""
            found = [Found(url, UNKNOWN_WIDTH) for url in (image_url(self._base_url, poster),) if url]
            if not found:
                return
        else:
            found = []
        width, height = rendered_size(attributes)
        is_lazy = not found and _is_lazy(attributes)
        if element.tag in _CUSTOM_TAGS and "layout" in attributes and (width or 0) < 64:  # "16 x 9" is an aspect ratio
            width = height = None
        if not found:
            found = from_attributes(attributes, self._base_url, width)
            if place.picture is not None:
                found += self._pictures.get(place.picture, ())
            if is_lazy and all(is_placeholder(one.url) for one in found):
                found += self._wrapper_image(element, width)
        if place.holder is not None and place.holder is not element:  # it is the fallback of an <object> or <amp-img>
            holder = self._holders[place.holder]
            holder.found += found
            holder.alt = holder.alt or clean(attributes.get("alt"))
            return
        if (not is_lazy or place.noscript is not None) and _is_counter(found, width, height, attributes, place):
            return
        draft = Draft(
            element=drawing if drawing is not None else element,
            place=len(self.page.drafts),
            found=found,
            alt=clean(attributes.get("alt")) or clean(attributes.get("aria-label")),
            title=clean(attributes.get("title")),
            caption=attribute_caption(attributes.get("data-caption")),
            width=width,
            height=height,
            is_lazy=is_lazy,
            holds_content=_holds_page(drawing) if drawing is not None else _holds_content(element),
            figure=place.figure,
            outer_figure=place.outer_figure,
            noscript=place.noscript,
        )
        if place.link is not None:
            self._read_link(draft, place.link)
        if element.tag in _HOLDERS and not draft.holds_content:
            self._holders[element] = draft
        self.page.drafts.append(draft)

    def read_drawing(self, svg: _Element) -> None:
        place = place_of(svg, self._holders)
        if place.is_unseen or place.svg is not None or place.holder is not None or not is_picture(svg, place):
            return
        width, height = rendered_size(dict(svg.items()))
        draft = Draft(
            element=svg,
            place=len(self.page.drafts),
            found=[Found(drawing_url(svg), UNKNOWN_WIDTH)],
            alt=drawing_title(svg),
            title=None,
            width=width,
            height=height,
            is_drawing=True,
            holds_content=_holds_page(svg),
            figure=place.figure,
            outer_figure=place.outer_figure,
            noscript=place.noscript,
        )
        if place.link is not None:
            self._read_link(draft, place.link)
        self.page.drafts.append(draft)

    def read_background(self, element: _Element) -> None:
        """Reads a background if it is content: the element has no words and no image in it, it declares an image (by
        role, class, figure or label), and neither its class nor the address names an ornament."""
        style = element.get("style") or ""
        found: list[Found] = []
        if "url(" in style and "repeat-" not in style and " repeat" not in style.replace("no-repeat", ""):
            found = from_css(style, self._base_url)
        lazy = next((element.get(name) for name in _LAZY_BACKGROUND if element.get(name)), None)
        source = element.get("data-src")
        if lazy is None and source and (names_image_file(source) or _IMAGE_WORD.search(element.get("class", ""))):
            lazy = source
        if lazy is not None:
            found += from_attributes({"data-src": lazy}, self._base_url, None)
        if not found or not _is_bare(element):
            return
        if any(parent in self._backgrounds for parent in islice(element.iterancestors(), _MAX_CONTENT)):
            return
        alt = next((element.get(name) for name in ("aria-label", "data-alt", "title") if element.get(name)), None)
        parent = element.getparent()
        says_image = element.get("role") == "img" or (parent is not None and parent.tag == "figure")
        says_image = says_image or element.tag == "figure" or _IMAGE_WORD.search(element.get("class", "")) is not None
        urls = [one.url for one in found if one.url[:5].lower() != "data:"]
        is_ornament = _ORNAMENT_WORD.search(element.get("class", "")) or not urls or _ORNAMENT_WORD.search(urls[0])
        if is_ornament or not (says_image or alt):
            return
        place = place_of(element, self._holders)
        if place.is_unseen or place.noscript is not None or place.holder is not None or place.svg is not None:
            return
        width, height = rendered_size(dict(element.items()))
        draft = Draft(
            element=element,
            place=len(self.page.drafts),
            found=found,
            alt=clean(alt),
            title=clean(element.get("title")),
            width=width,
            height=height,
            is_lazy=lazy is not None,
            figure=place.figure,
            outer_figure=place.outer_figure,
        )
        if place.link is not None:
            self._read_link(draft, place.link)
        self._backgrounds.add(element)
        self.page.drafts.append(draft)

    def _read_link(self, draft: Draft, link: _Element) -> None:
        href = link.get("href", "")
        url = None if href.lstrip()[:1] in ("", "#") else resolve(self._base_url, href)
        if url is None or url[:5].lower() == "data:":
            return
        draft.link_url = url
        draft.caption = draft.caption or attribute_caption(link.get("data-caption"))
        if link in self._links or not is_image_file(url):
            return
        self._links.add(link)
        is_button = 0 < (draft.width or 0) <= _ICON_PX and 0 < (draft.height or 0) <= _ICON_PX
        previous = self.page.drafts[-1] if self.page.drafts else None
        if not is_button:
            draft.larger = url
        elif previous is not None and previous.larger is None and _are_neighbours(previous.element, link):
            previous.larger = url

    def _svg_image(self, attributes: Mapping[str, str]) -> list[Found]:
        addresses = (attributes.get(name) for name in ("href", "xlink:href", "src"))
        urls = (image_url(self._base_url, address) for address in addresses if address)
        return [Found(url, UNKNOWN_WIDTH) for url in urls if url]

    def _plugin_image(self, attributes: Mapping[str, str]) -> list[Found]:
        address = attributes.get("data") or attributes.get("src") or ""
        if not (attributes.get("type", "").strip().lower().startswith("image/") or is_image_file(address)):
            return []
        url = image_url(self._base_url, address)
        return [Found(url, UNKNOWN_WIDTH)] if url else []

    def _wrapper_image(self, element: _Element, width: int | None) -> list[Found]:
        """The addresses in lazy attributes of the elements around an image that has none of its own."""
        for wrapper in islice(element.iterancestors(), 2):
            if wrapper.tag not in ("div", "span", "a", "picture", "figure"):
                break
            attributes = {
                name: value for name, value in wrapper.items() if name not in ("href", "src", "class", "style")
            }
            found = [one for one in from_attributes(attributes, self._base_url, width) if names_image_file(one.url)]
            if found:
                return found
        return []


def _is_counter(
    found: list[Found], width: int | None, height: int | None, attributes: Mapping[str, str], place: Place
) -> bool:
    """Whether an image serves to count visits: it has one pixel, is hidden, or belongs to a tracking service."""
    is_thin = (width is not None and width <= 1) or (height is not None and height <= 1)
    if is_thin:
        return True
    if any(names_image_file(one.url) for one in found):
        return False
    if any(word in one.url[:512].lower() for one in found for word in _COUNTERS):
        return True
    if place.noscript is None:
        return False
    style = attributes.get("style", "")[:512].lower().replace(" ", "")
    if "display:none" in style or "left:-999" in style:
        return True
    before = place.noscript.getprevious()
    return before is not None and before.tag == "script"


def _is_lazy(attributes: Mapping[str, str]) -> bool:
    """Whether a script is to fill in the address of the image."""
    source = attributes.get("src")
    if not source or source[:5].lower() == "data:" or "lazy" in attributes.get("class", "").lower():
        return True
    for name in attributes:  # noqa: SIM110  # any() with a generator takes twice as long, for every image
        if attribute_kind(name) is Kind.LAZY:
            return True
    return False


def _are_neighbours(element: _Element, link: _Element) -> bool:
    """Whether an element and a link are in the same small block."""
    parent = element.getparent()
    return any(ancestor is parent for ancestor in islice(link.iterancestors(), 3))


def _is_bare(element: _Element) -> bool:
    """Whether an element is small and holds neither words nor an image."""
    for count, part in enumerate(element.iter()):
        if count > _MAX_CONTENT or part.tag in _NOT_BARE:
            return False
        if (part.text and not part.text.isspace()) or (part is not element and part.tail and not part.tail.isspace()):
            return False
    return True


def _holds_content(element: _Element) -> bool:
    """Whether an element that shows an image also holds content of the page, because its end tag is missing."""
    if element.tag not in _MAY_HOLD:
        return False
    if element.tag not in _HOLDERS:  # <embed> has no end tag, but libxml2 waits for one
        return next(element.iterchildren(), None) is not None or bool(element.text)
    num_chars = 0
    for count, part in enumerate(element.iter()):
        num_chars += len((part.text or "").strip()) + len((part.tail or "").strip() if part is not element else "")
        if count > _MAX_CONTENT or num_chars > _MAX_FALLBACK_CHARS:
            return True
    return num_chars > 0 and element.tag not in ("object", *_POSTER_TAGS)


def _holds_page(drawing: _Element) -> bool:
    """Whether a drawing holds elements of the page, because its end tag is missing."""
    return any(part.tag in _PAGE_TAGS for part in islice(drawing.iter(), _MAX_DRAWING))
