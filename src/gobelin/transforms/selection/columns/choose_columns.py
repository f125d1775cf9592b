"""Chooses which document of each group of duplicates stays, as ``keep_one`` does, over whole columns
(``judge_columns.py``)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gobelin.transforms.selection.columns.columns import Columns, Ints

Bools = npt.NDArray[np.bool_]


def first_shared(groups: dict[str, Ints]) -> dict[str, Bools]:
    """Which of the documents, in order, are dropped: those that share a group with an earlier one that stays.

    It works in rounds: a document that is first in all of its groups stays, and those that share a group with it are
    dropped.

    Args:
        groups: for each kind of duplicate, in the order of the rules, the number of each document's group, (D,).

    Returns:
        for each kind, which documents are dropped by it, (D,). A document may be dropped by several kinds. The first
        kind comes last, so that it
        counts if the results are written one over the other.
    """
    kinds, num = list(groups), len(next(iter(groups.values())))
    columns = [_shared(group) for group in groups.values()]
    places = np.flatnonzero(np.any([group >= 0 for group in columns], axis=0))
    columns = [group[places] for group in columns]
    stays, keepers = _keep(columns, len(places))
    found = {}
    for kind, group, keeper in reversed(list(zip(kinds, columns, keepers))):
        goes = np.zeros(num, bool)
        goes[places] = ~stays & (keeper[group] < np.arange(len(places)))
        found[kind] = goes
    return found


def _shared(group: Ints) -> Ints:
    """The groups with -1 for groups of one."""
    sizes = np.bincount(group, minlength=1)
    return np.where(sizes[group] > 1, group, -1).astype(np.int32)


def _keep(groups: list[Ints], num: int) -> tuple[Bools, list[npt.NDArray[np.int64]]]:
    """(which documents stay, (num,); for each kind the document that stays in each group, ``num`` if there is none)."""
    keepers = [np.full(int(group.max(initial=-1)) + 2, num, np.int64) for group in groups]  # the last: no group
    undecided = np.arange(num)
    stays = np.zeros(num, bool)
    while len(undecided):
        is_first = np.ones(len(undecided), bool)
        for group in groups:
            own = group[undecided]
            first = np.full(int(own.max(initial=-1)) + 2, num, np.int64)
            first[own[::-1]] = undecided[::-1]  # the first in order is written last
            is_first &= (own < 0) | (first[own] == undecided)
        stays[undecided[is_first]] = True
        is_decided = is_first.copy()
        for group, keeper in zip(groups, keepers):
            new = undecided[is_first]
            new = new[group[new] >= 0]
            keeper[group[new]] = new
            is_decided |= keeper[group[undecided]] < num
        undecided = undecided[~is_decided]
    return stays, keepers


class PicturesOfDocuments:
    """Finds documents that show the same set of images."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        document = columns.of_document[columns.image_nodes].astype(np.int64)
        pairs = document * (len(columns.image_ids) + 1) + columns.images
        self._pairs, self._pair_of_node = np.unique(pairs, return_inverse=True)

    def sets(self, is_shown: Bools) -> Ints:
        """A number for each document, (D,), equal for equal sets of images; a unique number for a document without
        images.

        Args:
            is_shown: for each image node, (I,).
        """
        columns = self._columns
        has_shown = np.zeros(len(self._pairs), bool)
        has_shown[self._pair_of_node[is_shown]] = True
        noise = np.random.default_rng(0).integers(1, 1 << 63, (2, len(columns.image_ids) + 1), dtype=np.int64)
        document, picture = np.divmod(self._pairs[has_shown], len(columns.image_ids) + 1)
        sums = np.zeros((len(columns.fixed), 2), np.int64)
        for side in range(2):
            np.add.at(sums[:, side], document, noise[side][picture])
        has_none = np.bincount(document, minlength=len(sums)) == 0
        sums[has_none, 0], sums[has_none, 1] = np.flatnonzero(has_none), -1
        _, found = np.unique(sums[:, 0] ^ (sums[:, 1] * np.int64(0x5851F42D4C957F2D)), return_inverse=True)
        return found.astype(np.int32)
