"""Checks whether a file is a picture that may be opened: gives its facts, or the reason why it is refused.

``check_image`` decodes in this process. ``image_sandbox.ImageChecker`` does the same in a process of its own, under
limits of time and memory, and is what ``extract`` uses. Both end in facts or a problem, never in an exception.
"""

from __future__ import annotations

import dataclasses

from gobelin.data.model import Action
from gobelin.transforms.images.measure_image import ImageFacts, measure_image
from gobelin.transforms.images.open_image import ImageLimits, UnusableImageError

__all__ = ["ImageFacts", "ImageLimits", "ImageProblem", "check_image", "problem"]

_FAILURES = ("empty_image", "not_an_image", "undecodable_image")
"""Rules of files that could not be read (``fail``). The others leave out files that could be (``drop``)."""


@dataclasses.dataclass(frozen=True, slots=True)
class ImageProblem:
    """Why a file is not taken; the fields are those of a ``Decision``.

    Rules: ``empty_image``, ``not_an_image``, ``undecodable_image`` (fail); ``image_format``, ``image_bytes``,
    ``image_svg``, ``image_pixels``, ``image_frames``, ``image_seconds``, ``image_memory`` (drop).
    """

    action: Action
    rule: str
    value: float | None = None
    threshold: float | None = None
    detail: str | None = None


def check_image(data: bytes, limits: ImageLimits) -> ImageFacts | ImageProblem:
    """Facts of an image file, or the reason why it is refused. No limit of time; memory is bounded by the pixels."""
    try:
        return measure_image(data, limits)
    except UnusableImageError as error:
        return problem(error.rule, error.value, error.threshold, error.detail)


def problem(
    rule: str, value: float | None = None, threshold: float | None = None, detail: str | None = None
) -> ImageProblem:
    """The problem of a rule, with the action that belongs to it."""
    return ImageProblem(Action.FAIL if rule in _FAILURES else Action.DROP, rule, value, threshold, detail)
