"""``select`` over data sets: judge every document, keep one of each group of duplicates, write what is left.

    documents + scores --judge_document--> survivors (their ids and groups) --> one of each group stays
    documents + scores + the ids that stay --> corpus, and a decision for each document and image that does not

Only ids, groups and decisions are shuffled; a shard is read twice instead, which is cheap and gives the same answers.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from gobelin.documents import DOCUMENTS, Action, Decision, Unit, shard_of, to_row
from gobelin.transforms.progress import advance
from gobelin.transforms.rules import SelectConfig
from gobelin.transforms.select import choose_document, duplicate_decision, judge_document
from gobelin.transforms.shards import empty_shards, read_rows, shard_path, write_rows

Row = dict[str, Any]

DOCUMENT_DROPPED = "document_dropped"
"""Rule of an image that went only because every document that showed it did."""


def scored_documents(documents: str, scores: str, index: int, num_shards: int) -> Iterator[tuple[Row, Row]]:
    """(document, scores) of one shard. Both are sorted by id; a document that could not be scored is left out."""
    held = read_rows(shard_path(documents, index, num_shards))
    for score in read_rows(shard_path(scores, index, num_shards)):
        for document in held:
            if document["doc_id"] == score["doc_id"]:
                yield document, score
                break
        else:
            raise ValueError(
                f"scores of {score['doc_id']} belong to no document of shard {index}: run the score stage again"
            )


class JudgeDocuments(beam.PTransform):
    """Shard numbers -> ``survivors`` (ids, dates, groups), ``decisions``, ``not_run`` ((rule, times) pairs)."""

    def __init__(self, config: SelectConfig, documents: str, scores: str, num_shards: int) -> None:
        self._arguments = (config, documents, scores, num_shards)

    def expand(self, shards: beam.PCollection) -> beam.DoOutputsTuple:
        return shards | beam.ParDo(_JudgeDocuments(*self._arguments)).with_outputs("survivors", "decisions", "not_run")


_GROUPS = ("url_group", "exact_group", "near_group")


class _JudgeDocuments(beam.DoFn):
    def __init__(self, config: SelectConfig, documents: str, scores: str, num_shards: int) -> None:
        self._config, self._documents, self._scores, self._num_shards = config, documents, scores, num_shards

    def process(self, index: int) -> Iterator[beam.pvalue.TaggedOutput]:
        not_run: Counter[str] = Counter()
        for document, scores in scored_documents(self._documents, self._scores, index, self._num_shards):
            verdict = judge_document(document, scores, self._config)
            not_run.update(verdict.not_run)
            for decision in verdict.decisions:
                yield beam.pvalue.TaggedOutput("decisions", to_row(decision))
            if verdict.dropped_by is None:
                survivor = {name: document[name] for name in ("doc_id", "url", "warc_date")}
                groups = {name: scores[name] for name in _GROUPS}
                groups["image_set_group"] = image_set(verdict.document)
                yield beam.pvalue.TaggedOutput("survivors", {**survivor, **groups})
        for rule, times in sorted(not_run.items()):
            yield beam.pvalue.TaggedOutput("not_run", (rule, times))


def image_set(document: Row) -> str:
    """A name for the set of images that a document shows; its own id where it shows none."""
    shown = sorted({node["image_id"] for node in document["nodes"] if node["image_id"]})
    return hashlib.sha256("\n".join(shown).encode()).hexdigest() if shown else document["doc_id"]


class KeepOneOfEach(beam.PTransform):
    """Survivors -> (``survivors`` of which no two share a group, ``decisions`` on the others), kind after kind."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self._kinds = kinds

    def expand(self, survivors: beam.PCollection) -> dict[str, beam.PCollection]:
        decisions = []
        for kind in self._kinds:
            outputs = (
                survivors
                | f"By {kind}" >> beam.Map(_by_group, kind)
                | f"Group {kind}" >> beam.GroupByKey()
                | f"Choose {kind}" >> beam.FlatMap(_choose, kind).with_outputs("decisions", main="survivors")
            )
            survivors = outputs.survivors
            decisions.append(outputs.decisions)
        pipeline = survivors.pipeline
        return {"survivors": survivors, "decisions": tuple(decisions) | "Decisions" >> beam.Flatten(pipeline=pipeline)}


def _by_group(survivor: Row, kind: str) -> tuple[str, Row]:
    return survivor[f"{kind}_group"], survivor


def _choose(grouped: tuple[str, Iterable[Row]], kind: str) -> Iterator[Any]:
    members = {member["doc_id"]: member for member in grouped[1]}
    stays = choose_document((member["warc_date"], doc_id) for doc_id, member in members.items())
    for doc_id, member in sorted(members.items()):
        if doc_id == stays:
            yield member
        else:
            decision = duplicate_decision(member, kind, stays, len(members))
            yield beam.pvalue.TaggedOutput("decisions", to_row(decision))


class WriteCorpus(beam.PTransform):
    """Survivors -> the data set ``documents`` of the corpus; ``decisions`` on the images that it does not show."""

    def __init__(self, config: SelectConfig, documents: str, scores: str, folder: str, num_shards: int) -> None:
        self._arguments = (config, documents, scores, folder, num_shards)
        self._num_shards = num_shards

    def expand(self, survivors: beam.PCollection) -> dict[str, beam.PCollection]:
        written = (
            (
                survivors | "ToShard" >> beam.Map(_to_shard, self._num_shards),
                empty_shards(survivors.pipeline, self._num_shards),
            )
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.ParDo(_WriteCorpusShard(*self._arguments)).with_outputs("uses", main="paths")
        )
        decisions = written.uses | "GroupUses" >> beam.GroupByKey() | "JudgeImages" >> beam.FlatMap(_judge_image)
        return {"paths": written.paths, "decisions": decisions}


def _to_shard(survivor: Row, num_shards: int) -> tuple[int, str]:
    return shard_of(survivor["doc_id"], num_shards), survivor["doc_id"]


class _WriteCorpusShard(beam.DoFn):
    def __init__(self, config: SelectConfig, documents: str, scores: str, folder: str, num_shards: int) -> None:
        self._config, self._documents, self._scores = config, documents, scores
        self._folder, self._num_shards = folder, num_shards

    def process(self, element: tuple[int, Iterable[str | None]]) -> Iterator[Any]:
        index, group = element
        stay = set(group)
        uses: Counter[tuple[str, str]] = Counter()
        path = shard_path(self._folder, index, self._num_shards)
        write_rows(path, self._rows(index, stay, uses), DOCUMENTS)
        yield path
        for (identifier, outcome), times in sorted(uses.items()):
            yield beam.pvalue.TaggedOutput("uses", (identifier, (outcome, times)))

    def _rows(self, index: int, stay: set[str | None], uses: Counter[tuple[str, str]]) -> Iterator[Row]:
        for document, scores in scored_documents(self._documents, self._scores, index, self._num_shards):
            advance("documents")
            verdict = judge_document(document, scores, self._config)
            is_kept = document["doc_id"] in stay
            broken = {
                decision.node_index: decision.rule
                for decision in verdict.decisions
                if decision.unit is Unit.NODE and decision.action is Action.DROP
            }
            for node_index, node in enumerate(document["nodes"]):
                if node["image_id"] is not None:
                    outcome = broken.get(node_index, "" if is_kept else DOCUMENT_DROPPED)
                    uses[node["image_id"], outcome] += 1
            if is_kept:
                yield verdict.document


def _judge_image(used: tuple[str, Iterable[tuple[str, int]]]) -> Iterator[Row]:
    """A decision on an image that the corpus does not show: the rule that dropped it most often."""
    identifier, uses = used
    times: Counter[str] = Counter()
    for outcome, count in uses:
        times[outcome] += count
    if "" in times:
        return
    rule = min(times, key=lambda name: (name == DOCUMENT_DROPPED, -times[name], name))
    decision = Decision(
        stage="select", unit=Unit.IMAGE, action=Action.DROP, rule=rule, image_id=identifier, value=times.total()
    )
    yield to_row(decision)
