"""Charts of series, counts and intervals. Each line has its numbers as a tooltip."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

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
from gobelin.report.wording import compact, number

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """A series of a line chart; ``css`` is its class."""

    title: str
    points: Sequence[Point]
    css: str


def line_chart(
    lines: Sequence[Line], x_title: str, y_title: str, level: tuple[float, str] | None = None, width: int = WIDTH
) -> Markup:
    """Lines over common axes.

    Args:
        level: a value for a dashed horizontal line, and its label.
    """
    points = [point for line in lines for point in line.points]
    if not points:
        return Markup("")
    xs, ys = [x for x, _ in points], [y for _, y in points]
    if level is not None:
        ys.append(level[0])
    low, high = min(ys), max(ys)
    pad = 0.06 * (high - low) or 0.5
    scale_x = linear(min(xs), max(xs), LEFT, width - RIGHT)
    scale_y = linear(low - pad, high + pad, HEIGHT - BOTTOM, TOP)
    parts = [*y_axis(ticks_in(low - pad, high + pad), scale_y, y_title, width)]
    parts += x_axis([(tick, compact(tick)) for tick in ticks_in(min(xs), max(xs))], scale_x, x_title, width)
    if level is not None:
        y = scale_y(level[0])
        parts.append(
            Markup('<line class="level" x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/>').format(LEFT, width - RIGHT, y)
        )
    for line in lines:
        path = "".join(
            f"{'ML'[index > 0]}{scale_x(x):.1f} {scale_y(y):.1f}" for index, (x, y) in enumerate(line.points)
        )
        title = f"{line.title}: {number(line.points[0][1])} to {number(line.points[-1][1])}" if line.points else ""
        parts.append(
            Markup('<g><title>{}</title><path class="line {}" d="{}"/></g>').format(title, line.css, Markup(path))
        )
    if level is not None:
        parts.append(_level_label(level, lines, scale_x, scale_y, width))
    return svg(parts, f"{y_title} by {x_title}", width)


def _level_label(
    level: tuple[float, str],
    lines: Sequence[Line],
    scale_x: Scale,
    scale_y: Scale,
    width: int,
) -> Markup:
    """The label of a level, above or below its line, left or right, wherever the chart's lines leave most room."""
    y, words = scale_y(level[0]), level[1]
    length = CHAR_WIDTH * len(words)

    def num_crossings(start: float, bottom: float) -> int:
        samples = np.linspace(start, start + length, 40)
        heights = [
            np.interp(samples, *np.array([(scale_x(x), scale_y(y)) for x, y in line.points]).T) for line in lines
        ]
        return sum(int(((bottom - 11 < height) & (height < bottom + 2)).sum()) for height in heights)

    places = [(start, bottom) for bottom in (y - 3, y + 11) for start in (width - RIGHT - length, LEFT + 2)]
    start, bottom = min(places, key=lambda place: num_crossings(*place))
    return text(start, bottom, words, "value", "start") if start == LEFT + 2 else text(
        width - RIGHT, bottom, words, "value", "end"
    )  # fmt: skip


def rank_chart(counts: Sequence[int], x_title: str, y_title: str) -> Markup:
    """Counts in descending order, as an area that shows how evenly something is used."""
    bars = min(len(counts), WIDTH - LEFT - RIGHT)
    groups = np.array_split(np.asarray(counts, dtype=np.float64), bars)
    heights = [float(group.mean()) for group in groups]
    scale_x = linear(0, len(counts), LEFT, WIDTH - RIGHT)
    scale_y = linear(0, max([*heights, 1.0]), HEIGHT - BOTTOM, TOP)
    parts = [*y_axis(ticks_in(0, max([*heights, 1.0])), scale_y, y_title)]
    start = 0
    for group, height in zip(groups, heights):
        left, right = scale_x(start), scale_x(start + len(group))
        parts.append(rect(left, scale_y(height), right - left, scale_y(0) - scale_y(height), "pass"))
        start += len(group)
    parts += x_axis([(tick, compact(tick)) for tick in ticks_in(0, len(counts))], scale_x, x_title)
    return svg(parts, f"{y_title} by {x_title}")


def interval_chart(rows: Sequence[tuple[str, float, float, float]], x_title: str) -> Markup:
    """A dot with its interval for each (title, mean, low, high), and a line at zero."""
    if not rows:
        return Markup("")
    height = TOP + 34 * len(rows) + BOTTOM
    low, high = min(0.0, *(row[2] for row in rows)), max(0.0, *(row[3] for row in rows))
    pad = 0.08 * (high - low) or 0.5
    scale_x = linear(low - pad, high + pad, LEFT, WIDTH - RIGHT)
    zero = Markup('<line class="level" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>')
    parts: list[Markup] = [zero.format(scale_x(0), TOP - 8, height - BOTTOM)]
    for index, (title, mean, start, end) in enumerate(rows):
        y = TOP + 34 * index + 18
        parts.append(text(LEFT, y - 10, title, "label", "start"))
        parts.append(
            Markup('<g><title>{}</title><path class="line a" d="M{:.1f} {}H{:.1f}"/>').format(
                f"{number(mean)} [{number(start)}, {number(end)}]", scale_x(start), y, scale_x(end)
            )
        )
        parts.append(Markup('<circle class="dot" cx="{:.1f}" cy="{}" r="4"/></g>').format(scale_x(mean), y))
    parts += x_axis(
        [(tick, compact(tick)) for tick in ticks_in(low - pad, high + pad)], scale_x, x_title, WIDTH, height
    )
    return svg(parts, x_title, WIDTH, height)
