"""Finds and ranks the addresses under which a crawl may hold one image.

Each attribute that may name the image's file gives an address and a width: the width in its ``srcset`` descriptor, else
a guess from the attribute's name (``data-large``, ``data-thumb``), else the width in the page's layout. The addresses
are ranked:

    1  the larger version that the image links to
    2  at least USEFUL_WIDTH px, the smallest first: consumers of the corpus scale larger files down
    3  the others, the widest first
    4  SVG, which is rendered

A placeholder (a short ``data:`` image, ``blank.gif``, ``loading.svg``) is removed if there is any other address.
Otherwise an archive that holds the placeholder, and not the image, would give the placeholder as the image. An image
takes about 5 us. The names of lazy-loading attributes come from OBELICS' list, from the 294 real pages of the test
corpus and from public lists of reader modes and scrapers; ``docs/image-references.md`` counts what each gave.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

from gobelin.transforms.pages.images.image_attributes import Kind, attribute_kind
from gobelin.transforms.pages.images.srcset import parse_srcset
from gobelin.transforms.urls import resolve

USEFUL_WIDTH = 1536
"""Pixels. It is WordPress's second largest rendition, and more than the input of current vision encoders in one
tile."""

UNKNOWN_WIDTH = 640
"""Pixels. The assumed width of a file whose width the page does not give."""

THUMBNAIL_WIDTH = 150
"""Pixels. The assumed width of a file in an attribute such as ``data-thumb``."""

MAX_CANDIDATES_KEPT = 24
"""Maximum number of candidates of one image. The most on a real page was 19."""

MIN_DATA_IMAGE_CHARS = 8192
"""A ``data:`` URL of at least this length is kept as the last candidate beside real addresses. Shorter ones are blurred
previews and blanks."""

MAX_ATTRIBUTE_CHARS = 1 << 16
"""A longer attribute is not an address, unless it is a ``data:`` image."""

_READABLE_TYPES = frozenset(
    f"image/{name}"
    for name in (
        "jpeg", "jpg", "pjpeg", "png", "apng", "gif", "webp", "avif", "bmp", "tiff", "x-icon", "vnd.microsoft.icon",
        "jp2", "svg+xml", "*",
    )
)  # fmt: skip
"""Types of a ``<source>`` that are used. Neither gobelin nor most browsers decode others (JPEG XL, HEIF)."""

_IMAGE_FILE = re.compile(r"\.(?:jpe?g|png|gif|webp|avif|bmp|tiff?|jfif|svg)(?![a-z0-9_-])", re.I)
_SVG_FILE = re.compile(r"\.svgz?(?:[?#]|$)|^data:image/svg", re.I)
_ADDRESS_LIKE = re.compile(r"[^\s\"<>]*[/.][^\s\"<>]*")
_WIDTH_TEMPLATE = re.compile(r"\{w(?:idth)?\}|%7Bw(?:idth)?%7D", re.I)
_INTERCHANGE = re.compile(r"\[\s*([^\s,\]]{1,2048}),")
_JSON_SOURCE = re.compile(r'"(?:src|url)"\s*:\s*"([^"\s]{1,2048})"')
_JSON_WIDTH = re.compile(r'"(https?://[^"\s]{1,2048})"\s*:\s*\[\s*(\d{1,5})\s*,')
_CSS_URL = re.compile(r"url\(\s*(?:\"([^\"]{1,8192})\"|'([^']{1,8192})'|([^()\"'\s]{1,8192}))\s*\)", re.I)

_NONE = Kind.NONE  # most attributes are; in Python 3.11 a look-up in an enum takes five times as long as one here
_MIN_STAND_INS = 3

_BLANK_FILE = re.compile(
    r"(?:spacer|blank|transparent|trans|transp|pixel|pix|px|clear|cleardot|shim|invisible|onepixel|1px|[12]x[12](?:[.]trans)?)"
    r"(?:[-_]?(?:\d{1,4}(?:x\d{1,4})?|img|image|gif|pixel|dot))?\.(?:gif|png|svg)",
    re.I,
)
_PLACEHOLDER_WORDS = frozenset((
    "placeholder", "spacer", "blank", "lazy", "lazyload", "lazyloader", "lazyloading", "loading", "preload", "loader",
    "preloader", "ajaxloader", "spinner", "inload", "lqip", "transparent", "missing", "noimage", "noimg", "dummy",
    "pixel",
))  # fmt: skip
_WORDS = re.compile(r"[a-z]+")


@dataclasses.dataclass(slots=True)
class Found:
    """An absolute address, and the stated or guessed width of its file in px."""

    url: str
    width: float


def from_attributes(attributes: Mapping[str, str], base_url: str, layout_width: int | None) -> list[Found]:
    """The addresses in the attributes of an ``img`` (or ``amp-img``, or a lazy ``div``), unranked.

    Args:
        attributes: of the element, by name.
        layout_width: width of the image on the page in px, if the page gives it.
    """
    plain = float(layout_width or UNKNOWN_WIDTH)
    lazy: list[Found] = []
    own: list[Found] = []
    other: list[Found] = []
    widths = attributes.get("data-widths", "")
    for name, value in attributes.items():
        kind = attribute_kind(name)
        if kind is _NONE or not value or (len(value) > MAX_ATTRIBUTE_CHARS and value[:5].lower() != "data:"):
            continue
        if kind is Kind.SRC:
            own += _resolved([value], base_url, plain)
        elif kind is Kind.SRCSET:
            own += from_srcset(value, base_url, plain)
        elif kind is Kind.LAZY:
            if value[:5].lower() == "data:" or "/" in value or names_image_file(value):
                lazy += _read_loose(value, base_url, plain, widths)
        elif names_image_file(value):
            width = plain
            if kind is Kind.LARGE:
                width = max(plain, USEFUL_WIDTH)
            elif kind is Kind.SMALL:
                width = min(plain, THUMBNAIL_WIDTH)
            other += _read_loose(value, base_url, width, widths)
    return lazy + own + other


def from_srcset(srcset: str, base_url: str, layout_width: float, max_width: float | None = None) -> list[Found]:
    """The addresses in a ``srcset``.

    Args:
        layout_width: px. Widths of density descriptors are multiples of it.
        max_width: px of the widest screen of a ``<source>``. It limits widths that come from densities.
    """
    found: list[Found] = []
    for address, width, density in parse_srcset(srcset):
        url = image_url(base_url, address)
        if url is None:
            continue
        if width is None:
            width = layout_width * (density or 1.0)
            if max_width is not None:
                width = min(width, max_width, layout_width)
        found.append(Found(url, width))
    return found


def from_source(attributes: Mapping[str, str], base_url: str, max_width: int | None) -> list[Found]:
    """The addresses in the srcset of a ``<source>``, including lazy ones.

    Args:
        max_width: px of the widest screen for which the source is used.
    """
    found: list[Found] = []
    layout_width = float(min(max_width or UNKNOWN_WIDTH, UNKNOWN_WIDTH))
    media_type = attributes.get("type", "")[:64].partition(";")[0].strip().lower()
    for name, value in attributes.items():
        kind = attribute_kind(name)
        if len(value) > MAX_ATTRIBUTE_CHARS:
            continue
        if kind is Kind.SRCSET:
            found += from_srcset(value, base_url, layout_width, max_width)
        elif kind in (Kind.LAZY, Kind.LARGE, Kind.OTHER) and names_image_file(value):
            found += _read_loose(value, base_url, layout_width, "")
    if media_type.startswith("image/") and media_type not in _READABLE_TYPES:
        found = [Found(one.url, 0.0) for one in found]  # ranked last: the same picture in JPEG or WebP is beside it
    return found


def from_css(style: str, base_url: str) -> list[Found]:
    """The addresses in ``url(...)`` of a style or a ``data-bg``. In a stack of backgrounds the last one is at the
    bottom."""
    addresses = [next(group for group in match.groups() if group) for match in _CSS_URL.finditer(style[:16384])]
    return _resolved(addresses, base_url, UNKNOWN_WIDTH)


def rank(found: Iterable[Found], larger: str | None = None) -> list[str]:
    """The distinct addresses, best first (see the module's docstring); empty if there is nothing but a blank image.

    Args:
        larger: address of the image file to which the image links.
    """
    widths: dict[str, float] = {}
    for one in found:
        # A width from a srcset replaces a guess for the same address.
        if one.url not in widths or widths[one.url] == UNKNOWN_WIDTH:
            widths[one.url] = one.width
    urls = sorted(widths, key=lambda url: _order(url, widths[url])) if len(widths) > 1 else list(widths)
    if larger is not None:
        urls = [larger, *(url for url in urls if url != larger)]
    if len(urls) > 1:
        real = [url for url in urls if not is_placeholder(url)]
        inline = [url for url in real if url[:5].lower() == "data:"]
        if 0 < len(inline) < len(real):
            real = [url for url in real if url[:5].lower() != "data:"]
            real += [url for url in inline if len(url) >= MIN_DATA_IMAGE_CHARS]
        urls = real or [url for url in urls if url[:5].lower() != "data:"] or urls
    if len(urls) == 1 and is_blank(urls[0]):
        return []
    return urls[:MAX_CANDIDATES_KEPT]


def without_stand_ins(candidates: Sequence[list[str]]) -> list[tuple[str, ...]]:
    """Removes a site's own placeholders from the candidates of the images of a page.

    An address is a placeholder if at least ``_MIN_STAND_INS`` images have it as a lower-ranked candidate, and the best
    candidates of these images differ.
    """
    owners: dict[str, list[str]] = {}
    for urls in candidates:
        for url in urls[1:]:
            owners.setdefault(url, []).append(urls[0])
    stand_ins = {url for url, best in owners.items() if len(best) >= _MIN_STAND_INS and len(set(best)) > 1}
    if not stand_ins:
        return [tuple(urls) for urls in candidates]
    return [(urls[0], *(url for url in urls[1:] if url not in stand_ins)) for urls in candidates]


def is_image_file(url: str) -> bool:
    """Whether an address ends with the name of an image file. ``File:Cat.jpg`` is a page about one."""
    name = _file_name(url).partition(";")[0]
    match = _IMAGE_FILE.search(name)
    return match is not None and match.end() == len(name) and ":" not in name and "%3a" not in name.lower()


def names_image_file(value: str) -> bool:
    """Whether the value of an attribute contains the suffix of an image file, such as ``.jpg``."""
    return _IMAGE_FILE.search(value, 0, 2048) is not None


def is_placeholder(url: str) -> bool:
    """Whether an address is that of a placeholder: by its file name, or because it is a short ``data:`` URL."""
    if url[:5].lower() == "data:":
        return len(url) < 512
    name = _file_name(url)
    if not _PLACEHOLDER_WORDS.isdisjoint(_WORDS.findall(name.rpartition(".")[0].lower())):
        return True
    return _BLANK_FILE.fullmatch(name) is not None


def is_blank(url: str) -> bool:
    """Whether an address is that of an empty image: ``spacer.gif``, ``1x1.png``, or a ``data:`` URL too short for an
    image."""
    if url[:5].lower() == "data:":
        return len(url) < (400 if url[:14].lower() == "data:image/svg" else 200)
    return _BLANK_FILE.fullmatch(_file_name(url)) is not None


def _file_name(url: str) -> str:
    return url[:2048].partition("?")[0].partition("#")[0].rpartition("/")[2]


def _order(url: str, width: float) -> tuple[int, float]:
    if _SVG_FILE.search(url[:2048]):
        return 2, -width
    return (0, width) if width >= USEFUL_WIDTH else (1, -width)


def _read_loose(value: str, base_url: str, width: float, widths: str) -> list[Found]:
    """The addresses in a lazy attribute. It usually holds one address, but may hold JSON, a srcset, a style or a
    template."""
    value = value.strip()
    if value[:5].lower() == "data:":
        return _resolved([value], base_url, width)
    if value.startswith("{"):
        stated = _JSON_WIDTH.findall(value[:16384])  # {address: [width, height]}
        found = [one for address, px in stated for one in _resolved([address], base_url, float(px))]
        return found + _resolved(_JSON_SOURCE.findall(value[:16384]), base_url, width)
    if value.startswith("[") and "," in value:  # Foundation's Interchange
        return _resolved(_INTERCHANGE.findall(value[:16384]), base_url, width)
    if "url(" in value:
        return from_css(value, base_url)
    if "{" in value or "%7B" in value:
        value = _WIDTH_TEMPLATE.sub(str(_useful_of(widths)), value[:4096])
        if "{" in value:
            return []
    if _ADDRESS_LIKE.fullmatch(value) is None:
        candidates = from_srcset(value, base_url, width)
        if candidates or value.startswith("<") or not names_image_file(value):
            return candidates
    return _resolved([value], base_url, width)


def _useful_of(widths: str) -> int:
    """The width to put into a template of an address: the best of ``data-widths``, or lazysizes' default if there is
    none."""
    offered = sorted(int(number) for number in re.findall(r"\d{2,5}", widths[:1024]))
    return next((width for width in offered if width >= USEFUL_WIDTH), offered[-1] if offered else 1080)


def image_url(base_url: str, address: str) -> str | None:
    """The absolute address of an image without its fragment; None if it is invalid, or if it is the page itself
    (``src="#"``)."""
    url = resolve(base_url, address)
    if url is None or url[:5].lower() == "data:":
        return url
    if "#" in url:
        url = url.partition("#")[0]
    return None if base_url.startswith(url) and (url == base_url or url == base_url.partition("#")[0]) else url


def _resolved(addresses: Iterable[str], base_url: str, width: float) -> list[Found]:
    return [Found(url, width) for address in addresses if (url := image_url(base_url, address)) is not None]
