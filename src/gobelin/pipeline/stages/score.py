"""The stage ``score``: computes numbers about documents and images. It decides nothing.

    text statistics  by shard of documents: statistics of each, and the keys for finding duplicates
    look at images   by shard of images: CLIP embeddings, faces              } if the recipe
    embed texts      by shard of documents: CLIP embeddings of texts         } has a model
    heads            by shard of images: scores from embeddings              }
    duplicates       groups of documents and of images (score_duplicates.py)
    join             rows of scores, with those that need the whole corpus (score_join.py)

Outputs of models (embeddings, faces) depend on fewer settings than the other scores. They are kept when other settings
change.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import apache_beam as beam

from gobelin.data.model import Action, Unit
from gobelin.data.schemas import score_schemas
from gobelin.pipeline.run.context import Context, balanced_counts
from gobelin.pipeline.run.counts import count_decisions
from gobelin.pipeline.run.plan import Batch, DataSet, Plan, Step, data_sets, shards_to_do
from gobelin.pipeline.run.supervisor import Graph
from gobelin.pipeline.stages import score_clip
from gobelin.pipeline.stages.score_duplicates import find_groups, find_semantic_groups
from gobelin.pipeline.stages.score_join import JoinJob, run_join
from gobelin.store.dataset import Attempt, num_rows_of
from gobelin.store.paths import join
from gobelin.transforms.duplicates.find_duplicates import DuplicatesJob
from gobelin.transforms.score.config import ScoreConfig
from gobelin.transforms.score.measure import Measure
from gobelin.transforms.score.plugin_scores import ERROR, ScoreByPlugins, plugin_entries
from gobelin.transforms.text.text_resources import load_text_resources
from gobelin.transforms.vision.embed import EmbedImages, EmbedTexts
from gobelin.transforms.vision.eval_images import find_eval_images
from gobelin.transforms.vision.faces import load_detector
from gobelin.transforms.vision.heads import OWN_COLUMNS
from gobelin.transforms.vision.score_heads import ScoreHeads


def score(context: Context) -> dict[str, Any]:
    """Runs the stage. Returns its counts."""
    folder, config, plan = context.folder("score"), context.recipe.score, context.plan
    work, output, num_shards = folder.work, folder.attempt, context.recipe.num_shards
    documents, images = context.data("extract", "documents"), context.data("extract", "images")
    num_documents, num_images = num_rows_of(documents), num_rows_of(images)
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
        clip_model, heads = score_clip.prepare_clip(context.supervisor, config, work)
    _embed(context, num_documents, num_images)
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
        images, work, output, num_shards, clip_model, config.faces is not None, also_of_images=tuple(also_of_images),
        schemas=score_schemas(plugin_entries(config.plugins)),
    )  # fmt: skip
    run_join(plan, join_job, num_documents, num_images)
    return _count(context, num_documents, num_images, clip_model, {name for name, _ in heads})


def _embed(context: Context, num_documents: int, num_images: int) -> None:
    """Runs the recipe's models: embeddings and faces of images, embeddings of texts."""
    config, plan, num_shards = context.recipe.score, context.plan, context.recipe.num_shards
    output = context.folder("score").attempt
    has_model, has_faces = config.clip is not None, config.faces is not None
    copies, copy_side = context.images(copies_serve=True).copies, context.recipe.extract.image.copy_side_px
    images = context.data("extract", "images")
    embed = EmbedJob(config, images, output, num_shards, plan.shares_batches, copies, copy_side)
    if has_model or has_faces:
        names = ("image_embeddings",) * has_model + ("image_faces",) * has_faces + ("embed_decisions",)
        made = data_sets(output, num_shards, *names)
        _by_shard(plan, "look at images", embed_images, embed, made, "images", num_images)
    if has_model:
        embed = dataclasses.replace(embed, source=context.data("extract", "documents"))
        made = data_sets(output, num_shards, "text_embeddings", "text_decisions")
        _by_shard(plan, "embed texts", embed_texts, embed, made, "documents", num_documents)


def _count(
    context: Context, num_documents: int, num_images: int, clip_model: str | None, heads: set[str]
) -> dict[str, Any]:  # fmt: skip
    config, output = context.recipe.score, context.folder("score").attempt
    decisions = count_decisions(output.data("decisions"))
    failed = decisions[Unit.DOCUMENT][Action.REPLACE] + decisions[Unit.IMAGE][Action.REPLACE]
    not_run = set(OWN_COLUMNS) - heads
    not_run |= {"clip"} if config.clip is None else set()
    not_run |= {"faces"} if config.faces is None else set()
    return {
        "documents": balanced_counts(num_documents, num_rows_of(output.data("documents")), decisions, Unit.DOCUMENT),
        "images": balanced_counts(num_images, num_rows_of(output.data("images")), decisions, Unit.IMAGE),
        "clip_model": clip_model,
        **({"plugin_errors": {name: failed[f"{ERROR}{name}"] for name in config.plugins}} if config.plugins else {}),
        "not_run": sorted(not_run),
    }


def _by_shard(
    plan: Plan, title: str, graph: Graph, job: Any, made: tuple[DataSet, ...], unit: str, total: int
) -> None:  # fmt: skip
    """Runs a graph over the shards that are not done, partitioned among the workers."""
    num_shards = made[0].num_shards
    waiting = sorted({index for data_set in made for index in shards_to_do(data_set)})
    batches = [Batch(shards, job) for shards in plan.deal(waiting, total)]
    before = total - total * len(waiting) // num_shards
    plan.run(Step(f"score: {title}", graph, batches, made, unit, total, before))


@dataclasses.dataclass(frozen=True, slots=True)
class MeasureJob:
    """``documents`` -> signatures, and measurements in ``work``, all by shard."""

    config: ScoreConfig
    documents: str
    work: str
    signatures: str
    num_shards: int


def measure_documents(pipeline: beam.Pipeline, shards: list[int], job: MeasureJob) -> None:
    """For each unit (a shard of documents): computes text statistics and the keys for finding duplicates."""
    (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "Measure" >> Measure(job.config, job.documents, job.work, job.signatures, job.num_shards)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class EmbedJob:
    """``images`` or ``documents`` (``source``) -> embeddings, and faces of images, in ``output``, all by shard."""

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
    """For each unit (a shard of images): computes one CLIP embedding per distinct image, and finds its faces."""
    (
        pipeline
        | "Shards" >> beam.Create(_together(shards, job.share_batches))
        | "EmbedImages" >> EmbedImages(job.config, job.source, job.output, job.num_shards, job.copies, job.copy_side)
    )


def embed_texts(pipeline: beam.Pipeline, shards: list[int], job: EmbedJob) -> None:
    """For each unit (a shard of documents): computes CLIP embeddings of the texts around images."""
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
    """For each unit (a shard of image embeddings): computes the scores of heads and zero-shot prompts."""
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
    """For each unit (a shard of images): computes the image scores of plug-in packages."""
    (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "ScoreByPlugins" >> ScoreByPlugins(job.settings, job.images, job.work, job.num_shards)
    )
