"""Drops what follows the text flow of an article.

The flow is the innermost element that holds most of the region's prose. After it, sites add the same things to every
article: ratings, polls, calls to action, the author, the imprint.
"""

from __future__ import annotations

from collections import Counter
from itertools import accumulate

from gobelin.data.model import PageKind, Role
from gobelin.transforms.pages.content.region import Region
from gobelin.transforms.pages.tree.page_blocks import Container

_MIN_PROSE = 400.0
_MOST = 0.6  # share of the region's prose in the flow: non-prose after the last prose is dropped
_NEARLY_ALL = 0.9  # share of the region's prose in the flow: everything after it is dropped
_NO_FLOW = frozenset(("ul", "ol", "li", "dl", "table", "tr", "td", "th", "blockquote", "figure"))
_ADDED = frozenset(("div", "section", "aside", "form"))
_KEPT_ROLES = frozenset((Role.TABLE, Role.CODE, Role.CAPTION))


def drop_behind_flow(region: Region) -> None:
    """Drops text after the flow of an article. If an element holds ``_MOST`` of the prose, lines without prose after it
    are dropped. If an element holds ``_NEARLY_ALL`` of it, all text after it is dropped. Tables, code and images
    stay."""
    if region.kind is not PageKind.ARTICLE or region.is_recipe:
        return
    weights, drop = region.weights, region.drop
    prose = [0.0, *accumulate(max(0.0, w) * (not d) for w, d in zip(weights, drop, strict=True))]
    if prose[region.end] - prose[region.start] < _MIN_PROSE:
        return
    last = max(index for index in range(region.start, region.end) if prose[index + 1] > prose[index])
    containers = region.page.containers
    flow = _find_flow(region, prose, _MOST)
    behind = [
        *range(max(containers[flow].end, last + 1), region.end),
        *range(containers[_find_flow(region, prose, _NEARLY_ALL)].end, region.end),
        *_added_inside(region, flow, last, prose),
    ]
    for index in behind:
        block = region.blocks[index]
        if block.image is None and block.role not in _KEPT_ROLES:
            drop[index] = True


def _find_flow(region: Region, prose: list[float], share: float) -> int:
    """The innermost container with at least ``share`` of the region's prose. Sections are not flows: containers of one
    signature that each begin with a heading.

    Args:
        prose: prefix sums of prose before each block.
    """
    blocks, containers = region.blocks, region.page.containers
    inside = range(region.index + 1, containers[region.index].last + 1)
    sections = Counter(
        _make(container)
        for container in containers[region.index + 1 : containers[region.index].last + 1]
        if container.end - container.start > 1 and blocks[container.start].role is Role.HEADING
    )
    least = share * (prose[region.end] - prose[region.start])
    flow = region.index
    for index in inside:
        container = containers[index]
        if prose[container.end] - prose[container.start] < least or container.tag in _NO_FLOW:
            continue
        if sections[_make(container)] > 1:
            break
        flow = index
    return flow


def _make(container: Container) -> tuple[int, str, str]:
    """Parent, tag and first class word."""
    return container.parent, container.tag, container.names.partition(" ")[0]


def _added_inside(region: Region, flow: int, last: int, prose: list[float]) -> list[int]:
    """Paragraphs in nested elements after the last prose, if most prose is directly in the flow element."""
    blocks, containers = region.blocks, region.page.containers
    start, end = containers[flow].start, containers[flow].end
    direct = sum(prose[i + 1] - prose[i] for i in range(start, end) if blocks[i].container == flow)
    if direct < _MOST * (prose[end] - prose[start]):
        return []
    return [
        index
        for index in range(last + 1, end)
        if blocks[index].role is Role.PARAGRAPH
        and blocks[index].container != flow
        and containers[blocks[index].container].tag in _ADDED
    ]
