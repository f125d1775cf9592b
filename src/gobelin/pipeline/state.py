"""What an output folder knows of itself: which stage is done, with which settings, and what it counted.

    OUT/recipe.yaml             the recipe, every default spelled out
    OUT/run.json                what happened, for people and programs
    OUT/<stage>/manifest.json   written last: the stage is complete, and for this key
    OUT/<stage>/work            intermediate files of a stage that is not complete; its key.json says of which key
    OUT/<stage>/<data set>      files, and the manifest that names them (store/dataset.py)

A stage's key is a digest of its settings and of the key of the stage before it, so a changed threshold makes
``select`` and what follows stale, and nothing before it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gobelin.documents import Action, Unit
from gobelin.errors import UserError
from gobelin.store.dataset import num_rows_of
from gobelin.store.files import TEMPORARY_PREFIX, delete
from gobelin.transforms.files import list_shards, read_tables


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


def row_groups(folder: str | Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of a whole data set, one in memory at a time.

    Args:
        columns: those that are read; one inside a list as ``nodes.list.element.image_id``.
    """
    for path in list_shards(str(folder)):
        yield from read_tables(path, columns)


def images_shown(corpus: str | Path) -> set[str]:
    """Ids of the images that a set of documents shows. Of the documents, one row group is held at a time."""
    shown: set[str] = set()
    for table in row_groups(corpus, ["nodes.list.element.image_id"]):
        shown.update(pc.struct_field(pc.list_flatten(table["nodes"]), "image_id").drop_null().to_pylist())
    return shown


def count_rows(folder: str | Path) -> int:
    """Rows of a data set, as its manifest says."""
    return num_rows_of(str(folder))


def count_decisions(folder: str | Path) -> dict[Unit, dict[Action, Counter[str]]]:
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


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file that is there whole or not at all. Raises ValueError on a number that is not finite."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON file's object; None where there is no such file.

    Raises:
        UserError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); delete it, and the stages are looked at anew") from None


@contextlib.contextmanager
def lock_folder(output: Path) -> Iterator[None]:
    """Keeps other processes of gobelin that want to write there out of a folder. Ends with the process at the latest.

    Raises:
        OutputError: another one is at work in it.
    """
    handle = os.open(output, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"{output}: another gobelin is at work there; wait for it or choose another --output"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(handle)


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """Data sets of a stage that depend on some of its settings only, and stay when others change."""

    name: str
    key: str
    data_sets: tuple[str, ...]


class StageFolder:
    """One stage's folder in an output folder."""

    def __init__(self, output: Path, stage: str) -> None:
        self.stage = stage
        self.path = output / stage
        self.work = self.path / "work"

    def manifest(self) -> dict[str, Any] | None:
        return read_json(self.path / "manifest.json")

    def is_done(self, key: str) -> bool:
        manifest = self.manifest()
        return manifest is not None and manifest["key"] == key

    def begin(self, key: str, parts: Sequence[Part] = ()) -> None:
        """Makes the folder ready for work under this key: what an interrupted run under the same key left stays, and so
        do parts that were made under the same keys of theirs."""
        made = read_json(self.work / "key.json") or self.manifest() or {}
        (self.path / "manifest.json").unlink(missing_ok=True)  # first: what is half deleted is not done
        if made.get("key") != key or not (self.work / "key.json").is_file():
            held = made.get("parts", {})
            kept = {name for part in parts if held.get(part.name) == part.key for name in part.data_sets}
            for entry in self.path.iterdir() if self.path.exists() else ():
                if entry.name not in kept:
                    delete(str(entry))
            write_json(self.work / "key.json", {"key": key, "parts": {part.name: part.key for part in parts}})
        for unfinished in self.path.rglob(f"{TEMPORARY_PREFIX}*"):
            unfinished.unlink()

    def complete(self, key: str, summary: dict[str, Any], parts: Sequence[Part] = ()) -> None:
        """The stage is done; its intermediate files go."""
        keys = {"parts": {part.name: part.key for part in parts}} if parts else {}
        write_json(self.path / "manifest.json", {"stage": self.stage, "key": key, **keys, **summary})
        shutil.rmtree(self.work, ignore_errors=True)
