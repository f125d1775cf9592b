"""Scenes: the contents of a picture, the picture itself, and true words about it. Other modules import this one.

The main kind is the *level-6 scene*: one big shape on a plain ground (6 colours x 4 kinds less `HELD_OUT_COMBINATIONS`,
2 sizes, 3 backgrounds, any place). `draw_scene` and `draw_figure` invent a scene, `render_scene` makes its picture,
`caption` and `paragraph` its words, and `clip_pairs` gives what a small CLIP needs to learn to tell them apart.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from PIL import Image

from examples.sample_crawl.figure_prose import figure_caption, figure_paragraph
from examples.sample_crawl.figures import draw_map, draw_plot, draw_texture, invent_figure
from examples.sample_crawl.model import BACKGROUNDS as BACKGROUNDS
from examples.sample_crawl.model import HELD_OUT_COMBINATIONS as HELD_OUT_COMBINATIONS
from examples.sample_crawl.model import KINDS as KINDS
from examples.sample_crawl.model import PALETTE as PALETTE
from examples.sample_crawl.model import RADII, Scene, place_of
from examples.sample_crawl.page_prose import with_caption_line
from examples.sample_crawl.prose import CAPTIONS, Deck, shape_caption, shape_paragraph
from examples.sample_crawl.shapes import draw_shapes

NUM_PHRASINGS = len(CAPTIONS)
MARGIN = 0.03
"""The least distance of a shape from the picture's edge, as a share of the side."""

CLIP_STREAM = 0xC11F
"""First word of the seeds of `clip_pairs`; the crawl's seeds start with another, so no draw is shared."""

FIGURE_SHARE = 0.2  # of the CLIP pairs
PARAGRAPH_SHARE = 0.3  # of the CLIP pairs
CAPTION_LINE_SHARE = 0.33  # of the captions among them

SEEN_COMBINATIONS = tuple((c, k) for c in PALETTE for k in KINDS if (c, k) not in HELD_OUT_COMBINATIONS)
_COMBINATIONS = {"seen": SEEN_COMBINATIONS, "held_out": tuple(sorted(HELD_OUT_COMBINATIONS))}


def draw_scene(rng: Generator, split: str = "seen") -> Scene:
    """A level-6 scene, evenly drawn; ``split`` "seen" never gives a held-out combination, "held_out" nothing else."""
    combinations = _COMBINATIONS[split]
    color, kind = combinations[int(rng.integers(len(combinations)))]
    size = "large" if rng.random() < 0.5 else "small"
    background = tuple(BACKGROUNDS)[int(rng.integers(len(BACKGROUNDS)))]
    margin = RADII[size] + MARGIN
    x, y = rng.uniform(margin, 1 - margin, 2).tolist()
    return Scene(kind, color, size, background, place_of(x, y), x=x, y=y)


def draw_figure(rng: Generator, kind: str | None = None) -> Scene:
    """A scene of another family: several shapes, a chart, a map or a texture (`figures.FIGURE_KINDS`)."""
    return invent_figure(rng, kind)


def render_scene(scene: Scene, size: int | None = None) -> Image.Image:
    """The picture, RGB. ``size`` (pixels a side) replaces the scene's own size; for the family "shape" only."""
    if scene.family in ("shape", "shapes"):
        return Image.fromarray(draw_shapes(scene, size or scene.width, size or scene.height))
    return {"plot": draw_plot, "map": draw_map, "texture": draw_texture}[scene.family](scene)


def caption(scene: Scene, phrasing: int) -> str:
    """A true caption in one of NUM_PHRASINGS ways; for level-6 scenes each names at least colour and kind."""
    return shape_caption(scene, phrasing) if scene.family == "shape" else figure_caption(scene, phrasing)


def paragraph(scene: Scene, rng: Generator) -> str:
    """Two or three true sentences about the picture."""
    return paragraphs((scene,), rng)[0]


def paragraphs(scenes: tuple[Scene, ...], rng: Generator) -> list[str]:
    """One paragraph a scene, with no sentence template used twice before all of them have been used."""
    deck = Deck(rng)
    return [shape_paragraph(s, deck) if s.family == "shape" else figure_paragraph(s, deck) for s in scenes]


def clip_pairs(seed: int, n: int) -> list[tuple[Image.Image, str, Scene]]:
    """``n`` (picture, words, scene) for fitting a CLIP, none from the crawl: seen combinations only.

    A fifth are pictures of the other families; three in ten carry a paragraph instead of a caption, and a third of the
    captions a line before them, because the crawl's pictures are scored against all of these.
    """
    rng = np.random.default_rng([CLIP_STREAM, seed])
    pairs = []
    for _ in range(n):
        scene = draw_figure(rng) if rng.random() < FIGURE_SHARE else draw_scene(rng)
        prose = rng.random() < PARAGRAPH_SHARE
        words = paragraph(scene, rng) if prose else caption(scene, int(rng.integers(NUM_PHRASINGS)))
        if not prose and rng.random() < CAPTION_LINE_SHARE:
            words = with_caption_line(words, rng)
        pairs.append((render_scene(scene), words, scene))
    return pairs
