"""Documents of a mixture that are near-duplicates of a held-out document of any of its corpora.

The corpora come from different runs, which have not been compared with each other. They share a vocabulary, so texts
are compared as token ids, with shingles of five tokens. MinHash and its verification come from
``transforms/duplicates/minhash.py``, with the defaults (Jaccard similarity 0.8).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from gobelin.store.files import exists, read_bytes, write_bytes
from gobelin.store.paths import join
from gobelin.train.shards import Documents
from gobelin.transforms.duplicates.minhash import (
    MinHashConfig,
    min_equal_bytes,
    shingles_of,
    signature_of_shingles,
)

FILE_NAME = "near_held_out.npz"

READ_TOKENS = 1 << 22
"""Tokens, about, that are read at a time."""

_CONFIG = MinHashConfig()

Hashes = npt.NDArray[np.uint64]


def near_held_out(training: Sequence[Documents], held_out: Sequence[Documents], kept_in: str) -> Hashes:
    """Hashes of training documents of any corpus whose text is a near-duplicate of a held-out document of any corpus.

    Documents without text are ignored. Reads all tokens once. The result is cached in a file for later calls with the
    same documents.

    Args:
        kept_in: folder of that file.

    Returns:
        ``held_out.hash_of`` their ids, sorted and distinct.
    """
    told = "\n".join([*(each.fingerprint for each in training), "", *(each.fingerprint for each in held_out)])
    fingerprint, path = hashlib.sha256(told.encode()).hexdigest(), join(kept_in, FILE_NAME)
    if exists(path):
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as arrays:
            if str(arrays["fingerprint"]) == fingerprint:
                return np.asarray(arrays["hashes"])
    found = _find(training, held_out)
    content = io.BytesIO()
    np.savez(content, fingerprint=np.array(fingerprint), hashes=found)
    write_bytes(path, content.getvalue())
    return found


def _find(training: Sequence[Documents], held_out: Sequence[Documents]) -> Hashes:
    signatures = [part for documents in held_out for part in _signatures(documents)]
    if not signatures:
        return np.empty(0, np.uint64)
    keys_HB, sketches_HS = (np.concatenate(parts) for parts in zip(*(part[1:] for part in signatures), strict=True))
    sketches_HS, first = np.unique(sketches_HS, axis=0, return_index=True)  # of copies one is enough
    order_BH = np.argsort(keys_HB[first], axis=0).T
    sorted_BH = np.take_along_axis(keys_HB[first].T, order_BH, 1)
    found = [np.empty(0, np.uint64)]
    for documents in training:
        for hashes, keys_NB, sketches_NS in _signatures(documents):
            is_near = np.zeros(len(hashes), np.bool_)
            for order, kept, keys in zip(order_BH, sorted_BH, keys_NB.T, strict=True):
                starts, stops = np.searchsorted(kept, keys, "left"), np.searchsorted(kept, keys, "right")
                for place in np.flatnonzero((stops > starts) & ~is_near):
                    met_MS = sketches_HS[order[starts[place] : stops[place]]]
                    num_equal_M = np.count_nonzero(met_MS == sketches_NS[place], axis=1)
                    is_near[place] = num_equal_M.max() >= min_equal_bytes(_CONFIG)
            found.append(hashes[is_near])
    return np.unique(np.concatenate(found))


def _signatures(documents: Documents) -> Iterator[tuple[Hashes, npt.NDArray[np.int64], npt.NDArray[np.uint8]]]:
    """Yields chunks of the documents with text: hashes of ids (N,), band keys (N, B), sketches (N, S)."""
    words, index = documents.vocabulary, documents.index
    groups = np.flatnonzero(documents.group_tokens)
    windows = np.cumsum(documents.group_tokens[groups]) // READ_TOKENS
    for window in np.unique(windows):
        chosen = groups[windows == window]
        tokens, bounds = documents.read(chosen)
        rows = np.concatenate([np.arange(index.starts[group], index.starts[group + 1]) for group in chosen])
        rows = rows[documents.chosen[rows]]
        hashes, keys, sketches = [], [], []
        for row, start, stop in zip(rows, bounds[:-1], bounds[1:], strict=True):
            ids = tokens[start:stop]
            ids = ids[(ids >= words.text_offset) & (ids < words.image_offset)]
            if len(ids):
                signature = signature_of_shingles(shingles_of(ids.astype(np.uint64), _CONFIG.window), "", _CONFIG)
                hashes.append(index.hashes[row])
                keys.append(signature.bands)
                sketches.append(np.frombuffer(signature.sketch, np.uint8))
        if hashes:
            yield np.array(hashes, np.uint64), np.array(keys, np.int64), np.stack(sketches)
