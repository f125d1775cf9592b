"""Who is quoted: the line below a quotation or an epigraph that sites name as they name a page's own author."""

from __future__ import annotations

import re
from itertools import islice

from lxml.html import HtmlElement

MAX_ATTRIBUTION_CHARS = 200

NAMES_AUTHOR = re.compile(r"author|byline|credit|source|cite", re.I)
"""Names that such a line has."""

_QUOTED = re.compile(r"(?:^|[\s_-])(?:epigraph|motto|poem|verse|(?:block|pull)?quot(?:e|ation))(?:[\s_-]|$)", re.I)
_DASH = re.compile(r"\s*(?:[\u2012-\u2015~]|--)")
_MAX_NAMES_CHARS = 500
_MAX_TEXTS = 9  # that are read in search of a dash


def says_who_is_quoted(element: HtmlElement, names: str, is_below_quotation: bool) -> bool:
    """Whether a line belongs to the words before it.

    Args:
        names: of the element, and of the one around it where that holds those words too.
        is_below_quotation: a ``<blockquote>`` ends there; then a dash tells its author from the page's.
    """
    before = element.getprevious()
    above = "" if before is None else (before.get("class") or "")
    if _QUOTED.search(names, 0, _MAX_NAMES_CHARS) or _QUOTED.search(above, 0, _MAX_NAMES_CHARS):
        return True
    return is_below_quotation and _DASH.match("".join(islice(element.itertext(), _MAX_TEXTS))) is not None
