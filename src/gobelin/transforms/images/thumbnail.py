"""A small grey thumbnail of a picture, fine enough to tell a drawing from another one that differs in one place.

A thumbnail is 2304 brightnesses. Their rows and columns follow the picture's proportions, so that a cell of a wide
formula is about as wide as it is high. A cell is a weighted mean with a tent as its weights: 1 at the cell's middle, 0
one cell further on. Weights are computed for the exact extent of the picture, to fractions of a pixel: Pillow's box
filter takes whole pixels, which moves the brightness of thin lines by up to a third between a picture and its copy at
another size, and a tent varies smoothly where a line lies at the border of a cell.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

NUM_CELLS = 2304

_LAYOUTS = ((128.0, (12, 192)), (8.0, (24, 96)), (1 / 8, (48, 48)), (1 / 128, (96, 24)), (0.0, (192, 12)))
"""Least square of width / height, and (rows, columns). The limits lie at proportions that few pictures have, because
a picture beside one and its copy on the other side of it cannot be compared."""

HEX_DIGITS = 16 + 2 * NUM_CELLS
"""Of a thumbnail: width and height in pixels, eight digits each, and the brightnesses row by row, two each."""

THUMBNAIL_SIDE_PX = 192
"""Shorter side that a picture should keep when it is averaged down before: at 128 px the factors of a picture and of
its copy at another size blur thin lines so differently that limits had to be wider by a third."""


def layout(width: int, height: int) -> tuple[int, int]:
    """(rows, columns) of the thumbnail of a picture of this many pixels; their product is ``NUM_CELLS``."""
    square = (width / height) ** 2
    return next(shape for least, shape in _LAYOUTS if square >= least)


def thumbnail(grey: npt.NDArray[np.uint8], width: int, height: int) -> str:
    """The thumbnail, ``HEX_DIGITS`` long, of a picture of ``width`` x ``height`` pixels.

    Args:
        grey: (rows, columns), the picture, possibly averaged down by whole factors.
    """
    rows, columns = layout(width, height)
    means = cell_means(grey, width, height, rows, columns, reach=1.0)
    cells = np.clip(np.rint(means), 0, 255).astype(np.uint8)
    return f"{width:08x}{height:08x}{cells.tobytes().hex()}"


def cell_means(
    pixels: npt.NDArray[np.uint8], width: int, height: int, rows: int, columns: int, reach: float
) -> npt.NDArray[np.float64]:
    """Means of cells, 0 to 255, (rows, columns) or (rows, columns, channels).

    Args:
        pixels: (H, W) or (H, W, channels): a picture averaged down by whole factors; the last pixel of a line may stand
            for a part of what the others stand for.
        width: pixels of the picture before that.
        reach: 1.0: tents that end in the middle of the neighbouring cells. 0.0: each cell by itself.
    """
    tall = _weights(rows, pixels.shape[0], height / _factor(height, pixels.shape[0]), reach)
    wide = _weights(columns, pixels.shape[1], width / _factor(width, pixels.shape[1]), reach)
    means = np.tensordot(tall, np.tensordot(pixels.astype(np.float64), wide, (1, 1)), (1, 0))
    return means if pixels.ndim == 2 else np.moveaxis(means, 1, -1)


def _factor(whole: int, reduced: int) -> int:
    """By which a length was reduced: the smallest factor that gives this many pixels."""
    return max(1, -(-whole // reduced))


@functools.lru_cache(maxsize=256)
def _weights(num: int, size: int, extent: float, reach: float) -> npt.NDArray[np.float64]:
    """Of each of ``num`` cells the share of each pixel, (num, size). The pixels cover ``extent``, at most ``size``."""
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
