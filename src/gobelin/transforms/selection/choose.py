"""Chooses which document of each group of duplicates stays, in one process with NumPy, shard by shard.

``KeepOneOfEach`` (write_corpus.py) decides the same in a Beam graph, for corpora that fit on no machine. A group is a
number, a document a position; a group of one has no number. A document without groups stays unless an earlier run has
it. The others are processed from the latest to the oldest: each stays unless one that stays shares a group with it.

Memory: four bytes for each document and kind of duplicate; while one kind is read, about 60 bytes per document; id and
date of each document
that shares a group.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from gobelin.data.model import Decision
from gobelin.data.schemas import NOT_RUN
from gobelin.store.paths import join
from gobelin.store.shards import read_folder, read_rows, write_decisions, write_shard, write_sorted
from gobelin.store.tables import list_shards, read_columns, shard_path
from gobelin.transforms.selection.select import duplicate_decision
from gobelin.transforms.selection.write_corpus import STAY, SurvivorRow, known_earlier

Numbers = npt.NDArray[np.int32]


def choose_among_duplicates(work: str, not_run: str, kinds: Sequence[str]) -> None:
    """Reads the survivors in the folder ``work``. Writes ``stay`` and ``unique_decisions`` there, and sums
    ``judge_not_run`` into ``not_run``.

    Args:
        not_run: folder of the output data set.
        kinds: kinds of duplicates; one document of each group stays.
    """
    paths = list_shards(join(work, "survivors"))
    choice = _choose(paths, kinds)
    begin = 0
    for index, path in enumerate(paths):
        rows = list(enumerate(read_rows(path), begin))
        begin += len(rows)
        stay = ({"doc_id": row["doc_id"]} for position, row in rows if choice.stays[position])
        write_shard(shard_path(join(work, "stay"), index, len(paths)), stay, STAY)
        decisions = (choice.decision(position, row) for position, row in rows if not choice.stays[position])
        write_decisions(shard_path(join(work, "unique_decisions"), index, len(paths)), decisions)
    times: Counter[str] = Counter()
    for row in read_folder(join(work, "judge_not_run")):
        times[row["rule"]] += row["times"]
    counted = ({"rule": rule, "times": number} for rule, number in times.items())
    write_sorted(shard_path(not_run, 0, 1), counted, NOT_RUN, ("rule",))


@dataclasses.dataclass(frozen=True, slots=True)
class _Choice:
    """The columns of N survivors, in the order of their shards."""

    kinds: tuple[str, ...]
    groups: list[Numbers]  # for each kind, the group of each document, (N,); -1: a group of one
    sizes: list[npt.NDArray[np.intp]]  # for each kind, the number of members of each group
    keepers: list[npt.NDArray[np.intp]]  # for each kind, the document of each group that stays; -1: none
    stays: npt.NDArray[np.bool_]  # (N,)
    reasons: npt.NDArray[np.int8]  # (N,): index of the kind by which a document is dropped; -1: it stays
    ids: dict[int, str]  # by position, of the documents of a group that stay

    def decision(self, position: int, row: SurvivorRow) -> Decision:
        """The decision on a document that does not stay."""
        known = known_earlier(row["earlier"], self.kinds)
        if known is not None:
            return duplicate_decision(row, known["kind"], f"{known['doc_id']} of {known['run']}", None)
        kind = self.reasons[position]
        group = self.groups[kind][position]
        stays = self.ids[int(self.keepers[kind][group])]
        return duplicate_decision(row, self.kinds[kind], stays, int(self.sizes[kind][group]))


def _choose(paths: list[str], kinds: Sequence[str]) -> _Choice:
    groups, sizes = [], []
    for kind in kinds:
        of_documents, of_groups = _groups(paths, f"{kind}_group")
        groups.append(of_documents)
        sizes.append(of_groups)
    is_known = np.concatenate([*(_is_known(path, tuple(kinds)) for path in paths), np.empty(0, np.bool_)])
    stays = ~is_known
    is_shared = np.zeros(len(stays), np.bool_)
    for of_documents in groups:
        is_shared |= of_documents >= 0
    shared = np.flatnonzero(is_shared & ~is_known)
    keepers = [np.full(len(of_groups), -1, np.intp) for of_groups in sizes]
    reasons = np.full(len(stays), -1, np.int8)
    ids: dict[int, str] = {}
    names = _names(paths, is_shared & ~is_known)
    order = pc.sort_indices(names, [("warc_date", "descending"), ("doc_id", "ascending")]).to_numpy()
    for place in order.tolist():
        position = int(shared[place])
        own = [int(of_documents[position]) for of_documents in groups]
        taken = (number for number, group in enumerate(own) if group >= 0 and keepers[number][group] >= 0)
        reasons[position] = next(taken, -1)
        if reasons[position] >= 0:
            stays[position] = False
            continue
        ids[position] = names["doc_id"][place].as_py()
        for number, group in enumerate(own):
            if group >= 0:
                keepers[number][group] = position
    return _Choice(tuple(kinds), groups, sizes, keepers, stays, reasons, ids)


def _groups(paths: list[str], column: str) -> tuple[Numbers, npt.NDArray[np.intp]]:
    """(number of the group of each document, (N,), -1 for a group of one; number of members of each group). Names are
    compared by 128-bit hashes."""
    hashes = np.concatenate([*(_hashes(read_columns(path, [column])[column]) for path in paths), _hashes(())])
    order = np.lexsort((hashes[:, 0], hashes[:, 1]))
    hashes = hashes[order]
    begins = np.concatenate([np.ones(min(1, len(hashes)), np.bool_), (hashes[1:] != hashes[:-1]).any(axis=1)])
    del hashes
    sizes = np.diff(np.flatnonzero(begins), append=len(begins))
    is_group = sizes > 1
    numbers = np.where(is_group, np.cumsum(is_group) - 1, -1).astype(np.int32)
    found = np.empty(len(order), np.int32)
    found[order] = np.repeat(numbers, sizes)
    return found, sizes[is_group]


def _hashes(names: Iterable[Any]) -> npt.NDArray[np.uint64]:
    """Hashes of N names, (N, 2)."""
    digests = b"".join(xxhash.xxh3_128_digest(name.as_py().encode()) for name in names)
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)


def _is_known(path: str, kinds: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Whether an earlier run has a duplicate of each document of a shard."""
    earlier = read_columns(path, ["earlier"])["earlier"]
    found = np.zeros(len(earlier), np.bool_)
    for position in np.flatnonzero(pc.list_value_length(earlier).to_numpy() > 0).tolist():
        found[position] = known_earlier(earlier[position].as_py(), kinds) is not None
    return found


def _names(paths: list[str], is_wanted: npt.NDArray[np.bool_]) -> pa.Table:
    """``doc_id`` and ``warc_date`` of the wanted documents."""
    return pa.concat_tables(_names_of_shards(paths, is_wanted)).combine_chunks()


def _names_of_shards(paths: list[str], is_wanted: npt.NDArray[np.bool_]) -> Iterator[pa.Table]:
    yield pa.table({"doc_id": pa.array([], pa.large_string()), "warc_date": pa.array([], pa.large_string())})
    begin = 0
    for path in paths:
        table = read_columns(path, ["doc_id", "warc_date"])
        mask = pa.array(is_wanted[begin : begin + table.num_rows])
        begin += table.num_rows
        columns = {name: table[name].filter(mask).cast(pa.large_string()) for name in table.column_names}
        yield pa.table(columns)
