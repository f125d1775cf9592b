"""Token shards as the flat files of other trainers: Megatron-LM's ``.bin`` and ``.idx``, nanoGPT's ``.bin``.

Tokens are unchanged: ids of the vocabulary, with ``<|document|>`` first and ``<|end_of_document|>`` last in each
document.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow.parquet as pq

from gobelin.store.dataset import paths_of
from gobelin.store.files import open_input, output, write_bytes
from gobelin.store.paths import join

MEGATRON_MAGIC = b"MMIDIDX\x00\x00"
MEGATRON_CODES = {np.dtype(np.int32): 4, np.dtype(np.uint16): 8}
"""Numbers of the types of ids in ``megatron/core/datasets/indexed_dataset.py``."""

MOST_UINT16 = 65_500
"""Ids from which Megatron-LM takes int32."""


def documents_of(shards: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (doc_id, tokens) of each document of token shards, in order. Holds one row group at a time."""
    for path in paths_of(shards):
        with open_input(path) as stream:
            file = pq.ParquetFile(stream)
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, ["doc_id", "tokens"])
                for doc_id, tokens in zip(table["doc_id"].to_pylist(), table["tokens"]):
                    yield doc_id, tokens.values.to_numpy()


def write_megatron(
    documents: Iterable[tuple[str, np.ndarray]], is_held_out: Callable[[str], bool], folder: str, vocabulary_size: int
) -> dict[str, Any]:
    """Writes ``train`` and ``val``, each a ``.bin`` and an ``.idx`` file, with one sequence per document. Returns the
    numbers of documents and tokens of both, and the type of ids."""
    dtype = np.dtype(np.uint16 if vocabulary_size < MOST_UINT16 else np.int32)
    lengths: dict[str, list[int]] = {"train": [], "val": []}
    with output(join(folder, "train.bin")) as train, output(join(folder, "val.bin")) as val:
        for doc_id, tokens in documents:
            name = "val" if is_held_out(doc_id) else "train"
            lengths[name].append(_write(tokens, val if name == "val" else train, dtype))
    for name, each in lengths.items():
        write_bytes(join(folder, f"{name}.idx"), _megatron_index(np.array(each, np.int32), dtype))
    return _summary(lengths, dtype)


def _megatron_index(lengths: np.ndarray, dtype: np.dtype) -> bytes:
    """The content of an ``.idx`` file: the length of each sequence, its offset in bytes, and the offsets of
    documents."""
    pointers = np.cumsum(lengths, dtype=np.int64) * dtype.itemsize - lengths * np.int64(dtype.itemsize)
    head = MEGATRON_MAGIC + struct.pack("<QBQQ", 1, MEGATRON_CODES[dtype], len(lengths), len(lengths) + 1)
    index = (lengths.astype("<i4"), pointers.astype("<i8"), np.arange(len(lengths) + 1, dtype="<i8"))
    return head + b"".join(part.tobytes() for part in index)


def write_nanogpt(
    documents: Iterable[tuple[str, np.ndarray]], is_held_out: Callable[[str], bool], folder: str, vocabulary_size: int
) -> dict[str, Any]:
    """Writes ``train.bin`` and ``val.bin``, concatenated ids, and ``meta.pkl`` with the size of the vocabulary. Ids are
    uint16, as nanoGPT reads them, or uint32 for a large vocabulary. Returns the same as ``write_megatron``."""
    dtype = np.dtype(np.uint16 if vocabulary_size <= 1 << 16 else np.uint32)
    lengths: dict[str, list[int]] = {"train": [], "val": []}
    with output(join(folder, "train.bin")) as train, output(join(folder, "val.bin")) as val:
        for doc_id, tokens in documents:
            name = "val" if is_held_out(doc_id) else "train"
            lengths[name].append(_write(tokens, val if name == "val" else train, dtype))
    write_bytes(join(folder, "meta.pkl"), pickle.dumps({"vocab_size": vocabulary_size}, protocol=4))
    return _summary(lengths, dtype)


def _summary(lengths: dict[str, list[int]], dtype: np.dtype) -> dict[str, Any]:
    counts = {name: {"documents": len(each), "tokens": sum(each)} for name, each in lengths.items()}
    return {**counts, "dtype": dtype.name}


def _write(tokens: np.ndarray, stream: BinaryIO, dtype: np.dtype) -> int:
    """Writes the ids of a document. Returns their number."""
    stream.write(tokens.astype(dtype.newbyteorder("<")).tobytes())
    return len(tokens)
