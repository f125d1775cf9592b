"""Counts the pages of a TIFF file, and extracts each as a file.

A TIFF is a chain of directories of tags (TIFF 6.0; BigTIFF is the same with 64-bit numbers). Each directory is a page,
unless its tags NewSubfileType or SubfileType mark it as a smaller version or a mask of another one. A page is extracted
by copying its tags and its strips or tiles unchanged. Nothing is decoded, so nothing is lost, and equal pages give
equal bytes. Nested directories (Exif, GPS, SubIFDs) are not copied.

The bytes are hostile. Both functions take time and memory that are linear in the length of the file, even if
directories or strips overlap.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

from gobelin.transforms.images.image_formats import identify

IMAGE_PAGES = "image_pages"
"""Rule of pages that are left out. Value: their number; threshold: 0."""

DAMAGED_PAGES = "the list of pages is damaged or too long: there may be more"

MAX_PAGES = 10_000
"""Maximum number of pages that are counted or extracted."""

MAX_GROWTH = 2
"""Maximum size of all pages together, as a multiple of the file. Pages may share a table or a profile, but not
everything."""

MAX_DIRECTORY_BYTES = 8 * 1024 * 1024
"""Maximum size of all directories together. It suffices for ``MAX_PAGES``."""

MAX_STRIPS = 200_000
"""Maximum number of strips or tiles of a page: 40 megapixels in the smallest tiles, of 16 x 16 pixels."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Type -> bytes of one value."""

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _COMPRESSION, _PAGE_NUMBER = 254, 255, 259, 297
_OFFSETS = {273: 279, 324: 325}
"""Tags with the offsets of strips and tiles -> tags with their lengths."""

_LEFT_OUT = frozenset((_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _PAGE_NUMBER, 330, 34665, 34853, 40965))
"""Tags with a page's position among others, and with offsets of further directories."""

_OLD_JPEG = 6
"""A compression whose tables may be anywhere in the file."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pages:
    """The pages of a file."""

    files: tuple[bytes | None, ...]  # each a TIFF of one page; None: it cannot be extracted
    is_damaged: bool  # the chain of directories is damaged or too long, so there may be more pages


@dataclasses.dataclass(frozen=True, slots=True)
class _Tag:
    number: int
    kind: int
    count: int
    place: int  # offset of the value in the file
    length: int  # bytes of the value


@dataclasses.dataclass(frozen=True, slots=True)
class _Layout:
    """The differences between TIFF and BigTIFF, and between byte orders."""

    order: str  # < or >
    is_big: bool

    @property
    def offset(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.is_big else "I"))

    @property
    def entry(self) -> struct.Struct:
        return struct.Struct(self.order + ("HHQ" if self.is_big else "HHI"))

    @property
    def count(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.is_big else "H"))


def count_pages(data: bytes) -> tuple[int, bool]:
    """Returns (number of pages of a TIFF file, at most ``MAX_PAGES``; whether there may be more, because the list of
    pages is damaged or too long). The first directory always counts. Any other file is one page."""
    if identify(data) != "TIFF":
        return 1, False
    layout, start = _header(data)
    pages = [tags is not None for tags in _directories(data, layout, start)]
    return max(1, pages.count(True)), False in pages


def split_pages(data: bytes) -> Pages:
    """Each page of a file as a file of its own. A file that is not a TIFF, or has one page, is returned unchanged."""
    if identify(data) != "TIFF":
        return Pages((data,), is_damaged=False)
    layout, start = _header(data)
    pages = list(_directories(data, layout, start))
    is_damaged = None in pages
    found = [tags for tags in pages if tags is not None]
    if len(found) < 2:
        return Pages((data,), is_damaged)
    files: list[bytes | None] = []
    left = 2 * MAX_GROWTH * len(data)  # bytes that may still be read or written
    for tags in found:
        left -= sum(tag.length for tag in tags if tag.length <= len(data))  # also for a page that cannot be extracted
        page = _page(data, layout, tags, left)
        left -= len(page or b"")
        files.append(page)
    return Pages(tuple(files), is_damaged)


def _header(data: bytes) -> tuple[_Layout, int]:
    """The layout, and the offset of the first directory. The two letters give the byte order, even if the version
    number, as some writers do, is in the other order. Pillow does the same."""
    layout = _Layout("<" if data[:2] == b"II" else ">", b"\x2b" in data[2:4])
    place = 8 if layout.is_big else 4
    if len(data) < place + layout.offset.size:
        return layout, 0
    return layout, layout.offset.unpack_from(data, place)[0]


def _directories(data: bytes, layout: _Layout, place: int) -> Iterator[list[_Tag] | None]:
    """Yields the tags of each page in order; None at the end if there may be more pages."""
    entry, offset = layout.entry, layout.offset
    size = entry.size + offset.size
    seen: set[int] = set()
    left = min(len(data), MAX_DIRECTORY_BYTES)  # bytes of further directories; in a valid file they do not overlap
    num_pages = 0
    while place and place not in seen:
        seen.add(place)
        if num_pages == MAX_PAGES:
            yield None
            return
        start = place + layout.count.size
        if start > len(data):
            yield None
            return
        (count,) = layout.count.unpack_from(data, place)
        end = start + count * size
        left -= end - place
        if end > len(data) or left < 0:
            yield None
            return
        tags = []
        for at in range(start, end, size):
            number, kind, num_values = entry.unpack_from(data, at)
            length = num_values * _SIZES.get(kind, 0)
            at += entry.size
            if length:
                tags.append(
                    _Tag(
                        number,
                        kind,
                        num_values,
                        at if length <= offset.size else offset.unpack_from(data, at)[0],
                        length,
                    )
                )
        if not num_pages or not _is_part(data, layout, tags):
            num_pages += 1
            yield tags
        place = offset.unpack_from(data, end)[0] if end + offset.size <= len(data) else 0


def _is_part(data: bytes, layout: _Layout, tags: list[_Tag]) -> bool:
    """Whether a directory is a smaller version or a mask of another one."""
    for tag in tags:
        if tag.number in (_NEW_SUBFILE_TYPE, _SUBFILE_TYPE) and tag.count == 1:
            (value,) = _numbers(data, layout, tag) or (0,)
            if value & 0b101 if tag.number == _NEW_SUBFILE_TYPE else value == 2:
                return True
    return False


def _numbers(data: bytes, layout: _Layout, tag: _Tag) -> tuple[int, ...] | None:
    """The values of a tag with integers; None for other types, or if the value is outside the file."""
    letter = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(tag.kind)
    if letter is None or tag.place + tag.length > len(data):
        return None
    return struct.unpack_from(f"{layout.order}{tag.count}{letter}", data, tag.place)


def _page(data: bytes, layout: _Layout, tags: list[_Tag], max_bytes: int) -> bytes | None:
    """A file of one page; None if it cannot be made, or would be longer than ``max_bytes``."""
    by_number = {tag.number: tag for tag in tags}
    held = [tag for number, tag in sorted(by_number.items()) if number not in _LEFT_OUT]
    values: dict[int, tuple[int, int, bytes]] = {}  # type, count, bytes
    if max_bytes < 0:
        return None
    for tag in held:
        if tag.place + tag.length > len(data):
            return None
        values[tag.number] = tag.kind, tag.count, data[tag.place : tag.place + tag.length]
    compression = by_number.get(_COMPRESSION)
    if compression is not None and compression.count == 1 and _numbers(data, layout, compression) == (_OLD_JPEG,):
        return None
    number = next((number for number in _OFFSETS if number in by_number), 0)
    offsets, counts = by_number.get(number), by_number.get(_OFFSETS.get(number, 0))
    if offsets is None or counts is None or offsets.count != counts.count or offsets.count > MAX_STRIPS:
        return None
    places, lengths = _numbers(data, layout, offsets), _numbers(data, layout, counts)
    if places is None or lengths is None:
        return None
    for other in _OFFSETS:  # a page has strips or tiles
        if other != number:
            values.pop(other, None)
    if sum(max(0, min(length, len(data) - place)) for place, length in zip(places, lengths)) > max_bytes:
        return None
    pieces = [data[place : place + length] for place, length in zip(places, lengths)]
    return _written(layout, values, number, pieces)


def _written(layout: _Layout, values: dict[int, tuple[int, int, bytes]], number: int, pieces: list[bytes]) -> bytes:
    """Writes a file: header, one directory, the values that do not fit into it, the strips or tiles."""
    offset = layout.offset
    kind = 16 if layout.is_big else 4
    values[number] = kind, len(pieces), bytes(len(pieces) * offset.size)
    lengths = struct.pack(f"{layout.order}{len(pieces)}{'Q' if layout.is_big else 'I'}", *map(len, pieces))
    values[_OFFSETS[number]] = kind, len(pieces), lengths
    version = struct.pack(
        layout.order + ("HHHQ" if layout.is_big else "HI"), *((43, 8, 0, 16) if layout.is_big else (42, 8))
    )
    head = (b"II" if layout.order == "<" else b"MM") + version
    behind = len(head) + layout.count.size + len(values) * (layout.entry.size + offset.size) + offset.size
    place = behind + sum(_even(len(value)) for _, _, value in values.values() if len(value) > offset.size)
    places = []
    for piece in pieces:
        places.append(place)
        place += _even(len(piece))
    values[number] = (
        kind,
        len(pieces),
        struct.pack(f"{layout.order}{len(pieces)}{'Q' if layout.is_big else 'I'}", *places),
    )
    directory, further = [layout.count.pack(len(values))], []
    for tag, (each, count, value) in sorted(values.items()):
        directory.append(layout.entry.pack(tag, each, count))
        if len(value) <= offset.size:
            directory.append(value.ljust(offset.size, b"\0"))
            continue
        directory.append(offset.pack(behind))
        further.append(value.ljust(_even(len(value)), b"\0"))
        behind += _even(len(value))
    padded = [piece.ljust(_even(len(piece)), b"\0") for piece in pieces]
    return b"".join([head, *directory, offset.pack(0), *further, *padded])


def _even(length: int) -> int:
    return length + length % 2
