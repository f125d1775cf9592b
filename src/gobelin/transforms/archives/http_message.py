"""Reads an HTTP response of an archive: its head, and its body decoded from transfer and content encodings.

Bodies are untrusted, so decompression stops at a limit. Encodings are chunked, gzip, x-gzip, deflate (both readings of
it), br, zstd, and any chain of them. Headers are only hints. A body that is not compressed is returned unchanged,
whatever the header declares. A body that begins as gzip, zlib or zstd data is decompressed even without a header, or
once more than the header declares. Brotli has no signature, so it needs a header.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

import brotli
import zstandard
from zlib_ng import zlib_ng

from gobelin.transforms.archives.content_types import CERTAIN_BYTES, is_readable

MAX_HEAD_BYTES = 256 * 1024
"""Maximum size of a head. Browsers have the same limit."""

MAX_ENCODINGS = 4
"""Maximum number of encodings of one body. Servers use one."""

MAX_MEMBERS = 4096
"""Maximum number of gzip members of one body. Servers send one; bgzip writes one per 64 KiB."""

_INPUT = 16 << 10
_ZlibError: type[Exception] = zlib_ng.error  # type: ignore[assignment]  # the stubs declare an instance

_STATUS_LINE = re.compile(rb"HTTP[A-Z]{0,3}(?:/[\d.]{1,5})?(?:[ \t]+(\d{3})\b)?")
_ZLIB_STARTS = (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda")
_PROBE_BYTES = 4096
_NOT_PACKED = frozenset(("", "identity", "none", "binary", "utf-8"))


class EncodingError(ValueError):
    """A body cannot be decoded. The message names the encoding."""


class _Readable(Protocol):
    def readline(self, length: int, /) -> bytes: ...


def begins_head(data: bytes) -> bool:
    """Whether bytes begin with an HTTP head. 16 bytes are enough."""
    return _STATUS_LINE.match(data) is not None


def read_head(stream: _Readable) -> tuple[int, tuple[tuple[str, str], ...]] | None:
    """(status, headers) of the HTTP head at the beginning of a stream; None if there is none, or none that ends within
    ``MAX_HEAD_BYTES``. A head that is truncated by the end of the stream is returned.

    An invalid status is 0. Header lines without a colon continue the previous line. Heads of interim responses (1xx)
    are
    skipped.
    """
    while True:
        first = stream.readline(MAX_HEAD_BYTES)
        match = _STATUS_LINE.match(first)
        if match is None:
            return None
        status = int(match.group(1) or 0)
        headers = _read_headers(stream, first)
        if headers is None or not 100 <= status < 200 or status == 101:
            return None if headers is None else (status, headers)


def _read_headers(stream: _Readable, line: bytes) -> tuple[tuple[str, str], ...] | None:
    """The headers after a status line."""
    headers: list[tuple[str, list[str]]] = []
    num_bytes = len(line)
    while True:
        line = stream.readline(MAX_HEAD_BYTES - num_bytes)
        num_bytes += len(line)
        if num_bytes >= MAX_HEAD_BYTES and not line.endswith(b"\n"):
            return None
        text = line.strip(b"\r\n \t").decode("utf-8", "replace")
        if not text:
            return tuple([(name, " ".join(parts)) for name, parts in headers])
        name, colon, value = text.partition(":")
        if line[:1] not in (b" ", b"\t") and colon:
            headers.append((name.strip(), [value.strip()]))
        elif headers:
            headers[-1][1].append(text)


def header(headers: tuple[tuple[str, str], ...], name: str) -> str:
    """The value of a header, with all its lines joined by commas; "" if it is missing.

    Args:
        name: in lower case.
    """
    return ", ".join([value for key, value in headers if key.lower() == name])


def decode_body(raw: bytes, headers: tuple[tuple[str, str], ...], limit: int) -> bytes:
    """Decodes a body from its encodings, declared or not. Returns at most ``limit + 1`` bytes.

    Raises:
        EncodingError: an encoding is unknown or its data is damaged.
    """
    # Chunked is the last of several transfer codings, and content encodings are inside them (RFC 9112, 6.1).
    names = [*_names(headers, "content-encoding"), *_names(headers, "transfer-encoding")]
    if "chunked" in names:
        raw = join_chunks(raw)
        names = [name for name in names if name != "chunked"]
    if len(names) > MAX_ENCODINGS:
        raise EncodingError(f"{len(names)} encodings")
    for name in reversed(names):
        raw = _undo(name, raw, limit)
    for _ in range(MAX_ENCODINGS):
        found = _packing_of(raw)
        unpacked = raw if found is None else _undo(found, raw, limit, "not declared")
        if unpacked is raw:
            return raw[: limit + 1]
        raw = unpacked
    raise EncodingError(f"packed over {MAX_ENCODINGS} times")


def _names(headers: tuple[tuple[str, str], ...], name: str) -> list[str]:
    """The encodings in a header, in lower case, without parameters."""
    declared = header(headers, name)
    names = [part.partition(";")[0].strip(" \t\"'").lower() for part in declared.split(",")] if declared else []
    return [name for name in names if name not in _NOT_PACKED]


def _undo(name: str, raw: bytes, limit: int, note: str = "") -> bytes:
    """Removes one encoding from a body. A body that is not in this encoding, but is readable or compressed in another
    way, is returned unchanged."""
    if not raw or (len(raw) >= CERTAIN_BYTES and is_readable(raw)):
        return raw  # a crawler stored the body decoded and left the header as it was
    found = _packing_of(raw)
    if found not in (None, "zlib") and name not in (found, f"x-{found}"):
        return raw  # the first bytes are those of another encoding
    decoder = _DECODERS.get(name)
    problem = name[:60]
    if decoder is not None:
        try:
            return decoder(raw, limit)
        except (_ZlibError, brotli.error, zstandard.ZstdError, ValueError) as error:
            problem = f"{name}{note and ', ' + note}: {error}"[:200]
    if is_readable(raw) or found not in (None, name):
        return raw
    raise EncodingError(problem)


def _packing_of(raw: bytes) -> str | None:
    """The encoding that the first bytes of a body indicate."""
    if raw.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if raw.startswith(b"\x28\xb5\x2f\xfd"):
        return "zstd"
    if raw.startswith(_ZLIB_STARTS):  # text may also begin with x and ^
        decoder = zlib_ng.decompressobj(15)
        try:
            return "zlib" if decoder.decompress(raw[:_PROBE_BYTES], _PROBE_BYTES) else None
        except _ZlibError:
            return None
    return None


def join_chunks(raw: bytes) -> bytes:
    """Joins a chunked body. After a broken chunk, or without chunks, the rest is kept unchanged."""
    pieces: list[bytes] = []
    position = 0
    while True:
        end = raw.find(b"\n", position, position + 1024)
        size_text = raw[position:end].split(b";")[0].strip() if end >= 0 else b""
        try:
            size = int(size_text, 16) if size_text and len(size_text) <= 16 else -1
        except ValueError:
            size = -1
        if size < 0:
            return b"".join(pieces) + raw[position:] if pieces else raw
        if size == 0:
            return b"".join(pieces)
        pieces.append(raw[end + 1 : end + 1 + size])
        position = end + 1 + size
        if raw[position : position + 2] == b"\r\n":
            position += 2
        elif raw[position : position + 1] == b"\n":
            position += 1
        if position >= len(raw):
            return b"".join(pieces)


def _inflate(raw: bytes, limit: int, window_bits: int) -> bytes:
    """All members of a zlib stream, cut off at the limit. Data that is not a member is left out."""
    parts: list[bytes] = []
    size = at = 0
    for _ in range(MAX_MEMBERS):
        decoder = zlib_ng.decompressobj(window_bits)
        while not decoder.eof and size <= limit:
            packed = decoder.unconsumed_tail
            if not packed:
                packed = raw[at : at + _INPUT]
                at += len(packed)
            part = decoder.decompress(packed, limit + 1 - size)
            if not part and not packed:
                return b"".join(parts)  # truncated
            parts.append(part)
            size += len(part)
        at -= len(decoder.unused_data)
        while raw[at : at + 1] == b"\0":
            at += 1
        if size > limit or not raw.startswith(b"\x1f\x8b", at):
            return b"".join(parts)
    raise ValueError(f"over {MAX_MEMBERS} members")


def _gzip(raw: bytes, limit: int) -> bytes:
    return _inflate(raw, limit, 31)


def _zlib(raw: bytes, limit: int) -> bytes:
    return _inflate(raw, limit, 15)


def _deflate(raw: bytes, limit: int) -> bytes:
    try:
        return _zlib(raw, limit)
    except _ZlibError:
        return _inflate(raw, limit, -15)  # many servers send raw deflate under this name


def _brotli(raw: bytes, limit: int) -> bytes:
    decoder = brotli.Decompressor()
    parts = [decoder.process(raw, output_buffer_limit=limit + 1)]
    size = len(parts[0])
    while size <= limit and not decoder.can_accept_more_data():
        part = decoder.process(b"", output_buffer_limit=limit + 1 - size)
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _zstd(raw: bytes, limit: int) -> bytes:
    with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(raw, read_across_frames=True) as reader:
        return reader.read(limit + 1)


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "zlib": _zlib,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
