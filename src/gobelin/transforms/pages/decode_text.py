"""Bytes of a page -> its text: which encoding.

In this order: byte-order mark; UTF-16 without one; UTF-8 wherever the bytes are valid UTF-8, whatever was declared;
what the header declares, then what the page's <meta> does; detection from the bytes of the text (uchardet's models,
through cchardet); Windows-1252, which can read anything. A declared encoding is believed while it leaves few of the
page's non-ASCII characters unreadable, and Western European only where the page is not full of its rarer letters.

Names mean what they mean to browsers (WHATWG: latin-1 is Windows-1252). 0.1 ms; 0.2 ms more where detection is needed.
"""

from __future__ import annotations

import codecs
import re

import cchardet
import webencodings

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16le"), (codecs.BOM_UTF16_BE, "utf-16be"))

MAX_UNREADABLE_RATIO = 0.1
"""Of the characters outside ASCII, [0, 1]: pages are pasted together from others."""

MAX_WESTERN_RATIO = 0.25
"""Letters outside ASCII among all letters that a Windows-1252 text may have: French has 0.05, Icelandic 0.13, a
Cyrillic text read as Windows-1252 nearly 1."""

_META_BYTES = 4096
_SAMPLE_BYTES = 1 << 16
_MIN_SEQUENCES = 4
_META_CHARSET = re.compile(rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.I)
_TAG = re.compile(rb"<[^<>]{0,2000}>")
_HIGH = re.compile(rb"[\x80-\xff]")
_ASCII_LETTER = re.compile(rb"[A-Za-z]")
_DETECTED = {"uhc": "euc-kr", "iso-8859-9": "windows-1254", "tis-620": "windows-874", "iso-8859-8": "windows-1255"}


def decode(payload: bytes, charset: str | None) -> tuple[str, str]:
    """(text, encoding) of a page.

    Args:
        charset: as the server named it.
    """
    for bom, label in _BOMS:
        if payload.startswith(bom):
            return _read(payload, _named(label))[0].removeprefix("\ufeff"), label
    if _looks_like_utf16(payload):
        label = "utf-16le" if payload[:40:2].count(0) < payload[1:40:2].count(0) else "utf-16be"
        return _read(payload, _named(label))[0], label
    declared = _declared(payload, charset)
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        if text.isascii() or not declared or declared[0].name == "utf-8" or _num_sequences(text) >= _MIN_SEQUENCES:
            return _read_ascii(payload, text, declared)
    is_western = True
    for encoding in (*declared, webencodings.UTF8):
        if encoding.name == "windows-1252" and not _may_be_western(payload):
            is_western = False
            continue
        text, ratio = _read(payload, encoding)
        if ratio <= MAX_UNREADABLE_RATIO:
            return text, encoding.name
    found = _detect(payload)
    if found is not None and (found.name != "windows-1252" or is_western):
        text, ratio = _read(payload, found)
        if ratio <= MAX_UNREADABLE_RATIO:
            return text, found.name
    return _read(payload, _named("windows-1252"))[0], "windows-1252"


def _named(label: str) -> webencodings.Encoding:
    encoding = webencodings.lookup(label)
    assert encoding is not None
    return encoding


def _declared(payload: bytes, charset: str | None) -> list[webencodings.Encoding]:
    """Encodings that header and <meta> name, in that order; names that are none are passed over."""
    labels = [charset] if charset else []
    meta = _META_CHARSET.search(payload, 0, _META_BYTES)
    if meta:
        label = meta.group(1).decode("ascii", "replace")
        # A page whose meta could be read as ASCII is no UTF-16, whatever it says.
        labels.append("utf-8" if label.lower().startswith("utf-16") else label)
    found = [webencodings.lookup(label) for label in labels]
    return [each for each in found if each is not None and each.name not in ("replacement", "x-user-defined")]


def _read(payload: bytes, encoding: webencodings.Encoding) -> tuple[str, float]:
    """(text, unreadable characters among those outside ASCII)."""
    text = encoding.codec_info.decode(payload, "replace")[0]
    num_bad = text.count("\ufffd")
    if not num_bad:
        return text, 0.0
    return text, num_bad / (len(text) - len(text.encode("ascii", "ignore")))


def _read_ascii(payload: bytes, text: str, declared: list[webencodings.Encoding]) -> tuple[str, str]:
    """Bytes that are ASCII may still be a text in one of the encodings that shift (ISO-2022-JP)."""
    if b"\x1b" in payload and text.isascii() and declared and declared[0].name == "iso-2022-jp":
        return _read(payload, declared[0])[0], "iso-2022-jp"
    return text, "utf-8"


def _num_sequences(text: str) -> int:
    """Characters outside ASCII, as far as they need counting."""
    return len(text) - len(text.encode("ascii", "ignore"))


def _looks_like_utf16(payload: bytes) -> bool:
    """Every second byte of markup is zero."""
    even, odd = payload[:40:2], payload[1:40:2]
    zeros = sorted((even.count(0), odd.count(0)))
    return len(even) >= 10 and zeros[1] > 0.8 * len(even) and zeros[0] < 0.2 * len(even)


def _may_be_western(payload: bytes) -> bool:
    sample = _text_sample(payload)
    num_high = len(_HIGH.findall(sample))
    return num_high <= MAX_WESTERN_RATIO * (num_high + len(_ASCII_LETTER.findall(sample))) or num_high < 20


def _detect(payload: bytes) -> webencodings.Encoding | None:
    name = (cchardet.detect(_text_sample(payload)).get("encoding") or "").lower()
    found = webencodings.lookup(_DETECTED.get(name, name))
    return found if found is not None and found.name not in ("replacement", "x-user-defined") else None


def _text_sample(payload: bytes) -> bytes:
    """The page's first bytes without its tags, whose ASCII would drown the text."""
    return _TAG.sub(b" ", payload[: 4 * _SAMPLE_BYTES])[:_SAMPLE_BYTES]
