"""Histograms that need no range in advance, so that one pass over any number of values is enough.

Values are counted on a fine fixed grid (linear, whole numbers or logarithmic, by score), separately for passed and
failed ones. Then fine cells are merged into at most ``MAX_BARS`` bars over the range of nearly all values and of all
thresholds, so that each threshold is on the edge of a bar. The first and last bar include values outside the range. The
numbers of passed and failed values are exact, because they are counted from the values, not from the grid.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import numpy as np

from gobelin.plugins import known_score
from gobelin.scores import LOG_FLOOR, Axis

MAX_BARS = 44

STEPS: dict[Axis, float] = {"linear": 0.0005, "count": 1.0, "log": 1 / 200}
"""Width of a cell of the fine grid: in the score's unit, or in decades."""

TAIL_RATIO = 0.005
"""Share of the values that the shown range may leave out on each side."""


@dataclasses.dataclass(frozen=True, slots=True)
class Bar:
    """Values in [low, high)."""

    low: float
    high: float
    passed: int
    failed: int

    @property
    def total(self) -> int:
        return self.passed + self.failed


class Histogram:
    """Counts of one score's values."""

    def __init__(self, kind: Axis, lowest: float = LOG_FLOOR) -> None:
        self.kind = kind
        self.lowest = lowest
        self._passed: Counter[int] = Counter()
        self._failed: Counter[int] = Counter()
        self.num_passed = 0
        self.num_failed = 0
        self.num_missing = 0

    @classmethod
    def of_score(cls, score: str) -> Histogram:
        """An empty histogram on the axis that suits a score."""
        entry = known_score(score)
        return cls("linear") if entry is None else cls(entry.axis, entry.lowest)

    @property
    def has_zero(self) -> bool:
        """Whether values below the start of a logarithmic axis are shown at its start."""
        first = min([*self._passed, *self._failed], default=None)
        return self.kind == "log" and first is not None and first <= int(self._cells(np.zeros(1))[0])

    @property
    def num_values(self) -> int:
        return self.num_passed + self.num_failed

    def add(self, values: np.ndarray, is_passed: np.ndarray) -> None:
        """Counts float64 values; NaN counts as missing."""
        is_there = ~np.isnan(values)
        self.num_missing += int(len(values) - is_there.sum())
        for mask, counter in ((is_passed, self._passed), (~is_passed, self._failed)):
            cells, times = np.unique(self._cells(values[is_there & mask]), return_counts=True)
            counter.update(dict(zip(cells.tolist(), times.tolist())))
        self.num_passed = self._passed.total()
        self.num_failed = self._failed.total()

    def position(self, values: np.ndarray) -> np.ndarray:
        """Values on the histogram's axis, in cells."""
        spread = np.log10(np.maximum(values, self.lowest)) if self.kind == "log" else values
        return spread / STEPS[self.kind]

    def value(self, position: float) -> float:
        """The inverse of ``position``."""
        spread = position * STEPS[self.kind]
        return 10**spread if self.kind == "log" else spread

    def _cells(self, values: np.ndarray) -> np.ndarray:
        # a ratio is a float32, so 0.3 may be slightly below its cell
        return np.floor(self.position(values) + 1e-4).astype(np.int64)

    def bars(self, thresholds: list[float]) -> list[Bar]:
        """At most about ``MAX_BARS`` adjacent bars; empty without values."""
        cells = sorted(self._passed.keys() | self._failed.keys())
        if not cells:
            return []
        marks = [int(np.round(self.position(np.array([threshold]))[0])) for threshold in thresholds]
        low, high = self._range(cells)
        low, high = min([low, *marks]), max([high, *marks])
        width = max(1, math.ceil((high - low + 1) / MAX_BARS))
        anchor = marks[0] if marks else 0
        first, last = (low - anchor) // width, (high - anchor) // width
        passed, failed = [0] * (last - first + 1), [0] * (last - first + 1)
        for counter, bars in ((self._passed, passed), (self._failed, failed)):
            for cell, times in counter.items():
                bars[min(max((cell - anchor) // width, first), last) - first] += times
        edges = [self.value(anchor + (first + index) * width) for index in range(len(passed) + 1)]
        return [Bar(*bar) for bar in zip(edges, edges[1:], passed, failed)]

    def shares_kept(self, positions: np.ndarray, keeps_above: bool) -> np.ndarray:
        """Share of the values, [0, 1], that a threshold at each position would keep. Needs at least one value.

        A value counts with its whole cell, so a share is exact up to one cell of the grid.
        """
        counts = self._passed + self._failed
        cells = np.array(sorted(counts), dtype=np.float64)
        below = np.concatenate([[0], np.cumsum([counts[int(cell)] for cell in cells])]) / self.num_values
        if keeps_above:
            return 1 - below[np.searchsorted(cells, positions - 1e-4, side="left")]
        return below[np.searchsorted(cells, positions + 1e-4, side="right")]

    def _range(self, cells: list[int]) -> tuple[int, int]:
        """The range of cells that holds nearly all values."""
        tail = TAIL_RATIO * self.num_values
        below = 0
        low, high = cells[0], cells[-1]
        is_low_found = False
        for cell in cells:
            below += self._passed[cell] + self._failed[cell]
            if not is_low_found and below > tail:
                low, is_low_found = cell, True
            if below >= self.num_values - tail:
                high = cell
                break
        return low, high
