"""A plug-in with a score of documents, a score of images, and a rule on each."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from gobelin.data.model import Document, Image
from gobelin.plugins import PluginRule, open_picture
from gobelin.scores import Score


@dataclasses.dataclass(frozen=True)
class CapitalRatio:
    """How much of a page is written in capitals. The fields are settings; an instance is called with each document."""

    min_letters: int = 20
    """Letters that a page must have; below, its score is null."""

    score: ClassVar[Score] = Score(
        "capital_ratio", ("document",), "Capital letters", "share of letters", "[0, 1]; null on short pages", high=1.0
    )

    def __call__(self, document: Document) -> float | None:
        letters = [letter for node in document.nodes for letter in node.text or "" if letter.isalpha()]
        if len(letters) < self.min_letters:
            return None
        return sum(letter.isupper() for letter in letters) / len(letters)


@dataclasses.dataclass(frozen=True)
class Colourfulness:
    """How colourful a picture is: Hasler and Süsstrunk, "Measuring colourfulness in natural images" (2003)."""

    side: int = 128
    """Pixels of the longer side at which it is measured."""

    score: ClassVar[Score] = Score("colourfulness", ("image",), "Colourfulness", "Hasler and Süsstrunk's scale")

    def __call__(self, image: Image) -> float:
        picture = open_picture(image)
        picture.thumbnail((self.side, self.side))
        red, green, blue = np.moveaxis(np.asarray(picture, np.float64), 2, 0)
        opponents = np.stack([red - green, (red + green) / 2 - blue]).reshape(2, -1)
        return float(np.linalg.norm(opponents.std(axis=1)) + 0.3 * np.linalg.norm(opponents.mean(axis=1)))


MAX_CAPITAL_RATIO = PluginRule(score="capital_ratio", of="document")
MIN_COLOURFULNESS = PluginRule(score="colourfulness", of="image")
