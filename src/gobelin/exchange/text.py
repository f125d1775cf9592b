"""Corpora of text without images: plain text, JSON lines, Parquet. Mixing them into training preserves language skills.

    *.txt      one document; a line ``<|endoftext|>`` separates documents
    *.jsonl    one object per line, its text in ``text`` or ``content``; ``url`` and ``title`` are used, too
    *.parquet  the same as columns

Text and JSON lines may be compressed (``.gz``, ``.zst``). Empty lines separate paragraphs, which become texts of a
document.
"""

from __future__ import annotations

import gzip
import io
import itertools
import re
from collections.abc import Iterator
from typing import IO, Any

import pyarrow.parquet as pq
import zstandard

from gobelin.data.rows import Row
from gobelin.errors import UserError
from gobelin.exchange import lines, parquet_files
from gobelin.exchange.entry import Entry, EntryError, Origin, document_of, known_of, text_node
from gobelin.exchange.foreign_rows import attempt, damage_as_user_error
from gobelin.exchange.writing import Shard
from gobelin.store.files import open_input
from gobelin.store.paths import name_of

PATTERNS = ("*.jsonl", "*.jsonl.gz", "*.jsonl.zst", "*.parquet", "*.txt", "*.txt.gz", "*.txt.zst")

_JSONL = (".jsonl", ".jsonl.gz", ".jsonl.zst")

NAMES = ("text", "content")
"""Fields that may hold a document's text; the first that is there counts."""

END_OF_TEXT = b"<|endoftext|>"
"""A line that parts the documents of a file of plain text."""

_PARAGRAPHS = re.compile(r"\n\s*\n")


def write_shard(shard: Shard) -> None:
    """Raises UserError: a corpus with images cannot be written as text only."""
    raise UserError("--format text can only be read: jsonl has the texts of a corpus")


def read_source(path: str) -> Iterator[Entry | EntryError]:
    """Yields the documents of one file.

    Raises:
        UserError: the file cannot be read, or has no known column of text.
    """
    if path.endswith(".parquet"):
        yield from parquet_files.read_entries(path, [_column_of(path), "url", "title"], (), entry_of_object)
        return
    with damage_as_user_error(path, "text"), open_input(path) as stream:
        unpacked = _unpacked(path, stream)
        if path.endswith(_JSONL):
            yield from lines.read_entries(unpacked, name_of(path), entry_of_object)
        else:
            for number, text in enumerate(_plain(unpacked)):
                yield text if isinstance(text, EntryError) else attempt(_entry, text, {}, Origin(name_of(path), number))


def entry_of_object(value: Row, origin: Origin) -> Entry:
    """A document from an object.

    Raises:
        EntryError: it holds no text.
    """
    text = next((value[name] for name in NAMES if isinstance(value.get(name), str)), None)
    if text is None:
        raise EntryError("malformed_row", f"no text in {' or '.join(NAMES)}")
    return _entry(text, known_of(value), origin)


def _entry(text: str, known: Row, origin: Origin) -> Entry:
    paragraphs = [part.strip() for part in _PARAGRAPHS.split(text.replace("\r\n", "\n"))]
    nodes = [text_node(part) for part in paragraphs if part]
    if not nodes:
        raise EntryError("malformed_row", "a document without text")
    return Entry(document_of(None, nodes, origin, known), ())


def _column_of(path: str) -> str:
    with damage_as_user_error(path, "Parquet"), open_input(path) as stream:
        names = pq.ParquetFile(stream).schema_arrow.names
    found = next((name for name in NAMES if name in names), None)
    if found is None:
        raise UserError(f"{path}: has no column {' or '.join(NAMES)}; its columns are {', '.join(names[:20])}")
    return found


def _unpacked(path: str, stream: IO[bytes]) -> IO[bytes]:
    if path.endswith(".gz"):
        return gzip.open(stream)  # type: ignore[return-value]
    if path.endswith(".zst"):
        unpacked: Any = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)
        return io.BufferedReader(unpacked)
    return stream


def _plain(stream: IO[bytes]) -> Iterator[str | EntryError]:
    """Yields the documents of a plain text file. A document may be at most as long as a line of JSON."""
    for is_end, part in itertools.groupby(_lines(stream), lambda line: line.strip() == END_OF_TEXT):
        if is_end:
            continue
        kept, size = [], 0
        for line in part:
            size += len(line)
            if size <= lines.MAX_LINE_BYTES:
                kept.append(line)
        text = b"".join(kept).decode("utf-8-sig", "replace")
        if size > lines.MAX_LINE_BYTES:
            yield EntryError("malformed_row", f"a text of more than {lines.MAX_LINE_BYTES} bytes")
        elif text.strip():
            yield text


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    while line := stream.readline(lines.MAX_LINE_BYTES):
        yield line
