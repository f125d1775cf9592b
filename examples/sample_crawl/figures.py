"""The pictures that are not one big shape: a few shapes together, charts, maps and textures.

Each `invent_*` draws the attributes of a scene from a generator, each `draw_*` makes its picture: same scene, same
picture. Charts and maps are drawn with Pillow at three times the size and averaged down; 2-4 ms a picture.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from examples.sample_crawl.model import BACKGROUNDS, HELD_OUT_COMBINATIONS, KINDS, PALETTE, Scene

ENLARGEMENT = 3
INK = (60, 60, 66)
GRID = (222, 222, 226)
WATER = (120, 178, 232)
TREND_POINTS = 8
TRENDS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "rising": lambda t: 0.15 + 0.70 * t,
    "falling": lambda t: 0.85 - 0.70 * t,
    "peak": lambda t: 0.90 - 2.8 * (t - 0.5) ** 2,
    "dip": lambda t: 0.15 + 2.8 * (t - 0.5) ** 2,
}
"""The courses a line chart can take: functions of [0, 1] to [0, 1]."""

FIGURE_KINDS = ("shapes", "bar chart", "line chart", "map", "stripes", "checks", "gradient", "noise")
WITHOUT_BLUE = tuple(color for color in PALETTE if color != "blue")  # a blue bar, check or block would be a blue square


def _one(rng: Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _seed(rng: Generator) -> int:
    return int(rng.integers(2**31))


def invent_shapes(rng: Generator) -> Scene:
    """Two or three shapes of different colours in a row or a column; none of a held-out combination."""
    num_parts = int(rng.integers(2, 4))
    background = _one(rng, tuple(BACKGROUNDS))
    layout = _one(rng, ("row", "column"))
    long = 144 if num_parts == 2 else 180
    parts: list[Scene] = []
    for index, color in enumerate(rng.permutation(tuple(PALETTE))[:num_parts].tolist()):
        kind = _one(rng, tuple(k for k in KINDS if (color, k) not in HELD_OUT_COMBINATIONS))
        along = (index + 0.5 + float(rng.uniform(-0.12, 0.12))) / num_parts
        across = 0.5 + float(rng.uniform(-0.12, 0.12))
        x, y = (along, across) if layout == "row" else (across, along)
        parts.append(Scene(kind, color, "", background, "", "part", x, y))
    width, height = (long, 96) if layout == "row" else (96, long)
    return Scene(layout, parts[0].color, "", background, "", "shapes", parts=tuple(parts), width=width, height=height)


def invent_bars(rng: Generator) -> Scene:
    """Three to six bars of different heights, one clearly the tallest."""
    num_bars = int(rng.integers(3, 7))
    values = rng.permutation(np.linspace(0.40, 0.78, num_bars)) + rng.uniform(-0.01, 0.01, num_bars)
    values[int(rng.integers(num_bars))] = rng.uniform(0.90, 0.96)
    color = _one(rng, WITHOUT_BLUE)
    return Scene("bar chart", color, "", "white", "", "plot", values=tuple(values.tolist()), width=168, height=128)


def invent_line(rng: Generator) -> Scene:
    """A line through eight points which rises, falls, peaks or dips."""
    trend = _one(rng, tuple(TRENDS))
    t = np.linspace(0, 1, TREND_POINTS)
    values = TRENDS[trend](t) + rng.uniform(-0.045, 0.045, TREND_POINTS)
    color = _one(rng, tuple(PALETTE))
    return Scene(
        "line chart", color, "", "white", "", "plot", values=tuple(values.tolist()), detail=trend,
        width=168, height=128,
    )  # fmt: skip


def invent_map(rng: Generator) -> Scene:
    """Three to five regions of different colours, a river across them and a legend in a corner."""
    num_regions = int(rng.integers(3, 6))
    angles = (np.arange(num_regions) + rng.uniform(0, 1)) / num_regions * 2 * np.pi
    reach = rng.uniform(0.24, 0.36, num_regions)
    seeds = np.stack([0.5 + reach * np.cos(angles), 0.5 + reach * np.sin(angles)], axis=1)
    colors = rng.permutation(WITHOUT_BLUE)[:num_regions].tolist()
    parts = tuple(Scene("region", color, "", "", "", "part") for color in colors)
    river = _one(rng, ("north to south", "west to east"))
    place = _one(rng, ("top left", "top right", "bottom left", "bottom right"))
    return Scene(
        "map", colors[0], "", "", place, "map", parts=parts, values=tuple(seeds.ravel().tolist()), detail=river,
        seed=_seed(rng), width=176, height=136,
    )  # fmt: skip


def invent_texture(rng: Generator, kind: str) -> Scene:
    """A surface of one colour and one background colour: stripes, checks, gradient or noise."""
    color = _one(rng, WITHOUT_BLUE if kind in ("checks", "noise") else tuple(PALETTE))
    directions = {
        "stripes": ("horizontal", "vertical", "diagonal"),
        "gradient": ("top", "bottom", "left", "right"),  # where the colour is
    }
    detail = _one(rng, directions[kind]) if kind in directions else ""
    side = int(rng.choice([96, 112, 128]))
    return Scene(
        kind, color, "", _one(rng, tuple(BACKGROUNDS)), "", "texture", values=(float(rng.uniform(5, 9)),),
        detail=detail, seed=_seed(rng), width=side, height=side,
    )  # fmt: skip


def invent_figure(rng: Generator, kind: str | None = None) -> Scene:
    """A scene of one of FIGURE_KINDS, drawn evenly where none is named."""
    kind = kind or _one(rng, FIGURE_KINDS)
    simple = {"shapes": invent_shapes, "bar chart": invent_bars, "line chart": invent_line, "map": invent_map}
    return simple[kind](rng) if kind in simple else invent_texture(rng, kind)


def _axes(draw: ImageDraw.ImageDraw, width: int, height: int) -> tuple[float, float, float, float]:
    """Draws a grid, two axes and the numbers beside them; the plot's box in enlarged pixels (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = 0.14 * width, 0.06 * height, 0.96 * width, 0.88 * height
    font = ImageFont.load_default(size=0.075 * height)
    for tick in range(0, 101, 25):
        y = y1 - (y1 - y0) * tick / 100
        draw.line([(x0, y), (x1, y)], fill=GRID, width=2)
        draw.text((x0 - 6, y), str(tick), fill=INK, font=font, anchor="rm")
    draw.line([(x0, y0), (x0, y1), (x1, y1)], fill=INK, width=4)
    return x0, y0, x1, y1


def draw_plot(scene: Scene) -> Image.Image:
    """A bar or a line chart on white, with axes from 0 to 100."""
    width, height = scene.width * ENLARGEMENT, scene.height * ENLARGEMENT
    picture = Image.new("RGB", (width, height), BACKGROUNDS[scene.background])
    draw = ImageDraw.Draw(picture)
    x0, y0, x1, y1 = _axes(draw, width, height)
    step = (x1 - x0) / len(scene.values)
    if scene.kind == "bar chart":
        for index, value in enumerate(scene.values):
            left = x0 + (index + 0.25) * step
            draw.rectangle((left, y1 - (y1 - y0) * value, left + step / 2, y1 - 2), fill=PALETTE[scene.color])
    else:
        points = [(x0 + (index + 0.5) * step, y1 - (y1 - y0) * value) for index, value in enumerate(scene.values)]
        draw.line(points, fill=PALETTE[scene.color], width=9, joint="curve")
    return picture.reduce(ENLARGEMENT)


def draw_map(scene: Scene) -> Image.Image:
    """Voronoi regions, borders, a river and a legend."""
    width, height = scene.width * ENLARGEMENT, scene.height * ENLARGEMENT
    seeds = np.array(scene.values).reshape(-1, 2) * (width, height)
    rng = np.random.default_rng(scene.seed)
    wave = rng.uniform(0, 2 * np.pi, 2)
    x = np.arange(width)[None, :] + 9 * np.sin(np.arange(height)[:, None] / 23 + wave[0])  # borders that wander
    y = np.arange(height)[:, None] + 9 * np.sin(np.arange(width)[None, :] / 27 + wave[1])
    owner = np.argmin([(x - sx) ** 2 + (y - sy) ** 2 for sx, sy in seeds], axis=0)
    border = np.zeros(owner.shape, dtype=bool)
    border[:-2] |= owner[:-2] != owner[2:]
    border[:, :-2] |= owner[:, :-2] != owner[:, 2:]
    colors = np.array([PALETTE[part.color] for part in scene.parts], dtype=np.uint8)
    pixels = colors[owner]
    pixels[border] = INK
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    t = np.linspace(0, 1, 40)
    sway = 0.5 + 0.09 * np.sin(2 * np.pi * (1.3 * t + rng.uniform())) + 0.03 * np.sin(2 * np.pi * (3 * t))
    course = np.stack([sway * width, t * height] if scene.detail == "north to south" else [t * width, sway * height])
    draw.line([tuple(point) for point in course.T.tolist()], fill=WATER, width=15, joint="curve")
    _legend(draw, scene, width, height)
    return picture.reduce(ENLARGEMENT)


def _legend(draw: ImageDraw.ImageDraw, scene: Scene, width: int, height: int) -> None:
    row = 0.11 * height
    box_width, box_height = 0.22 * width, row * (len(scene.parts) + 0.5)
    left = 12 if "left" in scene.place else width - box_width - 12
    top = 12 if "top" in scene.place else height - box_height - 12
    draw.rectangle((left, top, left + box_width, top + box_height), fill=(250, 250, 250), outline=INK, width=3)
    font = ImageFont.load_default(size=0.8 * row)
    for index, part in enumerate(scene.parts):
        y = top + row * (index + 0.75)
        draw.rectangle((left + 14, y - 0.26 * row, left + 0.56 * box_width, y + 0.26 * row), fill=PALETTE[part.color])
        draw.text((left + 0.78 * box_width, y), "ABCDE"[index], fill=INK, font=font, anchor="mm")


def draw_texture(scene: Scene) -> Image.Image:
    """Stripes, checks, a gradient or noise between the scene's colour and its background."""
    height, width = scene.height, scene.width
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    period = scene.values[0] * 2
    match scene.kind, scene.detail:
        case "gradient", edge:
            share = {"top": 1 - y / height, "bottom": y / height, "left": 1 - x / width, "right": x / width}[edge]
            share = share ** (scene.values[0] / 7)
        case "checks", _:
            share = _wave(x, period) * _wave(y, period) + (1 - _wave(x, period)) * (1 - _wave(y, period))
        case "noise", _:
            share = np.random.default_rng(scene.seed).random((height // 4, width // 4)).repeat(4, 0).repeat(4, 1)
            share = (share > 0.5).astype(np.float32)
        case _, direction:
            along = {"horizontal": y, "vertical": x, "diagonal": (x + y) / np.sqrt(2)}[direction]
            share = _wave(along, period)
    low, high = (np.array(color, dtype=np.float32) for color in (BACKGROUNDS[scene.background], PALETTE[scene.color]))
    return Image.fromarray((low + share[:, :, None] * (high - low) + 0.5).astype(np.uint8))


def _wave(along: NDArray[np.float32], period: float) -> NDArray[np.float32]:
    """A square wave of mean 1/2 with edges one pixel soft, [0, 1]; lengths in pixels."""
    phase = along % period
    distance = np.minimum(np.minimum(phase, np.abs(phase - period / 2)), period - phase)
    return np.where(phase < period / 2, 0.5 + np.minimum(distance, 0.5), 0.5 - np.minimum(distance, 0.5))
