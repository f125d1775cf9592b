"""The requests of the page of ``gobelin browse``, one method each: JSON in, JSON out."""

from __future__ import annotations

import dataclasses
import math
import threading
from typing import Any

import numpy as np

from gobelin.pipeline.browse import details
from gobelin.pipeline.browse.collection import PAGE, AskError, Changes, Collection, JsonObject
from gobelin.pipeline.browse.find import Query, clusters, find_documents, find_pictures, left_out, sortable_scores
from gobelin.pipeline.browse.list_rows import document_row, picture_row
from gobelin.pipeline.browse.thresholds import change_type, consequence, described_rules, histogram, nearest
from gobelin.pipeline.recipe.yaml import write_yaml
from gobelin.report import wording
from gobelin.report.marks import FILE_NAME, KEPT, MAX_NOTE, Mark, draw, read_marks, wilson, write_marks
from gobelin.store.files import write_bytes
from gobelin.store.paths import join
from gobelin.transforms.selection.columns.judged import Judged

CHANGE_FILE = "browse.yaml"
"""In the output folder: the recipe with the thresholds that were chosen."""

_GROUP = 12
"""Members of a cluster that are shown."""

MAX_SAMPLE = 500
"""Largest sample of what one rule decided, in an audit."""


class Answers:
    """Answers requests about one run, or about two compared runs. ``runs[0]`` is the one whose thresholds are
    changed."""

    def __init__(self, runs: list[Collection]) -> None:
        self.runs = runs
        self._writing = threading.Lock()

    def run_called(self, number: Any) -> Collection:
        """The run with this number."""
        if str(number) not in map(str, range(len(self.runs))):
            raise AskError(f"there is no run {number!r}")
        return self.runs[int(number)]

    def _of(self, given: JsonObject) -> tuple[Collection, Changes]:
        run = self.run_called(given.get("run", 0))
        return run, _changes(given.get("changes", {})) if run is self.runs[0] else {}

    def _other(self, run: Collection) -> Collection | None:
        return next((each for each in self.runs if each is not run), None)

    def on_start(self, given: JsonObject) -> JsonObject:
        """The data for the start of the page."""
        first = self.runs[0]
        nsfw = first.columns.score("image", "nsfw")
        return {
            "runs": [
                {"name": name, "recipe": run.recipe.name, "output": run.output, "documents": len(run.columns.ids)}
                for name, run in zip(_names(self.runs), self.runs)
            ],
            "rules": described_rules(first),
            "names": {subject: list(names) for subject, names in first.base.names.items()},
            "meanings": {name: first.meaning(name) for names in first.base.names.values() for name in names}
            | {"document_dropped": wording.RULE_MEANINGS["document_dropped"]},
            "scores": {subject: sortable_scores(first, subject) for subject in ("document", "image")},
            "languages": first.languages(), "sites": first.sites(),
            "nsfw_scored": bool((~np.isnan(nsfw)).any()) if len(nsfw) else False,
            "resolved": first.resolved,
        }  # fmt: skip

    def on_judge(self, given: JsonObject) -> JsonObject:
        """The effect of changed thresholds."""
        run, changes = self._of(given)
        return consequence(run, changes, given.get("held"))

    def on_histogram(self, given: JsonObject) -> JsonObject:
        """The values that a rule compares."""
        return histogram(self._of(given)[0], _text(given, "rule"))

    def on_near(self, given: JsonObject) -> JsonObject:
        """The items nearest to a threshold."""
        run, changes = self._of(given)
        rule, threshold = _text(given, "rule"), _number(given, "threshold")
        if threshold is None:
            raise AskError("a threshold is expected")
        found, judged = nearest(run, rule, threshold), run.judged(changes)
        texts = {}
        if found["subject"] == "text":
            texts = details.texts_of(run, [place for side in ("passing", "failing") for place, _ in found[side]])
        for side in ("passing", "failing"):
            found[side] = [
                {"value": value, **(texts.get(place) or self._place(run, found["subject"], place, judged))}
                for place, value in found[side]
            ]
        return found

    @staticmethod
    def _place(run: Collection, subject: str, place: int, judged: Judged) -> JsonObject:
        return picture_row(run, place, judged) if subject == "image" else document_row(run, place, judged)

    def on_documents(self, given: JsonObject) -> JsonObject:
        """A page of documents."""
        run, changes = self._of(given)
        query, judged = _query(given), run.judged(changes)
        places, values = find_documents(run, query, changes, self._other(run))
        own = self._verdicts(run)
        rows = []
        for place, value in _part(places, values, query.offset):
            row = document_row(run, place, judged)
            rows.append({**row, "value": value, "mark": own.get((row["doc_id"], None, row["rule"] or KEPT), "")})
        return {"total": len(places), "rows": rows}

    def on_left_out(self, given: JsonObject) -> JsonObject:
        """A page of units that were dropped before they had scores."""
        run, _ = self._of(given)
        rows, total, rules = left_out(
            run, _text(given, "text"), _text(given, "rule"), int(_number(given, "offset") or 0)
        )
        meanings = {rule: wording.rule_meaning(rule) for rule in rules}
        return {"rows": rows, "total": total, "rules": rules, "meanings": meanings}

    def on_pictures(self, given: JsonObject) -> JsonObject:
        """A page of pictures."""
        run, changes = self._of(given)
        query, judged = _query(given), run.judged(changes)
        places, values = find_pictures(run, query, changes, self._other(run))
        rows = [
            {**picture_row(run, place, judged), "value": value} for place, value in _part(places, values, query.offset)
        ]
        return {"total": len(places), "rows": rows}

    def on_document(self, given: JsonObject) -> JsonObject:
        """A document with all its data."""
        run, changes = self._of(given)
        found = details.document(run, _text(given, "doc_id"), changes)
        marks = [
            dataclasses.asdict(mark) for mark in read_marks(run.output)
            if mark.doc_id == found["doc_id"] and mark.selection == run.selection
        ]  # fmt: skip
        other = self._other(run)
        place = other.places.get(found["doc_id"]) if other else None
        elsewhere = None
        if other is not None:
            elsewhere = "unknown" if place is None else document_row(other, place, other.base)["rule"] or KEPT
        return {**found, "marks": marks, "elsewhere": elsewhere}

    def on_stored(self, given: JsonObject) -> JsonObject:
        """The decisions that the stages recorded."""
        return {"rows": details.stored_decisions(self._of(given)[0], _text(given, "doc_id"))}

    def on_tokens(self, given: JsonObject) -> JsonObject:
        """A document's tokens."""
        return details.tokens(self._of(given)[0], _text(given, "doc_id"))

    def on_source(self, given: JsonObject) -> JsonObject:
        """A page's source."""
        text = details.source(self._of(given)[0], _text(given, "doc_id"))
        return {"text": text[: details.MAX_SOURCE], "more": max(0, len(text) - details.MAX_SOURCE)}

    def on_clusters(self, given: JsonObject) -> JsonObject:
        """A page of groups of duplicates."""
        run, changes = self._of(given)
        kind, offset, judged = _text(given, "kind"), int(_number(given, "offset") or 0), run.judged(changes)
        found = clusters(run, kind)
        subject = "image" if kind == "images" else "document"
        groups = [
            {
                "size": len(group),
                "members": [self._place(run, subject, int(place), judged) for place in group[:_GROUP]],
            }
            for group in found[offset : offset + PAGE // 2]
        ]
        return {"total": len(found), "subject": subject, "groups": groups}

    def on_compare(self, given: JsonObject) -> JsonObject:
        """The differences of two runs."""
        if len(self.runs) < 2:
            raise AskError("there is no second run to compare with")
        first, second = self.runs
        changes = _changes(given.get("changes", {}))
        here = first.judged(changes).is_kept
        there = second.kept_of(first.columns.ids)
        known = np.array([doc_id in second.places for doc_id in first.places], bool)
        return {
            "totals": [first.judged(changes).totals(), second.base.totals()],
            "both": int((here & there).sum()), "only_here": int((here & ~there).sum()),
            "only_there": int((there & ~here).sum()) + int(second.base.is_kept.sum() - there.sum()),
            "unknown_there": int((~known).sum()), "unknown_here": len(second.places) - int(known.sum()),
        }  # fmt: skip

    # marks

    @staticmethod
    def _verdicts(run: Collection) -> dict[tuple[str, int | None, str], str]:
        return {
            (mark.doc_id, mark.node_index, mark.rule): mark.verdict
            for mark in read_marks(run.output)
            if mark.selection == run.selection
        }

    def on_mark(self, given: JsonObject) -> JsonObject:
        """Stores a verdict or a note. Without both, deletes the mark."""
        run, _ = self._of(given)
        node, verdict, note = given.get("node_index"), given.get("verdict", ""), _text(given, "note")
        if verdict not in ("right", "wrong", "") or not (node is None or type(node) is int) or len(note) > MAX_NOTE:
            raise AskError(f"a mark is right, wrong or nothing, with a note of at most {MAX_NOTE:,} characters")
        doc_id = _text(given, "doc_id")
        if doc_id not in run.places:
            raise AskError(f"the run has no document {doc_id!r} with scores")
        mark = Mark(
            doc_id=doc_id, node_index=node, rule=_text(given, "rule") or KEPT, verdict=verdict, note=note,
            audit=given.get("audit") is True, selection=run.selection,
        )  # fmt: skip
        with self._writing:
            marks = {each.subject: each for each in read_marks(run.output)}
            earlier = marks.pop(mark.subject, None)
            if verdict or note:
                is_sampled = mark.audit or (earlier is not None and earlier.audit)
                marks[mark.subject] = dataclasses.replace(mark, audit=is_sampled)
            write_marks(run.output, marks.values())
        return {"marks": len(marks), "file": join(run.output, FILE_NAME)}

    def on_audit(self, given: JsonObject) -> JsonObject:
        """A random sample of each rule's decisions, by seed, with their marks. Uses the recipe's thresholds, not
        changed ones, because an audit judges what the run did."""
        run, _ = self._of(given)
        seed, size = int(_number(given, "seed") or 0), int(_number(given, "size") or 20)
        if not (0 <= seed < 1 << 32 and 1 <= size <= MAX_SAMPLE):
            raise AskError(f"the sample is of 1 to {MAX_SAMPLE}, the seed below {1 << 32}")
        verdicts = self._verdicts(run)
        rules = []
        for subject, rule, places in _decided(run):
            items = [_subject_of(run, subject, place) for place in draw(places, rule, seed, size)]
            said = [verdicts.get((doc_id, node, rule), "") for doc_id, node in items]
            wrong, right = said.count("wrong"), said.count("right")
            low, high = wilson(wrong, wrong + right)
            meaning = "stays in the corpus" if rule == KEPT else run.demand(rule)
            rules.append(
                {
                    "rule": rule, "subject": subject, "meaning": meaning,
                    "population": len(places), "right": right, "wrong": wrong, "low": low, "high": high,
                    "items": [
                        {"doc_id": doc_id, "node_index": node, "verdict": verdict}
                        for (doc_id, node), verdict in zip(items, said)
                    ],
                }
            )  # fmt: skip
        return {"seed": seed, "size": size, "rules": rules, "file": join(run.output, FILE_NAME)}

    def on_write(self, given: JsonObject) -> JsonObject:
        """Writes the thresholds as a recipe that extends the folder's own."""
        run, changes = self._of(given)
        if not changes:
            raise AskError("no threshold differs from the recipe's")
        run.changed(changes)
        select: dict[str, Any] = {}
        for name in sorted(changes):
            place = select
            *path, last = name.split(".")
            for part in path:
                place = place.setdefault(part, {})
            rule = run.rules[name]
            value = changes[name]
            place[last] = int(value) if value is not None and change_type(run.recipe, rule) is int else value
        text = write_yaml({"extends": "recipe.yaml", "name": run.recipe.name, "select": select}, sort_keys=False)
        path_of = join(run.output, CHANGE_FILE)
        write_bytes(path_of, text.encode())
        return {"file": path_of, "text": text, "command": f"gobelin select --recipe {path_of} --output {run.output}"}


def _names(runs: list[Collection]) -> list[str]:
    """Names of runs on the page: their folders' names, or their addresses if the names are equal."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [run.output for run in runs]


def _decided(run: Collection) -> list[tuple[str, str, Any]]:
    """(subject, rule, places) of all decisions under the recipe; kept documents come first."""
    base = run.base
    found: list[tuple[str, str, Any]] = [("document", KEPT, np.flatnonzero(base.is_kept))]
    for subject, codes in (("document", base.documents), ("text", base.texts), ("image", base.images)):
        order = np.argsort(codes, kind="stable")
        ends = np.searchsorted(codes[order], np.arange(len(base.names[subject]) + 1))
        for code, name in enumerate(base.names[subject]):
            places = order[ends[code] : ends[code + 1]]
            if len(places):
                found.append((subject, name, places))
    return [each for each in found if len(each[2])]


def _subject_of(run: Collection, subject: str, place: int) -> tuple[str, int | None]:
    columns = run.columns
    if subject == "document":
        return columns.ids[place].as_py(), None
    node = (columns.text_nodes if subject == "text" else columns.image_nodes)[place]
    document = int(columns.of_document[node])
    return columns.ids[document].as_py(), int(columns.place_in_document(np.array([node]))[0])


def _part(places: Any, values: Any, offset: int) -> list[tuple[int, float | None]]:
    return [
        (int(place), None if math.isnan(value) else float(value))
        for place, value in zip(places[offset : offset + PAGE], values[offset : offset + PAGE])
    ]


def _changes(given: Any) -> Changes:
    if not isinstance(given, dict) or not all(_is_number(value) or value is None for value in given.values()):
        raise AskError("changes are rules with numbers, or null")
    return given


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _number(given: JsonObject, name: str) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    if not _is_number(value):
        raise AskError(f"{name}: a number is expected")
    return value


def _text(given: JsonObject, name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str):
        raise AskError(f"{name}: a text is expected")
    return value


def _query(given: JsonObject) -> Query:
    texts = {name: _text(given, name) for name in ("view", "text", "rule", "language", "site", "score", "sort")}
    low, high, offset = (_number(given, name) for name in ("low", "high", "offset"))
    return Query(
        **texts, low=low, high=high, offset=max(0, int(offset or 0)), in_text=given.get("in_text") is True,
        descending=given.get("descending") is True,
    )  # fmt: skip
