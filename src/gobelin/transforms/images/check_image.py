"""Checks whether a file is an image that may be opened. Returns its facts, or the reason for refusing it.

``check_image`` decodes in this process. ``image_sandbox.ImageChecker`` does the same in a separate process with limits
on time and memory; ``extract`` uses that one. Both return facts or a problem, and never raise an exception for a bad
file.
"""

from __future__ import annotations

import dataclasses

from gobelin.data.model import Action
from gobelin.transforms.images.measure_image import ImageFacts, measure_image
from gobelin.transforms.images.open_image import ImageLimits, UnusableImageError

__all__ = ["ImageFacts", "ImageLimits", "ImageProblem", "check_image", "problem"]

_FAILURES = ("empty_image", "not_an_image", "undecodable_image")
"""Rules of files that could not be read (``fail``). Files under the other rules are left out deliberately
(``drop``)."""


@dataclasses.dataclass(frozen=True, slots=True)
class ImageProblem:
    """Why a file is refused. The fields are those of a ``Decision``.

    Rules: ``empty_image``, ``not_an_image``, ``undecodable_image`` (fail); ``image_format``, ``image_bytes``,
    ``image_svg``, ``image_pixels``, ``image_frames``, ``image_seconds``, ``image_memory`` (drop).
    """

    action: Action
    rule: str
    value: float | None = None
    threshold: float | None = None
    detail: str | None = None


def check_image(data: bytes, limits: ImageLimits) -> ImageFacts | ImageProblem:
    """The facts of an image file, or why it is refused. No time limit; memory is bounded by the number of pixels."""
    try:
        return measure_image(data, limits)
    except UnusableImageError as error:
        return problem(error.rule, error.value, error.threshold, error.detail)


def problem(
    rule: str, value: float | None = None, threshold: float | None = None, detail: str | None = None
) -> ImageProblem:
    """The problem of a rule, with the action of that rule."""
    return ImageProblem(Action.FAIL if rule in _FAILURES else Action.DROP, rule, value, threshold, detail)
