"""A run in memory, as ``gobelin browse`` asks it: judged under any thresholds, searched, filtered and sorted."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gobelin.data.rows import Row
from gobelin.errors import UserError
from gobelin.pipeline.recipe.recipe import Recipe, change, load_recipe
from gobelin.plugins import known_score
from gobelin.report import wording
from gobelin.report.histograms import Histogram
from gobelin.store.files import exists, local_copy, read_json
from gobelin.store.paths import join, name_of
from gobelin.store.tables import list_shards, read_tables
from gobelin.transforms.selection.columns import Columns, coded, load_columns
from gobelin.transforms.selection.judge_columns import STAYS, ColumnJudge, Judged, rules_by_name
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


class AskError(UserError):
    """What was asked for cannot be answered; the message says why."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """Which documents or pictures are wanted, in which order."""

    view: str = "all"  # all | kept | dropped | coming | going | only_here | only_there
    text: str = ""
    in_text: bool = False  # look for it in what documents say, too
    rule: str = ""
    language: str = ""
    site: str = ""
    score: str = ""
    low: float | None = None
    high: float | None = None
    sort: str = ""
    descending: bool = False
    offset: int = 0


class Collection:
    """One output folder.

    Attributes:
        recipe: the folder's, its thresholds numbers.
        columns: of its documents.
        base: what the recipe decides.
        selection: key of the stage ``select``.
    """

    def __init__(self, output: str, say: Callable[[str], None] = lambda line: None) -> None:
        """Reads the scores; says how far it is.

        Raises:
            AskError: it is no run's, or the stages extract and score have not run.
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

    # thresholds

    def changed(self, changes: Changes) -> Recipe:
        """The recipe with other thresholds. Raises ``AskError`` at an unknown rule, ``RecipeError`` at a bad value."""
        unknown = changes.keys() - self.rules.keys()
        if unknown:
            raise AskError(f"no rule with a threshold is called {sorted(unknown)[0]!r}")
        return change(self.recipe, tuple(settings(changes))) if changes else self.recipe

    def judged(self, changes: Changes, held: str | None = None) -> Judged:
        """What the thresholds decide, kept for the last few that were asked for."""
        key = json.dumps(changes, sort_keys=True)
        with self._lock:
            if key not in self._judged:
                config = self.changed(changes).select
                self._judged[key] = self._judge.judge(config, self.rules.get(held or ""))
                while len(self._judged) > _MAX_JUDGED:
                    self._judged.popitem(last=False)
            self._judged.move_to_end(key)
            return self._judged[key]

    def consequence(self, changes: Changes, held: str | None) -> Row:
        """What changes would do, as numbers."""
        begin = time.perf_counter()
        after = self.judged(changes, held)
        rows = []
        for subject in ("document", "text", "image"):
            left, right = self.base.counts(subject), after.counts(subject)
            rows += [
                {
                    "subject": subject,
                    "rule": rule,
                    "before": left[rule],
                    "after": right[rule],
                    "meaning": self.meaning(rule),
                }
                for rule in sorted({*left, *right}, key=lambda rule: (-max(left[rule], right[rule]), rule))
            ]
        rule = self.rules.get(held or "")
        with self._lock:
            not_run = self._judge.not_run(rule, self.changed(changes).select) if rule else 0
        return {
            "seen": [len(self.columns.ids), len(self.columns.image_nodes), int(self.columns.words.sum())],
            "before": self.base.totals(), "after": after.totals(), "rules": rows, "not_run": not_run,
            "coming": int((after.is_kept & ~self.base.is_kept).sum()),
            "going": int((self.base.is_kept & ~after.is_kept).sum()),
            "settings": settings(changes), "milliseconds": round(1000 * (time.perf_counter() - begin)),
        }  # fmt: skip

    def meaning(self, rule: str) -> str:
        """A rule in words."""
        found = self.rules.get(rule)
        return wording.rule_meaning(rule, found.score if found else None)

    def described_rules(self) -> list[Row]:
        """Every rule that has a threshold, with what it compares."""
        found = []
        for rule in self.rules.values():
            if rule.score is None:
                continue
            title, unit = wording.score_title(rule.score)
            entry = known_score(rule.score)
            field = change_type(self.recipe, rule)
            found.append(
                {
                    "rule": rule.name, "subject": rule.subject, "score": rule.score, "title": title, "unit": unit,
                    "threshold": threshold_of(rule, self.recipe.select), "keeps_above": rule.keeps_above,
                    "is_whole": field is int, "axis": entry.axis if entry else "linear", "is_safety": rule.is_safety,
                }
            )  # fmt: skip
        return found

    def histogram(self, name: str) -> Row:
        """The values that a rule compares, under the recipe: bars edge to edge, and their range."""
        rule = self._rule(name)
        values = self._values_of(rule, self.base)
        assert rule.score is not None
        made = Histogram.of_score(rule.score)
        there = values[~np.isnan(values)].astype(np.float64)
        made.add(there, np.ones(len(there), bool))
        threshold = threshold_of(rule, self.recipe.select)
        bars = made.bars([] if threshold is None else [float(threshold)])
        return {
            "bars": [[bar.low, bar.high, bar.total] for bar in bars], "values": len(there),
            "missing": int(len(values) - len(there)),
            "low": float(there.min()) if len(there) else 0.0, "high": float(there.max()) if len(there) else 1.0,
        }  # fmt: skip

    def _rule(self, name: str) -> Rule:
        if name not in self.rules:
            raise AskError(f"no rule with a threshold is called {name!r}")
        return self.rules[name]

    def _values_of(self, rule: Rule, judged: Judged) -> npt.NDArray[np.float32]:
        assert rule.score is not None
        left = {"words_left": judged.num_words, "images_left": judged.num_images}.get(rule.score)
        return self.columns.score(rule.subject, rule.score) if left is None else left.astype(np.float32)

    def near(self, name: str, threshold: float, num: int = 12) -> Row:
        """What lies nearest to a threshold on either side, places of one subject: the best aid to choosing it."""
        rule = self._rule(name)
        values = self._values_of(rule, self.base)
        is_better = values >= np.float32(threshold) if rule.keeps_above else values <= np.float32(threshold)
        is_worse = ~is_better & ~np.isnan(values)
        if rule.subject == "image":
            is_there = self.columns.images >= 0
            is_better, is_worse = is_better & is_there, is_worse & is_there
        distance = np.abs(values - np.float32(threshold))
        sides = {}
        for side, mask in (("passing", is_better), ("failing", is_worse)):
            places = np.flatnonzero(mask)
            part = places[np.argpartition(distance[places], num * 4)[: num * 4]] if len(places) > num * 4 else places
            order = part[np.argsort(distance[part], kind="stable")]
            if rule.subject == "image":
                order = order[np.sort(np.unique(self.columns.images[order], return_index=True)[1])]
            sides[side] = [(int(place), float(values[place])) for place in order[:num]]
        return {"subject": rule.subject, **sides}

    # documents and pictures

    def documents(self, query: Query, changes: Changes, other: Collection | None = None) -> tuple[Any, Any]:
        """Places (M,) of the documents that a query wants, in its order, and the values that it is sorted by."""
        judged = self.judged(changes)
        wanted = self._wanted(query, judged, other)
        if query.rule:
            wanted &= self._broke(query.rule, judged)
        return self._ordered(np.flatnonzero(wanted), "document", query, judged)

    def pictures(self, query: Query, changes: Changes, other: Collection | None = None) -> tuple[Any, Any]:
        """The same of pictures in their places: of one that stands in several, the first by the query's order."""
        judged, columns = self.judged(changes), self.columns
        plain = dataclasses.replace(query, view="all", rule="")
        of = columns.of_document[columns.image_nodes]
        wanted = (columns.images >= 0) & self._wanted(plain, judged, other)[of]
        shown = {
            "kept": (judged.images == STAYS) & judged.is_kept[of],
            "before": (self.base.images == STAYS) & self.base.is_kept[of],
        }
        views = {
            "kept": shown["kept"], "dropped": ~shown["kept"], "coming": shown["kept"] & ~shown["before"],
            "going": shown["before"] & ~shown["kept"],
        }  # fmt: skip
        wanted &= views.get(query.view, np.True_)
        if query.rule:
            code = judged.code("image", query.rule)
            wanted &= (judged.images == code) if code >= 0 else self._broke(query.rule, judged)[of]
        places, values = self._ordered(np.flatnonzero(wanted), "image", query, judged)
        first = np.sort(np.unique(columns.images[places], return_index=True)[1])
        return places[first], values[first]

    def _wanted(self, query: Query, judged: Judged, other: Collection | None) -> Bools:
        wanted = self._in_view(query.view, judged, other)
        if query.language:
            wanted &= _bools(pc.equal(self.columns.languages, query.language))
        if query.site:
            wanted &= self._on_sites(query.site)
        if query.text:
            wanted &= self._found(query.text, query.in_text)
        return wanted

    def _in_view(self, view: str, judged: Judged, other: Collection | None) -> Bools:
        kept, before = judged.is_kept, self.base.is_kept
        if view in ("only_here", "only_there"):
            if other is None:
                raise AskError("there is no second run to compare with")
            there = other.kept_of(self.columns.ids)
            return kept & ~there if view == "only_here" else there & ~kept
        views = {"kept": kept, "dropped": ~kept, "coming": kept & ~before, "going": before & ~kept}
        found: Bools = views[view].copy() if view in views else np.ones(len(kept), bool)
        return found

    def kept_of(self, ids: pa.Array) -> Bools:
        """Which of these documents this run's recipe keeps."""
        own = self.columns.ids.filter(pa.array(self.base.is_kept))
        return _bools(pc.is_in(ids, value_set=own))

    def _broke(self, rule: str, judged: Judged) -> Bools:
        """Documents that a rule dropped, or of whose texts or pictures it dropped one."""
        columns = self.columns
        found: Bools = judged.documents == judged.code("document", rule)
        for subject, nodes in (("text", columns.text_nodes), ("image", columns.image_nodes)):
            code = judged.code(subject, rule)
            codes = judged.texts if subject == "text" else judged.images
            if code >= 0:
                found[columns.of_document[nodes[codes == code]]] = True
        return found

    def _on_sites(self, site: str) -> Bools:
        is_it = _bools(pc.match_substring(self._sites, site, ignore_case=True))
        return np.append(is_it, False)[self._site_codes]

    def _found(self, text: str, in_text: bool) -> Bools:
        key = f"{in_text}{text}"
        if key not in self._searches:
            columns = self.columns
            found = np.zeros(len(columns.ids), bool)
            for values in (columns.ids, columns.urls, columns.titles):
                found |= _bools(pc.match_substring(values, text, ignore_case=True))
            if in_text:
                found |= self._say(text)
            self._searches[key] = found
            while len(self._searches) > _MAX_SEARCHES:
                self._searches.popitem(last=False)
        return self._searches[key]

    def _say(self, text: str) -> Bools:
        """Documents in one of whose texts, captions or alternative texts these words stand. Reads all of them."""
        found = np.zeros(len(self.columns.ids), bool)
        for path in list_shards(join(self.output, "extract", "documents")):
            names = ["text", "caption", "alt"]
            for table in read_tables(path, ["doc_id", *(f"nodes.list.element.{name}" for name in names)]):
                lists = table["nodes"].combine_chunks()
                nodes, parents = lists.flatten(), np.asarray(pc.list_parent_indices(lists))
                has = np.zeros(len(nodes), bool)
                for name in names:
                    has |= _bools(pc.match_substring(pc.struct_field(nodes, name), text, ignore_case=True))
                for row in np.unique(parents[has]).tolist():
                    place = self.places.get(table["doc_id"][row].as_py())
                    if place is not None:
                        found[place] = True
        return found

    def _ordered(self, places: Any, subject: str, query: Query, judged: Judged) -> tuple[Any, Any]:
        values = np.full(len(places), np.nan, np.float32)
        for name, is_limit in ((query.sort, False), (query.score, True)):
            if not name:
                continue
            own = self._score(subject, name, judged)[places]
            if is_limit:
                inside = np.ones(len(own), bool)
                if query.low is not None:
                    inside &= own >= np.float32(query.low)
                if query.high is not None:
                    inside &= own <= np.float32(query.high)
                if query.low is not None or query.high is not None:
                    places, values, own = places[inside], values[inside], own[inside]
                if query.sort:
                    continue
            values = own
        if query.sort:
            key = np.where(np.isnan(values), np.inf, -values if query.descending else values)
            order = np.argsort(key, kind="stable")
            places, values = places[order], values[order]
        return places, values

    def _score(self, subject: str, name: str, judged: Judged) -> npt.NDArray[np.float32]:
        if name not in self.scores(subject):
            raise AskError(f"no score of {subject}s is called {name!r}")
        if subject == "document" and name in ("words_left", "images_left"):
            return (judged.num_words if name == "words_left" else judged.num_images).astype(np.float32)
        return self.columns.score(subject, name)

    def scores(self, subject: str) -> dict[str, str]:
        """Scores by which documents or pictures can be sorted, with their titles."""
        names = {rule.score: rule.score for rule in self.rules.values() if rule.subject == subject and rule.score}
        if subject == "document":
            names.pop("assigned_ratio", None)
        return {name: wording.score_title(name)[0] for name in names}

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
        """Which pictures (their places) are to be blurred."""
        limit = self.recipe.select.image.max_nsfw
        found: Bools = self.columns.score("image", "nsfw")[images] > (UNSAFE if limit is None else limit)
        return found

    def document_row(self, place: int, judged: Judged) -> Row:
        """A document as lists show it."""
        columns, code = self.columns, int(judged.documents[place])
        begin, end = columns.image_ends[place], columns.image_ends[place + 1]
        images = np.arange(begin, end)[(columns.images[begin:end] >= 0)]
        stays = images[judged.images[images] == STAYS]
        shown = (stays if len(stays) else images)[:3]
        unsafe = self.is_unsafe(shown)
        return {
            "doc_id": columns.ids[place].as_py(), "url": columns.urls[place].as_py(),
            "title": columns.titles[place].as_py() or "", "language": columns.languages[place].as_py() or "",
            "rule": "" if code == STAYS else judged.names["document"][code],
            "words": int(judged.num_words[place]), "images": int(judged.num_images[place]),
            "pictures": [
                {"image_id": columns.image_ids[int(columns.images[each])].as_py(), "unsafe": bool(is_unsafe)}
                for each, is_unsafe in zip(shown, unsafe)
            ],
        }  # fmt: skip

    def picture_row(self, place: int, judged: Judged) -> Row:
        """A picture in its place as lists show it."""
        columns, code = self.columns, int(judged.images[place])
        node = columns.image_nodes[place]
        document = int(columns.of_document[node])
        dropped_with = judged.documents[document] != STAYS
        rule = (
            "document_dropped"
            if code == STAYS and dropped_with
            else ("" if code == STAYS else judged.names["image"][code])
        )
        return {
            "image_id": columns.image_ids[int(columns.images[place])].as_py(), "doc_id": columns.ids[document].as_py(),
            "node": int(columns.place_in_document(np.array([node]))[0]), "rule": rule,
            "times": int((columns.images == columns.images[place]).sum()),
            "unsafe": bool(self.is_unsafe(np.array([place]))[0]),
        }  # fmt: skip

    # what has no scores

    def left_out(self, text: str, rule: str, offset: int) -> tuple[list[Row], int, list[str]]:
        """Pages, pictures and records that left before they had scores: some of them, how many, and all their rules."""
        rows: list[Row] = []
        total, rules = 0, set()
        names = ["stage", "unit", "action", "rule", "url", "value", "threshold", "detail", "warc_file", "warc_offset"]
        for stage in ("extract", "score"):
            for path in list_shards(join(self.output, stage, "decisions"), may_be_unfinished=True):
                for table in read_tables(path, names):
                    table = table.filter(pc.not_equal(table["action"], "replace"))
                    rules.update(pc.unique(table["rule"]).to_pylist())
                    wanted = np.ones(len(table), bool)
                    if rule:
                        wanted &= _bools(pc.equal(table["rule"], rule))
                    if text:
                        wanted &= _bools(pc.match_substring(table["url"], text, ignore_case=True))
                    found = table.filter(pa.array(wanted))
                    begin = max(0, offset + len(rows) - total)
                    rows += found.slice(begin, PAGE - len(rows)).to_pylist()
                    total += len(found)
        return rows, total, sorted(rules)

    # duplicates

    def clusters(self, kind: str) -> list[Any]:
        """Groups of two or more, the largest first: places of documents, or, for ``images``, of one place a picture."""
        columns = self.columns
        if kind == "images":
            there = np.flatnonzero(columns.images >= 0)
            places = there[np.sort(np.unique(columns.images[there], return_index=True)[1])]
            group = columns.near[places]
            places, group = places[group >= 0], group[group >= 0]
        elif kind in columns.groups:
            places, group = np.arange(len(columns.ids)), columns.groups[kind]
        else:
            raise AskError(f"no kind of duplicate is called {kind!r}")
        if len(group):
            is_shared = np.bincount(group)[group] > 1
            places, group = places[is_shared], group[is_shared]
        order = np.argsort(group, kind="stable")
        cuts = np.flatnonzero(np.diff(group[order])) + 1
        found = [part for part in np.split(places[order], cuts) if len(part) > 1]
        return sorted(found, key=lambda part: (-len(part), int(part[0])))


def settings(changes: Changes) -> list[str]:
    """Changes as ``--set`` takes them."""
    return [f"select.{rule}={json.dumps(value)}" for rule, value in sorted(changes.items())]


def change_type(recipe: Recipe, rule: Rule) -> type:
    """Whether a rule's threshold is a whole number."""
    if rule.section == "plugins" or "." in rule.threshold:
        return float
    hint = type(getattr(recipe.select, rule.section)).__dataclass_fields__[rule.threshold].type
    return int if "int" in str(hint) else float


def _bools(values: Any) -> Bools:
    return np.array(pc.fill_null(values, False))
