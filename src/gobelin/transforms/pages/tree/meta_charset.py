"""Finds the encoding that a page declares in its own bytes, as browsers find it.

HTML's pre-scan reads tags and their attributes: it skips comments, and a <meta> counts with its ``charset``, or with
``http-equiv=content-type`` and a ``content``. Browsers read the first 1,024 bytes in this way, and continue until the
page's head ends. One thing differs from the text of the standard: tags inside <script>, <style>, <title> and similar
elements are ignored. The standard's pre-scan accepts them, but the parser after it does not, so a real <meta> wins.
Linear in the bytes that it reads.

Sources: https://html.spec.whatwg.org/#prescan-a-byte-stream-to-determine-its-encoding and
#extracting-character-encodings-from-meta-elements; Chromium's HTMLMetaCharsetParser (for the end of the head).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import webencodings

PRESCAN_BYTES = 1024
"""Number of bytes that are always read."""

MAX_HEAD_BYTES = 64 << 10
"""Maximum number of bytes to read while the page's head continues."""

_TAG_NAME = re.compile(rb"<(/?)([a-zA-Z][^\t\n\f\r />]*)")
_NOT_A_TAG = re.compile(rb"<[!/?]")
_ATTRIBUTE = re.compile(
    rb"[\t\n\f\r /]*+(?:>|(=?[^\t\n\f\r />=]*+)"  # the name; it may begin with =
    rb"(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"([^\"]*+)\"?+|'([^']*+)'?+|([^\t\n\f\r >]*+)))?+)"
)
_CONTENT = re.compile(
    rb"charset[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\t\n\f\r ;\"'][^\t\n\f\r ;]*+))", re.IGNORECASE
)
_XML = re.compile(rb"<\?xml[^>]*?[\t\n\f\r ]encoding[\t\n\f\r ]*=[\t\n\f\r ]*(?:\"([^\">]*)\"|'([^'>]*)')[^>]*>")
_RAW_TEXT = frozenset((
    b"script", b"style", b"title", b"textarea", b"xmp", b"iframe", b"noembed", b"noframes",
))  # fmt: skip
_IN_HEAD = frozenset((
    b"script", b"noscript", b"style", b"link", b"meta", b"object", b"title", b"base", b"html", b"head",
))  # fmt: skip


def find_declaration(payload: bytes) -> str | None:
    """The WHATWG name of the encoding in the first <meta> that declares a known one, else in the XML declaration, else
    None."""
    head = payload[:MAX_HEAD_BYTES]
    for attributes in _metas(head):
        found = _named(_label_of(attributes))
        if found:
            return found
    xml = _XML.match(head)
    return _named(xml.group(1) or xml.group(2)) if xml else None


def _named(label: bytes | None) -> str | None:
    encoding = webencodings.lookup(label.decode("ascii", "replace")) if label else None
    if encoding is None or encoding.name == "replacement":
        return None
    # A declaration that is readable as ASCII proves that the page is not UTF-16.
    return {"utf-16le": "utf-8", "utf-16be": "utf-8", "x-user-defined": "windows-1252"}.get(
        encoding.name, encoding.name
    )


def _label_of(attributes: dict[bytes, bytes]) -> bytes | None:
    label = attributes.get(b"charset")
    if label is None and attributes.get(b"http-equiv", b"").lower() == b"content-type":
        named = _CONTENT.search(attributes.get(b"content", b""))
        label = next((group for group in named.groups() if group is not None), None) if named else None
    return label


def _metas(head: bytes) -> Iterator[dict[bytes, bytes]]:
    """The attributes of each <meta> tag. Names are in lower case. The first of two equal names counts."""
    at = head.find(b"<")
    while at >= 0:
        tag = _TAG_NAME.match(head, at)
        if head.startswith(b"<!--", at):
            end = head.find(b"-->", at + 2)  # "<!-->" opens and closes with the same dashes
            at = len(head) if end < 0 else end + 3
        elif tag is not None:
            name = tag.group(2).lower()
            if at >= PRESCAN_BYTES and (name not in _IN_HEAD or (tag.group(1) and name == b"head")):
                return
            attributes, at = _attributes(head, tag.end())
            if name == b"meta" and not tag.group(1):
                yield attributes
            elif name in _RAW_TEXT and not tag.group(1):
                closed = re.compile(rb"</" + name + rb"[\t\n\f\r />]", re.IGNORECASE).search(head, at)
                at = len(head) if closed is None else closed.start()
        else:
            end = head.find(b">", at) if _NOT_A_TAG.match(head, at) else at
            at = len(head) if end < 0 else end + 1
        at = head.find(b"<", at)


def _attributes(head: bytes, at: int) -> tuple[dict[bytes, bytes], int]:
    """The attributes of the tag whose name ends at ``at``, and the position after the tag."""
    found: dict[bytes, bytes] = {}
    while at < len(head):
        match = _ATTRIBUTE.match(head, at)
        if match is None or match.end() == at:
            break
        at = match.end()
        name, *values = match.groups()
        if name is None:  # the tag's end
            break
        found.setdefault(name.lower(), next((value for value in values if value is not None), b""))
    return found, at
