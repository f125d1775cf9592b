"""The state of an output folder: which stages are done, with which settings, and what they counted.

    OUT/recipe.yaml                   the recipe, every default spelled out
    OUT/run.json                      what happened, for people and programs
    OUT/<stage>/manifest.json         written last: the stage is complete, and for this key
    OUT/<stage>/<data set>/<key>      files, and the manifest that names them (store/dataset.py)

Intermediate files of a stage that is not complete lie in its folder ``work``, by key.

OUT is a local folder, or one on an object store. A stage's key is a digest of its settings and of the key of the stage
before it, so a changed threshold makes ``select`` and what follows stale, and nothing before it. Each key is an attempt
of its own: what a job of another key still writes lands where nobody looks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from gobelin.data.model import Action, Unit
from gobelin.errors import DataError, UserError
from gobelin.store import files
from gobelin.store.dataset import MANIFEST_NAME, RECEIPTS_NAME, Attempt, files_of, make_current, num_rows_of
from gobelin.store.files import TEMPORARY_PREFIX, delete, exists, list_files, write_json
from gobelin.store.paths import is_remote, join, name_of, parent_of
from gobelin.store.tables import list_shards, read_tables

RECIPE_NAME = "recipe.yaml"
RUN_NAME = "run.json"


class OutputError(UserError):
    """The output folder cannot be used; the message says what is wrong and what to do."""


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
    """Ids of some of the images that a set of documents shows, or of all where there are fewer: those whose ids have
    the smallest hashes, so that the order of documents does not matter. Holds one row group of documents.

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
    """How many distinct images a set of documents shows. Holds eight bytes for each: ids are compared by their
    hashes, of which any two among a hundred million are equal with a probability of 0.0003."""
    seen, waiting, num_waiting = np.empty(0, np.uint64), [np.empty(0, np.uint64)], 0
    for ids in _images_shown(corpus):
        waiting.append(hashes_of(ids))
        num_waiting += len(ids)
        if num_waiting > len(seen) + _IDS_AT_ONCE:
            seen, waiting, num_waiting = np.unique(np.concatenate([seen, *waiting])), [], 0
    return len(np.unique(np.concatenate([seen, *waiting])))


_IDS_AT_ONCE = 1 << 18


def count_rows(folder: str) -> int:
    """Rows of a data set, as its manifest says."""
    return num_rows_of(folder)


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


def read_json(address: str) -> dict[str, Any] | None:
    """A JSON file's object; None where there is no such file.

    Raises:
        UserError: it is damaged.
    """
    try:
        return files.read_json(address)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UserError as error:
        raise UserError(f"{error}; delete it, and the stages are looked at anew") from None


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """Data sets of a stage that depend on some of its settings only, and stay when others change."""

    name: str
    key: str
    data_sets: tuple[str, ...]


class StageFolder:
    """One stage's folder in an output folder, for work under one key.

    Args:
        output: local folder, or one on a store.
        parts: of the stage, each under a key of its own.
    """

    def __init__(self, output: str, stage: str, key: str, parts: Sequence[Part] = ()) -> None:
        self.stage, self.key, self._parts = stage, key, tuple(parts)
        self.path = join(output, stage)
        self.work = join(self.path, "work", key)
        self.attempt = Attempt(self.path, key, tuple((name, part.key) for part in parts for name in part.data_sets))

    def data(self, name: str) -> str:
        """Folder of a data set of this attempt."""
        return self.attempt.data(name)

    def manifest(self) -> dict[str, Any] | None:
        return read_manifest(self.path)

    def is_done(self) -> bool:
        manifest = self.manifest()
        return manifest is not None and manifest["key"] == self.key

    def damage(self) -> list[str]:
        """What is wrong with the files of a stage that is done: a sentence for each that is missing or has another size
        than its manifest says. One listing; no file is read but manifests. What a command that was killed as the stage
        ended had not swept away yet is swept away."""
        sizes = dict(list_files(self.path))
        self._sweep(sizes)
        problems = []
        for name in sizes:
            if name_of(name) != MANIFEST_NAME:
                continue
            folder = parent_of(name)
            try:
                listed = files_of(join(self.path, folder))
            except DataError as error:
                problems.append(str(error))
                continue
            for file in listed:
                size = sizes.get(f"{folder}/{file.name}")
                if size != file.num_bytes:
                    what = "is missing" if size is None else f"has {size:,} bytes in place of {file.num_bytes:,}"
                    problems.append(f"{join(self.path, folder, file.name)} {what}")
        return problems

    def begin(self) -> None:
        """Makes the folder ready for work. What an interrupted run under the same key left stays, and so do parts whose
        own keys are the same."""
        delete(join(self.path, "manifest.json"))  # first: what is half deleted is not done
        if not exists(join(self.work, "key.json")):
            kept = [join(name, part.key) + "/" for part in self._parts for name in part.data_sets]
            self._delete_all_but(kept)
            write_json(join(self.work, "key.json"), {"key": self.key})
        _delete_unfinished(self.path)

    def complete(self, summary: dict[str, Any]) -> None:
        """The stage is done: its data sets are the current ones, and its intermediate files go."""
        attempts = {self.key, *(part.key for part in self._parts)}
        names = [name for name, _ in list_files(self.path)]
        for name in names:
            folder = parent_of(name)
            if name_of(name) == MANIFEST_NAME and name_of(folder) in attempts and not name.startswith("work/"):
                make_current(join(self.path, folder))
        write_json(join(self.path, "manifest.json"), {"stage": self.stage, "key": self.key, **summary})
        self._sweep(names)

    def _sweep(self, names: Iterable[str]) -> None:
        """Deletes, of these files of a stage that is done, what only its making needed: its work, and receipts."""
        for folder in {"work" if name.startswith("work/") else parent_of(name) for name in names}:
            if folder == "work" or name_of(folder) == RECEIPTS_NAME:
                delete(join(self.path, folder))

    def _delete_all_but(self, kept: list[str]) -> None:
        """Deletes what is in the folder but the files whose names begin with one of these."""
        stay: dict[str, list[str]] = {}
        for name, _ in list_files(self.path):
            entry = name.partition("/")[0]
            stay.setdefault(entry, [])
            if name.startswith(tuple(kept)):
                stay[entry].append(name)
        for entry, names in stay.items():
            if not names:
                delete(join(self.path, entry))
        for name, _ in list_files(self.path):
            if name not in stay.get(name.partition("/")[0], ()):
                delete(join(self.path, name))


def read_manifest(folder: str) -> dict[str, Any] | None:
    """What the manifest in a stage's folder says; None where the stage is not done."""
    return read_json(join(folder, "manifest.json"))


def _delete_unfinished(folder: str) -> None:
    """Deletes the temporary files that a killed run left on a disk; a store has none."""
    if is_remote(folder):
        return
    for root, _, names in os.walk(folder):
        for name in names:
            if name.startswith(TEMPORARY_PREFIX):
                delete(join(root, name))
