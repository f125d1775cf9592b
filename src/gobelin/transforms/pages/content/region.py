"""The region of a page that holds its main content, and what the rules have decided so far of the blocks in it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from gobelin.data.model import PageKind
from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.tree.page_blocks import Block, PageBlocks


@dataclasses.dataclass(slots=True)
class Region:
    """What a rule looks at and changes. A rule drops blocks, or hands their words to an image."""

    page: PageBlocks
    index: int  # of its container
    start: int  # its blocks
    end: int
    weights: list[float]  # of all blocks: characters of prose; less than nothing for a menu's entry
    sums: list[float]  # of the weights of the blocks before each, and of all at the end
    drop: list[bool]  # of all blocks
    heading: int | None  # block of the page's own heading, in the region or before it
    title: str  # of the page, case folded; "" where it has none
    references: Sequence[ImageReference]  # the page's images, by ``Block.image``
    kind: PageKind = PageKind.OTHER  # that the page declares
    is_recipe: bool = False
    lead: list[Block] = dataclasses.field(default_factory=list)  # above the region, kept
    captions: dict[int, str] = dataclasses.field(default_factory=dict)  # by ``Block.image``

    @property
    def blocks(self) -> list[Block]:
        """All blocks of the page."""
        return self.page.blocks

    def prose(self) -> float:
        """The sum of the positive weights in the region."""
        return sum(weight for weight in self.weights[self.start : self.end] if weight > 0)


def said_chars(block: Block) -> int:
    """How many letters of English say as much as a block."""
    text = block.text
    return block.num_chars + (0 if text.isascii() else int(_CJK_CHARS * len(_CJK.findall(text))))


_CJK = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uff66-\uff9f]")
_CJK_CHARS = 1.5
"""What a character of Chinese, Japanese or Korean says beyond what a letter says: a sentence has that many fewer."""
