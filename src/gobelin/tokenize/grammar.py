"""The grammar of a mixed token sequence. Parses a document's tokens, and writes a well-formed document.

    document = <|document|> item* <|end_of_document|>
    item     = <|text|> text-id*
             | [<|caption_of_next|> text-id+] image
             | image <|caption_of_previous|> text-id+
    image    = begin-of-image image-id{N} <|end_of_image|>

There is one begin-of-image token per codebook. It determines the range of the image ids and N, which is rows x columns
of the codebook's grid.

``parse`` validates a whole sequence in one pass over its special tokens. ``DocumentWriter`` returns the tokens that may
come next such that the document can still be closed within a token budget. Any choice among them gives a sequence that
parses. This module does not import torch.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

import numpy as np

from gobelin.tokenize.vocabulary import (
    CAPTION_OF_NEXT,
    CAPTION_OF_PREVIOUS,
    DOCUMENT,
    END_OF_DOCUMENT,
    END_OF_IMAGE,
    TEXT,
    Vocabulary,
)


@dataclasses.dataclass(frozen=True, slots=True)
class ItemRange:
    """The position of an item in a document's tokens. Ranges are half open and exclude special tokens."""

    start: int  # of the item, including its special tokens
    stop: int
    text: tuple[int, int] | None  # a text item's text, or an image item's caption
    codes: tuple[int, int] | None  # None: a text item
    caption_first: bool = False  # the caption precedes the image
    codebook: int = 0  # index of the image's codebook in the vocabulary


def parse(tokens: Sequence[int] | np.ndarray, vocabulary: Vocabulary) -> list[ItemRange]:
    """The items of one whole document. Raises ValueError if the sequence breaks the grammar."""
    ids, names, codebooks = np.asarray(tokens, dtype=np.int64), vocabulary.special_tokens, vocabulary.codebook_of_begin
    if len(ids) < 2 or ids[0] != DOCUMENT or ids[-1] != END_OF_DOCUMENT:
        raise ValueError(f"not a document: it must open with {names[DOCUMENT]} and close with {names[END_OF_DOCUMENT]}")
    if ids.min() < 0 or ids.max() >= vocabulary.size:
        raise ValueError(f"token {ids.min()} or {ids.max()} is outside the vocabulary's [0, {vocabulary.size})")
    marks = np.flatnonzero(ids < vocabulary.text_offset)
    kinds = ids[marks].tolist()
    ends = [*marks[1:].tolist(), len(ids)]
    contents = [(int(mark) + 1, end) for mark, end in zip(marks, ends)]
    images_before = np.concatenate([[0], np.cumsum(ids >= vocabulary.image_offset)])

    def fail(index: int, rule: str) -> ValueError:
        return ValueError(f"token {marks[index]}, {names[kinds[index]]}: {rule}")

    items: list[ItemRange] = []
    caption: tuple[int, int] | None = None  # waits for the image that follows it
    for index, (kind, (start, stop)) in enumerate(zip(kinds, contents)):
        num_codes, codebook = int(images_before[stop] - images_before[start]), codebooks.get(kind)
        if num_codes not in ((0, stop - start) if codebook is not None else (0,)):
            raise fail(index, f"is followed by {num_codes} image tokens among {stop - start}")
        if caption is not None and codebook is None:
            raise fail(index, "stands between a caption of the next image and that image")
        if kind == TEXT:
            items.append(ItemRange(start - 1, stop, (start, stop), None))
        elif kind in (CAPTION_OF_NEXT, CAPTION_OF_PREVIOUS) and start == stop:
            raise fail(index, "is followed by no text")
        elif kind == CAPTION_OF_NEXT:
            caption = (start, stop)
        elif kind == CAPTION_OF_PREVIOUS:
            if kinds[index - 1] != END_OF_IMAGE or items[-1].text is not None:
                raise fail(index, "does not follow an image that still has no caption")
            items[-1] = dataclasses.replace(items[-1], stop=stop, text=(start, stop))
        elif codebook is not None:
            expected, codes = vocabulary.codebooks[codebook].tokens_per_image, vocabulary.image_range(codebook)
            if num_codes != expected or kinds[index + 1] != END_OF_IMAGE:
                raise fail(index, f"{num_codes} image tokens, not {expected} and an end of image")
            if ids[start:stop].min() < codes.start or ids[start:stop].max() >= codes.stop:
                raise fail(index, f"is followed by image tokens of another codebook than {codes.start} to {codes.stop}")
            first = start - 1 if caption is None else caption[0] - 1
            items.append(ItemRange(first, stop + 1, caption, (start, stop), caption is not None, codebook))
            caption = None
        elif kind == END_OF_IMAGE:
            if kinds[index - 1] not in codebooks or start != stop:
                raise fail(index, "must follow an image, and a special token must follow it")
        elif kind == DOCUMENT:
            if index or start != stop:
                raise fail(index, "may stand only at the start, and a special token must follow it")
        elif kind != END_OF_DOCUMENT or index != len(kinds) - 1:
            raise fail(index, "may not stand inside a document")
    return items


class _State(enum.Enum):
    BETWEEN = "between items"
    TEXT = "in a text"
    CAPTION_NEXT = "in a caption of the next image"
    CODES = "in an image"
    AFTER_IMAGE = "after an image without a caption"
    CAPTION_PREVIOUS = "in a caption of the previous image"
    DONE = "closed"


@dataclasses.dataclass(frozen=True, slots=True)
class Allowed:
    """The tokens that may come next: these special tokens, any text token, and any image token of one codebook."""

    special: tuple[int, ...]
    text: bool
    codebook: int | None  # None: no image token


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """The state of a document in the grammar."""

    state: _State
    filled: int = 0  # number of ids in the current caption or image
    codebook: int = 0  # of the current image


class DocumentWriter:
    """Writes one document token by token. It tracks which tokens the grammar and the token budget still allow."""

    def __init__(self, vocabulary: Vocabulary, max_tokens: int) -> None:
        if max_tokens < 2:
            raise ValueError(f"max_tokens must be at least 2 (an empty document), got {max_tokens}")
        self.tokens: list[int] = [DOCUMENT]
        self._vocabulary = vocabulary
        self._max_tokens = max_tokens
        self._place = _Place(_State.BETWEEN)
        self._captioned = False  # the caption of the current image precedes it

    @property
    def done(self) -> bool:
        """Whether the document is closed."""
        return self._place.state is _State.DONE

    def allowed(self) -> Allowed:
        """The tokens that may come next. There is at least one until the document is done."""
        begins, offsets = self._vocabulary.image_begins, self._vocabulary.image_offsets
        choices = (END_OF_DOCUMENT, *begins, END_OF_IMAGE, TEXT, CAPTION_OF_NEXT, CAPTION_OF_PREVIOUS)
        codebook = self._place.codebook
        if self._place.state is _State.CODES:  # an image is only begun if all of it fits
            is_whole = self._place.filled == self._vocabulary.codebooks[codebook].tokens_per_image
            return Allowed((END_OF_IMAGE,), False, None) if is_whole else Allowed((), False, codebook)
        return Allowed(
            special=tuple(token for token in choices if self._fits(token)),
            text=self._fits(self._vocabulary.text_offset),
            codebook=codebook if self._fits(offsets[codebook]) else None,
        )

    def append(self, token: int) -> None:
        """Appends one token. Raises ValueError if it is not allowed."""
        following = self._after(token) if 0 <= token < self._vocabulary.size else None
        if following is None or not self._fits(token):
            state = self._place.state.value
            raise ValueError(f"token {token} is not allowed {state}, after {len(self.tokens)} tokens")
        if token in self._vocabulary.codebook_of_begin:
            self._captioned = self._place.state is _State.CAPTION_NEXT
        self._place = following
        self.tokens.append(token)

    def _fits(self, token: int) -> bool:
        following = self._after(token)
        return following is not None and len(self.tokens) + 1 + self._closing_tokens(following) <= self._max_tokens

    def _after(self, token: int) -> _Place | None:
        """The state after this token, or None if it breaks the grammar."""
        place, vocabulary = self._place, self._vocabulary
        state, filled = place.state, place.filled
        num_codes = vocabulary.codebooks[place.codebook].tokens_per_image
        if token >= vocabulary.image_offset:
            is_next = state is _State.CODES and filled < num_codes and token in vocabulary.image_range(place.codebook)
            return dataclasses.replace(place, filled=filled + 1) if is_next else None
        if token >= vocabulary.text_offset:
            return _Place(state, 1) if state in (_State.TEXT, _State.CAPTION_NEXT, _State.CAPTION_PREVIOUS) else None
        if state is _State.CODES:
            ended = _State.BETWEEN if self._captioned else _State.AFTER_IMAGE
            return _Place(ended) if token == END_OF_IMAGE and filled == num_codes else None
        begun = vocabulary.codebook_of_begin.get(token)
        if state is _State.CAPTION_NEXT:
            return _Place(_State.CODES, 0, begun) if begun is not None and filled else None
        if state is _State.DONE or (state is _State.CAPTION_PREVIOUS and not filled):
            return None
        if begun is not None:
            return _Place(_State.CODES, 0, begun)
        if token == CAPTION_OF_PREVIOUS:
            return _Place(_State.CAPTION_PREVIOUS) if state is _State.AFTER_IMAGE else None
        openings = {END_OF_DOCUMENT: _State.DONE, TEXT: _State.TEXT, CAPTION_OF_NEXT: _State.CAPTION_NEXT}
        return _Place(openings[token]) if token in openings else None

    def _closing_tokens(self, place: _Place) -> int:
        """The minimum number of tokens that close the document from this state."""
        codebooks = self._vocabulary.codebooks
        match place.state:
            case _State.DONE:
                return 0
            case _State.CODES:
                return codebooks[place.codebook].tokens_per_image - place.filled + 2
            case _State.CAPTION_NEXT:  # a text token, an image with the two that enclose it, the end
                return (0 if place.filled else 1) + min(book.tokens_per_image for book in codebooks) + 3
            case _State.CAPTION_PREVIOUS:
                return (0 if place.filled else 1) + 1
            case _:
                return 1
