"""The stages of a run, each: settings and the stage before it -> a folder of data sets and what it counted.

Each function here decides which graphs run, over which units, and counts what came out. Counting is done on what lies
on disk: what was seen, what was kept and what the decisions say are three separate numbers, and they must agree.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gobelin.documents import Unit
from gobelin.pipeline import fits, graphs
from gobelin.pipeline.context import Context, balanced_counts, in_batches
from gobelin.pipeline.duplicate_groups import run_duplicates, run_semantic
from gobelin.pipeline.extract_stage import extract_archives
from gobelin.pipeline.import_stage import extract_imported, is_imported
from gobelin.pipeline.inputs import InputError
from gobelin.pipeline.joining import join_steps
from gobelin.pipeline.rule_effects import rule_effects
from gobelin.pipeline.selecting import select_steps
from gobelin.pipeline.stage_keys import IMAGES_SEEN, TEXTS_SEEN
from gobelin.pipeline.state import StageFolder, count_decisions, count_rows, images_shown
from gobelin.pipeline.supervisor import Task
from gobelin.transforms.duplicates.local_duplicates import DuplicatesJob
from gobelin.transforms.files import make_folder
from gobelin.transforms.selection.relative_thresholds import check_clip_model, resolve_thresholds
from gobelin.transforms.shards import read_folder
from gobelin.transforms.text.text_resources import load_text_resources
from gobelin.transforms.vision.eval_images import find_eval_images
from gobelin.transforms.vision.faces import load_detector


def extract(context: Context) -> dict[str, Any]:
    """Archives -> documents and images; or the documents of another tool, for a folder that was imported."""
    return extract_imported(context) if is_imported(context.archives) else extract_archives(context)


def score(context: Context) -> dict[str, Any]:
    """Numbers about documents and images."""
    folder = context.folder("score")
    recipe = context.recipe
    documents, images = context.data("extract", "documents"), context.data("extract", "images")
    work = str(folder.work)
    num_documents = count_rows(Path(documents))
    load_text_resources(recipe.score.text, recipe.score.contamination)  # errors before all else
    signatures = str(folder.path / "signatures" / "documents")
    measure = graphs.MeasureJob(recipe.score, documents, work, signatures, recipe.num_shards)
    _by_shard(context, "score: text statistics", graphs.measure_documents, measure, "measurements", "documents",
              num_documents)  # fmt: skip
    clip_model: str | None = None
    heads: tuple[tuple[str, str], ...] = ()
    if recipe.score.faces is not None:
        load_detector(recipe.score.faces)  # one that is not there is an error before anything starts
    if recipe.score.clip is not None:
        clip_model, heads = fits.prepare_clip(context.supervisor, recipe.score, folder.work)
    embed = graphs.EmbedJob(recipe.score, images, work, recipe.num_shards, context.supervisor.is_local)
    if recipe.score.clip is not None or recipe.score.faces is not None:
        made = "image_faces" if recipe.score.clip is None else "image_embeddings"
        _by_shard(context, "score: look at images", graphs.embed_images, embed, made, "images",
                  count_rows(Path(images)))  # fmt: skip
    if recipe.score.clip is not None:
        embed = dataclasses.replace(embed, source=documents)
        _by_shard(context, "score: embed texts", graphs.embed_texts, embed, "text_embeddings", "documents",
                  num_documents)  # fmt: skip
    if heads:
        job = graphs.HeadsJob(heads, work, recipe.num_shards)
        _by_shard(context, "score: heads", graphs.score_heads, job, "image_heads", "images", count_rows(Path(images)))
    duplicates = DuplicatesJob(
        signatures, str(folder.work / "measurements"), images, work, recipe.num_shards, recipe.score.minhash,
        recipe.score.near_images, recipe.score.earlier,
    )  # fmt: skip
    run_duplicates(context.supervisor, duplicates)
    if recipe.score.semantic is not None:
        run_semantic(context.supervisor, duplicates, recipe.score.semantic)
    if recipe.score.contamination is not None and recipe.score.contamination.images:
        make_folder(str(folder.work / "image_contamination"))
        task = Task("evaluation-images", find_eval_images, (recipe.score, images, work))
        context.supervisor.run("score: evaluation images", [task], threads=os.cpu_count() or 1)
    is_made = {
        "semantic_groups": recipe.score.semantic is not None,
        "image_heads": bool(heads),
        "image_contamination": recipe.score.contamination is not None and bool(recipe.score.contamination.images),
    }
    join = graphs.JoinJob(
        images, work, str(folder.path), recipe.num_shards, clip_model, recipe.score.faces is not None,
        also_of_images=tuple(name for name, made in is_made.items() if made),
    )  # fmt: skip
    workers = context.workers if context.supervisor.is_local else None
    for step in join_steps(join, num_documents, count_rows(Path(images)), workers):
        context.supervisor.run_graph(f"score: {step.title}", step.graph, step.batches, step.unit, step.total)
    for name in (*IMAGES_SEEN, *TEXTS_SEEN):
        _keep(folder, name)
    decisions = count_decisions(folder.path / "decisions")
    return {
        "documents": balanced_counts(num_documents, count_rows(folder.path / "documents"), decisions, Unit.DOCUMENT),
        "images": balanced_counts(count_rows(Path(images)), count_rows(folder.path / "images"), decisions, Unit.IMAGE),
        "clip_model": clip_model,
        "not_run": sorted(
            {"nsfw", "aesthetic", "watermark"} - {name for name, _ in heads}
            | ({"clip"} if clip_model is None else set())
            | ({"faces"} if recipe.score.faces is None else set())
        ),
    }


def _keep(folder: StageFolder, name: str) -> None:
    """Moves an intermediate data set to the stage's results. A run that was killed may have done so before."""
    if (folder.work / name).is_dir():
        shutil.rmtree(folder.path / name, ignore_errors=True)
        (folder.work / name).rename(folder.path / name)


def _by_shard(
    context: Context, title: str, graph: Callable[..., None], job: Any, made: str, unit: str, total: int
) -> None:
    """Runs a graph over all shards whose file in ``made`` is not there yet, some shards to each worker."""
    num_shards = context.recipe.num_shards
    done = {int(path.name[5:10]) for path in Path(job.work, made).glob("part-*.parquet")}
    shards = [index for index in range(num_shards) if index not in done]
    batches = in_batches(shards, context.workers if context.supervisor.is_local else 1)
    context.supervisor.run_graph(
        title, graph, [(each, job) for each in batches], unit, total * len(shards) // num_shards
    )


def select(context: Context) -> dict[str, Any]:
    """Scores and thresholds -> the corpus."""
    folder = context.folder("select")
    scores = context.output / "score"
    check_clip_model(context.recipe.select, (context.folder("score").manifest() or {}).get("clip_model"))
    config, thresholds = resolve_thresholds(context.recipe.select, scores / "documents")
    num_documents = count_rows(scores / "documents")
    documents = context.data("extract", "documents")
    job = graphs.SelectJob(
        config, documents, str(scores / "documents"), str(folder.work), str(folder.path), context.recipe.num_shards
    )
    for step in select_steps(job, num_documents, context.workers if context.supervisor.is_local else None):
        context.supervisor.run_graph(f"select: {step.title}", step.graph, step.batches, step.unit, step.total)
    decisions = count_decisions(folder.path / "decisions")
    corpus = folder.path / "documents"
    not_run = {row["rule"]: row["times"] for row in read_folder(str(folder.path / "not_run"))}
    return {
        "documents": balanced_counts(num_documents, count_rows(corpus), decisions, Unit.DOCUMENT),
        "images": balanced_counts(count_rows(scores / "images"), len(images_shown(corpus)), decisions, Unit.IMAGE),
        "nodes": {action.value: dict(sorted(rules.items())) for action, rules in decisions[Unit.NODE].items()},
        "not_run": not_run,
        "rules": rule_effects(config, decisions, scores / "documents", num_documents, not_run),
        "thresholds": thresholds,
    }


def tokenize(context: Context) -> dict[str, Any]:
    """The corpus -> token shards."""
    folder = context.folder("tokenize")
    recipe = context.recipe
    corpus = context.output / "select" / "documents"
    if recipe.tokenize.blur_faces and recipe.score.faces is None:
        raise InputError("tokenize.blur_faces needs score.faces, which says where faces are: set it, or leave it out")
    if count_rows(corpus) == 0:
        raise InputError(
            "the recipe kept no document, so there is nothing to tokenize: see the decisions in "
            f"{context.output / 'select' / 'decisions'} or loosen a threshold with --set"
        )
    shown = images_shown(corpus)
    fitted = fits.fit_tokenizers(context.supervisor, recipe, context.output, len(shown))
    faces = context.data("score", "images") if recipe.tokenize.blur_faces else None
    encode = graphs.EncodeJob(
        str(folder.path / fits.IMAGE_TOKENIZER), context.data("extract", "images"), str(corpus), str(folder.work),
        recipe.num_shards, recipe.tokenize.device, faces,
    )  # fmt: skip
    _by_shard(context, "tokenize: encode images", graphs.encode_images, encode, "codes", "images", len(shown))
    vocabulary, text_tokenizer = fits.load_vocabulary(folder.path)
    assemble = graphs.AssembleJob(
        str(corpus), str(folder.work), str(folder.path), recipe.num_shards, vocabulary, text_tokenizer,
        recipe.tokenize.alt_as_caption,
    )  # fmt: skip
    context.supervisor.run_graph(
        "tokenize: assemble documents", graphs.assemble_documents, [([], assemble)], "documents", count_rows(corpus)
    )
    _keep(folder, "codes")
    decisions = count_decisions(folder.path / "decisions")
    num_tokens, num_image_tokens = fits.count_tokens(folder.path / "shards")
    return {
        "documents": balanced_counts(count_rows(corpus), count_rows(folder.path / "shards"), decisions, Unit.DOCUMENT),
        "images": balanced_counts(len(shown), count_rows(folder.path / "codes"), decisions, Unit.IMAGE),
        "tokens": {"all": num_tokens, "image": num_image_tokens, "vocabulary": vocabulary.size},
        **fitted,
    }


def train(context: Context) -> dict[str, Any]:
    """Token shards -> a model."""
    folder = context.folder("train")
    task = Task("train", fits.train_model, (str(context.output), context.recipe))
    context.supervisor.run("train", [task], "steps", context.recipe.train.steps, threads=context.recipe.train.threads)
    return fits.read_summary(folder.path)


def sample(context: Context) -> dict[str, Any]:
    """A model -> pictures and texts, and a page of them."""
    folder = context.folder("sample")
    task = Task("sample", fits.sample_model, (str(context.output), context.recipe))
    context.supervisor.run("sample", [task], "pictures", threads=context.recipe.train.threads)
    return fits.read_summary(folder.path)


def report(context: Context) -> dict[str, Any]:
    """What happened, as one page."""
    from gobelin.report.page import write_report

    path = write_report(context.output, context.output / "report")
    return {"path": str(path.relative_to(context.output))}


RUN_STAGE: dict[str, Callable[[Context], dict[str, Any]]] = {
    "extract": extract,
    "score": score,
    "select": select,
    "tokenize": tokenize,
    "train": train,
    "sample": sample,
    "report": report,
}
