"""The addresses under which a crawl may hold one image, best first.

Every attribute that may name the image's file gives an address and a width: the one its ``srcset`` descriptor states,
else one that its name lets us guess (``data-large``, ``data-thumb``), else that of the page's layout. They are
sorted by use:

    1  the larger version that the image links to
    2  of USEFUL_WIDTH px and more, the smallest first: beyond it every reader of the corpus scales down
    3  the others, the widest first
    4  SVG, which is rendered

A placeholder (a short ``data:`` image, ``blank.gif``, ``loading.svg``) is left out as soon as another address is there:
an archive that holds the placeholder and not the image would otherwise show it as the image. About 5 us per image.
The names of lazy-loading attributes were collected from OBELICS' list, from the 294 real pages of the test
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
"""px. WordPress's second largest rendition, and more than the vision towers of today take in one tile."""

UNKNOWN_WIDTH = 640
"""px, taken for a file whose width the page does not say."""

THUMBNAIL_WIDTH = 150
"""px, taken for a file under a name such as ``data-thumb``."""

MAX_CANDIDATES_KEPT = 24
"""Candidates of one image that are kept; the most that a real page had was 19."""

MIN_DATA_IMAGE_CHARS = 8192
"""A ``data:`` URL of at least this length beside a real address is kept as the last resort; shorter ones are blurred
previews and blanks."""

MAX_ATTRIBUTE_CHARS = 1 << 16
"""Longer attributes are no address, unless they are a ``data:`` image."""

_READABLE_TYPES = frozenset(
    f"image/{name}"
    for name in (
        "jpeg", "jpg", "pjpeg", "png", "apng", "gif", "webp", "avif", "bmp", "tiff", "x-icon", "vnd.microsoft.icon",
        "jp2", "svg+xml", "*",
    )
)  # fmt: skip
"""Types of a ``<source>`` that are read; files of another type (JPEG XL, HEIF) are decoded neither here nor by most
browsers."""

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
    """An absolute address and the width of the file behind it, in px: stated or guessed."""

    url: str
    width: float


def from_attributes(attributes: Mapping[str, str], base_url: str, layout_width: int | None) -> list[Found]:
    """What the attributes of an ``img`` (or ``amp-img``, or a lazy ``div``) name, in no particular order of use.

    Args:
        layout_width: px that the image has on the page, where the page says so.
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
    """What a ``srcset`` names.

    Args:
        layout_width: px; a density counts from it.
        max_width: px of the widest screen that a ``<source>`` is for: what it offers by density is no wider.
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
    """What a ``<source>`` of a picture names in its srcset, lazy or not.

    Args:
        max_width: px of the widest screen that it is for.
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
        found = [Found(one.url, 0.0) for one in found]  # the last resort: the same picture in JPEG or WebP is beside it
    return found


def from_css(style: str, base_url: str) -> list[Found]:
    """The images that a style or a ``data-bg`` names in ``url(...)``; in a stack the last one lies at the bottom."""
    addresses = [next(group for group in match.groups() if group) for match in _CSS_URL.finditer(style[:16384])]
    return _resolved(addresses, base_url, UNKNOWN_WIDTH)


def rank(found: Iterable[Found], larger: str | None = None) -> list[str]:
    """The addresses best first, each once; see the module's head. Empty where all there is are blanks."""
    widths: dict[str, float] = {}
    for one in found:
        # What a srcset states outdoes what was guessed for the same address elsewhere.
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
    """The candidates of a page's images without those that stand in for several of them: a site's own placeholder.

    An address that at least ``_MIN_STAND_INS`` images name beside better ones, and those not the same, is no image of
    theirs.
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
    """Whether a link leads to an image file, by the name at the end of its path. ``File:Cat.jpg`` is a page on it."""
    name = _file_name(url).partition(";")[0]
    match = _IMAGE_FILE.search(name)
    return match is not None and match.end() == len(name) and ":" not in name and "%3a" not in name.lower()


def names_image_file(value: str) -> bool:
    """Whether an attribute's value looks like the address of an image: a suffix such as ``.jpg`` somewhere in it."""
    return _IMAGE_FILE.search(value, 0, 2048) is not None


def is_placeholder(url: str) -> bool:
    """Whether an address stands for an image that is still to come: by its name, or because it is a tiny data: URL."""
    if url[:5].lower() == "data:":
        return len(url) < 512
    name = _file_name(url)
    if not _PLACEHOLDER_WORDS.isdisjoint(_WORDS.findall(name.rpartition(".")[0].lower())):
        return True
    return _BLANK_FILE.fullmatch(name) is not None


def is_blank(url: str) -> bool:
    """Whether an address is that of an empty image: ``spacer.gif``, ``1x1.png``, a data: URL too short for one."""
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
    """The value of a lazy attribute: an address, but a srcset, a style or a template of addresses in places."""
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
    """The width to ask a server for that offers those of ``data-widths``; lazysizes' default without one."""
    offered = sorted(int(number) for number in re.findall(r"\d{2,5}", widths[:1024]))
    return next((width for width in offered if width >= USEFUL_WIDTH), offered[-1] if offered else 1080)


def image_url(base_url: str, address: str) -> str | None:
    """The address of an image: absolute, without a fragment, and not that of the page itself (``src="#"``)."""
    url = resolve(base_url, address)
    if url is None or url[:5].lower() == "data:":
        return url
    if "#" in url:
        url = url.partition("#")[0]
    return None if base_url.startswith(url) and (url == base_url or url == base_url.partition("#")[0]) else url


def _resolved(addresses: Iterable[str], base_url: str, width: float) -> list[Found]:
    return [Found(url, width) for address in addresses if (url := image_url(base_url, address)) is not None]
