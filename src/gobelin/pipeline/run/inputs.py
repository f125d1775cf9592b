"""The input of a run: its archives, and the ranges in which they are read."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gobelin.errors import UserError
from gobelin.pipeline.run.crawl_index import Records, codes_of, records_of
from gobelin.pipeline.run.crawls import check_kinds, in_sample, is_list, read_list
from gobelin.store import web
from gobelin.store.files import is_folder, list_files, open_input, size_of
from gobelin.store.paths import is_remote, is_web, join, name_of
from gobelin.store.patterns import find_files
from gobelin.transforms.archives.ranges import ArchiveRange, split_archive
from gobelin.transforms.archives.records import ArchiveRecords, Record
from gobelin.transforms.archives.wacz import ContainerError, is_zip, list_archives, part_of

READ_BATCH_BYTES = 256 * 1024 * 1024
"""Archives are read in batches of about this size, one process each: what an interrupted run may have to do again."""

MIN_BATCH_BYTES = 8 * 1024 * 1024
"""No batch is made smaller on purpose: each costs 0.6 CPU-seconds (a pipeline, and a process that opens images)."""

MIN_RANGE_BYTES = 16 * 1024 * 1024
"""No file is cut into smaller pieces than this."""

ASKED_AT_ONCE = 4
"""Requests for the sizes of files on web servers."""

MANY = 500
"""Number of archives from which on it is said that asking for their sizes takes a while."""

CUT_ON_THE_WEB = 64
"""Where there are more archives than this, those on web servers are not cut into ranges: each cut costs a request, and
all workers are busy anyway."""

NEAR_BYTES = 256 * 1024
"""Two records that are wanted, with no more between them, are read with one request."""

SEARCHED_BYTES = 64 * 1024 * 1024
"""How far into a file a first record is looked for before the file is refused."""


ARCHIVE_NAME = re.compile(r".+\.(?:(?:warc|arc)(?:\.(?:gz|zst|lz4))?|wacz)", re.IGNORECASE)
"""What files in a folder are called that is given as input."""


Say = Callable[[str], None]


def _silent(_: str) -> None:
    """Ignores a message."""


class InputError(UserError):
    """The input cannot be used. The message says what is wrong and what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Archive:
    """One input file."""

    path: str
    size: int  # bytes
    tag: str | None = None  # of a file on a web server: what changes with it (``web.Facts``)
    records: str | None = None  # digest of the choice of records, whose bytes ``size`` counts; None: the whole file

    @classmethod
    def from_json(cls, held: dict[str, Any]) -> Archive:
        """Reads an archive from its entry in ``run.json``."""
        return cls(held["path"], held["bytes"], held.get("tag"), held.get("records"))

    def to_json(self) -> dict[str, Any]:
        """The entry of the archive in ``run.json``."""
        held = {"path": self.path, "bytes": self.size, "tag": self.tag, "records": self.records}
        return {name: value for name, value in held.items() if value is not None}


def find_archives(patterns: list[str], sample: float = 1.0, say: Say = _silent) -> tuple[Archive, ...]:
    """The files that the patterns match, sorted, without duplicates. A file or folder with exactly the given name takes
    precedence over the pattern. A folder stands for all files in it and below it that are named like archives. A list
    (``crawls.py``) stands for the files on it.

    An unreadable file is an error only if its pattern matches no archive. Otherwise it is recorded as damaged.

    Args:
        sample: share of the archives to take, in (0, 1].
        say: receives messages about slow operations.

    Raises:
        InputError: a pattern matches no file, or no web archive.
    """
    if not 0 < sample <= 1:
        raise InputError(f"--sample {sample}: give a share above 0, and at most 1")
    found: dict[str, Archive] = {}
    for pattern in patterns:
        if is_list(pattern):
            addresses = read_list(pattern)
            check_kinds(pattern, addresses)
            found.update(_of_list(pattern, _sampled(pattern, addresses, sample), say))
            continue
        if is_web(pattern):
            check_kinds(pattern, [pattern])
            found.update(_on_the_web(pattern, _sampled(pattern, [pattern], sample), say))
            continue
        try:
            matched = find_files(pattern) or _archives_in(pattern)
        except Exception as error:  # noqa: BLE001  # each file system of Beam raises its own
            raise InputError(f"--input {pattern}: {type(error).__name__}: {error}") from None
        if not matched:
            raise InputError(f"--input {shown_name(pattern)}: {_why_nothing(pattern)}")
        if len(matched) == 1:
            check_kinds(pattern, list(matched))
        sizes = {_one_spelling(path): size for path, size in matched.items()}
        if not any(_is_archive(path) for path in sorted(sizes)):
            raise InputError(f"--input {pattern}: {min(sizes)} is not a WARC, ARC or WACZ file")
        found.update({path: Archive(path, sizes[path]) for path in _sampled(pattern, list(sizes), sample)})
    return tuple(archive for _, archive in sorted(found.items()))


def in_languages(
    patterns: Iterable[str], archives: tuple[Archive, ...], languages: Iterable[str], say: Say
) -> tuple[tuple[Archive, ...], dict[str, Records]]:
    """The archives of crawls that hold a page whose first language is one of these, and the records of such pages by
    the archive's path.

    Raises:
        InputError: no archive is left.
        ListError: a crawl has no index, or the index cannot be read.
    """
    codes = codes_of(languages)
    records: dict[str, Records] = {}
    for crawl in patterns:
        records |= records_of(crawl, [archive.path for archive in archives], codes, say)
    if not records:
        told = ", ".join(sorted(codes))
        raise InputError(f"--languages: none of {len(archives):,} archives holds a page in {told}, by the index")
    digest = hashlib.sha256()
    for path, each in sorted(records.items()):
        digest.update(path.encode() + b"\0" + each.offsets.astype("<i8").tobytes())
    name = digest.hexdigest()[:16]
    for archive in archives:
        if archive.path in records:
            _check_inside(archive, records[archive.path])
    found = [
        dataclasses.replace(archive, size=int(records[archive.path].lengths.sum()), records=name)
        for archive in archives
        if archive.path in records
    ]
    say(f"index: {sum(len(each.offsets) for each in records.values()):,} pages in {len(found):,} archives")
    return tuple(found), records


def _check_inside(archive: Archive, records: Records) -> None:
    """Raises InputError if an index names records beyond the end of the archive."""
    offsets, lengths = records
    is_inside = (offsets >= 0) & (lengths > 0) & (lengths <= archive.size) & (offsets <= archive.size - lengths)
    if not is_inside.all():
        at = int(is_inside.argmin())
        raise InputError(
            f"--languages: the index has a record of {lengths[at]:,} bytes at {offsets[at]:,} in {archive.path}, which "
            f"has {archive.size:,} bytes"
        )


def _sampled(pattern: str, addresses: list[str], sample: float) -> list[str]:
    taken = [address for address in addresses if in_sample(address, sample)]
    if not taken:
        raise InputError(
            f"--input {shown_name(pattern)} --sample {sample}: none of {len(addresses):,} archives is in this sample; "
            "take a larger one"
        )
    return taken


def _of_list(pattern: str, addresses: list[str], say: Say) -> dict[str, Archive]:
    """The archives on a list. Raises InputError if one is missing."""
    found = _on_the_web(pattern, [address for address in addresses if is_web(address)], say)
    for address in addresses:
        if not is_web(address):
            path = _one_spelling(address)
            try:
                found[path] = Archive(path, size_of(path))
            except OSError as error:
                raise InputError(f"--input {pattern}: {path}, which it lists: {error.strerror}") from None
    first = min(found)
    if not is_web(first) and not _is_archive(first):
        raise InputError(f"--input {pattern}: {first} is not a WARC, ARC or WACZ file")
    return found


def _on_the_web(pattern: str, addresses: list[str], say: Say) -> dict[str, Archive]:
    """Archives on web servers, requested a few at a time. The first one must hold a record."""
    if not addresses:
        return {}
    if len(addresses) > MANY:
        say(f"input: asking for the sizes of {len(addresses):,} archives, {ASKED_AT_ONCE} at a time (--sample: some)")
    with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
        try:
            facts = list(threads.map(web.facts_of, addresses))
            if not _is_archive(addresses[0]):
                raise InputError(f"--input {pattern}: {addresses[0]} is not a WARC, ARC or WACZ file")
        except OSError as error:
            threads.shutdown(cancel_futures=True)
            raise InputError(f"--input {pattern}: {error.filename}: {error.strerror}") from None
    return {address: Archive(address, each.size, each.tag) for address, each in zip(addresses, facts, strict=True)}


def _archives_in(folder: str) -> dict[str, int]:
    """Paths of the archives in a folder and below it, with their sizes in bytes. Empty if there is no such folder."""
    if not is_folder(folder):
        return {}
    found = (
        {join(folder, name): size for name, size in list_files(folder)}
        if is_remote(folder)
        else find_files(os.path.join(folder, "**"))
    )
    return {path: size for path, size in found.items() if ARCHIVE_NAME.fullmatch(name_of(path))}


def _why_nothing(pattern: str) -> str:
    if is_folder(pattern):
        return "a folder that holds no *.warc, *.arc (.gz, .zst, .lz4) or *.wacz, nor does one in it"
    if not is_remote(pattern) and os.path.islink(pattern):
        return f"is a link to {shown_name(os.readlink(pattern))}, which is not there"
    if not is_remote(pattern) and os.path.exists(pattern):
        return "is no file that can be read twice; give the path of one"
    return "no such file; give a path or a glob of WARC files (quote the glob)"


def _one_spelling(path: str) -> str:
    """The canonical path of a file, however it was named. In the path of an input, a colon follows a format
    (``stages/extract_imported.py``), so a name with a colon is prefixed by its folder.

    Raises:
        InputError: the name is not UTF-8. Data sets store file names as UTF-8.
    """
    if is_remote(path):
        return path
    check_name("--input", path)
    plain = os.path.normpath(path)
    if plain != path and not os.path.samefile(plain, path):  # a link to a folder, and .. behind it
        plain = path
    return os.path.join(".", plain) if ":" in plain.partition(os.sep)[0] else plain


def check_name(option: str, path: str) -> None:
    """Raises InputError if a path is not UTF-8. Data sets store names as UTF-8."""
    if path != shown_name(path):
        raise InputError(f"{option} {shown_name(path)}: the name is not UTF-8; rename it")


def shown_name(path: str) -> str:
    """A printable path: bytes that are not UTF-8 become question marks."""
    return path.encode("utf-8", "replace").decode("utf-8")


def _is_archive(path: str) -> bool:
    """Whether a record can be read in the first ``SEARCHED_BYTES`` of a file, even behind damage, or in an archive
    inside it."""
    try:
        with open_input(path) as stream:
            if is_zip(stream):
                return bool(list_archives(stream))
            beginning = part_of(stream, 0, min(SEARCHED_BYTES, stream.seek(0, io.SEEK_END)))
            return any(isinstance(found, Record) for found in ArchiveRecords(beginning))
    except ContainerError:
        return False
    except OSError as error:
        raise InputError(f"--input {path}: cannot be read: {error.strerror if is_web(path) else error}") from None


def read_batches(
    archives: tuple[Archive, ...], records: Mapping[str, Records] | None = None
) -> list[list[ArchiveRange]]:
    """Ranges of archives in batches. The batches depend only on the archives, so a rerun finds the batches that are
    done.

    A batch has about ``READ_BATCH_BYTES``. A small input makes about 16 batches of at least ``MIN_BATCH_BYTES``, enough
    for an even load on the workers. A large file is split, so that many workers can read it.

    Args:
        records: by path, for archives that are read only in part.
    """
    total = sum(archive.size for archive in archives)
    limit = min(READ_BATCH_BYTES, max(MIN_BATCH_BYTES, total // 16 + 1))
    batches: list[list[ArchiveRange]] = []
    held = 0
    for archive in archives:
        if archive.records is not None:
            pieces = _pieces_with(archive, (records or {})[archive.path], limit)
        else:
            pieces = _pieces(archive, max(limit, MIN_RANGE_BYTES), cuts=len(archives) <= CUT_ON_THE_WEB)
        for piece in pieces:
            size = archive.size // len(pieces) if piece.end is None else piece.end - piece.start
            if not batches or held + size > limit:
                batches.append([])
                held = 0
            batches[-1].append(piece)
            held += size
    return batches


def _pieces(archive: Archive, target_bytes: int, cuts: bool) -> list[ArchiveRange]:
    if not is_web(archive.path):
        return split_archive(archive.path, target_bytes)
    pieces = split_archive(archive.path, target_bytes) if cuts else [ArchiveRange(archive.path, 0, archive.size)]
    return [dataclasses.replace(piece, tag=archive.tag) for piece in pieces]


def _pieces_with(archive: Archive, records: Records, target_bytes: int) -> list[ArchiveRange]:
    """The ranges of an archive that hold these records. A small gap between two records is read too, because that costs
    less than another request."""
    pieces: list[ArchiveRange] = []
    offsets: list[int] = []
    end = 0
    for offset, length in zip(records.offsets.tolist(), records.lengths.tolist(), strict=True):
        if offsets and (offset - end > NEAR_BYTES or end - offsets[0] > target_bytes):
            pieces.append(ArchiveRange(archive.path, offsets[0], end, tag=archive.tag, only=tuple(offsets)))
            offsets = []
        offsets.append(offset)
        end = offset + length
    return [*pieces, ArchiveRange(archive.path, offsets[0], end, tag=archive.tag, only=tuple(offsets))]
