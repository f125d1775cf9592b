"""Token sequences in the layouts of released models: Chameleon and Anole, Emu3.

A layout defines the ids around a text and an image, and the id of each code. Ids are looked up by name in a tokenizer
file that the user gives, and texts are encoded with this tokenizer. Special tokens are removed from it before a text is
encoded, so a text remains plain text. A text that would still produce a special token is refused.

    chameleon   <s> text <racm3:break> code{N} <eoss> text ... </s>                       (raster order, no row ends)
    emu3        <|extra_203|> text <|image start|> "H*W" <|image token|> row <|extra_200|> ... row <|extra_200|>
                <|extra_201|> <|image end|> text ... <|extra_204|>

Sources: ``VocabInfo`` and ``VocabTranslation`` of Chameleon's and Anole's code (codes are tokens ``IMGIMG`` + the
decimal digits as letters A to J + ``Z``); ``Emu3FeatureDataset`` and ``Emu3Tokenizer`` of Emu3's (codes are tokens
``<|visual token 000000|>``).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from gobelin.errors import UserError
from gobelin.store.files import exists, is_folder, read_bytes
from gobelin.store.paths import join, name_of
from gobelin.tokenize.text_tokenizer import byte_of_character
from gobelin.tokenize.tiktoken_file import definition_of, is_tiktoken

LayoutName = Literal["chameleon", "emu3"]


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """An image of a sequence: its codes, row by row."""

    codes: np.ndarray  # int, rows x columns


Run = str | Picture
"""A sequence is texts and pictures in turn: text, picture, text, ..., text; a text may be empty."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Names:
    """The names of the special tokens of a layout."""

    bos: str
    eos: str
    image_begin: str
    image_end: str
    code: re.Pattern[str]
    others: tuple[str, ...] = ()  # of Emu3: begin of codes, end of a row, end of an image's rows


_NAMES: dict[str, _Names] = {
    "chameleon": _Names("<s>", "</s>", "<racm3:break>", "<eoss>", re.compile(r"IMGIMG([A-J]+)Z")),
    "emu3": _Names(
        "<|extra_203|>", "<|extra_204|>", "<|image start|>", "<|image end|>", re.compile(r"<\|visual token (\d{6})\|>"),
        ("<|image token|>", "<|extra_200|>", "<|extra_201|>"),
    ),
}  # fmt: skip

_DIGITS = str.maketrans("ABCDEFGHIJ", "0123456789")


class LayoutError(UserError):
    """A sequence cannot be written in a layout, or does not follow it. The message has the reason."""


class TokenLayout:
    """A layout with the ids of one tokenizer file.

    Args:
        definition: JSON of the `tokenizers` package.
        extra: names and ids of special tokens that are not in it.

    Raises:
        UserError: it is not a tokenizer, or lacks the layout's special tokens or codes.
    """

    def __init__(self, name: LayoutName, definition: str, extra: Mapping[str, int] | None = None) -> None:
        from tokenizers import Tokenizer

        self.name = name
        self.fingerprint = hashlib.sha256(definition.encode()).hexdigest()
        try:
            parts = json.loads(definition)
            ids = {**Tokenizer.from_str(definition).get_vocab(with_added_tokens=True), **(extra or {})}
            plain = {**parts, "added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
            self._text = Tokenizer.from_str(json.dumps(plain))
        except (ValueError, KeyError, TypeError, Exception) as error:  # noqa: BLE001  # the package raises Exception
            raise UserError(
                f"not a tokenizer of the tokenizers package: {' '.join(str(error).split())[:200]}"
            ) from None
        names = _NAMES[name]
        wanted = (names.bos, names.eos, names.image_begin, names.image_end, *names.others)
        missing = [each for each in wanted if each not in ids]
        codes = {_number(name, found[1]): ids[each] for each in ids if (found := names.code.fullmatch(each))}
        if missing or sorted(codes) != list(range(len(codes))) or not codes:
            what = (
                f"lacks {', '.join(missing)}"
                if missing
                else f"has {len(codes)} tokens of image codes, or not each once"
            )
            raise UserError(f"the tokenizer does not fit the layout {name}: it {what}")
        self._bos, self._eos, self._begin, self._end, *self._others = (ids[each] for each in wanted)
        self.code_ids = np.array([codes[code] for code in range(len(codes))], np.int32)
        self._code_of = {int(token): code for code, token in enumerate(self.code_ids)}
        self._reserved = {self._bos, self._eos, self._begin, self._end, *self._others, *self._code_of,
                          *(each["id"] for each in parts["added_tokens"]), *(extra or {}).values()}  # fmt: skip

    @property
    def num_codes(self) -> int:
        """Number of codes that have a token, from 0."""
        return len(self.code_ids)

    def encode(self, runs: Sequence[Run]) -> list[int]:
        """The ids of a sequence.

        Raises:
            LayoutError: a code has no token, or a text would become a special token.
        """
        ids = [self._bos]
        for run in runs:
            ids += self._encode_text(run) if isinstance(run, str) else self._encode_picture(run)
        return [*ids, self._eos]

    def _encode_text(self, text: str) -> list[int]:
        ids: list[int] = self._text.encode(text, add_special_tokens=False).ids if text else []
        found = self._reserved.intersection(ids)
        if found:
            raise LayoutError(f"a text would become the special token {min(found)}")
        return ids

    def _encode_picture(self, picture: Picture) -> list[int]:
        if picture.codes.min() < 0 or picture.codes.max() >= self.num_codes:
            raise LayoutError(f"a code outside [0, {self.num_codes})")
        rows = self.code_ids[picture.codes]
        if self.name == "chameleon":
            return [self._begin, *rows.ravel().tolist(), self._end]
        image, end_of_row, end_of_rows = self._others
        size = self._encode_text(f"{rows.shape[0]}*{rows.shape[1]}")
        lines = [token for row in rows.tolist() for token in (*row, end_of_row)]
        return [self._begin, *size, image, *lines, end_of_rows, self._end]

    def decode(self, ids: Sequence[int], grid: tuple[int, int]) -> list[Run]:
        """The runs of a sequence, with alternating texts and images.

        Args:
            grid: rows and columns of an image, which Chameleon's layout does not store.

        Raises:
            LayoutError: the sequence does not follow this layout.
        """
        if len(ids) < 2 or ids[0] != self._bos or ids[-1] != self._eos:
            raise LayoutError("does not open and close as the layout has it")
        runs: list[Run] = []
        place, end = 1, len(ids) - 1
        while True:
            begin = place
            while begin < end and ids[begin] != self._begin:
                begin += 1
            runs.append(self._decode_text(ids[place:begin]))
            if begin == end:
                return runs
            stop = begin + 1
            while stop < end and ids[stop] != self._end:
                stop += 1
            if stop == end:
                raise LayoutError("an image has no end")
            runs.append(self._decode_picture(list(ids[begin + 1 : stop]), grid))
            place = stop + 1

    def _decode_text(self, ids: Sequence[int]) -> str:
        found = self._reserved.intersection(ids)
        if found:
            raise LayoutError(f"the special token {min(found)} stands in a text")
        return self._text.decode(list(ids), skip_special_tokens=False) if len(ids) else ""

    def _decode_picture(self, ids: list[int], grid: tuple[int, int]) -> Picture:
        if self.name == "emu3":
            image, end_of_row, end_of_rows = self._others
            place = ids.index(image) if image in ids else -1
            size = re.fullmatch(r"(\d{1,4})\*(\d{1,4})", self._decode_text(ids[: max(0, place)]))
            if size is None or ids[-1] != end_of_rows:
                raise LayoutError("an image does not say its size, or has no end of rows")
            grid, lines = (int(size[1]), int(size[2])), ids[place + 1 : -1]
            if len(lines) != grid[0] * (grid[1] + 1) or any(
                each != end_of_row for each in lines[grid[1] :: grid[1] + 1]
            ):
                raise LayoutError(f"an image of {grid[0]} x {grid[1]} has other rows")
            ids = [token for place, token in enumerate(lines) if place % (grid[1] + 1) != grid[1]]
        codes = [self._code_of.get(token, -1) for token in ids]
        if len(codes) != grid[0] * grid[1] or -1 in codes or not codes:
            raise LayoutError(f"an image is not {grid[0]} x {grid[1]} codes")
        return Picture(np.array(codes, np.int64).reshape(grid))

    def gives_back(self, text: str) -> bool:
        """Whether encoding and decoding a text returns the same text."""
        return self._decode_text(self._encode_text(text)) == text


def _number(name: str, digits: str) -> int:
    return int(digits.translate(_DIGITS)) if name == "chameleon" else int(digits)


_EMU3_FILES = ("emu3.tiktoken", "emu3_vision_tokens.txt")
_EMU3_FIRST = 151643
"""Id of the first special token of Emu3's original files (SPECIAL_START_ID)."""


def load_layout(name: LayoutName, address: str) -> TokenLayout:
    """A layout with a tokenizer from an address: a JSON file of the `tokenizers` package (``text_tokenizer.json`` of
    Chameleon, ``tokenizer.json`` of either), its folder, or the folder of Emu3's original files.

    Raises:
        UserError: there is no tokenizer, or it does not fit the layout.
    """
    if is_folder(address):
        originals = [join(address, each) for each in _EMU3_FILES]
        if name == "emu3" and all(map(exists, originals)):
            return _original_emu3(*originals)
        found = [
            join(address, each) for each in ("tokenizer.json", "text_tokenizer.json") if exists(join(address, each))
        ]
        if not found:
            raise UserError(f"{address}: holds no tokenizer.json, nor text_tokenizer.json")
        address = found[0]
    if not exists(address):
        raise UserError(f"--tokenizer {address}: no such file")
    content = read_bytes(address)
    if is_tiktoken(content):
        raise UserError(f"{address} is a file of tiktoken, which lacks the special tokens: give the folder of it")
    try:
        return TokenLayout(name, content.decode())
    except UnicodeDecodeError:
        raise UserError(f"{address} is not a tokenizer: it is not UTF-8") from None


def _original_emu3(ranks: str, vision: str) -> TokenLayout:
    characters = {byte: character for character, byte in byte_of_character().items()}
    definition = definition_of(read_bytes(ranks), name_of(ranks), characters)
    lines = [line.strip() for line in read_bytes(vision).decode("utf-8", "replace").splitlines()]
    names = [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        *(f"<|extra_{n}|>" for n in range(205)),
        *filter(None, lines),
    ]
    first = max(_EMU3_FIRST, len(json.loads(definition)["model"]["vocab"]))
    return TokenLayout("emu3", definition, {each: first + place for place, each in enumerate(names)})


def side_of(pieces: Sequence[tuple[str, Any]]) -> str:
    """The side field as JSON: ends of texts, captions, and ids of images, which the layout does not store."""
    return json.dumps(pieces, ensure_ascii=False, separators=(",", ":"))
