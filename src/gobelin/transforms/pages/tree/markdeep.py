"""Converts Markdeep pages to HTML. Markdeep is light markup that a script turns into a page in the browser.

The body of such a page is its source: underlined headings, paragraphs between empty lines, code between rows of tildes,
``![caption](address)`` for images. An HTML parser would merge the paragraphs and read ``<vector>`` in code as an
element. Only the parts of main content are converted: headings, paragraphs, lists, code, images, links and emphasis.
One pass over the lines. Format: casual-effects.com/markdeep.
"""

from __future__ import annotations

import html
import re
import textwrap

_MARK = re.compile(r"<!--\s{0,4}Markdeep:|<script[^>]{0,200}\bmarkdeep(?:\.min)?\.js", re.I)
_TAIL_CHARS = 4096
"""Number of characters at the end of the page that are searched, because Markdeep puts its script there."""

_FENCE = re.compile(r"\s*(~{3,}|`{3,})")
_BARE_FENCE = re.compile(r"\s*(?:~{3,}|`{3,})\s*")
_UNDERLINE = re.compile(r"\s*(={3,}|-{3,})\s*")
_HASHES = re.compile(r"\s*(#{1,6})\s*([^#\s].*?)#*\s*")
_ITEM = re.compile(r"\s*(?:[-*+]|\d{1,3}\.)\s+(\S.*)")
_DEFINITION = re.compile(r"\s{0,3}\[[^\]]{1,200}\]:\s")
_HTML_LINE = re.compile(
    r"\s*</?(?:div|br|p|center|table|tr|td|th|img|link|meta|script|style|title|head|body|html|!)", re.I
)
_IMAGE = re.compile(r"!\[((?:[^\[\]]|\[[^\]]{0,200}\]){0,2000})\]\(\s*([^\s)]{1,2000})[^)]{0,500}\)")
_LINK = re.compile(r"\[([^\[\]]{1,500})\](?:\[[^\[\]]{0,500}\]|\([^()]{0,2000}\))")
_EMPHASIS = re.compile(r"\*\*|__|(?<![\w_])_|_(?![\w_])")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,1000}>")


def is_markdeep(text: str) -> bool:
    return _MARK.search(text, max(0, len(text) - _TAIL_CHARS)) is not None


def markdeep_to_html(text: str) -> str:
    """Converts the source of a Markdeep page to HTML."""
    lines = text.split("\n")
    parts: list[str] = []
    paragraph: list[str] = []

    def flush(tag: str = "p") -> None:
        if paragraph:
            parts.append(f"<{tag}>{_inline(' '.join(paragraph))}</{tag}>")
            paragraph.clear()

    index = 0
    while index < len(lines):
        line = lines[index]
        index += 1
        fence = _FENCE.match(line)
        if fence:
            flush()
            code: list[str] = []
            # Inside a block, a fence with a language only changes the highlighting. A bare fence ends the block.
            while index < len(lines) and not _BARE_FENCE.fullmatch(lines[index]):
                if not _FENCE.match(lines[index]):
                    code.append(lines[index])
                index += 1
            index += 1
            parts.append(f"<pre>{html.escape(textwrap.dedent(chr(10).join(code)), quote=False)}</pre>")
            continue
        underline = _UNDERLINE.fullmatch(line) if len(paragraph) == 1 else None
        hashes = _HASHES.fullmatch(line)
        item = _ITEM.match(line)
        if underline:
            flush("h1" if "=" in underline.group(1) else "h2")
        elif hashes:
            flush()
            paragraph.append(hashes.group(2))
            flush(f"h{len(hashes.group(1))}")
        elif not line.strip() or _DEFINITION.match(line):
            flush()
        elif _HTML_LINE.match(line):
            flush()
            parts.append(line)
        elif item:
            flush()
            paragraph.append(item.group(1))
            while index < len(lines) and lines[index].strip() and not _ITEM.match(lines[index]):
                paragraph.append(lines[index].strip())
                index += 1
            flush("li")
        else:
            paragraph.append(line.strip())
    flush()
    return "\n".join(parts)


def _inline(text: str) -> str:
    pieces: list[str] = []
    done = 0
    for image in _IMAGE.finditer(text):
        pieces.append(_words(text[done : image.start()]))
        address = html.escape(image.group(2))
        pieces.append(f"<figure><img src='{address}'><figcaption>{_words(image.group(1))}</figcaption></figure>")
        done = image.end()
    pieces.append(_words(text[done:]))
    return "".join(pieces)


def _words(text: str) -> str:
    """A text without links, HTML elements and emphasis, as HTML. Code between backticks stays as it is."""
    parts = _LINK.sub(r"\1", text).split("`")
    shown = [
        part if index % 2 and index < len(parts) - 1 else html.unescape(_TAG.sub("", _EMPHASIS.sub("", part)))
        for index, part in enumerate(parts)
    ]
    return html.escape("".join(shown), quote=False)
