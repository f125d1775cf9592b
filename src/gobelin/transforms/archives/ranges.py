"""Splits archives into ranges of bytes that different workers can read, with the same records as in one pass.

A range begins where a record begins and ends where the next range begins. So the readers of all ranges together read
exactly the records that a single reader would read.

Such positions are found without decompressing the file:

- Uncompressed: from record to record by their Content-Length, reading only heads. Payloads are not read.
- gzip, zstd, lz4: near each multiple of the target, the next member that begins a record, if members follow each other
  from there for ``_CHAIN_BYTES``. A compressed archive in a payload may occur unchanged in the outer one, in stored
  blocks. But such a block ends after at most 64 KiB (gzip), 128 KiB (zstd) or 4 MiB (lz4), and its frame breaks the
  chain. If a payload is crafted to defeat this, the previous range does not end at the start of its successor; that is
  reported (``records.py``).
- One member with many records (``gzip file.warc``, bgzip): one range.

An index beside the file (CDX) is not used. It may be stale or wrong, and the search takes less than one second per
file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from typing import BinaryIO

from gobelin.store import web
from gobelin.store.files import open_input
from gobelin.transforms.archives.members import GZIP, LZ4, ZSTD, Members, Source
from gobelin.transforms.archives.records import ArchiveRecords, Damage, find_member
from gobelin.transforms.archives.wacz import ContainerError, is_zip, list_archives, open_archive_of

_CHAIN_BYTES = {GZIP: 160 << 10, ZSTD: 320 << 10, LZ4: 9 << 20}
_MAX_TRIES = 64
"""Number of members that are tried for one cut."""


@dataclasses.dataclass(frozen=True, slots=True)
class ArchiveRange:
    """The records of an archive that begin in [start, end), bytes of the file.

    ``start`` must be the position of a record, as found by ``split_archive``.
    """

    path: str
    start: int = 0
    end: int | None = None  # None: the file's end
    member: str | None = None  # of a WACZ; positions are then those inside the member
    tag: str | None = None  # the entity tag that a file on a web server must have; None: any
    only: tuple[int, ...] | None = None  # offsets of the wanted records in the range; None: all

    @property
    def name(self) -> str:
        """The name of the archive in the output."""
        return self.path if self.member is None else f"{self.path}!{self.member}"


def split_archive(path: str, target_bytes: int) -> list[ArchiveRange]:
    """Splits a file into ranges of about ``target_bytes``, each with at least one record; a WACZ into the ranges of its
    archives.

    A file that is not an archive is one range, and its reader reports the problem.

    Raises:
        ValueError: ``target_bytes`` is less than 1.
        OSError: the file cannot be opened.
    """
    if target_bytes < 1:
        raise ValueError(f"target_bytes is {target_bytes}; give the bytes of a range, 1 or more")
    with open_input(path) as stream:
        if not is_zip(stream):
            return _ranges_of(stream, ArchiveRange(path), target_bytes)
        try:
            members = list_archives(stream)
        except ContainerError:
            return [ArchiveRange(path)]
        ranges: list[ArchiveRange] = []
        for member in members:
            whole = ArchiveRange(path, member=member.name)
            if member.is_stored and member.problem is None:
                with open_archive_of(stream, member.name) as (archive, _):
                    ranges += _ranges_of(archive, whole, target_bytes)
            else:
                ranges.append(whole)
        return ranges


def whole_archives(piece: ArchiveRange) -> list[ArchiveRange]:
    """The range itself; for a WACZ that is given as a whole, its archives. Raises ``ContainerError``."""
    if piece.member is not None or piece.start:
        return [piece]
    with _opened(piece) as stream:
        if not is_zip(stream):
            return [piece]
        return [ArchiveRange(piece.path, member=member.name, tag=piece.tag) for member in list_archives(stream)]


@contextlib.contextmanager
def open_range(piece: ArchiveRange) -> Iterator[tuple[BinaryIO, str | None]]:
    """Yields (the whole archive of a range, seekable; why it is incomplete, or None). Raises ``ContainerError``."""
    with _opened(piece) as stream:
        if piece.member is None:
            yield stream, None
        else:
            with open_archive_of(stream, piece.member) as opened:
                yield opened


def _opened(piece: ArchiveRange) -> BinaryIO:
    return open_input(piece.path) if piece.tag is None else web.open_reader(piece.path, piece.tag)


def _ranges_of(stream: BinaryIO, whole: ArchiveRange, target_bytes: int) -> list[ArchiveRange]:
    size = Source(stream).size
    cuts = list(_find_cuts(stream, size, target_bytes)) if size > target_bytes else []
    places = [0, *cuts, size]
    return [dataclasses.replace(whole, start=start, end=end) for start, end in itertools.pairwise(places)]


def _find_cuts(stream: BinaryIO, size: int, target_bytes: int) -> Iterator[int]:
    members = Members(Source(stream))
    first = members.skip_frames(0)  # after a dictionary, which may look like a member
    container = members.container(first)
    if container is None:
        yield from _cuts_of_plain(stream, target_bytes)
    elif not _shares_member(stream):
        for target in range(target_bytes, size, target_bytes):
            cut = _find_chain(stream, members, container, max(first, target), min(size, target + target_bytes))
            if cut is not None:
                yield cut


def _cuts_of_plain(stream: BinaryIO, target_bytes: int) -> Iterator[int]:
    archive = ArchiveRecords(stream)
    last = 0
    for record in archive:
        if isinstance(record, Damage):
            continue
        place = record.finish()
        if place.is_alone and place.offset >= last + target_bytes:
            yield place.offset
            last = place.offset


def _shares_member(stream: BinaryIO) -> bool:
    """Whether the first member holds more than one record, or the first record spans more than one member."""
    archive = ArchiveRecords(stream)
    for record in archive:
        if not isinstance(record, Damage):
            return not record.finish().is_alone
    return True


def _find_chain(stream: BinaryIO, members: Members, container: bytes, start: int, stop: int) -> int | None:
    """The first position in [start, stop) from which members follow each other for long enough."""
    for _ in range(_MAX_TRIES):
        place = find_member(members, (container,), start, stop)
        if place is None or _is_chain(stream, place, place + _CHAIN_BYTES[container]):
            return place
        start = place + 1
    return None


def _is_chain(stream: BinaryIO, place: int, end: int) -> bool:
    """Whether complete members follow each other without a gap from one position to another, or to the end of the
    file."""
    archive = ArchiveRecords(stream, place, end)
    for record in archive:
        if isinstance(record, Damage):
            return record.num_bytes == 0 and not archive.has_padding  # only because the end is an arbitrary position
        record.finish()
        if record.problem is not None:
            return False
    return not archive.has_padding
