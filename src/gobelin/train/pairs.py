"""Images with their captions: all pairs of a document, and the held-out pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import xxhash

from gobelin.train.shards import TokenCorpus, TokenDocument


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """A caption and its image as ids of the vocabulary. The codes do not include the enclosing tokens."""

    caption: tuple[int, ...]
    codes: tuple[int, ...]
    codebook: int = 0  # index in the vocabulary


def document_pairs(document: TokenDocument) -> list[tuple[str, Pair]]:
    """The image_id, caption and codes of each captioned image of the document."""
    images = [item for item in document.items if item.codes is not None]
    return [
        (image_id, Pair(_ids(document, item.text), _ids(document, item.codes), item.codebook))
        for image_id, item in zip(document.image_ids, images)
        if item.text is not None and item.codes is not None
    ]


def held_out_pairs(corpus: TokenCorpus) -> list[Pair]:
    """The distinct pairs of the validation documents whose image does not occur in training.

    An image occurs in training if a training document has the same image_id or the same codes. Holds 16 bytes per
    training image, because it compares hashes.
    """
    if not len(corpus.validation):
        return []
    seen = np.unique(np.concatenate([np.empty(0, np.uint64), *map(_image_hashes, corpus.training)]))
    is_seen = _membership(seen)
    pairs: dict[Pair, None] = {}
    for document in corpus.validation:
        for image_id, pair in document_pairs(document):
            if not is_seen(_hash(image_id.encode())) and not is_seen(_hash(np.array(pair.codes, np.int32).tobytes())):
                pairs[pair] = None
    return list(pairs)


def _image_hashes(document: TokenDocument) -> np.ndarray:
    codes = [document.tokens[slice(*item.codes)] for item in document.items if item.codes is not None]
    hashes = [
        *(_hash(image_id.encode()) for image_id in document.image_ids),
        *(_hash(each.tobytes()) for each in codes),
    ]
    return np.array(hashes, np.uint64)


def _hash(content: bytes) -> int:
    return xxhash.xxh3_64_intdigest(content)


def _membership(values: np.ndarray) -> Callable[[int], bool]:
    """A function that tells whether a number is among these sorted numbers."""

    def holds(value: int) -> bool:
        place = int(np.searchsorted(values, np.uint64(value)))
        return place < len(values) and int(values[place]) == value

    return holds


def _ids(document: TokenDocument, span: Sequence[int]) -> tuple[int, ...]:
    return tuple(document.tokens[span[0] : span[1]].tolist())
