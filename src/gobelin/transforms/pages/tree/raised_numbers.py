"""Rewrites superscripts and subscripts whose position carries meaning: ``10<sup>8</sup>`` becomes ``10^8``, not
``108``.

    10^8  10^-9  2^n  2^(n+1)  x^2  km^2  (a+b)^2  s^-1      superscripts after a number, variable, unit or bracket
    101_2  x_i  a_(n+1)  log_(2)8                             subscripts after a number; after a letter if not only
    digits
    1999[3]                                                   a footnote mark after a number
    $19.99                                                    cents
    3 1/2                                                     a fraction after a number

Ordinals (1st, 21e), footnote marks after words (word3), chemical formulas (H2O) and TM stay as they are. Minus signs
become hyphens. Nested superscripts nest: ``2^(2^n)``.
"""

from __future__ import annotations

import re
from itertools import islice

from lxml.etree import _Element

from gobelin.transforms.pages.tree.running_text import text_before, text_behind

_MAX_CHARS = 40
"""Maximum length of a superscript or subscript. A longer one is a remark."""

_MAX_PARTS = 40
_NUMBER = re.compile(r"[+\-−–]?\d+(?:[.,]\d+)?")
_ORDINAL = re.compile(
    r"st|nd|rd|th|er|e?re|ère|e|è|[eè]me|i[eè]me|nde?|[oaªº]s?|es|mes?|les?|lle|ste|te|de|ie|rs|[rstdhm]|r\.|tm|sm|[®™℠°†‡*]{1,3}",
    re.I,
)
_UNITS = frozenset((
    "m", "km", "cm", "mm", "dm", "hm", "nm", "µm", "μm", "um", "pm", "fm", "in", "ft", "yd", "mi", "nmi", "s", "sec",
    "min", "ms", "g", "kg", "mg", "kpc", "mpc", "pc", "ly", "au", "hz", "rad", "sr", "mol", "км", "м", "см", "мм",
    "sin", "cos", "tan", "log", "ln", "exp", "chi", "cosh", "sinh",
))  # fmt: skip
_BASE = re.compile(r"(?P<number>\d)$|(?P<bracket>[)\]}|])$|(?P<word>[^\W\d_]{1,6})$")
_PRICE = re.compile(r"[$€£¥₹]\s?\d[\d,.]{0,9}$")
_EXPRESSION = re.compile(r"[+\-−–/=*·×^(),]")
_NOTE = re.compile(
    r"(?:^|[\s_-])(?:ref(?:erence)?s?|foot-?notes?\S{0,12}|fn\S{0,6}|notes?(?:-ref|call)?|cite\S{0,12})(?:[\s_-]|$)",
    re.I,
)
_ITALIC = frozenset(("i", "em", "var"))
_CURRENCIES = ("€", "$", "£", "¥", "₹")
_FRACTION_BARS = ("/", "⁄", "∕")
_SIGNS = str.maketrans("−–", "--")


def rewrite_raised(element: _Element) -> None:
    """Writes a sign before (and after) the text of a <sup> or <sub>, so that it stays apart from the text before it."""
    raised = _words(element)
    if not raised or len(raised) > _MAX_CHARS:
        return
    base = text_before(element, 12)
    match = _BASE.search(base)
    if match is None:
        return
    kind = match.lastgroup or ""
    if kind == "word" and base.endswith(match.group()) and len(base) > len(match.group()):
        before = base[-len(match.group()) - 1]
        if before.isalnum() and not before.isdigit():
            return  # the base is the end of a longer word
    if element.tag == "sub":
        opening = _lowered(element, kind, match.group(), raised)
    else:
        opening = _raised(element, kind, match.group(), raised, base)
    if opening is None:
        return
    sign, closing = opening
    text = element.text or ""
    element.text = sign + text.lstrip().translate(_SIGNS)
    if len(element):
        last = element[-1]
        last.tail = (last.tail or "").rstrip() + closing
    else:
        element.text = element.text.rstrip() + closing


def _raised(element: _Element, kind: str, base: str, raised: str, before: str) -> tuple[str, str] | None:
    if _is_note(element):
        return ("[", "]") if kind == "number" and raised.isalnum() else None
    following = element.getnext()
    is_fraction = (element.tail or "").strip() in _FRACTION_BARS and following is not None and following.tag == "sub"
    if is_fraction:
        return (" ", "") if kind == "number" else None
    is_price = _PRICE.search(before) is not None or text_behind(element, 2).strip()[:1] in _CURRENCIES
    if kind == "number" and is_price and len(raised) == 2 and raised.isdecimal():
        return (".", "")
    is_italic = _is_italic(element)
    if _ORDINAL.fullmatch(raised) and not (len(raised) == 1 and is_italic and raised.isalpha()):
        return None
    is_number = _NUMBER.fullmatch(raised) is not None
    is_signed = is_number and not raised[0].isdigit()
    is_variable = kind == "word" and (is_italic or base.islower()) and len(raised) <= 3
    is_mixed = any(map(str.isdigit, raised)) and any(map(str.isalpha, raised))
    is_expression = is_number or is_mixed or is_variable or len(raised) == 1 or _EXPRESSION.search(raised) is not None
    if not is_expression or not any(map(str.isalnum, raised)):
        return None
    if kind == "word" and len(base) > 1 and not (is_signed or base.casefold() in _UNITS):
        return None
    return _bracketed("^", element, raised, is_number)


def _lowered(element: _Element, kind: str, base: str, lowered: str) -> tuple[str, str] | None:
    is_number = _NUMBER.fullmatch(lowered) is not None
    is_followed = _sign_behind(element).isdigit() and lowered[-1].isdigit()
    if kind == "number":
        return _bracketed("_", element, lowered, is_number)
    if kind == "word":
        if is_followed and (len(base) == 1 or base.casefold() == "log"):
            return _bracketed("_", element, lowered, is_number)
        is_index = not lowered.isdecimal() and any(map(str.isalnum, lowered)) and " " not in lowered
        if is_index and len(base) == 1:
            return _bracketed("_", element, lowered, is_number)
    return None


def _bracketed(sign: str, element: _Element, raised: str, is_number: bool) -> tuple[str, str]:
    """Returns the opening and closing signs. Brackets surround anything beyond a number or a word, and any text that
    would otherwise merge with the text after it."""
    behind = _sign_behind(element)
    runs_on = (raised[-1].isdigit() and behind.isdigit()) or (raised[-1].isalpha() and behind.isalpha())
    is_whole = is_number or raised.isalnum()
    is_bracketed = raised.startswith("(") and raised.endswith(")")
    is_nested = next(element.iterdescendants("sup", "sub"), None) is not None
    return (sign, "") if (is_whole and not runs_on and not is_nested) or is_bracketed else (f"{sign}(", ")")


def _sign_behind(element: _Element) -> str:
    """The character after the element, or "" if that character is raised or lowered itself."""
    following = element.getnext()
    is_script = following is not None and following.tag in ("sup", "sub") and not element.tail
    return "" if is_script else text_behind(element, 1)


def _is_italic(element: _Element) -> bool:
    """Whether the element or its base is italic, as variables are."""
    before, parent = element.getprevious(), element.getparent()
    parts = [parent, *islice(element.iterchildren(), 1), before if before is not None and not before.tail else None]
    return any(part is not None and part.tag in _ITALIC for part in parts)


def _is_note(element: _Element) -> bool:
    """Whether a superscript is a footnote mark: it links within the page, or a class says so."""
    if _NOTE.search(f"{element.get('class') or ''} {element.get('id') or ''}", 0, 200):
        return True
    holders = [element, *islice(element.iterdescendants("a"), 2), *islice(element.iterancestors(), 1)]
    return any(
        part.tag == "a" and ((part.get("href") or "").startswith("#") or _NOTE.search(part.get("class") or "", 0, 200))
        for part in holders
    )


def _words(element: _Element) -> str:
    texts = (str(text) for text in islice(element.itertext(), _MAX_PARTS))
    return "".join("".join(texts)[: 4 * _MAX_CHARS].split())
