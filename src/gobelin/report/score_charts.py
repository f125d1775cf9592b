"""Charts of a score and its thresholds: a histogram, and the share that each rule would keep, on one axis.

Each bar and line has its numbers as a tooltip.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from gobelin.report.histograms import Bar, Histogram
from gobelin.report.svg import (
    BOTTOM,
    CHAR_WIDTH,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    linear,
    rect,
    svg,
    text,
    ticks_in,
    x_axis,
    y_axis,
)
from gobelin.report.wording import compact, number, percent

CURVE_HEIGHT, CURVE_TOP, CURVE_POINTS = 128, 20, 150

LANE = 11
"""Height of a line of labels, where the words of thresholds do not all fit into one."""

CUT_RATIO = 4
"""A bar this many times the second highest is cut, so that the others can be seen; its number is written on it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """A threshold: a vertical line with its label. ``keeps_above``: values to the right of it pass."""

    value: float
    label: str
    keeps_above: bool
    kept: float | None = None  # share in [0, 1] of the values that pass


def histogram_chart(histogram: Histogram, marks: Sequence[Mark], unit: str, noun: str) -> Markup:
    """Bars of passed and failed values, and a line at each threshold.

    Args:
        noun: name of the counted units, plural.
    """
    bars = histogram.bars([mark.value for mark in marks])
    if not bars:
        return Markup("")
    positions, scale_x, edges = _spread(histogram, bars, marks)
    totals = sorted((bar.total for bar in bars), reverse=True)
    is_cut = len(totals) > 1 and totals[1] > 0 and totals[0] > CUT_RATIO * totals[1]
    limit = 1.6 * totals[1] if is_cut else totals[0]
    labels = _labels(marks, edges)
    top = TOP + LANE * max((label.lane for label in labels), default=0)
    scale_y = linear(0, limit, HEIGHT - BOTTOM, top)
    parts = [*y_axis(ticks_in(0, limit), scale_y, noun)]
    for bar, low, high in zip(bars, positions, positions[1:]):
        parts += _bar(bar, scale_x(low), scale_x(high), scale_y, limit, histogram.kind == "count", edges)
    parts += x_axis(_axis_ticks(histogram, float(positions[0]), float(positions[-1])), scale_x, unit)
    parts += _marks(labels, edges, top)
    return svg(parts, f"Histogram: {unit}, {histogram.num_values:,} {noun}")


def _bar(
    bar: Bar,
    left: float,
    right: float,
    scale_y: Scale,
    limit: float,
    whole: bool,
    edges: Sequence[float],
) -> list[Markup]:
    """A bar with its number.

    Args:
        edges: x positions of the lines of thresholds, which the number of a cut bar must not touch.
    """
    if not bar.total:
        return []
    gap = 1 if right - left > 3 else 0
    last = bar.high - 1
    span = (number(bar.low) if last <= bar.low else f"{number(bar.low)}–{number(last)}") if whole else (
        f"{number(bar.low)} to {number(bar.high)}"
    )  # fmt: skip
    title = f"{span}: {bar.passed:,} pass, {bar.failed:,} fail"
    bottom = scale_y(0)
    shown = limit / bar.total if bar.total > limit else 1.0
    parts: list[Markup] = [Markup("<g><title>{}</title>").format(title)]
    for css, count in (("pass", bar.passed), ("fail", bar.failed)):
        if count:
            height = max(bottom - scale_y(count * shown), 1.0)
            bottom -= height
            parts.append(rect(left, bottom, right - left - gap, height, css))
    if bar.total > limit:
        cut = scale_y(limit * 0.86)
        parts.append(
            Markup('<path class="cut" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>').format(left - 2, cut + 3, right + 1, cut - 3)
        )
        words = compact(bar.total)
        width = CHAR_WIDTH * len(words)
        sides = [(right + 2, right + 2 + width, "start"), (left - 2 - width, left - 2, "end")]
        fitting = [side for side in sides if side[0] >= LEFT and side[1] <= WIDTH] or sides[1:]
        start, end, anchor = next(
            (side for side in fitting if not any(side[0] < edge < side[1] for edge in edges)), fitting[0]
        )
        parts.append(text(start if anchor == "start" else end, cut + 3, words, "value", anchor))
    return [*parts, Markup("</g>")]


@dataclasses.dataclass(frozen=True, slots=True)
class _Label:
    """The label of a threshold: ``x`` is its ``start`` or ``end``; ``lane`` counts lines of labels upwards."""

    words: str
    x: float
    anchor: str
    lane: int


def _labels(marks: Sequence[Mark], edges: Sequence[float]) -> list[_Label]:
    """Positions of the labels beside their edges, without overlap: on the side that a threshold keeps if there is room;
    for two close ones, on the outer sides."""
    words = [f"keep {'≥' if mark.keeps_above else '≤'} {mark.label}" for mark in marks]
    widths = [CHAR_WIDTH * len(each) for each in words]
    is_narrow = len(edges) == 2 and abs(edges[1] - edges[0]) < sum(widths) + 8
    order = sorted(range(len(marks)), key=lambda index: edges[index])
    rightmost = order[-1] if order else None
    if sum(edges) < len(edges) * WIDTH / 2:
        order.reverse()  # words that must go right stand above the lines to their right
    taken: list[tuple[int, float, float]] = []
    placed: dict[int, _Label] = {}
    for index in order:
        x, width = edges[index], widths[index]
        is_right = index == rightmost if is_narrow else marks[index].keeps_above
        sides = [(x + 3, x + 3 + width, "start"), (x - 3 - width, x - 3, "end")]
        fitting = [side for side in (sides if is_right else sides[::-1]) if side[0] >= LEFT and side[1] <= WIDTH]
        start, end, anchor, lane = next(
            (*side, lane)
            for lane in range(len(marks))
            for side in fitting or [(LEFT, LEFT + width, "start")]
            if not any(lane == other and side[0] < high and low < side[1] for other, low, high in taken)
        )
        taken.append((lane, start, end))
        placed[index] = _Label(words[index], start if anchor == "start" else end, anchor, lane)
    return [placed[index] for index in range(len(marks))]


def _marks(labels: Sequence[_Label], edges: Sequence[float], top: float) -> list[Markup]:
    """A line at each edge, and then all labels."""
    line = Markup('<line class="threshold" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>')
    lines = [line.format(x, top - 12 - LANE * label.lane, HEIGHT - BOTTOM) for label, x in zip(labels, edges)]
    texts = [
        text(label.x, top - 5 - LANE * label.lane, label.words, "threshold-label", label.anchor) for label in labels
    ]
    return lines + texts


def kept_chart(histogram: Histogram, marks: Sequence[Mark], unit: str) -> Markup:
    """The share that each rule alone would keep, against its threshold, on the axis of ``histogram_chart``."""
    bars = histogram.bars([mark.value for mark in marks])
    if not bars or not marks:
        return Markup("")
    positions, scale_x, edges = _spread(histogram, bars, marks)
    scale_y = linear(0, 1, CURVE_HEIGHT - BOTTOM, CURVE_TOP)
    parts: list[Markup] = [Markup('<text class="label" x="0" y="9">share kept, by threshold</text>')]
    for share in (0.0, 0.5, 1.0):
        y = scale_y(share)
        parts.append(
            Markup('<line class="grid" x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/>').format(LEFT, WIDTH - RIGHT, y)
        )
        parts.append(text(LEFT - 4, y + 3, f"{100 * share:.0f}\u00a0%", "tick", "end"))
    ticks = _axis_ticks(histogram, float(positions[0]), float(positions[-1]))
    parts += x_axis(ticks, scale_x, unit, WIDTH, CURVE_HEIGHT)
    for mark, edge in zip(marks, edges):
        parts.append(
            Markup('<line class="threshold" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(
                edge, CURVE_TOP, CURVE_HEIGHT - BOTTOM
            )
        )
        parts.append(_curve(histogram, mark, positions, ticks, scale_x, scale_y))
    are_apart = len(marks) == 1 or max(edges) - min(edges) > 14 * CHAR_WIDTH
    for mark, edge in zip(marks, edges):
        if mark.kept is not None:
            parts += _kept_now(mark.kept, mark.keeps_above, edge, scale_y(mark.kept), are_apart)
    return svg(parts, f"Share kept by threshold: {unit}", WIDTH, CURVE_HEIGHT)


def _kept_now(kept: float, keeps_above: bool, x: float, y: float, with_words: bool) -> list[Markup]:
    """A dot at the share that a rule keeps, with its label on the free side of the curve."""
    dot = Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(x, y)
    if not with_words:
        return [dot]
    is_high, words = kept > 0.5, percent(kept, 1)
    width = CHAR_WIDTH * len(words) + 5
    is_right = x - width < LEFT or (keeps_above != is_high and x + width <= WIDTH)
    place = (x + 5, "start") if is_right else (x - 5, "end")
    return [dot, text(place[0], y + 12 if is_high else y - 6, words, "value", place[1])]


def _curve(
    histogram: Histogram,
    mark: Mark,
    positions: np.ndarray,
    ticks: Sequence[tuple[float, str]],
    scale_x: Scale,
    scale_y: Scale,
) -> Markup:
    """The line of one rule. Its tooltip has the share at each tick."""
    shift = -_shift(histogram) if mark.keeps_above else _shift(histogram)
    low, high = np.ceil(positions[0] - shift), np.floor(positions[-1] - shift)
    places = np.unique(np.round(np.linspace(low, high, CURVE_POINTS)))
    shares = histogram.shares_kept(places, mark.keeps_above)
    is_bend = np.ones(len(places), dtype=bool)
    is_bend[1:-1] = (shares[1:-1] != shares[:-2]) | (shares[1:-1] != shares[2:])
    path = "".join(
        f"{'ML'[index > 0]}{scale_x(float(place) + shift):.1f} {scale_y(float(share)):.1f}"
        for index, (place, share) in enumerate(zip(places[is_bend], shares[is_bend]))
    )
    told = histogram.shares_kept(np.array([place for place, _ in ticks]), mark.keeps_above)
    sign = "≥" if mark.keeps_above else "≤"
    title = "; ".join(f"{sign} {label}: {percent(float(share), 1)} kept" for (_, label), share in zip(ticks, told))
    return Markup('<g><title>{}</title><path class="line a" d="{}"/></g>').format(title, Markup(path))


def _spread(histogram: Histogram, bars: Sequence[Bar], marks: Sequence[Mark]) -> tuple[np.ndarray, Scale, list[float]]:
    """Positions of the edges of the bars, the scale from positions to x, and the x of the thresholds."""
    shift = _shift(histogram)
    positions = histogram.position(np.array([bar.low for bar in bars] + [bars[-1].high])) - shift
    scale_x = linear(positions[0], positions[-1], LEFT, WIDTH - RIGHT)
    places = histogram.position(np.array([mark.value for mark in marks], dtype=np.float64))
    edges = [scale_x(float(place) + (-shift if mark.keeps_above else shift)) for mark, place in zip(marks, places)]
    return positions, scale_x, edges


def _shift(histogram: Histogram) -> float:
    """Half a cell for whole numbers, which are in the middle of their bars, while a threshold is at the edge of a
    bar."""
    return 0.5 if histogram.kind == "count" else 0.0


def _axis_ticks(histogram: Histogram, low: float, high: float) -> list[tuple[float, str]]:
    """(position, label) of round values between two positions of a histogram's axis."""
    if histogram.kind != "log":
        values = ticks_in(histogram.value(low), histogram.value(high), 6)
        if histogram.kind == "count":
            values = [value for value in values if float(value).is_integer() and value >= 0]
    else:
        first, last = math.floor(math.log10(histogram.value(low))), math.ceil(math.log10(histogram.value(high)))
        factors = (1,) if last - first > 3 else (1, 2, 5)
        decades = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        values = [0.0] if histogram.has_zero else []
        values += [value for value in decades if value >= histogram.lowest]
    places = histogram.position(np.array(values, dtype=np.float64))
    return [
        (float(place), compact(value)) for place, value in zip(places, values) if low - 1e-9 <= place <= high + 1e-9
    ]
