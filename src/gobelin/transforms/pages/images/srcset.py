"""``srcset`` and ``sizes``: the addresses that a responsive image offers, and how wide each is.

Parsed as the HTML standard does (4.8.4.2.2): white space ends an address, so commas inside one do not; a comma at an
address's end does, and one before a descriptor's end. Two departures, both for real pages: an address with a
space in it is put together again where that makes it readable, and no more than ``MAX_CANDIDATES`` are looked at.
Linear in the length of the attribute.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_CANDIDATES = 64
"""Candidates of one ``srcset`` that are looked at; real ones have a dozen."""

_SEPARATORS = re.compile(r"[\s,]*")
_ADDRESS = re.compile(r"\S*")
_DESCRIPTOR = re.compile(r"\d{1,9}(?:\.\d{1,9})?[wxh]")
_SLOT_PX = re.compile(r"(\d{1,5})(?:\.\d{0,9})?px\s*$")


class SrcsetCandidate(NamedTuple):
    """An address of a ``srcset`` with what its descriptor says of it; density 1 where there is no descriptor."""

    address: str
    width: float | None  # px, of the file
    density: float | None  # px of the file for each px on the page


def parse_srcset(srcset: str) -> list[SrcsetCandidate]:
    """The candidates of a ``srcset`` as they stand. One with an invalid descriptor is left out."""
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
    """Width in px of the last, unconditional entry of a ``sizes`` attribute; None where that is no plain length."""
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
        # "my photo.jpg 300w": the address went on after the space.
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
