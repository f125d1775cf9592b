"""The records of an archive: WARC 0.17 to 1.1 and ARC 1.0 to 2.0, compressed in any way, damaged or not.

``ArchiveRecords`` iterates over the records. The next record depends only on the position in the file, so reading can
start at any record, and gives the same records as reading from the front. This makes it possible to split files into
ranges (``ranges.py``).

Damage: a record that is shorter than it declares has a ``problem``, and a stretch without a record is a ``Damage``.
Reading continues at the next record after the start of the damaged one, because its declared length may be wrong. A
record that is embedded in a payload is found only if it is the payload of a damaged record.

Takes 20 microseconds per record plus the time for decompression.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from gobelin.transforms.archives.heads import (
    ANY_LINE,
    MAX_HEAD_BYTES,
    MAX_LINE_BYTES,
    WARC_LINE,
    Head,
    begins_record,
    parse_head,
)
from gobelin.transforms.archives.members import (
    GZIP,
    LZ4,
    MAGIC_BYTES,
    ZSTD,
    DamageError,
    Members,
    Source,
    container_of,
)
from gobelin.transforms.archives.segments import Buffered, PlainSegment, Segment

MAX_MISCOUNT = 16
"""Number of bytes by which a record may be shorter than declared. Some writers count line ends that are not there."""

_MAX_PADDING = 8
"""Maximum number of zeros at the end of a file or member that count as padding."""

_SCAN = 128 << 10
_BLANKS = b"\r\n \t"
_MAX_REWORK = 4
"""Limit on the bytes of damaged members that are decompressed again to find records after the damage, as a multiple of
the file's size."""

_MEMBER_MAGIC = {GZIP: rb"\x1f\x8b\x08[\0-\x1f]", ZSTD: re.escape(ZSTD), LZ4: re.escape(LZ4)}


@dataclasses.dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of an archive that holds no readable record."""

    offset: int
    num_bytes: int  # decompressed bytes if inside a member
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """The position of a record: bytes of the file from which it can be read alone. For a record that shares its member
    with others: decompressed bytes, counted from the member's position in the file (for a file with a single member:
    bytes of the decompressed file)."""

    offset: int
    length: int
    is_alone: bool  # whether these are bytes of the file


class Record:
    """One record. Its block can be read once, before ``finish``.

    Attributes:
        kind: WARC-Type in lower case; ``response`` or ``warcinfo`` in an ARC.
        fields: header fields by name in lower case; those of an ARC have the names of WARC.
        is_arc: whether it is an ARC record. Then ``content-type`` is that of the payload, and there may be no HTTP
            head.
        problem: known after ``finish``: why the record is incomplete or has a wrong length; None if it is valid.
    """

    def __init__(self, head: Head, start: int, segment: Buffered, finish: Callable[[Record], Place]) -> None:
        self.kind, self.fields, self.is_arc = head.kind, head.fields, head.is_arc
        self.start, self.segment, self.block_start = start, segment, segment.position
        self.num_bytes = _content_length(head.fields.get("content-length"))
        self.left = self.num_bytes or 0
        self.problem: str | None = None
        self._finish = finish
        self._place: Place | None = None

    def finish(self) -> Place:
        """Moves to the end of the record and returns its position."""
        if self._place is None:
            self._place = self._finish(self)
        return self._place

    def read(self, num_bytes: int) -> bytes:
        """Up to ``num_bytes`` of the block; fewer only at its end."""
        data = self.segment.read(min(num_bytes, self.left))
        self.left -= len(data)
        return data

    def peek(self, num_bytes: int) -> bytes:
        """The next bytes of the block, without consuming them."""
        return self.segment.peek(min(num_bytes, self.left))

    def readline(self, num_bytes: int, /) -> bytes:
        """A line of the block, or ``num_bytes`` of it."""
        line = self.segment.read_line(min(num_bytes, self.left))
        self.left -= len(line)
        return line


def _content_length(value: str | None) -> int | None:
    value = (value or "").strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None


class ArchiveRecords:
    """Iterates over the records of a file or of a range of it.

    The caller reads what it needs of a record and calls its ``finish`` before requesting the next one.
    """

    def __init__(self, stream: BinaryIO, start: int = 0, end: int | None = None) -> None:
        """Args:
        stream: the archive, seekable.
        start: the position of a record, or 0.
        end: the first position whose record is not wanted; None: the end of the file.
        """
        self._source = Source(stream)
        self._members = Members(self._source)
        self._start, self._end = start, self._source.size if end is None else min(end, self._source.size)
        self._is_arc: bool | None = None  # kind of the last record, which is also searched after damage
        self._container: bytes | None = None
        self._rework = 0
        self._is_shared = False  # whether the last member held more than one record
        self.position = start  # how far the file has been read
        self.has_padding = False  # whether bytes between members were skipped

    @property
    def size(self) -> int:
        return self._source.size

    def __iter__(self) -> Iterator[Record | Damage]:
        segment: Segment | None = None
        while True:
            opened, self.position = (segment.following, segment.end) if segment else (None, self.position)
            segment = None
            if opened is None:
                self.position = self._skip_padding(self.position)
            if self.position >= self._end:
                break
            container = self._members.container(self.position)
            if container is not None:
                self._container = container
                segment = Segment(self._members, container, self.position, begins_record, opened)
                yield from self._read_segment(segment)
                if segment.damage is not None:
                    self.position, segment = self._behind_damage(segment), None
            elif begins_record(self._source.at(self.position, MAX_LINE_BYTES)):
                self._container = None
                yield from self._read_plain(PlainSegment(self._source, self.position))
            else:
                is_padding = not self._source.at(self.position, _MAX_PADDING).strip(b"\0")
                place = self._find_anything(self.position)
                if place < self.size or place - self.position > _MAX_PADDING or not is_padding:
                    yield Damage(self.position, place - self.position, "no record can be read here")
                self.has_padding = True
                self.position = place
        if self.position > self._end < self.size:
            yield Damage(self._end, 0, "the next part of the file begins inside a record")

    def _read_segment(self, segment: Segment) -> Iterator[Record | Damage]:
        is_told = False
        num_found = 0
        while segment.peek(1):
            num_found += 1
            start = segment.position
            if start:
                segment.forget_boundaries()
            _skip_blanks(segment)
            if not segment.peek(1):
                break
            found = self._read_head(segment, start, functools.partial(self._finish_packed, segment))
            if found is None:
                is_padding = not segment.peek(_MAX_PADDING).strip(b"\0")
                self._skip_to_record(segment)
                num_bytes = segment.position - start
                if num_bytes > _MAX_PADDING or segment.damage is not None or not is_padding:
                    detail = segment.damage or "no record can be read here"
                    place = segment.boundary(start)
                    yield Damage(segment.offset + start if place is None else place, num_bytes, detail)
            else:
                yield found
                found.finish()
            is_told = segment.damage is not None and (found is None or found.problem is not None)
        self._is_shared = num_found > 1
        if segment.damage is not None and not is_told:
            yield Damage(segment.end, segment.reached - segment.end, segment.damage)

    def _read_plain(self, segment: PlainSegment) -> Iterator[Record | Damage]:
        while True:
            _skip_blanks(segment)
            self.position = start = segment.position
            if start >= self._end or container_of(segment.peek(MAGIC_BYTES)) is not None:
                return
            found = self._read_head(segment, start, functools.partial(self._finish_plain, segment))
            if found is None:
                is_padding = not segment.peek(_MAX_PADDING).strip(b"\0")
                self._skip_to_record(segment)
                num_bytes = segment.position - start
                if segment.position < self.size or num_bytes > _MAX_PADDING or not is_padding:
                    yield Damage(start, num_bytes, "no record can be read here")
            else:
                yield found
                found.finish()

    def _finish_packed(self, segment: Segment, record: Record) -> Place:
        missing = record.left - segment.skip(record.left)
        if record.num_bytes is None:
            self._skip_to_record(segment)
            record.problem = "no length of its content"
        stop = segment.position
        _skip_blanks(segment)
        is_last = not segment.peek(1)
        begin, end = segment.boundary(record.start), segment.boundary(stop, segment.position)
        if missing > MAX_MISCOUNT:
            record.problem = segment.damage or _shortfall(record, missing)
        elif segment.damage is not None and is_last and end is None:
            record.problem = segment.damage  # a wrong checksum, or what stands behind the record in its member
        if record.problem is not None and segment.damage is not None:
            end = segment.reached
        if begin is not None and end is not None:
            return Place(begin, end - begin, True)
        return Place(segment.offset + record.start, stop - record.start, False)

    def _finish_plain(self, segment: PlainSegment, record: Record) -> Place:
        missing = record.left - segment.skip(record.left)
        end = segment.position
        if record.num_bytes is None:
            record.problem = "no length of its content"
        elif missing > MAX_MISCOUNT:
            record.problem = _shortfall(record, missing)
        else:
            _skip_blanks(segment)
            if self._is_record_end(segment):
                return Place(record.start, end - record.start, True)
        # What it says of its length may be wrong: the next record is sought from its block on.
        segment.seek(record.block_start - 1)
        self._skip_to_record(segment)
        found = segment.position
        if record.problem is None:
            if found > end:
                segment.seek(end)  # the bytes between are reported as damage
            elif found < end - MAX_MISCOUNT:
                record.problem = _shortfall(record, end - found)
        return Place(record.start, min(end, found) - record.start, True)

    def _is_record_end(self, segment: PlainSegment) -> bool:
        head = segment.peek(MAX_LINE_BYTES)
        return not head or begins_record(head) or container_of(head) is not None

    def _read_head(self, segment: Buffered, start: int, finish: Callable[[Record], Place]) -> Record | None:
        """The record that begins next, or None."""
        head = parse_head(segment.peek)
        if head is None:
            if begins_record(segment.peek(MAX_LINE_BYTES)):  # a head that does not end
                segment.skip(MAX_HEAD_BYTES - MAX_LINE_BYTES)
            return None
        self._is_arc = head.is_arc
        segment.skip(head.num_bytes)
        return Record(head, start, segment, finish)

    def _skip_to_record(self, segment: Buffered) -> None:
        """Skips at least one byte, up to a line that begins a record or to the end."""
        line = WARC_LINE if self._is_arc is False else ANY_LINE
        while True:
            data = segment.peek(_SCAN)
            is_end = len(data) < _SCAN
            stop = len(data) if is_end else len(data) - MAX_LINE_BYTES
            for match in line.finditer(data, 1):
                if match.start() >= stop:
                    break
                if begins_record(data[match.start() : match.start() + MAX_LINE_BYTES]):
                    segment.skip(match.start())
                    return
            segment.skip(stop)
            if is_end:
                return

    def _skip_padding(self, place: int) -> int:
        """The position after skippable frames and blank lines."""
        while True:
            place = self._members.skip_frames(place)
            data = self._source.at(place, _SCAN)
            blanks = len(data) - len(data.lstrip(_BLANKS))
            if not blanks:
                return min(place, self.size)
            place += blanks
            self.has_padding = True

    def _behind_damage(self, segment: Segment) -> int:
        """The position at which to continue after a damaged member."""
        self._rework += segment.unpacked
        # Inside a member with many records, or inside a bomb, an apparent member is almost never real.
        is_costly = self._is_shared or segment.is_bomb or self._rework > _MAX_REWORK * self.size
        place = self._find_member(max(segment.reached if is_costly else 0, segment.end + 1))
        return self.size if place is None else place

    def _find_anything(self, place: int) -> int:
        """The next position that begins a record: a member like the earlier ones, or any member or uncompressed
        record."""
        found = self._find_member(place + 1)
        if self._container is None:
            segment = PlainSegment(self._source, place)
            self._skip_to_record(segment)
            return segment.position if found is None else min(found, segment.position)
        return self.size if found is None else found

    def _find_member(self, place: int) -> int | None:
        containers = tuple(_MEMBER_MAGIC) if self._container is None else (self._container,)
        return find_member(self._members, containers, place, self.size)


def find_member(members: Members, containers: tuple[bytes, ...], start: int, stop: int) -> int | None:
    """The next position in [start, stop) of a member whose content begins a record; None if there is none."""
    magic = re.compile(b"|".join(_MEMBER_MAGIC[container] for container in containers))
    while start < stop:
        data = members.source.at(start, _SCAN)
        for match in magic.finditer(data):
            place = start + match.start()
            if place < stop and _begins_member(members, place):
                return place
        start += max(1, len(data) - MAGIC_BYTES + 1)
    return None


def _begins_member(members: Members, place: int) -> bool:
    container = members.container(place)
    if container is None:
        return False
    try:
        return begins_record(members.open(container, place).read(MAX_LINE_BYTES))
    except DamageError:
        return False


def _shortfall(record: Record, missing: int) -> str:
    return f"says {record.num_bytes} bytes, {missing} of them are missing"


def _skip_blanks(segment: Buffered) -> None:
    size = 8
    while (head := segment.peek(size)) and head[0] in _BLANKS:
        segment.skip(len(head) - len(head.lstrip(_BLANKS)))
        size = _SCAN
