"""The one vocabulary of the mixed-token model: ``[special | text | image range 0 | image range 1 | ...]``.

Ids 0 to 7 are the special tokens. ``<|image|>`` begins an image of the first codebook. Each further codebook (of
another tokenizer, or another grid of the same one) has its own token that begins its images, and these tokens come
next. So the token that begins an image determines the codes and the grid that follow. After them come the ids of the
text tokenizer, and then the codes, in one range of ids per tokenizer. With one codebook the ids are those of version 1
of this layout, which can still be read.

Shards store ids of this vocabulary. ``vocabulary.json`` beside the shards holds the meaning of each id, and so does the
metadata of each Parquet file, as the same JSON. It includes the fingerprints of all tokenizers, so ids cannot be read
with another tokenizer than the one that wrote them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gobelin.errors import UserError
from gobelin.store.files import read_bytes, write_bytes
from gobelin.store.paths import join
from gobelin.tokenize.codebook import Codebook

VERSION = 2
"""Raised when the layout or the grammar changes, so that old shards stay explainable."""

METADATA_KEY = b"gobelin.vocabulary"
"""Key of the vocabulary in a Parquet file's metadata."""

FILE_NAME = "vocabulary.json"

PAD = 0
DOCUMENT = 1
END_OF_DOCUMENT = 2
IMAGE = 3
END_OF_IMAGE = 4
TEXT = 5
CAPTION_OF_NEXT = 6
CAPTION_OF_PREVIOUS = 7
TEXT_MARKS = (TEXT, CAPTION_OF_NEXT, CAPTION_OF_PREVIOUS)
"""The special tokens that precede text."""
SPECIAL_TOKENS = (
    "<|pad|>",
    "<|document|>",
    "<|end_of_document|>",
    "<|image|>",
    "<|end_of_image|>",
    "<|text|>",
    "<|caption_of_next|>",
    "<|caption_of_previous|>",
)
"""Names of the special tokens of every vocabulary, by id. They are only for display and are never parsed from text."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The ranges of ids: special tokens, text, and the codes of each codebook."""

    text_size: int
    """Number of tokens of the text tokenizer."""
    codebooks: tuple[Codebook, ...]
    """Codebooks of the image tokenizers, at least one. Codebooks with the same name are grids of one tokenizer and
    share a range of ids."""
    text_fingerprint: str
    """SHA-256 of the text tokenizer's file, hex."""
    text_token_bytes: tuple[int, ...]
    """Number of UTF-8 bytes of each text token, by text id. It converts nats per token to bits per byte."""

    def __post_init__(self) -> None:
        if len(self.text_token_bytes) != self.text_size:
            raise ValueError(f"text_token_bytes has {len(self.text_token_bytes)} entries for {self.text_size} tokens")
        if not self.codebooks:
            raise ValueError("a vocabulary needs a codebook")
        check_ranges(self.codebooks)

    @functools.cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Names of the special tokens by id, including those that begin an image of a further codebook."""
        return (*SPECIAL_TOKENS, *(f"<|image:{name}|>" for name in self.codebook_names[1:]))

    @property
    def codebook_names(self) -> list[str]:
        """Names of the codebooks for ``find_codebooks``: range and grid, such as thumbnails:8x16."""
        return [_name_of(book) for book in self.codebooks]

    @functools.cached_property
    def image_begins(self) -> tuple[int, ...]:
        """The special token that begins an image of each codebook."""
        return (IMAGE, *range(len(SPECIAL_TOKENS), len(self.special_tokens)))

    @functools.cached_property
    def codebook_of_begin(self) -> Mapping[int, int]:
        """Index of the codebook by the special token that begins its images."""
        return {token: index for index, token in enumerate(self.image_begins)}

    @functools.cached_property
    def image_offsets(self) -> tuple[int, ...]:
        """Id of code 0 of each codebook."""
        offsets: dict[str, int] = {}
        following = self.image_offset
        for book in self.codebooks:
            if book.name not in offsets:
                offsets[book.name] = following
                following += book.num_codes
        return tuple(offsets[book.name] for book in self.codebooks)

    @property
    def text_offset(self) -> int:
        """Id of text token 0."""
        return len(SPECIAL_TOKENS) + len(self.codebooks) - 1

    @property
    def image_offset(self) -> int:
        """The first id of the image tokens."""
        return self.text_offset + self.text_size

    @functools.cached_property
    def size(self) -> int:
        """Number of ids."""
        return max(offset + book.num_codes for offset, book in zip(self.image_offsets, self.codebooks))

    def image_range(self, codebook: int) -> range:
        """The ids of the codes of this codebook."""
        offset = self.image_offsets[codebook]
        return range(offset, offset + self.codebooks[codebook].num_codes)

    @functools.cached_property
    def max_tokens_per_image(self) -> int:
        """Maximum number of tokens of an image, without the two that enclose it."""
        return max(book.tokens_per_image for book in self.codebooks)

    def to_json(self) -> str:
        """The vocabulary as a JSON object. Equal vocabularies give equal strings."""
        codebooks = [
            {**dataclasses.asdict(book), "begin": begin, "offset": offset}
            for book, begin, offset in zip(self.codebooks, self.image_begins, self.image_offsets)
        ]
        layout: dict[str, Any] = {
            "version": VERSION,
            "codebooks": codebooks,
            "special_tokens": list(self.special_tokens),
            "text_offset": self.text_offset,
            "image_offset": self.image_offset,
            "size": self.size,
        }
        return json.dumps({**dataclasses.asdict(self), **layout}, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """The inverse of ``to_json``. Also reads version 1, which has one codebook.

        Raises:
            UserError: it is no vocabulary, has another version, or contradicts itself.
        """
        try:
            values = json.loads(text)
            version = values["version"]
            if version not in (1, VERSION):
                raise UserError(
                    f"vocabulary has version {version}, this version of gobelin reads 1 and {VERSION}: tokenize again, "
                    "or read it with the version that wrote it"
                )
            if version == 1:
                values = _from_version_1(values)
            vocabulary = cls(
                text_size=values["text_size"],
                codebooks=tuple(_codebook(each) for each in values["codebooks"]),
                text_fingerprint=values["text_fingerprint"],
                text_token_bytes=tuple(values["text_token_bytes"]),
            )
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"not a vocabulary: {error!r} in {text[:80]!r}") from None
        if values != json.loads(vocabulary.to_json()):
            raise UserError("vocabulary contradicts itself: its offsets or special tokens do not match its sizes")
        return vocabulary

    def difference(self, other: Vocabulary) -> str:
        """Describes the first difference to another vocabulary."""
        if self.text_fingerprint != other.text_fingerprint:
            return f"text tokenizer {self.text_fingerprint[:12]} here, {other.text_fingerprint[:12]} there"
        for first, second in zip(self.codebooks, other.codebooks):
            if first.fingerprint != second.fingerprint:
                return f"image tokenizer {first.fingerprint[:12]} here, {second.fingerprint[:12]} there"
        return f"codebooks {_listed(self.codebooks)} here, {_listed(other.codebooks)} there"

    def save(self, folder: str) -> None:
        """Writes ``vocabulary.json`` to the folder."""
        write_bytes(join(folder, FILE_NAME), (self.to_json() + "\n").encode())

    @classmethod
    def load(cls, folder: str) -> Vocabulary:
        """Reads ``vocabulary.json`` from the folder. Raises UserError if there is none."""
        try:
            content = read_bytes(join(folder, FILE_NAME))
        except FileNotFoundError:
            raise UserError(f"no {FILE_NAME} in {folder}: give the folder that the tokenize stage wrote") from None
        return cls.from_json(content.decode())


def check_ranges(codebooks: Sequence[Codebook]) -> None:
    """Checks that codebooks can share a vocabulary. All codebooks of one name must be of one tokenizer, because they
    share a range of ids. Name and grid must be unique, because they have a token that begins an image.

    Raises:
        UserError: one of these rules is broken, or some images are codes and others latents.
    """
    first_of: dict[str, Codebook] = {}
    for book in codebooks:
        first = first_of.setdefault(book.name, book)
        if book.fingerprint != first.fingerprint:
            raise UserError(
                f"two image tokenizers would share the ids of {book.name!r}: {first.fingerprint} and "
                f"{book.fingerprint}; give each its own name"
            )
        if (book.kind, book.num_codes, book.latent_channels) != (first.kind, first.num_codes, first.latent_channels):
            raise UserError(f"codebook {book.name!r} is described in two ways: {_listed([first, book])}")
    if len({book.is_continuous for book in codebooks}) > 1:
        raise UserError(f"images are either codes or latents, but these codebooks have both: {_listed(codebooks)}")
    if len({(book.name, book.grid) for book in codebooks}) < len(codebooks):
        raise UserError(f"a codebook and its grid are given twice: {_listed(codebooks)}")


def find_codebooks(codebooks: Sequence[Codebook], asked: str) -> list[int]:
    """Indices of the codebooks with this name: a range (``thumbnails``), a grid (``8x16``) or both
    (``thumbnails:8x16``).

    Raises:
        UserError: there is none; the message lists the existing names.
    """
    wholes = [_name_of(book) for book in codebooks]
    found = [index for index, whole in enumerate(wholes) if asked in (whole, *whole.split(":"))]
    if not found:
        raise UserError(f"no codebook is called {asked!r}; there are {', '.join(wholes)}")
    return found


def _name_of(book: Codebook) -> str:
    return f"{book.name}:{book.rows}x{book.columns}"


def _listed(codebooks: Iterable[Codebook]) -> str:
    return ", ".join(
        f"{book.name} ({book.kind}, {book.num_codes} codes, {book.rows} x {book.columns})" for book in codebooks
    )


def _codebook(values: dict[str, Any]) -> Codebook:
    return Codebook(**{field.name: values[field.name] for field in dataclasses.fields(Codebook)})


def _from_version_1(values: dict[str, Any]) -> dict[str, Any]:
    """Converts a vocabulary of version 1, which had one codebook of a VQ-VAE, to version 2."""
    rows, columns = values.pop("grid")
    codebook = {
        "name": "vqvae", "kind": "vqvae", "num_codes": values.pop("image_size"), "rows": rows, "columns": columns,
        "fingerprint": values.pop("image_fingerprint"), "latent_channels": 0,
        "begin": IMAGE, "offset": values["image_offset"],
    }  # fmt: skip
    return {**values, "version": VERSION, "codebooks": [codebook]}
