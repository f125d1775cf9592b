"""Scores of heads and zero-shot prompts from stored image embeddings. This part of ``score`` needs no CLIP model.

It works shard by shard. The heads named nsfw, aesthetic and watermark have a column each; all others share the column
``heads``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gobelin.data.rows import HeadValueRow, Row
from gobelin.data.schemas import IMAGE_SCORES
from gobelin.store.files import open_input
from gobelin.store.paths import join
from gobelin.store.shards import write_shard
from gobelin.store.tables import shard_path
from gobelin.transforms.progress import advance
from gobelin.transforms.vision.heads import OWN_COLUMNS, Head, load_head

IMAGE_HEADS = pa.schema([IMAGE_SCORES.field(name) for name in ("image_id", *OWN_COLUMNS, "heads")])
"""One row per image: the scores of the heads."""


class ScoreHeads(beam.PTransform):
    """Shard numbers of the data set ``embeddings`` -> shards of ``image_heads`` in the folder ``work``.

    Args:
        heads: (name of the score, path) of each head.
    """

    def __init__(self, heads: Sequence[tuple[str, str]], embeddings: str, work: str, num_shards: int) -> None:
        self._arguments = (tuple(heads), embeddings, work, num_shards)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | beam.ParDo(_ScoreHeads(*self._arguments))


class _ScoreHeads(beam.DoFn):
    def __init__(self, heads: tuple[tuple[str, str], ...], embeddings: str, work: str, num_shards: int) -> None:
        self._paths, self._embeddings, self._work, self._num_shards = heads, embeddings, work, num_shards

    def setup(self) -> None:
        self._heads = {name: load_head(path) for name, path in self._paths}

    def process(self, index: int) -> Iterator[str]:
        path = shard_path(join(self._work, "image_heads"), index, self._num_shards)
        write_shard(path, self._rows(index), IMAGE_HEADS)
        yield path

    def _rows(self, index: int) -> Iterator[Row]:
        with open_input(shard_path(self._embeddings, index, self._num_shards)) as stream:
            for batch in pq.ParquetFile(stream).iter_batches():
                vectors = pc.list_flatten(batch["embedding"]).to_numpy(zero_copy_only=False)
                advance("images", batch.num_rows)
                yield from head_rows(batch["image_id"].to_pylist(), vectors.reshape(batch.num_rows, -1), self._heads)


def head_rows(image_ids: Sequence[str], embeddings: npt.NDArray[np.floating], heads: dict[str, Head]) -> Iterator[Row]:
    """Rows of ``IMAGE_HEADS`` of N images with their embeddings, (N, D). A score that is not finite is null."""
    scores = {name: head.score(embeddings).tolist() for name, head in heads.items()}
    for place, identifier in enumerate(image_ids):
        found = {name: values[place] for name, values in scores.items() if np.isfinite(values[place])}
        others: list[HeadValueRow] = [
            {"name": name, "value": value} for name, value in sorted(found.items()) if name not in OWN_COLUMNS
        ]
        yield {"image_id": identifier, **{name: found.get(name) for name in OWN_COLUMNS}, "heads": others}
