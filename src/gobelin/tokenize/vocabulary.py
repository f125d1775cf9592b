"""The one vocabulary of the mixed-token model: ``[special | text | image]``.

Ids 0 to 7 are the special tokens, then come the ids of the text tokenizer, then the codes of the image tokenizer.
Shards store ids of this vocabulary; what an id means is written in ``vocabulary.json`` beside the shards and, as
the same JSON, in the metadata of each Parquet file. The fingerprints of both tokenizers stand in it, so that ids
are never read with another tokenizer than wrote them.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from gobelin.errors import UserError
from gobelin.store.files import read_bytes, write_bytes
from gobelin.store.paths import join

VERSION = 1
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
"""Names of the special tokens by id. The names are never parsed from text; they are for people."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Which ids are text, which are image codes, and whose they are."""

    text_size: int
    """Number of tokens of the text tokenizer."""
    image_size: int
    """Number of codes K of the image tokenizer."""
    grid: tuple[int, int]
    """Rows and columns of an image's code grid; an image is always rows x columns tokens in raster order."""
    text_fingerprint: str
    """SHA-256 of the text tokenizer's file, hex."""
    image_fingerprint: str
    """SHA-256 of the image tokenizer's weights and configuration, hex."""
    text_token_bytes: tuple[int, ...]
    """UTF-8 bytes of each text token, by text id: what turns nats per token into bits per byte."""
    version: int = VERSION
    """Version of layout and grammar."""

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise UserError(
                f"vocabulary has version {self.version}, this program reads {VERSION}: tokenize again, or read it "
                "with the program that wrote it"
            )
        if len(self.text_token_bytes) != self.text_size:
            raise ValueError(f"text_token_bytes has {len(self.text_token_bytes)} entries for {self.text_size} tokens")

    @property
    def text_offset(self) -> int:
        """Id of text token 0."""
        return len(SPECIAL_TOKENS)

    @property
    def image_offset(self) -> int:
        """Id of image code 0."""
        return self.text_offset + self.text_size

    @property
    def size(self) -> int:
        """Number of ids."""
        return self.image_offset + self.image_size

    @property
    def tokens_per_image(self) -> int:
        """Image tokens of one image, without the two that enclose it."""
        return self.grid[0] * self.grid[1]

    def to_json(self) -> str:
        """The vocabulary as one JSON object; the same vocabulary gives the same string."""
        layout: dict[str, Any] = {
            "special_tokens": list(SPECIAL_TOKENS),
            "text_offset": self.text_offset,
            "image_offset": self.image_offset,
            "size": self.size,
        }
        return json.dumps({**dataclasses.asdict(self), **layout}, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """The inverse of ``to_json``. Raises UserError for another version, another layout or no vocabulary."""
        try:
            values = json.loads(text)
            names = [field.name for field in dataclasses.fields(cls)]
            fields = {name: values[name] for name in names}
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(f"not a vocabulary: {error!r} in {text[:80]!r}") from None
        fields["grid"] = tuple(fields["grid"])
        fields["text_token_bytes"] = tuple(fields["text_token_bytes"])
        vocabulary = cls(**fields)
        if values != json.loads(vocabulary.to_json()):
            raise UserError("vocabulary contradicts itself: its offsets or special tokens are not those of its sizes")
        return vocabulary

    def save(self, folder: str) -> None:
        """Write ``vocabulary.json`` into the folder."""
        write_bytes(join(folder, FILE_NAME), (self.to_json() + "\n").encode())

    @classmethod
    def load(cls, folder: str) -> Vocabulary:
        """Read ``vocabulary.json`` of the folder. Raises UserError where there is none."""
        try:
            content = read_bytes(join(folder, FILE_NAME))
        except FileNotFoundError:
            raise UserError(f"no {FILE_NAME} in {folder}: give the folder that the tokenize stage wrote") from None
        return cls.from_json(content.decode())
