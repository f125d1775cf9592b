"""What a set of thresholds decides, over whole columns."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import numpy.typing as npt

STAYS = np.int16(0x7FFF)
"""In place of the number of a rule, where none is broken."""

Codes = npt.NDArray[np.int16]

Bools = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """What a set of thresholds decides. Codes are numbers in the lists of names beside them, or ``STAYS``."""

    documents: Codes  # (D,) the rule that drops each
    texts: Codes  # (T,)
    images: Codes  # (I,)
    names: dict[str, tuple[str, ...]]  # of the rules, by subject: document, text, image
    num_images: npt.NDArray[np.int64]  # (D,) left after the node rules
    num_words: npt.NDArray[np.int64]  # (D,) as shown

    @property
    def is_kept(self) -> Bools:
        """Whether each document stays, (D,)."""
        return self.documents == STAYS

    def totals(self) -> tuple[int, int, int]:
        """Documents, pictures shown and words of the corpus."""
        kept = self.is_kept
        return int(kept.sum()), int(self.num_images[kept].sum()), int(self.num_words[kept].sum())

    def counts(self, subject: str) -> Counter[str]:
        """How often each rule dropped one."""
        codes: Codes = {"document": self.documents, "text": self.texts, "image": self.images}[subject]
        names = self.names[subject]
        times = np.bincount(codes[codes != STAYS], minlength=len(names))
        return Counter({name: int(number) for name, number in zip(names, times) if number})

    def code(self, subject: str, rule: str) -> int:
        """The number of a rule; -1: it judges none of these."""
        return self.names[subject].index(rule) if rule in self.names[subject] else -1
