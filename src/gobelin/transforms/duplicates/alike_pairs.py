"""Groups of alike items by keys: candidates share a key, each pair is verified, and verified pairs are joined.

    items --same key--> buckets --each pair that is not joined yet--> ``is_alike`` --> edges --> components

The result is the connected components of the graph whose edges are the alike pairs with a common key. It is exact and
independent of the order of the items. Keys are sorted band by band, so memory is a few numbers per item, and pairs that
earlier bands joined are not compared again. In a small bucket all pairs are compared at once. In a large one each
reached member is compared with the unreached members, so N near-copies take about N comparisons and not N^2.

docs/duplicates.md has measurements on a million documents with 18 band keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]
IsAlike = Callable[[Indices, Indices], npt.NDArray[np.bool_]]
"""(items, items) of equal length, or one of length 1 -> whether each pair is alike."""

_CROWD = 256
"""Number of members from which a bucket is processed member by member."""

_PAIRS_AT_ONCE = 1 << 18


def join_alike(num_items: int, bands: Iterable[npt.NDArray[np.int64]], is_alike: IsAlike | None) -> Indices:
    """For each item, the smallest item that it is connected with, (num_items,).

    Args:
        bands: for each band the key of each item, (num_items,).
        is_alike: None: all items with a common key are joined.
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
    """Labels, (N,), joined along edges, (2, E), between items. A label is the smallest item of its component."""
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
    """Compares all pairs in buckets of one size, many buckets at a time."""
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
        for one in reached:  # the list grows during the loop
            if not len(waiting):
                break
            found = is_alike(np.array([one]), waiting)
            if found.any():
                yield np.stack([np.full(int(found.sum()), one), waiting[found]])
                found |= np.isin(labels[waiting], labels[waiting[found]])
                reached.extend(waiting[found].tolist())
                waiting = waiting[~found]


def edges_in_bucket(ids: list[str], is_alike: IsAlike | None) -> Iterator[tuple[str, str]]:
    """For ids that share a key, edges from each id to the smallest one that it is connected with."""
    groups = join_alike(len(ids), [np.zeros(len(ids), np.int64)], is_alike)
    for place, group in enumerate(groups.tolist()):
        if place != group:
            yield ids[place], ids[group]
