"""Training rows from documents: pieces that fit a row, packed, in an order that depends on seed and epoch alone.

1. Each document becomes pieces of whole items, each opened by ``<|document|>``. Only a text longer than a row is cut
   (its rest opens another piece as a text of its own); an image never is, and a caption that leaves no room for its
   image is shortened. With probability ``caption_drop`` a caption before its image is left out, drawn anew each
   epoch: what classifier-free guidance (arXiv 2207.12598) needs.
2. The pieces are shuffled and packed first-fit, longest first within a window, into rows of T tokens.
3. The rows are shuffled and taken B at a time; the last few that fill no batch are left out of the epoch.

An epoch's plan is a pure function of documents, settings, seed and epoch, so the step number alone says where a run
stands, and resuming is exact. Planning costs about a second for a million tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from gobelin.tokenize.vocabulary import (
    CAPTION_OF_NEXT,
    CAPTION_OF_PREVIOUS,
    DOCUMENT,
    END_OF_DOCUMENT,
    END_OF_IMAGE,
    IMAGE,
    PAD,
    TEXT,
    Vocabulary,
)
from gobelin.train.shards import TokenDocument

NO_TARGET = -100
"""Target of a token whose successor is not to be predicted: the last of its piece, and padding."""

WINDOW = 512  # pieces sorted together before packing


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
    """Plan one epoch over the documents. Raises ValueError where a row has no room for an image."""
    needed = vocabulary.tokens_per_image + 3  # <|document|>, and the two around the image
    if row_tokens < needed:
        raise ValueError(f"row_tokens must be at least {needed}, room for one image, got {row_tokens}")
    random = np.random.default_rng([seed, epoch])
    cutter = _Cutter(row_tokens)
    pieces = [piece for document in documents for piece in cutter.pieces(_item_tokens(document, caption_drop, random))]
    shuffled = [pieces[index] for index in random.permutation(len(pieces))]
    rows = [
        row for start in range(0, len(pieces), WINDOW) for row in _pack(shuffled[start : start + WINDOW], row_tokens)
    ]
    num_tokens = sum(len(piece) for piece in pieces)
    return Plan(
        rows=tuple(rows[index] for index in random.permutation(len(rows))),
        row_tokens=row_tokens,
        utilisation=num_tokens / (len(rows) * row_tokens),
        num_captions_cut=cutter.num_captions_cut,
        num_texts_cut=cutter.num_texts_cut,
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


def _item_tokens(document: TokenDocument, caption_drop: float, random: np.random.Generator) -> Iterator[np.ndarray]:
    """The tokens of each item, some captions before images left out; then the end of the document."""
    for item in document.items:
        start = item.start
        if item.caption_first and item.codes is not None and random.random() < caption_drop:
            start = item.codes[0] - 1
        yield document.tokens[start : item.stop]
    yield document.tokens[-1:]


@dataclasses.dataclass(slots=True)
class _Cutter:
    """Groups the items of a document into pieces and counts what did not fit whole."""

    row_tokens: int
    num_captions_cut: int = 0
    num_texts_cut: int = 0

    def pieces(self, items: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        room = self.row_tokens - 1  # after <|document|>
        open_items: list[np.ndarray] = []
        num_open = 0
        for item in items:
            for part in self._parts(item, room):
                if open_items and num_open + len(part) > room:
                    yield _piece(open_items)
                    open_items, num_open = [], 0
                open_items.append(part)
                num_open += len(part)
        # An end of document alone in its piece would teach nothing.
        if any(item[0] != END_OF_DOCUMENT for item in open_items):
            yield _piece(open_items)

    def _parts(self, item: np.ndarray, room: int) -> list[np.ndarray]:
        if len(item) <= room:
            return [item]
        if item[0] == TEXT:
            self.num_texts_cut += 1
            size = room - 1
            return [np.concatenate([item[:1], item[start : start + size]]) for start in range(1, len(item), size)]
        self.num_captions_cut += 1
        excess = len(item) - room
        if item[0] == CAPTION_OF_NEXT:
            image = int(np.flatnonzero(item == IMAGE)[0])
            kept = np.concatenate([item[: image - excess], item[image:]])
            return [kept if image - excess > 1 else item[image:]]
        end = int(np.flatnonzero(item == END_OF_IMAGE)[0]) + 1
        kept = item[: len(item) - excess]
        assert item[end] == CAPTION_OF_PREVIOUS
        return [kept if len(kept) > end + 1 else item[:end]]


def _piece(items: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.array([DOCUMENT], dtype=np.int32), *items])


def _pack(pieces: Sequence[np.ndarray], row_tokens: int) -> list[tuple[np.ndarray, ...]]:
    """First-fit, longest piece first."""
    rows: list[list[np.ndarray]] = []
    free = np.empty(len(pieces), dtype=np.int64)
    for piece in sorted(pieces, key=len, reverse=True):
        fitting = np.flatnonzero(free[: len(rows)] >= len(piece))
        if len(fitting):
            row = int(fitting[0])
        else:
            row = len(rows)
            rows.append([])
            free[row] = row_tokens
        rows[row].append(piece)
        free[row] -= len(piece)
    return [tuple(row) for row in rows]
