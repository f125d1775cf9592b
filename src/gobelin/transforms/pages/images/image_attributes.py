"""Classifies attributes by their names: which may hold the address of an image, and which version of it.

Lazy-loading scripts keep the address in an attribute of their own, and so do galleries, zooms and share buttons. The
names in ``_LAZY`` come from OBELICS' released extractor, from the scripts themselves and from public lists of reader
modes and scrapers. Any other attribute is classified by the words in its name, and its value must look like an image
file. ``docs/image-references.md`` counts what each gave on real pages.
"""

from __future__ import annotations

import enum
import functools
import re


class Kind(enum.Enum):
    """What an attribute may hold."""

    SRC = enum.auto()  # the address that a browser shows without scripts
    SRCSET = enum.auto()  # several addresses with their widths
    LAZY = enum.auto()  # the address that a script will show
    LARGE = enum.auto()  # a large version for a gallery or a zoom, if the value looks like an image file
    SMALL = enum.auto()  # a thumbnail, under the same condition
    OTHER = enum.auto()  # any other attribute, under the same condition
    NONE = enum.auto()  # no address, or the address of another image


_LAZY = frozenset((
    # OBELICS' list of src attributes
    "data-src", "data-src-fg", "data-scroll-image", "data-lateloadsrc", "data-img-src", "data-original",
    "data-gt-lazy-src", "data-lazy", "data-lazy-src", "src2",
    # jQuery.lazyload, lazysizes, unveil, bLazy, Slick, Flickity, Mirage, WP Rocket, a3, NitroPack, Discuz ...
    "data-url", "data-image", "data-img", "data-srcurl", "data-lazysrc", "data-lazyload", "data-lazy-load",
    "data-lazy-original", "data-echo", "data-cfsrc", "data-cmplz-src", "data-defer-src", "data-deferred",
    "data-delayed-url", "data-delay-src", "data-flickity-lazyload", "data-flickity-lazyload-src", "data-orig-src",
    "data-original-src", "data-actualsrc", "data-actual", "data-native-src", "data-image-src", "data-imgsrc",
    "data-img-url", "data-image-url", "data-wf-src", "data-ll-src", "data-ks-lazyload", "data-ezsrc",
    "data-pagespeed-lazy-src", "data-pagespeed-high-res-src", "data-breeze", "data-default-src",
    "data-src-default", "data-baseurl", "data-path", "data-medias", "data-swap", "data-adaptive-image",
    "data-ezimgfmt-src", "data-i", "nitro-lazy-src", "ess-data", "load-src", "lazy-src", "lazysrc",
    "lazyload-src", "datasrc", "data_src", "original", "original-src", "file", "zoomfile", "real-src", "big-src",
))  # fmt: skip

_LARGE = frozenset((
    "large", "larger", "xlarge", "big", "full", "fullsize", "fullscreen", "max", "maxsize", "zoom", "magnify",
    "orig", "originals", "hires", "highres", "hi", "retina", "lightbox", "lg", "xl", "xxl", "hd", "2x", "3x",
    "4x", "desktop",
))  # fmt: skip

_SMALL = frozenset((
    "small", "xsmall", "mini", "xs", "sm", "tiny", "thumb", "thumbnail", "thumbs", "lqip", "lowsrc", "preview",
    "mobile", "teaser", "medium",
))  # fmt: skip

_NO_IMAGE = frozenset((
    "alt", "title", "class", "id", "style", "name", "usemap", "longdesc", "filename", "caption", "placeholder",
    "blank", "default", "fallback", "error", "onerror", "alternative", "icon", "logo", "avatar", "share",
    "normal", "extension", "video", "href", "link", "permalink", "page", "desc", "description", "content",
    "itemid", "credit", "copyright", "author", "hover", "poster", "width", "height", "aspectratio", "sizes",
    "role", "type",
))  # fmt: skip

_WORDS = re.compile(r"\d+x|[a-z]+")


@functools.lru_cache(4096)
def attribute_kind(name: str) -> Kind:
    """The kind of an attribute, by its name. Pages use few names, so nearly all calls are cached look-ups of 0.1 us."""
    name = name[:256].lower()
    if name == "src":
        return Kind.SRC
    if name in _LAZY or name == "data-interchange":
        return Kind.LAZY
    words = set(_WORDS.findall(name))
    if not words.isdisjoint(_NO_IMAGE) or name.startswith("on") or "placeholder" in name:
        return Kind.NONE
    if "srcset" in name or name in ("data-original-set", "data-sources"):
        return Kind.SRCSET
    if not words.isdisjoint(_SMALL):
        return Kind.SMALL
    return Kind.LARGE if not words.isdisjoint(_LARGE) else Kind.OTHER
