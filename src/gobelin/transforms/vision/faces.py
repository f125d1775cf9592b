"""Finds faces with a detector that the recipe names, and blurs them.

A detector is a function from an image (Pillow, mode RGB) to ``Face``s. The recipe names a function that makes one
(``module:function``) and its options. ``face_detectors.py`` has two detectors of OpenCV. Boxes are relative to the
image as displayed, so they are valid at any size.

Blurring follows the ImageNet obfuscation (Yang et al., arXiv 2103.06191), as DataComp does: each box is enlarged by 10
% of its diagonal on all sides. The image is blurred with one Gaussian of sigma 0.1 times the largest diagonal, and
composed with the original by a mask that is blurred in the same way, so that no edge is visible.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypedDict

import pyarrow as pa
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFilter

from gobelin.data.rows import FaceRow
from gobelin.data.schemas import IMAGE_SCORES
from gobelin.errors import UserError
from gobelin.store.shards import read_rows
from gobelin.store.tables import list_shards, shard_path

GROWTH = 0.1
"""Share of a box's diagonal by which it is enlarged on each side."""

SIGMA = 0.1
"""Standard deviation of the Gaussian, as a share of the largest diagonal."""

IMAGE_FACES = pa.schema([IMAGE_SCORES.field(name) for name in ("image_id", "faces", "num_faces")])
"""One row per image that was searched for faces."""


class ImageFacesRow(TypedDict):
    """A row of ``IMAGE_FACES``."""

    image_id: str
    faces: Sequence[FaceRow] | None
    num_faces: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Face:
    """The box of a face, in shares of the image's width and height from the upper left corner, and the detector's
    confidence."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float = 1.0  # [0, 1]


Boxes = tuple[tuple[float, float, float, float], ...]
"""(x0, y0, x1, y1) of each face of an image, relative to its size."""

FaceDetector = Callable[[PillowImage.Image], Iterable[Face]]
"""Image (mode RGB) -> its faces."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FaceConfig:
    """How faces are found."""

    detector: str
    """A function that makes a detector, as ``module:function``. gobelin (extra ``faces``) has two in
    ``gobelin.transforms.vision.face_detectors``: ``:haar`` finds frontal faces, needs no file and misses many;
    ``:yunet`` is better and needs the model's file (options: {model: PATH})."""

    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Arguments of that function."""

    min_score: float = 0.0
    """Minimum confidence of a box, [0, 1]."""

    def __post_init__(self) -> None:
        module, separator, function = self.detector.partition(":")
        if not (module and separator and function):
            raise UserError(f"detector must be module:function, got {self.detector!r}")


def load_detector(config: FaceConfig) -> FaceDetector:
    """The detector of a recipe.

    Raises:
        UserError: the function does not exist, or does not accept the options.
    """
    module, _, function = config.detector.partition(":")
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UserError(f"score.faces.detector {config.detector}: {error}") from None
    try:
        return make(**config.options)
    except TypeError as error:
        raise UserError(f"score.faces.options do not fit {config.detector}: {error}") from None


def find_faces(image: PillowImage.Image, detector: FaceDetector, min_score: float = 0.0) -> list[Face]:
    """The faces of an image, clipped to it, the largest first. Boxes without area or with non-finite sides are left
    out."""
    found = []
    for face in detector(image):
        if face.score >= min_score:
            sides = [float(side) for side in (face.x0, face.y0, face.x1, face.y1)]
            x0, y0, x1, y1 = (min(1.0, max(0.0, side)) for side in sides)
            if x0 < x1 and y0 < y1 and all(map(math.isfinite, sides)):
                found.append(Face(x0, y0, x1, y1, float(face.score)))
    return sorted(found, key=lambda face: (-(face.x1 - face.x0) * (face.y1 - face.y0), face.x0, face.y0))


def blur_faces(image: PillowImage.Image, boxes: Boxes) -> PillowImage.Image:
    """Makes the faces in these relative boxes (x0, y0, x1, y1) of an image (mode RGB) unrecognisable."""
    if not boxes:
        return image
    width, height = image.size
    mask = PillowImage.new("L", image.size, 0)
    draw = ImageDraw.Draw(mask)
    largest = 0.0
    for x0, y0, x1, y1 in boxes:
        left, top, right, bottom = x0 * width, y0 * height, x1 * width, y1 * height
        diagonal = math.hypot(right - left, bottom - top)
        grown = GROWTH * diagonal
        draw.rectangle((left - grown, top - grown, right + grown, bottom + grown), fill=255)
        largest = max(largest, diagonal)
    gaussian = ImageFilter.GaussianBlur(SIGMA * largest)
    return PillowImage.composite(image.filter(gaussian), image, mask.filter(gaussian))


def faces_of_shard(scores: str, index: int, num_shards: int) -> dict[str, Boxes]:
    """The boxes by image_id in one shard of ``IMAGE_SCORES``. Images that were not searched for faces are not in it."""
    return boxes_of(read_rows(shard_path(scores, index, num_shards), ["image_id", "faces"]))


def faces_of_images(scores: str) -> dict[str, Boxes]:
    """The boxes by image_id in all shards."""
    return boxes_of(row for path in list_shards(scores) for row in read_rows(path, ["image_id", "faces"]))


def boxes_of(rows: Iterable[ImageFacesRow]) -> dict[str, Boxes]:
    """The boxes by image_id in rows of ``IMAGE_SCORES``."""
    return {
        row["image_id"]: tuple((face["x0"], face["y0"], face["x1"], face["y1"]) for face in row["faces"])
        for row in rows
        if row["faces"] is not None
    }
