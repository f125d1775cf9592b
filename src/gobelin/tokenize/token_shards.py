"""Token shards: the shuffled sequences of the corpus in files with about equal numbers of tokens, and an index.

1. Each sequence has a *key*: 64 bits of a hash of seed, document and part. Shards, and rows within a shard, are in the
order of their keys. This shuffles the whole corpus without holding it in memory.
2. The keys are divided into 65,536 slices, and the tokens of each slice are counted. Slices are assigned to shards so
that all shards have about the same number of tokens (``shards_of_slices``). The counts, and so the assignment, do not
depend on the number of workers.
3. Rows are partitioned by shard (``transforms/partition.py``), and within a shard by row group. Row groups are sorted
and written one after another, and the index is written beside the shard. One row group is in memory at a time.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from gobelin.data.rows import ImageSpanRow
from gobelin.data.schemas import CONTINUOUS_TOKEN_SHARDS, TOKEN_INDEX, TOKEN_SHARDS
from gobelin.errors import UserError
from gobelin.store.dataset import data_output, shard_name
from gobelin.store.shards import ROW_GROUP_BYTES
from gobelin.store.tables import read_tables
from gobelin.tokenize.codebook import Codebook
from gobelin.tokenize.split import TokenSequence
from gobelin.tokenize.vocabulary import METADATA_KEY, Vocabulary
from gobelin.transforms.partition import PartBuffer, Parts, release_memory

VERSION = 3
"""Version of the layout of token shards. Version 1, which stores no version, had no ``part``, no index, and was in the
order of ids. Version 2 had no ``site``."""

SHARDS_KEY = b"gobelin.token_shards"
"""Key of the layout in a Parquet file's metadata: JSON with version, seed, shard_tokens, order ..."""

DIGEST_KEY = b"gobelin.shard_sha256"
"""Key, in the metadata of an index, of the SHA-256 of its shard."""

NUM_SLICES = 1 << 16
_SLICE_SHIFT = np.uint64(48)

Slices = npt.NDArray[np.int64]

_OF_A_SEQUENCE = [
    pa.field("key", pa.uint64(), nullable=False),
    *(TOKEN_INDEX.field(name) for name in ("num_tokens", "num_images", "num_image_tokens", "longest_image")),
]


_ORDER = [("key", "ascending"), ("doc_id", "ascending"), ("part", "ascending")]
_OF_THE_INDEX = ("doc_id", "part", "site", "num_tokens", "num_images", "num_image_tokens", "longest_image")


def shard_schema(codebook: Codebook) -> pa.Schema:
    """Schema of the token shards of a run with this tokenizer."""
    return CONTINUOUS_TOKEN_SHARDS if codebook.is_continuous else TOKEN_SHARDS


def sequence_schema(codebook: Codebook) -> pa.Schema:
    """Schema of sequences before they are written to token shards: the columns of a shard, the key, and columns of the
    index."""
    schema = shard_schema(codebook)
    for field in _OF_A_SEQUENCE:
        schema = schema.append(field)
    return schema


class SequenceColumns(TypedDict):
    """A row of ``sequence_schema``; with ``latents`` if tokens are continuous."""

    doc_id: str
    part: int | None
    site: str | None
    tokens: npt.NDArray[np.int32]
    image_spans: list[ImageSpanRow]
    key: int
    num_tokens: int
    num_images: int
    num_image_tokens: int
    longest_image: int
    latents: NotRequired[npt.NDArray[np.float16]]


def sequence_row(doc_id: str, site: str, part: int | None, sequence: TokenSequence, seed: int) -> SequenceColumns:
    """A row of ``sequence_schema``, without latents."""
    spans: list[ImageSpanRow] = [
        {"start": span.start, "length": span.length, "image_id": span.image_id} for span in sequence.spans
    ]
    return {
        "doc_id": doc_id,
        "part": part,
        "site": site or None,
        "tokens": np.array(sequence.tokens, np.int32),
        "image_spans": spans,
        "key": xxhash.xxh3_64_intdigest(f"{seed}\n{doc_id}\n{part or 0}".encode()),
        "num_tokens": len(sequence.tokens),
        "num_images": len(spans),
        "num_image_tokens": sum(span.length for span in sequence.spans),
        "longest_image": sequence.longest_image,
    }


@dataclasses.dataclass(frozen=True, slots=True)
class Totals:
    """Numbers of documents and tokens of the sequences of a corpus."""

    num_documents: int
    num_tokens: int
    num_image_tokens: int
    slices: Slices  # tokens of each slice of the keys


def count_sequences(paths: Iterable[str]) -> Totals:
    """Counts the sequences in files of ``sequence_schema``. Reads only the columns with numbers."""
    slices = np.zeros(NUM_SLICES, np.int64)
    num_documents = num_image_tokens = 0
    for path in paths:
        for table in read_tables(path, ["key", "part", "num_tokens", "num_image_tokens"]):
            np.add.at(slices, _slices_of(table), table["num_tokens"].to_numpy())
            num_documents += pc.sum(pc.equal(pc.fill_null(table["part"], 0), 0)).as_py() or 0
            num_image_tokens += pc.sum(table["num_image_tokens"]).as_py() or 0
    return Totals(num_documents, int(slices.sum()), num_image_tokens, slices)


def shards_of_slices(slices: Slices, shard_tokens: int) -> Slices:
    """The shard of each slice of the keys, shape (65536,). It increases from 0 without gaps.

    Args:
        slices: tokens of each slice, shape (65536,).
        shard_tokens: approximate number of tokens of a shard. All shards have the same number, up to the size of a
            slice.
    """
    total = int(slices.sum())
    num_shards = max(1, -(-total // shard_tokens))
    middles = np.cumsum(slices) - slices / 2
    wanted = np.minimum(middles * num_shards / max(1, total), num_shards - 1).astype(np.int64)
    used = np.unique(wanted[slices > 0])  # a document that is longer than a shard may leave the next shard empty
    return np.maximum(np.searchsorted(used, wanted, side="right") - 1, 0)


@dataclasses.dataclass(frozen=True, slots=True)
class ByKey:
    """Partitions sequences by their shards (``partition.Partitioner``)."""

    shards: Slices

    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        return table, self.shards[_slices_of(table)].astype(np.intp)


def _slices_of(table: pa.Table) -> npt.NDArray[np.intp]:
    return (table["key"].to_numpy() >> _SLICE_SHIFT).astype(np.intp)


def write_token_shard(
    shards: str, index: str, number: int, num_shards: int, paths: Sequence[str], vocabulary: Vocabulary,
    layout: dict[str, Any],
) -> None:  # fmt: skip
    """Writes one token shard and its index.

    Args:
        shards: folder of the data set of shards.
        index: folder of the data set of indexes.
        number: number of the shard, from 0.
        num_shards: number of shards.
        paths: files with the sequences of the shard, in any order.
        vocabulary: vocabulary of the tokens, for the metadata.
        layout: further metadata of the layout besides version and number.
    """
    codebook = vocabulary.codebooks[0]
    numbers, order = _sorted_numbers(paths)
    said = {"version": VERSION, **layout, "shard": number, "num_shards": num_shards}
    metadata = {METADATA_KEY: vocabulary.to_json().encode(), SHARDS_KEY: json.dumps(said, sort_keys=True).encode()}
    schema = shard_schema(codebook).with_metadata(metadata)
    groups = row_groups(numbers["num_tokens"].to_numpy(), ROW_GROUP_BYTES // 4)
    name = shard_name(number, num_shards)
    with data_output(shards, name) as new, pq.ParquetWriter(new.stream, schema, compression="zstd") as writer:
        for rows in _grouped(paths, sequence_schema(codebook), order, groups):
            writer.write_table(rows.select(schema.names).cast(schema), row_group_size=len(rows))
        new.num_rows = len(numbers)
    with data_output(index, name) as beside:
        found = _index(numbers, groups, number)
        found = found.replace_schema_metadata({**metadata, DIGEST_KEY: new.sha256.encode()})
        pq.write_table(found, beside.stream, compression="zstd")
        beside.num_rows = len(found)


def _sorted_numbers(paths: Sequence[str]) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """The index rows of the sequences in the order of the shard, and for each its row number in the concatenated
    files."""
    columns = ["key", *_OF_THE_INDEX]
    empty = pa.schema([_OF_A_SEQUENCE[0], *(TOKEN_INDEX.field(name) for name in _OF_THE_INDEX)]).empty_table()
    table = pa.concat_tables(
        [empty, *(table.select(columns) for path in paths for table in read_tables(path, columns))]
    )
    order = pc.sort_indices(table, _ORDER)
    return table.select([*_OF_THE_INDEX]).take(order), order.to_numpy().astype(np.int64)


def _grouped(
    paths: Sequence[str], schema: pa.Schema, order: npt.NDArray[np.int64], groups: Sequence[tuple[int, int]]
) -> Iterator[pa.Table]:
    """The sorted rows of each row group. Memory holds about one group at a time."""
    group_of = np.empty(len(order), np.intp)
    for number, (start, stop) in enumerate(groups):
        group_of[order[start:stop]] = number
    with PartBuffer(schema, len(groups)) as buffer:
        before = 0
        for path in paths:
            for table in read_tables(path):
                buffer.add(table, group_of[before : before + len(table)])
                before += len(table)
                del table
        for number in range(len(groups)):
            rows = pa.concat_tables(buffer.take(number)).combine_chunks()
            yield rows.take(pc.sort_indices(rows, _ORDER))
            del rows
            release_memory()


def row_groups(num_tokens: npt.NDArray[np.int32], tokens_a_group: int) -> list[tuple[int, int]]:
    """Divides rows into ranges (start, stop) with about ``tokens_a_group`` tokens each. The result depends only on the
    rows."""
    before = np.cumsum(num_tokens, dtype=np.int64) - num_tokens
    starts = np.flatnonzero(np.diff(before // tokens_a_group, prepend=-1)).tolist()
    return list(zip(starts, [*starts[1:], len(num_tokens)]))


def _index(table: pa.Table, groups: Sequence[tuple[int, int]], number: int) -> pa.Table:
    lengths = table["num_tokens"].to_numpy()
    sizes = [stop - start for start, stop in groups]
    columns = {
        "shard": np.full(len(table), number, np.int32),
        "row_group": np.repeat(np.arange(len(groups), dtype=np.int32), sizes),
        "row": np.concatenate([np.empty(0, np.int32), *(np.arange(size, dtype=np.int32) for size in sizes)]),
        "first_token": np.cumsum(lengths, dtype=np.int64) - lengths,
    }
    arrays = [columns.get(name, table[name] if name not in columns else None) for name in TOKEN_INDEX.names]
    return pa.table([pa.array(each) if isinstance(each, np.ndarray) else each for each in arrays], schema=TOKEN_INDEX)


def read_layout(metadata: dict[bytes, bytes] | None, path: str) -> dict[str, Any]:
    """The layout in the metadata of a token shard; ``{"version": 1}`` if the metadata has none.

    Raises:
        UserError: the version is unknown, or the metadata cannot be read.
    """
    stored = (metadata or {}).get(SHARDS_KEY)
    if stored is None:
        return {"version": 1}
    try:
        layout = json.loads(stored)
        version = layout["version"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: {SHARDS_KEY.decode()} in its metadata is not in gobelin's format") from None
    if version not in (1, VERSION):
        raise UserError(
            f"{path} is a token shard of version {version}, this version of gobelin reads 1 and {VERSION}: tokenize "
            "again, or read it with the version that wrote it"
        )
    known: dict[str, Any] = layout
    return known


def each_index(paths: Iterable[str]) -> Iterator[pa.Table]:
    """Reads the index of each shard, from the paths of the data set ``tokenize/index``, with its metadata."""
    for path in paths:
        yield pa.concat_tables([TOKEN_INDEX.empty_table(), *read_tables(path)])
