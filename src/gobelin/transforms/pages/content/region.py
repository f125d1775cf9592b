"""The region that holds a page's main content, and the decisions of the rules on its blocks."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from gobelin.data.model import PageKind
from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.tree.page_blocks import Block, PageBlocks


@dataclasses.dataclass(slots=True)
class Region:
    """The data that rules read and change. A rule drops blocks, or gives their text to an image as its caption."""

    page: PageBlocks
    index: int  # of its container
    start: int  # its blocks are [start, end)
    end: int
    weights: list[float]  # of all blocks: number of characters of prose; negative for a menu entry
    sums: list[float]  # prefix sums of the weights; one more than there are blocks
    drop: list[bool]  # of all blocks
    heading: int | None  # index of the page's own heading, in the region or before it
    title: str  # of the page, case folded; "" if it has none
    references: Sequence[ImageReference]  # the page's images, by ``Block.image``
    kind: PageKind = PageKind.OTHER  # declared by the page
    is_recipe: bool = False
    lead: list[Block] = dataclasses.field(default_factory=list)  # kept blocks outside the region
    captions: dict[int, str] = dataclasses.field(default_factory=dict)  # by ``Block.image``

    @property
    def blocks(self) -> list[Block]:
        """All blocks of the page."""
        return self.page.blocks

    def prose(self) -> float:
        """The sum of the positive weights in the region."""
        return sum(weight for weight in self.weights[self.start : self.end] if weight > 0)


def content_chars(block: Block) -> int:
    """The length of an English text with as much content as the block, in characters."""
    text = block.text
    return block.num_chars + (0 if text.isascii() else int(_CJK_CHARS * len(_CJK.findall(text))))


_CJK = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uff66-\uff9f]")
_CJK_CHARS = 1.5
"""How many letters of English a character of Chinese, Japanese or Korean is worth, minus one."""
