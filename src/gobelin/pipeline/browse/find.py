"""Searches, filters, sorts and groups documents and images, for ``gobelin browse``."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gobelin.data.rows import DecisionRow
from gobelin.pipeline.browse.collection import PAGE, AskError, Bools, Changes, Collection, as_bools
from gobelin.report import wording
from gobelin.store.paths import join
from gobelin.store.tables import list_shards, read_tables
from gobelin.transforms.selection.columns.judged import STAYS, Judged


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A selection of documents or images, and their order."""

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


def find_documents(run: Collection, query: Query, changes: Changes, other: Collection | None = None) -> tuple[Any, Any]:
    """Places (M,) of the documents of a query, in its order, and the values that they are sorted by."""
    judged = run.judged(changes)
    wanted = _wanted(run, query, judged, other)
    if query.rule:
        wanted &= _broke(run, query.rule, judged)
    return _ordered(run, np.flatnonzero(wanted), "document", query, judged)


def find_pictures(run: Collection, query: Query, changes: Changes, other: Collection | None = None) -> tuple[Any, Any]:
    """The same for places of images. For an image with several places, the first in the query's order."""
    judged, columns = run.judged(changes), run.columns
    plain = dataclasses.replace(query, view="all", rule="")
    of = columns.of_document[columns.image_nodes]
    wanted = (columns.images >= 0) & _wanted(run, plain, judged, other)[of]
    shown = {
        "kept": (judged.images == STAYS) & judged.is_kept[of],
        "before": (run.base.images == STAYS) & run.base.is_kept[of],
    }
    views = {
        "kept": shown["kept"], "dropped": ~shown["kept"], "coming": shown["kept"] & ~shown["before"],
        "going": shown["before"] & ~shown["kept"],
    }  # fmt: skip
    wanted &= views.get(query.view, np.True_)
    if query.rule:
        code = judged.code("image", query.rule)
        wanted &= (judged.images == code) if code >= 0 else _broke(run, query.rule, judged)[of]
    places, values = _ordered(run, np.flatnonzero(wanted), "image", query, judged)
    first = np.sort(np.unique(columns.images[places], return_index=True)[1])
    return places[first], values[first]


def _wanted(run: Collection, query: Query, judged: Judged, other: Collection | None) -> Bools:
    wanted = _in_view(run, query.view, judged, other)
    if query.language:
        wanted &= as_bools(pc.equal(run.columns.languages, query.language))
    if query.site:
        wanted &= run.on_sites(query.site)
    if query.text:
        wanted &= run.search(query.text, query.in_text)
    return wanted


def _in_view(run: Collection, view: str, judged: Judged, other: Collection | None) -> Bools:
    kept, before = judged.is_kept, run.base.is_kept
    if view in ("only_here", "only_there"):
        if other is None:
            raise AskError("there is no second run to compare with")
        there = other.kept_of(run.columns.ids)
        return kept & ~there if view == "only_here" else there & ~kept
    views = {"kept": kept, "dropped": ~kept, "coming": kept & ~before, "going": before & ~kept}
    found: Bools = views[view].copy() if view in views else np.ones(len(kept), bool)
    return found


def _broke(run: Collection, rule: str, judged: Judged) -> Bools:
    """Documents that a rule dropped, or that have a text or image that it dropped."""
    columns = run.columns
    found: Bools = judged.documents == judged.code("document", rule)
    for subject, nodes in (("text", columns.text_nodes), ("image", columns.image_nodes)):
        code = judged.code(subject, rule)
        codes = judged.texts if subject == "text" else judged.images
        if code >= 0:
            found[columns.of_document[nodes[codes == code]]] = True
    return found


def _ordered(run: Collection, places: Any, subject: str, query: Query, judged: Judged) -> tuple[Any, Any]:
    values = np.full(len(places), np.nan, np.float32)
    for name, is_limit in ((query.sort, False), (query.score, True)):
        if not name:
            continue
        own = _score(run, subject, name, judged)[places]
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


def _score(run: Collection, subject: str, name: str, judged: Judged) -> npt.NDArray[np.float32]:
    if name not in sortable_scores(run, subject):
        raise AskError(f"no score of {subject}s is called {name!r}")
    if subject == "document" and name in ("words_left", "images_left"):
        return (judged.num_words if name == "words_left" else judged.num_images).astype(np.float32)
    return run.columns.score(subject, name)


def sortable_scores(run: Collection, subject: str) -> dict[str, str]:
    """Scores by which documents or images can be sorted, with their titles."""
    names = {rule.score: rule.score for rule in run.rules.values() if rule.subject == subject and rule.score}
    if subject == "document":
        names.pop("assigned_ratio", None)
    return {name: wording.score_title(name)[0] for name in names}


def left_out(run: Collection, text: str, rule: str, offset: int) -> tuple[list[DecisionRow], int, list[str]]:
    """Pages, images and records that were dropped before they had scores: a page of them, their number, and all their
    rules."""
    rows: list[DecisionRow] = []
    total, rules = 0, set()
    names = ["stage", "unit", "action", "rule", "url", "value", "threshold", "detail", "warc_file", "warc_offset"]
    for stage in ("extract", "score"):
        for path in list_shards(join(run.output, stage, "decisions"), may_be_unfinished=True):
            for table in read_tables(path, names):
                table = table.filter(pc.not_equal(table["action"], "replace"))
                rules.update(pc.unique(table["rule"]).to_pylist())
                wanted = np.ones(len(table), bool)
                if rule:
                    wanted &= as_bools(pc.equal(table["rule"], rule))
                if text:
                    wanted &= as_bools(pc.match_substring(table["url"], text, ignore_case=True))
                found = table.filter(pa.array(wanted))
                begin = max(0, offset + len(rows) - total)
                rows += found.slice(begin, PAGE - len(rows)).to_pylist()
                total += len(found)
    return rows, total, sorted(rules)


def clusters(run: Collection, kind: str) -> list[Any]:
    """Groups of at least two, the largest first: places of documents, or, for ``images``, one place per image."""
    columns = run.columns
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
