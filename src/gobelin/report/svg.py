"""Parts of charts as inline SVG. All words are escaped.

Colours come from the page's style sheet (classes), so that a chart follows light and dark mode. A chart is 360 units
wide and is shown at about 360 pixels, so that its text is readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

from gobelin.report.wording import compact

WIDTH, HEIGHT = 360, 198
LEFT, RIGHT, TOP, BOTTOM = 42, 8, 30, 36

CHAR_WIDTH = 6.7
"""Units that a letter takes at most, on average over a label, in the fonts that browsers fall back to."""

Scale = Callable[[float], float]
"""A value -> its place in units."""


def svg(parts: Sequence[Markup], title: str, width: int = WIDTH, height: int = HEIGHT) -> Markup:
    """A whole chart. ``title`` is its text alternative for screen readers."""
    head = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(width, height, title)
    return head + Markup("").join(parts) + Markup("</svg>")


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """The scale that maps ``low`` to ``start`` and ``high`` to ``end``."""
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def rect(x: float, y: float, width: float, height: float, css: str) -> Markup:
    """A bar."""
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        css, x, y, max(width, 0.5), height
    )


def text(x: float, y: float, words: str, css: str, anchor: str) -> Markup:
    """A text. ``anchor`` says which part of it is at ``x``: start, middle or end."""
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        css, x, y, anchor, escape(words)
    )


def x_axis(
    ticks: Sequence[tuple[float, str]], scale: Scale, title: str, width: int = WIDTH, height: int = HEIGHT
) -> list[Markup]:
    """The line at the bottom, its ticks, and its title. Leaves out tick labels that would overlap."""
    base = height - BOTTOM
    parts = [Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, width - RIGHT, base, base)]
    taken = -math.inf  # where the words of the tick before end
    for place, label in ticks:
        x, half = scale(place), CHAR_WIDTH * len(label) / 2
        middle = min(x, width - half)
        if middle - half < taken + 5:
            continue
        taken = middle + half
        parts.append(
            Markup('<line class="axis" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(x, base, base + 3)
        )
        parts.append(text(middle, base + 14, label, "tick", "middle"))
    return [*parts, text((LEFT + width - RIGHT) / 2, height - 6, title, "label", "middle")]


def y_axis(ticks: Sequence[float], scale: Scale, title: str, width: int = WIDTH) -> list[Markup]:
    """Horizontal lines with their numbers, and the title."""
    parts = [Markup('<text class="label" x="0" y="9">{}</text>').format(title)]
    for tick in ticks:
        y = scale(tick)
        parts.append(
            Markup('<line class="grid" x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/>').format(LEFT, width - RIGHT, y)
        )
        parts.append(text(LEFT - 4, y + 3, compact(tick), "tick", "end"))
    return parts


def ticks_in(low: float, high: float, most: int = 5) -> list[float]:
    """About ``most`` round numbers in [low, high]."""
    span = (high - low) or 1.0
    rough = span / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 10) for index in range(first, math.floor(high / step + 1e-9) + 1)]
