"""Narrows the region with the most prose to the article, if an element declares itself as the article and is below or
around the page's own heading.

Other long texts of a news page stand outside that element: comments, consent notices, summaries of other articles, the
next article of an endless page. Several elements with one signature are sections of a text, unless each has a heading
of its own and the first is the page's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice

from gobelin.data.model import Role
from gobelin.transforms.pages.content.boilerplate import Kind
from gobelin.transforms.pages.tree.page_blocks import Container, PageBlocks

_MIN_PROSE = 200.0
_MAX_BETWEEN = 40  # blocks between the heading and the article below it
_MIN_SHARE = 0.2  # of the region's prose
_MIN_CERTAIN = 100.0  # prose of an element above the region, or of the first of several articles
_MIN_PICTURES = 3
_MAX_FOLLOWING = 8
_MAX_DEPTH = 6
_MIN_TITLE_CHARS = 8
_MAX_TITLE_CHARS = 500
_WORDS = re.compile(r"\w+")
_TAGS = frozenset(("article", "section", "div", "main"))


def narrow_to_article(page: PageBlocks, region: int, title: str | None, weights: list[float], drop: list[bool]) -> int:
    """Returns the index of the article's container in a region, or of the region itself.

    Args:
        region: index of the container with the most prose.
        title: of the page.
        weights: of all blocks: number of characters of prose; negative for a menu entry.
        drop: for each block, whether it is marked as boilerplate.
    """
    containers = page.containers
    outer = containers[region]
    heading, is_sure = _find_heading(page, title, drop)
    if heading is None:
        return _with_pictures(page, region, drop)
    prose = [0.0, *accumulate(max(0.0, weight) for weight in weights)]
    whole = prose[outer.end] - prose[outer.start]
    is_article = outer.kind is Kind.ARTICLE and outer.tag != "main"
    if is_article and outer.start < heading < outer.end and prose[heading] - prose[outer.start] > _MIN_SHARE * whole:
        return _with_pictures(page, region, drop)  # the heading is that of a box in the article: a recipe below a story
    around, below = None, None
    for index, container in enumerate(containers):
        if container.kind is not Kind.ARTICLE or container.tag not in _TAGS:
            continue
        is_inside = region < index <= outer.last and outer.tag != "article"
        # If an article element stands below the page's heading and above the region, the region is something else.
        if not is_inside and not (is_sure and container.end <= outer.start and container.tag != "main"):
            continue
        said = prose[container.end] - prose[container.start]
        is_around = container.start <= heading < container.end
        is_certain = not is_inside or (is_sure and is_around and _is_one_of_several(page, index, heading))
        if said < (_MIN_CERTAIN if is_certain else max(_MIN_PROSE, _MIN_SHARE * whole)):
            continue
        if is_around:
            around = index if around is None else around
        elif 0 <= container.start - heading <= _MAX_BETWEEN:
            below = index if below is None else below
    best = around if around is not None else below if below is not None else region
    most = prose[containers[best].end] - prose[containers[best].start]
    if is_article and most > 0.5 * whole:
        best = region
    is_own = best == region or (is_sure and containers[best].start <= heading < containers[best].end)
    if not is_own and any(prose[other.end] > prose[other.start] for other in _others(page, best)):
        best = region
    return _with_pictures(page, best, drop)


def _others(page: PageBlocks, index: int) -> Iterator[Container]:
    """The other containers with the same tag, kind and names; one name may differ, such as a unique id."""
    own = page.containers[index]
    words = set(own.names.split())
    for place, other in enumerate(page.containers):
        if place != index and other.kind is own.kind and other.tag == own.tag:
            others = set(other.names.split())
            if words == others or (len(words - others) == len(others - words) == 1 and words & others):
                yield other


def _is_one_of_several(page: PageBlocks, index: int, heading: int) -> bool:
    """Whether another <article> follows that has its own heading, of the same level as the page's heading."""
    own, level = page.containers[index], page.blocks[heading].level
    if own.tag != "article":
        return False
    following = (other for other in page.containers if other.tag == "article" and other.start >= own.end)
    return any(
        block.level == level and block.role is Role.HEADING and block.text != page.blocks[heading].text
        for other in islice(following, _MAX_FOLLOWING)
        for block in page.blocks[other.start : min(other.end, other.start + _MAX_BETWEEN)]
    )


def _with_pictures(page: PageBlocks, region: int, drop: list[bool]) -> int:
    """The region, or the element around it that is named as the article's body, if that adds images, headings and
    captions. An article of pictures may have most of its prose in the introduction."""
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
    """The index of the <h1> whose text is part of the page's title; None if there is none, or if it is a link."""
    index, is_sure = _find_heading(page, title, ())
    if index is None or not is_sure:
        return None
    block = page.blocks[index]
    return index if block.level == 1 and not block.num_links else None


def _find_heading(page: PageBlocks, title: str | None, drop: Sequence[bool]) -> tuple[int | None, bool]:
    """Returns (index of the first heading whose text is part of the title, True), else (index of the first <h1>,
    False)."""
    wanted = _letters(title or "")
    first = None
    for index, block in enumerate(page.blocks):
        if block.role is not Role.HEADING or (drop and drop[index]):
            continue
        if (
            block.num_chars >= _MIN_TITLE_CHARS
            and len(said := _letters(block.text)) >= _MIN_TITLE_CHARS
            and said in wanted
        ):
            return index, True
        if first is None and block.level == 1:
            first = index
    return first, False


def _letters(text: str) -> str:
    """The letters and digits of a text, case folded. Titles and headings differ in quotes, dashes and dots."""
    return "".join(_WORDS.findall(text[:_MAX_TITLE_CHARS].casefold()))
