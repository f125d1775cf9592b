"""The steps that join what was measured to rows of scores: which graphs run, over which shards, in which batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from gobelin.pipeline import graphs
from gobelin.pipeline.context import GraphStep, in_batches
from gobelin.pipeline.graphs import JoinJob
from gobelin.transforms.files import make_folder

IMAGES_AT_ONCE = 20_000
"""Images of one process: about 20 KiB each in Beam's in-process runner, with an embedding of 512 numbers."""


def join_steps(job: JoinJob, num_documents: int, num_images: int, workers: int | None) -> Iterator[GraphStep]:
    """The steps, to be run one after the other. Makes the folders that they write to.

    Args:
        job: without folders of batches.
        workers: None: everything in one batch, as a cluster gets it.
    """
    num_batches = 1 if workers is None else max(workers, -(-num_images // IMAGES_AT_ONCE))
    batches = in_batches(range(job.num_shards), num_batches)
    job = dataclasses.replace(job, fact_folders=tuple(graphs.fact_folder(job, shards) for shards in batches))
    for name in ("documents", "images", "signatures/images", "decisions"):
        make_folder(f"{job.output}/{name}")
    make_folder(f"{job.work}/join_decisions")
    for folder in job.fact_folders:
        for name in ("facts", "decisions"):
            make_folder(f"{folder}/{name}")
    everything = [(shards, job) for shards in batches]
    yield GraphStep("join images", graphs.score_images, everything)
    yield GraphStep("similarities", graphs.score_documents, everything, "documents", num_documents)
    yield GraphStep("write decisions", graphs.write_score_decisions, [([], job)])
