"""Converts a document to a mixed sequence of tokens, and back without loss.

A document is a list of items (texts, and images with their captions) in reading order; ``grammar.py`` defines the
grammar. For half of the images the caption precedes the image, and for the other half it follows. So the model learns
both to draw from a caption and to caption a picture. A hash of document id and item index decides, so a document always
gives the same tokens. Decoding returns every text byte for byte and every code. An empty caption and no caption are
equal.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from gobelin.tokenize.codebook import Codebook
from gobelin.tokenize.grammar import parse
from gobelin.tokenize.text_tokenizer import TextTokenizer
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
class TextItem:
    """A piece of text."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class ImageItem:
    """An image as codes, with its caption. An empty caption becomes None."""

    image_id: str | None  # None: the model generated it
    codes: tuple[int, ...]  # [0, K), raster order
    caption: str | None = None
    codebook: int = 0  # index in the vocabulary

    def __post_init__(self) -> None:
        if self.caption == "":
            object.__setattr__(self, "caption", None)


Item = TextItem | ImageItem


@dataclasses.dataclass(frozen=True, slots=True)
class ImageSpan:
    """The position of an image's codes in the tokens: a row of ``image_spans`` in ``TOKEN_SHARDS``."""

    start: int  # index of the first image token
    length: int  # image tokens
    image_id: str


def build_vocabulary(text_tokenizer: TextTokenizer, codebooks: Sequence[Codebook]) -> Vocabulary:
    """The vocabulary of sequences made with this text tokenizer and image tokenizers of these codebooks."""
    return Vocabulary(
        text_size=text_tokenizer.size,
        codebooks=tuple(codebooks),
        text_fingerprint=text_tokenizer.fingerprint,
        text_token_bytes=tuple(len(piece) for piece in text_tokenizer.token_bytes),
    )


def caption_first(doc_id: str, item_index: int) -> bool:
    """Whether this item's caption stands before its image. Probability 1/2, by hash."""
    digest = hashlib.blake2b(f"caption\n{doc_id}\n{item_index}".encode(), digest_size=8).digest()
    return digest[0] < 128


@dataclasses.dataclass(frozen=True, slots=True)
class EncodedItem:
    """An item's tokens, those that enclose it included."""

    tokens: tuple[int, ...]
    span: ImageSpan | None  # of an image; starts count from the item's first token


def encode_document(
    doc_id: str, items: Iterable[Item], vocabulary: Vocabulary, text_tokenizer: TextTokenizer
) -> tuple[list[int], list[ImageSpan]]:
    """The document's tokens and where its images stand.

    Raises:
        ValueError: the tokenizer is not the vocabulary's, an image is of no codebook of the vocabulary, has another
            number of codes than that codebook's grid or codes outside [0, K), or no ``image_id``.
    """
    check_tokenizer(vocabulary, text_tokenizer)
    return join_items(encode_item(doc_id, index, item, vocabulary, text_tokenizer) for index, item in enumerate(items))


def encode_item(
    doc_id: str, index: int, item: Item, vocabulary: Vocabulary, text_tokenizer: TextTokenizer
) -> EncodedItem:
    """The tokens of one item, the ``index``-th of its document. Raises ValueError as ``encode_document``."""

    def of_text(mark: int, text: str) -> list[int]:
        return [mark, *(vocabulary.text_offset + token for token in text_tokenizer.encode(text))]

    if isinstance(item, TextItem):
        return EncodedItem(tuple(of_text(TEXT, item.text)), None)
    if item.image_id is None:
        raise ValueError(f"item {index} of document {doc_id}: an image needs an image_id")
    _check_codes(item, vocabulary)
    before = caption_first(doc_id, index)
    mark = CAPTION_OF_NEXT if before else CAPTION_OF_PREVIOUS
    caption = [] if item.caption is None else of_text(mark, item.caption)
    offset = vocabulary.image_offsets[item.codebook]
    image = [vocabulary.image_begins[item.codebook], *(offset + code for code in item.codes), END_OF_IMAGE]
    tokens = (*caption, *image) if before else (*image, *caption)
    return EncodedItem(tokens, ImageSpan(1 + len(caption) * before, len(item.codes), item.image_id))


def join_items(items: Iterable[EncodedItem]) -> tuple[list[int], list[ImageSpan]]:
    """The tokens of a document with these items, and the positions of its images."""
    tokens, spans = [DOCUMENT], []
    for item in items:
        if item.span is not None:
            spans.append(dataclasses.replace(item.span, start=len(tokens) + item.span.start))
        tokens.extend(item.tokens)
    tokens.append(END_OF_DOCUMENT)
    return tokens, spans


def decode_document(
    tokens: Sequence[int] | np.ndarray,
    spans: Sequence[ImageSpan] | None,
    vocabulary: Vocabulary,
    text_tokenizer: TextTokenizer,
) -> list[Item]:
    """The items of a document's tokens: the inverse of ``encode_document``.

    Args:
        tokens: the tokens of one document.
        spans: the document's image spans, or None for a document that a model generated, whose images have no id.
        vocabulary: vocabulary of the tokens.
        text_tokenizer: text tokenizer of the vocabulary.

    Raises:
        ValueError: the sequence breaks the grammar, or the spans differ from the positions of its images.
    """
    check_tokenizer(vocabulary, text_tokenizer)
    ids = np.asarray(tokens, dtype=np.int64)
    ranges = parse(ids, vocabulary)
    found = [item.codes for item in ranges if item.codes is not None]
    if spans is not None and [(span.start, span.start + span.length) for span in spans] != found:
        raise ValueError(f"image_spans differ from the positions of the {len(found)} images in the sequence")
    image_ids = iter([None] * len(found) if spans is None else [span.image_id for span in spans])

    def read_text(span: tuple[int, int]) -> str:
        return text_tokenizer.decode((ids[slice(*span)] - vocabulary.text_offset).tolist())

    items: list[Item] = []
    for item in ranges:
        text = None if item.text is None else read_text(item.text)
        if item.codes is None:
            items.append(TextItem(text or ""))
        else:
            codes = tuple((ids[slice(*item.codes)] - vocabulary.image_offsets[item.codebook]).tolist())
            items.append(ImageItem(next(image_ids), codes, text, item.codebook))
    return items


def image_latents(latents: Sequence[float] | np.ndarray, codebooks: Sequence[Codebook]) -> list[np.ndarray]:
    """Splits the column ``latents`` of a document into the latents of its images, float16 N x d each, in the order of
    its ``image_spans``.

    Args:
        latents: numbers of all images.
        codebooks: codebook of each image.

    Raises:
        ValueError: the number of latents does not match the codebooks.
    """
    numbers = np.asarray(latents, dtype=np.float16)
    shapes = [(book.tokens_per_image, book.latent_channels) for book in codebooks]
    ends = np.cumsum([0, *(rows * channels for rows, channels in shapes)])
    if not all(book.is_continuous for book in codebooks) or numbers.size != ends[-1]:
        names = ", ".join(sorted({book.name for book in codebooks})) or "none"
        raise ValueError(f"{numbers.size} numbers are not those of {len(codebooks)} images of codebook {names}")
    return [numbers[start:stop].reshape(shape) for start, stop, shape in zip(ends, ends[1:], shapes)]


def _check_codes(item: ImageItem, vocabulary: Vocabulary) -> None:
    if not 0 <= item.codebook < len(vocabulary.codebooks):
        raise ValueError(f"image {item.image_id} is of codebook {item.codebook} of {len(vocabulary.codebooks)}")
    codebook = vocabulary.codebooks[item.codebook]
    if len(item.codes) != codebook.tokens_per_image:
        raise ValueError(f"image {item.image_id} has {len(item.codes)} codes, not {codebook.tokens_per_image}")
    if not (min(item.codes) >= 0 and max(item.codes) < codebook.num_codes):
        raise ValueError(f"image {item.image_id} has codes outside [0, {codebook.num_codes})")


def check_tokenizer(vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> None:
    """Raises ValueError if the vocabulary was made with another text tokenizer."""
    if text_tokenizer.fingerprint != vocabulary.text_fingerprint:
        raise ValueError(
            f"the vocabulary was made with text tokenizer {vocabulary.text_fingerprint[:12]}, "
            f"not with {text_tokenizer.fingerprint[:12]}"
        )
