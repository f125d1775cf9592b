"""Finds the images that occur in the corpus, and the shards of the documents that show them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from gobelin.data.ids import shard_of
from gobelin.store.shards import read_rows
from gobelin.store.tables import read_tables, shard_path, shard_place

SHOWN = pa.schema([("image_id", pa.string()), ("shard", pa.int32())])
"""One row per image and shard of the corpus with a document that shows the image."""


def read_shown(path: str, _: list[str]) -> Iterator[pa.Table]:
    """The rows of ``SHOWN`` for a shard of the corpus, without duplicates within a row group (``partition.Read``)."""
    index = shard_place(path)[0]
    for table in read_tables(path, ["nodes.list.element.image_id"]):
        ids = pc.unique(pc.struct_field(pc.list_flatten(table["nodes"]), "image_id").drop_null())
        yield pa.table([ids, pa.repeat(pa.scalar(index, pa.int32()), len(ids))], SHOWN)


def shown_images(index: int, corpus: str, num_shards: int) -> Iterator[tuple[int, str]]:
    """(image shard, image_id) of each image in a shard of the corpus."""
    for identifier, _ in uses_of_images(index, corpus, num_shards):
        yield shard_of(identifier, num_shards), identifier


def shown_in_part(index: int, paths: Sequence[Sequence[str]]) -> tuple[int, list[str]]:
    """The number of an image shard, and the ids of its images that occur in the corpus.

    Args:
        index: number of the image shard.
        paths: for each image shard, files of ``SHOWN``.
    """
    return index, sorted({row["image_id"] for path in paths[index] for row in read_rows(path, ["image_id"])})


def uses_of_images(index: int, corpus: str, num_shards: int) -> Iterator[tuple[str, int]]:
    """(image_id, shard) of each image in a shard of the corpus, without duplicates."""
    found: set[str] = set()
    for table in read_shown(shard_path(corpus, index, num_shards), []):
        found.update(table["image_id"].to_pylist())
    for identifier in sorted(found):
        yield identifier, index
