"""Byte-level BPE (Sennrich et al., arXiv 1508.07909; on bytes as in GPT-2), fitted on the corpus's own text.

Nothing is normalised and all 256 bytes are in the alphabet, so every text comes back byte for byte. There are no
special tokens in here: ``<|document|>`` in a text is eleven characters of text. The merges depend on the counts of
words alone, so any order of the same texts gives the same file. Fitting holds the distinct words in memory, not the
texts. The `tokenizers` package does the work, and its own JSON is the file, so other programs can read it.
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
            UserError: it is not a tokenizer, or one that would not give every text back byte for byte.
        """
        from tokenizers import Tokenizer  # of the extra `models`: curation alone does without

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
        """``encode`` of each text, on all cores."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these ids. Bytes that are no UTF-8, which only a model writes, become U+FFFD."""
        return b"".join(self.token_bytes[index] for index in ids).decode(errors="replace")

    def save(self, address: str) -> None:
        """Write the tokenizer's JSON."""
        write_bytes(address, self._definition.encode())

    @classmethod
    def load(cls, address: str) -> TextTokenizer:
        """Read the JSON that ``save`` wrote: a file, or a folder that holds ``text_tokenizer.json``. A file of tiktoken
        (``cl100k_base.tiktoken``) is read too.

        Raises:
            UserError: there is none, or it is not a tokenizer of this kind.
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
    """Fit a byte-level BPE on these texts, in any order.

    Args:
        vocab_size: most tokens, the 256 bytes among them; fewer where the texts hold fewer pairs.
        min_count: a pair of tokens seen less often is never merged.
    """
    if vocab_size < NUM_BYTES:
        raise UserError(f"vocab_size must be at least {NUM_BYTES} (one token a byte), got {vocab_size}")
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
    """What makes bytes of a text: the pre-tokenizer itself, or its last step behind one that only cuts."""
    steps = pre_tokenizer.get("pretokenizers", ())
    if pre_tokenizer.get("type") != "Sequence" or len(steps) != 2:
        return pre_tokenizer
    only_cuts = steps[0].get("type") == "Split" and steps[0].get("behavior") == "Isolated"
    return steps[1] if only_cuts else pre_tokenizer


def byte_of_character() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes: printable Latin-1 stands for itself, the rest for U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(NUM_BYTES) if byte not in set(printable)]
    stand_ins = {chr(byte): byte for byte in printable}
    stand_ins.update({chr(NUM_BYTES + index): byte for index, byte in enumerate(hidden)})
    return stand_ins
