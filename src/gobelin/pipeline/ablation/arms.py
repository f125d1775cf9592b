"""The compared corpora, as lists of document ids. They are pure functions of the tokenized documents and a seed."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Literal

from gobelin.errors import UserError
from gobelin.store.shards import read_folder

Arm = Literal["raw", "curated", "random", "dropped"]

ARMS: tuple[Arm, ...] = ("raw", "curated", "random", "dropped")

Corpus = Literal["raw", "curated"]
"""Which token shards an arm's documents are read from."""


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """Tokens of a document, or of several."""

    tokens: int = 0
    image_tokens: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.tokens + other.tokens, self.image_tokens + other.image_tokens)


Sizes = Mapping[str, Size]
"""The size of each document, by its id."""


@dataclasses.dataclass(frozen=True, slots=True)
class Chosen:
    """The documents of an arm."""

    corpus: Corpus
    doc_ids: tuple[str, ...]
    size: Size


def read_sizes(index: str) -> dict[str, Size]:
    """Sizes of all documents of a data set ``tokenize/index``."""
    found: dict[str, Size] = {}
    for row in read_folder(index, ["doc_id", "num_tokens", "num_image_tokens"]):
        found[row["doc_id"]] = found.get(row["doc_id"], Size()) + Size(row["num_tokens"], row["num_image_tokens"])
    return found


def choose(arm: Arm, raw: Sizes, curated: Sizes, seed: int) -> Chosen:
    """The documents of an arm.

    Args:
        raw: documents that may be trained on, as extracted.
        curated: the subset that ``select`` kept, as it left them.
        seed: of the random subset, which differs for each seed.

    Raises:
        UserError: the arm would be empty.
    """
    if arm == "raw":
        chosen = _chosen("raw", raw, raw)
    elif arm == "curated":
        chosen = _chosen("curated", curated, curated)
    elif arm == "dropped":
        chosen = _chosen("raw", {doc_id: raw[doc_id] for doc_id in raw if doc_id not in curated}, raw)
    else:
        chosen = _chosen("raw", _some(raw, sum(size.tokens for size in curated.values()), seed), raw)
    if not chosen.doc_ids:
        what = "dropped no document" if arm == "dropped" else "kept no document that may be trained on"
        raise UserError(f"select {what}, so there is nothing to compare: take more input, or another recipe")
    return chosen


def _chosen(corpus: Corpus, doc_ids: Mapping[str, Size], sizes: Sizes) -> Chosen:
    total = Size()
    for doc_id in doc_ids:
        total += sizes[doc_id]
    return Chosen(corpus, tuple(sorted(doc_ids)), total)


def _some(raw: Sizes, num_tokens: int, seed: int) -> dict[str, Size]:
    """Documents in a random order drawn from the seed, until they have ``num_tokens`` tokens."""
    found: dict[str, Size] = {}
    total = 0
    for doc_id in sorted(raw, key=lambda doc_id: hashlib.blake2b(f"{seed}\n{doc_id}".encode()).digest()):
        if total >= num_tokens:
            break
        found[doc_id] = raw[doc_id]
        total += raw[doc_id].tokens
    return found
