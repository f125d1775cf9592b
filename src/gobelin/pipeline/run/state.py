"""The state of an output folder: which stages are done, their settings, and their counts.

    OUT/recipe.yaml                   the recipe, with all defaults
    OUT/run.json                      a summary of the run, for people and programs
    OUT/<stage>/manifest.json         written last: the stage is complete for this key
    OUT/<stage>/<data set>/<key>      files, and the manifest that names them (store/dataset.py)

An incomplete stage keeps intermediate files in its folder ``work``, by key.

OUT is a local folder, or one on an object store. A stage's key is a digest of its settings and of the previous stage's
key. So a changed threshold invalidates ``select`` and the later stages, and no earlier one. Each key is a separate
attempt: a leftover job with another key writes into a folder that nobody reads.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from typing import Any

from gobelin.errors import DataError, UserError
from gobelin.store import files
from gobelin.store.dataset import MANIFEST_NAME, RECEIPTS_NAME, Attempt, files_of, make_current
from gobelin.store.files import TEMPORARY_PREFIX, delete, exists, list_files, write_json
from gobelin.store.paths import is_remote, join, name_of, parent_of

RECIPE_NAME = "recipe.yaml"
RUN_NAME = "run.json"

SUMMARY = "summary.json"
"""What a worker process wrote about its work, in the folder of what it made."""


class OutputError(UserError):
    """The output folder cannot be used. The message says what is wrong and what to do."""


def read_json(address: str) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return files.read_json(address)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UserError as error:
        raise UserError(f"{error}; delete it, and gobelin checks the stages again") from None


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """Data sets of a stage that depend on only some of its settings, and are kept when others change."""

    name: str
    key: str
    data_sets: tuple[str, ...]


class StageFolder:
    """The folder of a stage in an output folder, for work with one key.

    Args:
        output: local folder, or one on an object store.
        parts: of the stage, each with a key of its own.
    """

    def __init__(self, output: str, stage: str, key: str, parts: Sequence[Part] = ()) -> None:
        self.stage, self.key, self._parts = stage, key, tuple(parts)
        self.path = join(output, stage)
        self.work = join(self.path, "work", key)
        self.attempt = Attempt(self.path, key, tuple((name, part.key) for part in parts for name in part.data_sets))

    def data(self, name: str) -> str:
        """The folder of a data set of this attempt."""
        return self.attempt.data(name)

    def manifest(self) -> dict[str, Any] | None:
        return read_manifest(self.path)

    def is_done(self) -> bool:
        manifest = self.manifest()
        return manifest is not None and manifest["key"] == self.key

    def damage(self) -> list[str]:
        """Problems with the files of a finished stage: a sentence for each file that is missing or differs in size from
        its manifest. Lists the folder once and reads only manifests. Also deletes leftovers of a command that was
        killed as the stage ended."""
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
        """Prepares the folder for work. Keeps files of an interrupted run with the same key, and parts with unchanged
        keys."""
        delete(join(self.path, "manifest.json"))  # first: what is half deleted is not done
        if not exists(join(self.work, "key.json")):
            kept = [join(name, part.key) + "/" for part in self._parts for name in part.data_sets]
            self._delete_all_but(kept)
            write_json(join(self.work, "key.json"), {"key": self.key})
        _delete_unfinished(self.path)

    def complete(self, summary: dict[str, Any]) -> None:
        """Marks the stage as done: its data sets become the current ones, and its intermediate files are deleted."""
        attempts = {self.key, *(part.key for part in self._parts)}
        names = [name for name, _ in list_files(self.path)]
        for name in names:
            folder = parent_of(name)
            if name_of(name) == MANIFEST_NAME and name_of(folder) in attempts and not name.startswith("work/"):
                make_current(join(self.path, folder))
        write_json(join(self.path, "manifest.json"), {"stage": self.stage, "key": self.key, **summary})
        self._sweep(names)

    def _sweep(self, names: Iterable[str]) -> None:
        """Deletes, among these files of a finished stage, those that were only needed to make it: work files and
        receipts."""
        for folder in {"work" if name.startswith("work/") else parent_of(name) for name in names}:
            if folder == "work" or name_of(folder) == RECEIPTS_NAME:
                delete(join(self.path, folder))

    def _delete_all_but(self, kept: list[str]) -> None:
        """Deletes the files in the folder, except those whose names begin with a prefix in ``kept``."""
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
    """The manifest in a stage's folder; None if the stage is not done."""
    return read_json(join(folder, "manifest.json"))


def read_summary(folder: str) -> dict[str, Any]:
    """The summary that a worker process wrote; empty if there is none."""
    return read_json(join(folder, SUMMARY)) or {}


def _delete_unfinished(folder: str) -> None:
    """Deletes temporary files of a killed run on a local disk. An object store has none."""
    if is_remote(folder):
        return
    for root, _, names in os.walk(folder):
        for name in names:
            if name.startswith(TEMPORARY_PREFIX):
                delete(join(root, name))
