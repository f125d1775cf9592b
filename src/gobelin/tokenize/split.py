"""Cuts documents that are longer than a sequence between items, and cuts a text only if it must.

An item goes whole into the current sequence, or opens the next one. Only a text that is longer than a sequence is cut:
after a sentence, or else before a space, or else anywhere. Its pieces together are the text. An image is never cut. If
a caption leaves no room for its image, the caption is shortened. Only this loses anything, and a decision says so.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence

from gobelin.tokenize.sequence import (
    EncodedItem,
    ImageItem,
    ImageSpan,
    Item,
    TextItem,
    check_tokenizer,
    encode_item,
    join_items,
)
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.vocabulary import Vocabulary

AROUND = 2
"""Number of tokens that enclose the items of a sequence: ``<|document|>`` and ``<|end_of_document|>``."""

MIN_TEXT_ROOM = 16
"""Minimum room for text in a sequence, in tokens. Any character fits into four."""

_CHARACTERS_A_TOKEN = 8
"""Characters of a text that are encoded to find where to cut it, per token of room."""

_SENTENCE_END = re.compile(r"[.!?…][\"'”’»)\]]*(?=\s)|[。！？｡][」』”’]*|(?=\n)")
_SPACE = re.compile(r"(?<=\S)(?=\s)")


@dataclasses.dataclass(frozen=True, slots=True)
class TokenSequence:
    """One row of a token shard."""

    tokens: list[int]
    spans: list[ImageSpan]
    longest_image: int  # tokens of the longest image with its caption and what encloses them; 0: no image


@dataclasses.dataclass(frozen=True, slots=True)
class Shortened:
    """A caption that was shortened to make room for its image."""

    item: int  # index of the image in the items
    num_tokens: int  # of the image with its full caption


def least_max_tokens(vocabulary: Vocabulary) -> int:
    """The smallest valid ``max_tokens``: room for one image, or for ``MIN_TEXT_ROOM`` tokens of text."""
    return max(vocabulary.max_tokens_per_image + 2, MIN_TEXT_ROOM) + AROUND


def encode_sequences(
    doc_id: str, items: Sequence[Item], vocabulary: Vocabulary, text_tokenizer: TextTokenizer, max_tokens: int | None
) -> tuple[list[TokenSequence], list[Shortened]]:
    """The sequences of a document, in its order, and the captions that were shortened. Without a maximum length there
    is one sequence.

    Args:
        doc_id: id of the document.
        items: its texts and images.
        vocabulary: ids of all tokens.
        text_tokenizer: the one of the vocabulary.
        max_tokens: maximum length of a sequence, at least ``least_max_tokens``; None: no maximum.

    Raises:
        ValueError: as for ``encode_document``, or ``max_tokens`` is too small.
    """
    check_tokenizer(vocabulary, text_tokenizer)
    if max_tokens is not None and max_tokens < least_max_tokens(vocabulary):
        raise ValueError(f"max_tokens must be at least {least_max_tokens(vocabulary)}, got {max_tokens}")
    room = None if max_tokens is None else max_tokens - AROUND
    sequences: list[TokenSequence] = []
    shortened: list[Shortened] = []
    held: list[EncodedItem] = []
    num_held = 0
    for index, item in enumerate(items):
        encoded = encode_item(doc_id, index, item, vocabulary, text_tokenizer)
        fitting = [encoded]
        if room is not None and len(encoded.tokens) > room:
            if isinstance(item, ImageItem):
                shortened.append(Shortened(index, len(encoded.tokens)))
            smaller = _fitting(item, len(encoded.tokens), room, text_tokenizer)
            fitting = [encode_item(doc_id, index, each, vocabulary, text_tokenizer) for each in smaller]
        for each in fitting:
            if room is not None and num_held + len(each.tokens) > room:
                sequences.append(_sequence(held))
                held, num_held = [], 0
            held.append(each)
            num_held += len(each.tokens)
    return [*sequences, _sequence(held)], shortened


def _sequence(items: Sequence[EncodedItem]) -> TokenSequence:
    longest = max((len(item.tokens) for item in items if item.span is not None), default=0)
    return TokenSequence(*join_items(items), longest)


def _fitting(item: Item, num_tokens: int, room: int, text_tokenizer: TextTokenizer) -> Iterator[Item]:
    """The pieces of an item that has more tokens than ``room``."""
    if isinstance(item, TextItem):
        yield from (TextItem(piece) for piece in cut_text(item.text, room - 1, text_tokenizer))
        return
    assert item.caption is not None  # an image alone fits
    for_caption = len(text_tokenizer.encode(item.caption)) - (num_tokens - room)
    kept = next(cut_text(item.caption, for_caption, text_tokenizer)) if for_caption >= MIN_TEXT_ROOM else None
    yield dataclasses.replace(item, caption=kept)


def cut_text(text: str, room: int, text_tokenizer: TextTokenizer) -> Iterator[str]:
    """Cuts a text into pieces of at most ``room`` tokens (4 or more). Joined, the pieces are the text."""
    while text:
        head = text[: room * _CHARACTERS_A_TOKEN]
        limit = _characters_within(head, room, text_tokenizer)
        if limit == len(text):
            yield text
            return
        cut = _place_to_cut(head, limit)
        while len(text_tokenizer.encode(head[:cut])) > room:  # a part may have other tokens than the whole
            cut = _place_to_cut(head, max(1, cut * 7 // 8))
        yield head[:cut]
        text = text[cut:]


def _characters_within(text: str, room: int, text_tokenizer: TextTokenizer) -> int:
    """Number of characters whose bytes are all in the first ``room`` tokens of a text; at least 1."""
    first = text_tokenizer.encode(text)[:room]
    return max(1, len(b"".join(text_tokenizer.token_bytes[token] for token in first).decode(errors="ignore")))


def _place_to_cut(text: str, limit: int) -> int:
    """The last sentence end, otherwise the last space, in the second half of the first ``limit`` characters; otherwise
    ``limit``."""
    for pattern in (_SENTENCE_END, _SPACE):
        places = [found.end() for found in pattern.finditer(text[: limit + 1]) if limit // 2 < found.end() <= limit]
        if places:
            return places[-1]
    return limit
