"""The part of the stage ``score`` that joins measurements, model outputs and groups into rows of scores.

    join images      by shard of images: all scores of each image, and the documents that show it
    similarities     by shard of documents: all scores of each document, and similarities of its images and texts
    write decisions  by shard: the failures of all steps

With several batches, rows are first partitioned for the batches that read them (``run/partition.py``).
"""

from __future__ import annotations

import dataclasses

import apache_beam as beam
import numpy as np

from gobelin.data.rows import ImageEmbeddingRow
from gobelin.data.schemas import DECISIONS, OWN_SCORES, ScoreSchemas
from gobelin.pipeline.run.partition import Parted, Source, partition
from gobelin.pipeline.run.plan import Batch, DataSet, Plan, Step, data_sets
from gobelin.store.dataset import Attempt
from gobelin.store.paths import join
from gobelin.store.shards import OfShards, shards_of
from gobelin.store.tables import list_shards, shard_path
from gobelin.transforms.partition import ByShard, DecisionsByShard, Split
from gobelin.transforms.row_steps import ReadRows, WriteDecisions, WriteRows
from gobelin.transforms.score.join_scores import (
    FACTS,
    IMAGE_FACTS,
    USES_OF_IMAGES,
    ScoreImages,
    UsesByShard,
    WriteDocumentScores,
    WriteImageScores,
    facts_by_document,
    use_by_image,
    uses_by_image,
)

IMAGES_AT_ONCE = 10_000
"""Images of one process that joins: about 20 KiB each in Beam's in-process runner, with an embedding of 512 numbers."""


def run_join(
    plan: Plan, job: JoinJob, num_documents: int, num_images: int, images_at_once: int = IMAGES_AT_ONCE
) -> None:
    """Runs the steps that join all measurements into rows of scores.

    Args:
        job: folders of batches are not set yet.
        images_at_once: images per batch.
    """
    num_shards = job.num_shards
    batches = plan.deal(range(num_shards), num_images, images_at_once)
    is_parted = len(batches) > 1 and num_images > images_at_once
    # A rerun with another number of workers makes other batches, so their number is part of the names.
    folders = tuple(join(job.work, f"facts-{number}-of-{len(batches)}") for number in range(len(batches)))
    job = dataclasses.replace(job, fact_folders=folders, num_fact_files=1 if is_parted else num_shards)
    if is_parted:
        job = dataclasses.replace(job, uses=_partition_uses(plan, job, len(batches)))
    everything = [
        Batch(
            shards,
            dataclasses.replace(job, batch=number),
            (DataSet(join(folder, "facts"), job.num_fact_files), DataSet(join(folder, "decisions"), 1)),
        )
        for number, (shards, folder) in enumerate(zip(batches, folders))
    ]
    images = data_sets(job.output, num_shards, "images", "signatures/images")
    plan.run(Step("score: join images", score_images, everything, images))
    if is_parted:
        job = dataclasses.replace(job, fact_folders=_partition_facts(plan, job).folders)
    documents = (
        *data_sets(job.output, num_shards, "documents"),
        *data_sets(job.work, num_shards, "join_decisions"),
    )
    everything = [Batch(shards, job) for shards in batches]
    plan.run(Step("score: similarities", score_documents, everything, documents, "documents", num_documents))
    _merge_decisions(plan, job, folders, batches if is_parted else [list(range(num_shards))])


def _partition_uses(plan: Plan, job: JoinJob, num_batches: int) -> Parted:
    """Partitions the uses of images by documents, by batch of images."""
    deal = UsesByShard(job.num_shards, num_batches)
    split = Split("uses", ("doc_id", "images"), USES_OF_IMAGES, deal, num_batches)
    source = Source(split, list_shards(join(job.work, "measurements")))
    return partition(plan, "score: deal out uses of images", join(job.work, "uses"), [source])


def _partition_facts(plan: Plan, job: JoinJob) -> Parted:
    """Partitions facts about the images of documents, by shard of documents."""
    num_shards = job.num_shards
    split = Split("facts", tuple(FACTS.names), FACTS, ByShard("doc_id", num_shards, num_shards), num_shards)
    source = Source(split, shards_of(job.fact_folders, "facts"))
    return partition(plan, "score: deal out images of documents", join(job.work, "facts-by-document"), [source])


def _merge_decisions(plan: Plan, job: JoinJob, folders: tuple[str, ...], batches: list[list[int]]) -> None:
    """Writes ``decisions``.

    Args:
        folders: written by the batches of ``score_images``.
    """
    paths, num_shards = _paths_of_decisions(job, folders), job.num_shards
    parts = [paths]
    if len(batches) > 1:
        deal = DecisionsByShard(num_shards, len(batches))
        source = Source(Split("decisions", tuple(DECISIONS.names), DECISIONS, deal, len(batches)), paths)
        parted = partition(plan, "score: deal out decisions", join(job.work, "decided"), [source])
        parts = [parted.paths("decisions", number) for number in range(len(batches))]
    everything = [Batch(shards, DecisionsJob(part, job.output, num_shards)) for shards, part in zip(batches, parts)]
    decisions = data_sets(job.output, num_shards, "decisions")
    plan.run(Step("score: write decisions", write_score_decisions, everything, decisions))


def _paths_of_decisions(job: JoinJob, folders: tuple[str, ...]) -> list[str]:
    """Files with the decisions of the stage. ``folders`` were written by the batches of ``score_images``."""
    are_seen = job.clip_model is not None or job.needs_faces
    paths = shards_of((job.work,), "measure_decisions", "join_decisions") + shards_of(folders, "decisions")
    if "image_plugins" in job.also_of_images:
        paths += shards_of((job.work,), "plugin_decisions")
    if are_seen:
        paths += list_shards(job.output.data("embed_decisions"))
    if job.clip_model is not None:
        paths += list_shards(job.output.data("text_decisions"))
    return paths


@dataclasses.dataclass(frozen=True, slots=True)
class JoinJob:
    """Measurements and groups in ``work``, embeddings and faces in ``output`` -> the data sets of ``score``, in
    ``output``."""

    images: str
    work: str
    output: Attempt
    num_shards: int
    clip_model: str | None  # fingerprint; None: not run
    needs_faces: bool
    fact_folders: tuple[str, ...] = ()  # one for each batch of ``score_images``; once dealt out, one for each share
    num_fact_files: int = 1  # of each batch
    batch: int = 0  # number of this one
    uses: Parted | None = None  # rows of ``USES_OF_IMAGES`` by batch; None: each batch looks for its own
    also_of_images: tuple[str, ...] = ()  # data sets on images in ``work``, beside their groups and faces
    schemas: ScoreSchemas = OWN_SCORES


def score_images(pipeline: beam.Pipeline, shards: list[int], job: JoinJob) -> None:
    """For each unit (a shard of images): writes all scores of each image, ``facts`` by shard of document, and
    ``decisions``."""
    num_shards = job.num_shards
    only = OfShards("image_id", frozenset(shards), num_shards)
    if job.uses is not None:
        rows = pipeline | "Uses" >> ReadRows(job.uses.paths("uses", job.batch))
        uses = rows | "ByImage" >> beam.Map(use_by_image)
    else:
        measured = list_shards(join(job.work, "measurements"))
        rows = pipeline | "Measurements" >> ReadRows(measured, ["doc_id", "images"])
        uses = rows | "ByImage" >> beam.FlatMap(uses_by_image, only)
    images = pipeline | "Images" >> ReadRows(_own(job.images, shards, num_shards), list(IMAGE_FACTS))
    of_images = {name: join(job.work, name) for name in ("image_groups", *job.also_of_images)}
    if job.needs_faces:
        of_images["image_faces"] = job.output.data("image_faces")
    groups = (
        tuple(pipeline | name >> ReadRows(_own(folder, shards, num_shards)) for name, folder in of_images.items())
        | beam.Flatten()
    )
    embedded = [] if job.clip_model is None else _own(job.output.data("image_embeddings"), shards, num_shards)
    embeddings = pipeline | "Embeddings" >> ReadRows(embedded) | "EmbeddingById" >> beam.Map(_embedding_by_id)
    scored = (uses, images, embeddings, groups) | "ScoreImages" >> ScoreImages(job.clip_model, job.needs_faces)
    scored.facts | "WriteImageScores" >> WriteImageScores(
        job.output.data("images"), job.output.data("signatures/images"), shards, num_shards, job.schemas.images
    )
    folder = job.fact_folders[job.batch]
    (
        scored.facts
        | "FactsToShard" >> beam.FlatMap(facts_by_document, job.num_fact_files)
        | "WriteFacts" >> WriteRows(join(folder, "facts"), FACTS, job.num_fact_files, ("doc_id", "image_id"))
    )
    scored.decisions | "WriteDecisions" >> WriteDecisions(join(folder, "decisions"), 1)


def _own(folder: str, shards: list[int], num_shards: int) -> list[str]:
    """The shards of a data set that a batch reads."""
    return [shard_path(folder, index, num_shards) for index in shards]


def score_documents(pipeline: beam.Pipeline, shards: list[int], job: JoinJob) -> None:
    """For each unit (a shard of documents): writes all scores of each document, and similarities of its images and
    texts."""
    (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "WriteDocumentScores"
        >> WriteDocumentScores(
            job.work,
            None if job.clip_model is None else job.output.data("text_embeddings"),
            job.fact_folders,
            job.clip_model,
            job.output.data("documents"),
            job.num_shards,
            job.schemas,
        )
    )


@dataclasses.dataclass(frozen=True, slots=True)
class DecisionsJob:
    """Files with decisions -> some shards of ``decisions``, in ``output``."""

    paths: list[str]
    output: Attempt
    num_shards: int


def write_score_decisions(pipeline: beam.Pipeline, shards: list[int], job: DecisionsJob) -> None:
    """For each unit (a shard of decisions): merges the failures of all steps."""
    decisions = pipeline | "Decisions" >> ReadRows(job.paths)
    decisions | "WriteDecisions" >> WriteDecisions(job.output.data("decisions"), job.num_shards, shards)


def _embedding_by_id(row: ImageEmbeddingRow) -> tuple[str, bytes]:
    return row["image_id"], np.asarray(row["embedding"], np.float16).tobytes()
