"""The steps of ``select``: which of its graphs run, over which shards, in which batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from gobelin.pipeline import graphs
from gobelin.pipeline.context import GraphStep, in_batches
from gobelin.pipeline.graphs import SelectJob
from gobelin.transforms.files import make_folder, shard_path

DOCUMENTS_AT_ONCE = 20_000
"""Documents of one process, where there are more than a shard of them: it counts their images, 0.5 KiB each."""


def select_steps(job: SelectJob, num_documents: int, workers: int | None) -> Iterator[GraphStep]:
    """The steps, to be run one after the other. Makes the folders that they write to.

    Args:
        job: without folders of batches.
        workers: None: everything in one batch, as a cluster gets it.
    """
    num_batches = 1 if workers is None else max(workers, -(-num_documents // DOCUMENTS_AT_ONCE))
    for name in ("survivors", "judge_decisions", "judge_not_run", "stay", "unique_decisions"):
        make_folder(f"{job.work}/{name}")
    for name in ("documents", "decisions", "not_run"):
        make_folder(f"{job.output}/{name}")
    batches = in_batches(range(job.num_shards), num_batches)
    job = dataclasses.replace(job, use_folders=tuple(graphs.use_folder(job, shards) for shards in batches))
    for folder in job.use_folders:
        make_folder(f"{folder}/uses")
    waiting = [index for index in range(job.num_shards) if not _is_judged(job, index)]
    judging = [(shards, job) for shards in in_batches(waiting, num_batches)]
    num_waiting = num_documents * len(waiting) // job.num_shards
    yield GraphStep("judge documents", graphs.judge_documents, judging, "documents", num_waiting)
    yield GraphStep("choose among duplicates", graphs.choose_documents, [([], job)])
    everything = [(shards, job) for shards in batches]
    yield GraphStep("write the corpus", graphs.write_corpus, everything, "documents", num_documents)
    yield GraphStep("write decisions", graphs.write_select_decisions, everything)


def _is_judged(job: SelectJob, index: int) -> bool:
    return Path(shard_path(f"{job.work}/survivors", index, job.num_shards)).exists()
