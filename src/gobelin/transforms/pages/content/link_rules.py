"""Rules that drop lists of links from the region of a page's main content, unless the links are the content.

Menus consist of links only. Tables of names beside descriptions also consist mostly of links, but are content. A list
that the text introduces with a colon is kept. The rules set ``drop`` for blocks. All are linear in the blocks.
"""

from __future__ import annotations

import bisect
import re
from itertools import accumulate

from gobelin.data.model import PageKind, Role
from gobelin.transforms.pages.content.region import Region, content_chars
from gobelin.transforms.pages.tree.page_blocks import Block, Container, PageBlocks


def is_index(region: Region) -> bool:
    """Whether the links of a region are its content: they hold more than half of its characters."""
    kept = [region.blocks[index] for index in range(region.start, region.end) if not region.drop[index]]
    return sum(block.link_chars for block in kept) > 0.5 * sum(block.num_chars for block in kept)


def drop_link_lists(region: Region) -> None:
    """Drops lists and other containers of the region whose text is mostly links. Exceptions: lists between the prose of
    a page that is not an article, and lists below the first prose of a manual."""
    page, blocks, containers, drop = region.page, region.blocks, region.page.containers, region.drop
    first, last = region.index + 1, region.page.containers[region.index].last
    chars = [0, *accumulate(0 if drop[index] else block.num_chars for index, block in enumerate(blocks))]
    in_links = [0, *accumulate(0 if drop[i] or _is_reference(b) else b.link_chars for i, b in enumerate(blocks))]
    num_links = [0, *accumulate(block.num_links for block in blocks)]
    tables = [
        table.start
        for table in containers[first : last + 1]
        if "table" in table.names
        and _is_named_table(table)
        and 0 < in_links[table.end] - in_links[table.start] <= 0.9 * (chars[table.end] - chars[table.start])
    ]
    first_kept, end_kept = _where_links_stay(region)
    index = first
    while index <= last:
        container = containers[index]
        start, end = container.start, container.end
        index += 1
        if start == end or container.tag == "li" or num_links[end] - num_links[start] < 2:
            continue
        # Tables of names beside descriptions are mostly links; menus are links only.
        is_table = container.tag == "table" or _is_named_table(container)
        if not is_table and tables and bisect.bisect_left(tables, start) < bisect.bisect_left(tables, end):
            continue  # its children are judged one by one
        most = 0.9 if is_table else 0.6
        if in_links[end] - in_links[start] <= most * (chars[end] - chars[start]) or chars[end] == chars[start]:
            continue
        if first_kept < start < end_kept or _is_announced(blocks, start, drop) or is_row(page, container):
            continue
        for position in range(start, end):
            # An image without a link belongs to the surrounding text.
            drop[position] = drop[position] or blocks[position].image is None or blocks[position].num_links > 0
        index = container.last + 1


def _where_links_stay(region: Region) -> tuple[int, int]:
    """The open range of blocks in which lists of links are content. It is empty if the two bounds are equal."""
    is_marked_up = region.page.containers[region.index].tag == "article" and region.kind is PageKind.OTHER
    if region.kind is PageKind.ARTICLE or is_marked_up:
        return 0, 0
    prose = [index for index in range(region.start, region.end) if region.weights[index] > 0 and not region.drop[index]]
    if not prose:
        return 0, 0
    return prose[0], region.end if region.kind is PageKind.MANUAL else prose[-1]


def _is_named_table(container: Container) -> bool:
    """Whether an element is laid out as a table without being one."""
    return container.tag == "div" and "table" in container.names and _TABLE_NAME.search(container.names) is not None


_TABLE_NAME = re.compile(r"(?:^|[\s_-])table(?:\s|$)")


def is_row(page: PageBlocks, container: Container) -> bool:
    """Whether a container is a short table row, such as a name beside its description, or a cell of one."""
    row = page.containers[container.parent] if container.tag in ("td", "th") else container
    return row.tag == "tr" and 2 <= row.end - row.start <= _MAX_ROW_BLOCKS


_MAX_ROW_BLOCKS = 6


def _is_reference(block: Block) -> bool:
    """Whether a block is a data table that consists of linked names, but not only of links."""
    return block.role is Role.TABLE and block.link_chars < 0.95 * block.num_chars


def drop_link_paragraphs(region: Region) -> None:
    """Drops paragraphs that are one link or a row of links. Manuals keep them. Pages that declare no kind keep a single
    link between their prose."""
    if region.kind is PageKind.MANUAL:
        return
    blocks, drop = region.blocks, region.drop
    first_kept, end_kept = _where_links_stay(region)
    for index in range(region.start, region.end):
        block = blocks[index]
        if block.role is not Role.PARAGRAPH or block.link_chars < 0.8 * block.num_chars or content_chars(block) <= 25:
            continue
        is_one = block.num_links == 1 and first_kept < index < end_kept
        stays = is_one or block.text.startswith("http") or _is_announced(blocks, index, drop)
        if not stays:
            drop[index] = True


def _is_announced(blocks: list[Block], index: int, drop: list[bool]) -> bool:
    """Whether the text before a block introduces a list: it ends with a colon."""
    if index == 0 or drop[index - 1]:
        return False
    before = blocks[index - 1]
    return before.text.endswith((":", "：")) and before.link_chars < 0.5 * before.num_chars
