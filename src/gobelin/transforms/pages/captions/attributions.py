"""Recognises the author of a quotation: the line below a quotation or an epigraph, which sites often name like the
author of the page."""

from __future__ import annotations

import re
from itertools import islice

from lxml.html import HtmlElement

MAX_ATTRIBUTION_CHARS = 200

NAMES_AUTHOR = re.compile(r"author|byline|credit|source|cite", re.I)
"""Names of such a line."""

_QUOTED = re.compile(r"(?:^|[\s_-])(?:epigraph|motto|poem|verse|(?:block|pull)?quot(?:e|ation))(?:[\s_-]|$)", re.I)
_DASH = re.compile(r"\s*(?:[\u2012-\u2015~]|--)")
_MAX_NAMES_CHARS = 500
_MAX_TEXTS = 9  # number of text nodes that are searched for a dash


def names_quoted_author(element: HtmlElement, names: str, is_below_quotation: bool) -> bool:
    """Whether a line names the author of the words before it.

    Args:
        names: class and id of the element, and of the element around it if that also holds the quoted words.
        is_below_quotation: whether a ``<blockquote>`` ends right before. Then a dash at the line's beginning is enough.
    """
    before = element.getprevious()
    above = "" if before is None else (before.get("class") or "")
    if _QUOTED.search(names, 0, _MAX_NAMES_CHARS) or _QUOTED.search(above, 0, _MAX_NAMES_CHARS):
        return True
    return is_below_quotation and _DASH.match("".join(islice(element.itertext(), _MAX_TEXTS))) is not None
