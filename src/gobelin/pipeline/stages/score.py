"""The stage ``score``: numbers about documents and images. Nothing is decided here.

    text statistics  by shard of documents: each by itself, and the keys under which duplicates meet
    look at images   by shard of images: CLIP embeddings, faces              } where the recipe
    embed texts      by shard of documents: the texts around images          } has a model
    heads            by shard of images: scores from embeddings              }
    duplicates       groups of documents and of images (duplicates.py)
    join             by shard of images, then of documents: what can be told only beside all the others

What models saw (embeddings, faces) depends on fewer settings than the rest, and stays when others change.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import apache_beam as beam
import numpy as np

from gobelin.data.model import Action, Unit
from gobelin.data.rows import ImageEmbeddingRow
from gobelin.data.schemas import DECISIONS, OWN_SCORES, ScoreSchemas, score_schemas
from gobelin.pipeline.run.context import Context, balanced_counts
from gobelin.pipeline.run.plan import Batch, DataSet, Plan, Step, data_sets, shards_to_do
from gobelin.pipeline.run.state import count_decisions, count_rows
from gobelin.pipeline.run.supervisor import Graph
from gobelin.pipeline.stages import fits
from gobelin.pipeline.stages.duplicates import find_groups, find_semantic_groups
from gobelin.pipeline.stages.partition import Parted, Source, partition
from gobelin.store.dataset import Attempt
from gobelin.store.paths import join
from gobelin.store.shards import OfShards, shards_of
from gobelin.store.tables import list_shards, shard_path
from gobelin.transforms.duplicates.local_duplicates import DuplicatesJob
from gobelin.transforms.partition import ByShard, DecisionsByShard, Split
from gobelin.transforms.row_steps import ReadRows, WriteDecisions, WriteRows
from gobelin.transforms.score.config import ScoreConfig
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
from gobelin.transforms.score.measure import Measure
from gobelin.transforms.score.plugin_scores import ERROR, ScoreByPlugins, plugin_entries
from gobelin.transforms.text.text_resources import load_text_resources
from gobelin.transforms.vision.embed import EmbedImages, EmbedTexts
from gobelin.transforms.vision.eval_images import find_eval_images
from gobelin.transforms.vision.faces import load_detector
from gobelin.transforms.vision.heads import OWN_COLUMNS
from gobelin.transforms.vision.score_heads import ScoreHeads

IMAGES_AT_ONCE = 10_000
"""Images of one process that joins: about 20 KiB each in Beam's in-process runner, with an embedding of 512 numbers."""


def score(context: Context) -> dict[str, Any]:
    """Runs the stage. Returns what it counted."""
    folder, config, num_shards, plan = (
        context.folder("score"),
        context.recipe.score,
        context.recipe.num_shards,
        context.plan,
    )
    work, output = folder.work, folder.attempt
    documents, images = context.data("extract", "documents"), context.data("extract", "images")
    num_documents, num_images = count_rows(documents), count_rows(images)
    load_text_resources(config.text, config.contamination)  # errors before all else
    if config.faces is not None:
        load_detector(config.faces)

    signatures = output.data("signatures/documents")
    measure = MeasureJob(config, documents, work, signatures, num_shards)
    made = (*data_sets(work, num_shards, "measurements", "measure_decisions"), DataSet(signatures, num_shards))
    _by_shard(plan, "text statistics", measure_documents, measure, made, "documents", num_documents)

    clip_model: str | None = None
    heads: tuple[tuple[str, str], ...] = ()
    if config.clip is not None:
        clip_model, heads = fits.prepare_clip(context.supervisor, config, folder.work)
    has_model, has_faces = config.clip is not None, config.faces is not None
    copy_side = context.recipe.extract.image.copy_side_px
    copies = context.images(copies_serve=True).copies
    embed = EmbedJob(config, images, output, num_shards, plan.shares_batches, copies, copy_side)
    if has_model or has_faces:
        names = ("image_embeddings",) * has_model + ("image_faces",) * has_faces + ("embed_decisions",)
        made = data_sets(output, num_shards, *names)
        _by_shard(plan, "look at images", embed_images, embed, made, "images", num_images)
    if has_model:
        embed = dataclasses.replace(embed, source=documents)
        made = data_sets(output, num_shards, "text_embeddings", "text_decisions")
        _by_shard(plan, "embed texts", embed_texts, embed, made, "documents", num_documents)
    embeddings = output.data("image_embeddings")
    also_of_images = []
    if heads:
        made = data_sets(work, num_shards, "image_heads")
        _by_shard(plan, "heads", score_heads, HeadsJob(heads, embeddings, work, num_shards), made, "images", num_images)
        also_of_images.append("image_heads")

    duplicates = DuplicatesJob(
        signatures, join(work, "measurements"), images, work, num_shards, config.minhash, config.near_images,
        config.earlier,
    )  # fmt: skip
    find_groups(plan, duplicates)
    if config.semantic is not None:
        find_semantic_groups(plan, duplicates, embeddings, config.semantic)
        also_of_images.append("semantic_groups")
    if plugin_entries(config.plugins, Unit.IMAGE):
        made = data_sets(work, num_shards, "image_plugins", "plugin_decisions")
        plugins = PluginsJob(config.plugins, images, work, num_shards)
        _by_shard(plan, "plug-ins", score_by_plugins, plugins, made, "images", num_images)
        also_of_images.append("image_plugins")
    if config.contamination is not None and config.contamination.images:
        made = data_sets(work, num_shards, "image_contamination")
        arguments = (config, images, embeddings, work)
        plan.call("score: evaluation images", find_eval_images, arguments, made, threads=os.cpu_count() or 1)
        also_of_images.append("image_contamination")

    join_job = JoinJob(
        images, work, output, num_shards, clip_model, has_faces, also_of_images=tuple(also_of_images),
        schemas=score_schemas(plugin_entries(config.plugins)),
    )  # fmt: skip
    run_join(plan, join_job, num_documents, num_images)
    decisions = count_decisions(output.data("decisions"))
    failed = decisions[Unit.DOCUMENT][Action.REPLACE] + decisions[Unit.IMAGE][Action.REPLACE]
    return {
        "documents": balanced_counts(num_documents, count_rows(output.data("documents")), decisions, Unit.DOCUMENT),
        "images": balanced_counts(num_images, count_rows(output.data("images")), decisions, Unit.IMAGE),
        "clip_model": clip_model,
        **({"plugin_errors": {name: failed[f"{ERROR}{name}"] for name in config.plugins}} if config.plugins else {}),
        "not_run": sorted(
            set(OWN_COLUMNS) - {name for name, _ in heads}
            | (set() if has_model else {"clip"})
            | (set() if has_faces else {"faces"})
        ),
    }


def _by_shard(
    plan: Plan, title: str, graph: Graph, job: Any, made: tuple[DataSet, ...], unit: str, total: int
) -> None:  # fmt: skip
    """Runs a graph over the shards that are not done, some to each worker."""
    num_shards = made[0].num_shards
    waiting = sorted({index for data_set in made for index in shards_to_do(data_set)})
    batches = [Batch(shards, job) for shards in plan.deal(waiting, total)]
    before = total - total * len(waiting) // num_shards
    plan.run(Step(f"score: {title}", graph, batches, made, unit, total, before))


def run_join(
    plan: Plan, job: JoinJob, num_documents: int, num_images: int, images_at_once: int = IMAGES_AT_ONCE
) -> None:
    """The steps that join what was measured to rows of scores.

    Args:
        job: without folders of batches.
        images_at_once: of a batch.
    """
    num_shards = job.num_shards
    batches = plan.deal(range(num_shards), num_images, images_at_once)
    is_parted = len(batches) > 1 and num_images > images_at_once
    # A rerun with another number of workers cuts other batches, so their number is part of the names.
    folders = tuple(join(job.work, f"facts-{number}-of-{len(batches)}") for number in range(len(batches)))
    job = dataclasses.replace(job, fact_folders=folders, num_fact_files=1 if is_parted else num_shards)
    if is_parted:
        job = dataclasses.replace(job, uses=_deal_uses_out(plan, job, len(batches)))
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
        job = dataclasses.replace(job, fact_folders=_deal_facts_out(plan, job).folders)
    documents = (
        *data_sets(job.output, num_shards, "documents"),
        *data_sets(job.work, num_shards, "join_decisions"),
    )
    everything = [Batch(shards, job) for shards in batches]
    plan.run(Step("score: similarities", score_documents, everything, documents, "documents", num_documents))
    _put_decisions_together(plan, job, folders, batches if is_parted else [list(range(num_shards))])


def _deal_uses_out(plan: Plan, job: JoinJob, num_batches: int) -> Parted:
    """Which documents show an image, by batch of images."""
    deal = UsesByShard(job.num_shards, num_batches)
    split = Split("uses", ("doc_id", "images"), USES_OF_IMAGES, deal, num_batches)
    source = Source(split, list_shards(join(job.work, "measurements")))
    return partition(plan, "score: deal out uses of images", join(job.work, "uses"), [source])


def _deal_facts_out(plan: Plan, job: JoinJob) -> Parted:
    """What is known of a document's images, by shard of documents."""
    num_shards = job.num_shards
    split = Split("facts", tuple(FACTS.names), FACTS, ByShard("doc_id", num_shards, num_shards), num_shards)
    source = Source(split, shards_of(job.fact_folders, "facts"))
    return partition(plan, "score: deal out images of documents", join(job.work, "facts-by-document"), [source])


def _put_decisions_together(plan: Plan, job: JoinJob, folders: tuple[str, ...], batches: list[list[int]]) -> None:
    """Writes ``decisions``.

    Args:
        folders: what batches of ``score_images`` left.
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
    """Files with the decisions of the stage; ``folders``: what batches of ``score_images`` left."""
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
class MeasureJob:
    """``documents`` -> signatures, and measurements in ``work``, all by shard."""

    config: ScoreConfig
    documents: str
    work: str
    signatures: str
    num_shards: int


def measure_documents(pipeline: beam.Pipeline, shards: list[int], job: MeasureJob) -> None:
    """By unit (a shard of documents): text statistics and the keys under which duplicates meet."""
    (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "Measure" >> Measure(job.config, job.documents, job.work, job.signatures, job.num_shards)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class EmbedJob:
    """``images`` or ``documents`` (``source``) -> embeddings (of images also faces) in ``output``, both by shard."""

    config: ScoreConfig
    source: str
    output: Attempt
    num_shards: int
    share_batches: bool = True  # one worker has all shards of the pipeline, and fills batches across them
    copies: str | None = None  # of images; None: there are none
    copy_side: int = 0  # their shorter side, px


def _together(shards: list[int], are_together: bool) -> list[tuple[int, ...]]:
    return [tuple(shards)] if are_together else [(index,) for index in shards]


def embed_images(pipeline: beam.Pipeline, shards: list[int], job: EmbedJob) -> None:
    """By unit (a shard of images): one CLIP embedding a distinct image, and its faces."""
    (
        pipeline
        | "Shards" >> beam.Create(_together(shards, job.share_batches))
        | "EmbedImages" >> EmbedImages(job.config, job.source, job.output, job.num_shards, job.copies, job.copy_side)
    )


def embed_texts(pipeline: beam.Pipeline, shards: list[int], job: EmbedJob) -> None:
    """By unit (a shard of documents): CLIP embeddings of the texts around images."""
    (
        pipeline
        | "Shards" >> beam.Create(_together(shards, job.share_batches))
        | "EmbedTexts" >> EmbedTexts(job.config, job.source, job.output, job.num_shards)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class HeadsJob:
    """The data set ``embeddings`` -> scores of heads in ``work``, by shard."""

    heads: tuple[tuple[str, str], ...]  # name of the score, path
    embeddings: str
    work: str
    num_shards: int


def score_heads(pipeline: beam.Pipeline, shards: list[int], job: HeadsJob) -> None:
    """By unit (a shard of image embeddings): the scores of heads and zero-shot prompts."""
    (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "ScoreHeads" >> ScoreHeads(job.heads, job.embeddings, job.work, job.num_shards)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class PluginsJob:
    """The data set ``images`` -> scores by plug-ins in ``work``, by shard."""

    settings: dict[str, dict[str, Any]]
    images: str
    work: str
    num_shards: int


def score_by_plugins(pipeline: beam.Pipeline, shards: list[int], job: PluginsJob) -> None:
    """By unit (a shard of images): the scores of images that other packages give."""
    (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "ScoreByPlugins" >> ScoreByPlugins(job.settings, job.images, job.work, job.num_shards)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class JoinJob:
    """Measurements and groups in ``work``, embeddings and faces in ``output`` -> the data sets of ``score``, there."""

    images: str
    work: str
    output: Attempt
    num_shards: int
    clip_model: str | None  # fingerprint; None: not run
    needs_faces: bool
    fact_folders: tuple[str, ...] = ()  # what each batch of ``score_images`` left; once dealt out, each share
    num_fact_files: int = 1  # of each batch
    batch: int = 0  # number of this one
    uses: Parted | None = None  # rows of ``USES_OF_IMAGES`` by batch; None: each batch looks for its own
    also_of_images: tuple[str, ...] = ()  # data sets on images in ``work``, beside their groups and faces
    schemas: ScoreSchemas = OWN_SCORES


def score_images(pipeline: beam.Pipeline, shards: list[int], job: JoinJob) -> None:
    """By unit (a shard of images): what is known of each and who shows it; ``facts`` by shard of document, and
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
    """By unit (a shard of documents): all that is known of each, and of its images beside its texts."""
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
    """Files with decisions of some shards -> these shards of ``decisions``, in ``output``."""

    paths: list[str]
    output: Attempt
    num_shards: int


def write_score_decisions(pipeline: beam.Pipeline, shards: list[int], job: DecisionsJob) -> None:
    """By unit (a shard of decisions): put together what failed on the way."""
    decisions = pipeline | "Decisions" >> ReadRows(job.paths)
    decisions | "WriteDecisions" >> WriteDecisions(job.output.data("decisions"), job.num_shards, shards)


def _embedding_by_id(row: ImageEmbeddingRow) -> tuple[str, bytes]:
    return row["image_id"], np.asarray(row["embedding"], np.float16).tobytes()
