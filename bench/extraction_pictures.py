"""Judges pictures of news and forum pages: whether they belong to the article or to a post, and the lead picture.

    marks   gold/pictures.yaml: 60 pages whose pictures were marked by hand, so that precision counts all of them
    lead    pages whose body shows the picture that the page names as its own in ``og:image`` or ``twitter:image``

One picture has many addresses: sizes in the name, in the path or in the query, hosts of a delivery network, or another
picture's address inside. ``picture_name`` returns their common part.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote

import lxml.html
import yaml
from extraction_gold import Page, image_urls
from extraction_metrics import Piece, normal_url
from lxml.html import HtmlElement

MARKS = Path(__file__).parent / "gold" / "pictures.yaml"

_COMMAS = re.compile(r",\s+|,(?=https?:|/)")
_INNER = re.compile(r"https?:/{1,2}")
_EXTENSION = re.compile(r"\.(?:jpe?g|png|gif|webp|avif|jfif|image|svg)\b.*", re.I)
_SIZE = re.compile(
    r"(?:[-_.@,]|^)(?:(?:size|fill|width|height|crop|scale|fit|max|min|w|h|r|v|fpx|fpy)?[-_:]?\d{2,4}[x.]\d{1,4}"
    r"(?:px|w\d?|h|x)?|(?:size|fill|width|height|crop|scale|fit|max|min|w|h|r|fpx|fpy)[-_:]?\d{1,4}|\d{1,4}(?:px|w|h)"
    r"|\d{3,4}|v\d{9,10}|fill|scaled|thumb(?:nail)?|large|medium|small)(?=[-_.,]|$)",
    re.I,
)
_LOGO = re.compile(r"logo|icon|default[-_.]|share[f_\d-]|placeholder|favicon|avatar|site-image", re.I)
_COMMON = re.compile(r"(?:hero|main|header|cover|lead|featured?|image|img|photo|picture|original|[-_])+", re.I)
_MIN_NAME_CHARS = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Marks:
    """One page's pictures, each as all addresses that its element names."""

    own: tuple[frozenset[str], ...]
    neutral: frozenset[str]


def read_marks(pages: Iterable[Page]) -> dict[str, Marks]:
    """The marked pages of those given, by name."""
    rows = yaml.safe_load(MARKS.read_text("utf-8"))
    return {page.name: _marks_of(page, rows[page.name]) for page in pages if page.name in rows}


def score_marks(marks: Marks, pieces: Sequence[Piece]) -> tuple[int, int, int]:
    """Pictures kept, wrong ones kept, pictures missed. A copy of a picture counts neither way."""
    kept: set[int] = set()
    wrong = 0
    for piece in pieces:
        if not piece.is_image:
            continue
        found = [index for index, urls in enumerate(marks.own) if urls & piece.urls]
        if found:
            kept.add(found[0])
        elif not marks.neutral & piece.urls:
            wrong += 1
    return len(kept), wrong, len(marks.own) - len(kept)


def lead_pictures(page: Page) -> frozenset[str]:
    """Names of the picture that a page calls its own, where an image of its body has the same; else none. A portrait
    beside a name and what the page hides, as for those who share it, are not shown as the page's picture."""
    tree = _parse(page)
    own = {
        picture_name(normal_url(page.url, content))
        for meta in tree.iter("meta")
        if (meta.get("property") or meta.get("name") or "").lower() in ("og:image", "twitter:image")
        and (content := (meta.get("content") or "").strip())
        and not _LOGO.search("/".join(content.split("/")[-2:]))
    } - {""}
    shown = {
        picture_name(normal_url(page.url, url))
        for image in tree.iter("img", "source", "amp-img", "video")
        if not _is_hidden(image) and "avatar" not in image.get("class", "")
        for value in image.values()
        if "/" in value and not value.endswith("/")
        for url in (value, *(part.split()[0] for part in _COMMAS.split(value) if part.strip()))
    }
    return frozenset(own & shown)


def _is_hidden(image: HtmlElement) -> bool:
    around = (image, *image.iterancestors())
    return any("display:none" in element.get("style", "").replace(" ", "") for element in around)


def keeps_lead(names: frozenset[str], pieces: Sequence[Piece]) -> bool:
    """Whether one of an output's images is the lead picture."""
    return any(picture_name(url) in names for piece in pieces for url in piece.urls)


def picture_name(url: str) -> str:
    """What the addresses of one picture have in common: the last part of its path without sizes, with the one before it
    where it is short. Empty where nothing is left."""
    url = unquote(unquote(url))
    inner = [match.start() for match in _INNER.finditer(url)]
    if inner:
        url = url[inner[-1] :]
    path = url.partition("//")[2].partition("?")[0].partition("#")[0].partition("/")[2]
    names: list[str] = []
    for segment in reversed([part for part in path.split("/") if part][-4:]):
        short = _EXTENSION.sub("", segment)
        while (less := _SIZE.sub("", short)) != short:
            short = less
        if short:
            names.append(short.lower())
        if sum(len(name) for name in names if not _COMMON.fullmatch(name)) >= _MIN_NAME_CHARS:
            break
    return "/".join(reversed(names[:2]))


def _marks_of(page: Page, row: dict[str, list[str]]) -> Marks:
    images = [image_urls(image, page.url) for image in _parse(page).iter("img")]
    counts = Counter(url for urls in images for url in urls)
    by_key: dict[str, set[str]] = {}
    for urls in images:
        distinct = {url for url in urls if counts[url] == 1} or urls
        for url in urls:
            by_key.setdefault(_key(url), set()).update(distinct)
    own = tuple(frozenset(by_key.get(key, ())) | {key} for key in row["own"])
    neutral = frozenset(url for key in row.get("neutral", ()) for url in (key, *by_key.get(key, ())))
    return Marks(own, neutral)


def with_keys(pieces: Iterable[Piece]) -> list[Piece]:
    """Pieces whose images name the keys of their addresses, too: a mark may be a background's, which is no <img>."""
    return [
        dataclasses.replace(piece, urls=piece.urls | {_key(url) for url in piece.urls}) if piece.is_image else piece
        for piece in pieces
    ]


def _key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:10]


def _parse(page: Page) -> HtmlElement:
    html = page.payload.decode(page.charset or "utf-8", "replace").encode()
    return lxml.html.document_fromstring(html, parser=lxml.html.HTMLParser(encoding="utf-8", huge_tree=True))
