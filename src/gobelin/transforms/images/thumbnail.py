"""A small grey thumbnail of an image, fine enough to distinguish two drawings that differ in one place.

A thumbnail has 2304 brightness values. Their rows and columns follow the image's proportions, so a cell of a wide
formula is about as wide as it is high. A cell is a mean with a triangular (tent) weight: 1 at the cell's centre, 0 one
cell away. The weights are computed for the exact extent of the image, to fractions of a pixel. Pillow's box filter uses
whole pixels, which changes the brightness of thin lines by up to a third between an image and a copy of another size. A
tent varies smoothly where a line is at the border of a cell.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

NUM_CELLS = 2304

_LAYOUTS = ((128.0, (12, 192)), (8.0, (24, 96)), (1 / 8, (48, 48)), (1 / 128, (96, 24)), (0.0, (192, 12)))
"""(minimum of (width / height) ** 2, (rows, columns)). The limits are at proportions that few images have, because an
image cannot be compared with a copy on the other side of a limit."""

HEX_DIGITS = 16 + 2 * NUM_CELLS
"""Length of a thumbnail: width and height in pixels, eight digits each, and the brightness values row by row, two
digits each."""

THUMBNAIL_SIDE_PX = 192
"""Shorter side in pixels to which an image may be averaged down beforehand. At 128 px, an image and a copy of another
size blur thin lines so differently that limits had to be wider by a third."""


def layout(width: int, height: int) -> tuple[int, int]:
    """(rows, columns) of the thumbnail of an image of this size in pixels. Their product is ``NUM_CELLS``."""
    square = (width / height) ** 2
    return next(shape for least, shape in _LAYOUTS if square >= least)


def thumbnail(grey: npt.NDArray[np.uint8], width: int, height: int) -> str:
    """The thumbnail of an image of ``width`` x ``height`` pixels, ``HEX_DIGITS`` long.

    Args:
        grey: the image, (rows, columns), possibly averaged down by whole factors.
    """
    rows, columns = layout(width, height)
    means = cell_means(grey, width, height, rows, columns, reach=1.0)
    cells = np.clip(np.rint(means), 0, 255).astype(np.uint8)
    return f"{width:08x}{height:08x}{cells.tobytes().hex()}"


def cell_means(
    pixels: npt.NDArray[np.uint8], width: int, height: int, rows: int, columns: int, reach: float
) -> npt.NDArray[np.float64]:
    """The means of cells in [0, 255], (rows, columns) or (rows, columns, channels).

    Args:
        pixels: (H, W) or (H, W, channels), an image averaged down by whole factors. The last pixel of a line may cover
            fewer
            original pixels than the others.
        width, height: pixels of the original image.
        reach: 1.0: tents that end at the centres of the neighbouring cells. 0.0: boxes, each cell by itself.
    """
    tall = _weights(rows, pixels.shape[0], height / _factor(height, pixels.shape[0]), reach)
    wide = _weights(columns, pixels.shape[1], width / _factor(width, pixels.shape[1]), reach)
    means = np.tensordot(tall, np.tensordot(pixels.astype(np.float64), wide, (1, 1)), (1, 0))
    return means if pixels.ndim == 2 else np.moveaxis(means, 1, -1)


def _factor(whole: int, reduced: int) -> int:
    """The factor by which a length was reduced: the smallest one that gives this many pixels."""
    return max(1, -(-whole // reduced))


@functools.lru_cache(maxsize=256)
def _weights(num: int, size: int, extent: float, reach: float) -> npt.NDArray[np.float64]:
    """The weight of each pixel in each of ``num`` cells, (num, size). The pixels cover ``extent``, which is at most
    ``size``."""
    edges = np.minimum(np.arange(size + 1), extent)
    middles = (np.arange(num) + 0.5) * (extent / num)
    distance = (edges[None, :] - middles[:, None]) / (extent / num)  # in cells
    if reach:
        inside = np.clip(distance / reach, -1, 1)
        below = np.where(inside < 0, (inside + 1) ** 2 / 2, 1 - (1 - inside) ** 2 / 2)  # integral of the tent
    else:
        below = np.clip(distance + 0.5, 0, 1)
    shares = np.diff(below, axis=1)
    return shares / shares.sum(axis=1, keepdims=True)
