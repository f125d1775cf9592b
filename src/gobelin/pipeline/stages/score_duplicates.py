"""The part of the stage ``score`` that finds groups of duplicates in the whole corpus.

A local run does it in one process (find_duplicates.py). With another runner:

    find_edges        signatures -> edges between near-duplicate texts and images, in Parquet
    star_round        one round of the star algorithm on the edges, repeated until each component is a star; only if
                      there are more edges than one worker can join
    group_duplicates  edges, signatures, measurements -> groups and counts
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any, TypedDict

import apache_beam as beam
import pyarrow as pa

from gobelin.data.ids import shard_of
from gobelin.data.rows import SignatureRow
from gobelin.pipeline.run.plan import Batch, DataSet, Plan, Step, data_sets
from gobelin.pipeline.run.supervisor import StepFailedError
from gobelin.store.dataset import num_rows_of
from gobelin.store.paths import join
from gobelin.store.shards import read_rows
from gobelin.store.tables import list_shards
from gobelin.transforms.duplicates.components import ConnectEdges, CountUnfinished, Edge, StarRound
from gobelin.transforms.duplicates.document_groups import FindDocumentGroups, FindTextEdges
from gobelin.transforms.duplicates.find_duplicates import DuplicatesJob, find_duplicates
from gobelin.transforms.duplicates.image_groups import FindImageEdges, FindImageGroups
from gobelin.transforms.duplicates.semantic_duplicates import SemanticConfig, find_semantic_duplicates
from gobelin.transforms.duplicates.signatures import Candidate, candidate, earlier_rows, open_earlier
from gobelin.transforms.row_steps import WriteRows

MAX_EDGES_OF_ONE_WORKER = 30_000_000
"""Edges that union-find in one worker is trusted with: about 12 GB."""

MAX_ROUNDS = 64
"""Rounds of the star algorithm at most. It needs about the logarithm of the longest chain; 64 mean a defect."""

EDGES = pa.schema([("id", pa.string()), ("other", pa.string())])
"""One row per pair of documents, or of images."""


class EdgeRow(TypedDict):
    """A row of ``EDGES``."""

    id: str
    other: str


UNFINISHED = pa.schema([("vertices", pa.int64())])
"""One row: how many vertices a round of the star algorithm left where they do not belong."""


class UnfinishedRow(TypedDict):
    """A row of ``UNFINISHED``."""

    vertices: int


def find_semantic_groups(plan: Plan, job: DuplicatesJob, embeddings: str, config: SemanticConfig) -> None:
    """Writes the data set ``semantic_groups`` into the job's folder, from embeddings. Runs in one local process."""
    arguments = (embeddings, job.measurements, job.work, config)
    made = data_sets(job.work, job.num_shards, "semantic_groups")
    plan.call("score: semantic duplicates", find_semantic_duplicates, arguments, made, threads=os.cpu_count() or 1)


def find_groups(plan: Plan, job: DuplicatesJob) -> None:
    """Writes the data sets ``document_groups`` and ``image_groups`` into the job's folder.

    Raises:
        StepFailedError: a step failed, or the files of an earlier run cannot be used.
    """
    made = data_sets(job.work, job.num_shards, "document_groups", "image_groups")
    if plan.is_one_process:
        plan.call("score: duplicates", find_duplicates, (job,), made)
        return
    found = data_sets(job.work, job.num_shards, "text_edges", "image_edges")
    plan.run(Step("score: near-duplicate pairs", find_edges, [Batch([], job)], found))
    edges = [_join_edges(plan, data_set.folder, job.num_shards) for data_set in found]
    plan.run(Step("score: duplicates", group_duplicates, [Batch([], GroupJob(job, *edges))], made))


@dataclasses.dataclass(frozen=True, slots=True)
class JoinedEdges:
    """A data set of edges, and whether each of its components is a star already."""

    folder: str
    are_stars: bool


def _join_edges(plan: Plan, folder: str, num_shards: int) -> JoinedEdges:
    if num_rows_of(folder) <= MAX_EDGES_OF_ONE_WORKER:
        return JoinedEdges(folder, are_stars=False)
    for number in range(1, MAX_ROUNDS + 1):
        job = StarJob(source=folder if number == 1 else f"{folder}_{number - 1}", target=f"{folder}_{number}",
                      num_shards=num_shards)  # fmt: skip
        made = (DataSet(job.target, num_shards), DataSet(job.unfinished, 1))
        plan.run(Step(f"score: join pairs, round {number}", star_round, [Batch([], job)], made))
        if not any(row["vertices"] for path in list_shards(job.unfinished) for row in read_rows(path)):
            return JoinedEdges(job.target, are_stars=True)
    raise StepFailedError(f"joining near-duplicates took over {MAX_ROUNDS} rounds; this is a defect of gobelin")


def find_edges(pipeline: beam.Pipeline, _: list[Any], job: DuplicatesJob) -> None:
    """Finds near-duplicate texts and images, as edges between ids."""
    texts = _signatures(pipeline, job) | "FindTextEdges" >> FindTextEdges(job.minhash)
    columns = ["image_id", "phash", "dhash", "colour"]
    images = (_images(pipeline, job, columns), _earlier_images(pipeline, job, columns)) | beam.Flatten()
    pairs = {"text_edges": texts, "image_edges": images | "FindImageEdges" >> FindImageEdges(job.near_images)}
    for name, edges in pairs.items():
        edges | f"Write {name}" >> _WriteEdges(join(job.work, name), job.num_shards)


@dataclasses.dataclass(frozen=True, slots=True)
class StarJob:
    """One round: edges in ``source`` -> edges in ``target``."""

    source: str
    target: str
    num_shards: int

    @property
    def unfinished(self) -> str:
        return f"{self.target}_unfinished"


def star_round(pipeline: beam.Pipeline, _: list[Any], job: StarJob) -> None:
    """Applies large-star and small-star, and counts the vertices that are not connected to their component's smallest
    id yet."""
    edges = pipeline | "Edges" >> _ReadEdges(job.source) | "StarRound" >> StarRound()
    edges | "WriteEdges" >> _WriteEdges(job.target, job.num_shards)
    (
        edges
        | "CountUnfinished" >> CountUnfinished()
        | "UnfinishedRow" >> beam.Map(_unfinished_row)
        | "WriteUnfinished" >> WriteRows(job.unfinished, UNFINISHED, 1, ("vertices",))
    )


@dataclasses.dataclass(frozen=True, slots=True)
class GroupJob:
    """Signatures and edges -> groups."""

    job: DuplicatesJob
    texts: JoinedEdges
    images: JoinedEdges


def group_duplicates(pipeline: beam.Pipeline, _: list[Any], job: GroupJob) -> None:
    """Writes groups of documents and images, and their counts."""
    work, num_shards = job.job.work, job.job.num_shards
    measurements = pipeline | "Measurements" >> _Rows(
        list_shards(job.job.measurements), ["doc_id", "paragraphs", "images"]
    )
    texts = pipeline | "TextComponents" >> _Components(job.texts)
    images = pipeline | "ImageComponents" >> _Components(job.images)
    (_signatures(pipeline, job.job), measurements, texts) | "DocumentGroups" >> FindDocumentGroups(
        join(work, "document_groups"), num_shards
    )
    (
        _images(pipeline, job.job, ["image_id", "colour", "thumbnail"]),
        _earlier_images(pipeline, job.job, ["image_id", "colour", "thumbnail", "num_documents"]),
        measurements,
        images,
    ) | "ImageGroups" >> FindImageGroups(job.job.near_images, join(work, "image_groups"), num_shards)


def _signatures(pipeline: beam.Pipeline, job: DuplicatesJob) -> beam.PCollection:
    runs = open_earlier(job.earlier, job.minhash)
    own = pipeline | "Signatures" >> _Rows(list_shards(job.signatures)) | "Own" >> beam.Map(_as_own)
    earlier = (
        pipeline | "EarlierRuns" >> beam.Create(runs, reshuffle=False) | "EarlierRows" >> beam.FlatMap(earlier_rows)
    )
    return (own, earlier) | "AllSignatures" >> beam.Flatten()


def _as_own(row: SignatureRow) -> Candidate:
    return candidate(row, None, is_kept=False)


def _images(pipeline: beam.Pipeline, job: DuplicatesJob, columns: list[str]) -> beam.PCollection:
    return pipeline | "Images" >> _Rows(list_shards(job.images), columns)


def _earlier_images(pipeline: beam.Pipeline, job: DuplicatesJob, columns: list[str]) -> beam.PCollection:
    runs = open_earlier(job.earlier, job.minhash)
    return pipeline | "EarlierImages" >> _Rows([path for run in runs for path in run.images], columns)


class _Components(beam.PTransform):
    """Pairs (id, smallest id of its component), from edges on disk."""

    def __init__(self, edges: JoinedEdges) -> None:
        self._edges = edges

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        edges = pipeline | _ReadEdges(self._edges.folder)
        return edges if self._edges.are_stars else edges | ConnectEdges()


class _Rows(beam.PTransform):
    def __init__(self, paths: list[str], columns: list[str] | None = None) -> None:
        self._paths, self._columns = paths, columns

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return pipeline | "Paths" >> beam.Create(self._paths) | "Rows" >> beam.FlatMap(read_rows, self._columns)


class _ReadEdges(beam.PTransform):
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return pipeline | _Rows(list_shards(self._folder)) | "Edges" >> beam.Map(_edge_of_row)


class _WriteEdges(beam.PTransform):
    def __init__(self, folder: str, num_shards: int) -> None:
        self._folder, self._num_shards = folder, num_shards

    def expand(self, edges: beam.PCollection) -> beam.PCollection:
        rows = edges | "EdgeRows" >> beam.Map(_edge_row, self._num_shards)
        return rows | WriteRows(self._folder, EDGES, self._num_shards, ("id", "other"))


def _edge_of_row(row: EdgeRow) -> Edge:
    return row["id"], row["other"]


def _edge_row(edge: Edge, num_shards: int) -> tuple[int, EdgeRow]:
    return shard_of(edge[0], num_shards), {"id": edge[0], "other": edge[1]}


def _unfinished_row(vertices: int) -> tuple[int, UnfinishedRow]:
    return 0, {"vertices": vertices}
