"""Runs one other extractor over a job, in that extractor's own environment. Started by ../extraction_outputs.py.

    python extract.py NAME JOB OUT

JOB holds a page a line: {"name", "url", "html": base64 of the bytes as archived}. OUT gets a line a page:
{"name", "pieces", "seconds": CPU of the extractor alone, "error"}; a piece is ["text", text] or
["image", [urls], alt, caption].

Each extractor is called as its documentation says, with defaults but for what the task needs (images on, comments off).
A *sentinel* is an address or a word that stands for the page's n-th <img>: with it the extractor sees neither an odd
address nor a lazy loader's placeholder, and its output says which image it kept.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

Pieces = list[list[Any]]
URL_ATTRIBUTES = ("src", "data-src", "data-original", "data-lazy-src", "srcset", "data-srcset")


def trafilatura_default(html: bytes, url: str) -> Pieces:
    from trafilatura import extract

    return [["text", extract(html) or ""]]


def trafilatura_text(html: bytes, url: str) -> Pieces:
    """As its own evaluation calls it: readers' comments left out."""
    from trafilatura import extract

    return [["text", extract(html, include_comments=False) or ""]]


def trafilatura_images(html: bytes, url: str) -> Pieces:
    from trafilatura import bare_extraction

    document = bare_extraction(html, url=url, include_comments=False, include_images=True)
    return [] if document is None else list(_walk(document.body, "graphic", url))


def trafilatura_sentinels(html: bytes, url: str) -> Pieces:
    import lxml.html
    from trafilatura import bare_extraction

    tree = _parse(html)
    images = []
    for image in tree.iter("img"):
        urls = _urls(image, url)
        if not urls:
            continue
        images.append(["image", urls, image.get("alt"), None])
        for name in URL_ATTRIBUTES:
            image.attrib.pop(name, None)
        image.set("src", f"https://image.invalid/{len(images) - 1}.jpg")
    page = lxml.html.tostring(tree, encoding="unicode")
    document = bare_extraction(page, url=url, include_comments=False, include_images=True)
    return [] if document is None else [_unmask(piece, images) for piece in _walk(document.body, "graphic", url)]


def resiliparse(html: bytes, url: str) -> Pieces:
    """Main content as text, with sentinels as alternative texts, which stay in their places."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import detect_encoding
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse_from_bytes(html, detect_encoding(html))
    images = []
    for image in tree.document.get_elements_by_tag_name("img"):
        urls = _urls({name: image.getattr(name) for name in URL_ATTRIBUTES}, url)
        if not urls:
            continue
        images.append(["image", urls, image.getattr("alt"), None])
        image["alt"] = f"wimg{len(images) - 1}gmiw"
    text = extract_plain_text(
        tree, main_content=True, alt_texts=True, links=False, form_fields=False, comments=False, list_bullets=False
    )
    pieces: Pieces = []
    for place, part in enumerate(re.split(r"wimg(\d+)gmiw", text)):
        pieces.append(["text", part] if place % 2 == 0 else images[int(part)])
    return pieces


def readability(html: bytes, url: str) -> Pieces:
    from readability import Document

    summary = Document(html, url=url).summary(html_partial=True)
    return list(_walk(_parse(summary.encode()), "img", url))


def datatrove(html: bytes, url: str) -> Pieces:
    """Its extractor as its pipelines call it: text only, precision favoured, a page may take long."""
    from datatrove.pipeline.extractors import Trafilatura

    return [["text", Trafilatura(timeout=60).extract(html.decode("utf-8", "replace")) or ""]]


EXTRACTORS: dict[str, Callable[[bytes, str], Pieces]] = {
    "trafilatura": trafilatura_default,
    "trafilatura no comments": trafilatura_text,
    "trafilatura images": trafilatura_images,
    "trafilatura sentinels": trafilatura_sentinels,
    "resiliparse": resiliparse,
    "readability": readability,
    "datatrove": datatrove,
}


def _parse(html: bytes) -> Any:
    import lxml.html

    return lxml.html.document_fromstring(html, parser=lxml.html.HTMLParser(encoding=_encoding(html)))


def _encoding(html: bytes) -> str:
    try:
        html.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError:
        return "cp1252"


def _urls(image: Any, base: str) -> list[str]:
    from urllib.parse import urljoin

    urls = []
    for name in URL_ATTRIBUTES:
        value = (image.get(name) or "").strip()
        parts = [part.split()[0] for part in value.split(", ") if part.split()] if "srcset" in name else [value]
        for part in parts:
            try:
                urls.append(urljoin(base, part) if part else "")
            except ValueError:
                urls.append(part)
    return [one for one in urls if one]


_BREAKS = frozenset(
    ("p", "head", "item", "quote", "row", "list", "table", "ab", "div", "lb", "br", "li", "tr", "td", "th", "pre", "h1",
     "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "dl", "dt", "dd", "section", "article", "figure",
     "figcaption", "code", "cell")
)  # fmt: skip


def _walk(root: Any, image_tag: str, url: str) -> Iterator[list[Any]]:
    """Texts and images of a tree in reading order."""
    buffer: list[str] = []
    for event, element in _events(root):
        if event == "start":
            if element.tag == image_tag:
                yield ["text", "".join(buffer)]
                buffer.clear()
                yield ["image", _urls(element, url), element.get("alt"), None]
            buffer.append("\n" if element.tag in _BREAKS else "")
            buffer.append(element.text or "")
        else:
            buffer.append("\n" if element.tag in _BREAKS else "")
            buffer.append(element.tail or "" if element is not root else "")
    yield ["text", "".join(buffer)]


def _events(root: Any) -> Iterator[tuple[str, Any]]:
    from lxml.etree import iterwalk

    for event, element in iterwalk(root, events=("start", "end", "comment")):
        if event != "comment" and isinstance(element.tag, str):
            yield event, element


def _unmask(piece: list[Any], images: Pieces) -> list[Any]:
    if piece[0] == "image":
        found = re.search(r"image\.invalid/(\d+)\.jpg", " ".join(piece[1]))
        return images[int(found[1])] if found else piece
    return piece


def main() -> int:
    name, job, out = sys.argv[1:]
    extractor = EXTRACTORS[name]
    with open(job, encoding="utf-8") as lines, open(out, "w", encoding="utf-8") as results:
        for line in lines:
            page = json.loads(line)
            html = base64.b64decode(page["html"])
            start, error, pieces = time.process_time(), None, []
            try:
                pieces = extractor(html, page["url"])
            except Exception as problem:  # noqa: BLE001  # whatever an extractor raises on a page is its result there
                error = f"{type(problem).__name__}: {problem}"[:300]
            seconds = time.process_time() - start
            results.write(
                json.dumps({"name": page["name"], "pieces": pieces, "seconds": seconds, "error": error}) + "\n"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
