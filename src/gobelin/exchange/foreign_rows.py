"""Turns one row of a foreign file into a document, or into the reason why it is left out.

Every format reads its rows through ``attempt``, which records an invalid row as an error. The same rules then apply to
documents of all formats. A text node, the text of an image, or a title is removed if it is mostly control or
replacement characters (``readable_text``). Removed parts are recorded in the document's ``left_out``. Images and
cosines stay with their texts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pyarrow as pa

from gobelin.data.model import Unit
from gobelin.data.rows import NodeRow
from gobelin.errors import UserError
from gobelin.exchange.entry import Entry, EntryError, LeftOut
from gobelin.store.paths import is_remote
from gobelin.transforms import boundary
from gobelin.transforms.pages.tree.readable_text import is_readable

UNREADABLE = "unreadable_text"
"""Rule of texts that are mostly control or replacement characters. The value is the text's length in characters."""

_WORDS: tuple[Literal["alt", "caption", "title"], ...] = ("alt", "caption", "title")


def attempt(read: Callable[..., Entry], *arguments: Any) -> Entry | EntryError:
    """Calls a function on a row. Returns its document or an error, so one bad row never ends an import."""
    made = boundary.attempt(_read, read, *arguments)
    return EntryError("import_error", made.detail) if isinstance(made, boundary.Refused) else made


def _read(read: Callable[..., Entry], *arguments: Any) -> Entry | EntryError:
    try:
        return readable(read(*arguments))
    except EntryError as error:
        return error


_DAMAGE = (
    pa.ArrowException, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError,
    RuntimeError, OSError,
)  # fmt: skip
"""What libraries raise over a file that is not what it should be. RuntimeError: a zip file that needs a password."""


@contextlib.contextmanager
def damage_as_user_error(path: str, kind: str) -> Iterator[None]:
    """Turns damage of a foreign file, or a missing file, into a ``UserError``.

    Errors of the disk or the object store are raised unchanged, because an outage is not damage.

    Args:
        kind: what the file should be, for the message.
    """
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, OSError) and _is_of_the_place(path, error):
            raise
        raise UserError(f"{path}: cannot be read as {kind}: {' '.join(str(error).split())[:300]}") from None


def _is_of_the_place(path: str, error: OSError) -> bool:
    if is_remote(path):
        return error.errno not in (None, errno.ENOENT)
    return boundary.ends_a_run(error)


def readable(entry: Entry) -> Entry:
    """The document without unreadable texts.

    Raises:
        EntryError: nothing is left of it.
    """
    nodes: list[NodeRow] = []
    texts: list[bool] = []  # of each text node, whether it stays
    left_out: list[LeftOut] = []
    for place, node in enumerate(entry.document["nodes"]):
        if node["kind"] == "text":
            text = node["text"] or ""
            texts.append(is_readable(text))
            if texts[-1]:
                nodes.append(node)
            else:
                left_out.append(LeftOut(UNREADABLE, len(text), detail=f"node {place}", unit=Unit.NODE))
            continue
        for name in _WORDS:
            words = node[name]
            if words and not is_readable(words):
                left_out.append(LeftOut(UNREADABLE, len(words), detail=f"{name} of node {place}", unit=Unit.NODE))
                node = node.copy()
                node[name] = None
        nodes.append(node)
    document = entry.document
    if document["title"] and not is_readable(document["title"]):
        left_out.append(LeftOut(UNREADABLE, len(document["title"]), detail="title of the document", unit=Unit.NODE))
        document = {**document, "title": None}
    if not left_out:
        return entry
    if not nodes:
        raise EntryError(UNREADABLE, f"all {len(texts)} texts are mostly control or replacement characters")
    cosines = entry.cosines
    if cosines is not None:
        cosines = [[each for each, stays in zip(row, texts, strict=True) if stays] for row in cosines]
    return dataclasses.replace(
        entry,
        document={**document, "nodes": nodes},
        cosines=cosines if any(texts) else None,
        left_out=(*entry.left_out, *left_out),
    )
