"""Reads text tokenizers from files of tiktoken, which have one line per token: its bytes in base64, and its rank.

The ranks define a byte-level BPE: the neighbouring tokens whose joined bytes have the lowest rank are merged first.
``definition_of`` writes the same tokenizer as JSON of the package `tokenizers`. Before merging, texts are split by a
pattern that is not in the file but in tiktoken's source. It is chosen by the name of the file. Special tokens are not
in the file either and are not needed: the name of a special token in a text is tokenized as text.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import re
from collections.abc import Mapping
from typing import Any

from gobelin.errors import UserError

_GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CL100K = "|".join(
    [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_O200K = "|".join(
    [
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)

_EMU3 = _CL100K.replace(r"\p{N}{1,3}", r"\p{N}")  # as Qwen: each digit is a piece

PATTERNS = {"r50k": _GPT2, "gpt2": _GPT2, "cl100k": _CL100K, "o200k": _O200K, "emu3": _EMU3}
"""Patterns of tiktoken by the beginning of the file name. Other names get that of cl100k, which Llama 3 also uses."""

_LINE = re.compile(rb"([A-Za-z0-9+/]+={0,2}) (\d{1,9})")


def is_tiktoken(content: bytes) -> bool:
    """Whether the first line of a file has the format of tiktoken."""
    return _LINE.fullmatch(content[:4096].split(b"\n", 1)[0].strip()) is not None


def definition_of(content: bytes, name: str, characters: Mapping[int, str]) -> str:
    """The tokenizer of a tiktoken file as JSON of the package `tokenizers`.

    Args:
        content: the file.
        name: name of the file, which determines the pattern.
        characters: GPT-2's character for each byte.

    Raises:
        UserError: a line has another format, or ranks are missing or repeated.
    """
    ranks = _read(content, name)
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise UserError(f"{name}: the ranks are not 0 to {len(ranks) - 1}, each once, so the tokenizer is not complete")

    def piece(token: bytes) -> str:
        return "".join(characters[byte] for byte in token)

    ordered = sorted(ranks, key=ranks.__getitem__)
    merges = [pair for token in ordered if len(token) > 1 and len(pair := _parts(token, ranks)) == 2]
    pattern = next((each for start, each in PATTERNS.items() if name.startswith(start)), _CL100K)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    definition: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
                {**byte_level, "use_regex": False},
            ],
        },
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,  # as in tiktoken: a piece that equals a token becomes that token
            "vocab": {piece(token): ranks[token] for token in ordered},
            "merges": [[piece(left), piece(right)] for left, right in merges],
        },
    }
    return json.dumps(definition, ensure_ascii=False)


def _read(content: bytes, name: str) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        try:
            if match is None:
                raise binascii.Error("no base64 and rank")
            token = base64.b64decode(match[1], validate=True)
        except binascii.Error as error:
            raise UserError(f"{name}, line {number}: {error}; expected a token in base64 and its rank") from None
        if token in ranks or not token:
            raise UserError(f"{name}, line {number}: the token {token!r} is empty or repeated")
        ranks[token] = int(match[2])
    return ranks


def _parts(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, ...]:
    """The parts of a token after all merges of lower rank: two, or more if no merge ever makes the token."""
    parts = [token[index : index + 1] for index in range(len(token))]
    limit = ranks[token]
    while len(parts) > 2:
        joined = (left + right for left, right in itertools.pairwise(parts))
        rank, index = min((ranks.get(token, limit), index) for index, token in enumerate(joined))
        if rank >= limit:
            break
        parts[index : index + 2] = [parts[index] + parts[index + 1]]
    return tuple(parts)
