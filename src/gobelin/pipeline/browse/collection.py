"""A run in memory, for ``gobelin browse``: its columns, decisions under changed thresholds, and searches."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gobelin.errors import UserError
from gobelin.pipeline.recipe.recipe import Recipe, change, load_recipe
from gobelin.report import wording
from gobelin.store.files import exists, local_copy, read_json
from gobelin.store.paths import join, name_of
from gobelin.store.tables import list_shards, read_tables
from gobelin.transforms.selection.columns.columns import Columns, coded
from gobelin.transforms.selection.columns.judge_columns import ColumnJudge, rules_by_name
from gobelin.transforms.selection.columns.judged import Judged
from gobelin.transforms.selection.columns.load_columns import load_columns
from gobelin.transforms.selection.relative_thresholds import resolve_thresholds
from gobelin.transforms.selection.rules import Rule, all_rules, threshold_of

Changes = dict[str, float | None]
"""Rule -> another threshold; None: off."""

PAGE = 40
"""Rows of one answer."""

UNSAFE = 0.5
"""Pictures above it are blurred where the recipe sets no ``max_nsfw``."""

TOP_SITES = 200
_MAX_JUDGED = 8
_MAX_SEARCHES = 8

Bools = npt.NDArray[np.bool_]

JsonObject = dict[str, Any]
"""What the page sends and what it gets."""


class AskError(UserError):
    """A request cannot be answered. The message has the reason."""


class Collection:
    """One output folder.

    Attributes:
        recipe: of the folder, with numbers in place of relative thresholds.
        columns: of its documents.
        base: decisions under the recipe.
        selection: key of the stage ``select``.
    """

    def __init__(self, output: str, say: Callable[[str], None] = lambda line: None) -> None:
        """Reads the scores and reports progress.

        Raises:
            AskError: it is not the folder of a run, or the stages extract and score have not run.
        """
        self.output = output
        self.name = name_of(output)
        if not exists(join(output, "run.json")):
            raise AskError(f"{output} is not the output folder of a run: there is no run.json in it")
        if not list_shards(join(output, "score", "documents"), may_be_unfinished=True):
            raise AskError(f"{output} has no scores yet; gobelin browse looks at a folder whose stage `score` is done")
        self.run = read_json(join(output, "run.json"))
        self.selection = str(self.run["stages"].get("select", {}).get("key", ""))
        scores = join(output, "score", "documents")
        with local_copy(join(output, "recipe.yaml")) as path:
            recipe = load_recipe(path)
        select, self.resolved = resolve_thresholds(recipe.select, scores)
        self.recipe: Recipe = dataclasses.replace(recipe, select=select)
        num = len(list_shards(scores))
        documents = join(output, "extract", "documents")
        self.columns: Columns = load_columns(documents, scores, select, lambda done: say(f"{done} of {num} shards"))
        self._judge = ColumnJudge(self.columns)
        self._lock = threading.Lock()
        self._judged: OrderedDict[str, Judged] = OrderedDict()
        self._searches: OrderedDict[str, Bools] = OrderedDict()
        self.rules = rules_by_name(all_rules(select))
        hosts = pc.struct_field(pc.extract_regex(self.columns.urls, r"^[A-Za-z]+://(?P<host>[^/?#:]+)"), "host")
        self._site_codes, self._sites = coded(hosts)
        self.places = {doc_id: place for place, doc_id in enumerate(self.columns.ids.to_pylist())}
        self.base = self.judged({})

    def changed(self, changes: Changes) -> Recipe:
        """The recipe with other thresholds. Raises ``AskError`` for an unknown rule, ``RecipeError`` for a bad
        value."""
        unknown = changes.keys() - self.rules.keys()
        if unknown:
            raise AskError(f"no rule with a threshold is called {sorted(unknown)[0]!r}")
        return change(self.recipe, tuple(settings(changes))) if changes else self.recipe

    def judged(self, changes: Changes, held: str | None = None) -> Judged:
        """The decisions under changed thresholds. Caches the last few results."""
        key = json.dumps(changes, sort_keys=True)
        with self._lock:
            if key not in self._judged:
                config = self.changed(changes).select
                self._judged[key] = self._judge.judge(config, self.rules.get(held or ""))
                while len(self._judged) > _MAX_JUDGED:
                    self._judged.popitem(last=False)
            self._judged.move_to_end(key)
            return self._judged[key]

    def not_run(self, changes: Changes, held: str | None) -> int:
        """The number of texts or images that reach the rule ``held`` and have no score for it."""
        rule = self.rules.get(held or "")
        if rule is None:
            return 0
        with self._lock:
            return self._judge.not_run(rule, self.changed(changes).select)

    def meaning(self, rule: str) -> str:
        """A rule in words."""
        found = self.rules.get(rule)
        return wording.rule_meaning(rule, found.score if found else None)

    def demand(self, rule: str) -> str:
        """A rule in words, with the recipe's threshold: "shorter side, at least 64"."""
        found = self.rules.get(rule)
        threshold = threshold_of(found, self.recipe.select) if found else None
        if found is None or found.score is None or threshold is None:
            return self.meaning(rule)
        return f"{self.meaning(rule)}, {'at least' if found.keeps_above else 'at most'} {wording.number(threshold)}"

    def rule_called(self, name: str) -> Rule:
        """The rule of this name. Raises ``AskError`` unless it has a threshold."""
        if name not in self.rules:
            raise AskError(f"no rule with a threshold is called {name!r}")
        return self.rules[name]

    def kept_of(self, ids: pa.Array) -> Bools:
        """Which of these documents this run's recipe keeps."""
        own = self.columns.ids.filter(pa.array(self.base.is_kept))
        return as_bools(pc.is_in(ids, value_set=own))

    def on_sites(self, site: str) -> Bools:
        """Which documents have a host whose name contains ``site``."""
        is_it = as_bools(pc.match_substring(self._sites, site, ignore_case=True))
        return np.append(is_it, False)[self._site_codes]

    def search(self, text: str, in_text: bool) -> Bools:
        """Documents whose id, URL or title contains ``text``; with ``in_text``, also those whose content does."""
        key = f"{in_text}{text}"
        if key not in self._searches:
            columns = self.columns
            found = np.zeros(len(columns.ids), bool)
            for values in (columns.ids, columns.urls, columns.titles):
                found |= as_bools(pc.match_substring(values, text, ignore_case=True))
            if in_text:
                found |= self._say(text)
            self._searches[key] = found
            while len(self._searches) > _MAX_SEARCHES:
                self._searches.popitem(last=False)
        return self._searches[key]

    def _say(self, text: str) -> Bools:
        """Documents with a text, caption or alternative text that contains these words. Reads all documents."""
        found = np.zeros(len(self.columns.ids), bool)
        for path in list_shards(join(self.output, "extract", "documents")):
            names = ["text", "caption", "alt"]
            for table in read_tables(path, ["doc_id", *(f"nodes.list.element.{name}" for name in names)]):
                lists = table["nodes"].combine_chunks()
                nodes, parents = lists.flatten(), np.asarray(pc.list_parent_indices(lists))
                has = np.zeros(len(nodes), bool)
                for name in names:
                    has |= as_bools(pc.match_substring(pc.struct_field(nodes, name), text, ignore_case=True))
                for row in np.unique(parents[has]).tolist():
                    place = self.places.get(table["doc_id"][row].as_py())
                    if place is not None:
                        found[place] = True
        return found

    def sites(self) -> list[str]:
        """The hosts with the most documents."""
        times = np.bincount(self._site_codes[self._site_codes >= 0], minlength=len(self._sites))
        order = np.argsort(-times, kind="stable")[:TOP_SITES]
        return [self._sites[int(place)].as_py() for place in order]

    def languages(self) -> list[str]:
        """Languages, the most frequent first."""
        counted = pc.value_counts(self.columns.languages.drop_null()).to_pylist()
        return [row["values"] for row in sorted(counted, key=lambda row: (-row["counts"], row["values"]))]

    def is_unsafe(self, images: Any) -> Bools:
        """Which images (by their places) must be blurred."""
        limit = self.recipe.select.image.max_nsfw
        found: Bools = self.columns.score("image", "nsfw")[images] > (UNSAFE if limit is None else limit)
        return found


def settings(changes: Changes) -> list[str]:
    """Changes in the syntax of ``--set``."""
    return [f"select.{rule}={json.dumps(value)}" for rule, value in sorted(changes.items())]


def as_bools(values: Any) -> Bools:
    """Arrow's booleans as a NumPy array; null becomes false."""
    return np.array(pc.fill_null(values, False))
