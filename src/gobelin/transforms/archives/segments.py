"""The bytes of an archive, unpacked, from one place where reading can start to the next.

``Segment`` gives the unpacked bytes of members that belong together: from one member that begins a record up to the
next one that does. So a record may be spread over members (bgzip), and a member may hold many records (``gzip
file.warc``). Reading can start at each member that begins a record. ``PlainSegment`` is a file that is not compressed.
Its records skip the bytes that nobody wants.

Memory: pieces of 64 KiB. A member that unpacks to more than ``MAX_RATIO`` times its size is abandoned at that point, so
the size of a file bounds the time it takes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from gobelin.transforms.archives.members import INPUT_BYTES, DamageError, Member, Members, Source

MAX_RATIO = 64
MIN_RATIO_BYTES = 64 << 20
"""A member may unpack to ``MIN_RATIO_BYTES`` and ``MAX_RATIO`` times what of it was read. HTML packs 5 to 10 times."""

_PIECE = 64 << 10
_SALVAGE_STEP = 64


class BombError(DamageError):
    """A member unpacks to far more than a record can want."""


class Buffered:
    """Bytes read one piece at a time. ``position`` counts those that were taken."""

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
        """The next bytes, without taking them; fewer at the end only."""
        while len(self._held) - self._used < num_bytes and self._more():
            pass
        return self._held[self._used : self._used + num_bytes]

    def read(self, num_bytes: int) -> bytes:
        """Takes bytes; fewer at the end only."""
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
        """Takes a line with its end, or ``max_bytes`` of it."""
        end = self._held.find(b"\n", self._used, self._used + max_bytes)
        if end < 0:
            end = self.peek(max_bytes).find(b"\n")
            return self.read(max_bytes if end < 0 else end + 1)
        line = self._held[self._used : end + 1]
        self._used = end + 1
        self.position += len(line)
        return line

    def skip(self, num_bytes: int) -> int:
        """Takes bytes and drops them. Returns how many there were."""
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
    """The rest of a file that is not compressed: ``position`` is the place in the file, and skipping reads nothing."""

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
    """The unpacked bytes from one member that begins a record up to the next one that does.

    Attributes:
        offset: where it begins in the file.
        position: unpacked bytes taken since then.
        end: where the next member begins in the file; the damaged member where there is one.
        damage: why the bytes break off; None where they do not.
        is_bomb: that they would be too many is why.
        reached: how far the file was read when damage was met, less what may not have been looked at yet.
        unpacked: bytes that the damaged member gave.
        following: the next segment's first member with its first piece, opened already.
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
        self._boundaries = {0: offset}  # unpacked bytes -> place in the file
        self.offset = self.end = self.reached = offset
        self.damage: str | None = None
        self.is_bomb = False
        self.following: tuple[Member, bytes] | None = None

    def boundary(self, position: int, last: int | None = None) -> int | None:
        """The place in the file of the first member that begins, or last one that ends, at ``position`` or between it
        and ``last``; None where there is none."""
        if last is None:
            return self._boundaries.get(position)
        return next((place for at, place in self._boundaries.items() if position <= at <= last), None)

    def forget_boundaries(self) -> None:
        """Those before the present position are of no more use."""
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
        """What a damaged member still gives behind the pieces it gave before: a whole piece fails for its last byte."""
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
        """Goes on to the member at a place if it continues this segment; returns its first piece."""
        self.end = place = self._members.skip_frames(place)
        self._boundaries[self._total] = place
        self._member, self.unpacked = None, 0
        if self._members.container(place) != self._container:
            return b""
        member = self._members.open(self._container, place)
        try:
            piece = member.read(_PIECE)
        except DamageError:
            return b""  # the next segment begins with it, and says so
        if self._begins_record(piece):
            self.following = member, piece
            return b""
        self._member, self.unpacked = member, len(piece)
        return piece
