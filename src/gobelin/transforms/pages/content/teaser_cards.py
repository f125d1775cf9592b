"""Drops teasers of other articles below the text: boxes with one signature, each with a linked image (or a date), a
linked title and a summary.

They are dropped if the page's own text stands above them. A page that lists articles has only an introduction above
them, so they stay there. Boxes without a summary stay as well. Manuals keep all boxes, because their tables and
galleries have linked names beside images and descriptions.
"""

from __future__ import annotations

import re
from itertools import accumulate

from gobelin.data.model import PageKind, Role
from gobelin.transforms.pages.content.boilerplate_phrases import DATE_OR_BYLINE
from gobelin.transforms.pages.content.region import Region
from gobelin.transforms.pages.tree.page_blocks import Container

_MIN_CARDS = 3
_MIN_TITLE_CHARS = 12
_MAX_TITLE_CHARS = 250
_MAX_PLAIN_CHARS = 600
_MAX_BLOCKS = 16
_MIN_TEXT = 400.0
"""Minimum number of characters of prose above the teasers."""

_MIN_SHARE = 0.2  # of the region's prose
_NUMBERS = re.compile(r"\d+")


def drop_teaser_cards(region: Region) -> None:
    """Drops boxes with one signature and one parent below the page's own text if most of them are teasers."""
    if region.kind is PageKind.MANUAL:
        return
    containers = region.page.containers
    groups: dict[tuple[int, str, str], list[Container]] = {}
    for container in containers[region.index + 1 : containers[region.index].last + 1]:
        if container.end > container.start and container.end - container.start <= _MAX_BLOCKS:
            make = (container.parent, container.tag, _make(container.names))
            groups.setdefault(make, []).append(container)
    prose = [0.0, *accumulate(max(0.0, w) * (not d) for w, d in zip(region.weights, region.drop, strict=True))]
    least = max(_MIN_TEXT, _MIN_SHARE * (prose[region.end] - prose[region.start]))
    for members in groups.values():
        if len(members) < _MIN_CARDS:
            continue
        cards = [container for container in members if _is_card(region, container)]
        if len(cards) < _MIN_CARDS or len(cards) < 0.6 * len(members):
            continue
        first = cards[0].start
        if prose[first] - prose[region.start] < least or not _is_below_heading(region, first):
            continue
        for container in members:
            region.drop[container.start : container.end] = [True] * (container.end - container.start)


def _make(names: str) -> str:
    """The first class word, without numbers."""
    return _NUMBERS.sub("", names.split()[0]) if names.strip() else ""


def _is_below_heading(region: Region, index: int) -> bool:
    """Whether a block is below the page's heading, or the page's heading is unknown."""
    return region.heading is None or region.heading < index


def _is_card(region: Region, container: Container) -> bool:
    blocks = [region.blocks[index] for index in range(container.start, container.end) if not region.drop[index]]
    has_title = any(
        _MIN_TITLE_CHARS <= block.num_chars <= _MAX_TITLE_CHARS and block.link_chars >= 0.8 * block.num_chars
        for block in blocks
        if block.role is not Role.TABLE
    )
    if not has_title:
        return False
    plain = [block for block in blocks if block.num_chars and block.link_chars < 0.5 * block.num_chars]
    if not 0 < sum(block.num_chars - block.link_chars for block in plain) <= _MAX_PLAIN_CHARS:
        return False
    has_picture = any(block.image is not None and block.num_links for block in blocks)
    return has_picture or any(block.num_chars <= 40 and DATE_OR_BYLINE.search(block.text) for block in plain)
