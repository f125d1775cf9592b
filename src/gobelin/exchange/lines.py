"""Reads foreign JSON lines: each line is an object, or an error. Holds one line in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import IO, Any

from gobelin.exchange.entry import Entry, EntryError, Origin
from gobelin.exchange.foreign_rows import attempt

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is passed over: it would be held in memory."""


def read_objects(lines: IO[bytes]) -> Iterator[tuple[int, dict[str, Any] | EntryError]]:
    """Yields (number of the line among non-blank lines, from 0; its object or the error)."""
    number = 0
    while line := lines.readline(MAX_LINE_BYTES + 1):
        is_too_long = len(line) > MAX_LINE_BYTES
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = lines.readline(MAX_LINE_BYTES + 1)
        if is_too_long:
            yield number, EntryError("malformed_row", f"a line of more than {MAX_LINE_BYTES} bytes")
        elif line.strip():
            yield number, _object(line)
        else:
            continue
        number += 1


def read_entries(
    lines: IO[bytes], name: str, entry_of_object: Callable[..., Entry], *arguments: Any
) -> Iterator[Entry | EntryError]:
    """Yields the documents of a file with one document per line.

    Args:
        entry_of_object: makes a document from an object, its origin and ``arguments``.
    """
    for number, value in read_objects(lines):
        if isinstance(value, EntryError):
            yield value
        else:
            yield attempt(entry_of_object, value, Origin(name, number), *arguments)


def _object(line: bytes) -> dict[str, Any] | EntryError:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return EntryError("malformed_row", f"no JSON: {str(error)[:200]}")
    return value if isinstance(value, dict) else EntryError("malformed_row", "a line is not a JSON object")
