"""Counts what the data sets of a run hold: rows, decisions, and the images that documents show.

All functions read a data set one row group at a time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from gobelin.data.model import Action, Unit
from gobelin.store.tables import list_shards, read_tables


@dataclasses.dataclass(slots=True)
class Counts:
    """Number of units of one kind that a stage saw, and what happened to them."""

    seen: int = 0
    kept: int = 0
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    failed: int = 0
    failed_by: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def is_balanced(self) -> bool:
        return self.seen == self.kept + sum(self.dropped.values()) + self.failed


def row_groups(folder: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yields the row groups of a whole data set. Holds one in memory at a time.

    Args:
        columns: to read; a field inside a list is given as ``nodes.list.element.image_id``.
    """
    for path in list_shards(folder):
        yield from read_tables(path, columns)


def some_images_shown(corpus: str, num: int, among: np.ndarray | None = None) -> list[str]:
    """Ids of at most ``num`` images that documents show. Takes the ids with the smallest hashes, so the order of
    documents does not matter. Holds one row group of documents in memory.

    Args:
        among: ``hashes_of`` the ids to choose from; None: all.
    """
    found: set[str] = set()
    for ids in _images_shown(corpus):
        found.update(ids if among is None else np.array(ids)[np.isin(hashes_of(ids), among)].tolist())
        if len(found) > 2 * num + _IDS_AT_ONCE:
            found = set(heapq.nsmallest(num, found, key=_hash_of_id))
    return sorted(heapq.nsmallest(num, found, key=_hash_of_id))


def _images_shown(corpus: str) -> Iterator[list[str]]:
    """Yields the distinct images that documents show, per row group."""
    for table in row_groups(corpus, ["nodes.list.element.image_id"]):
        yield pc.unique(pc.struct_field(pc.list_flatten(table["nodes"]), "image_id").drop_null()).to_pylist()


def _hash_of_id(identifier: str) -> bytes:
    return hashlib.sha256(identifier.encode()).digest()


def hashes_of(ids: Iterable[str]) -> np.ndarray:
    """A 64-bit hash of each id, uint64."""
    return np.array([xxhash.xxh3_64_intdigest(each.encode()) for each in ids], np.uint64)


def hashes_where(takes: Callable[[int, int], bool], images: Iterable[pa.Table]) -> np.ndarray:
    """``hashes_of`` the images for which ``takes`` is true.

    Args:
        takes: a function of the height and width of an image, in pixels.
        images: tables with ``image_id``, ``height`` and ``width``.
    """
    found = [np.empty(0, np.uint64)]
    for table in images:
        rows = zip(table["image_id"].to_pylist(), table["height"].to_pylist(), table["width"].to_pylist())
        found.append(hashes_of(name for name, *size in rows if takes(*size)))
    return np.concatenate(found)


def count_images_shown(corpus: str) -> int:
    """The number of distinct images that documents show. Holds eight bytes per image, because it compares hashes of
    ids. The probability that two of a hundred million ids have the same hash is 0.0003."""
    seen, waiting, num_waiting = np.empty(0, np.uint64), [np.empty(0, np.uint64)], 0
    for ids in _images_shown(corpus):
        waiting.append(hashes_of(ids))
        num_waiting += len(ids)
        if num_waiting > len(seen) + _IDS_AT_ONCE:
            seen, waiting, num_waiting = np.unique(np.concatenate([seen, *waiting])), [], 0
    return len(np.unique(np.concatenate([seen, *waiting])))


_IDS_AT_ONCE = 1 << 18


def count_decisions(folder: str) -> dict[Unit, dict[Action, Counter[str]]]:
    """The number of decisions of each rule, by unit and action."""
    found: dict[Unit, dict[Action, Counter[str]]] = {unit: {action: Counter() for action in Action} for unit in Unit}
    key = ["unit", "action", "rule"]
    for table in row_groups(folder, key):
        for row in table.group_by(key).aggregate([([], "count_all")]).to_pylist():
            found[Unit(row["unit"])][Action(row["action"])][row["rule"]] += row["count_all"]
    return found


def counts_of(seen: int, kept: int, decisions: dict[Action, Counter[str]]) -> Counts:
    """``Counts`` from the numbers of seen and kept units, which were counted independently, and the decisions."""
    failed = dict(sorted(decisions[Action.FAIL].items()))
    return Counts(seen, kept, dict(sorted(decisions[Action.DROP].items())), sum(failed.values()), failed)
