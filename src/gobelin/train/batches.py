"""Training rows from token shards: packed pieces of whole items, read window by window.

1. The row groups of the shards are shuffled and divided into *windows* of about ``WINDOW_TOKENS`` tokens. One window is
in memory at a time. 2. A text longer than a row is split into several texts. A caption that leaves no room for its
image is truncated. An image is never split. With probability ``caption_drop`` a caption before its image is dropped,
drawn anew each epoch, for classifier-free guidance (arXiv 2207.12598). Other probabilities drop all texts of a document
with images, or everything before an image. 3. The documents of the window are shuffled and packed into rows of T
tokens. A document that fits into a row stays whole. A longer one is split between items. Its next piece goes into the
row where its longest run of items leaves the least room. Every piece begins with ``<|document|>``. 4. The rows are
shuffled. A batch may span two windows or epochs, so no row is skipped.

Other corpora can be mixed in. Then each window has its share of tokens from each corpus.

A window is a pure function of the data set's manifest, the settings, the seed and its number. So one number, a
*position*, is the state of the loader. It encodes the number of the window, counted through all epochs, and the row in
it. The rows at a position depend neither on earlier reads nor on the number of processes that share a batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from gobelin.errors import UserError
from gobelin.tokenize.vocabulary import DOCUMENT, PAD
from gobelin.train.packing import Drops, cut_documents, pack
from gobelin.train.prefetch import Prefetcher
from gobelin.train.shards import Documents

NO_TARGET = -100
"""Target of a token whose successor is not to be predicted: the last of its piece, and padding."""

WINDOW_TOKENS = 1 << 22
"""Tokens, about, that are shuffled and packed together; 16 MB."""

_ROW_BITS = 32  # of a position; the rest is the number of the window


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Rows for one step."""

    tokens_BT: Tensor  # int64
    targets_BT: Tensor  # int64, NO_TARGET where there is none
    pieces_BT: Tensor  # int64, equal within a piece, rising along a row; padding counts as a piece


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """Packed rows of some documents, shuffled. P parts of documents, Q pieces of rows."""

    tokens: np.ndarray  # int32, of all documents, one behind the other
    parts_P4: np.ndarray  # int64: two ranges of the tokens, which follow each other in a piece
    pieces_Q2: np.ndarray  # int64: a range of parts, sorted by row
    row_starts: np.ndarray  # int64: first piece of each row, and the end
    order: np.ndarray  # int64: shuffled rows
    num_used: int  # tokens in the rows, those that open pieces included
    num_captions_cut: int  # captions shortened to make room for their image
    num_texts_cut: int  # texts longer than a row

    def __len__(self) -> int:
        return len(self.order)

    def row(self, number: int) -> list[np.ndarray]:
        """The pieces of a row, int32 each."""
        row = self.order[number]
        pieces = self.pieces_Q2[self.row_starts[row] : self.row_starts[row + 1]]
        ranges = [self.parts_P4[first:last].reshape(-1, 2).tolist() for first, last in pieces.tolist()]
        return [np.concatenate([_OPENING, *(self.tokens[start:stop] for start, stop in each)]) for each in ranges]


_OPENING = np.array([DOCUMENT], np.int32)


@dataclasses.dataclass(frozen=True, slots=True)
class Portion:
    """Documents of a mixture, with their share."""

    documents: Documents
    share: float  # of all tokens, (0, 1)


class Loader:
    """Training rows of documents. An epoch is one pass over these documents.

    Args:
        portions: other documents in the mixture. Each window takes its share of tokens from each, in whole documents,
            and continues where the previous window ended, pass after pass.
        window_tokens: see ``WINDOW_TOKENS``; another number gives other rows.

    Raises:
        UserError: an image does not fit into a row, or the shares of the portions sum to 1 or more.
    """

    def __init__(
        self,
        documents: Documents,
        *,
        row_tokens: int,
        caption_drop: float,
        text_drop: float = 0.0,
        context_drop: float = 0.0,
        seed: int,
        portions: Sequence[Portion] = (),
        window_tokens: int = WINDOW_TOKENS,
    ) -> None:
        own_share = 1 - sum(portion.share for portion in portions)
        if own_share <= 0 or any(portion.share <= 0 for portion in portions):
            raise UserError("shares of a mixture must be above 0, with a sum below 1")
        needed = documents.vocabulary.max_tokens_per_image + 3  # <|document|>, and the two around the image
        if row_tokens < needed:
            raise UserError(f"row_tokens must be at least {needed}, room for one image, got {row_tokens}")
        self._documents, self.row_tokens = documents, row_tokens
        self._drops, self._seed = Drops(caption_drop, text_drop, context_drop), seed
        self._portions, self._epoch_tokens = portions, documents.num_tokens / own_share
        self._own = Portion(documents, own_share)
        self.num_windows = math.ceil(self._epoch_tokens / window_tokens)
        """Of an epoch."""
        self._held: tuple[int, Window] | None = None
        self._read: tuple[np.ndarray, tuple[np.ndarray, np.ndarray]] | None = None
        self._ahead: Prefetcher | None = None

    def window(self, number: int) -> Window:
        """A window by its number, which counts through all epochs. Caches the last one."""
        if self._held is None or self._held[0] != number:
            self._held = None  # one window is in memory at a time
            made = None if self._ahead is None else self._ahead.take(number)
            self._held = (number, self.make_window(number) if made is None else made)
        return self._held[1]

    @contextlib.contextmanager
    def reading_ahead(self) -> Iterator[None]:
        """A separate process makes the next window while the block runs."""
        self._held = self._read = None  # the copy that goes there is small
        self._ahead = Prefetcher(self)
        try:
            yield
        finally:
            self._ahead.close()
            self._ahead = None

    def batch(self, position: int, batch_rows: int, rank: int = 0, world_size: int = 1) -> tuple[Batch, int]:
        """The rows of one step, and the position of the next step.

        Args:
            position: 0 at the beginning.
            batch_rows: rows of the whole step.
            rank: index of this process among ``world_size``. It gets every ``world_size``-th row.
        """
        rows, position = self.rows(position, batch_rows)
        return make_batch(rows[rank::world_size], self.row_tokens), position

    def rows(self, position: int, num_rows: int) -> tuple[list[list[np.ndarray]], int]:
        """``num_rows`` rows from a position on, as pieces, and the position after them."""
        number, row = position >> _ROW_BITS, position & ((1 << _ROW_BITS) - 1)
        found: list[list[np.ndarray]] = []
        while len(found) < num_rows:
            window = self.window(number)
            taken = range(row, min(len(window), row + num_rows - len(found)))
            found += [window.row(each) for each in taken]
            number, row = (number, taken.stop) if taken.stop < len(window) else (number + 1, 0)
        return found, number << _ROW_BITS | row

    def epoch(self, epoch: int = 0) -> Iterator[list[np.ndarray]]:
        """All rows of an epoch."""
        for number in range(epoch * self.num_windows, (epoch + 1) * self.num_windows):
            window = self.window(number)
            yield from (window.row(row) for row in range(len(window)))

    def utilisation(self, position: int) -> float:
        """Share of tokens that are not padding, in the rows of this position's window, (0, 1]."""
        window = self.window(position >> _ROW_BITS)
        return window.num_used / max(1, len(window) * self.row_tokens)

    def num_rows_of_an_epoch(self) -> int:
        """Estimated number of rows per epoch, from the first window. Exact if there is only one window."""
        window = self.window(0)
        return round(len(window) * self._epoch_tokens / max(1, len(window.tokens)))

    def make_window(self, number: int) -> Window:
        """Makes a window by its number."""
        epoch, place = divmod(number, self.num_windows)
        if self._portions:
            tokens, starts = _joined([self._portion_of(each, number) for each in (self._own, *self._portions)])
        else:
            tokens, starts = self._tokens_of(self._groups(epoch, place))
        random = np.random.default_rng([self._seed, epoch, place])
        parts, parts_of, cut = cut_documents(
            tokens, starts, self._documents.vocabulary, self.row_tokens - 1, self._drops, random
        )
        ends = np.concatenate([[0], np.cumsum(parts[:, 1] - parts[:, 0] + parts[:, 3] - parts[:, 2])])
        pieces_Q3 = pack(ends, parts_of, random.permutation(len(parts_of) - 1), self.row_tokens)
        pieces_Q3 = pieces_Q3[np.argsort(pieces_Q3[:, 0], kind="stable")]
        num_rows = int(pieces_Q3[-1, 0]) + 1 if len(pieces_Q3) else 0
        return Window(
            tokens=tokens,
            parts_P4=parts,
            pieces_Q2=pieces_Q3[:, 1:],
            row_starts=np.searchsorted(pieces_Q3[:, 0], np.arange(num_rows + 1)),
            order=random.permutation(num_rows),
            num_used=int(ends[-1]) + len(pieces_Q3),
            num_captions_cut=cut[0],
            num_texts_cut=cut[1],
        )

    def _groups(self, epoch: int, place: int) -> np.ndarray:
        """The row groups of a window: those whose middle lies in the window's share of the shuffled tokens."""
        sizes = self._documents.group_tokens
        order = np.random.default_rng([self._seed, epoch]).permutation(np.flatnonzero(sizes))
        middles = np.cumsum(sizes[order]) - sizes[order] / 2
        places = (middles * self.num_windows / self._documents.num_tokens).astype(np.int64)
        return np.sort(order[places == place])

    def _portion_of(self, portion: Portion, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The documents of a portion for a window. The passes over the portion are laid end to end, and the window
        takes the documents whose middle lies in its share. Row groups are shuffled anew for each pass."""
        documents, size = portion.documents, portion.share * self._epoch_tokens / self.num_windows
        found, total = [], documents.num_tokens
        for turn in range(int(number * size // total), int((number + 1) * size // total) + 1):
            low, high = number * size - turn * total, (number + 1) * size - turn * total
            order = np.random.default_rng([self._seed, turn, documents.seed_part]).permutation(
                np.flatnonzero(documents.group_tokens)
            )
            ends = np.cumsum(documents.group_tokens[order])
            for group, end in zip(order.tolist(), ends.tolist()):
                begin = end - int(documents.group_tokens[group])
                if end > low and begin < high:
                    tokens, starts = documents.read(np.array([group]))
                    middles = begin + (starts[:-1] + starts[1:]) / 2
                    first, last = np.searchsorted(middles, [low, high]).tolist()
                    found.append((tokens[starts[first] : starts[last]], starts[first : last + 1] - starts[first]))
        return _joined(found)

    def _tokens_of(self, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of row groups. Rereads them unless they equal those of the previous window, so a small corpus is
        read once."""
        if self._read is None or not np.array_equal(self._read[0], groups):
            self._read = None
            self._read = (groups, self._documents.read(groups))
        return self._read[1]


def _joined(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Concatenated tokens of documents, and the offset of each document, with the end."""
    if len(parts) == 1:
        return parts[0]
    offsets = np.cumsum([0, *(len(tokens) for tokens, _ in parts)])
    starts = [starts[:-1] + offset for (_, starts), offset in zip(parts, offsets)]
    tokens = np.concatenate([np.empty(0, np.int32), *(tokens for tokens, _ in parts)])
    return tokens, np.concatenate([*starts, [offsets[-1]]])


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
