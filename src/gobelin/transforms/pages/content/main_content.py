"""Finds the blocks that are the main content of a page, and the images between them.

1. Containers named as boilerplate are marked, unless they hold most of the page's prose.
2. Each block gets a weight: its number of characters outside links if it is prose, code or data, and a negative weight
   if it is a menu entry. Marked blocks have weight 0.
3. The region is the container with the greatest sum of weights. An ``<article>`` or ``<main>`` is preferred to a wider
   container that adds little. This takes one pass, because the blocks of a container are a contiguous range.
4. A lead paragraph and images between the page's heading and the region belong to the region.
5. The page's own image belongs to it wherever the body shows it.
6. In the region, marked containers, lists of links, teasers, and headings without text below them are dropped.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from itertools import accumulate

from gobelin.data.model import Role
from gobelin.transforms.pages.captions.caption_copies import drop_caption_copies, drop_second_versions
from gobelin.transforms.pages.content.article_region import find_own_h1, narrow_to_article
from gobelin.transforms.pages.content.boilerplate import Kind
from gobelin.transforms.pages.content.boilerplate_phrases import is_address
from gobelin.transforms.pages.content.link_rules import drop_link_lists, drop_link_paragraphs, is_index, is_row
from gobelin.transforms.pages.content.named_boilerplate import LITTLE_PROSE, mark_boilerplate
from gobelin.transforms.pages.content.page_kind import NO_FACTS, PageFacts
from gobelin.transforms.pages.content.paging import drop_paging
from gobelin.transforms.pages.content.region import Region, content_chars
from gobelin.transforms.pages.content.region_rules import (
    drop_before_heading,
    drop_cards,
    drop_duplicates,
    drop_empty_sections,
    drop_last_address,
    drop_last_lines,
    drop_logos,
    drop_phrases,
    drop_teasers,
    take_captions,
)
from gobelin.transforms.pages.content.teaser_cards import drop_teaser_cards
from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.images.lead_image import add_lead_image
from gobelin.transforms.pages.images.picture_rules import (
    drop_copies,
    drop_icon_rows,
    drop_icons,
    drop_left_behind,
    drop_pointers,
    drop_signs,
)
from gobelin.transforms.pages.tree.page_blocks import Block, PageBlocks
from gobelin.transforms.pages.tree.text_flow import drop_behind_flow

_SENTENCE_ENDS = tuple('.!?:;…。！？：；”"»)')


@dataclasses.dataclass(frozen=True, slots=True)
class MainContent:
    """The chosen blocks, and how much text they hold."""

    blocks: list[Block]
    captions: dict[int, str]  # by index of the image reference
    num_chars: int
    is_named: bool = False  # whether the region's element declares itself as the article


def find_main_content(
    page: PageBlocks, title: str | None, references: Sequence[ImageReference] = (), facts: PageFacts = NO_FACTS
) -> MainContent:
    """Finds the main content.

    Args:
        title: of the page; its heading is found by it.
        references: the page's images.
        facts: what the page declares about itself.
    """
    blocks, containers = page.blocks, page.containers
    weights = [_weight(block) for block in blocks]
    for index, weight in enumerate(weights):
        if weight < 0 and is_row(page, containers[blocks[index].container]):
            weights[index] = 0.0
    drop = mark_boilerplate(page, weights, references, find_own_h1(page, title))
    for index, marked in enumerate(drop):
        if marked:
            weights[index] = 0.0
    sums = [0.0, *accumulate(weights)]
    index = narrow_to_article(page, _choose_region(page, sums, drop), title, weights, drop)
    start, end = containers[index].start, containers[index].end
    heading = _find_heading(blocks, title, start, end, drop)
    region = Region(
        page=page,
        index=index,
        start=start,
        end=end,
        weights=weights,
        sums=sums,
        drop=drop,
        heading=heading,
        title=(title or "").casefold(),
        references=references,
        kind=facts.kind,
        is_recipe=facts.is_recipe,
    )
    for of_indexes, rules in RULES:
        if of_indexes or not is_index(region):
            for rule in rules:
                rule(region)
    kept = region.lead + [blocks[index] for index in range(start, end) if not drop[index]]
    is_named = containers[index].kind is Kind.ARTICLE and containers[index].tag != "main"
    return MainContent(kept, region.captions, sum(block.num_chars for block in kept), is_named)


def _weight(block: Block) -> float:
    num_chars = block.num_chars
    if num_chars == 0:
        return 0.0
    text, role = block.text, block.role
    plain = float(num_chars - block.link_chars)
    if role is Role.PARAGRAPH and not block.num_links and is_address(text):
        return 0.0
    if role is Role.TABLE:
        if block.link_chars > 0.4 * num_chars:  # numbers and bars of a table of contents do not count
            return float(max(0, sum(map(str.isalpha, text)) - block.link_chars))
        return plain
    if block.link_chars > 0.5 * num_chars:
        return -0.5 * min(num_chars, 100)
    if role is Role.HEADING:
        return 0.0
    if num_chars < _MIN_LINE_CHARS and not text.isascii():
        said = content_chars(block)
        plain *= said / num_chars
        num_chars = said
    if role is Role.CODE or num_chars >= _MIN_LINE_CHARS:
        return plain
    if num_chars >= 30 and text.endswith(_SENTENCE_ENDS):
        return plain
    return -2.0


def has_enough_text(content: MainContent, min_chars: int) -> bool:
    """Whether a text is at least as long as ``min_chars`` letters of English. A character of Chinese, Japanese or
    Korean counts as more than one letter."""
    return sum(map(content_chars, content.blocks)) >= min_chars


_MIN_LINE_CHARS = 80


def _choose_region(page: PageBlocks, sums: list[float], drop: list[bool]) -> int:
    containers = page.containers
    best, best_score = 0, float("-inf")
    for index, container in enumerate(containers):
        if container.end == container.start or container.tag in _NO_REGION:
            continue
        score = sums[container.end] - sums[container.start]
        preference = _PREFERENCE.get(container.kind, 1.0)
        score = score * preference if score > 0 else score / preference
        if score >= best_score:
            best, best_score = index, score
    if best_score < LITTLE_PROSE:
        named = [
            index for index, container in enumerate(containers) if container.is_main and container.end > container.start
        ]
        if named:
            best = max(named, key=lambda index: containers[index].end - containers[index].start)
        elif best_score <= 0 or _is_below_links(page, best, drop):
            return _without_prose(page, drop)
    return _with_images(page, _whole(page, best, sums, drop), drop)


def _is_below_links(page: PageBlocks, region: int, drop: list[bool]) -> bool:
    """Whether the little prose of a page stands below nearly everything else without a heading, as the last line of an
    index."""
    start, end = page.containers[region].start, page.containers[region].end
    if any(block.role is Role.HEADING for block in page.blocks[max(0, start - 1) : end]):
        return False
    chars = [0, *accumulate(0 if drop[index] else block.num_chars for index, block in enumerate(page.blocks))]
    return chars[start] >= 0.7 * chars[-1]


def _with_images(page: PageBlocks, region: int, drop: list[bool]) -> int:
    """The region, or a container around it that adds nothing but an image or two and the page's heading."""
    blocks = page.blocks
    start, end = page.containers[region].start, page.containers[region].end
    outer = page.containers[region].parent
    for _ in range(_MAX_PARTS_DEPTH):
        place = page.containers[outer]
        if outer <= 0 or place.end - place.start > end - start + _MAX_BESIDE:
            break
        beside = [index for index in (*range(place.start, start), *range(end, place.end)) if not drop[index]]
        images = [index for index in beside if blocks[index].image is not None]
        if any(blocks[index].leads_home for index in images):
            break
        others = [blocks[index] for index in beside if blocks[index].image is None]
        if any(block.level != 1 or block.role is not Role.HEADING or block.num_links for block in others):
            break
        if len(others) > 1 or (others and not images):
            break
        if beside:
            region, start, end = outer, place.start, place.end
        outer = place.parent
    return region


_MAX_BESIDE = 3


def _whole(page: PageBlocks, region: int, sums: list[float], drop: list[bool]) -> int:
    """The region, or a wider container that is named as content. A table is rarely the whole content, so the container
    around it is taken unless that consists of menus. If the region has a small part of the words, the container with
    most of them is taken."""
    containers = page.containers
    if containers[region].end - containers[region].start < 0.3 * len(page.blocks):
        wider = _with_most_words(page, region, sums, drop)
        if wider != region:
            return _with_most_words(page, wider, sums, drop)  # the first step may lead from a cell to its table only
    if containers[region].tag not in _PARTS:
        return region
    least = 0.5 * (sums[containers[region].end] - sums[containers[region].start])
    place = containers[region].parent
    for _ in range(_MAX_PARTS_DEPTH):
        if place <= 0:
            break
        container = containers[place]
        if container.kind is Kind.CONTENT or container.kind is Kind.ARTICLE:
            return place if sums[container.end] - sums[container.start] >= least else region
        place = container.parent
    return region


def _with_most_words(page: PageBlocks, region: int, sums: list[float], drop: list[bool]) -> int:
    """The innermost container around the region that is named as content, if it has at least three times the region's
    words outside links, and these are most of its words. On a page with little prose, any name is accepted."""
    blocks, containers = page.blocks, page.containers
    inner = containers[region]
    own = sum(b.num_chars - b.link_chars for b in blocks[inner.start : inner.end])
    is_little = sums[inner.end] - sums[inner.start] < 2 * LITTLE_PROSE
    place = inner.parent
    for _ in range(_MAX_WORDS_DEPTH):
        if place <= 0:
            break
        container = containers[place]
        if is_little or container.kind is Kind.CONTENT or container.kind is Kind.ARTICLE:
            kept = [blocks[index] for index in range(container.start, container.end) if not drop[index]]
            words, links = sum(block.num_chars for block in kept), sum(block.link_chars for block in kept)
            if words - links >= 3 * own and links < 0.5 * words:
                return place
        place = container.parent
    return region


_MAX_WORDS_DEPTH = 8
_PARTS = frozenset(("table", "tr", "td", "dl"))
_MAX_PARTS_DEPTH = 4


def _without_prose(page: PageBlocks, drop: list[bool]) -> int:
    """The narrowest container that holds nearly all of a page that is a gallery or a list of links."""
    sizes = (
        0 if drop[index] else _IMAGE_CHARS if block.image is not None else block.num_chars
        for index, block in enumerate(page.blocks)
    )
    sums = [0, *accumulate(sizes)]
    best = 0
    for index, container in enumerate(page.containers):
        if sums[container.end] - sums[container.start] >= 0.8 * sums[-1] and container.tag not in _NO_REGION:
            best = index
    return best


_IMAGE_CHARS = 100  # an image counts as a line or two


_PREFERENCE = {Kind.ARTICLE: 1.2, Kind.CONTENT: 1.05}
"""Factor by which a container with such a name may have less prose than a wider one and still be the region."""

_NO_REGION = frozenset((
    "li", "ul", "ol", "tr", "dl",
))  # fmt: skip


def _find_heading(blocks: list[Block], title: str | None, start: int, end: int, drop: list[bool]) -> int | None:
    """The heading of the page: the longest one that the title contains or begins with, else the last <h1> before the
    region, else the first <h1> in it."""
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


_TITLE_PARTS = re.compile(r"\s+[-|:/\u2013\u2014\u00b7\u00bb\u2022]+\s+|[|_:]\s*|\s\u2039\s")
"""Separators between the name of a page and that of its site in a title."""


def add_lead(region: Region) -> None:
    """Adds blocks above the region: the page's heading if it differs from the title, and lead paragraphs and images
    below it."""
    if region.heading is None:
        return
    heading = region.blocks[region.heading]
    said = (region.title, *_TITLE_PARTS.split(region.title))
    if region.heading < region.start and not heading.num_links and heading.text.casefold() not in said:
        region.lead.append(heading)
    for index in range(region.heading + 1, region.start):
        block = region.blocks[index]
        if region.drop[index]:
            continue
        if block.image is not None or (block.num_chars >= 60 and block.link_chars < 0.3 * block.num_chars):
            region.lead.append(block)


RULES: tuple[tuple[bool, tuple[Callable[[Region], None], ...]], ...] = (
    (True, (drop_paging, drop_last_address)),
    (
        False,
        (
            drop_link_lists,
            drop_teasers,
            drop_cards,
            drop_teaser_cards,
            drop_link_paragraphs,
            drop_before_heading,
            add_lead,
        ),
    ),
    (True, (drop_logos, take_captions)),
    (False, (drop_behind_flow, drop_phrases, drop_last_lines, drop_duplicates, drop_empty_sections)),
    (True, (drop_left_behind, drop_icons, drop_pointers, drop_icon_rows, drop_signs, add_lead_image, drop_copies)),
    (True, (drop_second_versions, drop_caption_copies)),
)
"""The rules in the order in which they change a region. True: they also apply to a region whose links are its content.
``bench/rules.py`` measures the effect of leaving out each of them."""
