"""The decompressed bytes of an archive, from one position where reading can start to the next.

A ``Segment`` gives the decompressed bytes of members that belong together: from a member that begins a record up to the
next one that does. A record may thus span several members (bgzip), and a member may hold many records (``gzip
file.warc``). Reading can start at each member that begins a record. A ``PlainSegment`` is an uncompressed file, in
which unwanted bytes are skipped without reading them.

Memory: pieces of 64 KiB. A member that decompresses to more than ``MAX_RATIO`` times its size is abandoned at that
point, so
the size of a file bounds the processing time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from gobelin.transforms.archives.members import INPUT_BYTES, DamageError, Member, Members, Source

MAX_RATIO = 64
MIN_RATIO_BYTES = 64 << 20
"""A member may decompress to ``MIN_RATIO_BYTES`` plus ``MAX_RATIO`` times its compressed bytes. HTML has a ratio of 5
to 10."""

_PIECE = 64 << 10
_SALVAGE_STEP = 64


class BombError(DamageError):
    """A member decompresses to far more bytes than a record needs."""


class Buffered:
    """Bytes that are read piece by piece. ``position`` is the number of consumed bytes."""

    def __init__(self, position: int = 0, held: bytes = b"") -> None:
        self.position = position
        self._held, self._used = held, 0

    def _next_piece(self) -> bytes:
        raise NotImplementedError

    def _more(self) -> bool:
        piece = self._next_piece()
        self._held, self._used = self._held[self._used :] + piece, 0
        return bool(piece)

    def peek(self, num_bytes: int) -> bytes:
        """The next bytes, without consuming them; fewer only at the end."""
        while len(self._held) - self._used < num_bytes and self._more():
            pass
        return self._held[self._used : self._used + num_bytes]

    def read(self, num_bytes: int) -> bytes:
        """Consumes and returns bytes; fewer only at the end."""
        parts = []
        left = num_bytes
        while left > 0:
            part = self._held[self._used : self._used + left]
            self._used += len(part)
            left -= len(part)
            parts.append(part)
            if left and not self._more():
                break
        self.position += num_bytes - left
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_line(self, max_bytes: int) -> bytes:
        """Consumes and returns a line with its end, or ``max_bytes`` of it."""
        end = self._held.find(b"\n", self._used, self._used + max_bytes)
        if end < 0:
            end = self.peek(max_bytes).find(b"\n")
            return self.read(max_bytes if end < 0 else end + 1)
        line = self._held[self._used : end + 1]
        self._used = end + 1
        self.position += len(line)
        return line

    def skip(self, num_bytes: int) -> int:
        """Consumes bytes without returning them. Returns their number."""
        left = num_bytes
        while left > 0:
            taken = min(left, len(self._held) - self._used)
            self._used += taken
            left -= taken
            if left and not self._more():
                break
        self.position += num_bytes - left
        return num_bytes - left


class PlainSegment(Buffered):
    """The rest of an uncompressed file. ``position`` is the offset in the file, and skipping reads nothing."""

    def __init__(self, source: Source, position: int) -> None:
        super().__init__(position)
        self._source, self._next = source, position

    def _next_piece(self) -> bytes:
        piece = self._source.read(self._next, _PIECE)
        self._next += len(piece)
        return piece

    def read(self, num_bytes: int) -> bytes:
        held = len(self._held) - self._used
        if num_bytes - held < _PIECE:
            return super().read(num_bytes)
        data = self._held[self._used :] + self._source.read(self._next, num_bytes - held)
        self.seek(self.position + len(data))
        return data

    def seek(self, position: int) -> None:
        self._held, self._used, self._next, self.position = b"", 0, position, position

    def skip(self, num_bytes: int) -> int:
        if num_bytes <= len(self._held) - self._used:
            return super().skip(num_bytes)
        skipped = min(num_bytes, self._source.size - self.position)
        self.seek(self.position + skipped)
        return skipped


class Segment(Buffered):
    """The decompressed bytes from a member that begins a record up to the next one that does.

    Attributes:
        offset: its beginning in the file.
        position: number of consumed decompressed bytes.
        end: the beginning of the next member in the file, or of the damaged member if there is one.
        damage: why the bytes end early, or None.
        is_bomb: whether they end early because they would be too many.
        reached: how far the file was read when damage was met, minus input that may not have been used yet.
        unpacked: number of bytes from the damaged member.
        following: the next segment's first member with its first piece, already opened.
    """

    def __init__(
        self,
        members: Members,
        container: bytes,
        offset: int,
        begins_record: Callable[[bytes], bool],
        opened: tuple[Member, bytes] | None = None,
    ) -> None:
        member, piece = opened or (members.open(container, offset), b"")
        super().__init__(0, piece)
        self._members, self._container, self._begins_record = members, container, begins_record
        self._member: Member | None = member
        self._total = self.unpacked = len(piece)
        self._boundaries = {0: offset}  # decompressed bytes -> offset in the file
        self.offset = self.end = self.reached = offset
        self.damage: str | None = None
        self.is_bomb = False
        self.following: tuple[Member, bytes] | None = None

    def boundary(self, position: int, last: int | None = None) -> int | None:
        """The file offset of the first member boundary at ``position``, or between it and ``last``; None if there is
        none."""
        if last is None:
            return self._boundaries.get(position)
        return next((place for at, place in self._boundaries.items() if position <= at <= last), None)

    def forget_boundaries(self) -> None:
        """Forgets boundaries before the current position."""
        self._boundaries = {at: place for at, place in self._boundaries.items() if at >= self.position}

    def _next_piece(self) -> bytes:
        while self._member is not None:
            try:
                piece = self._member.read(_PIECE)
                self._check_ratio(self._member, len(piece))
            except DamageError as error:
                self.is_bomb = isinstance(error, BombError)
                piece = b"" if self.is_bomb else self._salvage(self._member)
                self.damage, self.end = str(error), self._member.offset
                self.reached = self.end + max(1, self._member.num_read() - INPUT_BYTES)
                self._member = None
            if not piece and self._member is not None:
                piece = self._open_next(self._member.end)
            if piece:
                self._total += len(piece)
                return piece
        return b""

    def _check_ratio(self, member: Member, num_bytes: int) -> None:
        self.unpacked += num_bytes
        if self.unpacked > MIN_RATIO_BYTES + MAX_RATIO * member.num_read():
            raise BombError(f"unpacks to over {MAX_RATIO} times its size")

    def _salvage(self, damaged: Member) -> bytes:
        """The bytes that a damaged member gives beyond its complete pieces. One bad byte fails a whole piece."""
        member = self._members.open(self._container, damaged.offset)
        parts: list[bytes] = []
        with contextlib.suppress(DamageError):
            left = self.unpacked
            while left and (part := member.read(min(left, _PIECE))):
                left -= len(part)
            while part := member.read(_SALVAGE_STEP):
                parts.append(part)
        return b"".join(parts)

    def _open_next(self, place: int) -> bytes:
        """Opens the member at an offset if it continues this segment. Returns its first piece, else b""."""
        self.end = place = self._members.skip_frames(place)
        self._boundaries[self._total] = place
        self._member, self.unpacked = None, 0
        if self._members.container(place) != self._container:
            return b""
        member = self._members.open(self._container, place)
        try:
            piece = member.read(_PIECE)
        except DamageError:
            return b""  # the next segment begins with it and reports the damage
        if self._begins_record(piece):
            self.following = member, piece
            return b""
        self._member, self.unpacked = member, len(piece)
        return piece
