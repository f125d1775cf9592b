"""Decodes the bytes of a page: finds their encoding.

A byte-order mark, UTF-16 and ISO-2022-JP are recognised by their bytes. Bytes that are valid UTF-8 are UTF-8, whatever
was declared. All other encodings are candidates, compared by the text that each makes of a sample: the one in the
header, the one that the page declares (``meta_charset.py``), damaged UTF-8, the one that uchardet detects, and, if no
declared one gives readable text, every encoding in use. Three things are measured: characters without meaning and
combinations that no language has (``text_quality.py``), the share of valid UTF-8 sequences in the bytes, and the
certainty of the language model about the language of the text. A declared encoding that gives readable text wins over a
guess.

If no candidate gives readable text, the page is read as UTF-8. Its replacement characters then make it fail
(``readable_text.py``), because to keep garbage is worse than to lose a page.

Names have their WHATWG meaning, as in browsers (latin-1 is Windows-1252). A page takes 0.1 ms, or 6 ms if candidates
are compared, as for 3 pages in 100.
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
"""Maximum cost of readable text."""

MIN_SEQUENCES = 4
"""Number of characters outside ASCII from which valid UTF-8 cannot be chance in a page of two-byte characters."""

_DECLARED, _DETECTED, _COMMON = 0.15, 0.05, 0.04
"""Credit, in units of cost, of an encoding that the server or the page declares, of the detected one, and of the most
common one."""

_GUESSED = 0.1
"""Extra cost of undeclared encodings if there are almost no characters outside ASCII."""

_LANGUAGE_WEIGHT = 0.3
"""Credit, in units of cost, for each tenfold decrease of the model's doubt (1 - probability of the language). The model
often assigns a language to garbage as well, but with ten times the doubt."""

_MAX_TENTHS = 3
_MIN_LANGUAGE_CHARS = 20
"""Number of characters outside ASCII from which the language counts in full."""

_LANGUAGE_CHARS = 400  # of the sample, given to the language model
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
"""Encodings that are tried if no declared one gives readable text. Encodings of alphabets with a single language
(Greek, Hebrew, Thai) are not among them: the language model is certain of any text in those letters, so only the
detector can propose them."""

_CODECS = {"gbk": "gb18030", "iso-2022-jp": "iso2022_jp_ext"}
"""Python codecs that decode more than the one of the same name. Browsers decode that much as well."""

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
    """Decodes a page.

    Args:
        payload: the page's bytes.
        charset: the server's name of the encoding, if any.

    Returns:
        (text, WHATWG name of the encoding). Undecodable bytes become U+FFFD.
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
    """A page in an encoding that switches between ASCII and others by escape sequences, or None."""
    for mark, name, codec in _ESCAPES:
        if mark in payload:
            text = payload.decode(codec, "replace")
            quality = measure_quality(text[:_SEARCHED_BYTES])
            if quality.num_chars and quality.cost <= MAX_COST:
                return text, name
    return None


def _declared(payload: bytes, charset: str | None) -> list[str]:
    """The encodings that the header and the page declare, in that order. Unknown names are ignored."""
    encoding = webencodings.lookup(charset) if charset else None
    found = [encoding.name] if encoding is not None else []
    named = find_declaration(payload)
    if named is not None and named not in found:
        found.append(named)
    return [name for name in found if name not in ("replacement", "x-user-defined")]


def _weigh(payload: bytes, declared: list[str]) -> str:
    """The encoding whose text is the most readable."""
    sample = _sample(payload)
    utf8 = sample.decode(_UTF8, "replace")
    num_lost = utf8.count("\ufffd")
    # Valid characters; one of three or more bytes counts twice, because it is even less likely by chance.
    num_valid = sum((code > 0x7F) + (code > 0x7FF) for code in map(ord, utf8)) - 2 * num_lost
    names = {name: _DECLARED - 0.01 * place for place, name in enumerate(declared)}
    names.setdefault(_UTF8, _DETECTED)
    detected = _detect(sample)
    if detected is not None:
        names.setdefault(detected, _DETECTED if len(sample) >= _MIN_DETECTED_BYTES else 0)
    names.setdefault("windows-1252", _COMMON)
    for name, kin in (("koi8-r", "koi8-u"), ("windows-1251", "x-mac-cyrillic")):  # they differ in a few letters only
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
        # Text in a two-byte encoding contains some valid UTF-8 sequences by chance; other text almost never does.
        doubt = 3 if name in _EAST_ASIAN else 0
        share = num_valid / (num_valid + num_lost)
        cost += max(0.0, share - 0.4) / 0.6 * num_valid / (num_valid + doubt)
    return _Candidate(name, credit, text, quality, cost)


def _best(found: list[_Candidate]) -> _Candidate:
    """The candidate with the lowest cost minus credit. If several are close, the certainty of the language counts
    too."""
    found.sort(key=lambda each: each.cost - each.credit)
    reach = found[0].cost - found[0].credit + _MAX_TENTHS * _LANGUAGE_WEIGHT
    near = [each for each in found if each.cost - each.credit <= reach]
    if len({each.text for each in near}) == 1:
        return near[0]
    languages = {text: _certainty(text) for text in {each.text for each in near}}
    weight = _LANGUAGE_WEIGHT * min(1.0, near[0].quality.num_chars / _MIN_LANGUAGE_CHARS) ** 1.5
    return min(near, key=lambda each: each.cost - each.credit - weight * languages[each.text])


def _certainty(text: str) -> float:
    """The certainty of the language model: the negative decimal logarithm of its doubt, in [0, ``_MAX_TENTHS``]."""
    language = identify_language(text[:_LANGUAGE_CHARS])
    return min(_MAX_TENTHS, -math.log10(max(1e-9, 1 - language[1]))) if language else 0.0


def _looks_like_utf16(payload: bytes) -> bool:
    """Whether every second byte at the beginning is zero, as in markup in UTF-16."""
    even, odd = payload[:40:2], payload[1:40:2]
    zeros = sorted((even.count(0), odd.count(0)))
    return len(even) >= 10 and zeros[1] > 0.8 * len(even) and zeros[0] < 0.2 * len(even)


def _detect(sample: bytes) -> str | None:
    name = (cchardet.detect(sample).get("encoding") or "").lower()
    found = webencodings.lookup(_DETECTED_NAMES.get(name, name))
    return found.name if found is not None and found.name not in ("replacement", "x-user-defined") else None


def _sample(payload: bytes) -> bytes:
    """The first lines of the page's text that hold a byte outside ASCII, or lines of its source if the text has
    none."""
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
