"""The article of a page that has one: where the region with the most prose holds an element that says that it is the
article, below or around the page's own heading, the region is that element.

What else a news page says at length (what readers write, what asks for consent, summaries of other articles, the next
article of an endless page) stands outside. Several elements of one make are parts of a text, unless each has a heading
of its own and the first is the page's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from gobelin.documents import Role
from gobelin.transforms.pages.boilerplate import Kind
from gobelin.transforms.pages.page_blocks import PageBlocks

_MIN_PROSE = 200.0
_MAX_BETWEEN = 40  # blocks between the heading and the article below it
_MIN_SHARE = 0.2  # of the region's prose
_MIN_CERTAIN = 100.0  # prose of an <article> around the page's heading, or of what stands below it, above the region
_MIN_PICTURES = 3
_MAX_DEPTH = 6
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
    heading, is_sure = _find_heading(page, title, drop)
    if outer.tag == "article" or heading is None:
        return _with_pictures(page, region, drop)
    prose = [0.0, *accumulate(max(0.0, weight) for weight in weights)]
    whole = prose[outer.end] - prose[outer.start]
    best, most = region, 0.0
    for index, container in enumerate(containers):
        if container.kind is not Kind.ARTICLE or container.tag not in _TAGS:
            continue
        is_inside = region < index <= outer.last
        # What stands above the region, right below the page's heading, is the article, and the region is something else.
        if not is_inside and not (is_sure and container.end <= outer.start and container.tag != "main"):
            continue
        said = prose[container.end] - prose[container.start]
        is_around = container.start <= heading < container.end
        is_certain = not is_inside
        if said < most or said < (_MIN_CERTAIN if is_certain else max(_MIN_PROSE, _MIN_SHARE * whole)):
            continue
        if is_around or 0 <= container.start - heading <= _MAX_BETWEEN:
            best, most = index, said
    if outer.kind is Kind.ARTICLE and outer.tag != "main" and most > 0.5 * whole:
        best = region
    if best != region and not (is_sure and containers[best].start <= heading < containers[best].end):
        make = (containers[best].tag, containers[best].names)
        others = (other for index, other in enumerate(containers) if index != best)
        if any((other.tag, other.names) == make and prose[other.end] > prose[other.start] for other in others):
            best = region
    return _with_pictures(page, best, drop)


def _with_pictures(page: PageBlocks, region: int, drop: list[bool]) -> int:
    """The region, or the element named as the article's body around it that adds pictures under headings and captions:
    a text in pictures, of which the introduction has the most prose."""
    blocks, containers = page.blocks, page.containers
    inner = containers[region]
    place = inner.parent
    for _ in range(_MAX_DEPTH):
        if place <= 0:
            break
        container = containers[place]
        if container.kind is Kind.ARTICLE and container.tag != "main":
            added = (*range(container.start, inner.start), *range(inner.end, container.end))
            kept = [blocks[index] for index in added if not drop[index]]
            pictures = sum(block.image is not None and not block.num_links for block in kept)
            chars, links = sum(block.num_chars for block in kept), sum(block.link_chars for block in kept)
            if pictures >= _MIN_PICTURES and links <= 0.4 * chars:
                return place
        place = container.parent
    return region


def find_own_h1(page: PageBlocks, title: str | None) -> int | None:
    """The <h1> whose words the page's title holds; None where there is none, or where it is a link."""
    index, is_sure = _find_heading(page, title, ())
    if index is None or not is_sure:
        return None
    block = page.blocks[index]
    return index if block.level == 1 and not block.num_links else None


def _find_heading(page: PageBlocks, title: str | None, drop: Sequence[bool]) -> tuple[int | None, bool]:
    """The first heading that the page's title holds, and True; else the first <h1>, and False."""
    wanted = title.casefold() if title else ""
    first = None
    for index, block in enumerate(page.blocks):
        if block.role is not Role.HEADING or (drop and drop[index]):
            continue
        if block.num_chars >= _MIN_TITLE_CHARS and block.text.casefold() in wanted:
            return index, True
        if first is None and block.level == 1:
            first = index
    return first, False
