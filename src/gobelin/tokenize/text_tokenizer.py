"""Byte-level BPE (Sennrich et al., arXiv 1508.07909; on bytes as in GPT-2), fitted on the text of the corpus.

Texts are not normalised, and the alphabet has all 256 bytes, so every text can be decoded byte for byte. There are no
special tokens: ``<|document|>`` in a text is tokenized as text. The merges depend only on the counts of words, so the
order of the texts does not matter. A fit holds the distinct words in memory, not the texts. The package `tokenizers`
does the work. The file is its JSON, so other programs can read it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from gobelin.errors import UserError
from gobelin.store.files import exists, is_folder, read_bytes, write_bytes
from gobelin.store.paths import join, name_of
from gobelin.tokenize.tiktoken_file import definition_of, is_tiktoken

FILE_NAME = "text_tokenizer.json"
NUM_BYTES = 256


class TextTokenizer:
    """A lossless byte-level BPE. ``fingerprint`` is the SHA-256 of its JSON, hex."""

    def __init__(self, definition: str) -> None:
        """``definition`` is the JSON of the `tokenizers` package.

        Raises:
            UserError: it is not a tokenizer, or one that does not decode every text byte for byte.
        """
        from tokenizers import Tokenizer  # part of the extra `models`, which curation does not need

        _check_lossless(definition)
        self._definition = definition
        self._tokenizer = Tokenizer.from_str(definition)
        self.fingerprint = hashlib.sha256(definition.encode()).hexdigest()
        characters = byte_of_character()
        pieces = {index: piece for piece, index in self._tokenizer.get_vocab().items()}
        self.token_bytes = tuple(
            bytes(characters[character] for character in pieces[index]) for index in range(self.size)
        )

    @property
    def size(self) -> int:
        """Number of tokens."""
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Token ids in [0, size). ``text`` must be valid Unicode (no lone surrogates)."""
        return self._tokenizer.encode(text).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` for each text, on all cores."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these ids. Invalid UTF-8, which only a model can generate, becomes U+FFFD."""
        return b"".join(self.token_bytes[index] for index in ids).decode(errors="replace")

    def save(self, address: str) -> None:
        """Writes the tokenizer's JSON to a file."""
        write_bytes(address, self._definition.encode())

    @classmethod
    def load(cls, address: str) -> TextTokenizer:
        """Reads a tokenizer: a JSON file of the package `tokenizers`, a folder with ``text_tokenizer.json``, or a file
        of tiktoken (``cl100k_base.tiktoken``).

        Raises:
            UserError: there is no such file, or it is not a tokenizer of this kind.
        """
        if is_folder(address):
            address = join(address, FILE_NAME)
        if not exists(address):
            raise UserError(f"no text tokenizer at {address}: fit one, or give the path of a saved one")
        content = read_bytes(address)
        if is_tiktoken(content):
            characters = {byte: character for character, byte in byte_of_character().items()}
            return cls(definition_of(content, name_of(address), characters))
        try:
            return cls(content.decode())
        except UnicodeDecodeError:
            raise UserError(f"{address} is not a text tokenizer: it is not UTF-8") from None

    def __reduce__(self) -> tuple[type[TextTokenizer], tuple[str]]:
        return TextTokenizer, (self._definition,)


def fit_bpe(texts: Iterable[str], vocab_size: int, *, min_count: int = 2) -> TextTokenizer:
    """Fits a byte-level BPE on texts, in any order.

    Args:
        texts: the texts.
        vocab_size: maximum number of tokens, including the 256 bytes; there are fewer if the texts have too few pairs.
        min_count: minimum number of occurrences of a pair of tokens that is merged.
    """
    if vocab_size < NUM_BYTES:
        raise UserError(f"vocab_size must be at least {NUM_BYTES} (one token per byte), got {vocab_size}")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_count,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return TextTokenizer(tokenizer.to_str())


def _check_lossless(definition: str) -> None:
    try:
        parts = json.loads(definition)
        cut = _byte_level(parts["pre_tokenizer"] or {})
        kinds = (parts["model"]["type"], cut.get("type"))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"not a tokenizer of the tokenizers package: {error!r} in {definition[:80]!r}") from None
    losses = {
        f"model and pre-tokenizer are {kinds}": kinds != ("BPE", "ByteLevel"),
        "it has a normalizer": parts["normalizer"] is not None,
        "it adds a space in front": cut.get("add_prefix_space") is not False,
        "it has special tokens": bool(parts["added_tokens"]),
        "it drops pieces at random": bool(parts["model"].get("dropout")),
        "not every byte has a token": not set(byte_of_character()) <= set(parts["model"].get("vocab", ())),
    }
    reasons = [reason for reason, found in losses.items() if found]
    if reasons:
        raise UserError(f"not a lossless byte-level BPE: {'; '.join(reasons)}")


def _byte_level(pre_tokenizer: dict[str, Any]) -> dict[str, Any]:
    """The step that converts a text to bytes: the pre-tokenizer itself, or its last step if the other one only
    splits."""
    steps = pre_tokenizer.get("pretokenizers", ())
    if pre_tokenizer.get("type") != "Sequence" or len(steps) != 2:
        return pre_tokenizer
    only_cuts = steps[0].get("type") == "Split" and steps[0].get("behavior") == "Isolated"
    return steps[1] if only_cuts else pre_tokenizer


def byte_of_character() -> dict[str, int]:
    """GPT-2's printable characters for the 256 bytes: printable Latin-1 characters for themselves, and characters from
    U+0100 for the other bytes."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(NUM_BYTES) if byte not in set(printable)]
    stand_ins = {chr(byte): byte for byte in printable}
    stand_ins.update({chr(NUM_BYTES + index): byte for index, byte in enumerate(hidden)})
    return stand_ins
