"""Words in an image's URL that tell what it is: a logo, a button, an icon.

OBELICS and MMC4 look for such words anywhere in the URL, which finds ``sex`` in Essex, ``icon`` in silicon and
``logo`` in catalogo, and misses LOGO.png. Here a URL is split into words first, and whole words are compared:

    parts   the directories and the file name, percent-decoded, and the labels of the host before its last two (the
            ``logo`` of logo.example.org). Not the domain itself, which names a site, nor the query.
    words   runs of letters, cut where small letters turn into capitals: ``siteLogo-2x.PNG`` is site, logo, x, png.
    match   a word or its plural (-s, -es, -y to -ies), in any case.

``wp-content/plugins`` is a plugin's folder, and counts: of 4317 image URLs on real pages, 62 lay in a plugins folder,
and their names say that none was content (flags, icons, spinners, share buttons, placeholders).

What this cannot see are words written together, such as ``mylogo.png``: no rule that finds it leaves lexicon.png alone.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

# A run of capitals before a capitalised word, a word, a run of capitals; letters without case as they come.
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[^\W\d_A-Za-z]+")


def banned_word(url: str, words: Sequence[str]) -> str | None:
    """The first of ``words``, in their order, that the URL contains as a word or its plural; None if it has none."""
    present = url_words(url)
    return next((word for word in words if not _forms(word).isdisjoint(present)), None)


def url_words(url: str) -> frozenset[str]:
    """The words of a URL's subdomains, directories and file name, lower case. A URL that cannot be read has none."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:  # "http://[" and the like
        return frozenset()
    subdomains = " ".join(host.split(".")[:-2])
    return frozenset(word.lower() for word in _WORD.findall(f"{subdomains} {unquote(parts.path)}"))


@functools.cache
def _forms(word: str) -> frozenset[str]:
    word = word.lower()
    forms = {word, word + "s", word + "es"}
    if word.endswith("y"):
        forms.add(word[:-1] + "ies")
    return frozenset(forms)
