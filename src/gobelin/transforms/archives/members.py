"""Compressed members of an archive (gzip members, zstd frames and lz4 frames), recognised by their first bytes.

Each member is decompressed piece by piece, and its end in the file is known afterwards: a zstd frame reads the headers
of its blocks, and for the others the decompressor tells how much input is left. The first frame of the file may hold a
zstd dictionary.

Memory: a window of 256 KiB over the file, and a zstd window of at most 128 MiB.

Sources: RFC 1952 (gzip), RFC 8878 (zstd), LZ4 Frame Format 1.6, "Use of Zstandard in WARC files" 1.0 (IIPC).
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable
from typing import BinaryIO, Protocol

import lz4.frame  # type: ignore[import-untyped]
import zstandard
from zlib_ng import zlib_ng

GZIP, ZSTD, LZ4 = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"
MAGIC_BYTES = 4

_ZlibError: type[Exception] = zlib_ng.error  # type: ignore[assignment]  # the stubs declare an instance
_WINDOW = 256 << 10
_FIRST_INPUT, INPUT_BYTES = 16 << 10, 32 << 10
"""Number of compressed bytes per call of a decompressor. Most records end within the first, and unused input is
copied."""

_MAX_DICTIONARY_BYTES = 16 << 20
_MAX_ZSTD_WINDOW = 1 << 27
_MAX_ZSTD_BLOCK = 128 << 10


class DamageError(ValueError):
    """A member cannot be decompressed further. The message gives the reason."""


class Source:
    """A seekable stream that is read through one window, so that scattered reads need few calls."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._start, self._window = 0, b""
        self.size = stream.seek(0, io.SEEK_END)

    def at(self, offset: int, num_bytes: int) -> bytes:
        """Bytes from an offset; fewer than requested only at the end of the file."""
        if offset >= self.size:
            return b""
        begin = offset - self._start
        if not 0 <= begin <= begin + min(num_bytes, self.size - offset) <= len(self._window):
            self._stream.seek(offset)
            self._window = self._stream.read(max(num_bytes, _WINDOW))
            self._start, begin = offset, 0
        return self._window[begin : begin + num_bytes]

    def read(self, offset: int, num_bytes: int) -> bytes:
        """Reads without the window, for bytes that are read once."""
        self._stream.seek(offset)
        return self._stream.read(num_bytes)


class Member(Protocol):
    """One compressed member. ``end``: the offset of the next one in the file, known after this one is read to its
    end."""

    offset: int
    end: int

    def read(self, num_bytes: int) -> bytes:
        """Up to ``num_bytes`` more decompressed bytes; b"" at the member's end. Raises ``DamageError``."""
        ...

    def num_read(self) -> int:
        """The approximate number of bytes of the file that were read for the member."""
        ...


class _GzipMember:
    def __init__(self, source: Source, offset: int) -> None:
        self._source, self._next = source, offset
        self._decoder = zlib_ng.decompressobj(31)
        self.offset = self.end = offset

    def read(self, num_bytes: int) -> bytes:
        decoder = self._decoder
        while not decoder.eof:
            packed = decoder.unconsumed_tail
            if not packed:
                packed = self._source.at(self._next, _FIRST_INPUT if self._next == self.offset else INPUT_BYTES)
                self._next += len(packed)
            try:
                unpacked = decoder.decompress(packed, num_bytes)
            except _ZlibError as error:
                raise DamageError(str(error)) from None
            if unpacked:
                return unpacked
            if not packed:
                raise DamageError("the file ends inside a gzip member")
        self.end = self._next - len(decoder.unused_data)
        return b""

    def num_read(self) -> int:
        return self._next - len(self._decoder.unconsumed_tail) - self.offset


class _Lz4Member:
    def __init__(self, source: Source, offset: int) -> None:
        self._source, self._next = source, offset
        self._decoder = lz4.frame.LZ4FrameDecompressor()
        self.offset = self.end = offset

    def read(self, num_bytes: int) -> bytes:
        decoder = self._decoder
        while not decoder.eof:
            size = _FIRST_INPUT if self._next == self.offset else INPUT_BYTES
            packed = self._source.at(self._next, size) if decoder.needs_input else b""
            self._next += len(packed)
            if decoder.needs_input and not packed:
                raise DamageError("the file ends inside an lz4 frame")
            try:
                unpacked = decoder.decompress(packed, num_bytes)
            except RuntimeError as error:
                raise DamageError(str(error)) from None
            if unpacked:
                return unpacked
        self.end = self._next - len(decoder.unused_data or b"")
        return b""

    def num_read(self) -> int:
        return self._next - self.offset


class _ZstdMember:
    def __init__(self, source: Source, offset: int, dictionary: zstandard.ZstdCompressionDict | None) -> None:
        self.offset = self.end = offset
        self._frame = _ZstdFrame(source, offset)
        # One decompressor per frame, because its readers share state.
        decompressor = zstandard.ZstdDecompressor(dictionary, max_window_size=_MAX_ZSTD_WINDOW)
        self._reader = decompressor.stream_reader(self._frame, read_size=INPUT_BYTES)  # type: ignore[arg-type]

    def read(self, num_bytes: int) -> bytes:
        try:
            unpacked = self._reader.read(num_bytes)
        except (zstandard.ZstdError, MemoryError) as error:
            raise DamageError(str(error)) from None
        if not unpacked:
            if self._frame.end is None:
                raise DamageError("the file ends inside a zstd frame")
            self.end = self._frame.end
        return unpacked

    def num_read(self) -> int:
        return self._frame.next - self.offset


class _ZstdFrame:
    """The bytes of exactly one frame, whose end is found from the headers of its blocks. zstandard's reader would
    continue into the next frame. ``end`` is known after the last block."""

    def __init__(self, source: Source, offset: int) -> None:
        self._source, self.next = source, offset
        self.end: int | None = None
        self._is_walked = False
        descriptor = source.at(offset + 4, 1) or b"\0"
        self._has_checksum = bool(descriptor[0] & 4)
        is_single = bool(descriptor[0] & 0x20)
        content_size = (int(is_single), 2, 4, 8)[descriptor[0] >> 6]
        self._known = offset + 5 + (not is_single) + (0, 1, 2, 4)[descriptor[0] & 3] + content_size

    def read(self, num_bytes: int) -> bytes:
        while not self._is_walked and self._known < self.next + num_bytes:
            self._walk_block()
        packed = self._source.at(self.next, min(num_bytes, self._known - self.next))
        self.next += len(packed)
        return packed

    def _walk_block(self) -> None:
        block = self._source.at(self._known, 3)
        header = int.from_bytes(block, "little")
        is_last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if len(block) < 3 or kind == 3 or size > _MAX_ZSTD_BLOCK:
            self._known, self._is_walked = self._source.size, True  # truncated or damaged
            return
        self._known += 3 + (1 if kind == 1 else size)  # kind 1: one byte, repeated
        if is_last:
            self._is_walked = True
            self._known += 4 if self._has_checksum else 0
            self.end = self._known if self._known <= self._source.size else None


def is_skippable(head: bytes) -> bool:
    """Whether a skippable frame of zstd or lz4 begins with these bytes."""
    return head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F


def container_of(head: bytes) -> bytes | None:
    """The magic number of the member that begins with these bytes, or None."""
    return GZIP if head.startswith(GZIP) else head[:MAGIC_BYTES] if head.startswith((ZSTD, LZ4)) else None


class Members:
    """Opens the members of one archive. Reads the zstd dictionary if the archive begins with one."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._dictionary: zstandard.ZstdCompressionDict | None = None
        self._has_dictionary: bool | None = None
        self._openers: dict[bytes, Callable[[int], Member]] = {
            GZIP: functools.partial(_GzipMember, source),
            ZSTD: self._open_zstd,
            LZ4: functools.partial(_Lz4Member, source),
        }

    def container(self, offset: int) -> bytes | None:
        """The magic number of the member at an offset, or None."""
        return container_of(self.source.at(offset, MAGIC_BYTES))

    def open(self, container: bytes, offset: int) -> Member:
        return self._openers[container](offset)

    def skip_frames(self, offset: int) -> int:
        """The offset after any skippable frames."""
        while len(head := self.source.at(offset, 8)) == 8 and is_skippable(head):
            offset += 8 + struct.unpack("<I", head[4:])[0]
        return offset

    def _open_zstd(self, offset: int) -> Member:
        if self._has_dictionary is None:
            self._dictionary = _read_dictionary(self.source)
            self._has_dictionary = self._dictionary is not None
        return _ZstdMember(self.source, offset, self._dictionary)


def _read_dictionary(source: Source) -> zstandard.ZstdCompressionDict | None:
    """The dictionary in the file's first frame (skippable, magic 0x184D2A5D), which may be compressed itself; None if
    there is none."""
    head = source.at(0, 8)
    if len(head) < 8 or head[:4] != b"\x5d\x2a\x4d\x18":
        return None
    data = source.at(8, min(struct.unpack("<I", head[4:])[0], _MAX_DICTIONARY_BYTES))
    if data.startswith(ZSTD):
        with zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW).stream_reader(data) as reader:
            try:
                data = reader.read(_MAX_DICTIONARY_BYTES)
            except zstandard.ZstdError:
                return None  # frames that need it will report damage
    return zstandard.ZstdCompressionDict(data) if data else None
