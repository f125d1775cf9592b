"""Decides whether two pictures with near hashes are copies, by their thumbnails (images/thumbnail.py), cell by cell.

Encoding and resizing change a drawing a little everywhere. Another drawing of its kind differs much in one place. So
the *most different* cell decides and not the mean, by two rules:

    tolerance   a cell may differ by so much and by a share of the contrast around it, because resizing blurs edges; by
                more where the smaller picture has few pixels per cell. Where it has very few, both thumbnails are
                blurred first, so that the larger picture shows no more than the smaller one can.
    outlier     of drawings of one size, the most different cell may not stand out from the other cells that show
                something: a saved copy of a table is noisy in all its numbers, another table differs in one of them.

The limits were chosen on the tuned kinds of bench/drawings.py and on photographs; docs/duplicates.md has the numbers
for kinds and families that were held out.
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
"""Brightness, of 255, by which a cell of a copy may differ: so much, and this share of the contrast around it."""

_OTHER_SIZE = 1.1
"""Factor on both for a copy of another size."""

_MOST_BLUR = 1.0
"""How often the change that one blur makes may explain differences."""

_FINE_PX, _MAX_COARSENESS = 4.0, 3.0
"""Pixels per cell from which on a cell is as exact as it gets; below, noise grows with the root of what is missing."""

_BLURRED_PX, _MAX_BLURS = 2.5, 8
"""Pixels per cell below which thumbnails are blurred until the width of a tent is as if it had so many, and how often
at most. Each blur (1, 2, 1) adds 1/2 to the variance of a tent, 1/6."""

_NEAREST_PX = 1.0
"""The same for what a picture is nearest to: there blur hides more than it helps."""

_OUTLIER, _OUTLIER_BASE = 6.5, 0.4
"""Of drawings of one size: how often the noise of the picture its worst cell may have; and what rounding adds to it."""

_SHOWS_SOMETHING, _FEWEST_CELLS = 24, 8
"""Contrast from which a cell counts for the noise; with fewer such cells all cells count."""

_NOISIEST = 10
"""The noise is the difference that one cell in so many surpasses."""

_GREYS_OF_DRAWING = 120
"""Different greys of cells up to which a picture is a drawing. A palette changes single areas of photographs, so the
rule about outliers is for drawings."""

_BLOCK = {12: (4, 16), 24: (8, 8), 48: (8, 8), 96: (8, 8), 192: (16, 4)}
"""By the rows of a thumbnail: rows and columns of the blocks of cells that tell most pairs apart quickly."""

_CELLS_A_BLOCK = 64

_PAIRS_AT_ONCE = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Thumbnails:
    """Thumbnails of N pictures."""

    cells: npt.NDArray[np.uint8]  # (N, NUM_CELLS)
    num_greys: npt.NDArray[np.int64]  # (N,): different values among the cells
    num_flat: npt.NDArray[np.int64]  # (N,): cells that are exactly as all their neighbours
    sizes: npt.NDArray[np.int64]  # (N, 2): width and height in pixels
    shapes: npt.NDArray[np.int64]  # (N, 2): rows and columns
    sums: npt.NDArray[np.int32]  # (N, NUM_CELLS / 64): of blocks of cells
    contrast_sums: npt.NDArray[np.int32]  # (N, NUM_CELLS / 64): of the contrast of the same cells

    def take(self, places: Indices | slice) -> Thumbnails:
        return Thumbnails(*(getattr(self, field.name)[places] for field in dataclasses.fields(self)))


def read_thumbnails(column: Iterable[str]) -> Thumbnails:
    """From a column of hexadecimal digits, ``HEX_DIGITS`` an image.

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
    """Greatest less least of each cell and its eight neighbours, (N, rows, columns)."""
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
    """Weighted means (1, 2, 1) / 4 of each cell and its neighbours, down and across, so many times."""
    for _ in range(times):
        padded = np.pad(grids, ((0, 0), (1, 1), (1, 1)), "edge")
        rows = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
        grids = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4
    return grids


def distances(a: Thumbnails, b: Thumbnails) -> npt.NDArray[np.float64]:
    """How far each picture of ``a`` is from the one of ``b``, (N,); either may hold one. Up to 1 they are copies;
    infinite where they certainly are none, or where their proportions cannot be compared."""
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
    """Which of other pictures, of the same layout, a picture is a copy of: the place of the one that explains it best.

    Each is fitted to the picture by least squares, with its blur, so that it does not matter how sharp the copy is. Of
    two, the one with the smaller residual is nearer. Residuals count by the eighth power of how much the two differ
    from each other: what distinguishes drawings of a series is in one place, and elsewhere the noise of encoders would
    decide, by which two JPEG files resemble each other.
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
    """Cells of other pictures, (N, NUM_CELLS), and what is left of ``one`` when each has explained it."""
    target = _blurred(_grids(one), blurs).astype(np.float64).reshape(NUM_CELLS)
    seen = _blurred(_grids(others), blurs)
    terms = np.stack([seen, _blurred(seen, 1) - seen], 1).reshape(len(seen), 2, NUM_CELLS).astype(np.float64)
    cells = terms[:, 0].copy()
    target, terms = target - target.mean(), terms - terms.mean(axis=2, keepdims=True)
    products = terms @ terms.swapaxes(1, 2) + np.eye(2)  # 1: so that flat pictures can be solved for
    shares = np.linalg.solve(products, terms @ target[:, None])
    return cells, target - (shares * terms).sum(axis=1)


def _grids(thumbnails: Thumbnails) -> Grids:
    """(N, rows, columns) of pictures of one layout."""
    rows = int(thumbnails.shapes[0, 0])
    return thumbnails.cells.reshape(len(thumbnails.cells), rows, -1).astype(np.float32)


def _fineness(thumbnails: Thumbnails) -> npt.NDArray[np.float64]:
    """Pixels per cell, across or down, whichever are fewer, (N,)."""
    return (thumbnails.sizes / thumbnails.shapes[:, ::-1]).min(axis=1)


def _num_blurs(fineness: npt.NDArray[np.float64], wanted_px: float) -> npt.NDArray[np.int64]:
    """How often to blur until tents are as wide as if a cell had ``wanted_px`` pixels."""
    wanted = ((wanted_px / fineness) ** 2 - 1) / 3  # times 1/2 is to be added to 1/6
    return np.clip(np.ceil(wanted - 0.1), 0, _MAX_BLURS).astype(np.int64)


def _may_be_copies(a: Thumbnails, b: Thumbnails, factor: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """False where the mean of a block of cells is further apart than the tolerances of its cells allow on average."""
    apart = np.abs(a.sums - b.sums).astype(np.float32)
    allowed = _BASE * _CELLS_A_BLOCK + _OF_CONTRAST * np.minimum(a.contrast_sums, b.contrast_sums).astype(np.float32)
    return ((apart / allowed).max(axis=1) <= factor) & (a.shapes == b.shapes).all(axis=1)


def _distances(a: Thumbnails, b: Thumbnails, blurs: int) -> npt.NDArray[np.float64]:
    """``distances`` before the factor, of pictures of one layout whose thumbnails are to be blurred so often."""
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
    """Differences less what another sharpness and brightness explain, (N, rows, columns): resizing and encoding blur or
    sharpen, and clip what would be brighter than white.

    Args:
        is_finer: of each pair 1, 0 or -1: ``one`` has more pixels, as many, or fewer. The finer one is blurred.
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
    """The difference that one cell in ten surpasses, of the cells that show something, (N,)."""
    counts = contrast >= _SHOWS_SOMETHING
    counts |= counts.sum(axis=1, keepdims=True) < _FEWEST_CELLS
    ordered = np.sort(np.where(counts, apart, np.float32(-1)), axis=1)
    place = NUM_CELLS - 1 - counts.sum(axis=1) // _NOISIEST
    return ordered[np.arange(len(ordered)), place]
