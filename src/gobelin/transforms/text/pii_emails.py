"""Finds e-mail addresses in text.

For each "@", at most 64 characters before it are read as the local part and at most 255 after it as the domain, the
maximum lengths in RFC 5321. So the time is linear in the text. (A regular expression that starts at the local part is
quadratic on "a.a.a.a...": 10 kB take a second.)

The rules are deliberately narrow. A domain needs a dot and ends in letters, so ``react@17.0.2`` and ``user@localhost``
do not match. Neither do file names such as ``icon@2x.png``, nor ``git@example.org:a/b.git``. Letters are Latin, so an
address in Chinese text ends at the right place. Spelled-out addresses ("name at example dot org") are not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_LOCAL = 64
MAX_DOMAIN = 255

_LATIN = "A-Za-z0-9\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f"
_LOCAL_CHARACTER = re.compile(rf"[{_LATIN}._%+'-]")
_DOMAIN = re.compile(rf"[{_LATIN}.-]{{1,{MAX_DOMAIN}}}")
_LABEL = re.compile(rf"[{_LATIN}](?:[{_LATIN}-]{{0,61}}[{_LATIN}])?")
_TOP_LEVEL = re.compile(r"[A-Za-z]{2,63}|xn--[A-Za-z0-9-]{2,59}", re.IGNORECASE)
# File suffixes in names like picture@2x.png, which are not top-level domains.
_FILE_ENDINGS = frozenset(
    ["png", "jpg", "jpeg", "gif", "webp", "svg", "avif", "bmp", "ico", "css", "js", "html", "htm", "php"]
)

_NOBODY = "git"
"""The account name in addresses of code hosts, as in git@example.org:team/project.git."""


def find_emails(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each address, in order, without overlaps."""
    done = 0
    at = text.find("@")
    while at >= 0:
        start = _local_start(text, at, done)
        end = _domain_end(text, at + 1)
        if start < at and end > at and text[start:at] != _NOBODY:
            yield start, end
            done = end
        at = text.find("@", max(done, at + 1))


def _local_start(text: str, at: int, floor: int) -> int:
    """The start of the local part before ``at``, at least ``floor``; ``at`` if there is none."""
    start = at
    lowest = max(floor, at - MAX_LOCAL - 1)
    while start > lowest and _LOCAL_CHARACTER.match(text, start - 1):
        start -= 1
    if at - start > MAX_LOCAL:
        return at
    while start < at and text[start] in "._%+'-":  # such as a quotation mark or the dots of an ellipsis
        start += 1
    return at if text[at - 1] == "." else start


def _domain_end(text: str, start: int) -> int:
    """The end of the longest domain from ``start``; -1 if there is none."""
    run = _DOMAIN.match(text, start)
    if run is None:
        return -1
    end = best = -1
    for position, label in enumerate(run[0].split(".")):
        end = start + len(label) if position == 0 else end + 1 + len(label)
        if not _LABEL.fullmatch(label):
            # "example.org-" ends before the hyphen. Any other invalid label ends the domain.
            trimmed = label.rstrip("-")
            if position and _is_top_level(trimmed):
                best = end - (len(label) - len(trimmed))
            break
        if position and _is_top_level(label):
            best = end
    return best


def _is_top_level(label: str) -> bool:
    return _TOP_LEVEL.fullmatch(label) is not None and label.lower() not in _FILE_ENDINGS
