"""A step that partitions rows for the batches of the next step, so that each batch reads only its own files.

The input files are divided into as many shares as there are workers. Each worker reads its share once and writes one
file per part (``transforms/partition.py``). With one share per batch, the number of files would grow with the square of
the number of batches.
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
from gobelin.transforms.partition import MAX_SLICES, Split, partition_files


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """Files and how to partition them."""

    split: Split
    paths: Sequence[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Parted:
    """The partitioned rows: one folder per share, each with the same data sets."""

    folders: tuple[str, ...]
    num_parts: dict[str, int]  # of each data set

    def paths(self, name: str, part: int) -> list[str]:
        """Paths of the files with a part of a data set, one per share."""
        return [shard_path(join(folder, name), part, self.num_parts[name]) for folder in self.folders]


def num_batches(plan: Plan, data_sets: list[str], rows_at_once: int) -> int:
    """Number of batches for the rows of these data sets, with about ``rows_at_once`` rows per batch."""
    return min(plan.num_batches(sum(map(num_rows_of, data_sets)), rows_at_once), MAX_SLICES)


def partition(plan: Plan, title: str, work: str, sources: Sequence[Source]) -> Parted:
    """Partitions files. Two shares are written to the folders ``work``-0-of-2 and ``work``-1-of-2."""
    num_shares = max(1, min(plan.num_workers, max(len(source.paths) for source in sources)))
    paths_of_shares = [in_batches(source.paths, num_shares) for source in sources]
    folders, batches = [], []
    for number in range(num_shares):
        # A rerun with another number of workers makes other shares, so the number of shares is part of the name.
        folder = f"{work}-{number}-of-{num_shares}"
        share = [
            (Source(source.split, paths[number] if number < len(paths) else []), folder)
            for source, paths in zip(sources, paths_of_shares)
        ]
        writes = tuple(DataSet(join(folder, each.split.name), each.split.num_parts) for each, _ in share)
        folders.append(folder)
        batches.append(Batch(share, None, writes))
    if not plan.is_one_process:  # a cluster gets all shares in one pipeline
        units = [unit for batch in batches for unit in batch.units]
        batches = [Batch(units, None, tuple(data_set for batch in batches for data_set in batch.writes))]
    plan.run(Step(title, partition_shares, batches))
    num_parts = {source.split.name: source.split.num_parts for source in sources}
    return Parted(tuple(folders), num_parts)


def partition_shares(pipeline: beam.Pipeline, shares: list[Any], _: None) -> None:
    """Partitions shares. A unit is a source and the folder of its share."""
    pipeline | "Shares" >> beam.Create(shares) | "DealOut" >> beam.Map(_deal_out)


def _deal_out(share: tuple[Source, str]) -> str:
    source, folder = share
    partition_files(folder, source.split, source.paths)
    return join(folder, source.split.name)
