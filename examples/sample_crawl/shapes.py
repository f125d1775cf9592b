"""Draws one or a few plain shapes, anti-aliased.

A pixel's share of colour is its signed distance to the shape's edge, clipped to one pixel (exact for squares and
crosses), so that a place given to a fraction of a pixel shows in the picture: two pictures of the same words are
practically never the same pixels, which a grid of twice the resolution did not give. About 0.1 ms a picture of 64 px.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from examples.sample_crawl.model import BACKGROUNDS, PALETTE, RADII, Scene

EQUAL_AREA = 0.886  # half side of the square with the area of a circle of radius 1
ARM = 0.34  # half the width of a cross's arm, as a share of its radius
PART_RADIUS = 0.30  # of a shape in a picture of several, as a share of its cell


def inside(kind: str, u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which points lie in the shape. u (1, W) to the right and v (H, 1) downwards, in units of the radius -> (H, W)."""
    match kind:
        case "circle":
            return u * u + v * v <= 1
        case "square":
            return (np.abs(u) <= EQUAL_AREA) & (np.abs(v) <= EQUAL_AREA)
        case "triangle":  # isosceles, point up, as wide as high
            return (np.abs(u) <= (v + 1) / 2) & (v <= 1)
        case "cross":
            across = (np.abs(u) <= 1) & (np.abs(v) <= ARM)
            return across | ((np.abs(v) <= 1) & (np.abs(u) <= ARM))
    raise ValueError(f"kind {kind!r} is not a shape; known: circle, square, triangle, cross")


def _span(offset: NDArray[np.float32], half: float) -> NDArray[np.float32]:
    """How much of each pixel of a line lies within ``half`` of the origin, [0, 1]; pixels."""
    return np.clip(half + 0.5 - np.abs(offset), 0, 1)


def coverage(kind: str, width: int, height: int, x: float, y: float, radius: float) -> NDArray[np.float32]:
    """How much of each pixel the shape covers, [0, 1], (height, width); x, y, radius in pixels."""
    u = (np.arange(width, dtype=np.float32) + np.float32(0.5 - x))[None, :]
    v = (np.arange(height, dtype=np.float32) + np.float32(0.5 - y))[:, None]
    match kind:
        case "circle":
            return np.clip(radius + 0.5 - np.sqrt(u * u + v * v), 0, 1)
        case "square":
            return _span(u, EQUAL_AREA * radius) * _span(v, EQUAL_AREA * radius)
        case "triangle":  # the sloping sides rise by 2 on 1, so a step across is worth 2 / sqrt(5) of a distance
            slopes = np.clip(((v + radius) / 2 - np.abs(u)) * np.float32(2 / math.sqrt(5)) + 0.5, 0, 1)
            return slopes * np.clip(radius + 0.5 - v, 0, 1)
        case "cross":
            lying = _span(u, radius) * _span(v, ARM * radius)
            return np.maximum(lying, _span(u, ARM * radius) * _span(v, radius))
    raise ValueError(f"kind {kind!r} is not a shape; known: circle, square, triangle, cross")


def paint(canvas: NDArray[np.float32], cover: NDArray[np.float32], color: tuple[int, int, int]) -> None:
    """Blends a colour into the canvas (height, width, 3) where ``cover`` (height, width) says."""
    canvas += cover[:, :, None] * (np.array(color, dtype=np.float32) - canvas)


def draw_shapes(scene: Scene, width: int, height: int) -> NDArray[np.uint8]:
    """The picture of a scene of the family "shape" or "shapes": (height, width, 3) uint8."""
    canvas = np.empty((height, width, 3), dtype=np.float32)
    canvas[:] = BACKGROUNDS[scene.background]
    side = min(width, height)
    for part in scene.parts or (scene,):
        radius = RADII[part.size] * side if scene.family == "shape" else _part_radius(scene, width, height)
        cover = coverage(part.kind, width, height, part.x * width, part.y * height, radius)
        paint(canvas, cover, PALETTE[part.color])
    return (canvas + 0.5).astype(np.uint8)


def _part_radius(scene: Scene, width: int, height: int) -> float:
    """Pixels; the cells of a row share the width, those of a column the height."""
    num_parts = len(scene.parts)
    cell = min(width / num_parts, height) if scene.kind == "row" else min(width, height / num_parts)
    return PART_RADIUS * cell
