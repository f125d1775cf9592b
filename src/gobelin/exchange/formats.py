"""The formats by name: what each needs, how its files are found, and the functions that write and read it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from gobelin.errors import UserError
from gobelin.exchange import hf_parquet, jsonl, mmc4, nemo, obelics, webdataset
from gobelin.exchange.entry import Entry, EntryError
from gobelin.exchange.writing import LEFT_OUT, Shard

WriteShard = Callable[[Shard], None]
ReadSource = Callable[[Path], Iterator[Entry | EntryError]]


@dataclasses.dataclass(frozen=True, slots=True)
class Format:
    """One way to hold documents with images."""

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
    "nemo": Format(True, False, False, ("*.parquet",), nemo.write_shard, nemo.read_source),
    "parquet": Format(True, False, False, ("data/*.parquet", "*.parquet"), hf_parquet.write_shard,
                      hf_parquet.read_source),
}  # fmt: skip


def find_format(name: str) -> Format:
    """A format by its name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in FORMATS:
        raise UserError(f"--format {name}: no such format; there are {', '.join(sorted(FORMATS))}")
    return FORMATS[name]


def find_sources(name: str, paths: list[str]) -> list[Path]:
    """The files of a format under these paths (files, or folders that hold them), sorted, each once.

    Raises:
        UserError: a path does not exist or holds no such file.
    """
    found: set[Path] = set()
    for given in paths:
        path = Path(given)
        if path.is_file():
            found.add(path)
            continue
        if not path.is_dir():
            raise UserError(f"{given}: no such file or folder")
        matched = next((files for pattern in find_format(name).patterns if (files := _files(path, pattern))), [])
        if not matched:
            patterns = " or ".join(find_format(name).patterns)
            raise UserError(f"{given}: holds no files of format {name} ({patterns})")
        found.update(matched)
    return sorted(found)


def _files(folder: Path, pattern: str) -> list[Path]:
    """The files of a pattern, but for the decisions that an export puts beside documents."""
    return sorted(path for path in folder.glob(pattern) if path.name != LEFT_OUT)
