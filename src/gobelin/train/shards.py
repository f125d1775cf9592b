"""Token shards on a local disk or an object store, read by row group. An index locates each document.

The index takes 28 bytes per document, regardless of the document's length. An index beside the shards is used if its
digests match the files. Otherwise one pass over the shards makes the index and checks every document. The index can be
cached in a file, and is made again for another data set. The data set's manifest determines the training data: the
digest of its files is the data's fingerprint. Checkpoints store it, so a run only resumes on the data that it began
with.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gobelin.errors import MissingDataError, UserError
from gobelin.store.dataset import DataFile, current, files_of, is_committed, paths_of
from gobelin.store.files import exists, open_input, read_bytes, write_bytes
from gobelin.store.paths import join, parent_of
from gobelin.tokenize.grammar import ItemRange, parse
from gobelin.tokenize.token_shards import DIGEST_KEY, each_index, read_layout
from gobelin.tokenize.vocabulary import METADATA_KEY, Vocabulary
from gobelin.train.held_out import HeldOut, choose_sites, hash_of

INDEX_NAME = "index.npz"

INDEX_SET = "index"
"""Data set beside the token shards: ``TOKEN_INDEX``."""

NO_SITE = 0


@dataclasses.dataclass(frozen=True, slots=True)
class TokenDocument:
    """One document of the shards, split into items."""

    doc_id: str
    tokens: np.ndarray  # int32
    items: tuple[ItemRange, ...]
    image_ids: tuple[str, ...]  # of the image items, in reading order


@dataclasses.dataclass(frozen=True, slots=True)
class TokenIndex:
    """Locations of the N documents of a data set, in the order of the manifest's files and of their rows."""

    paths: tuple[str, ...]  # of the shards
    fingerprint: str  # SHA-256 over names, rows and digests of the shards, hex
    groups: np.ndarray  # int32, G x 2: shard and row group in it
    starts: np.ndarray  # int64, G + 1: first document of each row group
    lengths: np.ndarray  # int32, N: tokens
    num_images: np.ndarray  # int32, N
    longest_image: np.ndarray  # int32, N: tokens of the longest image with its caption and what encloses them
    hashes: np.ndarray  # uint64, N: hash_of the id
    sites: np.ndarray  # uint64, N: hash_of the site; NO_SITE where it has none


class Documents:
    """A subset of the documents of an index, in its order. Tokens are read on demand.

    Args:
        chosen: bool, (N,). Empty documents are always left out.
    """

    def __init__(self, index: TokenIndex, chosen: np.ndarray, vocabulary: Vocabulary) -> None:
        self.index, self.vocabulary = index, vocabulary
        self.chosen = chosen & (index.lengths > 2)  # more than <|document|> and <|end_of_document|>
        ends = np.concatenate([[0], np.cumsum(np.where(self.chosen, index.lengths, 0), dtype=np.int64)])
        self.group_tokens = np.diff(ends[index.starts])
        """Tokens of them in each row group, int64, G."""
        self.seed_part = int(index.fingerprint[:8], 16)
        """What sets the order of these apart from that of others."""
        self.num_tokens, self.num_images = int(ends[-1]), int(index.num_images[self.chosen].sum(dtype=np.int64))

    def __len__(self) -> int:
        return int(self.chosen.sum())

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the data set's fingerprint and the chosen documents, hex."""
        return hashlib.sha256(self.index.fingerprint.encode() + np.packbits(self.chosen).tobytes()).hexdigest()

    def read(self, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The documents in these row groups, in the order of the index.

        Returns:
            Their tokens, concatenated, int32; and the offset of each document, with the end, int64.
        """
        found, lengths = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
        for _, group, table in _read_groups(self.index, np.sort(groups), ["tokens"], self.vocabulary):
            mask = self.chosen[self.index.starts[group] : self.index.starts[group + 1]]
            sizes = pc.list_value_length(table["tokens"]).to_numpy().astype(np.int64)
            tokens = pc.list_flatten(table["tokens"]).to_numpy().astype(np.int32, copy=False)
            found.append(tokens if mask.all() else tokens[np.repeat(mask, sizes)])
            lengths.append(sizes[mask])
        return np.concatenate(found), np.concatenate([[0], np.cumsum(np.concatenate(lengths))])

    def __iter__(self) -> Iterator[TokenDocument]:
        """Yields the documents, split into items. Holds one row group at a time."""
        columns = ["doc_id", "tokens", "image_spans"]
        groups = np.flatnonzero(self.group_tokens)
        for path, group, table in _read_groups(self.index, groups, columns, self.vocabulary):
            mask = self.chosen[self.index.starts[group] : self.index.starts[group + 1]]
            yield from _documents_of(table.filter(pa.array(mask)), path, self.vocabulary)


@dataclasses.dataclass(frozen=True, slots=True)
class TokenCorpus:
    """All documents of a folder of token shards."""

    training: Documents
    validation: Documents
    fingerprint: str  # of the index


@dataclasses.dataclass(frozen=True, slots=True)
class Split:
    """Hashes of held-out documents and sites, uint64, of any corpus."""

    held_out: np.ndarray  # documents that a model is evaluated on
    left_out: np.ndarray  # others
    sites: np.ndarray

    def holds(self, index: TokenIndex) -> np.ndarray:
        """Whether each document of an index is in the split, by its id or by its site."""
        return (
            np.isin(index.hashes, self.held_out)
            | np.isin(index.hashes, self.left_out)
            | np.isin(index.sites, self.sites)
        )


def split_of(index: TokenIndex, held_out: float | HeldOut, *, by_site: bool = False) -> Split:
    """The held-out split of a corpus: a given one, or a share of its documents.

    Args:
        by_site: whether to hold out whole sites, if the index knows them (``choose_sites``). Otherwise documents are
            chosen by a hash of their id.
    """
    nothing = np.empty(0, np.uint64)
    if isinstance(held_out, HeldOut):
        return Split(_hashes(held_out.documents), _hashes(held_out.left_out), _hashes(held_out.sites))
    sites = nothing
    if by_site:
        names, counts = np.unique(index.sites[index.sites != NO_SITE], return_counts=True)
        chosen = choose_sites(dict(zip(names.tolist(), counts.tolist(), strict=True)), held_out)
        sites = np.array(sorted(chosen), np.uint64)
    has_site = (index.sites != NO_SITE) & (len(sites) > 0)
    is_held_out = np.where(has_site, np.isin(index.sites, sites), index.hashes < np.uint64(int(held_out * 2**64)))
    return Split(index.hashes[is_held_out], nothing, sites)


def read_corpus(
    shards: str, vocabulary: Vocabulary, held_out: float | HeldOut, *, kept_in: str | None = None
) -> TokenCorpus:
    """Reads the data set of token shards in this folder.

    Args:
        held_out: the held-out documents; or a share of the documents, chosen by a hash of their id, [0, 1).
        kept_in: folder that caches the index.

    Raises:
        UserError: there is no such data set, no document for training, the vocabulary differs, or a document breaks the
            grammar.
    """
    index = read_index(shards, vocabulary, kept_in)
    split = split_of(index, held_out)
    return corpus_of(index, split, [split], vocabulary, shards)


def corpus_of(
    index: TokenIndex, own: Split, splits: Sequence[Split], vocabulary: Vocabulary, shards: str
) -> TokenCorpus:
    """The two parts of a corpus: training documents, which are in none of the splits, and its own held-out documents.

    Raises:
        UserError: there is nothing to train on, or images are latents, not codes.
    """
    for codebook in vocabulary.codebooks:
        if codebook.is_continuous:
            raise UserError(
                f"the images of {shards} are continuous latents (codebook {codebook.name}), and this trainer learns "
                "codes: tokenize with a VQ-VAE, FSQ or VQGAN, or read the column latents with a trainer of your own"
            )
    is_apart = np.logical_or.reduce([split.holds(index) for split in splits])
    training = Documents(index, ~is_apart, vocabulary)
    validation = Documents(index, np.isin(index.hashes, own.held_out), vocabulary)
    if not len(training):
        raise UserError(f"{shards} holds {len(validation)} documents with anything in them, and none to train on")
    return TokenCorpus(training, validation, index.fingerprint)


def documents_among(
    shards: str, vocabulary: Vocabulary, doc_ids: Iterable[str], kept_in: str | None = None
) -> Documents:
    """The documents of a data set of token shards with these ids. Raises UserError like ``read_corpus``."""
    index = read_index(shards, vocabulary, kept_in)
    return Documents(index, np.isin(index.hashes, _hashes(doc_ids)), vocabulary)


def vocabulary_of(shards: str) -> Vocabulary:
    """The vocabulary of token shards. Each shard stores it in its metadata.

    Raises:
        UserError: there are no token shards in this folder.
    """
    try:
        path = paths_of(shards)[0]
    except (MissingDataError, IndexError):
        raise UserError(f"no token shards in {shards}: give a folder that the tokenize stage wrote") from None
    with open_input(path) as stream:
        stored = (pq.ParquetFile(stream).schema_arrow.metadata or {}).get(METADATA_KEY)
    if stored is None:
        raise UserError(f"{path} holds no {METADATA_KEY.decode()} in its metadata: it is not a token shard")
    return Vocabulary.from_json(stored.decode())


def _hashes(names: Iterable[str]) -> np.ndarray:
    return np.array(list(map(hash_of, names)), np.uint64)


def read_index(shards: str, vocabulary: Vocabulary, kept_in: str | None = None) -> TokenIndex:
    """The index of a data set of token shards. Reads it from the cache, or makes and caches it.

    Raises:
        UserError: as in ``read_corpus``.
    """
    try:
        files, folder = files_of(shards), current(shards)
    except MissingDataError:
        raise UserError(f"no token shards in {shards}: run the tokenize stage first") from None
    paths, fingerprint = tuple(join(folder, file.name) for file in files), _fingerprint(files, vocabulary)
    kept = None if kept_in is None else join(kept_in, INDEX_NAME)
    if kept is not None and exists(kept):
        with np.load(io.BytesIO(read_bytes(kept)), allow_pickle=False) as arrays:
            if str(arrays["fingerprint"]) == fingerprint:
                return TokenIndex(paths, fingerprint, *(arrays[name] for name in _ARRAYS))
    index = _index_beside(shards, files, paths, fingerprint, vocabulary)
    if index is None:
        index = _make_index(paths, fingerprint, vocabulary)
    if kept is not None:
        content = io.BytesIO()
        np.savez(content, fingerprint=np.array(fingerprint), **{name: getattr(index, name) for name in _ARRAYS})
        write_bytes(kept, content.getvalue())
    return index


_ARRAYS = ("groups", "starts", "lengths", "num_images", "longest_image", "hashes", "sites")


def _fingerprint(files: Sequence[DataFile], vocabulary: Vocabulary) -> str:
    digest = hashlib.sha256(vocabulary.to_json().encode())
    for file in files:
        digest.update(f"\n{file.name} {file.num_rows} {file.sha256}".encode())
    return digest.hexdigest()


def _index_beside(
    shards: str, files: Sequence[DataFile], paths: tuple[str, ...], fingerprint: str, vocabulary: Vocabulary
) -> TokenIndex | None:
    """The index from the data set ``index`` beside the shards; None if it is missing or belongs to other files."""
    beside = join(parent_of(shards.rstrip("/")), INDEX_SET)
    if not is_committed(beside) or [file.name for file in files_of(beside)] != [file.name for file in files]:
        return None
    groups, sizes, rows = [], [], [np.empty((0, 3), np.int32)]
    hashes, sites = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    for number, (file, table) in enumerate(zip(files, each_index(paths_of(beside)))):
        if (table.schema.metadata or {}).get(DIGEST_KEY) != file.sha256.encode() or len(table) != file.num_rows:
            return None
        counts = np.bincount(table["row_group"].to_numpy())
        groups += [(number, group) for group in range(len(counts))]
        sizes += counts.tolist()
        rows.append(np.stack([table[name].to_numpy() for name in ("num_tokens", "num_images", "longest_image")], 1))
        hashes.append(_hashes(table["doc_id"].to_pylist()))
        sites.append(_site_hashes(table))
    if paths:  # the vocabulary is that of all of them
        with open_input(paths[0]) as stream:
            _open_shard(stream, paths[0], vocabulary)
    starts = np.concatenate([[0], np.cumsum(np.array(sizes, np.int64))])
    lengths, num_images, longest = np.ascontiguousarray(np.concatenate(rows).T)
    return TokenIndex(
        paths, fingerprint, np.array(groups, np.int32).reshape(-1, 2), starts, lengths, num_images, longest,
        np.concatenate(hashes), np.concatenate(sites),
    )  # fmt: skip


def _site_hashes(table: pa.Table) -> np.ndarray:
    names = table["site"].to_pylist() if "site" in table.column_names else [None] * len(table)
    known = {name: NO_SITE if name is None else hash_of(name) for name in set(names)}
    return np.array([known[name] for name in names], np.uint64)


def _make_index(paths: tuple[str, ...], fingerprint: str, vocabulary: Vocabulary) -> TokenIndex:
    """Reads and checks all documents once, one row group at a time."""
    groups: list[tuple[int, int]] = []
    rows = [np.empty((0, 3), np.int32)]
    hashes, sites = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    starts = [0]
    for shard, path in enumerate(paths):
        with open_input(path) as stream:
            file = _open_shard(stream, path, vocabulary)
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, ["doc_id", "tokens", "image_spans", "site"])
                found = [_measure(document) for document in _documents_of(table, path, vocabulary)]
                rows.append(np.array([row for _, row in found], np.int32).reshape(-1, 3))
                hashes.append(np.array([each for each, _ in found], np.uint64))
                sites.append(_site_hashes(table))
                groups.append((shard, group))
                starts.append(starts[-1] + len(found))
    lengths, num_images, longest = np.ascontiguousarray(np.concatenate(rows).T)
    return TokenIndex(
        paths, fingerprint, np.array(groups, np.int32).reshape(-1, 2), np.array(starts, np.int64), lengths, num_images,
        longest, np.concatenate(hashes), np.concatenate(sites),
    )  # fmt: skip


def _measure(document: TokenDocument) -> tuple[int, tuple[int, int, int]]:
    images = [item.stop - item.start for item in document.items if item.codes is not None]
    return hash_of(document.doc_id), (len(document.tokens), len(images), max(images, default=0))


def _read_groups(
    index: TokenIndex, groups: np.ndarray, columns: list[str], vocabulary: Vocabulary
) -> Iterator[tuple[str, int, pa.Table]]:
    """Path, number and rows of these sorted row groups of an index. Opens each shard once."""
    shards = index.groups[groups, 0]
    for shard in np.unique(shards):
        path = index.paths[shard]
        with open_input(path) as stream:
            file = _open_shard(stream, path, vocabulary)
            for group in groups[shards == shard]:
                yield path, int(group), file.read_row_group(int(index.groups[group, 1]), columns)


def _open_shard(stream: object, path: str, vocabulary: Vocabulary) -> pq.ParquetFile:
    file = pq.ParquetFile(stream)
    stored = (file.schema_arrow.metadata or {}).get(METADATA_KEY)
    if stored is None:
        raise UserError(f"{path} holds no {METADATA_KEY.decode()} in its metadata: it is not a token shard")
    read_layout(file.schema_arrow.metadata, path)
    written = Vocabulary.from_json(stored.decode())
    if written != vocabulary:
        raise UserError(
            f"{path} was written with another vocabulary than the one given: tokenize again "
            f"({written.difference(vocabulary)})"
        )
    return file


def _documents_of(table: pa.Table, path: str, vocabulary: Vocabulary) -> Iterator[TokenDocument]:
    rows = zip(table["doc_id"].to_pylist(), table["tokens"], table["image_spans"].to_pylist())
    for doc_id, tokens, spans in rows:
        ids = tokens.values.to_numpy().astype(np.int32)
        items = tuple(parse(ids, vocabulary))
        image_ids = tuple(span["image_id"] for span in spans)
        if len(image_ids) != sum(item.codes is not None for item in items):
            raise UserError(f"{path}: image_spans of document {doc_id} do not match its tokens: tokenize again")
        yield TokenDocument(doc_id, ids, items, image_ids)
