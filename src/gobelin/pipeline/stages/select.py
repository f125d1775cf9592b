"""The stage ``select``: documents and their scores -> the corpus, and a reason for everything that is not in it.

judge documents          by shard: which documents pass the rules; no model runs
choose among duplicates  which document of each group is kept
write the corpus         by shard: the documents that are kept, and the uses of images
write decisions          by shard: decisions on documents, their nodes, and images
"""

from __future__ import annotations

import dataclasses
from typing import Any

import apache_beam as beam

from gobelin.data.ids import shard_of
from gobelin.data.model import Unit
from gobelin.data.rows import NotRunRow, Row
from gobelin.data.schemas import NOT_RUN
from gobelin.pipeline.ask.rule_effects import rule_effects
from gobelin.pipeline.run.context import Context, balanced_counts
from gobelin.pipeline.run.counts import count_decisions, count_images_shown
from gobelin.pipeline.run.partition import Source, partition
from gobelin.pipeline.run.plan import Batch, DataSet, Plan, Step, data_sets, shards_to_do
from gobelin.store.dataset import Attempt, num_rows_of
from gobelin.store.paths import join
from gobelin.store.shards import read_folder, shards_of
from gobelin.store.tables import list_shards
from gobelin.transforms.partition import ByShard, Split
from gobelin.transforms.row_steps import ReadRows, WriteDecisions, WriteRows
from gobelin.transforms.selection.choose import choose_among_duplicates
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.relative_thresholds import check_clip_model, resolve_thresholds
from gobelin.transforms.selection.write_corpus import (
    STAY,
    USES,
    JudgeDocuments,
    KeepOneOfEach,
    SurvivorRow,
    UseRow,
    WriteCorpus,
    WriteSelectDecisions,
)

DOCUMENTS_AT_ONCE = 20_000
"""Documents of one process, where there are more than a shard of them: it counts their images, 0.5 KiB each."""


def select(context: Context) -> dict[str, Any]:
    """Runs the stage. Returns its counts."""
    folder, scores = context.folder("select"), context.data("score", "documents")
    check_clip_model(context.recipe.select, (context.folder("score").manifest() or {}).get("clip_model"))
    config, thresholds = resolve_thresholds(context.recipe.select, scores)
    num_documents = num_rows_of(scores)
    job = SelectJob(
        config, context.data("extract", "documents"), scores, folder.work, folder.attempt, context.recipe.num_shards,
    )  # fmt: skip
    run_select(context.plan, job, num_documents)
    decisions = count_decisions(folder.data("decisions"))
    corpus = folder.data("documents")
    not_run = {row["rule"]: row["times"] for row in read_folder(folder.data("not_run"))}
    return {
        "documents": balanced_counts(num_documents, num_rows_of(corpus), decisions, Unit.DOCUMENT),
        "images": balanced_counts(
            num_rows_of(context.data("score", "images")), count_images_shown(corpus), decisions, Unit.IMAGE
        ),
        "nodes": {action.value: dict(sorted(rules.items())) for action, rules in decisions[Unit.NODE].items()},
        "not_run": not_run,
        "rules": rule_effects(config, decisions, scores, num_documents, not_run),
        "thresholds": thresholds,
    }


def run_select(plan: Plan, job: SelectJob, num_documents: int, documents_at_once: int = DOCUMENTS_AT_ONCE) -> None:
    """Runs the steps in order.

    Args:
        job: folders of batches are not set yet.
        num_documents: number of documents to judge.
        documents_at_once: documents per batch.
    """
    judged = data_sets(job.work, job.num_shards, "survivors", "judge_decisions", "judge_not_run")
    waiting = sorted({index for data_set in judged for index in shards_to_do(data_set)})
    plan.run(
        Step(
            "select: judge documents", judge_documents,
            [Batch(shards, job) for shards in plan.deal(waiting, num_documents, documents_at_once)],
            judged, "documents", num_documents, num_documents - num_documents * len(waiting) // job.num_shards,
        )
    )  # fmt: skip
    _choose_documents(plan, job)

    num_shards = job.num_shards
    batches = plan.deal(range(num_shards), num_documents, documents_at_once)
    is_parted = len(batches) > 1 and num_documents > documents_at_once
    # A rerun with another number of workers makes other batches, so their number is part of the names.
    folders = tuple(join(job.work, f"uses-{number}-of-{len(batches)}") for number in range(len(batches)))
    job = dataclasses.replace(job, use_folders=folders, num_use_files=1 if is_parted else num_shards)
    uses = tuple(DataSet(join(folder, "uses"), job.num_use_files) for folder in folders)
    everything = [Batch(shards, dataclasses.replace(job, batch=number)) for number, shards in enumerate(batches)]
    corpus = data_sets(job.output, num_shards, "documents")
    plan.run(Step("select: write the corpus", write_corpus, everything, (*corpus, *uses), "documents", num_documents))
    if is_parted:
        split = Split("uses", tuple(USES.names), USES, ByShard("image_id", num_shards, num_shards), num_shards)
        source = Source(split, shards_of(folders, "uses"))
        parted = partition(plan, "select: deal out uses of images", join(job.work, "uses-by-image"), [source])
        job = dataclasses.replace(job, use_folders=parted.folders)
    decisions = data_sets(job.output, num_shards, "decisions")
    everything = [Batch(shards, job) for shards in batches]
    plan.run(Step("select: write decisions", write_select_decisions, everything, decisions))


def _choose_documents(plan: Plan, job: SelectJob) -> None:
    chosen = (*data_sets(job.work, job.num_shards, "stay", "unique_decisions"), DataSet(job.output.data("not_run"), 1))
    title = "select: choose among duplicates"
    if plan.is_one_process:
        arguments = (job.work, job.output.data("not_run"), job.config.document.unique)
        plan.call(title, choose_among_duplicates, arguments, chosen)
    else:
        plan.run(Step(title, choose_documents, [Batch([], job)], chosen))


@dataclasses.dataclass(frozen=True, slots=True)
class SelectJob:
    """Documents and their scores -> the corpus, in ``output``."""

    config: SelectConfig
    documents: str
    scores: str
    work: str  # folder of files that the steps write for each other
    output: Attempt
    num_shards: int
    use_folders: tuple[str, ...] = ()  # one for each batch of ``write_corpus``; once dealt out, one for each share
    num_use_files: int = 1  # of each batch
    batch: int = 0  # number of this one


def judge_documents(pipeline: beam.Pipeline, shards: list[int], job: SelectJob) -> None:
    """For each unit (a shard of documents): decides which documents pass the rules. No model runs."""
    (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "JudgeDocuments" >> JudgeDocuments(job.config, job.documents, job.scores, job.work, job.num_shards)
    )


def choose_documents(pipeline: beam.Pipeline, _: list[Any], job: SelectJob) -> None:
    """Chooses the document of each group of duplicates that is kept, and counts for each rule how often it did not
    run."""
    survivors = pipeline | "Survivors" >> ReadRows(list_shards(join(job.work, "survivors")))
    unique = survivors | "KeepOneOfEach" >> KeepOneOfEach(job.config.document.unique)
    (
        unique.survivors
        | "StayToShard" >> beam.Map(_stay_to_shard, job.num_shards)
        | "WriteStay" >> WriteRows(join(job.work, "stay"), STAY, job.num_shards, ("doc_id",))
    )
    unique.decisions | "WriteDecisions" >> WriteDecisions(join(job.work, "unique_decisions"), job.num_shards)
    (
        pipeline
        | "NotRun" >> ReadRows(list_shards(join(job.work, "judge_not_run")))
        | "ByRule" >> beam.Map(_by_rule)
        | "CountNotRun" >> beam.CombinePerKey(sum)
        | "NotRunToShard" >> beam.Map(_not_run_row)
        | "WriteNotRun" >> WriteRows(job.output.data("not_run"), NOT_RUN, 1, ("rule",))
    )


def write_corpus(pipeline: beam.Pipeline, shards: list[int], job: SelectJob) -> None:
    """For each unit (a shard of documents): writes those that are kept, and ``uses`` of images by shard of image."""
    (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "WriteCorpus"
        >> WriteCorpus(job.config, job.documents, job.scores, job.work, job.output.data("documents"), job.num_shards)
        | "UsesToShard" >> beam.Map(_use_to_shard, job.num_use_files)
        | "WriteUses"
        >> WriteRows(join(job.use_folders[job.batch], "uses"), USES, job.num_use_files, ("image_id", "outcome"))
    )


def write_select_decisions(pipeline: beam.Pipeline, shards: list[int], job: SelectJob) -> None:
    """For each unit (a shard of decisions): merges the decisions on documents, nodes and images."""
    (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "WriteDecisions"
        >> WriteSelectDecisions(job.work, job.use_folders, job.output.data("decisions"), job.num_shards)
    )


def _stay_to_shard(survivor: SurvivorRow, num_shards: int) -> tuple[int, Row]:
    return shard_of(survivor["doc_id"], num_shards), {"doc_id": survivor["doc_id"]}


def _use_to_shard(use: UseRow, num_shards: int) -> tuple[int, UseRow]:
    return shard_of(use["image_id"], num_shards), use


def _by_rule(row: NotRunRow) -> tuple[str, int]:
    return row["rule"], row["times"]


def _not_run_row(counted: tuple[str, int]) -> tuple[int, NotRunRow]:
    return 0, {"rule": counted[0], "times": counted[1]}
