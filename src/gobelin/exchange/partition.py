"""Partitions records into one file per shard of documents, so that the writer of a shard reads one file.

Documents and their images are in different shards. Images are read once, in order. Each is appended to the file of
every shard of documents that shows it. The writer of a shard then finds its images by id in one file. This costs disk
space for the bytes of the images (more if documents of several shards show an image), and memory for the ids of one
shard.

A record has two lengths (eight bytes each), a header (JSON) and a payload.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from types import TracebackType

from gobelin.data.rows import Row
from gobelin.store.files import delete, exists, open_input

_LENGTHS = struct.Struct("<QQ")


class Partition:
    """Appends records to the files of one folder.

    Args:
        folder: on a local disk, because it supports appending; must not exist.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        os.makedirs(folder)

    def path(self, index: int) -> str:
        return os.path.join(self._folder, f"{index:05d}")

    def append(self, index: int, header: Row, payload: bytes = b"") -> None:
        """Appends a record to file ``index``. Opens and closes the file, because there may be more files than may be
        open."""
        text = json.dumps(header, ensure_ascii=False, allow_nan=False).encode()
        with open(self.path(index), "ab") as stream:
            stream.write(_LENGTHS.pack(len(text), len(payload)) + text + payload)

    def headers(self, index: int) -> Iterator[tuple[Row, int, int]]:
        """Yields (header, offset of the payload, its length) of each record of file ``index``, in the order of
        writing."""
        if not exists(self.path(index)):
            return
        with open_input(self.path(index)) as stream:
            while lengths := stream.read(_LENGTHS.size):
                header_length, length = _LENGTHS.unpack(lengths)
                header = json.loads(stream.read(header_length))
                yield header, stream.tell(), length
                stream.seek(length, 1)

    def drop(self, index: int) -> None:
        """Deletes file ``index``."""
        delete(self.path(index))


class Records:
    """The records of one file of a partition, found by their header's ``image_id``."""

    def __init__(self, partition: Partition, index: int) -> None:
        self._found = {header["image_id"]: (header, start, length)
                       for header, start, length in partition.headers(index)}  # fmt: skip
        path = partition.path(index)
        self._stream = open_input(path) if exists(path) else None

    def get(self, identifier: str) -> tuple[Row, bytes] | None:
        """(header, payload); None if there is no such record."""
        found = self._found.get(identifier)
        if found is None or self._stream is None:
            return None
        header, start, length = found
        self._stream.seek(start)
        return header, self._stream.read(length)

    def __enter__(self) -> Records:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
