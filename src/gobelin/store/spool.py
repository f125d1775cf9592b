"""Spools: files of payloads that are too large to be shuffled."""

from __future__ import annotations

import dataclasses
import uuid
from typing import BinaryIO

from gobelin.store import remote
from gobelin.store.files import NewFile, open_input
from gobelin.store.paths import is_remote, join


@dataclasses.dataclass(frozen=True, slots=True)
class SpoolRef:
    """Location of a payload: ``length`` bytes at ``offset`` in the file ``path``."""

    path: str
    offset: int
    length: int


class Spool:
    """Writes the payloads of one bundle into one file. Not thread-safe."""

    def __init__(self, folder: str) -> None:
        self._path = join(folder, f"spool-{uuid.uuid4().hex}.bin")
        self._stream: NewFile | None = None
        self._offset = 0

    def write(self, payload: bytes) -> SpoolRef:
        if self._stream is None:
            self._stream = NewFile(self._path)
        self._stream.write(payload)
        ref = SpoolRef(self._path, self._offset, len(payload))
        self._offset += len(payload)
        return ref

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class SpoolReader:
    """Reads payloads. Keeps the last local file open. Sends one request per payload to an object store."""

    def __init__(self) -> None:
        self._path = ""
        self._stream: BinaryIO | None = None

    def read(self, ref: SpoolRef) -> bytes:
        payload = remote.read_range(*dataclasses.astuple(ref)) if is_remote(ref.path) else self._read_local(ref)
        if len(payload) != ref.length:
            raise OSError(f"{ref.path}: {ref.length} bytes wanted at {ref.offset}, {len(payload)} found")
        return payload

    def _read_local(self, ref: SpoolRef) -> bytes:
        if ref.path != self._path or self._stream is None:
            self.close()
            self._stream, self._path = open_input(ref.path), ref.path
        self._stream.seek(ref.offset)
        return self._stream.read(ref.length)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
