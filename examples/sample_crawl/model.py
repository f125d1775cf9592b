"""The data of a scene: the colours, the shapes, and the attributes that words about a picture may use.

Everything else in the sample crawl is derived from `Scene`: the picture is drawn from it (`shapes`, `figures`), the
words are written from it (`prose`), and `truth.jsonl` records it. So a caption cannot be wrong by accident.
"""

from __future__ import annotations

import dataclasses
from typing import Any

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (214, 39, 40),
    "green": (44, 160, 44),
    "blue": (38, 88, 214),
    "yellow": (242, 214, 36),
    "purple": (142, 50, 170),
    "orange": (247, 138, 22),
}
"""The six shape colours, sRGB."""

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (250, 250, 250),
    "black": (12, 12, 12),
    "gray": (132, 132, 132),
}
"""The three plain backgrounds, sRGB."""

KINDS = ("circle", "square", "triangle", "cross")
"""The four shapes of the level-6 scenes."""

RADII = {"small": 0.20, "large": 0.33}
"""Half the side of a shape's box, as a share of the picture's side."""

HELD_OUT_COMBINATIONS: frozenset[tuple[str, str]] = frozenset(
    {("red", "cross"), ("green", "triangle"), ("blue", "square"), ("purple", "circle")}
)
"""The (colour, kind) pairs that no picture and no text of the crawl shows. One a kind, at most one a colour."""

PLACE_MARGIN = 0.07
"""A centre nearer than this to the picture's middle, as a share of the side, counts as in the middle."""


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """One picture as its words know it, with what is needed to draw it again.

    ``family`` is "shape" (one big shape: the level-6 scenes), "shapes", "plot", "map" or "texture". Only "shape"
    fills ``size`` and ``place``; the other families put what they need into ``parts``, ``values`` and ``detail``.
    """

    kind: str  # circle ... | row | column | bar chart | line chart | map | stripes | checks | gradient | noise
    color: str
    size: str  # small | large; "" outside the family "shape"
    background: str
    place: str  # "top left" ... "middle" ... "bottom right"; "" outside the family "shape"
    family: str = "shape"
    x: float = 0.5  # centre, share of the width
    y: float = 0.5  # centre, share of the height
    parts: tuple[Scene, ...] = ()  # the single shapes of the family "shapes", in reading order
    values: tuple[float, ...] = ()  # bar heights, line points, region seeds; [0, 1]
    detail: str = ""  # horizontal | vertical | diagonal | rising ... | where the legend stands
    seed: int = 0  # of what is random inside the picture (noise, the course of a river)
    width: int = 64  # px
    height: int = 64  # px

    @property
    def combination(self) -> tuple[str, str]:
        return self.color, self.kind


def place_of(x: float, y: float) -> str:
    """The name of the place whose centre is (x, y), shares of the side: "top left", "middle", "right" ..."""
    down = "top" if y < 0.5 - PLACE_MARGIN else "bottom" if y > 0.5 + PLACE_MARGIN else ""
    across = "left" if x < 0.5 - PLACE_MARGIN else "right" if x > 0.5 + PLACE_MARGIN else ""
    return f"{down} {across}".strip() or "middle"


def describe(scene: Scene) -> dict[str, Any]:
    """The scene as a line of `truth.jsonl` states it: attributes only, not how to draw them."""
    facts: dict[str, Any] = {"family": scene.family, "kind": scene.kind, "color": scene.color}
    for name in ("size", "background", "place", "detail"):
        if value := getattr(scene, name):
            facts[name] = value
    if scene.parts:
        facts["parts"] = [{"kind": part.kind, "color": part.color} for part in scene.parts]
    return facts
