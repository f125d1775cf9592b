"""A run's documents as columns of numbers, which can be judged again and again (``judge_columns.py``).

D documents are in the order of their shards, with N nodes in total; T of these are texts and I are images. Conditions
without a numeric threshold (consent, language, formats, personal data) are evaluated once, by the functions of
``select``. A score is read when it is first needed.

A million documents of twelve nodes take about 2 GB with 31 rules (bench/browse.py). Reading takes about 5 CPU-seconds
per 100,000 documents.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gobelin.data.model import Role

Ints = npt.NDArray[np.int32]

Bytes = npt.NDArray[np.int8]

Floats = npt.NDArray[np.float32]

ROLES: tuple[str | None, ...] = (None, *Role)
"""The roles of a text; its number is the index here."""

FIXED_OF_DOCUMENT = ("document.deny_consent", "document.languages", "document.page_kinds")

FIXED_OF_IMAGE = ("image.missing", "image.deny_consent", "image.formats", "image.banned_url_words")
"""Rules without a numeric threshold, which come before those with one. Columns hold their number, from 1; 0: passes."""

GROUP_KINDS = ("url", "exact", "near")


@dataclasses.dataclass(frozen=True, slots=True)
class Columns:
    """A run's documents; see the module's docstring."""

    ids: pa.Array  # (D,) strings
    urls: pa.Array
    titles: pa.Array
    languages: pa.Array
    fixed: Bytes  # (D,) number in FIXED_OF_DOCUMENT of the rule that drops it; 0: none
    earlier: Bytes  # (D,) number in EARLIER_KINDS of the kind under which an earlier run has it; 0: none
    groups: dict[str, Ints]  # for each kind of duplicate, (D,): number of the group
    rank: Ints  # (D,) rank among all, the latest capture first
    has_clip: npt.NDArray[np.bool_]  # (D,)
    text_ends: npt.NDArray[np.int64]  # (D + 1,): texts of document d are [ends[d], ends[d + 1])
    image_ends: npt.NDArray[np.int64]
    of_document: Ints  # (N,)
    levels: Bytes  # (N,): of a heading, [1, 6]; 0: no heading
    text_nodes: Ints  # (T,) index among the nodes
    roles: Bytes  # (T,) number in ROLES
    words: Ints  # (T,) number of words as shown, with personal data replaced
    text_pii: Bytes  # (T,) number in Pii, from 1, of the kind that drops it; 0: none
    image_nodes: Ints  # (I,) index among the nodes
    image_fixed: Bytes  # (I,) number in FIXED_OF_IMAGE of the rule that drops it; 0: none
    image_pii: Bytes  # (I,)
    captioned: npt.NDArray[np.bool_]  # (I,) has_own_caption
    images: Ints  # (I,) index in image_ids; -1: missing
    image_ids: pa.Array
    near: Ints  # (I,) number of the group of near-duplicates
    sides: dict[str, Floats]  # (I,) by name of the score (min_side, max_side ...); NaN: none
    read: Callable[[str, str], pa.Array]  # ("documents" | "nodes", name of a score) -> (D,) or (N,)
    scores: dict[tuple[str, str], Floats]  # the scores that were read

    def score(self, subject: str, name: str) -> Floats:
        """A score of all documents (D,), texts (T,) or images (I,); NaN if it is missing."""
        found = self.scores.get((subject, name))
        if found is None:
            found = self.scores[subject, name] = self._score(subject, name)
        return found

    def _score(self, subject: str, name: str) -> Floats:
        if subject == "document":
            return as_floats(self.read("documents", name))
        if name in self.sides:
            return self.sides[name]
        places = self.text_nodes if subject == "text" else self.image_nodes
        return as_floats(self.read("nodes", name))[places]

    def phashes(self) -> list[str | None]:
        """The perceptual hashes of the images (I,) in hexadecimal."""
        hashes: list[str | None] = self.read("nodes", "phash").take(pa.array(self.image_nodes)).to_pylist()
        return hashes

    def place_in_document(self, nodes: Ints) -> Ints:
        """The index of each of these nodes in its document."""
        begins = self.text_ends[:-1] + self.image_ends[:-1]
        return (nodes - begins[self.of_document[nodes]]).astype(np.int32)


EARLIER_KINDS = ("url", "older_url", "exact", "near")


def as_floats(values: pa.Array) -> Floats:
    """Numbers as they are compared: 32 bits, NaN for null."""
    if pa.types.is_null(values.type):
        return np.full(len(values), np.nan, np.float32)
    return np.asarray(values.cast(pa.float64()).fill_null(np.nan)).astype(np.float32)


def coded(values: pa.Array) -> tuple[Ints, pa.Array]:
    """(a number for each value, -1 for null; the values by number)."""
    encoded = pc.dictionary_encode(values)
    return np.asarray(pc.fill_null(encoded.indices, -1)).astype(np.int32), encoded.dictionary
