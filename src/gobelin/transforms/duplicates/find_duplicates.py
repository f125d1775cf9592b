"""Finds groups of duplicates in one process: columns of keys in NumPy, sorted and joined, without a shuffle.

    signatures of this run and of earlier ones --sort by id--> positions; the smallest position is the smallest id
    equal keys --> first position of each key            near keys --> ``join_alike`` over distinct texts or images

Cost: about 8 s of one core and 1.2 GB for a million documents with 18 band keys each (docs/duplicates.md); it grows
linearly.
groups.py defines the groups. For corpora that fit on no machine, Beam graphs find the same groups (document_groups.py,
image_groups.py).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gobelin.store.paths import join
from gobelin.store.shards import write_tables
from gobelin.store.tables import list_shards, read_columns
from gobelin.transforms.duplicates.alike_pairs import Indices, join_alike
from gobelin.transforms.duplicates.groups import DOCUMENT_GROUPS, IMAGE_GROUPS, KINDS, earlier_kind
from gobelin.transforms.duplicates.image_duplicates import (
    ImageHashes,
    NearImageConfig,
    candidate_groups,
    candidate_members,
    image_hashes,
    split_candidates,
)
from gobelin.transforms.duplicates.minhash import MinHashConfig, sketches_alike
from gobelin.transforms.duplicates.signatures import EarlierRun, open_earlier
from gobelin.transforms.duplicates.verify_images import Thumbnails, read_thumbnails


@dataclasses.dataclass(frozen=True, slots=True)
class DuplicatesJob:
    """Signatures, uses of images and images -> ``document_groups`` and ``image_groups`` in the folder ``work``."""

    signatures: str  # data set SIGNATURES of this run
    measurements: str  # data set MEASUREMENTS
    images: str  # data set IMAGES
    work: str
    num_shards: int
    minhash: MinHashConfig
    near_images: NearImageConfig
    earlier: tuple[str, ...]  # output folders of earlier runs


def find_duplicates(job: DuplicatesJob) -> None:
    """Writes both data sets of groups.

    Raises:
        UserError: an earlier run has no signatures, or signatures with other settings.
    """
    earlier = open_earlier(job.earlier, job.minhash)
    write_tables(join(job.work, "document_groups"), _document_groups(job, earlier))
    write_tables(join(job.work, "image_groups"), _image_groups(job, earlier))


def _document_groups(job: DuplicatesJob, earlier: tuple[EarlierRun, ...]) -> list[pa.Table]:
    site_counts = _site_counts(job.measurements)
    documents = _read_documents(job.signatures, earlier)
    groups: dict[str, Indices] = {}
    for kind, key in KINDS.items():
        groups[kind] = _first_of_key(pc.coalesce(documents[key], documents["doc_id"]))
    groups["near"] = _near_texts(documents, groups["exact"], job.minhash)
    documents = documents.drop_columns(["bands", "sketch"])
    of_earlier = _earlier(documents, groups) if earlier else {}
    ids, shard = documents["doc_id"].combine_chunks(), documents["shard"].to_numpy()
    tables = []
    for index in range(job.num_shards):
        places = np.flatnonzero(shard == index)
        columns = {
            "doc_id": ids.take(places),
            **{f"{kind}_group": ids.take(groups[kind][places]) for kind in groups},
            "earlier": pa.array(
                [of_earlier.get(place, []) for place in places.tolist()], DOCUMENT_GROUPS.field("earlier").type
            ),
            "site_counts": site_counts[index],
        }
        tables.append(pa.table(columns, DOCUMENT_GROUPS))
    return tables


def _read_documents(signatures: str, earlier: tuple[EarlierRun, ...]) -> pa.Table:
    """All documents, sorted by id. ``shard``: of this run's documents, otherwise -1; ``run``: null for this run."""
    names = ["doc_id", "url_key", "warc_date", "text_digest", "bands", "sketch"]
    tables = []
    for index, path in enumerate(list_shards(signatures)):
        tables.append(_with_origin(read_columns(path, names), index, None, None))
    for run in earlier:
        dropped = pa.array(sorted(run.dropped()), pa.string())
        for path in run.documents:
            table = read_columns(path, names)
            is_kept = pc.invert(pc.is_in(table["doc_id"], value_set=dropped))
            tables.append(_with_origin(table, -1, run.name, is_kept))
    whole = pa.concat_tables(tables)
    del tables
    order = pc.sort_indices(whole, [("doc_id", "ascending"), ("run", "ascending")])
    columns = {}
    for name in whole.column_names:  # one by one, so that only one column is in memory twice
        columns[name] = whole[name].take(order)
        whole = whole.drop_columns([name])
    return pa.table(columns)


def _with_origin(table: pa.Table, shard: int, run: str | None, is_kept: pa.ChunkedArray | None) -> pa.Table:
    size = table.num_rows
    kept = pa.repeat(pa.scalar(False), size) if is_kept is None else is_kept
    for name, kind in (("url_key", pa.large_string()), ("sketch", pa.large_binary())):  # may exceed 2 GB in total
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    columns = {"shard": pa.repeat(pa.scalar(shard, pa.int32()), size),
               "run": pa.repeat(pa.scalar(run, pa.string()), size), "is_kept": kept}  # fmt: skip
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table


def _text_keys(documents: pa.Table) -> tuple[Indices, npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """(positions of the documents with words, (W,); their band keys, (W, bands); their sketches, (W, hashes))."""
    places = np.flatnonzero(pc.is_valid(documents["text_digest"]).to_numpy(zero_copy_only=False))
    bands = pc.list_flatten(documents["bands"]).to_numpy()
    sketches = np.concatenate([_bytes_of(chunk) for chunk in documents["sketch"].chunks] or [np.empty(0, np.uint8)])
    shape = (len(places), -1) if len(places) else (0, 1)
    return places, bands.reshape(shape), sketches.reshape(shape)


def _bytes_of(chunk: pa.LargeBinaryArray) -> npt.NDArray[np.uint8]:
    """The concatenated values of an array of bytes."""
    _, offsets, data = chunk.buffers()
    ends = np.frombuffer(offsets, np.int64)[[chunk.offset, chunk.offset + len(chunk)]]
    return np.frombuffer(data or b"", np.uint8)[ends[0] : ends[1]]


def _first_of_key(column: pa.ChunkedArray) -> Indices:
    """For each position, the first position with an equal key."""
    chunks = [chunk.indices.to_numpy() for chunk in column.dictionary_encode().chunks]
    codes = np.concatenate(chunks) if chunks else np.empty(0, np.int32)
    first = np.empty(int(codes.max(initial=-1)) + 1, np.intp)
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # the last write of a key is its first position
    return first[codes]


def _near_texts(documents: pa.Table, exact: Indices, config: MinHashConfig) -> Indices:
    """For each position, the first position that is connected with it through near-duplicate texts. Copies are compared
    once."""
    places, bands, sketches = _text_keys(documents)
    is_first = exact[places] == places
    distinct, keys = places[is_first], np.ascontiguousarray(bands[is_first].T)
    is_alike = sketches_alike(sketches[is_first], config) if config.verify else None
    joined = np.arange(len(exact))
    joined[distinct] = distinct[join_alike(len(distinct), keys, is_alike)]
    return joined[exact]


def _earlier(documents: pa.Table, groups: dict[str, Indices]) -> dict[int, list[dict[str, str]]]:
    """Position -> rows of the documents of earlier corpora that it duplicates, for positions with such documents."""
    dates = documents["warc_date"].to_pylist()
    is_kept = documents["is_kept"].to_numpy(zero_copy_only=False)
    is_own = documents["shard"].to_numpy() >= 0
    kept = np.flatnonzero(is_kept)[::-1]  # the smallest id last, so that it wins among equal dates
    kept = kept[np.argsort(np.array([dates[place] for place in kept.tolist()], np.str_), kind="stable")]
    found: dict[int, list[dict[str, str]]] = {}
    for kind in sorted(groups):
        known_by = np.full(len(dates), -1)
        known_by[groups[kind][kept]] = kept
        for place in np.flatnonzero(is_own & (known_by[groups[kind]] >= 0)).tolist():
            other = int(known_by[groups[kind][place]])
            found.setdefault(place, []).append(
                {
                    "kind": earlier_kind(kind, dates[place], dates[other]),
                    "doc_id": documents["doc_id"][other].as_py(),
                    "run": documents["run"][other].as_py(),
                }
            )
    return {place: sorted(rows, key=lambda row: row["kind"]) for place, rows in found.items()}


def _site_counts(measurements: str) -> list[pa.ListArray]:
    """For each shard, a list per document: how often each node's text occurs on its host; null for images."""
    columns = [read_columns(path, ["paragraphs"])["paragraphs"].combine_chunks() for path in list_shards(measurements)]
    columns = [column if isinstance(column, pa.ListArray) else pa.concat_arrays(column.chunks) for column in columns]
    nodes = pa.chunked_array([column.flatten() for column in columns], pa.int64())
    is_text = pc.is_valid(nodes).to_numpy(zero_copy_only=False)
    _, inverse, counts = np.unique(pc.drop_null(nodes).to_numpy(), return_inverse=True, return_counts=True)
    of_nodes = np.zeros(len(nodes), np.int32)
    of_nodes[is_text] = counts[inverse.reshape(-1)]
    results, start = [], 0
    for column in columns:
        offsets = np.concatenate(([0], np.cumsum(pc.list_value_length(column).to_numpy(zero_copy_only=False))))
        stop = start + int(offsets[-1])
        values = pa.array(of_nodes[start:stop], pa.int32(), mask=~is_text[start:stop])
        results.append(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values))
        start = stop
    return results


def _image_groups(job: DuplicatesJob, earlier: tuple[EarlierRun, ...]) -> list[pa.Table]:
    names = ["image_id", "phash", "dhash", "colour"]
    own = [read_columns(path, names) for path in list_shards(job.images)]
    others = [read_columns(path, [*names, "num_documents"]) for run in earlier for path in run.images]
    whole = pa.concat_tables([*own, *(table.select(names) for table in others)])
    whole = whole.take(pc.sort_indices(whole, [("image_id", "ascending")]))
    images = whole.take(np.flatnonzero(_first_of_key(whole["image_id"]) == np.arange(len(whole))))
    hashes = image_hashes(*(images[name].to_pylist() for name in names[1:]))
    near = candidate_groups(hashes, job.near_images)
    ids = images["image_id"].combine_chunks()
    if job.near_images.verify:
        paths = [*list_shards(job.images), *(path for run in earlier for path in run.images)]
        near = _verify(near, ids, hashes, paths, job.near_images)

    before = np.zeros(len(ids), np.int64)
    for table in others:
        np.add.at(before, _places(table["image_id"], ids), table["num_documents"].to_numpy())
    documents, used = uses_of_images(job.measurements, ids)
    own_documents = np.bincount(used, minlength=len(ids))
    columns = {
        "image_id": ids,
        "near_group": ids.take(near),
        "num_documents": own_documents + before,
        "near_count": count_documents(documents, used, near)[near]
        + np.bincount(near, before, minlength=len(ids)).astype(np.int64)[near],
        "own_documents": own_documents,
    }
    groups = pa.table(columns).cast(IMAGE_GROUPS)
    return [groups.take(np.sort(_places(table["image_id"], ids))) for table in own]


def _verify(
    candidates: Indices, ids: pa.Array, hashes: ImageHashes, paths: list[str], config: NearImageConfig
) -> Indices:
    """Splits candidate groups into groups of verified members. Only thumbnails of images with candidates are read."""
    groups = candidate_members(candidates)
    if not groups:
        return candidates
    wanted = np.sort(np.concatenate(groups))
    wanted_ids = ids.take(wanted)
    found = []
    for path in paths:
        table = read_columns(path, ["image_id", "thumbnail"])
        found.append(table.filter(pc.is_in(table["image_id"], value_set=wanted_ids)))
    table = pa.concat_tables(found)
    column = table["thumbnail"].take(pc.index_in(wanted_ids, value_set=table["image_id"]))
    thumbnails = read_thumbnails(column.to_pylist())

    def of_images(places: Indices) -> Thumbnails:
        return thumbnails.take(np.searchsorted(wanted, places))

    return split_candidates(candidates, hashes.colour, of_images, config)


def _places(column: pa.ChunkedArray, ids: pa.Array) -> Indices:
    return pc.index_in(column, value_set=ids).to_numpy().astype(np.intp)


def uses_of_images(measurements: str, ids: pa.Array) -> tuple[Indices, Indices]:
    """(document, image) pairs: numbers of documents and positions of images; each pair once."""
    documents, used, count = [np.empty(0, np.intp)], [np.empty(0, np.intp)], 0
    for path in list_shards(measurements):
        column = read_columns(path, ["images"])["images"]
        lengths = pc.list_value_length(column).to_numpy()
        documents.append(np.repeat(np.arange(count, count + len(column)), lengths))
        used.append(_places(pc.list_flatten(column), ids))
        count += len(column)
    return np.concatenate(documents), np.concatenate(used)


def count_documents(documents: Indices, used: Indices, groups: Indices) -> Indices:
    """The number of documents that show an image of each group, at the group's position."""
    num = len(groups)
    pairs = np.unique(documents * max(1, num) + groups[used])
    return np.bincount(pairs % max(1, num), minlength=num)
