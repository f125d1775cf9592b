"""One row of a foreign file -> a document that may be taken, or the reason why it is left out.

Every format reads its rows through ``attempt``. Here a row that cannot be read becomes an error to be recorded, and
what is left of a document is compared with rules that are the same for all formats: no text that is mostly control or
replacement characters (``readable_text``) becomes a node, nor the words of an image, nor a title. Whatever goes is
noted in the document's ``left_out``; images and cosines stay beside the texts that they belong to.
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
    """What a function makes of a row, or why it makes nothing of it. One bad row never ends an import."""
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
def told_if_damaged(path: str, kind: str) -> Iterator[None]:
    """Around the reading of a foreign file: damage, or that there is no such file, becomes a ``UserError``.

    What is wrong with the disk or the store, not with the file, is raised as it is: an outage is no damage.

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
    """The document without what cannot be read.

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
