"""One pass over all scores: a histogram for each score that a rule compares, and the values nearest to each threshold.

Scores are read as arrays, by row group and column: about 300,000 nodes per second on one core. All documents and nodes
are counted, even those that an earlier rule dropped. So the share beyond a threshold is what that rule alone would
drop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gobelin.report.histograms import Histogram
from gobelin.store.paths import join, name_of
from gobelin.store.tables import list_shards, read_tables
from gobelin.transforms.selection.rules import HEAD, RULES, Rule, head_rule, passes, plugin_rule

NEAR_CANDIDATES = 12
"""Items kept on each side of a threshold; of these the report shows the first that differ from each other."""

_NO_INDEX = -1


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Near:
    """A document or node whose value lies near a threshold. Ordered by distance, then by id."""

    distance: float
    doc_id: str
    node_index: int  # -1: the document itself
    value: float
    image_id: str | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(slots=True)
class RuleSurvey:
    """The values that one rule of the recipe compares."""

    rule: Rule
    threshold: float
    num_passed: int = 0
    num_failed: int = 0
    num_missing: int = 0
    near_passed: list[Near] = dataclasses.field(default_factory=list)
    near_failed: list[Near] = dataclasses.field(default_factory=list)

    @property
    def num_values(self) -> int:
        return self.num_passed + self.num_failed


@dataclasses.dataclass(slots=True)
class ScoreSurvey:
    """One score of one section, with all rules of the recipe that compare it."""

    section: str
    score: str
    rules: list[RuleSurvey]
    histogram: Histogram


@dataclasses.dataclass(frozen=True, slots=True)
class _Items:
    """The documents, nodes and images of values: parallel arrays."""

    doc_ids: np.ndarray  # object
    node_indexes: np.ndarray  # int
    image_ids: np.ndarray  # object, None for texts and documents


def active_rules(select_recipe: dict[str, Any]) -> list[tuple[Rule, float]]:
    """The rules of the table ``RULES`` that the section ``select`` of a recipe switches on, with their thresholds."""
    found = []
    for rule in RULES:
        threshold = select_recipe[rule.section].get(rule.threshold)
        if threshold is not None and not isinstance(threshold, dict):
            found.append((rule, float(threshold)))
    for side in ("max_head", "min_head"):
        for name, threshold in sorted(select_recipe["image"].get(side, {}).items()):
            found.append((head_rule(side, name), float(threshold)))
    for name, threshold in sorted(select_recipe.get("plugins", {}).items()):
        if threshold is not None:
            found.append((plugin_rule(name), float(threshold)))
    return found


def with_thresholds(select_recipe: dict[str, Any], thresholds: dict[str, float]) -> dict[str, Any]:
    """The section ``select`` of a recipe, with relative thresholds replaced by their numbers, by name of the rule.

    If their stage has not run, relative thresholds are unchanged and do not count as rules.
    """
    image = {**select_recipe["image"], **{name.partition(".")[2]: value for name, value in thresholds.items()}}
    return {**select_recipe, "image": image}


def survey_scores(
    output: str, select_recipe: dict[str, Any], done: Container[str] = ("extract", "score", "select")
) -> list[ScoreSurvey]:
    """Histograms of all scores that the recipe compares, in the order of the rules.

    Args:
        done: the stages whose data sets belong to this run. Without ``select``, no node counts as dropped. Without
            ``score``, only scores from extraction exist.
    """
    surveys: dict[tuple[str, str], ScoreSurvey] = {}
    for rule, threshold in active_rules(select_recipe):
        if rule.score is not None:
            key = rule.subject, rule.score
            held = surveys.setdefault(key, ScoreSurvey(*key, [], Histogram.of_score(rule.score)))
            held.rules.append(RuleSurvey(rule, threshold))
    for (section, score), values, items in _observations(output, done):
        survey = surveys.get((section, score))
        if survey is not None:
            _observe(survey, values, items)
    return list(surveys.values())


def _observe(survey: ScoreSurvey, values: np.ndarray, items: _Items) -> None:
    is_passed = np.ones(len(values), dtype=bool)
    for found in survey.rules:
        is_right = _passes(found.rule, values, found.threshold)
        is_wrong = ~np.isnan(values) & ~is_right
        found.num_passed += int(is_right.sum())
        found.num_failed += int(is_wrong.sum())
        found.num_missing += int(np.isnan(values).sum())
        found.near_passed = _nearest(found.near_passed, values, is_right, found.threshold, items)
        found.near_failed = _nearest(found.near_failed, values, is_wrong, found.threshold, items)
        is_passed &= ~is_wrong
    survey.histogram.add(values, is_passed)


def _passes(rule: Rule, values: Any, threshold: float) -> Any:
    """The comparison of ``select``, on an array. NaN does not pass."""
    return passes(rule, values, threshold)


def _nearest(held: list[Near], values: np.ndarray, mask: np.ndarray, threshold: float, items: _Items) -> list[Near]:
    places = np.flatnonzero(mask)
    distances = np.abs(values[places] - threshold)
    found = []
    # Rows are sorted by id, a hash, so the first of equal distances are a random sample. A few more than are
    # wanted, because one picture may stand in many documents.
    for place in places[np.argsort(distances, kind="stable")[: 4 * NEAR_CANDIDATES]]:
        found.append(
            Near(
                abs(float(values[place]) - threshold),
                items.doc_ids[place],
                int(items.node_indexes[place]),
                float(values[place]),
                items.image_ids[place],
            )
        )
    chosen: dict[Any, Near] = {}
    for near in sorted([*held, *found]):
        chosen.setdefault(near.image_id or (near.doc_id, near.node_index), near)
    return list(chosen.values())[:NEAR_CANDIDATES]


Observation = tuple[tuple[str, str], np.ndarray, _Items]


def _observations(output: str, done: Container[str]) -> Iterator[Observation]:
    """Yields ((section, score), values, their items) for each row group of the scores and of the documents."""
    judged = list_shards(join(output, "select", "decisions")) if "select" in done else []
    decisions = {name_of(path): path for path in judged}
    for path in list_shards(join(output, "score", "documents")) if "score" in done else []:
        name = name_of(path)
        dropped = _dropped_nodes(decisions[name]) if name in decisions else None
        for table in read_tables(path):
            yield from _of_scores(table, dropped)
    for path in list_shards(join(output, "extract", "documents"), may_be_unfinished=True):
        for table in read_tables(path, _DOCUMENT_COLUMNS):
            yield from _of_documents(table)


_DOCUMENT_COLUMNS = ["doc_id", "language_score"] + [
    f"nodes.list.element.{name}" for name in ("kind", "image_id", "rendered_width", "rendered_height")
]


def _dropped_nodes(path: str) -> pa.Table:
    """(doc_id, node_index) of the nodes that a shard's decisions dropped."""
    parts = []
    for table in read_tables(path, ["unit", "action", "doc_id", "node_index"]):
        is_dropped = pc.and_(pc.equal(table["unit"], "node"), pc.equal(table["action"], "drop"))
        parts.append(table.filter(is_dropped).select(["doc_id", "node_index"]))
    empty = pa.table({"doc_id": pa.array([], pa.string()), "node_index": pa.array([], pa.int32())})
    return pa.concat_tables(parts) if parts else empty


@dataclasses.dataclass(frozen=True, slots=True)
class _Nodes:
    """The nodes of a row group, concatenated."""

    fields: pa.StructArray
    parents: np.ndarray  # row of each node
    indexes: np.ndarray  # position in its document
    starts: np.ndarray  # first node of each row

    def column(self, name: str) -> np.ndarray:
        return numbers(self.fields.field(name))

    def strings(self, name: str) -> np.ndarray:
        return self.fields.field(name).to_numpy(zero_copy_only=False)

    def are(self, kind: str) -> np.ndarray:
        return pc.equal(self.fields.field("kind"), kind).to_numpy(zero_copy_only=False)


def _nodes_of(table: pa.Table) -> _Nodes:
    nodes = table["nodes"].combine_chunks()
    lengths = pc.list_value_length(nodes).to_numpy(zero_copy_only=False).astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    parents = np.repeat(np.arange(len(lengths)), lengths)
    return _Nodes(nodes.flatten(), parents, np.arange(len(parents)) - starts[parents], starts)


def numbers(column: Any) -> np.ndarray:
    """An Arrow column of numbers as float64, nulls as NaN."""
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _of_scores(table: pa.Table, dropped: pa.Table | None) -> Iterator[Observation]:
    doc_ids = table["doc_id"].combine_chunks()
    documents = _documents(doc_ids)
    for name in table.column_names:
        if pa.types.is_integer(table[name].type) or pa.types.is_floating(table[name].type):
            yield ("document", name), numbers(table[name].combine_chunks()), documents
    nodes = _nodes_of(table)
    is_image = nodes.are("image")
    if dropped is not None:
        is_left = ~_mask(nodes, doc_ids, dropped)
        words = np.nan_to_num(nodes.column("num_words")) * is_left
        for name, weights in (("words_left", words), ("images_left", (is_image & is_left).astype(float))):
            yield ("document", name), np.bincount(nodes.parents, weights, len(table)), documents
    ids = documents.doc_ids[nodes.parents]
    images = _Items(ids, nodes.indexes, nodes.strings("image_id"))
    width, height = nodes.column("width"), nodes.column("height")
    derived = {"min_side": np.minimum(width, height), "max_side": np.maximum(width, height)}
    derived["aspect_ratio"] = width / height
    is_here = is_image & ~np.isnan(width)
    for field in nodes.fields.type:
        if pa.types.is_integer(field.type) or pa.types.is_floating(field.type):
            values = nodes.column(field.name)
            yield ("text", field.name), values[~is_image], _part(images, ~is_image)
            yield ("image", field.name), values[is_here], _part(images, is_here)
    for name, values in {**derived, **_of_heads(nodes)}.items():
        yield ("image", name), values[is_here], _part(images, is_here)


def _of_heads(nodes: _Nodes) -> dict[str, np.ndarray]:
    """Scores of the recipe's own heads by name; NaN for nodes without a score."""
    held = nodes.fields.field("heads")
    values = held.flatten()
    places = pc.list_parent_indices(held).to_numpy(zero_copy_only=False)
    names, scores = values.field("name"), numbers(values.field("value"))
    found = {}
    for name in pc.unique(names).to_pylist():
        mask = pc.equal(names, name).to_numpy(zero_copy_only=False)
        column = np.full(len(held), np.nan)
        column[places[mask]] = scores[mask]
        found[f"{HEAD}{name}"] = column
    return found


def _of_documents(table: pa.Table) -> Iterator[Observation]:
    documents = _documents(table["doc_id"].combine_chunks())
    yield ("document", "language_score"), numbers(table["language_score"].combine_chunks()), documents
    nodes = _nodes_of(table)
    image_ids = nodes.strings("image_id")
    is_here = np.array([identifier is not None for identifier in image_ids], dtype=bool)
    items = _part(_Items(documents.doc_ids[nodes.parents], nodes.indexes, image_ids), is_here)
    sides = nodes.column("rendered_width"), nodes.column("rendered_height")
    yield ("image", "min_rendered"), np.fmin(*sides)[is_here], items  # of the sides that the page names
    yield ("image", "max_rendered"), np.fmax(*sides)[is_here], items


def _documents(doc_ids: pa.Array) -> _Items:
    names = doc_ids.to_numpy(zero_copy_only=False)
    nothing = np.full(len(names), None, dtype=object)
    return _Items(names, np.full(len(names), _NO_INDEX), nothing)


def _part(items: _Items, mask: np.ndarray) -> _Items:
    return _Items(items.doc_ids[mask], items.node_indexes[mask], items.image_ids[mask])


def _mask(nodes: _Nodes, doc_ids: pa.Array, dropped: pa.Table) -> np.ndarray:
    """Which of the nodes were dropped."""
    rows = numbers(pc.index_in(dropped["doc_id"].combine_chunks(), value_set=doc_ids))
    is_here = ~np.isnan(rows)
    places = nodes.starts[rows[is_here].astype(np.int64)] + numbers(dropped["node_index"].combine_chunks())[is_here]
    mask = np.zeros(len(nodes.parents), dtype=bool)
    mask[places.astype(np.int64)] = True
    return mask
