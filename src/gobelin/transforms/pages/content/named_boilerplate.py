"""Marks containers that are boilerplate by their names, with exceptions: containers with most of the page's prose,
sections named after their own heading, figures with a caption, boxes in the text, and titles of boxes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

from gobelin.data.model import Role
from gobelin.transforms.pages.content.boilerplate import CONSENT, FOOT, MAY_ENLARGE, MAY_FRAME, Kind
from gobelin.transforms.pages.content.boilerplate_phrases import COMMENTS, RELATED
from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.tree.page_blocks import Block, Container, PageBlocks

LITTLE_PROSE = 200.0
"""Characters of prose below which a page, or a part of it, has almost none."""


_MIN_BELOW_OWN = 100.0
"""Characters of prose below the page's own heading from which a container is not boilerplate."""


def mark_boilerplate(
    page: PageBlocks, weights: list[float], references: Sequence[ImageReference], own_h1: int | None = None
) -> list[bool]:
    """For each block, whether it is inside a container that is boilerplate by its name. Containers with most of the
    page's
    prose, or with prose below the page's own heading, do not count.

    Args:
        weights: of all blocks: number of characters of prose; negative for a menu entry.
        references: the page's images.
        own_h1: index of the block that is the page's own heading.
    """
    blocks, containers = page.blocks, page.containers
    sums = [0.0, *accumulate(max(0.0, weight) for weight in weights)]
    total = sums[-1]
    chars = [0, *accumulate(block.num_chars for block in blocks)]
    words = [0, *accumulate(block.num_chars - block.link_chars for block in blocks)]
    marked = [False] * len(weights)
    named = Counter(container.names for container in containers if container.kind is Kind.BOILERPLATE)
    for container in containers:
        kind = container.kind
        if kind is not Kind.BOILERPLATE and kind is not Kind.SUSPECT:
            continue
        start, end = container.start, container.end
        if end == start or marked[start]:
            continue
        prose = sums[end] - sums[start]
        if kind is Kind.BOILERPLATE:
            if MAY_ENLARGE.search(container.names) and chars[end] == chars[start]:
                continue
            if container.tag == "figure" and _is_captioned(blocks[start:end], references):
                continue
            # A footer below other text is a footer even if that text consists of links only.
            is_foot = (container.tag == "footer" or FOOT.search(container.names)) and (
                chars[start] > 0.2 * chars[-1] or (start > 0 and prose < LITTLE_PROSE)
            )
            if own_h1 is not None and start <= own_h1 < end and sums[end] - sums[own_h1] >= _MIN_BELOW_OWN:
                continue
            is_asked = CONSENT.search(container.names) and total - prose >= LITTLE_PROSE
            is_most = prose > 0.5 * total if total >= LITTLE_PROSE else words[end] - words[start] > 0.5 * words[-1]
            if is_most and named[container.names] < 3 and not (is_foot or is_asked):
                continue
            if _is_named_by_heading(container, blocks) or _is_box(page, container, weights, chars, marked):
                continue
        elif prose > 0 or _is_named_by_heading(container, blocks) or _is_title(page, container, sums):
            continue
        marked[start:end] = [True] * (end - start)
    return marked


def _is_named_by_heading(container: Container, blocks: list[Block]) -> bool:
    """Whether the container's name is the slug of its own heading, as generators of documentation make it."""
    first = blocks[container.start]
    if first.role is not Role.HEADING or container.tag not in _NAMED_BY_HEADING:
        return False
    names = [name for name in container.names.split() if not _GENERIC_NAMES.fullmatch(name)]
    text = _NUMBER.sub("", first.text)
    if len(names) != 1 or COMMENTS.match(text) or (RELATED.match(text) and not _SUBJECT.match(text)):
        return False
    return _slug(names[0]) == _slug(text)


def _is_captioned(blocks: Sequence[Block], references: Sequence[ImageReference]) -> bool:
    """Whether all blocks are images without links, and one of them has a caption."""
    return all(block.image is not None and not block.num_links for block in blocks) and any(
        block.image is not None and block.image < len(references) and references[block.image].caption
        for block in blocks
    )


def _slug(text: str) -> str:
    """The letters of a heading or a name, without the number that distinguishes equal names."""
    return _NOT_SLUG.sub("", text.casefold()).rstrip("0123456789")


def _is_title(page: PageBlocks, container: Container, sums: list[float]) -> bool:
    """Whether a container without prose is the title of a box with prose: a note, a tip, a warning."""
    start, end = container.start, container.end
    parts = page.blocks[start:end]
    num_chars = sum(block.num_chars for block in parts)
    if not 0 < num_chars <= _MAX_BOX_TITLE_CHARS or any(block.num_links for block in parts):
        return False
    place = container.parent
    for _ in range(_MAX_BOX_DEPTH):
        box = page.containers[place]
        if place <= 0 or box.start != start:
            return False
        if box.end > end:
            return 0 < sums[box.end] - sums[end] <= 0.5 * sums[-1]
        place = box.parent
    return False


def _is_box(page: PageBlocks, container: Container, weights: list[float], chars: list[int], marked: list[bool]) -> bool:
    """Whether a container named as a sidebar is a box in the text: it has prose, a paragraph of the same parent before
    it, and another one or a heading after it."""
    start, end = container.start, container.end
    if not MAY_FRAME.search(container.names) or start == 0 or end == len(page.blocks):
        return False
    parent = container.parent
    num_links = sum(page.blocks[index].link_chars for index in range(start, end))
    if num_links > 0.3 * (chars[end] - chars[start]) or not any(weights[index] > 0 for index in range(start, end)):
        return False
    before = _past_addresses(page, start - 1, -1)
    if marked[before] or not _is_in_flow(page, before, parent):
        return False
    end = _past_addresses(page, end, 1)
    after = page.blocks[end]
    if after.role is Role.HEADING and after.link_chars < 0.5 * after.num_chars:
        return True
    return _is_in_flow(page, end, parent) or _is_in_flow(page, end, page.containers[parent].parent)


def _past_addresses(page: PageBlocks, index: int, step: int) -> int:
    """Skips up to three blocks that are a single link. Returns the index of the first other block.

    Args:
        step: 1 or -1, the direction.
    """
    for _ in range(3):
        block = page.blocks[index]
        if block.num_links != 1 or block.link_chars <= 0.3 * block.num_chars or not 0 < index < len(page.blocks) - 1:
            break
        index += step
    return index


def _is_in_flow(page: PageBlocks, index: int, parent: int) -> bool:
    """Whether a block belongs to the text of a container: it is its child, or inside a small element, a list or a table
    of it."""
    block = page.blocks[index]
    if block.role is Role.HEADING or block.link_chars > 0.3 * block.num_chars:
        return False
    place = block.container
    for _ in range(_MAX_FLOW_DEPTH):
        if place == parent:
            return True
        container = page.containers[place]
        is_box = MAY_FRAME.search(container.names) is not None
        is_small = container.end - container.start <= 4 or container.tag in _IN_FLOW or is_box
        if not is_small or (container.kind >= Kind.SUSPECT and not is_box):
            return False
        place = container.parent
    return False


_IN_FLOW = frozenset(("ul", "ol", "dl", "table", "tr", "li", "blockquote", "figure", "details"))
_MAX_FLOW_DEPTH = 6
_NAMED_BY_HEADING = frozenset(("section", "div", "h1", "h2", "h3", "h4", "h5", "h6"))
_GENERIC_NAMES = re.compile(
    r"(?:sub){0,2}section|level-?\d|sect\d?|heading|has-?anchor|(?:un)?numbered|normal|chapter|appendix|part", re.I
)
_NUMBER = re.compile(r"^(?:[A-Z]|[IVX]{1,6}|\d+)?(?:\.\d+){0,6}[.:)]?\s(?=\S)")
_SUBJECT = re.compile(
    r"(?:related|recommended)\s(?!posts?\b|articles?\b|stor(?:y|ies)\b|news\b|reading\b|links?\b|videos?\b|content\b"
    r"|topics?\b|pages?\b|products?\b|items?\b|for\b|by\b)",
    re.I,
)
_NOT_SLUG = re.compile(r"[\W_]+")
_MAX_BOX_TITLE_CHARS = 150
_MAX_BOX_DEPTH = 4
