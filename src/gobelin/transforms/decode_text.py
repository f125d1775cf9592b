"""Bytes of a page -> its text: which encoding."""

from __future__ import annotations

import codecs
import re

import webencodings

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16le"), (codecs.BOM_UTF16_BE, "utf-16be"))
MAX_UNREADABLE_RATIO = 0.01
"""Characters of a page that its encoding may leave unreadable, [0, 1]: pages are pasted together from others."""

_META_CHARSET = re.compile(rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.I)


def decode(payload: bytes, charset: str | None) -> tuple[str, str]:
    """(text, encoding) of a page. Encodings are tried in the order byte-order mark, header, meta, UTF-8, each under the
    names that browsers know (WHATWG: latin-1 means Windows-1252); one that leaves more than a few characters unreadable
    is not believed. At last Windows-1252, which can read anything."""
    labels = [label for bom, label in _BOMS if payload.startswith(bom)]
    if charset:
        labels.append(charset)
    meta = _META_CHARSET.search(payload[:4096])
    if meta:
        label = meta.group(1).decode("ascii", "replace")
        # A page whose meta could be read as ASCII is no UTF-16, whatever it says.
        labels.append("utf-8" if label.lower().startswith("utf-16") else label)
    for label in dict.fromkeys((*labels, "utf-8")):
        encoding = webencodings.lookup(label)
        if encoding is None or encoding.name in ("replacement", "x-user-defined"):
            continue
        text = encoding.codec_info.decode(payload, "replace")[0]
        if text.count("\ufffd") <= MAX_UNREADABLE_RATIO * len(text):
            return text.removeprefix("\ufeff"), encoding.name
    return payload.decode("cp1252", "replace"), "windows-1252"
