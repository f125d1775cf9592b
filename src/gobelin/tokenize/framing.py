"""Brings pictures of any shape to the grids of an image tokenizer. Imports no torch, numpy or Pillow.

A tokenizer with one grid crops every picture to one shape. A tokenizer with several grids of about as many tokens each
(for example 8 x 16, 12 x 12 and 16 x 8) uses the grid that is nearest to the picture's shape, so that less is cropped.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from fractions import Fraction
from typing import Literal, get_args

from gobelin.errors import UserError

Resize = Literal["crop", "letterbox"]
"""Crop: the largest centred part with the shape of the grid. Letterbox: the whole picture, with black bars."""

RESIZES: tuple[Resize, ...] = get_args(Resize)

Grid = tuple[int, int]
"""Rows and columns of tokens."""

MAX_GRIDS = 64
"""Maximum number of grids. Each has its own special token in the vocabulary."""


@dataclasses.dataclass(frozen=True, slots=True)
class Framing:
    """The grids of a tokenizer and how pictures are brought to them."""

    grids: tuple[Grid, ...]
    token_pixels: int
    """Side of the square of pixels that one token represents."""
    resize: Resize = "crop"

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of the pictures of each grid in pixels."""
        return tuple((rows * self.token_pixels, columns * self.token_pixels) for rows, columns in self.grids)

    @property
    def longest_side(self) -> int:
        """The longest side of the pictures of all grids in pixels."""
        return max(max(size) for size in self.sizes)

    def index_for(self, height: int, width: int) -> int:
        """Index of the grid whose shape is nearest to a picture of this size in pixels: the smallest absolute
        difference of log(width / height). Of equally near grids, the first one. The comparison uses exact fractions, so
        the result is the same on every machine."""
        ratios = [Fraction(width * rows, height * columns) for rows, columns in self.grids]
        return min(range(len(ratios)), key=lambda index: (max(ratios[index], 1 / ratios[index]), index))

    def index_of(self, size: tuple[int, int]) -> int:
        """Index of the grid whose pictures have this height and width in pixels. Raises ValueError if there is none."""
        try:
            return self.sizes.index(size)
        except ValueError:
            shapes = " or ".join(f"{height} x {width}" for height, width in self.sizes)
            raise ValueError(f"images must be {shapes} pixels, got {size[0]} x {size[1]}") from None


@dataclasses.dataclass(frozen=True, slots=True)
class Frames:
    """Chooses the image tokenizer and the grid for a picture."""

    framings: tuple[Framing, ...]
    min_sides_px: tuple[int, ...] = (0,)
    """For each tokenizer, the minimum shorter side of its pictures in pixels. One of them is 0."""

    def tokenizer_for(self, height: int, width: int) -> int:
        """Index of the tokenizer for a picture of this size in pixels: the one with the largest minimum side that the
        picture's shorter side reaches."""
        shorter = min(height, width)
        return max(
            (index for index, least in enumerate(self.min_sides_px) if least <= shorter),
            key=self.min_sides_px.__getitem__,
        )

    def codebook_of(self, tokenizer: int, size: tuple[int, int]) -> int:
        """Index of the codebook for pixels of this height and width from this tokenizer. Codebooks are counted over the
        grids of all tokenizers. Raises ValueError if the tokenizer has no such grid."""
        before = sum(len(framing.grids) for framing in self.framings[:tokenizer])
        return before + self.framings[tokenizer].index_of(size)


def parse_grids(names: Iterable[str]) -> tuple[Grid, ...]:
    """Parses grids such as ``8x16``, which has 8 rows of 16 tokens.

    Raises:
        UserError: a grid has another form, has no tokens or is repeated, or there are more than 64.
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
