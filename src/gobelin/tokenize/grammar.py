"""The grammar of a mixed token sequence: taking a document's tokens apart, and writing one that is well formed.

    document = <|document|> item* <|end_of_document|>
    item     = <|text|> text-id*
             | [<|caption_of_next|> text-id+] image
             | image <|caption_of_previous|> text-id+
    image    = <|image|> image-id{N} <|end_of_image|>         N = rows x columns of the code grid, always

``parse`` validates a whole sequence at the cost of one pass over its special tokens. ``DocumentWriter`` says which
tokens may come next, given that the document must also be closed within a budget of tokens; whatever is chosen
among them, the result parses. No torch in here.
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
    IMAGE,
    SPECIAL_TOKENS,
    TEXT,
    Vocabulary,
)


@dataclasses.dataclass(frozen=True, slots=True)
class ItemRange:
    """Where one item stands in a document's tokens. Ranges are half open and exclude special tokens."""

    start: int  # of the item, its special tokens included
    stop: int
    text: tuple[int, int] | None  # a text item's text, or an image item's caption
    codes: tuple[int, int] | None  # None: a text item
    caption_first: bool = False  # the caption stands before the image


def parse(tokens: Sequence[int] | np.ndarray, vocabulary: Vocabulary) -> list[ItemRange]:
    """The items of one whole document. Raises ValueError where the sequence breaks the grammar."""
    ids = np.asarray(tokens, dtype=np.int64)
    if len(ids) < 2 or ids[0] != DOCUMENT or ids[-1] != END_OF_DOCUMENT:
        raise ValueError(f"not a document: it must open with {SPECIAL_TOKENS[1]} and close with {SPECIAL_TOKENS[2]}")
    if ids.min() < 0 or ids.max() >= vocabulary.size:
        raise ValueError(f"token {ids.min()} or {ids.max()} is outside the vocabulary's [0, {vocabulary.size})")
    marks = np.flatnonzero(ids < vocabulary.text_offset)
    kinds = ids[marks].tolist()
    ends = [*marks[1:].tolist(), len(ids)]
    contents = [(int(mark) + 1, end) for mark, end in zip(marks, ends)]
    images_before = np.concatenate([[0], np.cumsum(ids >= vocabulary.image_offset)])

    def fail(index: int, rule: str) -> ValueError:
        return ValueError(f"token {marks[index]}, {SPECIAL_TOKENS[kinds[index]]}: {rule}")

    items: list[ItemRange] = []
    caption: tuple[int, int] | None = None  # waits for the image that follows it
    for index, (kind, (start, stop)) in enumerate(zip(kinds, contents)):
        num_codes = int(images_before[stop] - images_before[start])
        if num_codes not in ((0, stop - start) if kind == IMAGE else (0,)):
            raise fail(index, f"is followed by {num_codes} image tokens among {stop - start}")
        if caption is not None and kind != IMAGE:
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
        elif kind == IMAGE:
            if num_codes != vocabulary.tokens_per_image or kinds[index + 1] != END_OF_IMAGE:
                raise fail(index, f"{num_codes} image tokens, not {vocabulary.tokens_per_image} and an end of image")
            first = start - 1 if caption is None else caption[0] - 1
            items.append(ItemRange(first, stop + 1, caption, (start, stop), caption is not None))
            caption = None
        elif kind == END_OF_IMAGE:
            if kinds[index - 1] != IMAGE or start != stop:
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
    """What may come next: these special tokens, any text token, any image token."""

    special: tuple[int, ...]
    text: bool
    image: bool


class DocumentWriter:
    """Writes one document token by token and knows what the grammar and the budget still allow."""

    def __init__(self, vocabulary: Vocabulary, max_tokens: int) -> None:
        if max_tokens < 2:
            raise ValueError(f"max_tokens must be at least 2 (an empty document), got {max_tokens}")
        self.tokens: list[int] = [DOCUMENT]
        self._vocabulary = vocabulary
        self._max_tokens = max_tokens
        self._state = _State.BETWEEN
        self._filled = 0  # ids written in the present caption or image
        self._captioned = False  # the present image has its caption before it

    @property
    def done(self) -> bool:
        """The document is closed."""
        return self._state is _State.DONE

    def allowed(self) -> Allowed:
        """What may come next. Never empty before the document is done."""
        choices = (END_OF_DOCUMENT, IMAGE, END_OF_IMAGE, TEXT, CAPTION_OF_NEXT, CAPTION_OF_PREVIOUS)
        text_id, image_id = self._vocabulary.text_offset, self._vocabulary.image_offset
        return Allowed(
            special=tuple(token for token in choices if self._fits(token)),
            text=self._fits(text_id),
            image=self._fits(image_id),
        )

    def append(self, token: int) -> None:
        """Write one token. Raises ValueError where it is not allowed."""
        if not 0 <= token < self._vocabulary.size or not self._fits(token):
            raise ValueError(f"token {token} is not allowed {self._state.value}, after {len(self.tokens)} tokens")
        if token == IMAGE:
            self._captioned = self._state is _State.CAPTION_NEXT
        self._state, self._filled = self._after(token)  # type: ignore[misc]  # _fits has checked it
        self.tokens.append(token)

    def _fits(self, token: int) -> bool:
        following = self._after(token)
        return following is not None and len(self.tokens) + 1 + self._closing_tokens(*following) <= self._max_tokens

    def _after(self, token: int) -> tuple[_State, int] | None:
        """The state after this token and how far its caption or image is, or None where it breaks the grammar."""
        state, filled = self._state, self._filled
        num_codes = self._vocabulary.tokens_per_image
        if token >= self._vocabulary.image_offset:
            return (state, filled + 1) if state is _State.CODES and filled < num_codes else None
        if token >= self._vocabulary.text_offset:
            return (state, 1) if state in (_State.TEXT, _State.CAPTION_NEXT, _State.CAPTION_PREVIOUS) else None
        if state is _State.CODES:
            ended = _State.BETWEEN if self._captioned else _State.AFTER_IMAGE
            return (ended, 0) if token == END_OF_IMAGE and filled == num_codes else None
        if state is _State.CAPTION_NEXT:
            return (_State.CODES, 0) if token == IMAGE and filled else None
        if state is _State.DONE or (state is _State.CAPTION_PREVIOUS and not filled):
            return None
        if token == CAPTION_OF_PREVIOUS:
            return (_State.CAPTION_PREVIOUS, 0) if state is _State.AFTER_IMAGE else None
        openings = {
            END_OF_DOCUMENT: _State.DONE,
            TEXT: _State.TEXT,
            IMAGE: _State.CODES,
            CAPTION_OF_NEXT: _State.CAPTION_NEXT,
        }
        return (openings[token], 0) if token in openings else None

    def _closing_tokens(self, state: _State, filled: int) -> int:
        """The fewest tokens that close the document from this state."""
        image = self._vocabulary.tokens_per_image + 1  # its codes and their end
        match state:
            case _State.DONE:
                return 0
            case _State.CODES:
                return image - filled + 1
            case _State.CAPTION_NEXT:
                return (0 if filled else 1) + 1 + image + 1
            case _State.CAPTION_PREVIOUS:
                return (0 if filled else 1) + 1
            case _:
                return 1
