"""Similarities of the images and texts of one document, from their stored embeddings. Needs no model and no torch.

    similarity_matrix   each image with each text
    score_images        the scores: best text, nearest texts in reading order, alt, caption, assignment

The matrix is not stored. With embeddings of 512 numbers, 10 images and 60 texts take 50 microseconds, and a recipe that
drops texts needs another matrix. Exports compute what they need (exchange/similarities.py). Cosines are computed in
float64 and rounded to float32, so that they depend only on the two vectors. Equal images of a document are compared
once.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from gobelin.transforms.vision.assignment import assign_images

Cosines = npt.NDArray[np.float32]

_ROWS_AT_ONCE = 256
"""Number of images whose cosines with all texts are in memory. With this, a page of 100,000 paragraphs takes 300 MB."""

MAX_ASSIGNED_CELLS = 4_000_000
"""Maximum size of a matrix that is assigned. A document with more images by texts has no assignment."""


@dataclasses.dataclass(frozen=True, slots=True)
class ImageTextScores:
    """Cosines, [-1, 1], of one image node with texts of its document; None if there is no such text."""

    clip_text_max: float | None  # highest over the document's texts
    clip_near_max: float | None  # higher of the nearest text before and after in reading order
    clip_alt: float | None
    clip_caption: float | None
    clip_assigned: int | None = None  # node index of the text that MMC4's assignment gives it
    clip_assigned_score: float | None = None  # with that text


def similarity_matrix(image_embeddings: npt.ArrayLike, text_embeddings: npt.ArrayLike) -> Cosines:
    """Cosines, (N, M), of N images with M texts, without a logit scale or a factor of 100.

    Args:
        image_embeddings: (N, D), unit length.
        text_embeddings: (M, D), unit length.
    """
    images, texts = np.asarray(image_embeddings, np.float64), np.asarray(text_embeddings, np.float64)
    if not len(images) or not len(texts):
        return np.empty((len(images), len(texts)), np.float32)
    # Products of float16 are exact in float64, and so nearly is their sum: its order does not change the float32.
    return (images @ texts.T).astype(np.float32)


def score_images(
    image_index: Sequence[int],
    image_embeddings: npt.NDArray[np.floating],
    text_index: Sequence[int],
    text_embeddings: npt.NDArray[np.floating],
    alt: Mapping[int, npt.NDArray[np.floating]],
    caption: Mapping[int, npt.NDArray[np.floating]],
) -> dict[int, ImageTextScores]:
    """Similarities of a document's images with its texts, by node index.

    Args:
        image_index: positions in the document of its N image nodes.
        image_embeddings: (N, D), unit length.
        text_index: positions of its M text nodes, ascending.
        text_embeddings: (M, D), unit length.
        alt: embedding of the alt text, by image node.
        caption: embedding of the caption, by image node.

    An image that occurs several times is assigned once, and all its nodes get the same text.
    """
    distinct, rows = _distinct(image_embeddings)
    is_assigned = 0 < len(distinct) * len(text_index) <= MAX_ASSIGNED_CELLS
    best = np.full(len(distinct), np.nan, np.float32)
    near = np.full((len(image_index), 2), np.nan, np.float32)
    held: list[Cosines] = []
    for start in range(0, len(distinct), _ROWS_AT_ONCE) if len(text_index) else ():
        cosines = similarity_matrix(distinct[start : start + _ROWS_AT_ONCE], text_embeddings)
        best[start : start + len(cosines)] = cosines.max(1)
        for place in np.flatnonzero((rows >= start) & (rows < start + len(cosines))).tolist():
            after = bisect_left(text_index, image_index[place])
            found = cosines[rows[place] - start, max(0, after - 1) : after + 1]
            near[place, : len(found)] = found
        if is_assigned:
            held.append(cosines)
    assigned = assign_images(np.concatenate(held)) if is_assigned else None
    scores = {}
    for place, (index, row) in enumerate(zip(image_index, rows.tolist(), strict=True)):
        text = None if assigned is None else assigned.text[row]
        scores[index] = ImageTextScores(
            clip_text_max=_number(best[row]),
            clip_near_max=_number(np.fmax(near[place, 0], near[place, 1])),
            clip_alt=_cosine(image_embeddings[place], alt.get(index)),
            clip_caption=_cosine(image_embeddings[place], caption.get(index)),
            clip_assigned=None if text is None else int(text_index[text]),
            clip_assigned_score=None if assigned is None else _number(assigned.similarity[row]),
        )
    return scores


def _distinct(embeddings: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.intp]]:
    """Returns (the distinct rows in the order of their first occurrence, the index of each row among them)."""
    places: dict[bytes, int] = {}
    rows = np.array([places.setdefault(vector.tobytes(), len(places)) for vector in embeddings], np.intp)
    first = np.unique(rows, return_index=True)[1]
    return embeddings[first], rows


def _cosine(image: npt.NDArray[np.floating], text: npt.NDArray[np.floating] | None) -> float | None:
    return None if text is None else _number(similarity_matrix(image[None], text[None])[0, 0])


def _number(value: np.floating) -> float | None:
    return None if np.isnan(value) else float(value)
