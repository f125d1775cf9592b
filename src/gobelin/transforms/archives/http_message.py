"""An HTTP response as it stands in an archive: its head, and its body out of transfer and content encodings.

Bodies are untrusted: what a compressed body unpacks to is cut at a limit while it is unpacked. Encodings: chunked;
gzip, x-gzip, deflate (both readings of it), br, zstd, and any chain of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

import brotli
import zstandard
from zlib_ng import zlib_ng

MAX_HEAD_BYTES = 64 * 1024
MAX_ENCODINGS = 4
"""Encodings that one body may be wrapped in; servers use one."""

MAX_MEMBERS = 4096
"""gzip members that one body may consist of; servers send one, bgzip one for each 64 KiB."""

_INPUT = 16 << 10
_ZlibError: type[Exception] = zlib_ng.error  # type: ignore[assignment]  # its stubs call the class an instance

_STATUS_LINE = re.compile(rb"HTTP[A-Z]{0,3}(?:/[\d.]{1,5})?(?:[ \t]+(\d{3})\b)?")


IMAGE_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"\0\0\1\0")
"""First bytes of PNG, JPEG, GIF, WebP (checked further by the decoder), BMP, TIFF, ICO."""


class EncodingError(ValueError):
    """A body cannot be taken out of its encoding; the message names it."""


class _Readable(Protocol):
    def readline(self, length: int, /) -> bytes: ...


def read_head(stream: _Readable) -> tuple[int, tuple[tuple[str, str], ...]] | None:
    """(status, headers) of the HTTP head at the stream's beginning; None where there is no HTTP head.

    A status that is no number is 0. Header lines without a colon continue the line before them.
    """
    first = stream.readline(8192)
    match = _STATUS_LINE.match(first)
    if match is None:
        return None
    status = int(match.group(1) or 0)
    headers: list[tuple[str, list[str]]] = []
    num_bytes = 0
    while num_bytes < MAX_HEAD_BYTES:
        line = stream.readline(8192)
        num_bytes += len(line)
        text = line.decode("utf-8", "replace").rstrip()
        if not text:
            break
        name, colon, value = text.partition(":")
        if text[0] not in " \t" and colon:
            headers.append((name.strip(), [value.strip()]))
        elif headers:
            headers[-1][1].append(text.strip())
    return status, tuple([(name, " ".join(parts)) for name, parts in headers])


def header(headers: tuple[tuple[str, str], ...], name: str) -> str:
    """A header's value, all its lines joined by commas; "" where it is not there. Case does not count."""
    return ", ".join([value for key, value in headers if key.lower() == name])


def decode_body(raw: bytes, headers: tuple[tuple[str, str], ...], limit: int) -> bytes:
    """The body out of its encodings, at most ``limit + 1`` bytes of it.

    Raises:
        EncodingError: an encoding is unknown or its data is damaged.
    """
    if "chunked" in header(headers, "transfer-encoding").lower():
        raw = join_chunks(raw)
    declared = header(headers, "content-encoding")
    encodings = [name.strip().lower() for name in declared.split(",")] if declared else []
    encodings = [name for name in encodings if name not in ("", "identity", "none", "binary", "utf-8")]
    if len(encodings) > MAX_ENCODINGS:
        raise EncodingError(f"{len(encodings)} encodings")
    for name in reversed(encodings):
        decoder = _DECODERS.get(name)
        if decoder is None:
            raise EncodingError(name[:60])
        try:
            raw = decoder(raw, limit)
        except (_ZlibError, brotli.error, zstandard.ZstdError, ValueError) as error:
            if raw[:512].lstrip()[:1] == b"<" or raw.startswith(IMAGE_MAGIC):
                continue  # a crawler stored the body decoded and left the header as it was
            raise EncodingError(f"{name}: {error}"[:200]) from None
    return raw[: limit + 1]


def join_chunks(raw: bytes) -> bytes:
    """A chunked body in one piece. Where the chunking breaks off, or there is none, the rest stays as it is."""
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
    """All members of a zlib stream, cut at the limit. The rest stays out where it is no member."""
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
                return b"".join(parts)  # breaks off: what there is of it
            parts.append(part)
            size += len(part)
        at -= len(decoder.unused_data)
        while raw[at : at + 1] == b"\0":
            at += 1
        if size > limit or not raw.startswith(b"\x1f\x8b", at):
            return b"".join(parts)
    raise ValueError(f"over {MAX_MEMBERS} members")


def _gzip(raw: bytes, limit: int) -> bytes:
    return _inflate(raw, limit, 31) if raw else raw


def _deflate(raw: bytes, limit: int) -> bytes:
    try:
        return _inflate(raw, limit, 15)
    except _ZlibError:
        return _inflate(raw, limit, -15)  # what many servers send under this name


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
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
