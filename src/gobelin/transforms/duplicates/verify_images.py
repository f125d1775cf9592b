"""Whether two pictures whose hashes are near are copies: by their thumbnails (images/thumbnail.py), cell by cell.

Encoding and resizing change a drawing a little everywhere; another drawing of its kind differs much in one place. So
the *most different* cell decides, not the mean, by two rules:

    tolerance   a cell may differ by so much and by a share of the contrast around it, because resizing blurs edges; by
                more where the smaller picture has few pixels per cell, and between pictures of different sizes.
    outlier     of drawings of one size, the most different cell may not stand out from the other cells that show
                something: a saved copy of a table is noisy in all its numbers, another table differs in one of them.

The limits were chosen on the tuned kinds of bench/drawings.py and on photographs; docs/duplicates.md has the numbers
for kinds and families that were held out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from gobelin.transforms.images.thumbnail import HEX_DIGITS, NUM_CELLS, STEPS, layout

Indices = npt.NDArray[np.intp]

_BASE, _OF_CONTRAST = 6.25, 0.125
"""Brightness, of 255, by which a cell of a copy may differ: so much, and this share of the contrast around it."""

_OTHER_SIZE = 1.4
"""Factor on both for a copy of another size."""

_FINE_PX, _MAX_COARSENESS = 6.0, 3.0
"""Pixels a cell from which on a cell is as exact as it gets; below, noise grows with the root of what is missing."""

_OUTLIER, _OUTLIER_BASE = 5.5, 0.05
"""Of drawings of one size: how often the noise of the picture its worst cell may have; and what rounding adds to it."""

_SHOWS_SOMETHING, _FEWEST_CELLS = 24, 8
"""Contrast from which a cell counts for the noise; with fewer such cells all cells count."""

_NOISIEST = 10
"""The noise is the difference that one cell in so many surpasses."""

_GREYS_OF_DRAWING = 120
"""Different greys of cells up to which a picture is a drawing. Drawings have 25 to 110 of them, photographs 95 to 190.
A palette changes single areas of photographs, so the rule about outliers is for drawings."""

_CELLS_A_SUM = 16

_PAIRS_AT_ONCE = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Thumbnails:
    """Thumbnails of N pictures."""

    cells: npt.NDArray[np.uint16]  # (N, NUM_CELLS), in steps of a brightness
    contrast: npt.NDArray[
        np.uint8
    ]  # (N, NUM_CELLS): brightness, greatest less least of a cell and its eight neighbours
    num_greys: npt.NDArray[np.int64]  # (N,): different values among the cells
    sizes: npt.NDArray[np.int64]  # (N, 2): width and height in pixels
    shapes: npt.NDArray[np.int64]  # (N, 2): rows and columns
    sums: npt.NDArray[np.int32]  # (N, NUM_CELLS / 16): of cells next to each other, to tell most pairs apart quickly
    contrast_sums: npt.NDArray[np.int32]  # of the same cells

    def take(self, places: Indices | slice) -> Thumbnails:
        return Thumbnails(*(getattr(self, field.name)[places] for field in dataclasses.fields(self)))


def read_thumbnails(column: Iterable[str]) -> Thumbnails:
    """From a column of hexadecimal digits, ``HEX_DIGITS`` an image."""
    raw = np.frombuffer(bytes.fromhex("".join(column)), np.uint8).reshape(-1, HEX_DIGITS // 2)
    sizes = np.ascontiguousarray(raw[:, :8]).view(">u4").astype(np.int64).reshape(-1, 2)
    shapes = np.array([layout(*size) for size in sizes.tolist()], np.int64).reshape(-1, 2)
    cells = np.ascontiguousarray(raw[:, 8:]).view(">u2").astype(np.uint16)
    whole = ((cells + np.uint16(STEPS // 2 - 1)) // STEPS).astype(np.uint8)
    contrast = np.empty_like(whole)
    for rows in np.unique(shapes[:, 0]).tolist():
        places = np.flatnonzero(shapes[:, 0] == rows)
        contrast[places] = _contrast(whole[places].reshape(len(places), rows, -1)).reshape(len(places), NUM_CELLS)
    num_greys = 1 + (np.diff(np.sort(whole, axis=1), axis=1) > 0).sum(axis=1)
    sums, contrast_sums = (
        x.reshape(-1, NUM_CELLS // _CELLS_A_SUM, _CELLS_A_SUM).sum(axis=2, dtype=np.int32) for x in (whole, contrast)
    )
    return Thumbnails(cells, contrast, num_greys, sizes, shapes, sums, contrast_sums)


def _contrast(cells: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    padded = np.pad(cells, ((0, 0), (1, 1), (1, 1)), "edge")
    return _of_neighbours(np.maximum, padded) - _of_neighbours(np.minimum, padded)


def _of_neighbours(choose: np.ufunc, padded: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    rows = choose(choose(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    return choose(choose(rows[:, :, :-2], rows[:, :, 1:-1]), rows[:, :, 2:])


def distances(a: Thumbnails, b: Thumbnails) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """How far each picture of ``a`` is from the one of ``b``; either may hold one.

    Returns:
        Distances, (N,): up to 1 they are copies; infinite where they certainly are none, or where their proportions
        cannot be compared. And strains, (N,): a smooth maximum of the differences, the smallest of which tells what a
        picture is a copy of.
    """
    num = max(len(a.cells), len(b.cells))
    found, strains = np.full(num, np.inf), np.full(num, np.inf)
    places = np.flatnonzero(_may_be_copies(a, b))
    for start in range(0, len(places), _PAIRS_AT_ONCE):
        part = places[start : start + _PAIRS_AT_ONCE]
        found[part], strains[part] = _distances(*(x if len(x.cells) == 1 else x.take(part) for x in (a, b)))
    return found, strains


def _may_be_copies(a: Thumbnails, b: Thumbnails) -> npt.NDArray[np.bool_]:
    """False where sums of cells are further apart than their tolerances allow: true of no pair of copies, and quick."""
    apart = (np.abs(a.sums - b.sums) - _CELLS_A_SUM).astype(np.float32)  # less a half for rounding, of each
    allowed = _BASE * _CELLS_A_SUM + _OF_CONTRAST * np.minimum(a.contrast_sums, b.contrast_sums).astype(np.float32)
    return ((apart / allowed).max(axis=1) <= 1.001 * _factor(a, b)) & (a.shapes == b.shapes).all(axis=1)


def _factor(a: Thumbnails, b: Thumbnails) -> npt.NDArray[np.float64]:
    """By which the tolerance of cells grows with coarse pictures and pictures of other sizes, (N,)."""
    fineness = np.minimum(a.sizes / a.shapes[:, ::-1], b.sizes / b.shapes[:, ::-1]).min(axis=1)  # pixels a cell
    is_same_size = (a.sizes == b.sizes).all(axis=1)
    return np.clip(np.sqrt(_FINE_PX / fineness), 1, _MAX_COARSENESS) * np.where(is_same_size, 1, _OTHER_SIZE)


def _distances(a: Thumbnails, b: Thumbnails) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    apart = np.abs(a.cells.astype(np.float32) - b.cells) / STEPS
    tolerance = _BASE + _OF_CONTRAST * np.minimum(a.contrast, b.contrast).astype(np.float32)
    relative = apart / tolerance
    distance = relative.max(axis=1) / _factor(a, b)
    is_like_drawing = (a.sizes == b.sizes).all(axis=1) & (np.minimum(a.num_greys, b.num_greys) <= _GREYS_OF_DRAWING)
    if is_like_drawing.any():
        noise = _OUTLIER_BASE + _noise(apart, np.maximum(a.contrast, b.contrast))
        outlier = apart.max(axis=1) / (_OUTLIER * noise)
        distance = np.where(is_like_drawing, np.maximum(distance, outlier), distance)
    relative *= relative  # ** 10 by products: powers of floats are slow
    fourth = relative * relative
    strain = (fourth * fourth * relative).sum(axis=1)
    return distance, strain


def _noise(apart: npt.NDArray[np.float32], contrast: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The difference that one cell in ten surpasses, of the cells that show something, (N,)."""
    counts = contrast >= _SHOWS_SOMETHING
    counts |= counts.sum(axis=1, keepdims=True) < _FEWEST_CELLS
    ordered = np.sort(np.where(counts, apart, np.float32(-1)), axis=1)
    place = NUM_CELLS - 1 - counts.sum(axis=1) // _NOISIEST
    return ordered[np.arange(len(ordered)), place]
