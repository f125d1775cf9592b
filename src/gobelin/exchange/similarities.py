"""Cosines of a document's images and texts, from embeddings or from an import, for formats that hold them.

``score`` writes embeddings of images and texts, and their products are the cosines. An imported data set may have its
own cosines (MMC4) in ``extract/similarities``, which are used if there are no embeddings. A row belongs to an image
node and a column to a text node of the document *as extracted*. If ``select`` dropped nodes, their rows and columns are
removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gobelin.data.rows import DocumentRow, NodeRow, TextEmbeddingRow
from gobelin.exchange.partition import Records
from gobelin.store.shards import RowsByDocument, dropped_nodes, read_rows

Matrix = npt.NDArray[np.float64]

SIMILARITIES = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False, metadata={"unit": "see documents"}),
        pa.field("cosines", pa.list_(pa.list_(pa.float64())), nullable=False,
                 metadata={"unit": "cosine; one list per image node, one number per text node"}),
    ]
)  # fmt: skip
"""What an imported data set said of its documents, sharded and sorted like documents."""

DECIMALS = 6
"""Decimals of a cosine that are written: half-precision embeddings carry no more."""


class Similarities:
    """Cosines of the documents of one shard. Calls must have ascending ids.

    Args:
        embeddings: of images, by id.
        texts: the shard of ``score/text_embeddings``; None: there are no embeddings.
        imported: the shard of ``extract/similarities``; None: there are none.
        selected: the shards of ``extract/documents`` and ``select/decisions``; None: documents are as extracted.
    """

    def __init__(
        self, embeddings: Records, texts: str | None, imported: str | None, selected: tuple[str, str] | None
    ) -> None:
        self._embeddings = embeddings
        self._texts = RowsByDocument(read_rows(texts)) if texts else None
        self._imported = RowsByDocument(read_rows(imported)) if imported else None
        self._whole = self._dropped = None
        if selected:
            self._whole = RowsByDocument(read_rows(selected[0], ["doc_id", "nodes"]))
            self._dropped = RowsByDocument(dropped_nodes(selected[1]))

    def of(self, document: DocumentRow) -> Matrix | None:
        """The cosines, (N, M), of N image nodes and M text nodes; None if one is unknown, or if N or M is 0."""
        whole = document["nodes"]
        places = list(range(len(whole)))
        if self._whole and self._dropped:
            (row,) = self._whole.of(document["doc_id"])
            whole = row["nodes"]
            dropped = {row["node_index"] for row in self._dropped.of(document["doc_id"])}
            places = [place for place in range(len(whole)) if place not in dropped]
        if self._texts:
            return self._embedded(document, places)
        if self._imported:
            return _cut(self._imported.of(document["doc_id"]), whole, places)
        return None

    def _embedded(self, document: DocumentRow, places: list[int]) -> Matrix | None:
        rows: list[TextEmbeddingRow] = self._texts.of(document["doc_id"]) if self._texts else []
        by_place = {row["node_index"]: row["embedding"] for row in rows if row["role"] == "text"}
        images, texts = [], []
        for place, node in zip(places, document["nodes"], strict=True):
            if node["kind"] == "text":
                texts.append(by_place.get(place))
            else:
                found = self._embeddings.get(node["image_id"]) if node["image_id"] else None
                images.append(np.frombuffer(found[1], np.float16) if found else None)
        if not images or not texts or any(each is None for each in (*images, *texts)):
            return None
        cosines = np.asarray(images, np.float64) @ np.asarray(texts, np.float64).T
        return np.round(cosines, DECIMALS)


def _cut(rows: list[Any], whole: Sequence[NodeRow], places: list[int]) -> Matrix | None:
    """The imported cosines of the nodes that are left."""
    kept = set(places)
    sides = [[place in kept for place, node in enumerate(whole) if node["kind"] == kind] for kind in ("image", "text")]
    if not rows or not all(any(side) for side in sides):
        return None
    return np.asarray(rows[0]["cosines"], np.float64)[np.ix_(*sides)]


def sound_matrix(value: Any, num_images: int, num_texts: int) -> list[list[float]] | None:
    """A foreign ``similarity_matrix``, if it has the expected shape and finite numbers; otherwise None."""
    if not isinstance(value, list) or len(value) != num_images or not num_images or not num_texts:
        return None
    for row in value:
        if not isinstance(row, list) or len(row) != num_texts:
            return None
        if not all(type(number) in (int, float) and abs(number) < 1e6 for number in row):
            return None
    return [[float(number) for number in row] for row in value]
