"""How pictures of any shape are brought to the grids of an image tokenizer. Without torch, numpy and Pillow.

A tokenizer of one grid cuts every picture to one shape. One of several grids (8 x 16, 12 x 12 and 16 x 8, say, of about
as many tokens each) takes the grid that is nearest to the picture's shape, so that less is cut away.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from fractions import Fraction
from typing import Literal, get_args

from gobelin.errors import UserError

Resize = Literal["crop", "letterbox"]
"""Crop: the largest part of the centre that has the grid's shape. Letterbox: all of the picture, black beside it."""

RESIZES: tuple[Resize, ...] = get_args(Resize)

Grid = tuple[int, int]
"""Rows and columns of tokens."""

MAX_GRIDS = 64
"""Each has a special token of its own in the vocabulary."""


@dataclasses.dataclass(frozen=True, slots=True)
class Framing:
    """The grids of a tokenizer and how pictures are brought to them."""

    grids: tuple[Grid, ...]
    token_pixels: int
    """Pixels of a token, each way."""
    resize: Resize = "crop"

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of the pictures of each grid, pixels."""
        return tuple((rows * self.token_pixels, columns * self.token_pixels) for rows, columns in self.grids)

    @property
    def longest_side(self) -> int:
        """The longest side of the pictures of all grids, pixels."""
        return max(max(size) for size in self.sizes)

    def index_for(self, height: int, width: int) -> int:
        """The grid whose shape is nearest to that of a picture of these pixels: the least absolute difference of the
        logarithms of width : height. Of two that are as near, the one that is named first. Computed in whole numbers,
        so it is the same everywhere."""
        ratios = [Fraction(width * rows, height * columns) for rows, columns in self.grids]
        return min(range(len(ratios)), key=lambda index: (max(ratios[index], 1 / ratios[index]), index))

    def index_of(self, size: tuple[int, int]) -> int:
        """The grid whose pictures have this height and width. Raises ValueError where none has."""
        try:
            return self.sizes.index(size)
        except ValueError:
            shapes = " or ".join(f"{height} x {width}" for height, width in self.sizes)
            raise ValueError(f"images must be {shapes} pixels, got {size[0]} x {size[1]}") from None


@dataclasses.dataclass(frozen=True, slots=True)
class Frames:
    """Chooses the image tokenizer and the grid of a picture, among one or several tokenizers."""

    framings: tuple[Framing, ...]
    min_sides_px: tuple[int, ...] = (0,)
    """For each tokenizer the least shorter side of the pictures that it takes, pixels; one of them is 0."""

    def tokenizer_for(self, height: int, width: int) -> int:
        """The tokenizer of a picture whose file has these pixels: of those whose least side its shorter side reaches,
        the one with the largest."""
        shorter = min(height, width)
        return max(
            (index for index, least in enumerate(self.min_sides_px) if least <= shorter),
            key=self.min_sides_px.__getitem__,
        )

    def codebook_of(self, tokenizer: int, size: tuple[int, int]) -> int:
        """The codebook, counted over the grids of all tokenizers, of pixels of this height and width that are for this
        tokenizer. Raises ValueError where it has no such grid."""
        before = sum(len(framing.grids) for framing in self.framings[:tokenizer])
        return before + self.framings[tokenizer].index_of(size)


def parse_grids(names: Iterable[str]) -> tuple[Grid, ...]:
    """Grids as people write them, ``8x16`` for 8 rows of 16 tokens.

    Raises:
        UserError: one is written otherwise, has no tokens, or is named twice; or there are more than 64.
    """
    found: list[Grid] = []
    for name in names:
        match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", name)
        if match is None:
            raise UserError(f"a grid is ROWSxCOLUMNS, as in 8x16, got {name!r}")
        found.append((int(match[1]), int(match[2])))
    if len(set(found)) < len(found):
        raise UserError(f"a grid is named twice: {', '.join(names_of(found))}")
    if len(found) > MAX_GRIDS:
        raise UserError(f"at most {MAX_GRIDS} grids, got {len(found)}")
    return tuple(found)


def names_of(grids: Iterable[Grid]) -> list[str]:
    """The inverse of ``parse_grids``."""
    return [f"{rows}x{columns}" for rows, columns in grids]
