"""``select`` over data sets: judges each document, keeps one of each group of duplicates, and writes the corpus.

    by shard: documents + scores --judge_document--> survivors (their ids and groups), decisions
    together: survivors --> one of each group stays; decisions
    by shard: documents + scores + the ids that stay --> corpus, and the outcome for each image
    by shard: decisions on documents, nodes and images, sorted

Only ids and groups are shuffled. A document's decisions are written in the shard of the document when it is judged.
Therefore a shard of documents is read twice, which is cheap and gives the same results.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

import apache_beam as beam
import pyarrow as pa

from gobelin.data.model import Action, Decision, Unit, to_row
from gobelin.data.rows import DocumentRow, DocumentScoresRow, EarlierRow
from gobelin.data.schemas import DECISIONS, DOCUMENT_SCORES, DOCUMENTS, NOT_RUN
from gobelin.errors import UserError
from gobelin.store.paths import join
from gobelin.store.shards import read_rows, write_decisions, write_shard, write_sorted
from gobelin.store.tables import shard_path
from gobelin.transforms.boundary import Refused, WebStep, attempt
from gobelin.transforms.duplicates.components import ConnectEdges, Edge, star_edges
from gobelin.transforms.progress import advance
from gobelin.transforms.row_steps import DECISION_ORDER
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.select import Verdict, duplicate_decision, judge_document, latest_first
from gobelin.transforms.text.join_sentences import join_nodes

DOCUMENT_DROPPED = "document_dropped"
"""The rule of an image that was dropped only because every document that showed it was dropped."""


def scored_documents(
    documents: str, scores: str, index: int, num_shards: int
) -> Iterator[tuple[DocumentRow, DocumentScoresRow]]:
    """(document, scores) of one shard. Both are sorted by id. A document that could not be scored is left out."""
    held: Iterator[DocumentRow] = read_rows(shard_path(documents, index, num_shards))
    for score in read_rows(shard_path(scores, index, num_shards)):
        for document in held:
            if document["doc_id"] == score["doc_id"]:
                yield document, score
                break
        else:
            raise UserError(
                f"scores of {score['doc_id']} belong to no document of shard {index}: run the score stage again"
            )


SURVIVORS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("doc_id", "url", "warc_date")),
        *(pa.field(name, pa.string()) for name in ("url_group", "exact_group", "near_group", "image_set_group")),
        DOCUMENT_SCORES.field("earlier"),
    ]
)
"""One row per document that passes all rules except those on duplicates."""


class SurvivorRow(TypedDict):
    """A row of ``SURVIVORS``."""

    doc_id: str
    url: str
    warc_date: str
    url_group: str
    exact_group: str
    near_group: str
    image_set_group: str
    earlier: Sequence[EarlierRow]


STAY = pa.schema([("doc_id", pa.string())])
"""One row per document of the corpus."""

USES = pa.schema([("image_id", pa.string()), ("outcome", pa.string()), ("times", pa.int64())])
"""How often an image was shown or dropped; ``outcome``: the rule, or "" if it stays."""


class UseRow(TypedDict):
    """A row of ``USES``."""

    image_id: str
    outcome: str
    times: int


class JudgeDocuments(beam.PTransform):
    """Shard numbers -> shards of ``survivors``, ``judge_decisions`` and ``judge_not_run`` in the folder ``work``."""

    def __init__(self, config: SelectConfig, documents: str, scores: str, work: str, num_shards: int) -> None:
        self._arguments = (config, documents, scores, work, num_shards)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | beam.ParDo(_JudgeDocuments(*self._arguments))


class _JudgeDocuments(WebStep):
    def __init__(self, config: SelectConfig, documents: str, scores: str, work: str, num_shards: int) -> None:
        self._config, self._documents, self._scores = config, documents, scores
        self._work, self._num_shards = work, num_shards

    def process(self, index: int) -> Iterator[str]:
        decisions: list[Decision] = []
        not_run: Counter[str] = Counter()
        write_shard(self._made("survivors", index), self._survivors(index, decisions, not_run), SURVIVORS)
        write_decisions(self._made("judge_decisions", index), decisions)
        counted = ({"rule": rule, "times": times} for rule, times in sorted(not_run.items()))
        write_shard(self._made("judge_not_run", index), counted, NOT_RUN)
        yield self._made("survivors", index)

    def _made(self, name: str, index: int) -> str:
        return shard_path(join(self._work, name), index, self._num_shards)

    def _survivors(self, index: int, decisions: list[Decision], not_run: Counter[str]) -> Iterator[SurvivorRow]:
        for document, scores in scored_documents(self._documents, self._scores, index, self._num_shards):
            advance("documents")
            judged = attempt(_judged, document, scores, self._config)
            if isinstance(judged, Refused):
                advance("failed")
                decisions.append(
                    Decision(
                        stage="select", unit=Unit.DOCUMENT, action=Action.FAIL, rule="select_error",
                        doc_id=document["doc_id"], url=document["url"], detail=judged.detail,
                    )
                )  # fmt: skip
                continue
            verdict, survivor = judged
            not_run.update(verdict.not_run)
            decisions.extend(verdict.decisions)
            advance("dropped" if survivor is None else "kept")
            if survivor is not None:
                yield survivor


def _judged(
    document: DocumentRow, scores: DocumentScoresRow, config: SelectConfig
) -> tuple[Verdict, SurvivorRow | None]:
    """(the verdict on a document, its row of ``SURVIVORS`` if it passes)."""
    verdict = judge_document(document, scores, config)
    if verdict.dropped_by is not None:
        return verdict, None
    return verdict, survivor_of(verdict.document, scores)


def survivor_of(document: DocumentRow, scores: DocumentScoresRow) -> SurvivorRow:
    """The row of a document that passes the rules.

    Args:
        document: with the remaining nodes.
    """
    return {
        "doc_id": document["doc_id"],
        "url": document["url"],
        "warc_date": document["warc_date"],
        "url_group": scores["url_group"],
        "exact_group": scores["exact_group"],
        "near_group": scores["near_group"],
        "image_set_group": image_set(document),
        "earlier": scores["earlier"],
    }


def image_set(document: DocumentRow) -> str:
    """A name for the set of images that a document shows; its own id if it shows none."""
    shown = sorted({node["image_id"] for node in document["nodes"] if node["image_id"]})
    return hashlib.sha256("\n".join(shown).encode()).hexdigest() if shown else document["doc_id"]


class KeepOneOfEach(beam.PTransform):
    """Survivors -> ``survivors`` of which no two share a group of these kinds, and ``decisions`` on the others.

    Documents that are connected through groups are processed together, the latest first: each stays unless one that
    stays shares a group with it. So
    the document that a decision names as kept is kept.
    """

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self._kinds = kinds

    def expand(self, survivors: beam.PCollection) -> beam.DoOutputsTuple:
        named = survivors | "GroupEdges" >> beam.FlatMap(_group_edges, self._kinds)
        same_images = (
            survivors
            | "ImageSets" >> beam.FlatMap(_image_set_key, self._kinds)
            | "GroupImageSet" >> beam.GroupByKey()
            | "ImageSetEdges" >> beam.FlatMapTuple(_image_set_edges)
        )
        connected = (named, same_images) | "AllEdges" >> beam.Flatten() | "Connect" >> ConnectEdges()
        return (
            {"survivor": survivors | "ById" >> beam.Map(_by_id), "component": connected}
            | "JoinById" >> beam.CoGroupByKey()
            | "ToComponent" >> beam.FlatMap(_to_component)
            | "GroupComponent" >> beam.GroupByKey()
            | "KeepOne" >> beam.FlatMap(_keep_one, self._kinds).with_outputs("decisions", main="survivors")
        )


def _group_edges(survivor: SurvivorRow, kinds: tuple[str, ...]) -> Iterator[Edge]:
    """Edges from a document to its groups. A group has the name of its smallest member, so only duplicates have
    edges."""
    for kind in kinds:
        group = group_of(survivor, kind)
        if kind != "image_set" and group != survivor["doc_id"]:
            yield survivor["doc_id"], group


def group_of(survivor: SurvivorRow, kind: str) -> str:
    """The group of a kind: url, exact, near or image_set."""
    by_name: Mapping[str, Any] = survivor
    group: str = by_name[f"{kind}_group"]
    return group


def _image_set_key(survivor: SurvivorRow, kinds: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if "image_set" in kinds and survivor["image_set_group"] != survivor["doc_id"]:
        yield survivor["image_set_group"], survivor["doc_id"]


def _image_set_edges(_: str, doc_ids: Iterable[str]) -> list[Edge]:
    return star_edges(doc_ids)


def _by_id(survivor: SurvivorRow) -> tuple[str, SurvivorRow]:
    return survivor["doc_id"], survivor


def _to_component(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[tuple[str, SurvivorRow]]:
    doc_id, sides = joined
    for survivor in sides["survivor"]:  # empty for a group whose eponymous document was dropped
        yield next(iter(sides["component"]), doc_id), survivor


def _keep_one(grouped: tuple[str, Iterable[SurvivorRow]], kinds: tuple[str, ...]) -> Iterator[Any]:
    kept, decisions = keep_one(grouped[1], kinds)
    yield from kept
    for decision in decisions:
        yield beam.pvalue.TaggedOutput("decisions", to_row(decision))


def keep_one(component: Iterable[SurvivorRow], kinds: tuple[str, ...]) -> tuple[list[SurvivorRow], list[Decision]]:
    """Returns (the connected survivors that stay, the decisions on the others). The latest comes first: each stays
    unless one that stays shares a group with it, or the corpus of an earlier run already has a duplicate of these
    kinds."""
    members = {member["doc_id"]: member for member in component}
    kept: list[SurvivorRow] = []
    decisions: list[Decision] = []
    sizes = Counter((kind, group_of(member, kind)) for member in members.values() for kind in kinds)
    taken: dict[tuple[str, str], str] = {}
    for _, doc_id in latest_first((member["warc_date"], doc_id) for doc_id, member in members.items()):
        known = known_earlier(members[doc_id]["earlier"], kinds)
        if known is not None:
            decisions.append(
                duplicate_decision(members[doc_id], known["kind"], f"{known['doc_id']} of {known['run']}", None)
            )
            continue
        groups = [(kind, group_of(members[doc_id], kind)) for kind in kinds]
        shared = next((group for group in groups if group in taken), None)
        if shared is None:
            taken.update(dict.fromkeys(groups, doc_id))
            kept.append(members[doc_id])
        else:
            decisions.append(duplicate_decision(members[doc_id], shared[0], taken[shared], sizes[shared]))
    return kept, decisions


def known_earlier(earlier: Iterable[EarlierRow], kinds: tuple[str, ...]) -> EarlierRow | None:
    """The document of an earlier corpus of which this one is a duplicate of these kinds; None if there is none."""
    return next((each for each in earlier if each["kind"] in kinds), None)


class WriteCorpus(beam.PTransform):
    """Shard numbers -> these shards of the corpus in ``folder``, with the documents in ``stay`` of the folder ``work``.
    Returns rows of ``USES``."""

    def __init__(
        self, config: SelectConfig, documents: str, scores: str, work: str, folder: str, num_shards: int
    ) -> None:
        self._arguments = (config, documents, scores, work, folder, num_shards)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | beam.ParDo(_WriteCorpusShard(*self._arguments))


class _WriteCorpusShard(WebStep):
    def __init__(
        self, config: SelectConfig, documents: str, scores: str, work: str, folder: str, num_shards: int
    ) -> None:
        self._config, self._documents, self._scores = config, documents, scores
        self._work, self._folder, self._num_shards = work, folder, num_shards

    def process(self, index: int) -> Iterator[UseRow]:
        stay = {row["doc_id"] for row in read_rows(shard_path(join(self._work, "stay"), index, self._num_shards))}
        uses: Counter[tuple[str, str]] = Counter()
        path = shard_path(self._folder, index, self._num_shards)
        write_shard(path, self._rows(index, stay, uses), DOCUMENTS)
        for (identifier, outcome), times in sorted(uses.items()):
            yield {"image_id": identifier, "outcome": outcome, "times": times}

    def _rows(self, index: int, stay: set[str], uses: Counter[tuple[str, str]]) -> Iterator[DocumentRow]:
        for document, scores in scored_documents(self._documents, self._scores, index, self._num_shards):
            advance("documents")
            judged = attempt(_judged, document, scores, self._config)  # if refused, ``judge_decisions`` have it
            verdict = None if isinstance(judged, Refused) else judged[0]
            is_kept = document["doc_id"] in stay
            broken = {
                decision.node_index: decision.rule
                for decision in (verdict.decisions if verdict else ())
                if decision.unit is Unit.NODE and decision.action is Action.DROP
            }
            for node_index in range(len(document["nodes"])):
                shown = scores["nodes"][node_index]["image_id"]
                if shown is not None:
                    outcome = broken.get(node_index, "" if is_kept else DOCUMENT_DROPPED)
                    uses[shown, outcome] += 1
            if is_kept and verdict is not None:
                yield _as_written(verdict.document, document, broken)


def _as_written(judged: DocumentRow, document: DocumentRow, broken: Collection[int | None]) -> DocumentRow:
    """A judged document in the form of the corpus. Sentences are joined if the image between them was dropped.

    Args:
        broken: indexes in ``document`` of the dropped nodes.
    """
    left = [index for index in range(len(document["nodes"])) if index not in broken]
    texts = [index for index, node in enumerate(document["nodes"]) if node["kind"] == "text"]
    return {**judged, "nodes": join_nodes(judged["nodes"], left, texts)}


class WriteSelectDecisions(beam.PTransform):
    """Shard numbers -> these shards of ``decisions`` in ``folder``: those of ``judge_decisions`` and
    ``unique_decisions`` in the folder ``work``, and those on images that the corpus does not show, by the ``uses`` in
    ``use_folders``."""

    def __init__(self, work: str, use_folders: Iterable[str], folder: str, num_shards: int) -> None:
        self._arguments = (work, tuple(use_folders), folder, num_shards)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | beam.Map(_write_decisions_of_shard, *self._arguments)


def _write_decisions_of_shard(index: int, work: str, use_folders: tuple[str, ...], folder: str, num_shards: int) -> str:
    # Decisions on a document, its nodes and its title are in the document's shard, those on an image in the image's.
    made = [join(work, name) for name in ("judge_decisions", "unique_decisions")]
    decided = [row for each in made for row in read_rows(shard_path(each, index, num_shards))]
    uses: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in use_folders:
        for row in read_rows(shard_path(join(each, "uses"), index, num_shards)):
            uses[row["image_id"]][row["outcome"]] += row["times"]
    for identifier, times in uses.items():
        decision = judge_image(identifier, times)
        if decision is not None:
            decided.append(to_row(decision))
    path = shard_path(folder, index, num_shards)
    write_sorted(path, decided, DECISIONS, DECISION_ORDER)
    return path


def judge_image(identifier: str, times: Counter[str]) -> Decision | None:
    """The decision on an image that the corpus does not show: the rule that dropped it most often."""
    if "" in times:
        return None
    rule = min(times, key=lambda name: (name == DOCUMENT_DROPPED, -times[name], name))
    return Decision(
        stage="select", unit=Unit.IMAGE, action=Action.DROP, rule=rule, image_id=identifier, value=times.total()
    )
