"""Drops images that are repeated in their document, over whole columns (``judge_columns.py``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gobelin.transforms.duplicates.image_duplicates import hamming
from gobelin.transforms.selection.columns.columns import Columns, Ints
from gobelin.transforms.selection.columns.judged import STAYS, Codes
from gobelin.transforms.selection.config import SelectConfig

REPEATED = ("image.unique_near_in_document", "image.unique_in_document", "image.min_phash_distance_in_document")


class Repeats:
    """Images that are repeated in their document, by the rules of ``REPEATED``. Groups are compared in columns;
    distances of hashes are compared image by image, in documents with several images."""

    def __init__(self, columns: Columns, images: Codes, config: SelectConfig, names: tuple[str, ...]) -> None:
        self._columns, self._images, self._rules = columns, images.copy(), config.image
        self._codes = [names.index(name) for name in REPEATED]
        self._hashes: npt.NDArray[np.uint64] | None = None

    def dropped(self) -> Codes:
        columns = self._columns
        passing = np.flatnonzero(self._images == STAYS)
        document = columns.of_document[columns.image_nodes[passing]]
        if self._rules.min_phash_distance_in_document is not None:
            self._by_distance(passing, document)
            return self._images
        if self._rules.unique_near_in_document:
            self._by_group(passing, document, columns.near[passing], self._codes[0])
        else:
            self._by_group(passing, document, columns.images[passing], self._codes[1])
        return self._images

    def _by_group(self, passing: Any, document: Ints, group: Ints, code: int) -> None:
        """Drops the images of a document that share a group with an earlier one that stays. (Personal data may drop
        earlier ones, after this rule.)"""
        key = document.astype(np.int64) * (int(group.max(initial=0)) + 2) + group + 1
        order = np.argsort(key, kind="stable")
        sorted_key = key[order]
        begins = np.append(True, sorted_key[1:] != sorted_key[:-1]) if len(order) else np.zeros(0, bool)
        can_stay = self._columns.image_pii[passing[order]] == 0
        group_number = np.cumsum(begins) - 1
        first = np.full(int(begins.sum()), len(order), np.int64)
        places = np.flatnonzero(can_stay)[::-1]
        first[group_number[places]] = places
        repeated = np.arange(len(order)) > first[group_number]
        self._images[passing[order[repeated]]] = code

    def _by_distance(self, passing: Any, document: Ints) -> None:
        rules, columns = self._rules, self._columns
        hashes = columns.phashes()
        limit = rules.min_phash_distance_in_document
        assert limit is not None
        several = np.flatnonzero(np.bincount(document, minlength=1)[document] > 1)
        seen: list[int] = []
        of: int | None = None
        for place in several.tolist():
            image, here = int(passing[place]), int(document[place])
            if here != of:
                of, seen = here, []
            code = next((code for earlier in seen if (code := self._alike(earlier, image, hashes, limit)) >= 0), -1)
            if code >= 0:
                self._images[image] = code
            elif columns.image_pii[image] == 0:
                seen.append(image)

    def _alike(self, earlier: int, image: int, hashes: Any, limit: int) -> int:
        """The number of the rule by which two images must not be in one document; -1: none."""
        columns = self._columns
        if self._rules.unique_near_in_document and columns.near[earlier] == columns.near[image]:
            return self._codes[0]
        if self._rules.unique_in_document and columns.images[earlier] == columns.images[image]:
            return self._codes[1]
        return self._codes[2] if hamming(hashes[earlier], hashes[image]) < limit else -1
