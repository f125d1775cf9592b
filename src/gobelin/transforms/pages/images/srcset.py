"""Parses ``srcset`` and ``sizes``: the addresses that a responsive image offers, and their widths.

The algorithm is that of the HTML standard (4.8.4.2.2): white space ends an address, so a comma inside an address does
not end it, but a comma at its end does. There are two deviations for real pages: an address with a space in it is
joined again if the result is valid, and at most ``MAX_CANDIDATES`` are read. Linear in the length of the attribute.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_CANDIDATES = 64
"""Maximum number of candidates of one ``srcset`` that are read. Real ones have a dozen."""

_SEPARATORS = re.compile(r"[\s,]*")
_ADDRESS = re.compile(r"\S*")
_DESCRIPTOR = re.compile(r"\d{1,9}(?:\.\d{1,9})?[wxh]")
_SLOT_PX = re.compile(r"(\d{1,5})(?:\.\d{0,9})?px\s*$")


class SrcsetCandidate(NamedTuple):
    """An address of a ``srcset`` with its descriptor. Without a descriptor, the density is 1."""

    address: str
    width: float | None  # of the file in px
    density: float | None  # px of the file per px on the page


def parse_srcset(srcset: str) -> list[SrcsetCandidate]:
    """The candidates of a ``srcset`` in their order. Candidates with an invalid descriptor are left out."""
    candidates: list[SrcsetCandidate] = []
    position = 0
    while position < len(srcset) and len(candidates) < MAX_CANDIDATES:
        position = _match_end(_SEPARATORS, srcset, position)
        end = _match_end(_ADDRESS, srcset, position)
        address = srcset[position:end]
        if address.endswith(","):
            descriptors = ""
            position = end
        else:
            comma = srcset.find(",", end)
            position = len(srcset) if comma < 0 else comma + 1
            descriptors = srcset[end:position].rstrip(",")
        candidate = _read_candidate(address.rstrip(","), descriptors.split())
        if candidate is not None:
            candidates.append(candidate)
    return candidates


def slot_width(sizes: str | None) -> int | None:
    """The width in px of the last, unconditional entry of a ``sizes`` attribute; None if it is not a length in px."""
    last = (sizes or "")[-64:].rpartition(",")[2].strip()
    match = _SLOT_PX.fullmatch(last)
    return int(match.group(1)) if match else None


def _read_candidate(address: str, descriptors: list[str]) -> SrcsetCandidate | None:
    if not address:
        return None
    width: float | None = None
    density: float | None = None
    valid = [_DESCRIPTOR.fullmatch(descriptor) is not None for descriptor in descriptors]
    if not all(valid):
        # "my photo.jpg 300w": the address continues after the space.
        if not valid[-1] or any(valid[:-1]) or "." not in descriptors[-2]:
            return None
        address = " ".join((address, *descriptors[:-1]))
        descriptors = descriptors[-1:]
    for descriptor in descriptors:
        if descriptor[-1] == "w":
            width = float(descriptor[:-1])
        elif descriptor[-1] == "x":
            density = float(descriptor[:-1])
    return SrcsetCandidate(address, width, 1.0 if width is None and density is None else density)


def _match_end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position
