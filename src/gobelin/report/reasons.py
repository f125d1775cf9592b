"""One pass over all decisions: the number of decisions of each rule, an example of each, and samples for the page.

Arrow counts them, one row group at a time, and only the samples become objects. Samples are chosen by hash: a document
by a salted hash of its id, an image by its id, which is a hash already. So the same output folder shows the same
examples.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Container, Iterable, Iterator
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gobelin.data.rows import DecisionRow
from gobelin.store.paths import join
from gobelin.store.tables import list_shards, read_tables

STAGES = ("extract", "score", "select", "tokenize")
"""Stages that leave decisions, in order."""

FILE_ANSWER = "http_status"
"""The rule that drops answers of servers to requests for missing files: pages in form, where no page was asked for."""

_FILE_URL = (
    r"(?i)^https?://[^/?#]+/[^?#]*\.(woff2?|ttf|otf|eot|ico|cur|png|jpe?g|gif|webp|avif|svg|bmp|css|m?js|map|json|xml|txt)"
    r"([?#]|$)"
)
"""Addresses of fonts, icons, pictures, style sheets, scripts and the files that programs ask sites for."""

SAMPLES = 40
"""Ids held for each rule to choose from."""

_KEY = ["stage", "unit", "action", "rule"]


@dataclasses.dataclass(slots=True)
class Reason:
    """The decisions of one rule on one unit in one stage."""

    stage: str
    unit: str
    action: str
    rule: str
    times: int
    threshold: float | None
    example: DecisionRow


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """A decision that the report may show, with its subject."""

    rank: str  # where it stands among those of its rule
    decision: DecisionRow


@dataclasses.dataclass(frozen=True, slots=True)
class Decisions:
    """The data that the report takes from decisions."""

    reasons: list[Reason]
    documents: dict[str, list[Choice]]  # dropped or failed after extraction, by rule
    images: dict[str, list[Choice]]  # dropped from a document, by rule
    num_file_answers: int  # pages dropped by ``FILE_ANSWER`` that are no pages


def rank_of(doc_id: str) -> str:
    """A document's rank for choosing examples: a salted hash of its id."""
    return hashlib.blake2b(doc_id.encode(), digest_size=8, salt=b"report").hexdigest()


def read_decisions(output: str, done: Container[str]) -> Decisions:
    """Counts and samples of the decisions of finished stages. Other stages may have decisions of an older run."""
    reasons: dict[tuple[str, ...], Reason] = {}
    documents: dict[str, list[Choice]] = {}
    images: dict[str, list[Choice]] = {}
    num_file_answers = 0
    for table in _tables(output, done):
        _count(table, reasons)
        _keep(documents, _documents(table))
        _keep(images, _images(table))
        num_file_answers += _count_file_answers(table)
    order = {stage: place for place, stage in enumerate(STAGES)}
    return Decisions(
        sorted(reasons.values(), key=lambda found: (order[found.stage], found.unit, -found.times, found.rule)),
        documents,
        images,
        num_file_answers,
    )


def _tables(output: str, done: Container[str]) -> Iterator[pa.Table]:
    for stage in STAGES:
        folder = join(output, stage, "decisions")
        # A stage that is done has been counted; some decide nothing and have none.
        for path in list_shards(folder, may_be_unfinished=True) if stage in done else ():
            for table in read_tables(path):
                yield table.append_column("row", pa.array(np.arange(len(table))))


def _count(table: pa.Table, reasons: dict[tuple[str, ...], Reason]) -> None:
    groups = table.group_by(_KEY, use_threads=False).aggregate([("row", "count"), ("row", "min"), ("threshold", "max")])
    for group in groups.to_pylist():
        key = tuple(group[name] for name in _KEY)
        held = reasons.get(key)
        if held is None:
            example = table.slice(group["row_min"], 1).drop_columns("row").to_pylist()[0]
            about = {name: group[name] for name in _KEY}
            reasons[key] = Reason(**about, times=group["row_count"], threshold=group["threshold_max"], example=example)
        else:
            held.times += group["row_count"]


def _count_file_answers(table: pa.Table) -> int:
    is_answer = pc.and_(pc.equal(table["unit"], "document"), pc.equal(table["rule"], FILE_ANSWER))
    return pc.sum(pc.match_substring_regex(table.filter(is_answer)["url"], _FILE_URL)).as_py() or 0


def _documents(table: pa.Table) -> Iterator[tuple[str, Choice]]:
    is_chosen = pc.and_(pc.equal(table["unit"], "document"), pc.is_valid(table["doc_id"]))
    is_chosen = pc.and_(is_chosen, pc.invert(pc.equal(table["stage"], "extract")))  # of those there is no document
    is_chosen = pc.and_(is_chosen, pc.invert(pc.equal(table["action"], "replace")))  # those stay
    for decision in table.filter(is_chosen).drop_columns("row").to_pylist():
        yield decision["rule"], Choice(rank_of(decision["doc_id"]), decision)


def _images(table: pa.Table) -> Iterator[tuple[str, Choice]]:
    is_node = pc.and_(pc.equal(table["unit"], "node"), pc.equal(table["action"], "drop"))
    shown = table.filter(pc.and_(is_node, pc.is_valid(table["image_id"])))
    first = shown.group_by(["rule", "image_id"], use_threads=False).aggregate([("row", "min")])
    for rule in pc.unique(first["rule"]).to_pylist():
        of_rule = first.filter(pc.equal(first["rule"], rule)).sort_by("image_id").slice(0, SAMPLES)
        for row in of_rule["row_min"].to_pylist():
            decision = table.slice(row, 1).drop_columns("row").to_pylist()[0]
            yield rule, Choice(decision["image_id"], decision)


def _keep(held: dict[str, list[Choice]], found: Iterable[tuple[str, Choice]]) -> None:
    """Adds choices, with each subject once per rule, and keeps the first ``SAMPLES`` of each rule."""
    added: dict[str, list[Choice]] = {}
    for rule, choice in found:
        added.setdefault(rule, []).append(choice)
    for rule, choices in added.items():
        first: dict[str, Choice] = {}
        for choice in sorted([*held.get(rule, []), *choices], key=lambda choice: choice.rank):
            first.setdefault(choice.rank, choice)
        held[rule] = list(first.values())[:SAMPLES]


def spread(
    choices: dict[str, list[Choice]], limit: int, excluded: set[str], subject: Literal["doc_id", "image_id"]
) -> list[DecisionRow]:
    """Decisions to show, from the rules in turn: one of each rule, then a second one of each, and so on.

    Args:
        excluded: subjects that must not be shown.
        subject: the column of the decision that names its subject; each subject is shown once.
    """
    taken: set[str | None] = set(excluded)
    shown: list[DecisionRow] = []
    queues = [iter(choices[rule]) for rule in sorted(choices)]
    while queues and len(shown) < limit:
        waiting = []
        for queue in queues:
            decision = next((choice.decision for choice in queue if choice.decision[subject] not in taken), None)
            if decision is not None:
                taken.add(decision[subject])
                shown.append(decision)
                waiting.append(queue)
        queues = waiting
    return sorted(shown[:limit], key=lambda decision: (decision["rule"], decision[subject] or ""))
