"""Turns documents into rows: splits items that are too long, and packs items into rows.

    documents --cut--> parts, none longer than a row --pack--> pieces: runs of parts, each in one row

``batches.py`` describes the rows.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from gobelin.tokenize.vocabulary import CAPTION_OF_NEXT, END_OF_DOCUMENT, END_OF_IMAGE, TEXT, Vocabulary

OPEN_ROWS = 64  # rows that are filled at a time


@dataclasses.dataclass(frozen=True, slots=True)
class Drops:
    """Probabilities of dropping parts of a document, drawn anew each epoch."""

    caption: float  # one before its image
    text: float  # all texts and captions of a document with images
    context: float  # the caption of an image, and what comes before it in its document


def cut_documents(
    tokens: np.ndarray,
    starts: np.ndarray,
    vocabulary: Vocabulary,
    room: int,
    drops: Drops,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Cuts documents into parts of at most ``room`` tokens. The end token joins a document's last part if it fits.

    Returns:
        The parts, each as two ranges of the tokens, (P, 4).
        The index of the first part of each piece, and the end. A piece is a document, or begins at an image whose
            context
        was dropped.
        The numbers of truncated captions and of split texts.
    """
    marks = np.flatnonzero(tokens < vocabulary.text_offset)
    kinds = tokens[marks]
    begins = np.isin(kinds, vocabulary.image_begins)
    follows_caption = np.concatenate([[False], kinds[:-1] == CAPTION_OF_NEXT])
    opens = (kinds == TEXT) | (kinds == CAPTION_OF_NEXT) | (begins & ~follows_caption)
    bounds = np.flatnonzero(opens | (kinds == END_OF_DOCUMENT))
    first, following = bounds[:-1][opens[bounds[:-1]]], bounds[1:][opens[bounds[:-1]]]
    has_caption = np.flatnonzero(kinds[first] == CAPTION_OF_NEXT)
    begin, stop = marks[first], marks[following]
    dropped = has_caption[random.random(len(has_caption)) < drops.caption]
    begin[dropped] = marks[first[dropped] + 1]
    alone = np.empty(0, np.int64)  # where images stand that have no context
    if drops.context:
        is_alone = (kinds[first] != TEXT) & (random.random(len(first)) < drops.context)
        without = np.flatnonzero(is_alone & (kinds[first] == CAPTION_OF_NEXT))
        begin[without] = marks[first[without] + 1]
        alone = begin[is_alone]
    if drops.text:
        begin, stop = _without_texts(tokens, starts, begin, stop, vocabulary, drops.text, random)
    parts = np.stack([begin, stop, stop, stop], 1)
    counts = np.ones(len(parts), np.int64)
    long = np.flatnonzero(stop - begin > room)
    made = [_cut_item(tokens[begin[each] : stop[each]], vocabulary, room) + begin[each] for each in long]
    counts[long] = list(map(len, made))
    document = np.repeat(np.searchsorted(starts, begin, side="right") - 1, counts)
    parts = np.repeat(parts, counts, axis=0)
    for place, each in zip(np.cumsum(counts)[long], made):
        parts[place - len(each) : place] = each
    parts_of = np.searchsorted(document, np.arange(len(starts)))
    _add_ends(parts, parts_of, starts, room)
    parts_of = np.union1d(parts_of, np.flatnonzero(np.isin(parts[:, 0], alone))) if len(alone) else parts_of
    num_texts = int((tokens[begin[long]] == TEXT).sum())
    return parts, parts_of, (len(long) - num_texts, num_texts)


def _without_texts(
    tokens: np.ndarray,
    starts: np.ndarray,
    begin: np.ndarray,
    stop: np.ndarray,
    vocabulary: Vocabulary,
    share: float,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Items, as ranges of the tokens, without the texts and captions of a random share of the documents with images."""
    document = np.searchsorted(starts, begin, side="right") - 1
    is_text = tokens[begin] == TEXT
    shows = np.bincount(document[~is_text], minlength=len(starts) - 1) > 0
    is_bare = ((random.random(len(starts) - 1) < share) & shows)[document]
    kept = ~(is_bare & is_text)
    begin, stop, is_bare = begin[kept].copy(), stop[kept].copy(), is_bare[kept]
    for each in np.flatnonzero(is_bare):
        item = tokens[begin[each] : stop[each]]
        end = int(np.flatnonzero(item == END_OF_IMAGE)[0]) + 1
        image = int(np.flatnonzero(np.isin(item, vocabulary.image_begins))[0])
        begin[each], stop[each] = begin[each] + image, begin[each] + end
    return begin, stop


def _add_ends(parts: np.ndarray, parts_of: np.ndarray, starts: np.ndarray, room: int) -> None:
    """Adds the end token of each document to its last part, if it fits."""
    last, end = parts_of[1:] - 1, starts[1:] - 1
    sizes = parts[last, 1] - parts[last, 0] + parts[last, 3] - parts[last, 2]
    fits = (sizes < room) & (parts_of[1:] > parts_of[:-1])
    last, end = last[fits], end[fits]
    extends = parts[last, 3] == end
    parts[last[extends], 3] += 1
    parts[last[~extends], 2], parts[last[~extends], 3] = end[~extends], end[~extends] + 1


def _cut_item(item: np.ndarray, vocabulary: Vocabulary, room: int) -> np.ndarray:
    """The parts of an item longer than ``room``, as ranges of its tokens. A text becomes several parts, each with its
    mark. An image becomes one part, with as much of its caption as fits."""
    excess, stop = len(item) - room, len(item)
    if item[0] == TEXT:
        return np.array([[0, 1, start, min(stop, start + room - 1)] for start in range(1, stop, room - 1)])
    if item[0] == CAPTION_OF_NEXT:
        image = int(np.flatnonzero(np.isin(item, vocabulary.image_begins))[0])
        return np.array([[0, image - excess, image, stop] if image - excess > 1 else [image, stop, stop, stop]])
    end = int(np.flatnonzero(item == END_OF_IMAGE)[0]) + 1
    kept = stop - excess if stop - excess > end + 1 else end
    return np.array([[0, kept, kept, kept]])


def pack(ends: np.ndarray, parts_of: np.ndarray, order: np.ndarray, row_tokens: int) -> np.ndarray:
    """Packs pieces of documents into rows. Returns (row, first part, part after the last) of each piece, (Q, 3).

    Args:
        ends: cumulative number of tokens before each part, and of all.
        parts_of: first part of each document, and the end.
        order: in which documents are packed.
    """
    pieces: list[tuple[int, int, int]] = []
    free = np.zeros(OPEN_ROWS, np.int64)  # tokens left in the rows that still take pieces
    rows = np.zeros(OPEN_ROWS, np.int64)  # their numbers
    num_rows = 0
    ends_list = ends.tolist()
    for start, stop in zip(parts_of[order].tolist(), parts_of[order + 1].tolist()):
        while start < stop:
            left = 1 + ends_list[stop] - ends_list[start]
            if left <= row_tokens:  # the rest fits a row, so it stays whole
                slot, piece_stop = _least(free, left), stop
            else:
                slot, piece_stop = _longest(free, ends, start, stop)
            if slot < 0:
                slot = int(free.argmin())  # the fullest row takes no more
                free[slot], rows[slot] = row_tokens, num_rows
                num_rows += 1
                if left > row_tokens:
                    piece_stop = int(np.searchsorted(ends, row_tokens - 1 + ends_list[start], side="right")) - 1
            pieces.append((int(rows[slot]), start, piece_stop))
            free[slot] -= 1 + ends_list[piece_stop] - ends_list[start]
            start = piece_stop
    return np.array(pieces, np.int64).reshape(-1, 3)


def _least(free: np.ndarray, size: int) -> int:
    """The open row with the least room for ``size`` tokens; -1 if there is none."""
    room = np.where(free >= size, free, np.iinfo(np.int64).max)
    slot = int(room.argmin())
    return slot if free[slot] >= size else -1


def _longest(free: np.ndarray, ends: np.ndarray, start: int, stop: int) -> tuple[int, int]:
    """The open row where the longest run of parts leaves the least room, and the end of that run; -1 if there is
    none."""
    room = free - 1 + ends[start]
    stops = np.minimum(np.searchsorted(ends, room, side="right") - 1, stop)
    left = np.where(stops > start, room - ends[stops], np.iinfo(np.int64).max)
    slot = int(left.argmin())
    return (slot, int(stops[slot])) if stops[slot] > start else (-1, start)
