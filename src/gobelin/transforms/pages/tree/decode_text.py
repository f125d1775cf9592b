"""Bytes of a page -> its text: which encoding.

A byte-order mark, UTF-16 and ISO-2022-JP are told by their bytes, and UTF-8 wherever the bytes are valid UTF-8,
whatever was declared. All others are candidates that are weighed by the text that they make of a sample: what the
header names, what the page's own declaration does (``meta_charset.py``), UTF-8 with damage, what uchardet's models
detect, and, where none of the declared can be read, every encoding in use. What is counted: characters that mean
nothing and combinations that no language writes (``text_quality.py``); how far the bytes are UTF-8 all the same; how
sure the language model is of the text's language. A declared encoding that makes a readable text wins over a guess.

Where nothing makes a readable text, the page is read as UTF-8: its replacement characters make it a decision
(``readable_text.py``), because rubbish that is kept is worse than a page that is not.

Names mean what they mean to browsers (WHATWG: latin-1 is Windows-1252). 0.1 ms; 6 ms where candidates are weighed, as
for 3 pages in 100.
"""

from __future__ import annotations

import codecs
import dataclasses
import math
import re

import cchardet
import webencodings

from gobelin.transforms.pages.content.language import identify_language
from gobelin.transforms.pages.tree.meta_charset import find_declaration
from gobelin.transforms.pages.tree.text_quality import Quality, measure_quality

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16le"), (codecs.BOM_UTF16_BE, "utf-16be"))

MAX_COST = 0.2
"""Highest cost of a sample's text; nobody can read what costs more."""

MIN_SEQUENCES = 4
"""Characters outside ASCII from which on valid UTF-8 cannot be chance in a page of two-byte characters."""

_DECLARED, _DETECTED, _COMMON = 0.15, 0.05, 0.04
"""Credit, in units of cost, of an encoding that the server or the page names, that the detector finds, and that is the
most common one."""

_GUESSED = 0.1
"""Cost of encodings that nobody named, where there are hardly any characters to tell them by."""

_LANGUAGE_WEIGHT = 0.3
"""Credit, in units of cost, for each tenfold fall of the probability that the text is in another language. The model
often names a language for rubbish, too, but its doubt is then ten times as large."""

_MAX_TENTHS = 3
_MIN_LANGUAGE_CHARS = 20
"""Characters outside ASCII from which on the language counts in full."""

_LANGUAGE_CHARS = 60
"""Characters outside ASCII from which on the language counts in full."""

_LANGUAGE_CHARS = 400
_MIN_DETECTED_BYTES = 60
_SAMPLE_BYTES = 2048
_SEARCHED_BYTES = 1 << 17

_HIDDEN = re.compile(rb"<!--(?s:.*?)(?:-->|\Z)|<(script|style)\b(?s:.*?)(?:</\1|\Z)", re.I)
_TAG = re.compile(rb"<[^<>]{0,2000}>")
_HIGH_BYTES = bytes(range(128, 256))
_UTF8 = "utf-8"
_DETECTED_NAMES = {
    "uhc": "euc-kr",
    "iso-8859-9": "windows-1254",
    "tis-620": "windows-874",
    "iso-8859-8": "windows-1255",
}
_EAST_ASIAN = ("shift_jis", "euc-jp", "gb18030", "gbk", "big5", "euc-kr")
_IN_USE = (
    "windows-1252", "windows-1251", *_EAST_ASIAN, "koi8-r", "ibm866", "x-mac-cyrillic", "windows-1250",
    "windows-1254", "windows-1257",
)  # fmt: skip
"""Tried where no declared encoding can be read. Not those of alphabets that one language alone has (Greek, Hebrew,
Thai): the language model is sure of anything written in them, so there the detector has to say so."""

_CODECS = {"gbk": "gb18030", "iso-2022-jp": "iso2022_jp_ext"}
"""Python's codecs that know more of an encoding than the one of its name; browsers read as much."""

_ESCAPES = (
    (b"\x1b$)C", "iso-2022-kr", "iso2022_kr"),
    (b"\x1b$", "iso-2022-jp", "iso2022_jp_ext"),
    (b"~{", "hz-gb-2312", "hz"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    credit: float
    text: str  # of the sample
    quality: Quality
    cost: float


def decode(payload: bytes, charset: str | None) -> tuple[str, str]:
    """(text, encoding) of a page; characters that cannot be read are U+FFFD.

    Args:
        charset: as the server named it.
    """
    for bom, name in _BOMS:
        if payload.startswith(bom):
            return _read(payload, name).removeprefix("\ufeff"), name
    if _looks_like_utf16(payload):
        name = "utf-16le" if payload[:40:2].count(0) < payload[1:40:2].count(0) else "utf-16be"
        return _read(payload, name), name
    is_ascii = payload.isascii()
    shifted = _read_shifted(payload) if is_ascii or b"\x1b$" in payload else None
    if shifted is not None:
        return shifted
    if is_ascii:
        return payload.decode("ascii"), _UTF8
    try:
        text = payload.decode(_UTF8)
    except UnicodeDecodeError:
        name = _weigh(payload, _declared(payload, charset))
    else:
        if len(payload) - len(text) >= MIN_SEQUENCES:
            return text, _UTF8
        name = next(iter(_declared(payload, charset)), _UTF8)
        if name not in _EAST_ASIAN:
            return text, _UTF8
    return _read(payload, name), name


def _read(payload: bytes, name: str) -> str:
    return payload.decode(_codec(name), "replace")


def _codec(name: str) -> str:
    encoding = webencodings.lookup(name)
    assert encoding is not None
    return _CODECS.get(name) or encoding.codec_info.name


def _read_shifted(payload: bytes) -> tuple[str, str] | None:
    """A page in one of the encodings that shift between ASCII and others, whose bytes are ASCII but for damage."""
    for mark, name, codec in _ESCAPES:
        if mark in payload:
            text = payload.decode(codec, "replace")
            quality = measure_quality(text[:_SEARCHED_BYTES])
            if quality.num_chars and quality.cost <= MAX_COST:
                return text, name
    return None


def _declared(payload: bytes, charset: str | None) -> list[str]:
    """Encodings that header and page name, in that order; unknown names are passed over."""
    encoding = webencodings.lookup(charset) if charset else None
    found = [encoding.name] if encoding is not None else []
    named = find_declaration(payload)
    if named is not None and named not in found:
        found.append(named)
    return [name for name in found if name not in ("replacement", "x-user-defined")]


def _weigh(payload: bytes, declared: list[str]) -> str:
    """The encoding whose text reads best."""
    sample = _sample(payload)
    utf8 = sample.decode(_UTF8, "replace")
    num_lost = utf8.count("\ufffd")
    # Characters that were valid, one of three bytes twice: by chance these are rarer still.
    num_valid = sum((code > 0x7F) + (code > 0x7FF) for code in map(ord, utf8)) - 2 * num_lost
    names = {name: _DECLARED - 0.01 * place for place, name in enumerate(declared)}
    names.setdefault(_UTF8, _DETECTED)
    detected = _detect(sample)
    if detected is not None:
        names.setdefault(detected, _DETECTED if len(sample) >= _MIN_DETECTED_BYTES else 0)
    names.setdefault("windows-1252", _COMMON)
    for name, kin in (("koi8-r", "koi8-u"), ("windows-1251", "x-mac-cyrillic")):  # the same but for some letters
        if name in names:
            names.setdefault(kin, names[name] - 0.01)
    found = [_candidate(name, credit, sample, num_valid, num_lost) for name, credit in names.items()]
    if not declared or min(each.cost for each in found if each.name in declared) > MAX_COST / 2:
        num_high = len(sample) - len(sample.translate(None, _HIGH_BYTES))
        doubt = _GUESSED * max(0.0, 1 - num_high / _MIN_LANGUAGE_CHARS)
        found += [_candidate(name, -doubt, sample, num_valid, num_lost) for name in _IN_USE if name not in names]
    found = [each for each in found if each.cost <= MAX_COST]
    if not found:
        return _UTF8
    return _best(found).name


def _candidate(name: str, credit: float, sample: bytes, num_valid: int, num_lost: int) -> _Candidate:
    text = _read(sample, name)
    quality = measure_quality(text)
    cost = quality.cost
    if name != _UTF8 and num_valid:
        # Text in an encoding of two bytes a character is valid UTF-8 here and there; any other hardly ever.
        doubt = 3 if name in _EAST_ASIAN else 0
        share = num_valid / (num_valid + num_lost)
        cost += max(0.0, share - 0.4) / 0.6 * num_valid / (num_valid + doubt)
    return _Candidate(name, credit, text, quality, cost)


def _best(found: list[_Candidate]) -> _Candidate:
    """The candidate of the lowest cost less its credit; where several are near, less what speaks for its language."""
    found.sort(key=lambda each: each.cost - each.credit)
    reach = found[0].cost - found[0].credit + _MAX_TENTHS * _LANGUAGE_WEIGHT
    near = [each for each in found if each.cost - each.credit <= reach]
    if len({each.text for each in near}) == 1:
        return near[0]
    languages = {text: _certainty(text) for text in {each.text for each in near}}
    weight = _LANGUAGE_WEIGHT * min(1.0, near[0].quality.num_chars / _MIN_LANGUAGE_CHARS) ** 1.5
    return min(near, key=lambda each: each.cost - each.credit - weight * languages[each.text])


def _certainty(text: str) -> float:
    """How sure the language model is of a text's language: the negative logarithm of its doubt, base 10."""
    language = identify_language(text[:_LANGUAGE_CHARS])
    return min(_MAX_TENTHS, -math.log10(max(1e-9, 1 - language[1]))) if language else 0.0


def _looks_like_utf16(payload: bytes) -> bool:
    """Every second byte of markup is zero."""
    even, odd = payload[:40:2], payload[1:40:2]
    zeros = sorted((even.count(0), odd.count(0)))
    return len(even) >= 10 and zeros[1] > 0.8 * len(even) and zeros[0] < 0.2 * len(even)


def _detect(sample: bytes) -> str | None:
    name = (cchardet.detect(sample).get("encoding") or "").lower()
    found = webencodings.lookup(_DETECTED_NAMES.get(name, name))
    return found.name if found is not None and found.name not in ("replacement", "x-user-defined") else None


def _sample(payload: bytes) -> bytes:
    """The first lines of the page's text that hold a byte outside ASCII; of its source where its text holds none."""
    head = payload[:_SEARCHED_BYTES]
    lines = _high_lines(_TAG.sub(b"\n", _HIDDEN.sub(b"\n", head)))
    return lines or _high_lines(head) or _high_lines(payload)


def _high_lines(data: bytes) -> bytes:
    parts: list[bytes] = []
    size = 0
    for line in data.split(b"\n"):
        if not line.isascii():
            parts.append(line[: 2 * _SAMPLE_BYTES])
            size += len(parts[-1]) + 1
            if size >= _SAMPLE_BYTES:
                break
    return b"\n".join(parts)
