"""The gold standard: pages with known main content, from four sources under one corpus folder.

    extraction/trafilatura                      must-have and must-not snippets (trafilatura's own evaluation)
    extraction/article-extraction-benchmark     the full body (scrapinghub)
    extraction/magic-html                       the whole main content of news and of forums (opendatalab)
    web/*.warc.gz                               real sites; gold/web.yaml names the container of each site's content

A page's container gives the words, the images with the number of words before each, and their captions. Images under
64 px, as the page declares them or as the archive has them, are neutral. Pages are split in two halves by a hash of
their name, so that an extractor can be developed on one half and judged on the other.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import gzip
import hashlib
import io
import itertools
import json
import operator
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import lxml.html
import yaml
from extraction_metrics import GoldImage, GoldPage, normal_url, words_of
from lxml.etree import _Element, iterwalk
from lxml.html import HtmlElement
from PIL import Image, UnidentifiedImageError
from warcio.archiveiterator import ArchiveIterator

MIN_SIDE = 64
"""Pixels; an image with a shorter side is neutral."""

WEB_GOLD = Path(__file__).parent / "gold" / "web.yaml"
"""Rules of the sites that the bench was made with; gold/unseen.yaml has those of others."""

_SRCSET_ATTRIBUTES = ("srcset", "data-srcset")
_SRC_ATTRIBUTES = ("src", "data-src", "data-original", "data-lazy-src")
_INLINE = frozenset(
    ("a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins", "kbd",
     "label", "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "time", "tt", "u", "var",
     "wbr")
)  # fmt: skip
_UNSEEN = frozenset(("script", "style", "template", "noscript", "head", "svg", "iframe", "object"))
_MARKDEEP_IMAGE = re.compile(r"!\[(?P<caption>[^\]]*(?:\[[^\]]*\][^\]]*)*)\]\((?P<url>[^\s)]+)[^)]*\)")


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """One page of the bench. Exactly one kind of gold is set."""

    name: str
    site: str
    url: str
    charset: str | None
    payload: bytes
    must_have: tuple[str, ...] = ()
    must_not: tuple[str, ...] = ()
    body: str | None = None
    gold: GoldPage | None = None
    markdeep_urls: frozenset[str] = frozenset()
    is_markdeep: bool = False

    @property
    def is_held_out(self) -> bool:
        return is_held_out(self.name)


def is_held_out(name: str) -> bool:
    """Whether a page belongs to the half that an extractor is judged on, by a hash of its name."""
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 1


def snippet_pages(corpus: Path) -> list[Page]:
    """Pages with must-have and must-not snippets."""
    folder = corpus / "extraction"
    pages = []
    for url, entry in sorted(json.loads((folder / "trafilatura-evaldata.json").read_text("utf-8")).items()):
        payload = (folder / "trafilatura" / entry["file"]).read_bytes()
        pages.append(
            Page(entry["file"], "trafilatura", url, None, payload, tuple(entry["with"]), tuple(entry["without"]))
        )
    return pages


def body_pages(corpus: Path) -> list[Page]:
    """Pages with their whole text."""
    folder = corpus / "extraction"
    truth = json.loads((folder / "article-extraction-benchmark-ground-truth.json").read_text("utf-8"))
    pages = []
    for name, entry in sorted(truth.items()):
        payload = gzip.decompress((folder / "article-extraction-benchmark" / f"{name}.html.gz").read_bytes())
        url = entry.get("url") or "http://unknown.invalid/"
        pages.append(Page(name, "scrapinghub", url, "utf-8", payload, body=entry["articleBody"]))
    return pages


def genre_pages(corpus: Path, genre: str) -> list[Page]:
    """Pages of one genre (article or forum) with the whole text of their main content, from magic-html."""
    folder = corpus / "extraction" / "magic-html"
    truth = json.loads((folder / f"{genre}-ground-truth.json").read_text("utf-8"))
    pages = []
    for name, entry in sorted(truth.items()):
        payload = gzip.decompress((folder / genre / f"{name}.html.gz").read_bytes())
        pages.append(Page(name, f"magic-html-{genre}", entry["url"], None, payload, body=entry["content"]))
    return pages


def text_pages(folder: Path) -> list[Page]:
    """Pages beside the text that is expected of each, as test pages of readability are laid out: ``NAME/source.html``
    and ``NAME/expected.html``. Small pages, which were made up to test one thing, are left out."""
    pages = []
    for expected in sorted(folder.glob("*/expected.html")):
        source = expected.with_name("source.html")
        if source.is_file() and source.stat().st_size >= _MIN_REAL_BYTES:
            parser = lxml.html.HTMLParser(encoding="utf-8")
            body = _plain_text(lxml.html.document_fromstring(expected.read_bytes(), parser=parser))
            name = expected.parent.name
            pages.append(
                Page(name, folder.name, "http://fakehost/test/page.html", None, source.read_bytes(), body=body)
            )
    return pages


_MIN_REAL_BYTES = 20_000


@dataclasses.dataclass(slots=True)
class WebPages:
    """The real sites: pages with gold, and how many pages of each site have no container."""

    pages: list[Page]
    left_out: dict[str, int]


def web_pages(folder: Path, rules_file: Path = WEB_GOLD) -> WebPages:
    """Every HTML page that holds the container of its site; a folder with an archive ``SITE.warc.gz`` each."""
    rules = yaml.safe_load(rules_file.read_text("utf-8"))
    found = WebPages([], {})
    for site, group in itertools.groupby(web_records(folder), key=operator.itemgetter(0)):
        records = list(group)
        sizes = {normal_url(url, url): size for _, url, kind, data in records if (size := _image_size(kind, data))}
        found.left_out[site] = 0
        for _, url, kind, data in records:
            if not kind.startswith("text/html"):
                continue
            tree = lxml.html.document_fromstring(data, parser=lxml.html.HTMLParser(encoding="utf-8"))
            gold = page_gold(tree, url, rules[site], sizes)
            if gold is None:
                found.left_out[site] += 1
                continue
            markdeep = frozenset(
                normal_url(url, match["url"])
                for match in (_MARKDEEP_IMAGE.finditer(data.decode()) if rules[site].get("markdeep") else ())
            )
            # Neither content nor wrong: no <img> stands there, and an extractor that reads markdeep is right too.
            markup = tuple(GoldImage(frozenset((one,)), is_neutral=True) for one in sorted(markdeep))
            gold = dataclasses.replace(gold, images=(*gold.images, *markup))
            found.pages.append(
                Page(
                    url,
                    site,
                    url,
                    "utf-8",
                    data,
                    gold=gold,
                    markdeep_urls=markdeep,
                    is_markdeep=b"<!-- Markdeep" in data,
                )
            )
    return found


def web_records(folder: Path) -> Iterator[tuple[str, str, str, bytes]]:
    """Site, URL, content type and body of each good response of the sites' archives."""
    for path in sorted(folder.glob("*.warc.gz")):
        with path.open("rb") as stream:
            for record in ArchiveIterator(stream):
                if record.rec_type == "response" and record.http_headers.get_statuscode() == "200":
                    kind = record.http_headers.get_header("Content-Type") or "application/octet-stream"
                    url = record.rec_headers.get_header("WARC-Target-URI")
                    yield path.name.removesuffix(".warc.gz"), url, kind, record.content_stream().read()


def _image_size(kind: str, data: bytes) -> tuple[int, int] | None:
    if not kind.startswith("image/"):
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.size
    except (UnidentifiedImageError, OSError):
        return None  # SVG


def page_gold(tree: HtmlElement, url: str, rule: dict[str, Any], sizes: dict[str, tuple[int, int]]) -> GoldPage | None:
    """What a rule of gold/web.yaml says of a page; None where its container is not there.

    Args:
        sizes: width and height of the images that the archive holds, px, by ``normal_url``.
    """
    containers = next((found for css in rule["container"] if (found := tree.cssselect(css))), [])
    if not containers:
        return None
    outer = [one for one in containers if not any(one in other.iterdescendants() for other in containers)]
    walk = _Walk(tree, url, rule)
    for container in outer:
        walk.visit(container, caption=None)
    neutral = [
        words_of(_plain_text(element)) for css in rule.get("neutral_text", ()) for element in tree.cssselect(css)
    ]
    urls_of = _distinct_urls(tree, url)
    images = []
    for image, place, caption in walk.images:
        urls = urls_of[image]
        is_neutral = image in walk.neutral_images or _is_small(image, urls, sizes)
        images.append(GoldImage(urls, is_neutral, place, _alt(image, urls), None if is_neutral else caption))
    inside = {image for image, _, _ in walk.images}
    for image, urls in urls_of.items():
        if image not in inside and (image in walk.neutral_images or _is_small(image, urls, sizes)):
            images.append(GoldImage(urls, is_neutral=True))
    for video in (found for container in outer for found in container.iter("video")):
        if video.get("poster"):
            images.append(GoldImage(frozenset((normal_url(url, video.get("poster") or ""),)), is_neutral=True))
    return GoldPage(
        text_words=tuple(words_of("".join(walk.text))),
        neutral=tuple(map(tuple, neutral)),
        words=tuple(walk.words),
        images=tuple(images),
        captions=tuple(walk.captions),
    )


class _Walk:
    """Goes through containers in reading order and notes text, and images with the number of words before them."""

    def __init__(self, tree: HtmlElement, url: str, rule: dict[str, Any]) -> None:
        self._url = url
        skipped = (*rule.get("drop", ()), *rule.get("neutral_text", ()))
        self._skipped = {element for css in skipped for element in tree.cssselect(css)}
        neutral_css = rule.get("neutral_images", ())
        self.neutral_images = {element for css in neutral_css for element in tree.cssselect(css)}
        self._captions: dict[_Element, int] = {}  # element of a caption -> its index
        self._caption_of: dict[_Element, int] = {}  # image -> index of its caption
        self.captions: list[str] = []
        self.text: list[str] = []
        self.words: list[str] = []
        self._pending: list[str] = []  # text that is not cut into words yet
        self.images: list[tuple[_Element, int, int | None]] = []
        for image in tree.iter("img"):
            caption = _caption(image, rule)
            if caption is not None:
                if caption not in self._captions:
                    self._captions[caption] = len(self.captions)
                    self.captions.append(_plain_text(caption))
                self._caption_of[image] = self._captions[caption]

    def visit(self, element: _Element, caption: _Element | None) -> None:
        if not isinstance(element.tag, str) or element.tag in _UNSEEN or element in self._skipped:
            return
        names = (element.get("class") or "").split()
        if "viewcode-link" in names:  # from a signature to its source
            return
        if element.tag == "img" and image_urls(element, self._url):
            place = len(self.words) + len(words_of("".join(self._pending)))
            self.images.append((element, place, self._caption_of.get(element)))
        caption = element if element in self._captions else caption
        is_block = element.tag not in _INLINE or "classifier" in names  # Sphinx's style sets a colon before it
        self._write(" " if is_block else "", caption)
        self._write(element.text, caption)
        for child in element:
            self.visit(child, caption)
            self._write(child.tail, caption)
        self._write(" " if is_block else "", caption)
        self._cut()

    def _write(self, text: str | None, caption: _Element | None) -> None:
        if text:
            self.text.append(text)
            self._pending.append(" " if caption is not None else text)

    def _cut(self) -> None:
        """Cuts what was read into words, but only where a word surely ends: an inline element may stand inside one."""
        text = "".join(self._pending)
        if text and not text[-1].isspace():
            return
        self.words.extend(words_of(text))
        self._pending.clear()


def _distinct_urls(tree: HtmlElement, base: str) -> dict[_Element, frozenset[str]]:
    """The addresses that tell a page's images apart: a lazy loader's placeholder, which many name, is none of them."""
    found = {image: urls for image in tree.iter("img") if (urls := image_urls(image, base))}
    # an <img> of a <noscript> names the picture of the lazy one beside it again
    shown = (urls for image, urls in found.items() if next(image.iterancestors("noscript"), None) is None)
    counts = Counter(url for urls in shown for url in urls)
    return {image: frozenset(url for url in urls if counts[url] == 1) or urls for image, urls in found.items()}


def image_urls(image: _Element, base: str) -> frozenset[str]:
    """Every address that an ``<img>``, or the ``<picture>`` around it, names."""
    urls = [image.get(name) for name in _SRC_ATTRIBUTES]
    parent = image.getparent()
    sources = parent.findall("source") if parent is not None and parent.tag == "picture" else []
    for element in (image, *sources):
        for name in _SRCSET_ATTRIBUTES:
            urls.extend(part.split()[0] for part in (element.get(name) or "").split(", ") if part.split())
    return frozenset(normal_url(base, url) for url in urls if url and url.strip())


def _alt(image: _Element, urls: frozenset[str]) -> str:
    """The alternative text; a repetition of the file's name is none."""
    alt = " ".join((image.get("alt") or "").split())
    file_name = alt.rpartition("/")[2]
    return "" if any(file_name and url.endswith(file_name) for url in urls) else alt


def _caption(image: _Element, rule: dict[str, Any]) -> _Element | None:
    for path in ("ancestor::figure[1]/figcaption", *rule.get("captions", ())):
        found = image.xpath(path)
        if found:
            return found[0]
    return _row_caption(image, rule["caption_rows"]) if "caption_rows" in rule else None


def _row_caption(image: _Element, css_class: str) -> _Element | None:
    """The cell with a caption in the nearest row below that has one: the cell under the image's column."""
    cell = next((above for above in image.iterancestors("td")), None)
    row = cell.getparent() if cell is not None else None
    if cell is None or row is None:
        return None
    column = sum(int(before.get("colspan") or 1) for before in cell.itersiblings("td", preceding=True))
    for below in row.itersiblings("tr"):
        cells = [other for other in below if other.get("class") == css_class]
        start = 0
        for other in below:
            end = start + int(other.get("colspan") or 1)
            if other in cells and (start <= column < end or len(cells) == 1):
                return other
            start = end
        if cells:
            return None
    return None


def _plain_text(element: _Element) -> str:
    parts: list[str] = []
    for event, part in iterwalk(element, events=("start", "end", "comment", "pi")):
        gap = " " if isinstance(part.tag, str) and part.tag not in _INLINE else ""
        if event == "start":
            parts.extend((gap, part.text or ""))
        else:
            parts.extend((gap, (part.tail or "") if part is not element else ""))
    return " ".join("".join(parts).split())


def _is_small(image: _Element, urls: frozenset[str], sizes: dict[str, tuple[int, int]]) -> bool:
    sides = [_pixels(image.get("width")), _pixels(image.get("height"))]
    for url in urls:
        sides.extend(sizes.get(url, ()))
    source = image.get("src") or ""
    if source.startswith("data:"):
        sides.extend(_data_size(source))
    return any(side is not None and side < MIN_SIDE for side in sides)


def _pixels(value: str | None) -> int | None:
    match = re.fullmatch(r"\s*(\d{1,5})(?:\.\d+)?(?:px)?\s*", value or "")
    return int(match[1]) if match else None


def _data_size(url: str) -> tuple[int, ...]:
    head, _, body = url.partition(",")
    try:
        data = base64.b64decode("".join(body.split())) if head.endswith(";base64") else unquote_to_bytes(body)
    except binascii.Error:
        return ()
    return _image_size("image/", data) or ()
