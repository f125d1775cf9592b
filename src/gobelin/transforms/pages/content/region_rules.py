"""Rules that drop blocks from the region of a page's main content. Each sets ``drop`` for some blocks.

They look at how boilerplate behaves, whatever its names: its text is mostly links, it comes in rows of equal elements,
it says "read also". All are linear in the blocks.
"""

from __future__ import annotations

from itertools import groupby

from gobelin.data.model import PageKind, Role
from gobelin.transforms.pages.captions.caption_text import MAX_CAPTION_CHARS, join_parts
from gobelin.transforms.pages.content.boilerplate import Kind
from gobelin.transforms.pages.content.boilerplate_phrases import (
    BUTTONS,
    CALLS,
    COMMENTS,
    CREDIT_INSIDE,
    DATE_OR_BYLINE,
    FIGURE_NUMBER,
    PLUGS,
    RELATED,
    SOURCES,
    is_address,
)
from gobelin.transforms.pages.content.region import Region
from gobelin.transforms.pages.tree.page_blocks import Block, Container, PageBlocks

_MAX_CARD_CHARS = 400
_MAX_SECTION_DEPTH = 8
_MAX_SECTION_BLOCKS = 300
_MAX_ASKED = 20  # headings such as "Comments" that are checked; each check may read the whole region


def drop_logos(region: Region) -> None:
    """Drops images above the first text that link to the site's home page."""
    blocks, drop = region.blocks, region.drop
    for index in range(region.start, region.end):
        block = blocks[index]
        if block.image is not None:
            drop[index] = drop[index] or block.leads_home
        elif not drop[index] and block.link_chars < block.num_chars:
            return


def drop_teasers(region: Region) -> None:
    """Drops articles inside an article. They are comments or teasers if the text above announces them, or if they hold
    less than half of its prose; otherwise they are the parts of a list."""
    containers, sums, drop = region.page.containers, region.sums, region.drop
    outer = containers[region.index]
    article_end = outer.end if outer.tag == "article" else 0
    inner: list[Container] = []
    index = region.index + 1
    while index <= outer.last:
        container = containers[index]
        index += 1
        if container.tag != "article":
            continue
        if container.start >= article_end:
            article_end = container.end
        else:
            inner.append(container)
            index = container.last + 1
    if not inner:
        return
    above = next(
        (region.blocks[index] for index in range(inner[0].start - 1, region.start, -1) if not drop[index]), None
    )
    is_announced = above is not None and RELATED.match(above.text) is not None
    prose = sum(sums[one.end] - sums[one.start] for one in inner)
    if is_announced or prose < 0.5 * (sums[outer.end] - sums[outer.start]):
        for one in inner:
            drop[one.start : one.end] = [True] * (one.end - one.start)


def drop_cards(region: Region) -> None:
    """Drops teasers in a row: linked headings, each with a few lines below and often an image. If they hold most of the
    region, the page is an index and they stay. Manuals keep them, because their section headings are links, and so does
    a heading above a data table."""
    if region.kind is PageKind.MANUAL:
        return
    blocks, weights, drop = region.blocks, region.weights, region.drop
    start, end = region.start, region.end
    heads = [
        index
        for index in range(start, end)
        if not drop[index]
        and blocks[index].role is Role.HEADING
        and blocks[index].link_chars >= 0.8 * blocks[index].num_chars > 0
    ]
    cards: list[tuple[int, int]] = []
    for head in heads:
        stop = min(_section_limit(region.page, head, end), head + 20)
        stop = next((index for index in range(head + 1, stop) if blocks[index].role is Role.HEADING), stop)
        below = blocks[head + 1 : stop]
        has_table = any(block.role is Role.TABLE for block in below)
        if not has_table and sum(block.num_chars for block in below) <= _MAX_CARD_CHARS:
            cards.append((head, stop))
    if len(cards) < 3:
        return
    in_cards = sum(weight for head, stop in cards for weight in weights[head:stop] if weight > 0)
    if in_cards > 0.5 * region.prose():
        return
    for head, stop in cards:
        while head > start and blocks[head - 1].image is not None and blocks[head - 1].num_links:
            head -= 1
        drop[head:stop] = [True] * (stop - head)


def drop_last_address(region: Region) -> None:
    """Drops an ``<address>`` that ends a region, because it gives the author's contact."""
    page, weights, drop = region.page, region.weights, region.drop
    last = next((index for index in range(region.end - 1, region.start - 1, -1) if not drop[index]), None)
    if last is None:
        return
    place = page.blocks[last].container
    for _ in range(_MAX_SECTION_DEPTH):
        if place <= region.index:
            return
        container = page.containers[place]
        if container.tag == "address":
            if any(weight > 0 for weight in weights[region.start : container.start]):
                drop[container.start : container.end] = [True] * (container.end - container.start)
            return
        place = container.parent


def drop_before_heading(region: Region) -> None:
    """Drops text of an article's region before the page's heading, if much of it is links. An image right above the
    heading may belong to it and stays."""
    if region.kind is not PageKind.ARTICLE:
        return
    blocks, sums, drop = region.blocks, region.sums, region.drop
    start, end, heading = region.start, region.end, region.heading
    if heading is None or heading <= start or sums[heading] - sums[start] > 0.7 * (sums[end] - sums[start]):
        return
    above = [blocks[index] for index in range(start, heading) if not drop[index]]
    if sum(block.link_chars for block in above) < 0.15 * sum(block.num_chars for block in above):
        return
    for index in range(start, heading):
        if blocks[index].image is None or index < heading - 3:
            drop[index] = True


def take_captions(region: Region) -> None:
    """Moves captions beside an image, by the name of their element or by their words, to the image."""
    blocks, drop, captions = region.blocks, region.drop, region.captions
    start, end = region.start, region.end
    for container in region.page.containers:
        if container.kind is not Kind.CAPTION or container.start < start or container.end > end:
            continue
        first, last = container.start, container.end
        if last - first > 6 or first == last:
            continue
        texts = [blocks[index].text for index in range(first, last) if blocks[index].image is None]
        if not texts or drop[first]:
            continue
        shown = [index for index in range(max(start, first - 3), last + 2) if index < end and not drop[index]]
        images = [(index, image) for index in shown if (image := blocks[index].image) is not None]
        image = next((image for index, image in images if first <= index < last), None)
        if image is None:
            image = next((image for index, image in reversed(images) if index < first), None)
        if image is None:
            image = next((image for index, image in images if index >= last), None)
            if image is not None and (image in captions or region.references[image].caption):
                continue  # it is one of several captions, each above its image
        if image is None:
            continue
        caption = join_parts([captions.get(image, ""), *texts])
        if len(caption) > MAX_CAPTION_CHARS:
            continue
        captions[image] = caption
        for index in range(first, last):
            if blocks[index].image is None:
                drop[index] = True
    for index in range(start, end - 1):
        image, block = blocks[index].image, blocks[index + 1]
        if image is None or drop[index] or drop[index + 1] or not 0 < block.num_chars <= 250 or image in captions:
            continue
        is_titled = FIGURE_NUMBER.match(block.text) is not None
        is_caption = is_titled or (block.role is Role.PARAGRAPH and CREDIT_INSIDE.search(block.text) is not None)
        if is_caption and block.role in (Role.PARAGRAPH, Role.HEADING):
            captions[image] = block.text
            drop[index + 1] = True


def drop_phrases(region: Region) -> None:
    """Drops short texts by their words: lists of other pages, calls to share or subscribe, comments, dates."""
    page, weights, drop = region.page, region.weights, region.drop
    blocks, start, end = page.blocks, region.start, region.end
    prose_seen = 0.0
    num_asked = 0
    prose = region.prose()
    is_article = region.kind is PageKind.ARTICLE
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
        if (
            size <= 80
            and prose_seen >= 0.5 * prose > 0
            and block.role is not Role.LIST_ITEM
            and COMMENTS.match(text)
            and (num_asked := num_asked + 1) <= _MAX_ASKED
            and not _goes_on(page, index, end, drop, weights)
        ):
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
                    links >= 0.3 * chars or (prose_seen >= 0.7 * prose and block.role is Role.HEADING)
                ):
                    drop[index:stop] = [True] * (stop - index)
                    index = stop
                    continue
                drop[index] = index + 1 < end and drop[index + 1]  # the list that it announced has been dropped
            elif block.link_chars >= 0.3 * size:
                drop[index] = True
        elif (
            size <= 160
            and block.role is not Role.CODE
            and (CALLS.match(text) or (is_article and (BUTTONS.match(text) or PLUGS.match(text))))
        ):
            is_inside = first < index < last
            is_call = block.role is Role.HEADING and size <= 40 and (index + 1 == end or weights[index + 1] <= 0)
            if block.role is Role.PARAGRAPH or not is_inside or is_call:
                drop[index] = True
        elif (
            index < first
            and (first < end or block.role is not Role.LIST_ITEM)
            and size <= 100
            and block.role is not Role.HEADING
            and DATE_OR_BYLINE.search(text)
            and weights[index] <= 0
        ):
            drop[index] = True
        index += 1


def drop_last_lines(region: Region) -> None:
    """Drops lines after the last prose that link elsewhere. In an article, lines that give its source, its editor or
    its address are dropped too, and so are longer calls to the reader. Manuals keep all."""
    if region.kind is PageKind.MANUAL:
        return
    blocks, drop = region.blocks, region.drop
    is_article = region.kind is PageKind.ARTICLE
    for index in range(region.end - 1, region.start - 1, -1):
        block = blocks[index]
        if drop[index]:
            continue
        if (
            is_article
            and 0 < block.num_chars <= _MAX_CALL_CHARS
            and (CALLS.match(block.text) or PLUGS.match(block.text))
        ):
            drop[index] = True
            continue
        is_line = block.image is None and block.role is Role.PARAGRAPH
        if region.weights[index] > 0 or not (is_line or is_article):
            break
        if not is_line:
            continue
        leads_on = block.num_chars <= 120 and block.link_chars >= 0.3 * block.num_chars
        if leads_on or (is_article and _says_source(block)):
            drop[index] = True
        elif not is_article:
            break


_MAX_CALL_CHARS = 400


def _says_source(block: Block) -> bool:
    """Whether a line gives the source of a text, or is a web address."""
    return SOURCES.match(block.text) is not None or is_address(block.text)


def drop_duplicates(region: Region) -> None:
    """Drops the second copy of a text, as pages have for wide and narrow screens. In an article, it also drops a line
    that occurs three times in a row, because that is a placeholder for content of a script."""
    blocks, drop = region.blocks, region.drop
    kept = [index for index in range(region.start, region.end) if not drop[index] and blocks[index].num_chars > 0]
    if region.kind is PageKind.ARTICLE:
        for _, group in groupby(kept, key=lambda index: blocks[index].text):
            notices = list(group)
            if len(notices) >= _MIN_NOTICES and blocks[notices[0]].num_chars >= _MIN_NOTICE_CHARS:
                for index in notices:
                    drop[index] = True
        kept = [index for index in kept if not drop[index]]
    last: dict[str, int] = {}  # position in ``kept`` of the last block with this text
    run: list[int] = []
    expected = -1  # position in ``kept`` of the next original if the run continues
    for place, index in enumerate([*kept, -1]):
        block = blocks[index] if index >= 0 else None
        before = last.get(block.text, -1) if block is not None else -1
        if block is not None and run and before == expected:
            run.append(index)
            expected += 1
        else:
            if run and _is_second_copy(blocks, run, expected, kept, place):
                for copied in run:
                    drop[copied] = True
            run = [index] if before >= 0 else []
            expected = before + 1
        if block is not None:
            last[block.text] = place


def _is_second_copy(blocks: list[Block], run: list[int], expected: int, kept: list[int], place: int) -> bool:
    """Whether consecutive blocks that occurred before in the same order are a copy: a long run, or one right below the
    original. A single sentence may be repeated on purpose, as in manuals for each parameter."""
    long = [index for index in run if blocks[index].num_chars >= 80 and blocks[index].role not in _REPEATED_ROLES]
    return bool(long) and (
        expected == place - len(run) or sum(blocks[index].num_chars for index in run) >= _MIN_COPY_CHARS
    )


_MIN_NOTICE_CHARS = 20
_MIN_NOTICES = 3
_REPEATED_ROLES = frozenset((Role.CODE, Role.TABLE))
_MIN_COPY_CHARS = 1000


def drop_empty_sections(region: Region) -> None:
    """Drops a short heading if everything below it was dropped."""
    blocks, drop = region.blocks, region.drop
    if all(drop[index] or blocks[index].role is Role.HEADING for index in range(region.start, region.end)):
        return
    level_below = 0  # level of the kept block after this one: 1-6 for a heading, 7 for other content
    is_emptied = region.end < len(blocks)  # whether blocks between that one and this one were dropped or left out
    for index in range(region.end - 1, region.start - 1, -1):
        block = blocks[index]
        if drop[index]:
            is_emptied = True
        elif block.role is not Role.HEADING or block.image is not None:
            level_below, is_emptied = 7, False
        else:
            level = block.level or 6
            is_title = block.num_chars <= _MAX_TITLE_CHARS and index != region.heading
            if is_emptied and level_below <= level and is_title:
                drop[index] = True
            else:
                level_below, is_emptied = level, False


_MAX_TITLE_CHARS = 100
"""Maximum length of a heading that is only a title. A longer one has content of its own."""


def _goes_on(page: PageBlocks, index: int, end: int, drop: list[bool], weights: list[float]) -> bool:
    """Whether the article continues after its comments: a heading of their level or above follows that has prose and
    does not introduce more comments, links or calls. A line that is not a heading counts as the lowest level."""
    block = page.blocks[index]
    level = (block.level or 6) if block.role is Role.HEADING else 6
    is_section = False
    for position in range(index + 1, end):
        other = page.blocks[position]
        if drop[position]:
            continue
        if other.role is Role.HEADING and (other.level or 6) <= level:
            is_section = not (
                other.link_chars >= 0.5 * other.num_chars
                or COMMENTS.match(other.text)
                or RELATED.match(other.text)
                or CALLS.match(other.text)
            )
        elif is_section and weights[position] > 0:
            return True
    return False


def _section_end(page: PageBlocks, index: int, end: int) -> int:
    """The end of the section that begins with block ``index``: the next heading of its level, or the end of its
    container."""
    blocks = page.blocks
    block = blocks[index]
    level = block.level or 7 if block.role is Role.HEADING else 7
    stop = _section_limit(page, index, end)
    for position in range(index + 1, stop):
        other = blocks[position]
        if other.role is Role.HEADING and (other.level or 7) <= level and other.link_chars < 0.5 * other.num_chars:
            return position
        if level == 7 and other.num_chars >= 100 and other.link_chars < 0.3 * other.num_chars:
            return position
    return stop


def _section_limit(page: PageBlocks, index: int, end: int) -> int:
    """The end of the innermost container that holds more than block ``index``."""
    container = page.containers[page.blocks[index].container]
    for _ in range(_MAX_SECTION_DEPTH):
        if container.parent <= 0 or container.end > index + 1:
            break
        container = page.containers[container.parent]
    return min(end, container.end, index + _MAX_SECTION_BLOCKS)
