"""How well a text reads: what tells the right encoding of some bytes from those that make rubbish of them.

Each character becomes the letter of its class, and combinations that no language writes are counted: characters that
mean nothing (replacement, control, private use); symbols inside words (``za¿ó³æ``); small letters before capitals, and
words with only their first letter small (``оПХБЕР``); two alphabets in a word (``cafй``); accented letters behind
accented letters (``Ïðèâåò``); marks of Thai on nothing; an ideograph inside a Latin word; ideographs outside the common
ones of any language, or of Japanese beside kana, or beside Hangul; many half-width kana. It knows no language. A sample
of 2,000 characters costs 1 ms.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import unicodedata
from collections import Counter

MAX_ACCENTED_PAIRS = 0.35
"""Accented Latin letters behind another, among all of them: Czech has 0.15, Finnish 0.25, a Cyrillic text that is read
as Windows-1252 0.8."""

_LOST_SMOOTHING, _ODD_SMOOTHING = 5, 20
"""Characters that are taken to be right beforehand: a single odd one says little."""

_ODD = (
    ("s", re.compile(r"(?<=[aAlLcCgG])s+(?=[aAlLcCgG])"), 1.0),  # symbols in a word
    ("s", re.compile(r"(?<=[lLcCgG])s+|s+(?=[lLcCgG])"), 0.25),  # at its edge
    ("s", re.compile(r"s{2,}"), 0.5),
    ("CGL", re.compile(r"(?<=[cgl])[CGL]|(?<=a)L"), 1.0),  # a capital behind a small letter
    ("CG", re.compile(r"(?<![aAlLcCgG])[cg][CG]{2,}(?![aAlLcCgG])"), 1.0),  # all capitals but the first
    (
        "cCgGhrt",  # two alphabets in a word
        re.compile(r"(?<=[aAlL])[cCgGhrt]|(?<=[cC])[aAlLgGhrt]|(?<=[gG])[aAlLcChrt]|(?<=[hrt])[aAlLcCgG]"),
        1.0,
    ),
    ("q", re.compile(r"(?<![tq])q|qqq"), 1.0),  # marks of Thai on nothing
    ("jiJn", re.compile(r"(?<=a)[jiJn](?=a)"), 1.0),
)
"""Combinations that no language writes: classes that must be there, the pattern, what each character counts for."""

_ACCENTED = re.compile(r"(?<=[lL])[lL]")
_PLAIN = "·´’‘ʼʻ\xad\xa0°─═│║"
"""Symbols that stand inside words (l·l, l´eau), and lines that are drawn with them."""

_SCRIPTS = (
    (0x0080, 0x009F, "x"), (0x0250, 0x02AF, "o"), (0x0370, 0x03FF, "g"), (0x0400, 0x052F, "c"), (0x0590, 0x05FF, "h"),
    (0x0600, 0x06FF, "r"), (0x0E00, 0x0E7F, "t"), (0x1100, 0x11FF, "J"), (0x3040, 0x30FF, "k"), (0x3130, 0x318F, "m"),
    (0x3400, 0x4DBF, "J"), (0xAC00, 0xD7A3, "n"), (0xE000, 0xF8FF, "x"), (0xF900, 0xFAFF, "J"), (0xFF61, 0xFF9F, "w"),
    (0x20000, 0x3FFFF, "J"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Quality:
    """What a text has of characters outside ASCII, and how many speak against it."""

    num_chars: int  # outside ASCII
    num_lost: int  # of these: that mean nothing
    num_odd: float  # weighed combinations that no language writes

    @property
    def cost(self) -> float:
        """Share of what speaks against the text, from 0; above 0.2 nobody can read it."""
        lost = self.num_lost / (self.num_chars + _LOST_SMOOTHING)
        return lost + self.num_odd / (self.num_chars + _ODD_SMOOTHING)


def measure_quality(text: str) -> Quality:
    """How well a text reads; a sample of some thousand characters is enough."""
    classes = text.translate(_CLASSES)
    counts = Counter(classes)
    num_chars = len(text) - len(text.encode("ascii", "ignore"))
    odd = 0.0
    for needed, pattern, weight in _ODD:
        if any(counts[each] for each in needed):
            odd += weight * sum(map(len, pattern.findall(classes)))
    capitals, small = counts["C"] + counts["G"], counts["c"] + counts["g"]
    if capitals > 1.5 * small:
        odd += 0.2 * capitals
    accented, pairs = counts["l"] + counts["L"], len(_ACCENTED.findall(classes))
    odd += max(0.0, pairs - MAX_ACCENTED_PAIRS * accented - 2) / (1 - MAX_ACCENTED_PAIRS)
    return Quality(num_chars, counts["x"], odd + _odd_in_east_asian(counts))


def _odd_in_east_asian(counts: Counter[str]) -> float:
    ideographs = counts["j"] + counts["i"] + counts["J"]
    kana, hangul = counts["k"], counts["n"]
    odd = 0.5 * counts["m"] + float(counts["J"])
    if kana > 0.1 * (ideographs + kana):
        odd += counts["i"]
    if hangul > 0.1 * (ideographs + hangul) and ideographs > 0.05 * hangul:
        odd += 0.5 * (counts["j"] + counts["i"])
    if kana > 0.05 * hangul and hangul > 0.05 * kana:
        odd += min(kana, hangul)
    if counts["w"] > 0.3 * (kana + ideographs):
        odd += 0.7 * counts["w"]
    return odd


class _Classes(dict[int, str]):
    """A character's class, worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _class_of(code)
        return found


_CLASSES = _Classes()


def _class_of(code: int) -> str:
    """The class's letter.

    a A ASCII letters; l L Latin; c C Cyrillic; g G Greek; h Hebrew; r Arabic; t Thai, q its marks; k kana; w half-width
    kana; j ideographs common in Japanese, i in Chinese only, J rare ones; n Hangul; m its single letters; s symbols; x
    what means nothing; o other letters; a blank for all else.
    """
    character = chr(code)
    if code < 0x80:
        if character.isalpha():
            return "a" if character.islower() else "A"
        return "x" if code < 32 and character not in "\t\n\r\f\x1b" else " "
    if character in _PLAIN:
        return " "
    category = unicodedata.category(character)
    if code in (0xFFFD, 0xFFFE, 0xFFFF) or category in ("Cn", "Cs", "Cc", "Co"):
        return "x"
    if 0x4E00 <= code <= 0x9FFF:
        japanese, chinese = _common_ideographs()
        return "j" if code in japanese else "i" if code in chinese else "J"
    script = next((letter for first, last, letter in _SCRIPTS if first <= code <= last), "")
    if script in ("c", "g"):
        return script.upper() if character.isupper() else script if category[0] == "L" else " "
    if script == "t" and category == "Mn":
        return "q"
    if script:
        return script if category[0] in "LM" or script in "xw" else " "
    if category[0] == "L" and category != "Lo":
        return "L" if character.isupper() else "l"
    if category[0] == "S" or category == "No" or character in "ªº§¶¿¡«»":
        return "s" if code < 0x3000 else " "
    return "o" if category[0] == "L" else " "


@functools.cache
def _common_ideographs() -> tuple[frozenset[int], frozenset[int]]:
    """Ideographs of the first level of JIS X 0208, of GB 2312 or Big5."""

    def of(encoding: str, leads: range, trails: list[int]) -> frozenset[int]:
        rows = b"".join(bytes((lead, trail)) for lead in leads for trail in trails)
        return frozenset(map(ord, rows.decode(encoding, "ignore")))

    upper = list(range(0xA1, 0xFF))
    japanese = of("euc_jp", range(0xB0, 0xD0), upper)
    chinese = of("gb2312", range(0xB0, 0xD8), upper) | of("big5", range(0xA4, 0xC7), [*range(0x40, 0x7F), *upper])
    return japanese, chinese
