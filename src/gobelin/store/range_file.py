"""A remote file that is read by ranges, as a Python file object."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

_FIRST_READ_BYTES = 64 * 1024


class RangeFile(io.RawIOBase):
    """Reads ranges of a file. While it is read sequentially, it reads ahead, and each range is twice as long as the
    previous one.

    Args:
        address: for messages.
        size: of the file in bytes.
        fetch: (start, length) -> these bytes.
        most_read_bytes: largest length of a range, which is held in memory.
    """

    def __init__(self, address: str, size: int, fetch: Callable[[int, int], bytes], most_read_bytes: int) -> None:
        super().__init__()
        self._address, self._size = address, size
        self._fetch_range, self._most_read_bytes = fetch, most_read_bytes
        self._position = 0
        self._ahead = b""
        self._ahead_start = 0
        self._next_bytes = _FIRST_READ_BYTES

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(22, "seek before the beginning", self._address)
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._position)
        if wanted <= 0:
            return 0
        start = self._position - self._ahead_start
        if not 0 <= start < len(self._ahead):
            self._fetch(wanted)
            start = 0
        part = memoryview(self._ahead)[start : start + wanted]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _fetch(self, wanted: int) -> None:
        is_next = self._position == self._ahead_start + len(self._ahead)
        self._next_bytes = min(2 * self._next_bytes, self._most_read_bytes) if is_next else _FIRST_READ_BYTES
        length = min(max(wanted, self._next_bytes), self._size - self._position)
        self._ahead, self._ahead_start = self._fetch_range(self._position, length), self._position
        if not self._ahead:
            raise OSError(5, "ends before its size", self._address)
