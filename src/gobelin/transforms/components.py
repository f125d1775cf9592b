"""Connected components of what meets under a key: ids that share a key, or are linked by others that do.

Each bucket gives at most one edge a member, to its smallest id; union-find in one process joins the edges, good to
about 1e8 of them. Ids that meet no other have no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from gobelin.transforms.near_duplicates import connected_components, star_edges


class ConnectByKey(beam.PTransform):
    """(key, id) pairs -> (id, smallest id of its component)."""

    def expand(self, pairs: beam.PCollection) -> beam.PCollection:
        return pairs | "GroupByKey" >> beam.GroupByKey() | "StarEdges" >> beam.FlatMap(_star_edges) | ConnectEdges()


class ConnectEdges(beam.PTransform):
    """(id, id) edges -> (id, smallest id of its component)."""

    def expand(self, edges: beam.PCollection) -> beam.PCollection:
        return (
            edges
            | "ToOneWorker" >> beam.Map(_to_one_worker)
            | "GatherEdges" >> beam.GroupByKey()
            | "Components" >> beam.FlatMap(_components)
        )


def _star_edges(grouped: tuple[Any, Iterable[str]]) -> Iterator[tuple[str, str]]:
    yield from star_edges(grouped[1])


def _to_one_worker(edge: tuple[str, str]) -> tuple[int, tuple[str, str]]:
    return 0, edge  # union-find needs all edges together


def _components(gathered: tuple[int, Iterable[tuple[str, str]]]) -> Iterator[tuple[str, str]]:
    yield from connected_components(gathered[1]).items()
