"""Decides whether two images with near hashes are copies, by comparing their thumbnails (images/thumbnail.py) cell by
cell.

Encoding and resizing change a drawing a little everywhere. Another drawing of its kind differs much in one place. So
the *most different* cell decides and not the mean, by two rules:

    tolerance   A cell may differ by a constant and by a share of the contrast around it, because resizing blurs edges.
    Both grow
                if the smaller image has few pixels per cell. If it has very few, both thumbnails are blurred first, so
                that the
                larger image shows no more detail than the smaller one.
    outlier     For drawings of equal size, the most different cell must not stand out from the other cells with
    contrast: a copy of
                a table is noisy in all its numbers, while another table differs in one of them.

The limits were chosen on the tuned kinds of bench/drawings.py and on photographs. docs/duplicates.md has the numbers
for held-out kinds and families.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from gobelin.errors import UserError
from gobelin.transforms.images.thumbnail import HEX_DIGITS, NUM_CELLS, layout

Indices = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]
Grids = npt.NDArray[np.floating]  # (N, rows, columns)

_BASE, _OF_CONTRAST = 6.25, 0.125
"""Allowed difference of a cell of a copy: a brightness, of 255, and a share of the contrast around the cell."""

_OTHER_SIZE = 1.1
"""Factor on both for a copy of another size."""

_MOST_BLUR = 1.0
"""Maximum multiple of the change by one blur that may explain differences."""

_FINE_PX, _MAX_COARSENESS = 4.0, 3.0
"""Pixels per cell from which a cell has full precision. Below, noise grows with the square root of the missing share,
up to a factor."""

_BLURRED_PX, _MAX_BLURS = 2.5, 8
"""Pixels per cell below which thumbnails are blurred until tents are as wide as with that many, and the maximum number
of blurs. Each blur (1, 2, 1) adds 1/2 to the variance of a tent, which is 1/6."""

_NEAREST_PX = 1.0
"""The same limit for ``nearest``, where blur hides more than it helps."""

_OUTLIER, _OUTLIER_BASE = 6.5, 0.4
"""For drawings of equal size: the maximum ratio of the worst cell to the noise of the image, and what rounding adds to
the noise."""

_SHOWS_SOMETHING, _FEWEST_CELLS = 24, 8
"""Minimum contrast of a cell that counts for the noise. If there are fewer than the second number of such cells, all
cells count."""

_NOISIEST = 10
"""The noise is the difference that one cell in this many exceeds."""

_GREYS_OF_DRAWING = 120
"""Maximum number of distinct greys among the cells of a drawing. The outlier rule applies only to drawings, because a
palette changes single areas of photographs."""

_BLOCK = {12: (4, 16), 24: (8, 8), 48: (8, 8), 96: (8, 8), 192: (16, 4)}
"""Rows of a thumbnail -> (rows, columns) of the blocks of cells that separate most pairs quickly."""

_CELLS_A_BLOCK = 64

_PAIRS_AT_ONCE = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Thumbnails:
    """Thumbnails of N images."""

    cells: npt.NDArray[np.uint8]  # (N, NUM_CELLS)
    num_greys: npt.NDArray[np.int64]  # (N,): number of distinct values among the cells
    num_flat: npt.NDArray[np.int64]  # (N,): number of cells that equal all their neighbours
    sizes: npt.NDArray[np.int64]  # (N, 2): width and height in pixels
    shapes: npt.NDArray[np.int64]  # (N, 2): rows and columns
    sums: npt.NDArray[np.int32]  # (N, NUM_CELLS / 64): of blocks of cells
    contrast_sums: npt.NDArray[np.int32]  # (N, NUM_CELLS / 64): of the contrast of the same cells

    def take(self, places: Indices | slice) -> Thumbnails:
        return Thumbnails(*(getattr(self, field.name)[places] for field in dataclasses.fields(self)))


def read_thumbnails(column: Iterable[str]) -> Thumbnails:
    """Thumbnails from a column of hexadecimal digits, ``HEX_DIGITS`` per image.

    Raises:
        UserError: they were made by another version of gobelin.
    """
    digits = list(column)
    if any(len(each) != HEX_DIGITS for each in digits):
        raise UserError("thumbnails of images were made by another version of gobelin; run `extract` again")
    raw = np.frombuffer(bytes.fromhex("".join(digits)), np.uint8).reshape(-1, HEX_DIGITS // 2)
    sizes = np.ascontiguousarray(raw[:, :8]).view(">u4").astype(np.int64).reshape(-1, 2)
    shapes = np.array([layout(*size) for size in sizes.tolist()], np.int64).reshape(-1, 2)
    cells = np.ascontiguousarray(raw[:, 8:])
    num_greys, num_flat = np.empty((2, len(cells)), np.int64)
    sums, contrast_sums = np.empty((2, len(cells), NUM_CELLS // _CELLS_A_BLOCK), np.int32)
    for rows in np.unique(shapes[:, 0]).tolist():
        of_shape = np.flatnonzero(shapes[:, 0] == rows)
        for start in range(0, len(of_shape), _PAIRS_AT_ONCE):
            places = of_shape[start : start + _PAIRS_AT_ONCE]
            grids = cells[places].reshape(len(places), rows, -1)
            num_greys[places] = 1 + (np.diff(np.sort(cells[places], axis=1), axis=1) > 0).sum(axis=1)
            contrast = _contrast(grids)
            num_flat[places] = (contrast == 0).sum(axis=(1, 2))
            sums[places], contrast_sums[places] = _block_sums(grids), _block_sums(contrast)
    return Thumbnails(cells, num_greys, num_flat, sizes, shapes, sums, contrast_sums)


def _block_sums(grids: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    rows, columns = grids.shape[1:]
    tall, wide = _BLOCK[rows]
    blocks = grids.reshape(len(grids), rows // tall, tall, columns // wide, wide)
    return blocks.sum(axis=(2, 4), dtype=np.int32).reshape(len(grids), -1)


def _contrast(grids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The maximum minus the minimum of each cell and its eight neighbours, (N, rows, columns)."""
    return _of_neighbours(np.maximum, grids) - _of_neighbours(np.minimum, grids)


def _of_neighbours(choose: np.ufunc, grids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    tall = grids.copy()
    choose(tall[:, 1:], grids[:, :-1], out=tall[:, 1:])
    choose(tall[:, :-1], grids[:, 1:], out=tall[:, :-1])
    wide = tall.copy()
    choose(wide[:, :, 1:], tall[:, :, :-1], out=wide[:, :, 1:])
    choose(wide[:, :, :-1], tall[:, :, 1:], out=wide[:, :, :-1])
    return wide


def _blurred(grids: Grids, times: int) -> Grids:
    """Applies weighted means (1, 2, 1) / 4 of each cell and its neighbours, vertically and horizontally, ``times``
    times."""
    for _ in range(times):
        padded = np.pad(grids, ((0, 0), (1, 1), (1, 1)), "edge")
        rows = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
        grids = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4
    return grids


def distances(a: Thumbnails, b: Thumbnails) -> npt.NDArray[np.float64]:
    """The distance of each image of ``a`` from the image of ``b`` at the same position, (N,). Either may hold a single
    image. Up to 1 they are copies. Infinite if they are certainly not, or if their proportions cannot be compared."""
    num = max(len(a.cells), len(b.cells))
    found = np.full(num, np.inf)
    fineness = np.minimum(_fineness(a), _fineness(b))
    factor = np.clip(np.sqrt(_FINE_PX / fineness), 1, _MAX_COARSENESS)
    factor[(a.sizes != b.sizes).any(axis=1)] *= _OTHER_SIZE
    near = np.flatnonzero(_may_be_copies(a, b, factor))
    num_blurs, num_rows = _num_blurs(fineness[near], _BLURRED_PX), np.broadcast_to(a.shapes[:, 0], num)[near]
    for blurs, rows in sorted(set(zip(num_blurs.tolist(), num_rows.tolist(), strict=True))):
        places = near[(num_blurs == blurs) & (num_rows == rows)]
        for start in range(0, len(places), _PAIRS_AT_ONCE):
            part = places[start : start + _PAIRS_AT_ONCE]
            one, other = (x if len(x.cells) == 1 else x.take(part) for x in (a, b))
            found[part] = _distances(one, other, blurs) / factor[part]
    return found


def nearest(one: Thumbnails, others: Thumbnails) -> int:
    """The position of the image, among others of the same layout, of which an image is most likely a copy.

    Each is fitted to the image by least squares, together with its blur, so the sharpness of the copy does not matter.
    Of two, the one with the
    smaller residual is nearer. Residuals are weighted by the eighth power of the difference between the two: drawings
    of a series differ in one
    place, and elsewhere the noise of encoders would decide, by which two JPEG files resemble each other.
    """
    num, best = len(others.cells), 0
    if num == 1:
        return 0
    blurs = int(_num_blurs(_fineness(one), _NEAREST_PX)[0])
    best_cells, best_residual = (x[0] for x in _residuals(one, others.take(slice(0, 1)), blurs))
    for start in range(1, num, _PAIRS_AT_ONCE):
        part = _residuals(one, others.take(slice(start, start + _PAIRS_AT_ONCE)), blurs)
        for place, (cells, residual) in enumerate(zip(*part, strict=True), start):
            between = np.abs(cells - best_cells)
            weights = (between / max(1.0, float(between.max()))) ** 2
            weights = (weights * weights) ** 2  # products: powers of floats are slow
            if weights @ (residual**2 - best_residual**2) < 0:
                best, best_cells, best_residual = place, cells, residual
    return best


def _residuals(
    one: Thumbnails, others: Thumbnails, blurs: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(cells of other images, (N, NUM_CELLS); the parts of ``one`` that they do not explain, (N, NUM_CELLS))."""
    target = _blurred(_grids(one), blurs).astype(np.float64).reshape(NUM_CELLS)
    seen = _blurred(_grids(others), blurs)
    terms = np.stack([seen, _blurred(seen, 1) - seen], 1).reshape(len(seen), 2, NUM_CELLS).astype(np.float64)
    cells = terms[:, 0].copy()
    target, terms = target - target.mean(), terms - terms.mean(axis=2, keepdims=True)
    products = terms @ terms.swapaxes(1, 2) + np.eye(2)  # the identity makes flat images solvable
    shares = np.linalg.solve(products, terms @ target[:, None])
    return cells, target - (shares * terms).sum(axis=1)


def _grids(thumbnails: Thumbnails) -> Grids:
    """(N, rows, columns) of images of one layout."""
    rows = int(thumbnails.shapes[0, 0])
    return thumbnails.cells.reshape(len(thumbnails.cells), rows, -1).astype(np.float32)


def _fineness(thumbnails: Thumbnails) -> npt.NDArray[np.float64]:
    """Pixels per cell, the smaller of vertical and horizontal, (N,)."""
    return (thumbnails.sizes / thumbnails.shapes[:, ::-1]).min(axis=1)


def _num_blurs(fineness: npt.NDArray[np.float64], wanted_px: float) -> npt.NDArray[np.int64]:
    """The number of blurs until tents are as wide as if a cell had ``wanted_px`` pixels."""
    wanted = ((wanted_px / fineness) ** 2 - 1) / 3  # the variance 1/6 grows by 1/2 per blur
    return np.clip(np.ceil(wanted - 0.1), 0, _MAX_BLURS).astype(np.int64)


def _may_be_copies(a: Thumbnails, b: Thumbnails, factor: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """False if the mean of a block of cells differs by more than the mean tolerance of its cells."""
    apart = np.abs(a.sums - b.sums).astype(np.float32)
    allowed = _BASE * _CELLS_A_BLOCK + _OF_CONTRAST * np.minimum(a.contrast_sums, b.contrast_sums).astype(np.float32)
    return ((apart / allowed).max(axis=1) <= factor) & (a.shapes == b.shapes).all(axis=1)


def _distances(a: Thumbnails, b: Thumbnails, blurs: int) -> npt.NDArray[np.float64]:
    """``distances`` before the factor, for images of one layout and one number of blurs."""
    one, other = (_blurred(_grids(x), blurs) for x in (a, b))
    apart = np.abs(_unexplained(one, other, np.sign(_fineness(a) - _fineness(b)))).reshape(-1, NUM_CELLS)
    contrasts = [_contrast(x).reshape(len(x), NUM_CELLS) for x in (one, other)]
    distance = (apart / (_BASE + _OF_CONTRAST * np.minimum(*contrasts))).max(axis=1)
    is_like_drawing = (a.sizes == b.sizes).all(axis=1) & (np.minimum(a.num_greys, b.num_greys) <= _GREYS_OF_DRAWING)
    if is_like_drawing.any():
        noise = _OUTLIER_BASE + _noise(apart, np.maximum(*contrasts))
        outlier = apart.max(axis=1) / (_OUTLIER * noise)
        distance = np.where(is_like_drawing, np.maximum(distance, outlier), distance)
    return distance


def _unexplained(one: Grids, other: Grids, is_finer: npt.NDArray[np.float64]) -> Grids:
    """The differences that another sharpness and brightness do not explain, (N, rows, columns). Resizing and encoding
    blur or sharpen, and clip
    values above white.

    Args:
        is_finer: for each pair 1, 0 or -1 if ``one`` has more, as many or fewer pixels. The finer one is blurred.
    """
    weight = ((1 + is_finer) / 2).astype(np.float32)[:, None, None]
    sharp = weight * one + (1 - weight) * other
    term = _blurred(sharp, 1) - sharp
    apart = one - other
    apart -= apart.mean(axis=(1, 2), keepdims=True)
    term -= term.mean(axis=(1, 2), keepdims=True)
    share = (apart * term).sum(axis=(1, 2), keepdims=True) / (1 + (term * term).sum(axis=(1, 2), keepdims=True))
    return apart - np.clip(share, -_MOST_BLUR, _MOST_BLUR) * term


def _noise(apart: Floats, contrast: Floats) -> Floats:
    """The difference that one in ten of the cells with contrast exceeds, (N,)."""
    counts = contrast >= _SHOWS_SOMETHING
    counts |= counts.sum(axis=1, keepdims=True) < _FEWEST_CELLS
    ordered = np.sort(np.where(counts, apart, np.float32(-1)), axis=1)
    place = NUM_CELLS - 1 - counts.sum(axis=1) // _NOISIEST
    return ordered[np.arange(len(ordered)), place]
