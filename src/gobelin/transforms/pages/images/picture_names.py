"""Finds which images of a page are the picture that the page declares as its own.

Pages declare a picture for previews of links (Open Graph's ``og:image``, ``twitter:image``, schema.org's ``image``,
``<link rel=image_src>``). If the body shows it, it belongs to the article. One picture has many addresses, so they are
compared without sizes, hosts and resizing services. Logos, icons and placeholders of a site are ignored.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from urllib.parse import unquote

from lxml.etree import _Element

from gobelin.transforms.urls import resolve

_META_NAMES = frozenset((
    "og:image", "og:image:url", "og:image:secure_url", "twitter:image", "twitter:image:src", "image", "thumbnail",
    "thumbnailurl", "primaryimageofpage",
))  # fmt: skip
_MAX_METAS = 400
_MAX_URL_CHARS = 1000
_INNER = re.compile(r"https?:/{1,2}", re.I)
_EXTENSION = re.compile(r"\.(?:jpe?g|png|gif|webp|avif|jfif|svg|bmp|image)(?![a-z]).*$", re.I | re.S)
_SIZE_WORD = "size|fill|crop|scale|fit|width|height|max|min|fpx|fpy|w|h|r|q"
_SIZE = re.compile(
    rf"(?:^|[-_.,@])(?:(?:{_SIZE_WORD})?[-_:]?\d{{2,4}}x\d{{1,4}}(?:px|w\d?|h|x)?|(?:{_SIZE_WORD})[-_:]?\d{{1,4}}(?:\.\d+)?"
    r"|\d{1,4}(?:px|w|h|x)|v\d{9,10}|scaled|thumb(?:nail)?|large|medium|small|preview|fill|crop)(?=[-_.,@]|$)",
    re.I,
)
_COMMON = re.compile(
    r"(?:[-_.]|hero|main|header|cover|lead|teaser|featured?|article|image|img|photo|picture|pic|original|default|full)*",
    re.I,
)
_LAST_NUMBER = re.compile(r"[-_.]\d{3,4}$")
_MIN_NAME_CHARS = 10
_MAX_SEGMENTS = 4
_AUTHOR = re.compile(r'"author"\s*:\s*\[?\s*\{[^{}]{0,300}?"name"\s*:\s*"([^"\\]{2,80})"')
_MIN_AUTHOR_CHARS = 5
_MAX_AUTHOR_CHARS = 80
_MAX_JSON_CHARS = 200_000
_MARK = re.compile(r"logo|icon|avatar|placeholder|blank|spacer|site-?image|share[-_]|[-_]share|\bdefault[-_.]", re.I)


def own_picture_names(declared: Iterable[_Element], base_url: str) -> frozenset[str]:
    """The names (``picture_name``) of the pictures that a page declares as its own.

    Args:
        declared: its ``<meta>``, ``<link>`` and ``<script>`` elements; the same holds for the functions below.
    """
    names = set()
    for element in _first(declared, "meta", "link"):
        if element.tag == "link":
            url = element.get("href") if element.get("rel", "").lower() == "image_src" else None
        else:
            name = element.get("property") or element.get("name") or element.get("itemprop") or ""
            url = element.get("content") if name.lower() in _META_NAMES else None
        if not url or len(url) > _MAX_URL_CHARS:
            continue
        resolved = resolve(base_url, url)
        if resolved is not None and resolved[:5].lower() != "data:" and not is_mark(resolved):
            names.add(picture_name(resolved))
    names.discard("")
    return frozenset(names)


def author_names(declared: Iterable[_Element]) -> frozenset[str]:
    """The declared authors of a page, with case and white space folded: from ``<meta name=author>`` and from
    JSON-LD."""
    names = []
    for element in _first(declared, "meta", "script"):
        if element.tag == "script":
            if element.get("type") == "application/ld+json":
                names += _AUTHOR.findall((element.text or "")[:_MAX_JSON_CHARS])
        elif (element.get("name") or element.get("property") or "").lower() in ("author", "article:author"):
            names.append((element.get("content") or "")[:_MAX_AUTHOR_CHARS])
    return frozenset(" ".join(name.casefold().split()) for name in names if len(name) >= _MIN_AUTHOR_CHARS)


def own_addresses(declared: Iterable[_Element], base_url: str) -> tuple[str, ...]:
    """The addresses of a page without their scheme: its crawl address, and those that its head declares."""
    addresses = [base_url]
    for element in _first(declared, "meta", "link"):
        if element.tag == "link":
            url = element.get("href") if element.get("rel", "").lower() == "canonical" else None
        else:
            url = element.get("content") if element.get("property", "").lower() == "og:url" else None
        resolved = resolve(base_url, url) if url and len(url) <= _MAX_URL_CHARS else None
        if resolved is not None:
            addresses.append(resolved)
    return tuple(dict.fromkeys(map(_without_scheme, addresses)))


def _first(elements: Iterable[_Element], *tags: str) -> Iterator[_Element]:
    """The first ``_MAX_METAS`` elements with one of some tags."""
    return islice((element for element in elements if element.tag in tags), _MAX_METAS)


def is_below(url: str, addresses: Iterable[str]) -> bool:
    """Whether an address equals one of the given ones, or lies in a folder that does. The root of a site does not count
    as a folder."""
    address = _without_scheme(url)
    return any(address == own or ("/" in own and address.startswith(own + "/")) for own in addresses)


def _without_scheme(url: str) -> str:
    return url[:_MAX_URL_CHARS].partition("://")[2].partition("#")[0].rstrip("/")


def picture_file(url: str) -> str:
    """The file name of a picture without sizes. Numbers that identify a picture stay."""
    path = _INNER.split(unquote(url[:_MAX_URL_CHARS]))[-1]
    return _SIZE.sub("", _SIZE.sub("", _EXTENSION.sub("", re.split("[?#]", path, maxsplit=1)[0].rpartition("/")[2])))


def picture_name(url: str) -> str:
    """The part that all addresses of one picture share: the last part of its path without sizes, with the part before
    it if the last one is short or generic. Empty if nothing is left."""
    url = unquote(unquote(url[:_MAX_URL_CHARS]))
    parts = _INNER.split(url)
    path = parts[-1] if len(parts) > 1 else url.partition("//")[2]
    path = path.partition("?")[0].partition("#")[0].partition("/")[2]
    names: list[str] = []
    num_chars = 0
    for segment in reversed(path.split("/")[-_MAX_SEGMENTS:]):
        short = _without_size(segment)
        if short:
            names.append(short)
            num_chars += 0 if _COMMON.fullmatch(short) else len(short)
        if num_chars >= _MIN_NAME_CHARS:
            break
    return "/".join(reversed(names[:2]))


@functools.lru_cache(1024)  # a page repeats the same files and folders many times
def _without_size(segment: str) -> str:
    """A part of a picture's path in lower case, without extension and sizes."""
    short, num_sizes = _SIZE.subn("", _EXTENSION.sub("", segment))
    if num_sizes:
        short = _SIZE.sub("", short)
    number = _LAST_NUMBER.search(short)  # a width, unless the rest is too short to identify the picture
    if number is not None and number.start() >= _MIN_NAME_CHARS:
        short = short[: number.start()]
    return short.lower()


def is_mark(url: str) -> bool:
    """Whether the last two parts of an address name a logo, an icon or a placeholder."""
    path = url.partition("?")[0]
    return _MARK.search("/".join(path.split("/")[-2:])) is not None
