"""The article of a page that has one: where the region with the most prose holds an element that says that it is the
article, below or around the page's own heading, the region is that element.

What else a news page says at length (what readers write, what asks for consent, summaries of other articles, the next
article of an endless page) stands outside. Several elements of one make are parts of a text, unless each has a heading
of its own and the first is the page's.
"""

from __future__ import annotations

from itertools import accumulate

from gobelin.documents import Role
from gobelin.transforms.pages.boilerplate import Kind
from gobelin.transforms.pages.page_blocks import PageBlocks

_MIN_PROSE = 200.0
_MAX_BETWEEN = 40  # blocks between the heading and the article below it
_MIN_SHARE = 0.2  # of the region's prose
_MIN_TITLE_CHARS = 10
_TAGS = frozenset(("article", "section", "div", "main"))


def narrow_to_article(page: PageBlocks, region: int, title: str | None, weights: list[float], drop: list[bool]) -> int:
    """The container of the article in the region with the most prose, or that region.

    Args:
        region: index of its container.
        title: the page's own.
        weights: of all blocks: characters of prose, less than nothing for a menu's entry.
        drop: blocks that are marked as boilerplate.
    """
    containers = page.containers
    outer = containers[region]
    if outer.tag == "article":
        return region
    heading, is_sure = _find_heading(page, title, drop)
    if heading is None:
        return region
    prose = [0.0, *accumulate(max(0.0, weight) for weight in weights)]
    least = max(_MIN_PROSE, _MIN_SHARE * (prose[outer.end] - prose[outer.start]))
    best, most = region, 0.0
    for index in range(region + 1, outer.last + 1):
        container = containers[index]
        said = prose[container.end] - prose[container.start]
        if container.kind is not Kind.ARTICLE or container.tag not in _TAGS or said < least or said < most:
            continue
        is_around = container.start <= heading < container.end
        if is_around or 0 <= container.start - heading <= _MAX_BETWEEN:
            best, most = index, said
    if outer.kind is Kind.ARTICLE and outer.tag != "main" and most > 0.5 * (prose[outer.end] - prose[outer.start]):
        return region
    if best != region and not (is_sure and containers[best].start <= heading < containers[best].end):
        make = (containers[best].tag, containers[best].names)
        others = (containers[index] for index in range(region + 1, outer.last + 1) if index != best)
        if any((other.tag, other.names) == make and prose[other.end] > prose[other.start] for other in others):
            return region
    return best


def _find_heading(page: PageBlocks, title: str | None, drop: list[bool]) -> tuple[int | None, bool]:
    """The first heading that the page's title holds, and True; else the first <h1>, and False."""
    wanted = title.casefold() if title else ""
    first = None
    for index, block in enumerate(page.blocks):
        if block.role is not Role.HEADING or drop[index]:
            continue
        if block.num_chars >= _MIN_TITLE_CHARS and block.text.casefold() in wanted:
            return index, True
        if first is None and block.level == 1:
            first = index
    return first, False
