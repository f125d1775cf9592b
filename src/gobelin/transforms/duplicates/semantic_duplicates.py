"""Semantic duplicates: joins pairs of images with a cosine similarity of their CLIP embeddings of at least a threshold.

    up to 30 000 images    all pairs, a block of rows at a time: exact
    more                   only pairs within clusters, as in SemDeDup (Abbas et al., arXiv 2303.09540): one image in a
                           thousand is a centre, and each image is compared with those that share one of its four
                           nearest
                           centres. Of synthetic pairs at 0.95 this missed one in a thousand.

Everything runs in one process in NumPy, and image embeddings are one array. This is off by default, because CLIP may
give similar embeddings to two images of the same kind of thing. Embeddings of earlier runs are not used.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gobelin.errors import UserError
from gobelin.store.paths import join
from gobelin.store.shards import write_tables
from gobelin.store.tables import list_shards, read_columns
from gobelin.transforms.duplicates.alike_pairs import Indices, smallest_connected
from gobelin.transforms.duplicates.find_duplicates import count_documents, uses_of_images

SEMANTIC_GROUPS = pa.schema(
    [("image_id", pa.string()), ("semantic_group", pa.string()), ("semantic_count", pa.int32())]
)

_EXACT = 30_000
_IMAGES_A_CENTRE = 1000
_NEAREST = 4
_ROWS_AT_ONCE = 512


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SemanticConfig:
    """When two images count as semantic duplicates."""

    min_similarity: float = 0.95
    """Minimum cosine of the embeddings, (0, 1]. It depends on the model: look at pairs near it before you trust it."""

    def __post_init__(self) -> None:
        if not 0.0 < self.min_similarity <= 1.0:
            raise UserError(f"min_similarity must be in (0, 1], got {self.min_similarity}")


def find_semantic_duplicates(embeddings: str, measurements: str, work: str, config: SemanticConfig) -> None:
    """Reads the data sets ``IMAGE_EMBEDDINGS`` and measurements, and writes ``SEMANTIC_GROUPS`` in the folder
    ``work``."""
    tables = [read_columns(path, ["image_id", "embedding"]) for path in list_shards(embeddings)]
    whole = pa.concat_tables(tables)
    whole = whole.take(pc.sort_indices(whole, [("image_id", "ascending")]))
    ids = whole["image_id"].combine_chunks()
    vectors = pc.list_flatten(whole["embedding"]).to_numpy().reshape(len(ids), -1) if len(ids) else np.empty((0, 1))
    groups = semantic_groups(vectors, ids.to_pylist(), config.min_similarity)
    counts = count_documents(*uses_of_images(measurements, ids), groups)[groups]
    found = pa.table({"image_id": ids, "semantic_group": ids.take(groups), "semantic_count": counts})
    found = found.cast(SEMANTIC_GROUPS)
    write_tables(
        join(work, "semantic_groups"),
        [found.take(pc.index_in(table["image_id"], value_set=ids)) for table in tables],
    )


def semantic_groups(vectors: npt.NDArray[np.floating], ids: list[str], min_similarity: float) -> Indices:
    """For each image, the smallest position that it is connected with, (N,).

    Args:
        vectors: L2-normalised, (N, D).
        ids: of the images; they determine which images are centres.
    """
    labels = np.arange(len(vectors))
    for block in _blocks(vectors, ids):
        chosen = vectors[block].astype(np.float32)
        for start in range(0, len(block), _ROWS_AT_ONCE):
            similar = chosen[start : start + _ROWS_AT_ONCE] @ chosen[start:].T >= min_similarity
            rows, columns = np.nonzero(similar)
            a, b = block[start + rows], block[start + columns]
            is_apart = labels[a] != labels[b]
            if is_apart.any():
                labels = smallest_connected(labels, np.stack([a[is_apart], b[is_apart]]))
    return labels


def _blocks(vectors: npt.NDArray[np.floating], ids: list[str]) -> Iterator[Indices]:
    """Sets of images to compare with each other, each sorted by position."""
    num = len(vectors)
    if num <= _EXACT:
        yield np.arange(num)
        return
    by_chance = sorted(range(num), key=lambda place: hashlib.blake2b(ids[place].encode(), digest_size=8).digest())
    centres = vectors[sorted(by_chance[: num // _IMAGES_A_CENTRE])].astype(np.float32)
    nearest = np.empty((num, _NEAREST), np.intp)
    for start in range(0, num, _ROWS_AT_ONCE):
        similar = vectors[start : start + _ROWS_AT_ONCE].astype(np.float32) @ centres.T
        nearest[start : start + _ROWS_AT_ONCE] = np.argpartition(-similar, _NEAREST, axis=1)[:, :_NEAREST]
    places = np.repeat(np.arange(num), _NEAREST)
    order = np.argsort(nearest.reshape(-1), kind="stable")
    bounds = np.searchsorted(nearest.reshape(-1)[order], np.arange(1, len(centres)))
    yield from np.split(places[order], bounds)
