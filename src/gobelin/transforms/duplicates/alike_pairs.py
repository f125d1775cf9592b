"""Groups of alike items among many, by keys: candidates meet under a key, each pair is verified, pairs are joined.

    items --same key--> buckets --every pair that is not joined yet--> ``is_alike`` --> edges --> components

The answer is the connected components of the graph whose edges are the pairs that share a key and are alike: exact, and
independent of the order of the items. Keys are sorted, one band after the other, so that memory is a few numbers an
item; pairs that earlier bands joined are not compared again. In a small bucket all pairs are compared at once; in a
crowd each member that was reached is compared with those that were not, so that a crowd of near-copies costs about N
comparisons and not N^2.

Measured: a million documents with 18 band keys in docs/duplicates.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]
IsAlike = Callable[[Indices, Indices], npt.NDArray[np.bool_]]
"""(items, items) of equal length, or one of length 1 -> whether each pair is alike."""

_CROWD = 256
"""Members from which a bucket is gone through one by one."""

_PAIRS_AT_ONCE = 1 << 18


def join_alike(num_items: int, bands: Iterable[npt.NDArray[np.int64]], is_alike: IsAlike | None) -> Indices:
    """For each item the smallest item that it is connected with, (num_items,).

    Args:
        bands: for each band the key of every item, (num_items,).
        is_alike: None: all that share a key are joined.
    """
    labels = np.arange(num_items)
    for keys in bands:
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.concatenate(([True], keys[order[1:]] != keys[order[:-1]]))) if num_items else order
        sizes = np.diff(starts, append=num_items)
        edges = list(_edges_of_band(order, starts, sizes, labels, is_alike))
        if edges:
            labels = smallest_connected(labels, np.concatenate(edges, axis=1))
    return labels


def smallest_connected(labels: Indices, edges: Indices) -> Indices:
    """Labels, (N,), joined along edges, (2, E), between items; a label is the smallest item of its component."""
    from scipy.sparse import coo_array  # not at the top: recipes are read without it
    from scipy.sparse.csgraph import connected_components

    ends = labels[edges]
    graph = coo_array((np.ones(ends.shape[1], np.bool_), (ends[0], ends[1])), shape=(len(labels), len(labels)))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    return first[component][labels]


def _edges_of_band(
    order: Indices, starts: Indices, sizes: Indices, labels: Indices, is_alike: IsAlike | None
) -> Iterator[Indices]:
    if is_alike is None:
        rank = np.arange(len(order)) - np.repeat(starts, sizes)
        is_other = rank > 0
        yield np.stack([np.repeat(order[starts], sizes)[is_other], order[is_other]])
        return
    for size in np.unique(sizes[(sizes > 1) & (sizes <= _CROWD)]):
        yield from _edges_of_buckets(order, starts[sizes == size], int(size), labels, is_alike)
    for start, size in zip(starts[sizes > _CROWD], sizes[sizes > _CROWD]):
        yield from _edges_of_crowd(order[start : start + size], labels, is_alike)


def _edges_of_buckets(
    order: Indices, starts: Indices, size: int, labels: Indices, is_alike: IsAlike
) -> Iterator[Indices]:
    """All pairs of buckets of one size, many buckets at a time."""
    first, second = np.triu_indices(size, 1)
    step = max(1, _PAIRS_AT_ONCE // len(first))
    for begin in range(0, len(starts), step):
        places = starts[begin : begin + step, None]
        a, b = order[(places + first).reshape(-1)], order[(places + second).reshape(-1)]
        is_apart = labels[a] != labels[b]
        a, b = a[is_apart], b[is_apart]
        if len(a):
            found = is_alike(a, b)
            yield np.stack([a[found], b[found]])


def _edges_of_crowd(members: Indices, labels: Indices, is_alike: IsAlike) -> Iterator[Indices]:
    waiting = members
    while len(waiting):
        same = labels[waiting] == labels[waiting[0]]
        reached, waiting = waiting[same].tolist(), waiting[~same]
        for one in reached:  # grows while it is gone through
            if not len(waiting):
                break
            found = is_alike(np.array([one]), waiting)
            if found.any():
                yield np.stack([np.full(int(found.sum()), one), waiting[found]])
                found |= np.isin(labels[waiting], labels[waiting[found]])
                reached.extend(waiting[found].tolist())
                waiting = waiting[~found]


def edges_in_bucket(ids: list[str], is_alike: IsAlike | None) -> Iterator[tuple[str, str]]:
    """Edges from each id to the smallest one that it is connected with, for ids that share a key."""
    groups = join_alike(len(ids), [np.zeros(len(ids), np.int64)], is_alike)
    for place, group in enumerate(groups.tolist()):
        if place != group:
            yield ids[place], ids[group]
