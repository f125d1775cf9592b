"""The formats by name: their needs, their file names, and their functions for reading and writing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import PurePath

from gobelin.errors import UserError
from gobelin.exchange import hf_parquet, jsonl, markdown, mmc4, nemo, obelics, text, webdataset
from gobelin.exchange.entry import Entry, EntryError
from gobelin.exchange.writing import LEFT_OUT, Shard
from gobelin.store.files import exists, files_in, is_folder
from gobelin.store.paths import is_remote, join, name_of

WriteShard = Callable[[Shard], None]
ReadSource = Callable[[str], Iterator[Entry | EntryError]]


@dataclasses.dataclass(frozen=True, slots=True)
class Format:
    """A file format for documents with images."""

    holds_data: bool  # the images' bytes stand in the documents' own files
    images_beside: bool  # ``--with-images`` puts a data set ``images`` beside the files, and an import reads it
    has_similarity: bool
    patterns: tuple[str, ...]  # of its files in a folder; the first that matches counts
    write_shard: WriteShard
    read_source: ReadSource


FORMATS = {
    "jsonl": Format(False, True, False, ("*.jsonl",), jsonl.write_shard, jsonl.read_source),
    "obelics": Format(False, True, False, ("data/*.parquet", "*.parquet"), obelics.write_shard, obelics.read_source),
    "mmc4": Format(False, False, True, ("*.jsonl.zip", "*.jsonl"), mmc4.write_shard, mmc4.read_source),
    "webdataset": Format(True, False, False, ("*.tar", "*.tar.gz", "*.tgz"), webdataset.write_shard,
                         webdataset.read_source),
    "nemo": Format(True, False, False, ("data/*.parquet", "*.parquet"), nemo.write_shard, nemo.read_source),
    "parquet": Format(True, False, False, ("data/*.parquet", "*.parquet"), hf_parquet.write_shard,
                      hf_parquet.read_source),
}  # fmt: skip


READ_ALONE = {"text": Format(False, False, False, text.PATTERNS, text.write_shard, text.read_source)}
"""Formats that are read and not written."""


WRITTEN_ALONE = {"markdown": Format(True, False, False, ("*.md",), markdown.write_shard, markdown.read_source)}
"""Formats that are written and not read."""


def find_format(name: str) -> Format:
    """A format by its name.

    Raises:
        UserError: there is no such format.
    """
    known = {**FORMATS, **READ_ALONE, **WRITTEN_ALONE}
    if name not in known:
        raise UserError(f"--format {name}: no such format; there are {', '.join(sorted(known))}")
    return known[name]


def find_sources(name: str, given: list[str]) -> list[str]:
    """The files of a format at these addresses (files, or folders that hold them), sorted, without duplicates.

    Raises:
        UserError: there is nothing at an address, or it holds no such file.
    """
    found: set[str] = set()
    for address in map(_one_spelling, given):
        if exists(address):
            found.add(address)
            continue
        if not is_folder(address):
            raise UserError(f"{address}: no such file or folder")
        matched = next((files for pattern in find_format(name).patterns if (files := _files(address, pattern))), [])
        if not matched:
            patterns = " or ".join(find_format(name).patterns)
            raise UserError(f"{address}: holds no files of format {name} ({patterns})")
        found.update(matched)
    return sorted(found, key=lambda address: address.split("/"))  # folder by folder


def _one_spelling(address: str) -> str:
    return address.rstrip("/") if is_remote(address) else str(PurePath(address))


def _files(folder: str, pattern: str) -> list[str]:
    """The files that match a pattern, without the decisions that an export writes beside documents."""
    *folders, sign = pattern.split("/")
    held = files_in(join(folder, *folders)) if folders else files_in(folder)
    return [path for path in held if fnmatchcase(name_of(path), sign) and name_of(path) != LEFT_OUT]
