"""A step that deals rows out to the batches of the next one, so that each batch reads its own files and no others.

Some workers read the files once, a share each, and each leaves one file per part (``transforms/partition.py``). There
are as many shares as workers, not as many as batches: files grow with batches, not with their square.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from gobelin.pipeline.run.plan import Batch, DataSet, Plan, Step, in_batches
from gobelin.store.dataset import num_rows_of
from gobelin.store.paths import join
from gobelin.store.tables import shard_path
from gobelin.transforms.partition import MAX_SLICES, Split, deal_out


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """Files, and how they are dealt out."""

    split: Split
    paths: Sequence[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Parted:
    """What was dealt out: one folder per share, with the same data sets in each."""

    folders: tuple[str, ...]
    num_parts: dict[str, int]  # of each data set

    def paths(self, name: str, part: int) -> list[str]:
        """Files of a part of a data set: one a share."""
        return [shard_path(join(folder, name), part, self.num_parts[name]) for folder in self.folders]


def num_batches(plan: Plan, data_sets: list[str], rows_at_once: int) -> int:
    """How many batches the rows of these data sets make, with about ``rows_at_once`` in each."""
    return min(plan.num_batches(sum(map(num_rows_of, data_sets)), rows_at_once), MAX_SLICES)


def partition(plan: Plan, title: str, work: str, sources: Sequence[Source]) -> Parted:
    """Deals files out, in folders ``work``-0-of-2, ``work``-1-of-2 ... for two shares."""
    num_shares = max(1, min(plan.num_workers, max(len(source.paths) for source in sources)))
    dealt = [in_batches(source.paths, num_shares) for source in sources]
    folders, batches = [], []
    for number in range(num_shares):
        # A rerun with another number of workers cuts other shares, so their number is part of the name.
        folder = f"{work}-{number}-of-{num_shares}"
        share = [
            (Source(source.split, paths[number] if number < len(paths) else []), folder)
            for source, paths in zip(sources, dealt)
        ]
        writes = tuple(DataSet(join(folder, each.split.name), each.split.num_parts) for each, _ in share)
        folders.append(folder)
        batches.append(Batch(share, None, writes))
    if not plan.is_one_process:  # a cluster gets all shares in one pipeline
        units = [unit for batch in batches for unit in batch.units]
        batches = [Batch(units, None, tuple(data_set for batch in batches for data_set in batch.writes))]
    plan.run(Step(title, partition_files, batches))
    num_parts = {source.split.name: source.split.num_parts for source in sources}
    return Parted(tuple(folders), num_parts)


def partition_files(pipeline: beam.Pipeline, shares: list[Any], _: None) -> None:
    """By unit (a source and the folder of its share): deal the rows out."""
    pipeline | "Shares" >> beam.Create(shares) | "DealOut" >> beam.Map(_deal_out)


def _deal_out(share: tuple[Source, str]) -> str:
    source, folder = share
    deal_out(folder, source.split, source.paths)
    return join(folder, source.split.name)
