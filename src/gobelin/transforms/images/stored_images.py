"""The pictures of a run, for readers that need a certain size: the file, or its reduced copy where that is enough.

``extract`` decodes every picture and keeps a reduced copy of it (data set ``copies``, ``measure_image.reduced_copy``).
If a model needs no more pixels than the copy has, it reads the copy, which is six times as cheap as the file on
pictures of sites. Pictures without a copy are JPEGs with no more pixels than a copy, or long strips. Their files are
read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from gobelin.store.tables import read_row_group, read_tables, shard_path

_KNOWN = ["image_id", "urls", "width", "height"]


class StoredPicture(TypedDict):
    """An image as it is read. ``data``: the bytes of its file or of its reduced copy. ``width`` and ``height``: pixels
    of the file, as displayed."""

    image_id: str
    urls: Sequence[str]
    width: int
    height: int
    data: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class StoredImages:
    """The data set ``images``, and ``copies`` beside it.

    Args:
        copies: folder of the reduced copies; None: files are read.
    """

    images: str
    copies: str | None
    num_shards: int

    def read(self, index: int, wanted: Collection[str | None] | None = None) -> Iterator[StoredPicture]:
        """A shard's images in the order of their ids: all, or those with wanted ids.

        Holds one row group of each data set in memory. Files with a copy are not read.
        """
        ids = None if wanted is None else pa.array((each for each in wanted if each is not None), pa.string())
        copies = self._copies(index, ids)
        copy = next(copies, None)
        path = shard_path(self.images, index, self.num_shards)
        columns = [*_KNOWN, *(["data"] if self.copies is None else [])]
        for number, table in enumerate(read_tables(path, columns)):
            files = table["data"] if self.copies is None else None
            known = table.select(_KNOWN)
            places = range(len(known))
            if ids is not None:
                places = pc.indices_nonzero(pc.is_in(known["image_id"], ids)).to_pylist()
                known = known.take(pa.array(places, pa.int64()))
            for place, row in zip(places, known.to_pylist(), strict=True):
                while copy is not None and copy[0] < row["image_id"]:
                    copy = next(copies, None)
                if copy is not None and copy[0] == row["image_id"]:
                    data = copy[1]
                else:
                    if files is None:
                        files = read_row_group(path, number, ["data"])["data"]
                    data = files[place].as_py()
                yield {"image_id": row["image_id"], "urls": row["urls"], "width": row["width"],
                       "height": row["height"], "data": data}  # fmt: skip

    def sizes(self) -> Iterator[pa.Table]:
        """Id, width and height of all images, one row group at a time."""
        for index in range(self.num_shards):
            yield from read_tables(shard_path(self.images, index, self.num_shards), ["image_id", "width", "height"])

    def _copies(self, index: int, ids: pa.Array | None) -> Iterator[tuple[str, bytes]]:
        if self.copies is None:
            return
        for table in read_tables(shard_path(self.copies, index, self.num_shards)):
            chosen = table if ids is None else table.filter(pc.is_in(table["image_id"], ids))
            for identifier, data in zip(chosen["image_id"], chosen["data"], strict=True):
                yield identifier.as_py(), data.as_py()
