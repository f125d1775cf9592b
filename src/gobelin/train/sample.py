"""Samples images from captions, captions from images, and whole documents. All samples follow the grammar.

An image always has exactly N image tokens and its end token, and begins only where it fits. Keys and values are cached,
and documents of different lengths are generated in one batch. Each document has its own random numbers, from its seed,
so it does not depend on the other documents of the batch.

Images use classifier-free guidance (arXiv 2207.12598): logits = without + scale x (with - without), where "without" is
an image at the start of a document. Training includes such images, because it drops captions. With separate scales for
images and texts, the rule is that of InstructPix2Pix (arXiv 2211.09800, equation 3):

    nothing + image_scale x (pictures - nothing) + text_scale x (all - pictures)

where "pictures" sees the earlier images without any text. Guidance of a text applies only to words (arXiv 2306.17806),
and "without" is the same words at the start of a document. The unguided logits decide whether the text ends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gobelin.tokenize.grammar import Allowed, DocumentWriter
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.vocabulary import (
    CAPTION_OF_NEXT,
    CAPTION_OF_PREVIOUS,
    DOCUMENT,
    END_OF_IMAGE,
    TEXT_MARKS,
    Vocabulary,
)
from gobelin.train.config import SamplingConfig
from gobelin.train.decoder import Decoder, draw
from gobelin.train.model import LanguageModel

BATCH_SIZE = 64

Seed = int | Sequence[int]
"""Whole numbers from 0 on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A document to generate."""

    prompt: Sequence[int]
    """What follows ``<|document|>``."""
    max_tokens: int
    """Of the whole document, its first and last token included; at most a training row, or the model strays."""
    seed: Seed
    ends: Literal["document", "item"] = "document"
    """Item: with the picture, text or caption that is open at the end of the prompt. Its end is not written."""


@torch.no_grad()
def generate(
    model: LanguageModel,
    requests: Sequence[Request],
    config: SamplingConfig,
    *,
    batch_size: int = BATCH_SIZE,
    on_token: Callable[[int, int], None] | None = None,
) -> list[list[int]]:
    """The tokens of a document for each request, beginning with ``<|document|>``.

    Args:
        batch_size: documents that are generated at the same time; guidance doubles or triples the rows.
        on_token: receives the index of a request and each sampled token. Its exceptions end the call.

    Raises:
        ValueError: a prompt breaks the grammar, leaves no room to close the document, or has no open item to end.
    """
    written: list[list[int]] = []
    for start in range(0, len(requests), batch_size):
        part = [
            _Document(request, start + n, model.vocabulary) for n, request in enumerate(requests[start:][:batch_size])
        ]
        _write(model, part, config, on_token)
        written += [document.tokens for document in part]
    return written


def sample_images(
    model: LanguageModel,
    text_tokenizer: TextTokenizer,
    captions: Sequence[str],
    config: SamplingConfig,
    seed: Seed,
    *,
    codebook: int = 0,
) -> np.ndarray:
    """Codes of an image for each caption, int32 (B, N) in [0, K). An empty caption gives an unconditional image.

    Args:
        codebook: index in the vocabulary of the images' codebook, and so of their grid.
    """
    vocabulary = model.vocabulary
    num_tokens = vocabulary.codebooks[codebook].tokens_per_image
    prompts = [_drawing_prompt(caption, codebook, vocabulary, text_tokenizer) for caption in captions]
    requests = [
        Request(prompt, 1 + len(prompt) + num_tokens + 2, _seed_of(seed, index), "item")
        for index, prompt in enumerate(prompts)
    ]
    drawn = [tokens[-num_tokens:] for tokens in generate(model, requests, config)]
    codes = np.array(drawn, np.int32).reshape(len(captions), num_tokens)
    return codes - np.int32(vocabulary.image_offsets[codebook])


def sample_captions(
    model: LanguageModel,
    text_tokenizer: TextTokenizer,
    codes: np.ndarray,
    config: SamplingConfig,
    seed: Seed,
    *,
    max_tokens: int = 48,
    codebook: int = 0,
) -> list[str]:
    """A caption of at least one token for each image, given as codes of this codebook, int (B, N) in [0, K)."""
    vocabulary = model.vocabulary
    num_tokens, begin = vocabulary.codebooks[codebook].tokens_per_image, vocabulary.image_begins[codebook]
    if codes.shape[1:] != (num_tokens,):
        raise ValueError(f"codes must be B x {num_tokens}, got {codes.shape}")
    rows = (codes.astype(np.int64) + vocabulary.image_offsets[codebook]).tolist()
    prompts = [[begin, *row, END_OF_IMAGE, CAPTION_OF_PREVIOUS] for row in rows]
    start = num_tokens + 4
    requests = [
        Request(prompt, start + max_tokens + 1, _seed_of(seed, index), "item") for index, prompt in enumerate(prompts)
    ]
    written = generate(model, requests, config)
    return [text_tokenizer.decode([token - vocabulary.text_offset for token in tokens[start:]]) for tokens in written]


def _seed_of(seed: Seed, index: int) -> tuple[int, ...]:
    return (*([seed] if isinstance(seed, int) else seed), index)


def _drawing_prompt(caption: str, codebook: int, vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> list[int]:
    begin = vocabulary.image_begins[codebook]
    if not caption:
        return [begin]
    ids = [vocabulary.text_offset + token for token in text_tokenizer.encode(caption)]
    return [CAPTION_OF_NEXT, *ids, begin]


class _Document:
    """A document that is being generated."""

    def __init__(self, request: Request, index: int, vocabulary: Vocabulary) -> None:
        self.index, self.max_tokens, self._ends = index, request.max_tokens, request.ends
        self._vocabulary = vocabulary
        self._writer = DocumentWriter(vocabulary, request.max_tokens)
        self._random = np.random.default_rng(request.seed)
        self.item_start = 0
        """Where the special token stands that opened the present picture, text or caption."""
        self.is_done = False
        for token in request.prompt:
            self._append(token)
        last = self.tokens[self.item_start]
        if request.ends == "item" and last not in (*vocabulary.image_begins, *TEXT_MARKS):
            raise ValueError("no item is open at the end of the prompt")

    @property
    def tokens(self) -> list[int]:
        return self._writer.tokens

    @property
    def place(self) -> int:
        """Place of the last token in its image; -1 outside of images."""
        return len(self.tokens) - self.item_start - 2 if self.tokens[-1] >= self._vocabulary.image_offset else -1

    def allowed(self) -> Allowed:
        return self._writer.allowed()

    def next_uniform(self) -> float:
        return float(self._random.random(dtype=np.float32))

    def take(self, token: int) -> bool:
        """Appends a token, unless the document ends before it. Returns whether it did."""
        if self._ends == "item" and token < self._vocabulary.text_offset:
            self.is_done = True
            return False
        self._append(token)
        if self._ends == "item":
            self.is_done = self.allowed().special == (END_OF_IMAGE,)
        else:
            self.is_done = self._writer.done
        return True

    def _append(self, token: int) -> None:
        self._writer.append(token)
        if token < self._vocabulary.text_offset:
            self.item_start = len(self.tokens) - 1

    def references(self, config: SamplingConfig) -> dict[str, list[int]]:
        """The sequences that guidance compares the current item with: the same item after less context. Maps names to
        tokens; empty without guidance."""
        opening, drawn = self.tokens[self.item_start], self.tokens[self.item_start + 1 :]
        if opening in self._vocabulary.codebook_of_begin:
            without = [DOCUMENT, opening, *drawn]
            image_scale = config.cfg_scale if config.image_cfg_scale is None else config.image_cfg_scale
            found = {} if config.cfg_scale == image_scale == 1 else {_NOTHING: without}
            pictures = self._earlier_pictures() if image_scale != config.cfg_scale else []
            return {**found, _PICTURES: [DOCUMENT, *pictures, *without[1:]]} if pictures else found
        if opening in TEXT_MARKS and config.text_cfg_scale != 1:
            mark = CAPTION_OF_NEXT if opening == CAPTION_OF_PREVIOUS else opening  # a caption before any picture
            return {_NOTHING: [DOCUMENT, mark, *drawn]}
        return {}

    def _earlier_pictures(self) -> list[int]:
        """The finished images without their captions."""
        kept: list[int] = []
        is_open = False
        for token in self.tokens[: self.item_start]:
            is_open = is_open or token in self._vocabulary.codebook_of_begin
            if is_open:
                kept.append(token)
            is_open = is_open and token != END_OF_IMAGE
        return kept


_ALL, _NOTHING, _PICTURES = "all", "nothing", "pictures"
"""What a row of the decoder sees of its document: everything, or the present item behind nothing, or behind the
pictures alone."""


def _write(
    model: LanguageModel,
    documents: Sequence[_Document],
    config: SamplingConfig,
    on_token: Callable[[int, int], None] | None,
) -> None:
    """Generates documents in one batch until all are done."""
    decoder = Decoder(model, max(document.max_tokens for document in documents))
    open_ones = list(documents)
    _join(decoder, open_ones, config, [_ALL])
    while open_ones:
        tokens = _draw_next(decoder, open_ones, config, model.vocabulary)
        opened = []
        for document, token in zip(open_ones, tokens, strict=True):
            if document.take(token):
                if on_token is not None:
                    on_token(document.index, token)
                if document.item_start == len(document.tokens) - 1:
                    opened.append(document)
        open_ones = [document for document in open_ones if not document.is_done]
        by_index = {document.index: document for document in open_ones}
        changed = {document.index for document in opened}
        decoder.keep({key for key in decoder.keys if key[0] in by_index and (key[1] == _ALL or key[0] not in changed)})
        if open_ones:
            rows = [by_index[index] for index, _ in decoder.keys]
            decoder.append([document.tokens[-1] for document in rows], [document.place for document in rows])
            _join(decoder, [document for document in opened if not document.is_done], config)


def _join(decoder: Decoder, documents: Sequence[_Document], config: SamplingConfig, also: Sequence[str] = ()) -> None:
    """Adds the rows that guide the current items, and for new documents also their own rows."""
    prompts = {
        (document.index, name): prompt
        for document in documents
        for name, prompt in {**dict.fromkeys(also, document.tokens), **document.references(config)}.items()
    }
    if prompts:
        decoder.add(list(prompts), list(prompts.values()))


def _draw_next(
    decoder: Decoder, documents: Sequence[_Document], config: SamplingConfig, vocabulary: Vocabulary
) -> list[int]:
    """The next token of each document. Documents with the same allowed tokens are sampled together."""
    row_of = {key: row for row, key in enumerate(decoder.keys)}
    groups: dict[tuple[Allowed, bool, bool], list[int]] = {}
    for number, document in enumerate(documents):
        is_guided, by_pictures = ((document.index, name) in row_of for name in (_NOTHING, _PICTURES))
        groups.setdefault((document.allowed(), is_guided, by_pictures), []).append(number)
    tokens = [0] * len(documents)
    for (allowed, is_guided, by_pictures), members in groups.items():
        names = [_ALL, *[_NOTHING] * is_guided, *[_PICTURES] * by_pictures]
        rows = [[row_of[documents[number].index, name] for number in members] for name in names]
        logits = [decoder.logits_BV[row] for row in rows]
        if allowed.codebook is not None:
            codes = vocabulary.image_range(allowed.codebook)
            guided_BK = _guide_image([each[:, codes.start : codes.stop] for each in logits], config)
            settings, offset = config, codes.start
        elif len(allowed.special) == 1 and not allowed.text:
            for number in members:
                tokens[number] = allowed.special[0]
            continue
        else:
            guided_BK = _text_logits(logits, [documents[number].tokens for number in members], config, vocabulary)
            hidden = torch.full((vocabulary.image_offset,), -torch.inf, device=guided_BK.device)
            hidden[list(allowed.special)] = 0
            if allowed.text:
                hidden[vocabulary.text_offset :] = 0
            guided_BK, settings, offset = guided_BK + hidden, config.of_text, 0
        uniforms_B = torch.tensor([documents[number].next_uniform() for number in members], dtype=torch.float64)
        for number, token in zip(members, draw(guided_BK, settings, uniforms_B).tolist(), strict=True):
            tokens[number] = token + offset
    return tokens


def _guide_image(logits: Sequence[Tensor], config: SamplingConfig) -> Tensor:
    """Combines the logits with full context, without context, and with images only, as far as given, into guided
    logits."""
    everything, *references = logits
    if not references:
        return everything
    nothing, pictures = references[0], references[-1]
    image_scale = config.cfg_scale if config.image_cfg_scale is None else config.image_cfg_scale
    return nothing + image_scale * (pictures - nothing) + config.cfg_scale * (everything - pictures)


def _text_logits(
    logits: Sequence[Tensor], tokens: Sequence[Sequence[int]], config: SamplingConfig, vocabulary: Vocabulary
) -> Tensor:
    """Logits of special and text tokens, with guidance and repetition penalty."""
    start, stop = vocabulary.text_offset, vocabulary.image_offset
    everything, *references = logits
    words = everything[:, start:stop]
    if references:
        difference = words.log_softmax(-1) - references[0][:, start:stop].log_softmax(-1)
        guided = references[0][:, start:stop].log_softmax(-1) + config.text_cfg_scale * difference
        words = guided.log_softmax(-1) + words.logsumexp(-1, keepdim=True)
    if config.repetition_penalty != 1:
        words = words.clone()
        for row, written in enumerate(tokens):
            seen = torch.tensor(sorted({token - start for token in written if start <= token < stop}), dtype=torch.long)
            before = words[row, seen]
            words[row, seen] = torch.where(
                before > 0, before / config.repetition_penalty, before * config.repetition_penalty
            )
    return torch.cat([everything[:, :start], words], 1)
