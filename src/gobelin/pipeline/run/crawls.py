"""Lists of archives: a file ``*.paths`` or ``*.paths.gz``, as Common Crawl publishes for each crawl, or only the
crawl's name (``CC-MAIN-2026-21``).

A list has one path per line. Paths that begin with ``crawl-data/`` or ``cc-index/`` are relative to the root of the
list's own server or bucket. For a list on a local disk, they are relative to ``https://data.commoncrawl.org``, or to
``GOBELIN_COMMON_CRAWL``, which names another place with the same files (``s3://commoncrawl`` inside AWS, a mirror). Any
other line is an address, or a path relative to the list.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Iterator

from gobelin.errors import UserError
from gobelin.store import web
from gobelin.store.files import exists, read_bytes
from gobelin.store.paths import is_remote, is_web, join, name_of, parent_of, split_remote

HOME = "https://data.commoncrawl.org"
"""Where Common Crawl publishes."""

HOME_VARIABLE = "GOBELIN_COMMON_CRAWL"

CRAWL_NAME = re.compile(r"CC-(?:MAIN-\d{4}-\d{2}|NEWS-\d{4}-\d{2})")
_LIST_NAME = re.compile(r".+\.paths(?:\.gz)?", re.IGNORECASE)
_PUBLISHED = ("crawl-data/", "cc-index/")
_TEXT_ONLY = re.compile(r"\.warc\.(wet|wat)(\.gz)?$", re.IGNORECASE)
_MAX_LIST_BYTES = 256 * 2**20
_MAX_LINE = 2048


class ListError(UserError):
    """A list of archives cannot be used."""


def home() -> str:
    """The address from which crawls given by name are read."""
    return os.environ.get(HOME_VARIABLE, HOME).rstrip("/")


def is_list(given: str) -> bool:
    """Whether an input is a list of archives, or the name of a crawl. The name of a local file is not."""
    if CRAWL_NAME.fullmatch(given):
        return not os.path.exists(given)
    return _LIST_NAME.fullmatch(name_of(web.path_of(given) if is_web(given) else given)) is not None


def address_of_list(given: str, what: str = "warc") -> str:
    """The address of the list that an input names.

    Args:
        what: which list of a crawl: ``warc`` or ``cc-index-table``.
    """
    if not CRAWL_NAME.fullmatch(given):
        return given
    if given.startswith("CC-NEWS"):
        _, _, year, month = given.split("-")
        return f"{home()}/crawl-data/CC-NEWS/{year}/{month}/{what}.paths.gz"
    return f"{home()}/crawl-data/{given}/{what}.paths.gz"


def read_list(given: str, what: str = "warc") -> list[str]:
    """Addresses of the files on a list, in its order.

    Raises:
        ListError: the list is missing, unreadable or empty, or a line is no valid path or address.
    """
    address = address_of_list(given, what)
    lines = list(_lines(given, address))
    if not lines:
        raise ListError(f"--input {given}: {address} is an empty list")
    return [_address(line, address) for line in lines]


def _lines(given: str, address: str) -> Iterator[str]:
    try:
        content = read_bytes(address)
    except FileNotFoundError:
        what = "no such crawl" if given != address else "no such list"
        raise ListError(f"--input {given}: {what}: {address} is not there") from None
    except OSError as error:
        raise ListError(f"--input {given}: the list {address} cannot be read: {error.strerror}") from None
    for number, line in enumerate(_unpacked(content, given).decode("utf-8", "replace").splitlines(), 1):
        line = line.strip()
        if len(line) > _MAX_LINE or not line.isprintable():
            raise ListError(f"--input {given}: line {number} is no path: is it a list of archives?")
        if line:
            yield line


def _unpacked(content: bytes, given: str) -> bytes:
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        unpacker = zlib.decompressobj(wbits=31)
        unpacked = unpacker.decompress(content, _MAX_LIST_BYTES)
    except zlib.error as error:
        raise ListError(f"--input {given}: the list is damaged: {error}") from None
    if not unpacker.eof:
        raise ListError(f"--input {given}: the list breaks off, or is longer than {_MAX_LIST_BYTES >> 20} MiB")
    return unpacked


def _address(line: str, address_of_list: str) -> str:
    if is_remote(line):
        return line
    if is_web(address_of_list):
        return _on_the_web(line, address_of_list)
    if is_web(line):
        return line
    if not _is_published(line):
        return line if line.startswith("/") else join(parent_of(address_of_list), line)
    if is_remote(address_of_list):
        return f"{split_remote(address_of_list)[0]}/{line}"
    beside = join(parent_of(address_of_list), line)
    return beside if exists(beside) else f"{home()}/{line}"


def _on_the_web(line: str, address_of_list: str) -> str:
    """The address that a line of a list on a web server names."""
    address = web.beside(address_of_list, f"/{line}" if _is_published(line) else line)
    if not is_web(address):
        raise ListError(f"{address_of_list}: it names {line!r}, which is not an address on the web")
    try:
        web.check_not_local(address_of_list, address)
    except UserError as error:
        raise ListError(str(error)) from None
    return address


def _is_published(line: str) -> bool:
    return line.startswith(_PUBLISHED)


def check_kinds(given: str, addresses: list[str]) -> None:
    """Raises ListError if a file is a WET or WAT file of Common Crawl, which holds no pages."""
    for address in addresses:
        found = _TEXT_ONLY.search(web.path_of(address) if is_web(address) else address)
        if found:
            kind = found[1].upper()
            raise ListError(
                f"--input {given}: {name_of(address)} is a {kind} file, which holds no pages, but "
                f"{'their text' if kind == 'WET' else 'facts about them'}; give the WARC files (warc.paths.gz)"
            )


def path_of(address: str) -> str:
    """The path of an archive on its server or in its bucket, or its name on a local disk."""
    if is_web(address):
        return web.path_of(address).strip("/")
    return split_remote(address)[1] if is_remote(address) else name_of(address)


def in_sample(address: str, share: float) -> bool:
    """Whether an archive is in a sample. A larger sample contains every smaller one. The choice depends only on
    ``path_of``, so it does not matter how an archive is accessed."""
    if share >= 1:
        return True
    digest = hashlib.sha256(path_of(address).encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8]) < share * 2**64
