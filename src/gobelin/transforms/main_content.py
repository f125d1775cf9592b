"""The blocks of a page that are its main content, with the images between them.

1. Containers named as boilerplate are marked, unless they hold most of the page's prose.
2. Each block gets a weight: its characters outside links where it reads like prose, code or data; less than nothing
   where it is a menu's entry. Marked blocks weigh nothing.
3. The region is the container with the greatest sum of weights; an ``<article>`` or ``<main>`` is preferred to a wider
   container that adds little. One pass: the blocks of a container are a contiguous range.
4. Between the page's heading and the region, a lead paragraph and images belong to it.
5. In the region, marked containers, lists of links, teasers, and headings that are left without text go.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from itertools import accumulate

from gobelin.documents import Role
from gobelin.transforms.boilerplate import Kind
from gobelin.transforms.boilerplate_phrases import CALLS, COMMENTS, CREDIT_INSIDE, DATE_OR_BYLINE, RELATED
from gobelin.transforms.page_blocks import Block, PageBlocks

_SENTENCE_ENDS = tuple('.!?:;…。！？：；”"»)')


@dataclasses.dataclass(frozen=True, slots=True)
class MainContent:
    """What was chosen: the blocks, and how much text they hold."""

    blocks: list[Block]
    captions: dict[int, str]  # of images by the index of their reference
    num_chars: int


def find_main_content(page: PageBlocks, title: str | None) -> MainContent:
    """Chooses; ``title`` is the page's own, by which its heading is known."""
    blocks, containers = page.blocks, page.containers
    weights = [_weight(block) for block in blocks]
    drop = _mark_boilerplate(page, weights)
    for index, marked in enumerate(drop):
        if marked:
            weights[index] = 0.0
    sums = [0.0, *accumulate(weights)]
    region = _choose_region(page, sums)
    start, end = containers[region].start, containers[region].end
    heading = _find_heading(blocks, title, start, end, drop)
    lead: list[Block] = []
    if not _is_index(blocks, start, end, drop):
        _drop_link_lists(page, region, drop)
        _drop_teasers(page, region, sums, drop)
        _drop_cards(page, start, end, drop, weights)
        _drop_link_paragraphs(page, region, drop)
        _drop_before_heading(blocks, heading, start, end, drop, sums)
        lead = _lead(blocks, heading, start, drop)
    captions = _take_captions(page, start, end, drop)
    if not _is_index(blocks, start, end, drop):
        _drop_phrases(page, start, end, drop, weights)
        _drop_duplicates(blocks, start, end, drop)
        _drop_empty_sections(blocks, start, end, drop)
    kept = lead + [blocks[index] for index in range(start, end) if not drop[index]]
    return MainContent(kept, captions, sum(block.num_chars for block in kept))


def _is_index(blocks: list[Block], start: int, end: int, drop: list[bool]) -> bool:
    """A region whose links are its content."""
    kept = [blocks[index] for index in range(start, end) if not drop[index]]
    return sum(block.link_chars for block in kept) > 0.5 * sum(block.num_chars for block in kept)


def _weight(block: Block) -> float:
    num_chars = block.num_chars
    if num_chars == 0:
        return 0.0
    plain = num_chars - block.link_chars
    if block.link_chars > 0.5 * num_chars:
        return -0.5 * min(num_chars, 100)
    role = block.role
    if role is Role.HEADING:
        return 0.0
    if role is Role.CODE or role is Role.TABLE or num_chars >= 80:
        return float(plain)
    if num_chars >= 30 and block.text.endswith(_SENTENCE_ENDS):
        return float(plain)
    return -2.0


def _mark_boilerplate(page: PageBlocks, weights: list[float]) -> list[bool]:
    """Blocks inside a container that is named as boilerplate; but a container that holds most of the page's prose is
    none, whatever its name."""
    blocks, containers = page.blocks, page.containers
    sums = [0.0, *accumulate(max(0.0, weight) for weight in weights)]
    total = sums[-1]
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
            if _MAY_ENLARGE.search(container.names) and not any(blocks[index].num_chars for index in range(start, end)):
                continue
            if prose > 0.4 * total > 0 and named[container.names] < 3:
                continue
        elif prose > 0:
            continue
        marked[start:end] = [True] * (end - start)
    return marked


_MAY_ENLARGE = re.compile("lightbox|popup|overlay|modal", re.I)
"""Names around an image that opens large."""


def _choose_region(page: PageBlocks, sums: list[float]) -> int:
    containers = page.containers
    best, best_score = 0, float("-inf")
    for index, container in enumerate(containers):
        if container.end == container.start or container.tag in _NO_REGION:
            continue
        score = sums[container.end] - sums[container.start]
        if score > 0:
            if container.kind is Kind.ARTICLE:
                score *= 1.2
            elif container.kind is Kind.CONTENT:
                score *= 1.05
        elif container.kind is Kind.ARTICLE:
            score *= 0.5
        if score >= best_score:
            best, best_score = index, score
    if best_score < _LITTLE_PROSE:
        named = [
            index for index, container in enumerate(containers) if container.is_main and container.end > container.start
        ]
        if named:
            best = max(named, key=lambda index: containers[index].end - containers[index].start)
    return best


_LITTLE_PROSE = 200.0
_NO_REGION = frozenset("li ul ol tr dl".split())


def _descendants(page: PageBlocks, region: int) -> range:
    """Indexes of the containers inside a region: they follow it without a gap."""
    containers = page.containers
    end = containers[region].last
    return range(region + 1, end + 1)


def _drop_link_lists(page: PageBlocks, region: int, drop: list[bool]) -> None:
    """Lists and other containers of the region most of whose text is links."""
    blocks, containers = page.blocks, page.containers
    chars = [0, *accumulate(0 if drop[index] else block.num_chars for index, block in enumerate(blocks))]
    links = [0, *accumulate(0 if drop[index] else block.link_chars for index, block in enumerate(blocks))]
    for index in _descendants(page, region):
        container = containers[index]
        start, end = container.start, container.end
        if start == end or container.tag == "li":
            continue
        text = chars[end] - chars[start]
        if text and links[end] - links[start] > 0.6 * text and sum(block.num_links for block in blocks[start:end]) >= 2:
            if _is_announced(blocks, start, drop):
                continue
            for position in range(start, end):
                # An image that is no link itself belongs to the text around.
                drop[position] = drop[position] or blocks[position].image is None or blocks[position].num_links > 0


def _drop_teasers(page: PageBlocks, region: int, sums: list[float], drop: list[bool]) -> None:
    """Articles inside an article are comments or teasers of others."""
    containers = page.containers
    outer = containers[region]
    total = sums[outer.end] - sums[outer.start]
    article_end = outer.end if outer.tag == "article" else 0
    for index in _descendants(page, region):
        container = containers[index]
        if container.tag != "article":
            continue
        if container.start >= article_end:
            article_end = container.end
        elif sums[container.end] - sums[container.start] < 0.5 * total:
            drop[container.start : container.end] = [True] * (container.end - container.start)


def _drop_cards(page: PageBlocks, start: int, end: int, drop: list[bool], weights: list[float]) -> None:
    """Teasers in a row: headings that are links, each over a few lines and mostly with an image. Where they are most
    of the region it is an index page, and they stay."""
    blocks = page.blocks
    heads = [
        index
        for index in range(start, end)
        if not drop[index]
        and blocks[index].role is Role.HEADING
        and blocks[index].link_chars >= 0.8 * blocks[index].num_chars > 0
    ]
    cards: list[tuple[int, int]] = []
    for head in heads:
        stop = _section_end(page, head, end)
        for position in range(head + 1, stop):
            if blocks[position].role is Role.HEADING:
                stop = position
                break
        if sum(blocks[index].num_chars for index in range(head + 1, stop)) <= _MAX_CARD_CHARS:
            cards.append((head, stop))
    if len(cards) < 3:
        return
    prose = sum(weight for weight in weights[start:end] if weight > 0)
    in_cards = sum(weight for head, stop in cards for weight in weights[head:stop] if weight > 0)
    if in_cards > 0.5 * prose:
        return
    for head, stop in cards:
        while head > start and blocks[head - 1].image is not None and blocks[head - 1].num_links:
            head -= 1
        drop[head:stop] = [True] * (stop - head)


_MAX_CARD_CHARS = 400


def _drop_link_paragraphs(page: PageBlocks, region: int, drop: list[bool]) -> None:
    outer = page.containers[region]
    for index in range(outer.start, outer.end):
        block = page.blocks[index]
        if block.num_chars > 25 and block.link_chars >= 0.8 * block.num_chars and block.role is Role.PARAGRAPH:
            if not _is_announced(page.blocks, index, drop) and not block.text.startswith("http"):
                drop[index] = True


def _is_announced(blocks: list[Block], index: int, drop: list[bool]) -> bool:
    """The text before says that a list follows."""
    if index == 0 or drop[index - 1]:
        return False
    before = blocks[index - 1]
    return before.text.endswith((":", "：")) and before.link_chars < 0.5 * before.num_chars


def _find_heading(blocks: list[Block], title: str | None, start: int, end: int, drop: list[bool]) -> int | None:
    """The heading of the page: the first that the title begins with or contains; else the last <h1> before the region
    or the first in it."""
    first = max(0, start - _MAX_LEAD_BLOCKS)
    headings = [index for index in range(first, end) if blocks[index].role is Role.HEADING and not drop[index]]
    if title:
        wanted = title.casefold()
        best, best_chars = None, 9
        for index in headings:
            text = blocks[index].text.casefold()
            if len(text) > best_chars and (text in wanted or (len(text) >= 20 and text[:40] == wanted[:40])):
                best, best_chars = index, len(text)
        if best is not None:
            return best
    before = [index for index in headings if index < start and blocks[index].level == 1]
    inside = [index for index in headings if index >= start and blocks[index].level == 1]
    return before[-1] if before else inside[0] if inside else None


_MAX_LEAD_BLOCKS = 40


def _drop_before_heading(
    blocks: list[Block], heading: int | None, start: int, end: int, drop: list[bool], sums: list[float]
) -> None:
    """What stands in the region before the page's heading is not below it; an image just above may belong to it."""
    if heading is None or heading <= start or sums[heading] - sums[start] > 0.7 * (sums[end] - sums[start]):
        return
    above = [blocks[index] for index in range(start, heading) if not drop[index]]
    if sum(block.link_chars for block in above) < 0.15 * sum(block.num_chars for block in above):
        return
    for index in range(start, heading):
        if blocks[index].image is None or index < heading - 3:
            drop[index] = True


def _lead(blocks: list[Block], heading: int | None, start: int, drop: list[bool]) -> list[Block]:
    """What stands between the page's heading and the region: a lead paragraph, images."""
    if heading is None or heading >= start:
        return []
    kept = []
    for index in range(heading + 1, start):
        block = blocks[index]
        if drop[index]:
            continue
        if block.image is not None or (block.num_chars >= 60 and block.link_chars < 0.3 * block.num_chars):
            kept.append(block)
    return kept


def _take_captions(page: PageBlocks, start: int, end: int, drop: list[bool]) -> dict[int, str]:
    """Captions that are named as such beside an image go to the image."""
    blocks, containers = page.blocks, page.containers
    captions: dict[int, str] = {}
    for container in containers:
        if container.kind is not Kind.CAPTION or container.start < start or container.end > end:
            continue
        first, last = container.start, container.end
        texts = [blocks[index].text for index in range(first, last) if blocks[index].image is None]
        if not texts or last - first > 6 or sum(map(len, texts)) > 1000 or drop[first]:
            continue
        image = next((b.image for b in blocks[first:last] if b.image is not None), None)
        if image is None:
            image = next(
                (b.image for b in reversed(blocks[max(start, first - 3) : first]) if b.image is not None), None
            )
        if image is None:
            image = next((b.image for b in blocks[last : last + 2] if b.image is not None), None)
        if image is None:
            continue
        if image not in captions:
            captions[image] = " ".join(texts)
        for index in range(first, last):
            if blocks[index].image is None:
                drop[index] = True
    for index in range(start, end - 1):
        image, block = blocks[index].image, blocks[index + 1]
        if image is None or drop[index] or drop[index + 1] or not 0 < block.num_chars <= 250 or image in captions:
            continue
        if block.role is Role.PARAGRAPH and CREDIT_INSIDE.search(block.text):
            captions[image] = block.text
            drop[index + 1] = True
    return captions


def _drop_empty_sections(blocks: list[Block], start: int, end: int, drop: list[bool]) -> None:
    """A heading all of whose section was dropped, or that ends the content, goes too."""
    level_below = 0  # of the last kept thing seen from the end: 7 is content, 1-6 a heading
    for index in range(end - 1, start - 1, -1):
        if drop[index]:
            continue
        block = blocks[index]
        if block.role is Role.HEADING and block.image is None:
            level = block.level or 6
            if level_below <= level:
                drop[index] = True
                continue
            level_below = level
        else:
            level_below = 7


def _drop_phrases(page: PageBlocks, start: int, end: int, drop: list[bool], weights: list[float]) -> None:
    """Short texts that say what they are: lists of other pages, calls to share or subscribe, comments, dates."""
    blocks, containers = page.blocks, page.containers
    prose_seen = 0.0
    prose = sum(weight for weight in weights[start:end] if weight > 0)
    first = next((index for index in range(start, end) if not drop[index] and weights[index] > 0), end)
    last = next((index for index in range(end - 1, start - 1, -1) if not drop[index] and weights[index] > 0), start)
    index = start
    while index < end:
        block = blocks[index]
        if drop[index] or not block.num_chars:
            index += 1
            continue
        prose_seen += max(0.0, weights[index])
        text = block.text
        size = block.num_chars
        if size <= 80 and prose_seen >= 0.5 * prose > 0 and COMMENTS.match(text) and block.role is not Role.LIST_ITEM:
            drop[index:end] = [True] * (end - index)
            return
        if RELATED.match(text):
            if block.link_chars >= 0.5 * size:
                drop[index] = True
            elif block.role is Role.HEADING or (size <= 60 and block.link_chars < 0.5 * size):
                stop = _section_end(page, index, end)
                links = sum(blocks[i].link_chars for i in range(index, stop))
                chars = sum(blocks[i].num_chars for i in range(index + 1, stop))
                plain = sum(weights[i] for i in range(index, stop) if weights[i] > 0)
                if plain < 0.3 * prose and (
                    links >= 0.3 * chars or prose_seen >= 0.7 * prose and block.role is Role.HEADING
                ):
                    drop[index:stop] = [True] * (stop - index)
                    index = stop
                    continue
            elif block.link_chars >= 0.3 * size:
                drop[index] = True
        elif size <= 160 and block.role is not Role.CODE and CALLS.match(text):
            is_inside = first < index < last
            if block.role is Role.PARAGRAPH or not is_inside or (block.role is Role.HEADING and size <= 40):
                drop[index] = True
        elif (
            index < first
            and size <= 100
            and block.role is not Role.HEADING
            and DATE_OR_BYLINE.search(text)
            and weights[index] <= 0
        ):
            drop[index] = True
        index += 1
    for index in range(end - 1, last, -1):
        block = blocks[index]
        if drop[index]:
            continue
        if (
            block.image is not None
            or block.role is not Role.PARAGRAPH
            or block.num_chars > 120
            or block.link_chars < 0.3 * block.num_chars
        ):
            break
        drop[index] = True


def _section_end(page: PageBlocks, index: int, end: int) -> int:
    """Where the section that begins with block ``index`` ends: at a heading of its level, or with its container."""
    blocks = page.blocks
    block = blocks[index]
    level = block.level or 7 if block.role is Role.HEADING else 7
    container = page.containers[block.container]
    while container.parent > 0 and container.end <= index + 1:
        container = page.containers[container.parent]
    stop = min(end, container.end)
    for position in range(index + 1, stop):
        other = blocks[position]
        if other.role is Role.HEADING and (other.level or 7) <= level and other.link_chars < 0.5 * other.num_chars:
            return position
        if level == 7 and other.num_chars >= 100 and other.link_chars < 0.3 * other.num_chars:
            return position
    return stop


def _drop_duplicates(blocks: list[Block], start: int, end: int, drop: list[bool]) -> None:
    """A text that stands twice in the region: once for wide screens, once for narrow ones."""
    seen: set[str] = set()
    for index in range(start, end):
        block = blocks[index]
        if drop[index] or block.num_chars < 80 or block.role is Role.CODE or block.role is Role.TABLE:
            continue
        if block.text in seen:
            drop[index] = True
        seen.add(block.text)
