"""Drawings of seventeen kinds for ``duplicates_images.py``: families of pictures that differ in one small thing each.

``draw(kind, family, variant)`` always gives the same picture. Variant 0 of a family is its base. Every other variant
differs from the base in one place: one chess piece, one digit, one note, one door. No two variants are copies of one
another. Everything is made by Pillow with its own font: no file, no network.

``TUNED`` are the kinds on which the thresholds of gobelin's near-duplicate images were chosen, with families below
``FIRST_HELD_OUT_FAMILY``. ``HELD_OUT`` are kinds that no threshold was chosen on.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

Picture = PillowImage.Image
Random = np.random.Generator

FIRST_HELD_OUT_FAMILY = 12000
"""Families from this number on were never used to choose a threshold."""

_WORDS = [
    "alpha", "river", "north", "profile", "export", "summer", "yield", "index",
    "market", "signal", "branch", "table", "origin", "water", "energy", "cost",
]  # fmt: skip
_PIECES = "KQRBNP"


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _canvas(width: int, height: int, ground: str = "white") -> tuple[Picture, ImageDraw.ImageDraw]:
    picture = PillowImage.new("RGB", (width, height), ground)
    return picture, ImageDraw.Draw(picture)


def board(base: Random, change: Random | None) -> Picture:
    """A chess position; changed: one piece stands on another square."""
    side = int(base.choice([24, 32, 40, 48]))
    dark = str(base.choice(["#b58863", "#769656", "#8ca2ad", "#999999"]))
    squares = base.permutation(64)[: int(base.integers(8, 26))].tolist()
    pieces = [(square, str(base.choice(list(_PIECES))), bool(base.random() < 0.5)) for square in squares]
    if change is not None:
        place = int(change.integers(len(pieces)))
        free = [square for square in range(64) if square not in squares]
        pieces[place] = (int(change.choice(free)), *pieces[place][1:])
    picture, pen = _canvas(8 * side, 8 * side, "#f0e9d2")
    for square in range(64):
        x, y = square % 8 * side, square // 8 * side
        if (square + square // 8) % 2:
            pen.rectangle((x, y, x + side - 1, y + side - 1), fill=dark)
    for square, piece, is_white in pieces:
        x, y = square % 8 * side + side // 2, square // 8 * side + side // 2
        pen.ellipse((x - side * 0.36, y - side * 0.36, x + side * 0.36, y + side * 0.36),
                    fill="white" if is_white else "#303030", outline="black")  # fmt: skip
        pen.text((x, y), piece, fill="black" if is_white else "white", font=font(side // 2), anchor="mm")
    return picture


def formula(base: Random, change: Random | None) -> Picture:
    """A line of symbols with indices and a fraction; changed: one symbol."""
    size = int(base.choice([16, 20, 26, 34]))
    symbols = list("abcdefghkmnpqrstuvwxyzABCDEFGHKLMNPQRSTUVWXYZ0123456789")
    line = [(str(base.choice(symbols)), str(base.choice(["=", "+", "-", "(", ")", "", ""])),
             int(base.integers(0, 4))) for _ in range(int(base.integers(4, 10)))]  # fmt: skip
    if change is not None:
        place = int(change.integers(len(line)))
        other = [symbol for symbol in symbols if symbol != line[place][0]]
        line[place] = (str(change.choice(other)), *line[place][1:])
    picture, pen = _canvas(int(len(line) * size * 1.45) + size, size * 3)
    x = size // 2
    for symbol, operator, kind in line:
        if kind == 3:  # a fraction
            pen.text((x + size * 0.4, size * 0.8), symbol, fill="black", font=font(size), anchor="mm")
            pen.line((x, size * 1.5, x + size * 0.8, size * 1.5), fill="black", width=max(1, size // 14))
            pen.text((x + size * 0.4, size * 2.2), "2", fill="black", font=font(size), anchor="mm")
        else:
            pen.text((x + size * 0.4, size * 1.5), symbol, fill="black", font=font(size), anchor="mm")
            if kind:
                height = size * (1.0 if kind == 1 else 2.0)
                pen.text(
                    (x + size * 0.85, height), "n2"[kind - 1], fill="black", font=font(size * 6 // 10), anchor="mm"
                )
        pen.text((x + size * 1.2, size * 1.5), operator, fill="black", font=font(size), anchor="mm")
        x += int(size * 1.45)
    return picture


def line_plot(base: Random, change: Random | None) -> Picture:
    """Axes, ticks and two to four curves; changed: one curve has other values from some point on."""
    width, height = int(base.choice([320, 480, 640])), int(base.choice([240, 320, 480]))
    curves = [np.cumsum(base.normal(0, 1, 24)) for _ in range(int(base.integers(2, 5)))]
    colours = base.permutation(["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728"]).tolist()
    low, high = min(curve.min() for curve in curves) - 1, max(curve.max() for curve in curves) + 1
    if change is not None:
        place, start = int(change.integers(len(curves))), int(change.integers(6, 16))
        moved = curves[place].copy()
        moved[start:] += np.cumsum(change.normal(0, 1, 24 - start))
        curves[place] = np.clip(moved, low, high)
    picture, pen = _axes(width, height, base)
    for curve, colour in zip(curves, colours, strict=False):
        points = [(40 + (width - 60) * at / 23, height - 30 - (height - 50) * (value - low) / (high - low))
                  for at, value in enumerate(curve)]  # fmt: skip
        pen.line(points, fill=colour, width=2)
    return picture


def _axes(width: int, height: int, base: Random) -> tuple[Picture, ImageDraw.ImageDraw]:
    picture, pen = _canvas(width, height)
    pen.rectangle((40, 20, width - 20, height - 30), outline="black")
    top = int(base.choice([1, 10, 50, 100]))
    for tick in range(6):
        x, y = 40 + (width - 60) * tick / 5, height - 30 - (height - 50) * tick / 5
        pen.text((x, height - 22), f"{tick * 4}", fill="black", font=font(11), anchor="mt")
        pen.text((35, y), f"{top * tick / 5:g}", fill="black", font=font(11), anchor="rm")
    pen.text(
        (width / 2, 4), f"{base.choice(_WORDS)} by {base.choice(_WORDS)}", fill="black", font=font(12), anchor="mt"
    )
    return picture, pen


def bar_chart(base: Random, change: Random | None) -> Picture:
    """Bars with labels; changed: one bar is at least a tenth of the height longer or shorter."""
    width, height = int(base.choice([320, 480, 640])), int(base.choice([240, 360, 480]))
    values = base.uniform(0.1, 0.95, int(base.integers(5, 14)))
    if change is not None:
        place = int(change.integers(len(values)))
        step = change.uniform(0.1, 0.3)
        values[place] += -step if values[place] > 0.5 else step
    picture, pen = _axes(width, height, base)
    colour, step = str(base.choice(["#4c72b0", "#55a868", "#c44e52", "#777777"])), (width - 60) / len(values)
    for at, value in enumerate(values):
        x = 40 + step * (at + 0.15)
        pen.rectangle((x, height - 30 - (height - 50) * value, x + step * 0.7, height - 30), fill=colour)
    return picture


def table(base: Random, change: Random | None) -> Picture:
    """Rows of numbers; changed: the digits of one number."""
    rows, columns, size = int(base.integers(5, 14)), int(base.integers(3, 6)), int(base.choice([12, 14, 16]))
    numbers = base.integers(1000, 10000, (rows, columns))
    if change is not None:
        place = int(change.integers(rows)), int(change.integers(columns))
        numbers[place] = int((numbers[place] - 1000 + change.integers(1111, 7000)) % 9000) + 1000
    wide, tall = size * 5, size * 2
    picture, pen = _canvas(wide * (columns + 1) + 2, tall * (rows + 1) + 2)
    pen.rectangle((0, 0, picture.width, tall), fill="#dddddd")
    for row in range(rows + 1):
        pen.line((0, (row + 1) * tall, picture.width, (row + 1) * tall), fill="#aaaaaa")
        for column in range(columns + 1):
            words = row == 0 or column == 0
            text = str(base.choice(_WORDS)) if words else f"{numbers[row - 1, column - 1] / 100:.2f}"
            pen.text(
                (column * wide + wide - 6, row * tall + tall / 2), text, fill="black", font=font(size), anchor="rm"
            )
    return picture


def street_map(base: Random, change: Random | None) -> Picture:
    """Streets, parks, a river and a route; changed: the route turns over 20 pixels further on."""
    width, height = int(base.choice([400, 512, 640])), int(base.choice([300, 400, 512]))
    picture, pen = _canvas(width, height, "#f2efe9")
    for _ in range(4):
        x, y = base.uniform(0, width), base.uniform(0, height)
        pen.rectangle((x, y, x + base.uniform(30, 120), y + base.uniform(30, 120)), fill="#c8e6b9")
    across = np.sort(base.uniform(0, width, 9)).tolist()
    down = np.sort(base.uniform(0, height, 7)).tolist()
    for x in across:
        pen.line((x, 0, x + base.normal(0, 20), height), fill="white", width=int(base.choice([3, 5, 8])))
    for y in down:
        pen.line((0, y, width, y + base.normal(0, 20)), fill="white", width=int(base.choice([3, 5, 8])))
    start, end = int(base.integers(0, 3)), int(base.integers(5, 8))
    turn = int(base.integers(1, 7))
    if change is not None:
        turn = int(change.choice([at for at in range(9) if abs(across[at] - across[turn]) > 20]))
    middle = across[turn]
    route = [
        (across[0], down[start % 3]),
        (middle, down[start % 3]),
        (middle, down[end - 1]),
        (across[8], down[end - 1]),
    ]
    pen.line(route, fill="#d62f2f", width=4)
    for _ in range(6):
        pen.text((base.uniform(20, width - 60), base.uniform(10, height - 10)), str(base.choice(_WORDS)),
                 fill="#444444", font=font(11), anchor="lm")  # fmt: skip
    return picture


def qr_code(base: Random, change: Random | None) -> Picture:
    """Three finder patterns and random modules; changed: a third of the modules, as another content has."""
    modules, scale = int(base.choice([25, 29, 33])), int(base.choice([4, 6, 8]))
    dark = base.random((modules, modules)) < 0.5
    if change is not None:
        dark ^= change.random((modules, modules)) < 0.33
    for y, x in ((0, 0), (0, modules - 7), (modules - 7, 0)):
        dark[max(0, y - 1) : y + 8, max(0, x - 1) : x + 8] = False
        dark[y : y + 7, x : x + 7] = True
        dark[y + 1 : y + 6, x + 1 : x + 6] = False
        dark[y + 2 : y + 5, x + 2 : x + 5] = True
    pixels = np.kron(np.pad(~dark, 4, constant_values=True), np.ones((scale, scale), bool))
    return PillowImage.fromarray((pixels * 255).astype(np.uint8)).convert("RGB")


def floor_plan(base: Random, change: Random | None) -> Picture:
    """Walls, doors and names of rooms; changed: one door is in another place of its wall."""
    width, height = int(base.choice([420, 560])), int(base.choice([320, 440]))
    picture, pen = _canvas(width, height)
    xs = [20, *sorted(base.uniform(width * 0.25, width * 0.8, 2).tolist()), width - 20]
    y = float(base.uniform(height * 0.35, height * 0.65))
    doors = base.uniform(0.15, 0.45, 5)
    if change is not None:
        doors[int(change.integers(5))] += change.uniform(0.15, 0.35)
    pen.rectangle((20, 20, width - 20, height - 20), outline="black", width=5)
    pen.line((20, y, width - 20, y), fill="black", width=4)
    walls = [((xs[at], 20), (xs[at], y)) for at in (1, 2)] + [((xs[at], y), (xs[at + 1], y)) for at in range(3)]
    for at, ((x0, y0), (x1, y1)) in enumerate(walls):
        pen.line((x0, y0, x1, y1), fill="black", width=4)
        x, top = x0 + (x1 - x0) * doors[at], y0 + (y1 - y0) * doors[at]
        gap = (x - 3, top, x + 3, top + 26) if x0 == x1 else (x, top - 3, x + 26, top + 3)
        pen.rectangle(gap, fill="white")
        pen.arc((x - 26, top - 26, x + 26, top + 26), 0, 90, fill="black")
    for at in range(3):
        pen.text(((xs[at] + xs[at + 1]) / 2, y / 2), str(base.choice(_WORDS)), fill="black", font=font(13), anchor="mm")
    return picture


def screenshot(base: Random, change: Random | None) -> Picture:
    """A window with a menu and a list; changed: the words of one row."""
    width, height = int(base.choice([480, 640, 800])), int(base.choice([360, 480, 600]))
    picture, pen = _canvas(width, height)
    pen.rectangle((0, 0, width, 30), fill="#2d3e50")
    pen.rectangle((0, 30, width // 4, height), fill="#ecf0f1")
    pen.text((10, 15), " ".join(base.choice(_WORDS, 3)), fill="white", font=font(14), anchor="lm")
    for at in range(8):
        pen.text((12, 50 + 26 * at), str(base.choice(_WORDS)), fill="#222222", font=font(13), anchor="lm")
    rows = [" ".join(base.choice(_WORDS, int(base.integers(2, 5)))) for _ in range((height - 60) // 28)]
    if change is not None:
        place = int(change.integers(len(rows)))
        rows[place] = " ".join(change.permutation([word for word in _WORDS if word not in rows[place]])[:3])
    for at, row in enumerate(rows):
        y = 52 + 28 * at
        pen.rectangle((width // 4 + 14, y - 7, width // 4 + 28, y + 7), fill="#3498db" if at % 3 else "#e67e22")
        pen.text((width // 4 + 40, y), row, fill="#333333", font=font(13), anchor="lm")
        pen.line((width // 4, y + 14, width, y + 14), fill="#dddddd")
    return picture


def sheet_music(base: Random, change: Random | None) -> Picture:
    """Staves with notes; changed: one note is two to four steps higher or lower."""
    width, staves, gap = int(base.choice([400, 560, 720])), int(base.integers(1, 5)), int(base.choice([8, 10]))
    notes = base.integers(-2, 10, (staves, width // 40))
    if change is not None:
        place = int(change.integers(staves)), int(change.integers(notes.shape[1]))
        notes[place] += int(change.integers(2, 5)) * (-1 if notes[place] > 4 else 1)
    picture, pen = _canvas(width, staves * gap * 10 + 20)
    for stave in range(staves):
        top = 20 + stave * gap * 10 + gap * 2
        for line in range(5):
            pen.line((10, top + line * gap, width - 10, top + line * gap), fill="black")
        for at, note in enumerate(notes[stave].tolist()):
            x, y = 35 + at * 38, top + 4 * gap - note * gap / 2
            pen.ellipse((x - gap * 0.65, y - gap * 0.48, x + gap * 0.65, y + gap * 0.48), fill="black")
            pen.line((x + gap * 0.6, y, x + gap * 0.6, y - gap * 3), fill="black", width=2)
    return picture


def sprite(base: Random, change: Random | None) -> Picture:
    """A symmetric figure of few colours on a grid; changed: some cells."""
    cells, scale = int(base.choice([12, 16])), int(base.choice([6, 10, 16]))
    palette = np.concatenate([[[255, 255, 255]], base.integers(0, 256, (3, 3))]).astype(np.uint8)
    half = base.choice(4, (cells, cells // 2), p=[0.45, 0.25, 0.2, 0.1])
    if change is not None:
        for _ in range(3):
            place = int(change.integers(cells)), int(change.integers(cells // 2))
            half[place] = (half[place] + 2) % 4 if half[place] % 2 == 0 else 0
    grid = np.kron(np.concatenate([half, half[:, ::-1]], 1), np.ones((scale, scale), int))
    return PillowImage.fromarray(palette[grid])


def handwriting(base: Random, change: Random | None) -> Picture:
    """A grid of characters as exercise sheets show them, each of random strokes; changed: one character."""
    columns, rows, side = int(base.integers(4, 9)), int(base.integers(2, 6)), int(base.choice([40, 56]))
    glyphs = [[base.uniform(0.15, 0.85, (4, 2)) for _ in range(3)] for _ in range(columns * rows)]
    if change is not None:
        glyphs[int(change.integers(len(glyphs)))] = [change.uniform(0.15, 0.85, (4, 2)) for _ in range(3)]
    picture, pen = _canvas(columns * side + 1, rows * side + 1)
    for at, strokes in enumerate(glyphs):
        x, y = at % columns * side, at // columns * side
        pen.rectangle((x, y, x + side, y + side), outline="#99bbdd")
        for stroke in strokes:
            pen.line([(x + side * px, y + side * py) for px, py in stroke], fill="#222244", width=2)
    return picture


def network(base: Random, change: Random | None) -> Picture:
    """Named boxes and edges; changed: one edge ends elsewhere."""
    width, height, count = int(base.choice([400, 560])), int(base.choice([300, 420])), int(base.integers(6, 10))
    angles = [2 * math.pi * at / count for at in range(count)]
    places = [
        (width / 2 + width * 0.38 * math.cos(each), height / 2 + height * 0.38 * math.sin(each)) for each in angles
    ]
    edges = [(int(at), int((at + base.integers(1, count)) % count)) for at in range(count)]
    if change is not None:
        at = int(change.integers(count))
        free = [other for other in range(count) if other not in (at, edges[at][1]) and (other, at) not in edges]
        edges[at] = (at, int(change.choice(free)))
    picture, pen = _canvas(width, height)
    for a, b in edges:
        pen.line((*places[a], *places[b]), fill="black", width=2)
    for x, y in places:
        pen.rectangle((x - 32, y - 12, x + 32, y + 12), fill="#fff3c4", outline="black")
        pen.text((x, y), str(base.choice(_WORDS)), fill="black", font=font(12), anchor="mm")
    return picture


def calendar(base: Random, change: Random | None) -> Picture:
    """A month with appointments; changed: one appointment is on another day."""
    side, start = int(base.choice([56, 72, 90])), int(base.integers(7))
    days = base.permutation(30)[: int(base.integers(5, 12))].tolist()
    words = [str(base.choice(_WORDS)) for _ in days]
    if change is not None:
        days[int(change.integers(len(days)))] = int(change.choice([day for day in range(30) if day not in days]))
    picture, pen = _canvas(7 * side + 1, 6 * side // 2 * 2 + 1)
    for day in range(30):
        x, y = (day + start) % 7 * side, (day + start) // 7 * side
        pen.rectangle((x, y, x + side, y + side), outline="#999999")
        pen.text((x + 4, y + 3), str(day + 1), fill="#555555", font=font(11))
    for day, word in zip(days, words, strict=True):
        x, y = (day + start) % 7 * side, (day + start) // 7 * side
        pen.rectangle((x + 3, y + side // 2, x + side - 3, y + side // 2 + 16), fill="#d0e2ff")
        pen.text((x + 6, y + side // 2 + 2), word[:7], fill="black", font=font(11))
    return picture


def scatter_plot(base: Random, change: Random | None) -> Picture:
    """Axes and points of two series; changed: three points are elsewhere."""
    width, height = int(base.choice([360, 480, 640])), int(base.choice([280, 360, 480]))
    points = base.uniform(0.03, 0.97, (int(base.integers(20, 60)), 2))
    if change is not None:
        points[change.permutation(len(points))[:3]] = change.uniform(0.03, 0.97, (3, 2))
    picture, pen = _axes(width, height, base)
    for at, (across, up) in enumerate(points.tolist()):
        x, y = 40 + (width - 60) * across, height - 30 - (height - 50) * up
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill="#1f77b4" if at % 2 else "#ff7f0e")
    return picture


def listing(base: Random, change: Random | None) -> Picture:
    """Lines of a program on a dark ground; changed: one line."""
    size, count = int(base.choice([13, 15, 18])), int(base.integers(8, 22))
    lines = [(int(base.integers(4)), " ".join(base.choice(_WORDS, int(base.integers(2, 6))))) for _ in range(count)]
    if change is not None:
        place = int(change.integers(count))
        lines[place] = (lines[place][0], " ".join(change.permutation(_WORDS)[: int(change.integers(2, 6))]))
    picture, pen = _canvas(size * 34, count * (size + 6) + 16, "#1e1e2e")
    for at, (depth, words) in enumerate(lines):
        ink = ["#cdd6f4", "#a6e3a1", "#f9e2af"][at % 3]
        pen.text((10 + depth * 2 * size, 8 + at * (size + 6)), words, fill=ink, font=font(size))
    return picture


def crossword(base: Random, change: Random | None) -> Picture:
    """A grid of black and white squares with letters; changed: one square is black or white."""
    cells, side = int(base.integers(9, 16)), int(base.choice([22, 28, 34]))
    black = base.random((cells, cells)) < 0.2
    letters = base.integers(26, size=(cells, cells))
    if change is not None:
        black[int(change.integers(cells)), int(change.integers(cells))] ^= True
    picture, pen = _canvas(cells * side + 1, cells * side + 1)
    for y in range(cells):
        for x in range(cells):
            box = (x * side, y * side, x * side + side, y * side + side)
            pen.rectangle(box, outline="black", fill="black" if black[y, x] else "white")
            if not black[y, x] and (x + y) % 3:
                pen.text((x * side + side / 2, y * side + side / 2), chr(65 + int(letters[y, x])), fill="black",
                         font=font(side // 2), anchor="mm")  # fmt: skip
    return picture


TUNED: dict[str, Callable[[Random, Random | None], Picture]] = {
    "board": board, "formula": formula, "line plot": line_plot, "bar chart": bar_chart, "table": table,
    "map": street_map,
}  # fmt: skip
HELD_OUT: dict[str, Callable[[Random, Random | None], Picture]] = {
    "QR code": qr_code, "floor plan": floor_plan, "screenshot": screenshot, "sheet music": sheet_music,
    "sprite": sprite, "handwriting": handwriting, "network": network, "calendar": calendar,
    "scatter plot": scatter_plot, "listing": listing, "crossword": crossword,
}  # fmt: skip


def draw(kind: str, family: int, variant: int) -> Picture:
    """The picture of a kind, a family (0 and up) and a variant (0: the base)."""
    make = {**TUNED, **HELD_OUT}[kind]
    seed = [sum(kind.encode()), family]
    return make(np.random.default_rng(seed), np.random.default_rng([*seed, variant]) if variant else None)
