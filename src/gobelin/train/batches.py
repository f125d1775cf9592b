"""Training rows from documents: packed pieces of whole items, in an order that depends on seed and epoch alone.

1. The items of each document are taken as they are, except that a text longer than a row is cut into several, and a
   caption that leaves no room for its image is shortened; an image is never cut. With probability ``caption_drop`` a
   caption before its image is left out, drawn anew each epoch: what classifier-free guidance (arXiv 2207.12598) needs.
2. The documents are shuffled and packed into rows of T tokens. One that fits a row stays whole. A longer one is cut
   between items: its next piece goes where the longest run of its items leaves the least room. Every piece opens with
   ``<|document|>``.
3. The rows are shuffled and taken B at a time; the last few that fill no batch are left out of the epoch.

An epoch's plan is a pure function of documents, settings, seed and epoch, so the step number alone says where a run
stands, and resuming is exact. Planning costs about a second for a million tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gobelin.errors import UserError
from gobelin.tokenize.vocabulary import (
    CAPTION_OF_NEXT,
    DOCUMENT,
    END_OF_IMAGE,
    PAD,
    TEXT,
    Vocabulary,
)
from gobelin.train.shards import TokenDocument

NO_TARGET = -100
"""Target of a token whose successor is not to be predicted: the last of its piece, and padding."""

OPEN_ROWS = 64  # rows that are filled at a time


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Rows for one step."""

    tokens_BT: Tensor  # int64
    targets_BT: Tensor  # int64, NO_TARGET where there is none
    pieces_BT: Tensor  # int64, equal within a piece, rising along a row; padding counts as a piece


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """One epoch: rows of pieces, shuffled."""

    rows: tuple[tuple[np.ndarray, ...], ...]
    row_tokens: int
    utilisation: float  # tokens that are not padding, share of all, (0, 1]
    num_captions_cut: int  # captions shortened to make room for their image
    num_texts_cut: int  # texts longer than a row

    def num_batches(self, batch_rows: int) -> int:
        """Whole batches of the epoch, at least one."""
        return max(1, len(self.rows) // batch_rows)

    def batch(self, index: int, batch_rows: int) -> Batch:
        """Batch number ``index`` of the epoch; a corpus smaller than a batch repeats its rows."""
        return make_batch(
            [self.rows[row % len(self.rows)] for row in range(index * batch_rows, (index + 1) * batch_rows)],
            self.row_tokens,
        )


def plan_epoch(
    documents: Sequence[TokenDocument],
    vocabulary: Vocabulary,
    *,
    row_tokens: int,
    caption_drop: float,
    seed: int,
    epoch: int,
) -> Plan:
    """Plan one epoch over the documents. Raises UserError where a row has no room for an image."""
    needed = vocabulary.max_tokens_per_image + 3  # <|document|>, and the two around the image
    if row_tokens < needed:
        raise UserError(f"row_tokens must be at least {needed}, room for one image, got {row_tokens}")
    random = np.random.default_rng([seed, epoch])
    cutter = _Cutter(row_tokens - 1, vocabulary.image_begins)  # after <|document|>
    cut = [cutter.items(document, caption_drop, random) for document in documents]
    rows = _pack([cut[index] for index in random.permutation(len(cut))], row_tokens)
    num_tokens = sum(len(piece) for row in rows for piece in row)
    return Plan(
        rows=tuple(rows[index] for index in random.permutation(len(rows))),
        row_tokens=row_tokens,
        utilisation=num_tokens / (len(rows) * row_tokens),
        num_captions_cut=cutter.num_captions_cut,
        num_texts_cut=cutter.num_texts_cut,
    )


def num_long_captions(documents: Sequence[TokenDocument], row_tokens: int) -> int:
    """Captions that leave no room for their image in a row, and are shortened wherever they are not dropped."""
    room = row_tokens - 1  # after <|document|>
    return sum(
        item.stop - item.start > room and document.tokens[item.start] != TEXT
        for document in documents
        for item in document.items
    )


def make_batch(rows: Sequence[Sequence[np.ndarray]], row_tokens: int) -> Batch:
    """Rows of pieces as tensors, padded on the right."""
    tokens = np.full((len(rows), row_tokens), PAD, dtype=np.int64)
    targets = np.full((len(rows), row_tokens), NO_TARGET, dtype=np.int64)
    pieces = np.zeros((len(rows), row_tokens), dtype=np.int64)
    for row, row_pieces in enumerate(rows):
        start = 0
        for number, piece in enumerate(row_pieces):
            stop = start + len(piece)
            tokens[row, start:stop] = piece
            targets[row, start : stop - 1] = piece[1:]
            pieces[row, start:stop] = number
            start = stop
        pieces[row, start:] = len(row_pieces)
    return Batch(torch.from_numpy(tokens), torch.from_numpy(targets), torch.from_numpy(pieces))


@dataclasses.dataclass(slots=True)
class _Cutter:
    """Gives the items of a document, none longer than ``room``, and counts what had to be cut."""

    room: int
    image_begins: tuple[int, ...]
    num_captions_cut: int = 0
    num_texts_cut: int = 0

    def items(self, document: TokenDocument, caption_drop: float, random: np.random.Generator) -> list[np.ndarray]:
        """The tokens of each item; the end of the document goes with the last one where it fits."""
        items: list[np.ndarray] = []
        for item in document.items:
            start = item.start
            if item.caption_first and item.codes is not None and random.random() < caption_drop:
                start = item.codes[0] - 1
            items += self._parts(document.tokens[start : item.stop])
        if items and len(items[-1]) < self.room:
            items[-1] = np.append(items[-1], document.tokens[-1:])
        return items

    def _parts(self, item: np.ndarray) -> list[np.ndarray]:
        excess = len(item) - self.room
        if excess <= 0:
            return [item]
        if item[0] == TEXT:
            self.num_texts_cut += 1
            size = self.room - 1
            return [np.concatenate([item[:1], item[start : start + size]]) for start in range(1, len(item), size)]
        self.num_captions_cut += 1
        if item[0] == CAPTION_OF_NEXT:
            image = int(np.flatnonzero(np.isin(item, self.image_begins))[0])
            kept = np.concatenate([item[: image - excess], item[image:]])
            return [kept if image - excess > 1 else item[image:]]
        end = int(np.flatnonzero(item == END_OF_IMAGE)[0]) + 1
        kept = item[: len(item) - excess]
        return [kept if len(kept) > end + 1 else item[:end]]


def _pack(documents: Sequence[Sequence[np.ndarray]], row_tokens: int) -> list[tuple[np.ndarray, ...]]:
    """Rows of pieces from the items of documents, in order."""
    rows: list[list[np.ndarray]] = []
    open_rows: list[int] = []  # rows that still take pieces
    free = np.empty(sum(map(len, documents)), dtype=np.int64)  # tokens left in each row
    opening = np.array([DOCUMENT], dtype=np.int32)
    for items in documents:
        ends = np.cumsum([0, *map(len, items)])
        start = 0
        while start < len(items):
            room = free[open_rows] - 1 + ends[start]
            stops = np.searchsorted(ends, room, side="right") - 1
            if ends[-1] - ends[start] < row_tokens:  # the rest fits a row, so it stays whole
                stops = np.where(stops == len(items), stops, start)
            best = int(np.argmin(np.where(stops > start, room - ends[stops], row_tokens))) if open_rows else -1
            if not open_rows or stops[best] <= start:
                open_rows.append(len(rows))
                free[len(rows)] = row_tokens
                rows.append([])
                if len(open_rows) > OPEN_ROWS:
                    open_rows.remove(min(open_rows, key=lambda row: int(free[row])))
                continue
            row, stop = open_rows[best], int(stops[best])
            rows[row].append(np.concatenate([opening, *items[start:stop]]))
            free[row] -= 1 + ends[stop] - ends[start]
            start = stop
    return [tuple(row) for row in rows]
