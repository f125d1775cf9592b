"""Connected components of ids in Beam: each id gets the smallest id of its component. Two implementations give the same
result.

    ConnectEdges   union-find (Tarjan) in one worker. It holds each id of an edge, about 200 bytes each.
    StarRound      large-star, then small-star (Kiveris et al., "Connected Components in MapReduce and Beyond", 2014):
                   one round over edges that fit on no machine. Each half attaches vertices to the smallest neighbour of
                   a neighbour; components do not change. The edges are the result when each vertex is attached to a
                   root (``CountUnfinished`` gives 0). The number of rounds grows with the logarithm of the longest
                   chain.

Beam has no loops, so each round is a pipeline of its own, from edges on disk to edges on disk, until no vertex is
unfinished. A fixed number of rounds would give wrong results on long chains without a warning. Ids without an edge have
no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import apache_beam as beam

Edge = tuple[str, str]


def connected_components(edges: Iterable[Edge]) -> dict[str, str]:
    """For each id of an edge, the smallest id that it is connected with (including itself), in any order of edges."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = node = parent[above]  # halve the path for later look-ups
        return node

    for a, b in edges:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return {node: root(node) for node in list(parent)}


def star_edges(ids: Iterable[str]) -> list[Edge]:
    """Sorted edges (id, smallest id) from each other id of a bucket: n - 1 edges connect it."""
    distinct = sorted(set(ids))
    return [(other, distinct[0]) for other in distinct[1:]]


class ConnectEdges(beam.PTransform):
    """(id, id) edges -> (id, smallest id of its component)."""

    def expand(self, edges: beam.PCollection) -> beam.PCollection:
        return (
            edges
            | "ToOneWorker" >> beam.Map(_to_one_worker)
            | "GatherEdges" >> beam.GroupByKey()
            | "Components" >> beam.FlatMap(_components)
        )


def _to_one_worker(edge: Edge) -> tuple[int, Edge]:
    return 0, edge  # union-find needs all edges together


def _components(gathered: tuple[int, Iterable[Edge]]) -> Iterator[Edge]:
    yield from connected_components(gathered[1]).items()


class StarRound(beam.PTransform):
    """(id, id) edges -> distinct (id, smaller id) edges with the same components, nearer to stars."""

    def expand(self, edges: beam.PCollection) -> beam.PCollection:
        return (
            edges
            | "BothWays" >> beam.FlatMap(_both_ways)
            | "Neighbours" >> beam.GroupByKey()
            | "LargeStar" >> beam.FlatMap(large_star)
            | "Downwards" >> beam.Map(_downwards)
            | "SmallerNeighbours" >> beam.GroupByKey()
            | "SmallStar" >> beam.FlatMap(small_star)
            | "Distinct" >> beam.Distinct()
        )


def _both_ways(edge: Edge) -> Iterator[Edge]:
    a, b = edge
    if a != b:
        yield a, b
        yield b, a


def _downwards(edge: Edge) -> Edge:
    a, b = edge
    return (a, b) if a > b else (b, a)


def large_star(grouped: tuple[str, Iterable[str]]) -> Iterator[Edge]:
    """Attaches the larger neighbours of a vertex to the smallest vertex of its neighbourhood, including itself.

    It iterates over the neighbours twice instead of storing them, because the centre of a star has as many as there are
    copies.
    """
    vertex, neighbours = grouped
    smallest = min(vertex, min(neighbours))
    for neighbour in neighbours:
        if neighbour > vertex:
            yield neighbour, smallest


def small_star(grouped: tuple[str, Iterable[str]]) -> Iterator[Edge]:
    """Attaches a vertex and its neighbours, which are all smaller, to the smallest of them."""
    vertex, neighbours = grouped
    smallest = min(neighbours)
    yield vertex, smallest
    for neighbour in neighbours:
        if neighbour != smallest:
            yield neighbour, smallest


class CountUnfinished(beam.PTransform):
    """Edges of ``StarRound`` -> the number of vertices with several parents, or with both a parent and children."""

    def expand(self, edges: beam.PCollection) -> beam.PCollection:
        return (
            edges
            | "Ends" >> beam.FlatMap(_ends)
            | "ByVertex" >> beam.GroupByKey()
            | "IsUnfinished" >> beam.Map(_is_unfinished)
            | "Sum" >> beam.CombineGlobally(sum)
        )


def _ends(edge: Edge) -> Iterator[tuple[str, bool]]:
    child, parent = edge
    yield child, True
    yield parent, False


def _is_unfinished(grouped: tuple[str, Iterable[bool]]) -> int:
    num_parents = has_children = 0
    for is_child in grouped[1]:
        num_parents += is_child
        has_children |= not is_child
    return int(num_parents > 1 or (num_parents == 1 and bool(has_children)))
