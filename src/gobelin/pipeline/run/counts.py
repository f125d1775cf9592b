"""What the data sets of a run hold, counted: rows, decisions, and the images that documents show.

All go through a data set row group by row group.
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
    """How many of one unit a stage saw, and what became of them."""

    seen: int = 0
    kept: int = 0
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    failed: int = 0
    failed_by: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def is_balanced(self) -> bool:
        return self.seen == self.kept + sum(self.dropped.values()) + self.failed


def row_groups(folder: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of a whole data set, one in memory at a time.

    Args:
        columns: those that are read; one inside a list as ``nodes.list.element.image_id``.
    """
    for path in list_shards(folder):
        yield from read_tables(path, columns)


def some_images_shown(corpus: str, num: int, among: np.ndarray | None = None) -> list[str]:
    """Ids of some of the images that documents show, or of all if there are fewer. Takes the ids with the smallest
    hashes, so the order of documents does not matter. Holds one row group of documents in memory.

    Args:
        among: ``hashes_of`` the ids of those that may be taken; None: all.
    """
    found: set[str] = set()
    for ids in _images_shown(corpus):
        found.update(ids if among is None else np.array(ids)[np.isin(hashes_of(ids), among)].tolist())
        if len(found) > 2 * num + _IDS_AT_ONCE:
            found = set(heapq.nsmallest(num, found, key=_hash_of_id))
    return sorted(heapq.nsmallest(num, found, key=_hash_of_id))


def _images_shown(corpus: str) -> Iterator[list[str]]:
    """The distinct images that documents show, row group after row group."""
    for table in row_groups(corpus, ["nodes.list.element.image_id"]):
        yield pc.unique(pc.struct_field(pc.list_flatten(table["nodes"]), "image_id").drop_null()).to_pylist()


def _hash_of_id(identifier: str) -> bytes:
    return hashlib.sha256(identifier.encode()).digest()


def hashes_of(ids: Iterable[str]) -> np.ndarray:
    """64 bits of each id, uint64."""
    return np.array([xxhash.xxh3_64_intdigest(each.encode()) for each in ids], np.uint64)


def hashes_where(takes: Callable[[int, int], bool], images: Iterable[pa.Table]) -> np.ndarray:
    """``hashes_of`` the images that are taken.

    Args:
        takes: says so of the height and width of an image.
        images: tables of ``image_id``, ``height`` and ``width``.
    """
    found = [np.empty(0, np.uint64)]
    for table in images:
        rows = zip(table["image_id"].to_pylist(), table["height"].to_pylist(), table["width"].to_pylist())
        found.append(hashes_of(name for name, *size in rows if takes(*size)))
    return np.concatenate(found)


def count_images_shown(corpus: str) -> int:
    """The number of distinct images that documents show. Holds eight bytes per image, because it compares hashes of
    ids. Two among a hundred million have the same hash with a probability of 0.0003."""
    seen, waiting, num_waiting = np.empty(0, np.uint64), [np.empty(0, np.uint64)], 0
    for ids in _images_shown(corpus):
        waiting.append(hashes_of(ids))
        num_waiting += len(ids)
        if num_waiting > len(seen) + _IDS_AT_ONCE:
            seen, waiting, num_waiting = np.unique(np.concatenate([seen, *waiting])), [], 0
    return len(np.unique(np.concatenate([seen, *waiting])))


_IDS_AT_ONCE = 1 << 18


def count_decisions(folder: str) -> dict[Unit, dict[Action, Counter[str]]]:
    """How often each rule decided, by unit and action."""
    found: dict[Unit, dict[Action, Counter[str]]] = {unit: {action: Counter() for action in Action} for unit in Unit}
    key = ["unit", "action", "rule"]
    for table in row_groups(folder, key):
        for row in table.group_by(key).aggregate([([], "count_all")]).to_pylist():
            found[Unit(row["unit"])][Action(row["action"])][row["rule"]] += row["count_all"]
    return found


def counts_of(seen: int, kept: int, decisions: dict[Action, Counter[str]]) -> Counts:
    """``Counts`` from what was seen and kept, each counted by itself, and the decisions between them."""
    failed = dict(sorted(decisions[Action.FAIL].items()))
    return Counts(seen, kept, dict(sorted(decisions[Action.DROP].items())), sum(failed.values()), failed)
