"""WACZ: a zip file of archives. Any zip is accepted, and the first bytes of its members show which are archives.

A zip is untrusted. Its directory is read into memory up to a limit. Members are identified by name, and no file is ever
written under that name. Encrypted members, overlapping members and members of unknown compression are refused. A stored
member, as the format requires, is read in place. A deflated one is first decompressed into a temporary file, up to
``MAX_RATIO`` times its size, because readers of a damaged archive go back.

Source: WACZ 1.1.1, https://specs.webrecorder.net/wacz/1.1.1/; APPNOTE.TXT 6.3.10 (zip).
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, BinaryIO

from gobelin.transforms.archives.heads import begins_record
from gobelin.transforms.archives.members import DamageError, Members, Source, is_skippable
from gobelin.transforms.archives.segments import MAX_RATIO, MIN_RATIO_BYTES
from gobelin.transforms.urls import well_formed

MAX_DIRECTORY_BYTES = 8 << 20
"""Maximum size of a zip's directory, or of any part of it, that is read into memory: about 100,000 members."""

_HEAD_BYTES = 16 << 10
_PIECE = 256 << 10
_MAX_NAME_CHARS = 1024
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 0x1
_ZIP_ERRORS = (zipfile.BadZipFile, ValueError, struct.error, EOFError, NotImplementedError, IndexError, OverflowError)


class ContainerError(ValueError):
    """A zip or a member of it cannot be read. The message gives the reason."""


@dataclasses.dataclass(frozen=True, slots=True)
class ZipMember:
    """An archive in a zip, or an unreadable member that may be one (then it has a ``problem``)."""

    name: str
    start: int  # of its data, in the zip
    num_bytes: int  # of its data, in the zip
    is_stored: bool
    problem: str | None


def is_zip(stream: BinaryIO) -> bool:
    """Whether a stream begins with a zip."""
    stream.seek(0)
    return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def list_archives(stream: BinaryIO) -> list[ZipMember]:
    """The archives in a zip, in the order of its directory. Raises ``ContainerError``."""
    source = Source(stream)
    try:
        with zipfile.ZipFile(_Limited(stream)) as directory:
            entries = [entry for entry in directory.infolist() if not entry.is_dir()]
    except _ZIP_ERRORS as error:
        raise ContainerError(f"no readable zip: {error}"[:200]) from None
    members = [_member(source, entry) for entry in entries]
    reached = 0
    for start, num_bytes in sorted((member.start, member.num_bytes) for member in members if member.problem is None):
        if start < reached:
            raise ContainerError("members of the zip overlap")
        reached = start + num_bytes
    found: dict[str, ZipMember] = {}
    for member, entry in zip(members, entries, strict=True):
        if member.problem is None and not (entry.filename.startswith("archive/") or _is_archive(source, member)):
            continue
        name = member.name
        if name in found:
            name = f"{name} (again, at {entry.header_offset})"
            member = dataclasses.replace(member, name=name, problem="two members of the zip have this name")
        found[name] = member
    if not found:
        raise ContainerError("no archive in the zip")
    return list(found.values())


def _member(source: Source, entry: zipfile.ZipInfo) -> ZipMember:
    header = source.at(entry.header_offset, _LOCAL_HEADER.size) if entry.header_offset >= 0 else b""
    start, problem = 0, None
    if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
        problem = "no header where the zip's directory says"
    else:
        _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
        start = entry.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
        if start + entry.compress_size > source.size:
            problem = "the zip ends inside it"
        elif entry.flag_bits & _ENCRYPTED:
            problem = "encrypted"
        elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            problem = f"packed by method {entry.compress_type} of zip"
    name = well_formed(entry.filename)[:_MAX_NAME_CHARS]
    return ZipMember(name, start, entry.compress_size, entry.compress_type == zipfile.ZIP_STORED, problem)


def _is_archive(source: Source, member: ZipMember) -> bool:
    head = source.at(member.start, min(_HEAD_BYTES, member.num_bytes))
    try:
        if not member.is_stored:
            head = zlib.decompressobj(-15).decompress(head, _HEAD_BYTES)
        if is_skippable(head):
            return True  # a dictionary, which may be longer than the bytes read
        inside = Members(Source(io.BytesIO(head)))
        container = inside.container(0)
        return begins_record(head if container is None else inside.open(container, 0).read(_HEAD_BYTES))
    except (zlib.error, DamageError):
        return False


@contextlib.contextmanager
def open_archive_of(stream: BinaryIO, name: str) -> Iterator[tuple[BinaryIO, str | None]]:
    """Yields (an archive in a zip, seekable; why it is incomplete, or None). Raises ``ContainerError``."""
    member = next((member for member in list_archives(stream) if member.name == name), None)
    if member is None:
        raise ContainerError(f"no archive of the name {name[:200]!r} in the zip")
    if member.problem is not None:
        raise ContainerError(member.problem)
    if member.is_stored:
        yield part_of(stream, member.start, member.num_bytes), None
    else:
        with tempfile.TemporaryFile() as unpacked:
            problem = _inflate(Source(stream), member, unpacked)
            yield unpacked, problem


def part_of(stream: BinaryIO, start: int, num_bytes: int) -> BinaryIO:
    """A part of a seekable stream as a stream."""
    return io.BufferedReader(_Slice(stream, start, num_bytes))


def _inflate(source: Source, member: ZipMember, output: IO[bytes]) -> str | None:
    """Writes the content of a deflated member as far as possible. Returns why it is incomplete, or None."""
    decoder = zlib.decompressobj(-15)
    at, end = member.start, member.start + member.num_bytes
    while not decoder.eof:
        packed = decoder.unconsumed_tail
        if not packed:
            packed = source.at(at, min(_PIECE, end - at))
            at += len(packed)
        try:
            piece = decoder.decompress(packed, _PIECE)
        except zlib.error as error:
            return f"the zip holds it damaged: {error}"
        output.write(piece)
        if not piece and not packed:
            return "the zip holds less of it than it says"
        if output.tell() > MIN_RATIO_BYTES + MAX_RATIO * (at - member.start):
            return f"unpacks to over {MAX_RATIO} times its size"
    return None


class _Limited:
    """A stream that refuses reads of more bytes than a zip's directory may have."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and offset < 0:
            raise zipfile.BadZipFile("a place before the file's beginning")
        return self._stream.seek(offset, whence)

    def read(self, num_bytes: int = -1) -> bytes:
        data = self._stream.read(MAX_DIRECTORY_BYTES + 1 if num_bytes < 0 else min(num_bytes, MAX_DIRECTORY_BYTES + 1))
        if len(data) > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"a directory of over {MAX_DIRECTORY_BYTES} bytes")
        return data

    def close(self) -> None:
        """Leaves the stream open, because the caller owns it."""


class _Slice(io.RawIOBase):
    """A part of a seekable stream."""

    def __init__(self, stream: BinaryIO, start: int, num_bytes: int) -> None:
        self._stream, self._start, self._size, self._at = stream, start, num_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        self._stream.seek(self._start + self._at)
        data = self._stream.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
