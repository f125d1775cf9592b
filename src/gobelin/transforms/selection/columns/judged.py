"""The decisions of a set of thresholds, over whole columns."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import numpy.typing as npt

STAYS = np.int16(0x7FFF)
"""The code of an item that breaks no rule."""

Codes = npt.NDArray[np.int16]

Bools = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """The decisions of a set of thresholds. Codes are indexes in the names of rules, or ``STAYS``."""

    documents: Codes  # (D,) the rule that drops each
    texts: Codes  # (T,)
    images: Codes  # (I,)
    names: dict[str, tuple[str, ...]]  # of the rules, by subject: document, text, image
    num_images: npt.NDArray[np.int64]  # (D,) number of images after the node rules
    num_words: npt.NDArray[np.int64]  # (D,) number of words as shown

    @property
    def is_kept(self) -> Bools:
        """Whether each document stays, (D,)."""
        return self.documents == STAYS

    def totals(self) -> tuple[int, int, int]:
        """(documents, shown images, words) of the corpus."""
        kept = self.is_kept
        return int(kept.sum()), int(self.num_images[kept].sum()), int(self.num_words[kept].sum())

    def counts(self, subject: str) -> Counter[str]:
        """The number of items that each rule dropped."""
        codes: Codes = {"document": self.documents, "text": self.texts, "image": self.images}[subject]
        names = self.names[subject]
        times = np.bincount(codes[codes != STAYS], minlength=len(names))
        return Counter({name: int(number) for name, number in zip(names, times) if number})

    def code(self, subject: str, rule: str) -> int:
        """The number of a rule; -1 if it does not judge this subject."""
        return self.names[subject].index(rule) if rule in self.names[subject] else -1
