"""Image references of a page: each place where the page shows a picture, as one list of candidates.

An image may name its file in ``src``, in ``srcset`` (its own, or that of a ``<source>`` in the surrounding
``<picture>``), in an attribute of a lazy-loading script, in a ``<noscript>`` copy beside it, or in the link around it.
A crawl may hold any of these files. A reference therefore keeps all candidates, best first, and the archive decides
which of them exists.

``rewrite_images`` turns each image, whatever element showed it, into one ``<img>`` with a sentinel address
(``https://image.invalid/7.jpg`` for the reference with index 7). Later steps then have to know only one form of image.
It also removes captions from the text and attaches them to their images.

    1  image_elements    one pass over the elements that can show an image, each with all its addresses
    2  image_candidates  ranks the addresses; an image with nothing but blanks is left out
    3  sentinels are written, pictures and noscripts opened
    4  captions          figcaptions, then captions by class and frame

Each step reads a bounded number of elements around an image, so the time is linear in the size of the page.
"""

from __future__ import annotations

import bisect
import dataclasses
from itertools import islice

from lxml.etree import _Element

from gobelin.transforms.pages.captions.caption_text import MAX_CAPTION_CHARS
from gobelin.transforms.pages.captions.captions import take_captions, take_figcaption
from gobelin.transforms.pages.images.data_urls import decode_data_url
from gobelin.transforms.pages.images.image_candidates import rank, without_stand_ins
from gobelin.transforms.pages.images.image_drafts import MAX_ANCESTORS, MAX_DIMENSION, Draft
from gobelin.transforms.pages.images.image_elements import SENTINEL, collect_images
from gobelin.transforms.pages.images.picture_names import (
    author_names,
    is_below,
    own_addresses,
    own_picture_names,
    picture_name,
)
from gobelin.transforms.urls import PageAddress, resolve

__all__ = [
    "MAX_DIMENSION", "SENTINEL", "ImageReference", "decode_data_url", "document_base", "rewrite_images",
    "sentinel_index",
]  # fmt: skip

_MAX_COMPARED = 8
"""Number of candidates of an image that are compared with the page's own picture."""


@dataclasses.dataclass(frozen=True, slots=True)
class ImageReference:
    """A picture as the page refers to it. ``candidates`` are absolute URLs or ``data:`` URLs, best first."""

    candidates: tuple[str, ...]
    alt: str | None = None
    caption: str | None = None
    title: str | None = None
    link_url: str | None = None  # http(s) target of the link around it
    rendered_width: int | None = None  # px
    rendered_height: int | None = None  # px
    is_own: bool = False  # the page declares it as its picture: see picture_names.py
    is_author: bool = False  # its alt text is the name of an author of the page
    leads_here: bool = False  # the link around it leads to the page itself, or to a page below it


def rewrite_images(tree: _Element, base_url: str) -> list[ImageReference]:
    """Rewrites ``tree`` in place: each image becomes an ``<img>`` whose sentinel holds its index in the returned list.

    ``<picture>``, ``<source>`` and ``<noscript>`` around an image become ``<span>``; captions become empty blocks. An
    ``<img>`` that is not an image (no address, one pixel) keeps its address, which is not a sentinel.
    """
    page = collect_images(tree, base_url)
    drafts: list[Draft] = []
    candidates: list[list[str]] = []
    images: list[_Element] = []
    for draft in page.drafts:
        ranked = [draft.found[0].url] if draft.is_drawing else rank(draft.found, draft.larger)
        if ranked:
            images.append(_write_sentinel(draft, len(drafts)))
            drafts.append(draft)
            candidates.append(ranked)
    for source in page.sources:
        source.tag = "span"  # lxml nests the elements after a <source> in it, images too
    captions = _attach_figcaptions(page.figcaptions, dict(zip(drafts, images, strict=True)))
    small = [image for image, draft in zip(images, drafts, strict=True) if draft.is_small and image not in captions]
    large = [image for image, draft in zip(images, drafts, strict=True) if not draft.is_small and image not in captions]
    captions |= take_captions(large, small)
    if not drafts:
        return []
    declared = list(tree.iter("meta", "link", "script"))
    own = own_picture_names(declared, base_url)
    authors = author_names(declared) if any(draft.alt for draft in drafts) else frozenset()
    here = own_addresses(declared, base_url) if any(draft.link_url for draft in drafts) else ()
    return [
        ImageReference(
            candidates=urls,
            alt=draft.alt,
            caption=captions.get(image) or draft.caption,
            title=draft.title,
            link_url=draft.link_url,
            rendered_width=draft.width,
            rendered_height=draft.height,
            is_own=bool(own) and any(picture_name(url) in own for url in urls[:_MAX_COMPARED]),
            is_author=bool(draft.alt) and " ".join((draft.alt or "").casefold().split()) in authors,
            leads_here=draft.link_url is not None and is_below(draft.link_url, here),
        )
        for draft, urls, image in zip(drafts, without_stand_ins(candidates), images, strict=True)
    ]


def sentinel_index(src: str) -> int | None:
    """The index in a sentinel address, or None for any other address."""
    name = src.removeprefix(SENTINEL)
    return int(name[:-4]) if len(name) < len(src) and name[:-4].isdecimal() else None


def document_base(tree: _Element, url: str, encoding: str = "utf-8") -> PageAddress:
    """The address that relative references resolve against: that of the first <base href>, else the page's own.

    Args:
        url: of the page.
        encoding: WHATWG name of the page's encoding.
    """
    own = PageAddress(url, encoding)
    address = next((href for base in tree.iter("base") if (href := base.get("href")) is not None), None)
    found = resolve(own, address) if address is not None else None
    return PageAddress(found, encoding) if found is not None and found[:5].lower() != "data:" else own


def _write_sentinel(draft: Draft, index: int) -> _Element:
    """Returns the <img> that stands for an image: its own element, or a new one inside it if it also holds text of the
    page."""
    element = draft.element
    if draft.noscript is not None:
        draft.noscript.tag = "span"
    if not draft.holds_content:
        element.clear(keep_tail=True)
        element.tag = "img"
    else:
        element.tag = "span"
        image = element.makeelement("img")
        image.tail = element.text
        element.text = None
        element.insert(0, image)
        element = image
    element.set("src", f"{SENTINEL}{index}.jpg")
    if draft.alt:
        element.set("alt", draft.alt)
    if draft.width:
        element.set("width", str(draft.width))
    picture = element.getparent()
    while picture is not None and picture.tag in ("picture", "source"):
        picture.tag = "span"
        picture = picture.getparent()
    return element


def _attach_figcaptions(figcaptions: list[tuple[_Element, int]], images: dict[Draft, _Element]) -> dict[_Element, str]:
    """Attaches each figcaption to the nearest image of its figure: the last one before it, else the first one after
    it."""
    own: dict[_Element, list[Draft]] = {}
    nested: dict[_Element, list[Draft]] = {}
    for draft in images:
        if draft.figure is not None:
            own.setdefault(draft.figure, []).append(draft)
        if draft.outer_figure is not None:
            nested.setdefault(draft.outer_figure, []).append(draft)
    # The caption of a figure of figures goes to the nearest image without a caption of its own.
    shown_in = {
        figure: [draft for draft in drafts if not draft.is_small] or drafts for figure, drafts in (nested | own).items()
    }
    captions: dict[_Element, str] = {}
    for figcaption, place in figcaptions:
        ancestors = islice(figcaption.iterancestors(), MAX_ANCESTORS)
        figure = next((parent for parent in ancestors if parent.tag == "figure"), None)
        shown = shown_in.get(figure) if figure is not None else None
        if shown is None:
            continue
        at = bisect.bisect_left(shown, place, key=_place_of_draft)
        image = images[shown[at - 1] if at else shown[0]]
        if image in captions and (figure not in own or len(captions[image]) > MAX_CAPTION_CHARS):
            continue
        text = take_figcaption(figcaption)
        if text is not None:
            captions[image] = f"{captions[image]} {text}" if image in captions else text
    return captions


def _place_of_draft(draft: Draft) -> int:
    return draft.place
