"""trafilatura's choice of the main content, expressed in gobelin's blocks, so that the images between them are kept.

Blocks whose text occurs in trafilatura's result are main content, and so are images between two such blocks. A page
takes 15-30 ms.
"""

from __future__ import annotations

import re
from itertools import islice

from lxml.html import HtmlElement
from trafilatura import bare_extraction

from gobelin.data.model import Role
from gobelin.transforms.pages.tree.page_blocks import Block, PageBlocks

MAX_ELEMENTS = 20_000
"""Maximum number of elements of the tree. Above it, this path is not used: trafilatura takes 50 us per element, and
each block is searched in the whole text."""

_MIN_WORD_CHARS = 12
_BEGINNING = 60
_NOT_WORDS = re.compile(r"[\W_]+")


def choose_with_trafilatura(tree: HtmlElement, url: str, page: PageBlocks) -> list[Block]:
    """The main content as blocks; empty if there is none or the tree is too large. If most of trafilatura's text is in
    no block (for example because it comes from a script), its lines become paragraphs."""
    if sum(1 for _ in islice(tree.iter(), MAX_ELEMENTS + 1)) > MAX_ELEMENTS:
        return []
    extracted = bare_extraction(tree, url=url, include_comments=False, include_tables=True)
    text = getattr(extracted, "text", None)
    if not text:
        return []
    words = _NOT_WORDS.sub("", text)
    kept = [index for index, block in enumerate(page.blocks) if _stands_in(block, words)]
    if sum(page.blocks[index].num_chars for index in kept) < 0.5 * len(text):
        shown = _NOT_WORDS.sub("", "".join(block.text for block in page.blocks))
        lines = map(str.strip, text.split("\n"))
        written = [line for line in lines if _NOT_WORDS.sub("", line)[:_BEGINNING] not in shown]
        return [Block(line, Role.PARAGRAPH, None, 0, 0, 0) for line in written]
    chosen = set(kept)
    return [
        block
        for index, block in enumerate(page.blocks[kept[0] : kept[-1] + 1], kept[0])
        if index in chosen or block.image is not None
    ]


def _stands_in(block: Block, words: str) -> bool:
    """Whether a block consists of text more than of links, and ``words`` contains its text."""
    if block.link_chars > 0.5 * block.num_chars:
        return False
    own = _NOT_WORDS.sub("", block.text)
    return len(own) >= _MIN_WORD_CHARS and own in words
