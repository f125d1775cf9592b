"""Finds the pages of a crawl in given languages, by Common Crawl's columnar index: Parquet files with one row per page.

The list ``crawl-data/CRAWL/cc-index-table.paths.gz`` names the files. Files of ``subset=warc`` hold the fetched pages.
Of each row group, the column of languages is read first, and the other columns only if a page matches. The index is
sorted by address, not by archive, so all row groups are read, even for a few archives.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from babel.core import get_global

from gobelin.pipeline.run.crawls import CRAWL_NAME, ListError, path_of, read_list
from gobelin.store.files import open_input, output
from gobelin.store.paths import join

FOLDER = "input"
"""Folder within an output folder: the records that are read, where not all are."""

RECORDS = pa.schema([("path", pa.string()), ("offset", pa.int64()), ("length", pa.int64())])

_SUBSET = "/subset=warc/"
_COLUMNS = ("content_languages", "warc_filename", "warc_record_offset", "warc_record_length")
_SECONDS_BETWEEN_LINES = 10.0

Say = Callable[[str], None]


class Records(NamedTuple):
    """Records of one archive, in the order of the file."""

    offsets: np.ndarray  # int64
    lengths: np.ndarray  # int64, bytes


def codes_of(languages: Iterable[str]) -> frozenset[str]:
    """Language codes as the index spells them (ISO 639-3), from codes with two or three letters.

    Raises:
        ListError: a code is unknown.
    """
    others: dict[str, set[str]] = {}
    for code, plain in get_global("language_aliases").items():
        if len(code) == 3:
            others.setdefault(plain, set()).add(code)
    found: set[str] = set()
    for language in languages:
        code = language.strip().lower()
        if len(code) == 3 and code.isascii() and code.isalpha():
            found.add(code)
        elif code in others:
            found |= others[code]
        else:
            raise ListError(f"--languages {language}: not a code of a language (ISO 639: en or eng, is or isl, ...)")
    return frozenset(found)


def records_of(crawl: str, archives: Collection[str], languages: frozenset[str], say: Say) -> dict[str, Records]:
    """Records whose first language is one of the given languages, by the archive's address. Archives without such a
    record are left out.

    Args:
        crawl: name of the crawl.
        archives: addresses.
        languages: result of ``codes_of``.

    Raises:
        ListError: the crawl has no index, or the index cannot be read.
    """
    if not CRAWL_NAME.fullmatch(crawl):
        raise ListError(f"--input {crawl} with --languages: give a crawl by its name (CC-MAIN-2026-21), for its index")
    files = [address for address in read_list(crawl, "cc-index-table") if _SUBSET in address]
    if not files:
        raise ListError(f"--input {crawl}: its index lists no files of {_SUBSET.strip('/')}")
    by_path = {path_of(address): address for address in archives}
    tables, last = [], time.monotonic()
    for number, address in enumerate(files, 1):
        try:
            found = list(_matches(address, pa.array(sorted(by_path)), languages, _announced(say, number, len(files))))
        except (pa.ArrowException, OSError) as error:
            raise ListError(f"--input {crawl}: its index cannot be read: {address}: {error}") from None
        tables += found
        if time.monotonic() - last > _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"index: {number:,} of {len(files):,} files, {sum(map(len, tables)):,} pages so far")
    return _by_archive(tables, by_path)


def _announced(say: Say, number: int, num_files: int) -> Callable[[pq.ParquetFile], None]:
    def announce(file: pq.ParquetFile) -> None:
        """Reports once, from the first file, about how much there is to read."""
        if number == 1:
            groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
            sizes = (group.column(place) for group in groups for place in range(group.num_columns))
            size = sum(each.total_compressed_size for each in sizes if each.path_in_schema in _COLUMNS)
            say(f"index: {num_files:,} files, about {size * num_files / 1e9:,.1f} GB of them are read")

    return announce


def _matches(
    address: str, paths: pa.Array, languages: frozenset[str], announce: Callable[[pq.ParquetFile], None]
) -> Iterator[pa.Table]:
    with open_input(address) as stream:
        file = pq.ParquetFile(stream, pre_buffer=False)
        missing = set(_COLUMNS) - set(file.schema_arrow.names)
        if missing:
            raise ListError(f"the index {address} has no column {', '.join(sorted(missing))}")
        announce(file)
        for group in range(file.num_row_groups):
            spoken = file.read_row_group(group, columns=[_COLUMNS[0]], use_threads=False)[_COLUMNS[0]]
            first = pc.utf8_slice_codeunits(spoken, 0, 3)  # "eng,fra": all codes have three letters
            is_wanted = pc.fill_null(pc.is_in(first, pa.array(sorted(languages))), False)
            if not pc.any(is_wanted).as_py():
                continue
            named = file.read_row_group(group, columns=[_COLUMNS[1]], use_threads=False)[_COLUMNS[1]]
            is_wanted = pc.and_(is_wanted, pc.fill_null(pc.is_in(named, paths), False))
            if pc.any(is_wanted).as_py():
                places = file.read_row_group(group, columns=list(_COLUMNS[2:]), use_threads=False)
                columns = [named, *(pc.fill_null(places[name].cast(pa.int64()), -1) for name in _COLUMNS[2:])]
                yield pa.table(columns, RECORDS.names).filter(is_wanted)


def _by_archive(tables: list[pa.Table], by_path: Mapping[str, str]) -> dict[str, Records]:
    if not tables:
        return {}
    whole = pa.concat_tables(tables)
    paths = whole["path"].combine_chunks().dictionary_encode()
    indices, offsets, lengths = (np.asarray(each) for each in (paths.indices, whole["offset"], whole["length"]))
    order = np.lexsort((offsets, indices))
    ends = np.searchsorted(indices[order], np.arange(len(paths.dictionary)), side="right")
    found, start = {}, 0
    for path, end in zip(paths.dictionary.to_pylist(), ends.tolist(), strict=True):
        mine, start = order[start:end], end
        found[by_path[path]] = Records(offsets[mine], lengths[mine])
    return found


def save_records(folder: str, digest: str, records: Mapping[str, Records]) -> None:
    """Writes records into an output folder."""
    parts = [
        pa.table([pa.array([path] * len(each.offsets)), each.offsets, each.lengths], RECORDS.names)
        for path, each in sorted(records.items())
    ]
    with output(_address(folder, digest)) as stream:
        pq.write_table(pa.concat_tables(parts).cast(RECORDS), stream, compression="zstd")


def load_records(folder: str, digest: str) -> dict[str, Records]:
    """Reads the records that ``save_records`` wrote.

    Raises:
        ListError: the file is missing.
    """
    try:
        with open_input(_address(folder, digest)) as stream:
            table = pq.read_table(stream, use_threads=False)
    except FileNotFoundError:
        raise ListError(f"{_address(folder, digest)} is missing: give --input and --languages again") from None
    return _by_archive([table], {path: path for path in pc.unique(table["path"]).to_pylist()})


def _address(folder: str, digest: str) -> str:
    return join(folder, FOLDER, f"records-{digest}.parquet")
