"""Reads the text of a conversation: its heading, its opening, and the posts in their order.

Everything in a post that is not its text is dropped: names, dates, ranks, votes, buttons, signatures, quotations of
earlier posts, smileys and portraits of the authors. It is recognised by the names of elements, by dates, by its place
above the text, and by repetition in other posts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

from gobelin.data.model import Role
from gobelin.transforms.pages.content.boilerplate import Kind
from gobelin.transforms.pages.content.main_content import MainContent, find_main_content
from gobelin.transforms.pages.content.post_groups import DATE, name_words
from gobelin.transforms.pages.content.threads import Thread
from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.images.signs import is_sign
from gobelin.transforms.pages.tree.page_blocks import Block, Container, PageBlocks

_QUOTES = frozenset((
    "quote", "quoted", "blockquote", "signature", "sig", "sign", "postsignature", "usersignature",
    "signaturecontainer",
))  # fmt: skip
"""Parts of a post that are dropped regardless of their size."""

_NOT_TEXT = frozenset((
    "edited", "lastedit", "editedby", "attachbox", "author", "avatar", "username", "userinfo", "postprofile",
    "poster", "byline", "actions", "controls", "buttons", "opts", "likes", "like", "vote", "votes", "voting", "score",
    "report", "reactions", "karma", "badge", "badges", "rank", "spam", "dropdown", "menu", "tooltip",
))  # fmt: skip
"""Parts of a post that are dropped unless they hold most of it."""

_MOST = 0.7
_SAYS = re.compile(
    r"^.{0,80}(?:wrote|said|schrieb|写道|发表于|escribió|a écrit|написал|ha scritto|escreveu)\s?[:：]", re.I
)
"""The line above a quotation."""

_MIN_OPENING = 40  # characters
_MIN_NOTICE = 200
_MIN_TITLE = 10
_MAX_NAME_CHARS = 40
_MAX_LABEL_CHARS = 80
_MAX_ENDING = 4  # blocks
_DIGITS = re.compile(r"\d+")


def read_thread(
    page: PageBlocks, thread: Thread, title: str | None, references: Sequence[ImageReference]
) -> MainContent:
    """The main content of a conversation.

    Args:
        title: of the page; its heading is found by it.
        references: the page's images.
    """
    opening = _opening(page, thread, title, references)
    blocks = [*opening.blocks, *_posts(page, thread, references)]
    return MainContent(blocks, opening.captions, sum(block.num_chars for block in blocks))


def _opening(page: PageBlocks, thread: Thread, title: str | None, references: Sequence[ImageReference]) -> MainContent:
    """The content above the posts: the page's heading, and the opening text if its element is not one of the posts. A
    short notice for visitors does not count."""
    heading = _find_heading(page.blocks[: page.containers[thread.members[0]].start], title)
    alone = MainContent([heading] if heading is not None else [], {}, 0)
    if len(thread.members) == 1 and not thread.is_opened_above:
        return alone
    content = find_main_content(_above(page, thread.start), title, references)
    blocks = [block for block in content.blocks if not _shows_sign(block, references)]
    place = page.blocks.index(heading) if heading is not None else 0
    if place < thread.start:
        below = set(map(id, page.blocks[place : thread.start]))
        blocks = [block for block in blocks if id(block) in below and not _is_header(block, block is not heading)]
    if thread.is_opened_above or (heading is not None and any(thread.marks[place : thread.start])):
        least, said = float(_MIN_OPENING), sum(map(_num_plain, blocks))
    else:
        posts = (_num_plain(b) for b in page.blocks[thread.start : thread.end] if thread.owners[b.container] >= 0)
        least, said = max(_MIN_NOTICE, 0.15 * sum(posts)), sum(_num_plain(b) for b in blocks if _is_long(b))
    if said < least:
        return alone
    if heading is not None and heading not in blocks:
        blocks = [heading, *blocks]
    return MainContent(blocks, content.captions, sum(block.num_chars for block in blocks))


def _num_plain(block: Block) -> int:
    return 0 if block.role is Role.HEADING else block.num_chars - block.link_chars


def _is_long(block: Block) -> bool:
    return block.num_chars >= (80 if block.text.isascii() else 40)


def _above(page: PageBlocks, end: int) -> PageBlocks:
    """A copy of the page that ends before block ``end``."""
    above = PageBlocks()
    above.blocks = page.blocks[:end]
    above.containers = []
    for container in page.containers:
        start = min(container.start, end)
        copy = Container(container.tag, container.kind, container.parent, start, container.names, container.is_main)
        copy.end, copy.last = min(container.end, end), container.last
        above.containers.append(copy)
    return above


def _find_heading(blocks: Sequence[Block], title: str | None) -> Block | None:
    """The page's heading: the last one that the title contains, else the last <h1>, else the last other line that the
    title contains."""
    wanted = (title or "").casefold()
    best, best_rank = None, 0
    for block in blocks:
        is_title = 0 < len(block.text) <= len(wanted) and block.text.casefold() in wanted
        rank = 0
        if block.role is Role.HEADING and block.num_chars:
            rank = 3 if is_title and block.num_chars >= 6 else 2 if block.level == 1 else 0
        elif is_title and block.num_chars >= _MIN_TITLE and best_rank == 0:
            rank = 1
        if rank and rank >= best_rank:
            best, best_rank = block, rank
    return best


def _posts(page: PageBlocks, thread: Thread, references: Sequence[ImageReference]) -> list[Block]:
    blocks = page.blocks
    drop = [not thread.start <= index < thread.end for index in range(len(blocks))]
    for index in range(thread.start, thread.end):
        drop[index] = thread.owners[blocks[index].container] < 0 or _shows_sign(blocks[index], references)
    _drop_named(page, thread, drop)
    _drop_signed(page, thread, drop)
    _drop_headers(blocks, _by_post(page, thread, drop), thread, drop)
    posts = _by_post(page, thread, drop)
    _drop_names(blocks, posts, drop)
    _drop_labels(blocks, posts, thread, drop)
    _drop_quotations(blocks, thread, drop)
    _drop_endings(blocks, posts, drop)
    _drop_portraits(page, thread, drop)
    _drop_repeated(page, thread, references, drop)
    return [blocks[index] for index in range(thread.start, thread.end) if not drop[index]]


def _by_post(page: PageBlocks, thread: Thread, drop: list[bool]) -> list[list[int]]:
    """For each post, the indexes of its remaining text blocks, without those of posts inside it."""
    found: dict[int, list[int]] = {member: [] for member in thread.members}
    for index in range(thread.start, thread.end):
        block = page.blocks[index]
        if not drop[index] and block.num_chars:
            found[thread.owners[block.container]].append(index)
    return list(found.values())


def _drop_named(page: PageBlocks, thread: Thread, drop: list[bool]) -> None:
    """Drops parts of a post that are named as something else, and quotations of other posts."""
    containers, owners = page.containers, thread.owners
    holders = _holders(page, thread)
    plain = [0, *accumulate(map(_num_plain, page.blocks))]
    for index, container in enumerate(containers):
        start, end, owner = container.start, container.end, owners[index]
        if owner < 0 or owner == index or index in holders or start == end or drop[start]:
            continue
        words = name_words(container.names)
        is_quote = not _QUOTES.isdisjoint(words) or (
            container.tag == "blockquote" and _SAYS.search(page.blocks[start].text) is not None
        )
        if not is_quote:
            whole = plain[containers[owner].end] - plain[containers[owner].start]
            is_other = container.kind is Kind.BOILERPLATE or not _NOT_TEXT.isdisjoint(words)
            if not is_other or plain[end] - plain[start] > _MOST * whole:
                continue
        drop[start:end] = [True] * (end - start)


def _holders(page: PageBlocks, thread: Thread) -> set[int]:
    """The containers that hold posts."""
    holders: set[int] = set()
    for member in thread.members:
        place = page.containers[member].parent
        while place >= 0 and place not in holders:
            holders.add(place)
            place = page.containers[place].parent
    return holders


def _drop_signed(page: PageBlocks, thread: Thread, drop: list[bool]) -> None:
    """Drops short texts that are little more than a date and a name."""
    for index in range(thread.start, thread.end):
        block = page.blocks[index]
        if drop[index] or not thread.marks[index] or not block.num_chars:
            continue
        dates = sum(len(found.group()) for found in DATE.finditer(block.text))
        rest = block.num_chars - dates - block.link_chars
        drop[index] = rest <= 0.3 * block.num_chars or (block.link_chars > 0 and rest <= _MAX_NAME_CHARS)


def _drop_headers(blocks: list[Block], posts: list[list[int]], thread: Thread, drop: list[bool]) -> None:
    """Drops short dated texts at the same end of most posts. They give author and date."""
    for end in (0, -1):
        headers = [post[end] for post in posts if post and _is_header(blocks[post[end]], thread.marks[post[end]])]
        if len(headers) >= _MOST * len(posts) and len(posts) > 1:
            for index in headers:
                drop[index] = True


def _is_header(block: Block, is_marked: bool) -> bool:
    return is_marked and block.num_chars <= _MAX_HEADER_CHARS and DATE.search(block.text) is not None


_MAX_HEADER_CHARS = 80


def _drop_names(blocks: list[Block], posts: list[list[int]], drop: list[bool]) -> None:
    """Drops links at the beginning of a post. They name the author."""
    for post in posts:
        for position, index in enumerate(post):
            block = blocks[index]
            is_name = block.num_chars <= _MAX_NAME_CHARS and block.link_chars >= 0.9 * block.num_chars
            if not is_name or block.text.startswith("http"):
                for name in post[:position]:
                    drop[name] = True
                break


def _drop_labels(blocks: list[Block], posts: list[list[int]], thread: Thread, drop: list[bool]) -> None:
    """Drops short texts that occur in at least half of the posts except for dates and numbers. They are buttons and
    labels."""
    labels: list[dict[int, str]] = []
    for post in posts:
        short = [index for index in post if blocks[index].num_chars <= _MAX_LABEL_CHARS]
        labels.append({index: _label(blocks[index].text, thread.marks[index]) for index in short})
    counts = Counter(label for each in labels for label in set(each.values()))
    least = max(2, 0.5 * len(posts))
    for each in labels:
        for index, label in each.items():
            if counts[label] >= least:
                drop[index] = True


def _label(text: str, is_marked: bool) -> str:
    return _DIGITS.sub("0", DATE.sub("0", text) if is_marked else text).casefold()


def _drop_quotations(blocks: list[Block], thread: Thread, drop: list[bool]) -> None:
    """Drops quotations of earlier posts."""
    said: set[str] = set()
    for index in range(thread.start, thread.end):
        block = blocks[index]
        if drop[index] or not block.num_chars:
            continue
        if block.role is Role.QUOTATION and (block.text in said or _SAYS.search(block.text)):
            drop[index] = True
        said.add(block.text)


def _drop_endings(blocks: list[Block], posts: list[list[int]], drop: list[bool]) -> None:
    """Drops texts that end several posts in the same way. They are signatures."""
    left = [[index for index in post if not drop[index]] for post in posts]
    for _ in range(_MAX_ENDING):
        last = Counter(blocks[post[-1]].text for post in left if len(post) > 1)
        for post in left:
            if len(post) > 1 and last[blocks[post[-1]].text] > 1:
                drop[post.pop()] = True


def _drop_portraits(page: PageBlocks, thread: Thread, drop: list[bool]) -> None:
    """Drops images above the name or date at the beginning of a post."""
    parts: dict[int, list[int]] = {}
    for index in range(thread.start, thread.end):
        parts.setdefault(thread.owners[page.blocks[index].container], []).append(index)
    for owner, indexes in parts.items():
        if owner < 0:
            continue
        texts = [index for index in indexes if page.blocks[index].num_chars]
        first = next((index for index in texts if not drop[index]), thread.end)
        head = [index for index in texts if index < first and thread.marks[index]]
        for index in indexes:
            if head and index < head[-1] and page.blocks[index].image is not None:
                drop[index] = True


def _drop_repeated(page: PageBlocks, thread: Thread, references: Sequence[ImageReference], drop: list[bool]) -> None:
    """Drops images that occur in at least three posts: badges, signatures, icons of the forum."""
    found: dict[str, list[int]] = {}
    for index in range(thread.start, thread.end):
        image = page.blocks[index].image
        if image is not None and not drop[index] and image < len(references):
            found.setdefault(references[image].candidates[0], []).append(index)
    for indexes in found.values():
        if len({thread.owners[page.blocks[index].container] for index in indexes}) >= _MIN_POSTS:
            for index in indexes:
                drop[index] = True


_MIN_POSTS = 3


def _shows_sign(block: Block, references: Sequence[ImageReference]) -> bool:
    return block.image is not None and block.image < len(references) and is_sign(references[block.image])
