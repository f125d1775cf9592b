"""Requests of the page of ``gobelin chat``, and the model's reply as a stream of events.

A conversation is one document. The page holds its texts, and its images as codes. So generated images are not encoded
again, and the server keeps no state. Events are plain values with a name under ``event``:

    given     an image of the request: its codes, and its pixels as the model sees it
    note      what was left out of a conversation that is too long
    begin     an item: text, caption (of the image before), picture, or continue (of the text before)
    text      the next part of a text or caption
    picture   the image so far; with its codes when it is finished
    done
"""

from __future__ import annotations

import base64
import binascii
import codecs
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from gobelin.errors import UserError
from gobelin.pipeline.ask.model_folder import ModelFolder, png
from gobelin.tokenize.sequence import ImageItem
from gobelin.tokenize.vocabulary import CAPTION_OF_PREVIOUS, TEXT_MARKS, find_codebooks
from gobelin.train.config import SamplingConfig
from gobelin.train.prompt import MAKES, Make, Part, Prompt, what_to_make

MAX_ITEMS = 1000
MAX_CHARACTERS = 100_000

Event = dict[str, Any]
Tell = Callable[[Event], None]

_SETTINGS = ("temperature", "top_p", "cfg_scale")
_NOT_YET = 200  # grey of what is not yet drawn
_PREVIEW_SHARE = 0.3  # of the time that may go into pictures of unfinished pictures


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A validated request."""

    parts: list[Part]
    given: list[ImageItem]  # pictures that came as files, in their order
    make: Make
    config: SamplingConfig
    seed: int
    grid: str | None = None  # of what is drawn, as ``find_codebooks`` takes it; None: like the last picture


def read_question(folder: ModelFolder, config: SamplingConfig, given: Any) -> Question:
    """Validates a request of the page. Raises UserError with a message for the user of the page."""
    if not isinstance(given, dict) or not isinstance(given.get("items"), list):
        raise UserError("a request needs a list of items")
    if len(given["items"]) > MAX_ITEMS:
        raise UserError(f"a conversation has at most {MAX_ITEMS:,} items: begin a new one")
    uploaded: list[ImageItem] = []
    parts = [_part(folder, item, uploaded) for item in given["items"]]
    make = given.get("make") or what_to_make(parts)
    if make not in MAKES:
        raise UserError(f"make must be one of {', '.join(MAKES)}")
    seed = given.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise UserError("the seed must be a whole number from 0 on")
    settings = given.get("settings") or {}
    if not isinstance(settings, dict) or not set(settings) <= set(_SETTINGS):
        raise UserError(f"settings are {', '.join(_SETTINGS)}")
    for name, value in settings.items():
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise UserError(f"{name} must be a number")
    grid = given.get("grid")
    if grid is not None:
        find_codebooks(folder.vocabulary.codebooks, str(grid))
    return Question(parts, uploaded, make, dataclasses.replace(config, **settings), seed, grid)


def _part(folder: ModelFolder, item: Any, uploaded: list[ImageItem]) -> Part:
    if not isinstance(item, dict) or item.get("kind") not in ("text", "picture"):
        raise UserError("an item is a text or a picture")
    if item["kind"] == "text":
        return _text(item.get("text"))
    caption = None if item.get("caption") is None else _text(item["caption"])
    if "codes" in item:
        codes, books, codebook = item["codes"], folder.vocabulary.codebooks, item.get("codebook", 0)
        if type(codebook) is not int or not 0 <= codebook < len(books):
            raise UserError(f"a picture's codebook is from 0 to {len(books) - 1}")
        book = books[codebook]
        whole = isinstance(codes, list) and len(codes) == book.tokens_per_image
        if not whole or not all(type(code) is int and 0 <= code < book.num_codes for code in codes):
            raise UserError(f"a picture has {book.tokens_per_image} codes from 0 to {book.num_codes - 1}")
        return ImageItem(None, tuple(codes), caption, codebook)
    data = item.get("data")
    if not isinstance(data, str):
        raise UserError("a picture needs its file")
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise UserError("a picture's file is not in base64") from None
    picture = dataclasses.replace(folder.picture(content, "this file"), caption=caption)
    uploaded.append(picture)
    return picture


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_CHARACTERS:
        raise UserError(f"a text has at most {MAX_CHARACTERS:,} characters")
    return value.encode(errors="replace").decode()


def reply(folder: ModelFolder, question: Question, tell: Tell, check: Callable[[], None]) -> None:
    """Generates the reply to a question and passes its events to ``tell``.

    Args:
        check: called at each token. Its exceptions, and those of ``tell``, end the reply.

    Raises:
        UserError: the reply does not fit into the context after this conversation.
    """
    for picture in question.given:
        pixels = folder.pixels(picture.codes, picture.codebook)
        tell({"event": "given", "codes": list(picture.codes), "codebook": picture.codebook, "png": _data(pixels)})
    prompt = folder.prompt(question.parts, question.make, question.grid)
    for note in prompt.notes:
        tell({"event": "note", "text": note})
    teller = _EventMaker(folder, prompt, tell)

    def on_token(_: int, token: int) -> None:
        check()
        teller.take(token)

    folder.write(prompt, question.config, question.seed, on_token=on_token)
    teller.end_text()
    tell({"event": "done"})


class _EventMaker:
    """Turns tokens into events."""

    def __init__(self, folder: ModelFolder, prompt: Prompt, tell: Tell) -> None:
        self._folder, self._tell, self._vocabulary = folder, tell, folder.vocabulary
        self._text_bytes = folder.text_tokenizer.token_bytes
        self._decoder: codecs.IncrementalDecoder | None = None
        self._codes: list[int] = []
        self._codebook = 0
        self._started, self._spent = time.monotonic(), 0.0
        last = prompt.tokens[-1] if prompt.tokens else 0
        if last in self._vocabulary.codebook_of_begin or last in TEXT_MARKS:
            self._open(last)
        elif self._vocabulary.text_offset <= last < self._vocabulary.image_offset:
            self._begin_text("continue")

    def take(self, token: int) -> None:
        """Processes the next token."""
        vocabulary = self._vocabulary
        if token >= vocabulary.image_offset:
            self._codes.append(token - vocabulary.image_offsets[self._codebook])
            self._show()
        elif token >= vocabulary.text_offset:
            assert self._decoder is not None
            self._tell_text(self._decoder.decode(self._text_bytes[token - vocabulary.text_offset]))
        else:
            self.end_text()
            self._open(token)

    def end_text(self) -> None:
        """Ends the current text. Incomplete bytes at its end are replaced."""
        if self._decoder is not None:
            self._tell_text(self._decoder.decode(b"", True))
            self._decoder = None

    def _open(self, token: int) -> None:
        if token in self._vocabulary.codebook_of_begin:
            self._codebook, self._codes = self._vocabulary.codebook_of_begin[token], []
            self._tell({"event": "begin", "what": "picture"})
        elif token in TEXT_MARKS:
            self._begin_text("caption" if token == CAPTION_OF_PREVIOUS else "text")

    def _begin_text(self, what: str) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._tell({"event": "begin", "what": what})

    def _tell_text(self, text: str) -> None:
        if text:
            self._tell({"event": "text", "text": text})

    def _show(self) -> None:
        """Sends the image so far, one grid row at a time if that is cheap; always sends the finished image."""
        book = self._vocabulary.codebooks[self._codebook]
        rows, over = divmod(len(self._codes), book.columns)
        if over:
            return
        started = time.monotonic()
        if rows < book.rows:
            if self._spent > _PREVIEW_SHARE * (started - self._started):
                return
            filled = [*self._codes, *[self._codes[-1]] * (book.tokens_per_image - len(self._codes))]
            pixels = self._folder.pixels(filled, self._codebook)
            pixels[len(pixels) * rows // book.rows :] = _NOT_YET
            self._tell({"event": "picture", "png": _data(pixels)})
            self._spent += time.monotonic() - started
        else:
            data = _data(self._folder.pixels(self._codes, self._codebook))
            self._tell({"event": "picture", "png": data, "codes": self._codes, "codebook": self._codebook})


def _data(pixels: np.ndarray) -> str:
    return base64.b64encode(png(pixels)).decode()
