"""Prompts: the beginning of a document, with texts and images in order, and the kind of item to generate.

A text directly before an image of the prompt, or before the image to generate, becomes its caption. Any other text
remains a text. A generated text is the caption of the image at the end of the prompt, or continues the text there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

from gobelin.errors import UserError
from gobelin.tokenize.sequence import ImageItem
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.vocabulary import (
    CAPTION_OF_NEXT,
    CAPTION_OF_PREVIOUS,
    END_OF_IMAGE,
    TEXT,
    TEXT_MARKS,
    Vocabulary,
    find_codebooks,
)

Make = Literal["picture", "text", "both"]
"""What is to follow a prompt: a picture; the rest of a text, or a caption; texts and pictures as the model likes."""

MAKES: tuple[Make, ...] = get_args(Make)

Part = str | ImageItem
"""A text, or a picture, with the caption that the model has written behind it."""

ROOM_FOR_TEXT = 64
"""Tokens that a long prompt leaves for a text, where the context has four times as many; else a quarter of it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as tokens."""

    tokens: list[int]  # what follows <|document|>
    make: Make
    notes: list[str]  # what was left out of it, in words

    @property
    def ends(self) -> Literal["document", "item"]:
        """The field ``ends`` of ``Request``."""
        return "document" if self.make == "both" else "item"


def what_to_make(parts: Sequence[Part]) -> Make:
    """The most likely request of a prompt: an image after a text, a caption after an image; otherwise anything."""
    if not parts:
        return "both"
    return "picture" if isinstance(parts[-1], str) else "text"


def asked_codebook(vocabulary: Vocabulary, asked: str) -> int:
    """The codebook that ``sample.grid`` names; the first, if it names several. Raises UserError if there is none."""
    try:
        return find_codebooks(vocabulary.codebooks, asked)[0]
    except UserError as error:
        raise UserError(f"sample.grid: {error}") from None


def codebook_to_draw(parts: Sequence[Part], vocabulary: Vocabulary, asked: str | None) -> int:
    """The codebook, and so the grid, of an image that follows these parts: the requested one, or else the codebook of
    the last image among the parts, or else the first codebook.

    Args:
        asked: ``sample.grid``.
    """
    if asked is not None:
        return asked_codebook(vocabulary, asked)
    return next((part.codebook for part in reversed(parts) if isinstance(part, ImageItem)), 0)


def build_prompt(
    parts: Sequence[Part], make: Make, context: int, vocabulary: Vocabulary, text_tokenizer: TextTokenizer,
    *, codebook: int = 0,
) -> Prompt:  # fmt: skip
    """The tokens of a prompt, and of the opening of the item to generate.

    Args:
        context: largest number of tokens in a document, including generated ones. If the prompt is too long, its first
            items are dropped. If one item is too long by itself, a text is truncated.
        codebook: of the image to generate.

    Raises:
        UserError: the image to generate, or an image of the prompt, does not fit into the context.
    """
    parts = [part for part in parts if part != ""]
    num_codes = vocabulary.codebooks[codebook].tokens_per_image
    room = context - 2  # the document's own two
    if make == "picture" or (make == "both" and context > 2 * (num_codes + 4)):
        room -= num_codes + 2
    else:
        room -= min(ROOM_FOR_TEXT, context // 4)
    if room < 0:
        raise UserError(
            f"a picture has {num_codes} tokens and the context {context}: there is no room for one "
            "(a model with a larger train.row_tokens has)"
        )
    items = _items(parts, make, vocabulary, text_tokenizer)
    notes = []
    asked = sum(map(len, items))
    first = 0
    while first < len(items) - 1 and sum(map(len, items[first:])) > room:
        first += 1
    if first:
        notes.append(
            f"the prompt has {asked:,} tokens; the context of {context:,} holds {room:,} beside what is to follow: "
            f"the first {'item is' if first == 1 else f'{first} items are'} left out"
        )
    items = items[first:]
    if items and len(items[0]) > room:
        length = len(items[0])
        items = [_shortened(items[0], room, make, vocabulary)]
        notes.append(f"the last item has {length:,} tokens, and only {len(items[0]):,} fit, so it is shortened")
    opening = _opening(parts, make, vocabulary, codebook)
    return Prompt([token for item in items for token in item] + opening, make, notes)


def _items(parts: Sequence[Part], make: Make, vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> list[list[int]]:
    """The tokens of each item of the prompt. A caption and its image are one item."""
    items: list[list[int]] = []
    caption: list[int] = []
    for index, part in enumerate(parts):
        if isinstance(part, str):
            ids = [vocabulary.text_offset + token for token in text_tokenizer.encode(part)]
            is_last = index == len(parts) - 1
            asks_for_caption = make == "text" and index == len(parts) - 2
            if make == "picture" if is_last else not (isinstance(parts[index + 1], str) or asks_for_caption):
                caption = [CAPTION_OF_NEXT, *ids]
            else:
                items.append([TEXT, *ids])
            continue
        codes = [vocabulary.image_offsets[part.codebook] + code for code in part.codes]
        picture = [*caption, vocabulary.image_begins[part.codebook], *codes, END_OF_IMAGE]
        if part.caption is not None and not caption:
            ids = [vocabulary.text_offset + token for token in text_tokenizer.encode(part.caption)]
            picture += [CAPTION_OF_PREVIOUS, *ids]
        items.append(picture)
        caption = []
    return [*items, caption] if caption else items


def _opening(parts: Sequence[Part], make: Make, vocabulary: Vocabulary, codebook: int) -> list[int]:
    """The tokens that open the item to generate."""
    if make == "picture":
        return [vocabulary.image_begins[codebook]]
    last = parts[-1] if parts else None
    if make == "both" or isinstance(last, str):
        return []
    return [CAPTION_OF_PREVIOUS] if isinstance(last, ImageItem) and last.caption is None else [TEXT]


def _shortened(item: Sequence[int], room: int, make: Make, vocabulary: Vocabulary) -> list[int]:
    """The part of an item that fits: the beginning of a caption, the end of a text, a whole image."""
    is_word = [vocabulary.text_offset <= token < vocabulary.image_offset for token in item]
    excess = len(item) - room
    words = [index for index, each in enumerate(is_word) if each]
    if len(words) <= excess:  # nothing is left of the caption, so its mark goes, too
        picture = [token for token, each in zip(item, is_word) if not each and token not in TEXT_MARKS]
        if len(picture) > room:
            raise UserError(f"a picture of the prompt has {len(picture)} tokens, and {room} fit into the context")
        return picture
    dropped = set(words[:excess] if item[0] == TEXT else words[-excess:])
    return [token for index, token in enumerate(item) if index not in dropped]
