"""Pictures with their captions: those of a document, and the held-out ones that training has never seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import xxhash

from gobelin.train.shards import TokenCorpus, TokenDocument


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """A caption and its picture. Ids of the vocabulary, the codes without the tokens that enclose them."""

    caption: tuple[int, ...]
    codes: tuple[int, ...]
    codebook: int = 0  # index in the vocabulary


def document_pairs(document: TokenDocument) -> list[tuple[str, Pair]]:
    """The image_id, caption and codes of each image of the document that has a caption."""
    images = [item for item in document.items if item.codes is not None]
    return [
        (image_id, Pair(_ids(document, item.text), _ids(document, item.codes), item.codebook))
        for image_id, item in zip(document.image_ids, images)
        if item.text is not None and item.codes is not None
    ]


def held_out_pairs(corpus: TokenCorpus) -> list[Pair]:
    """The distinct pairs of the validation documents whose picture training has never seen.

    A picture counts as seen if its image_id or its very codes occur in a training document. Of those, hashes are held,
    16 bytes an image.
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
    """Whether a number is among these, which are sorted."""

    def holds(value: int) -> bool:
        place = int(np.searchsorted(values, np.uint64(value)))
        return place < len(values) and int(values[place]) == value

    return holds


def _ids(document: TokenDocument, span: Sequence[int]) -> tuple[int, ...]:
    return tuple(document.tokens[span[0] : span[1]].tolist())
