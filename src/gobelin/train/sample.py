"""Sampling: pictures from captions, captions from pictures, whole documents. The grammar holds whatever is drawn.

An image is always exactly N image tokens and its end; an image is not begun where it does not fit. Pictures use
classifier-free guidance (arXiv 2207.12598): logits = without + scale x (with - without caption), where "without" is a
picture at the start of a document, which training has seen by leaving out captions. Prompts of different lengths are
padded on the left. Keys and values are cached; about 140 pictures of 49 tokens a second of one core with guidance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gobelin.tokenize.grammar import DocumentWriter
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.vocabulary import (
    CAPTION_OF_NEXT,
    CAPTION_OF_PREVIOUS,
    DOCUMENT,
    END_OF_IMAGE,
    PAD,
    Vocabulary,
)
from gobelin.train.config import SamplingConfig
from gobelin.train.model import KVCache, LanguageModel, places_in_picture

BATCH_SIZE = 64


class _Decoder:
    """Rows of tokens with their cache, all of one length by padding on the left."""

    def __init__(self, model: LanguageModel, prompts: Sequence[Sequence[int]], num_new: int) -> None:
        length = max(len(prompt) for prompt in prompts)
        self._model = model
        self._device = model.head.weight.device
        self._cache: KVCache = model.new_cache(len(prompts), length + num_new)
        self._padding_B1 = torch.tensor([[length - len(prompt)] for prompt in prompts], device=self._device)
        padded = [[PAD] * (length - len(prompt)) + list(prompt) for prompt in prompts]
        self.logits_BV = self._extend(torch.tensor(padded, device=self._device))

    def append(self, tokens_B: Tensor, place: int = -1) -> None:
        """Add one token to each row; ``place`` is its place in a picture."""
        tokens_B1 = tokens_B.to(self._device)[:, None]
        self.logits_BV = self._extend(tokens_B1, torch.full_like(tokens_B1, place))

    def _extend(self, tokens_BT: Tensor, places_BT: Tensor | None = None) -> Tensor:
        if places_BT is None:
            places_BT = places_in_picture(tokens_BT, self._model.vocabulary)
        stop = self._cache.length + tokens_BT.shape[1]
        index_S = torch.arange(stop, device=self._device)
        visible_BS = index_S >= self._padding_B1
        positions_BT = (index_S[self._cache.length :] - self._padding_B1).clamp(min=0)
        return self._model.extend(tokens_BT, positions_BT, places_BT, visible_BS, self._cache)[:, -1].float()


def draw(logits_BV: Tensor, config: SamplingConfig, generator: torch.Generator) -> Tensor:
    """One index a row, int64 of shape B, on the CPU. Entries of minus infinity are never drawn."""
    logits_BV = logits_BV.cpu()
    if config.temperature == 0:
        return logits_BV.argmax(-1)
    if 0 < config.top_k < logits_BV.shape[1]:
        least_B1 = logits_BV.topk(config.top_k).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < least_B1, -torch.inf)
    return torch.multinomial((logits_BV / config.temperature).softmax(-1), 1, generator=generator)[:, 0]


@torch.no_grad()
def sample_images(
    model: LanguageModel,
    text_tokenizer: TextTokenizer,
    captions: Sequence[str],
    config: SamplingConfig,
    generator: torch.Generator,
    *,
    codebook: int = 0,
) -> np.ndarray:
    """Codes of a picture for each caption, int32 B x N in [0, K). An empty caption asks for any picture.

    Args:
        codebook: index in the vocabulary of the codebook, and so of the grid, that the pictures are of.
    """
    vocabulary = model.vocabulary
    without_caption = [DOCUMENT, vocabulary.image_begins[codebook]]
    prompts = [_drawing_prompt(caption, codebook, vocabulary, text_tokenizer) for caption in captions]
    num_tokens = vocabulary.codebooks[codebook].tokens_per_image
    codes = np.empty((len(captions), num_tokens), dtype=np.int32)
    for start in range(0, len(captions), BATCH_SIZE):
        part = prompts[start : start + BATCH_SIZE]
        guided = config.cfg_scale != 1
        decoder = _Decoder(model, part + [without_caption] * len(part) * guided, num_tokens)
        for place in range(num_tokens):
            logits_BK = _image_logits(decoder.logits_BV, codebook, vocabulary)
            if guided:
                with_BK, without_BK = logits_BK.chunk(2)
                logits_BK = _guide(with_BK, without_BK, config.cfg_scale)
            ids_B = draw(logits_BK, config, generator)
            codes[start : start + len(part), place] = ids_B.numpy()
            if place + 1 < num_tokens:
                decoder.append(ids_B.repeat(1 + guided) + vocabulary.image_offsets[codebook], place)
    return codes


@torch.no_grad()
def sample_captions(
    model: LanguageModel,
    text_tokenizer: TextTokenizer,
    codes: np.ndarray,
    config: SamplingConfig,
    generator: torch.Generator,
    *,
    max_tokens: int = 48,
    codebook: int = 0,
) -> list[str]:
    """A caption, at least one token long, for each picture given as codes of this codebook, int B x N in [0, K)."""
    vocabulary = model.vocabulary
    num_tokens, begin = vocabulary.codebooks[codebook].tokens_per_image, vocabulary.image_begins[codebook]
    if codes.shape[1:] != (num_tokens,):
        raise ValueError(f"codes must be B x {num_tokens}, got {codes.shape}")
    captions = []
    for start in range(0, len(codes), BATCH_SIZE):
        rows = (codes[start : start + BATCH_SIZE].astype(np.int64) + vocabulary.image_offsets[codebook]).tolist()
        prompts = [[DOCUMENT, begin, *row, END_OF_IMAGE, CAPTION_OF_PREVIOUS] for row in rows]
        decoder = _Decoder(model, prompts, max_tokens)
        written: list[list[int]] = [[] for _ in rows]
        open_rows = set(range(len(rows)))
        for index in range(max_tokens):
            logits_BV = decoder.logits_BV.clone()
            logits_BV[:, vocabulary.image_offset :] = -torch.inf
            if index == 0:
                logits_BV[:, : vocabulary.text_offset] = -torch.inf
            tokens_B = draw(logits_BV, config, generator)
            open_rows -= {row for row in open_rows if tokens_B[row] < vocabulary.text_offset}
            for row in open_rows:
                written[row].append(int(tokens_B[row]) - vocabulary.text_offset)
            if not open_rows or index + 1 == max_tokens:
                break
            decoder.append(tokens_B)
        captions += [text_tokenizer.decode(ids) for ids in written]
    return captions


@torch.no_grad()
def sample_document(
    model: LanguageModel,
    config: SamplingConfig,
    generator: torch.Generator,
    *,
    max_tokens: int,
    prompt: Sequence[int] = (),
) -> list[int]:
    """The tokens of one whole document, texts and pictures as the model likes; ``decode_document`` reads it.

    Args:
        max_tokens: of the document, its first and last token included; at most a training row, or it strays.
        prompt: tokens that follow ``<|document|>``, for example a text's mark and ids.

    Raises:
        ValueError: the prompt breaks the grammar or leaves no room to close the document.
    """
    vocabulary = model.vocabulary
    writer = DocumentWriter(vocabulary, max_tokens)
    for token in prompt:
        writer.append(token)
    decoder = _Decoder(model, [writer.tokens], max_tokens)
    without: _Decoder | None = None  # a picture at the start of a document, beside the one being drawn
    while not writer.done:
        allowed = writer.allowed()
        codebook = allowed.codebook
        if codebook is not None:
            with_KV = _image_logits(decoder.logits_BV, codebook, vocabulary)
            if config.cfg_scale != 1:
                place = _codes_so_far(writer.tokens, vocabulary)
                if without is None:
                    drawn = writer.tokens[len(writer.tokens) - place :]
                    start = [DOCUMENT, vocabulary.image_begins[codebook]]
                    without = _Decoder(model, [[*start, *drawn]], vocabulary.codebooks[codebook].tokens_per_image)
                with_KV = _guide(with_KV, _image_logits(without.logits_BV, codebook, vocabulary), config.cfg_scale)
            token = int(draw(with_KV, config, generator)) + vocabulary.image_offsets[codebook]
        else:
            without = None
            hidden_V = torch.full_like(decoder.logits_BV, -torch.inf)
            hidden_V[:, list(allowed.special)] = 0
            if allowed.text:
                hidden_V[:, vocabulary.text_offset : vocabulary.image_offset] = 0
            token = int(draw(decoder.logits_BV + hidden_V, config, generator))
        place = _codes_so_far(writer.tokens, vocabulary) if token >= vocabulary.image_offset else -1
        writer.append(token)
        decoder.append(torch.tensor([token]), place)
        if without is not None:
            without.append(torch.tensor([token]), place)
    return writer.tokens


def _drawing_prompt(caption: str, codebook: int, vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> list[int]:
    begin = vocabulary.image_begins[codebook]
    if not caption:
        return [DOCUMENT, begin]
    ids = [vocabulary.text_offset + token for token in text_tokenizer.encode(caption)]
    return [DOCUMENT, CAPTION_OF_NEXT, *ids, begin]


def _codes_so_far(tokens: Sequence[int], vocabulary: Vocabulary) -> int:
    """How many codes of the picture being drawn stand at the end of the tokens."""
    return next(index for index, token in enumerate(reversed(tokens)) if token in vocabulary.codebook_of_begin)


def _image_logits(logits_BV: Tensor, codebook: int, vocabulary: Vocabulary) -> Tensor:
    codes = vocabulary.image_range(codebook)
    return logits_BV[:, codes.start : codes.stop]


def _guide(with_BK: Tensor, without_BK: Tensor, scale: float) -> Tensor:
    return without_BK + scale * (with_BK - without_BK)
