"""Measures whether the model uses the other modality: the grounding gap on held-out (caption, image) pairs.

For each pair, the loss of the image's codes after its own caption is compared with their loss after the caption of
another pair, which has a different text. Likewise, the loss of the caption after its own image is compared with its
loss after the other pair's image. A model that ignores the other modality has a gap of zero. The gap is in nats per
token, with a 95 % bootstrap interval over pairs. It costs four forward passes per pair: about 100 pairs per second on
one core.

``losses_of`` computes the losses over given documents.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from gobelin.tokenize.vocabulary import CAPTION_OF_NEXT, CAPTION_OF_PREVIOUS, DOCUMENT, END_OF_IMAGE
from gobelin.train.batches import Loader, make_batch
from gobelin.train.losses import Measured, Wanted, measure, token_losses
from gobelin.train.model import LanguageModel
from gobelin.train.pairs import Pair
from gobelin.train.shards import Documents

MAX_CAPTION_TOKENS = 64  # of a longer caption the first ones are taken
NUM_BOOTSTRAP = 2000
BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """Loss with a wrong partner minus loss with the right partner."""

    mean: float  # nats per token
    low: float  # 95 % interval of the mean
    high: float
    true_nats: float  # mean loss with the right partner
    win_ratio: float  # pairs whose right partner gives the lower loss, [0, 1]


@dataclasses.dataclass(frozen=True, slots=True)
class Grounding:
    """The gaps in both directions, over the same pairs and the same wrong partners."""

    num_pairs: int
    image: Gap  # codes given a caption
    text: Gap  # caption given codes


def grounding_gap(model: LanguageModel, pairs: Sequence[Pair], *, seed: int) -> Grounding:
    """Measures the gap. Raises ValueError unless there are two pairs with different captions."""
    pairs = [dataclasses.replace(pair, caption=pair.caption[:MAX_CAPTION_TOKENS]) for pair in pairs]
    begins = model.vocabulary.image_begins
    others = _wrong_partners(pairs, seed)
    image_true = _losses(model, [_picture_after(pair.caption, pair, begins) for pair in pairs])
    image_other = _losses(model, [_picture_after(other.caption, pair, begins) for pair, other in zip(pairs, others)])
    text_true = _losses(model, [_caption_after(pair, pair.caption, begins) for pair in pairs])
    text_other = _losses(model, [_caption_after(other, pair.caption, begins) for pair, other in zip(pairs, others)])
    return Grounding(
        num_pairs=len(pairs),
        image=_gap(image_true, image_other, seed),
        text=_gap(text_true, text_other, seed),
    )


@torch.no_grad()
def losses_of(
    model: LanguageModel, documents: Documents, *, row_tokens: int, batch_rows: int, precision: str, max_rows: int
) -> dict[str, float | None]:
    """Losses and accuracies over these documents; see ``Measured.means``. All None without documents.

    Args:
        max_rows: number of packed rows to read, always the same rows.
    """
    loader = Loader(documents, row_tokens=row_tokens, caption_drop=0.0, seed=0)
    device, rows, sums = model.head.weight.device, itertools.islice(loader.epoch(), max_rows), None
    while part := list(itertools.islice(rows, batch_rows)):
        batch = make_batch(part, row_tokens)
        targets_N = batch.targets_BT.flatten().to(device)
        losses = token_losses(model, batch, Wanted(targets_N, with_hits=True), device, precision)
        found = measure(losses, targets_N, model.vocabulary).sums
        sums = found if sums is None else sums + found
    return Measured(torch.zeros(3, 4) if sums is None else sums).means()


@dataclasses.dataclass(frozen=True, slots=True)
class _Question:
    """A sequence and the range of its tokens over which the loss is averaged."""

    tokens: np.ndarray
    start: int
    stop: int


def _picture_after(caption: Sequence[int], picture: Pair, begins: Sequence[int]) -> _Question:
    head = [DOCUMENT, CAPTION_OF_NEXT, *caption, begins[picture.codebook]]
    return _Question(np.array([*head, *picture.codes]), len(head), len(head) + len(picture.codes))


def _caption_after(picture: Pair, caption: Sequence[int], begins: Sequence[int]) -> _Question:
    head = [DOCUMENT, begins[picture.codebook], *picture.codes, END_OF_IMAGE, CAPTION_OF_PREVIOUS]
    return _Question(np.array([*head, *caption]), len(head), len(head) + len(caption))


@torch.no_grad()
def _losses(model: LanguageModel, questions: Sequence[_Question]) -> np.ndarray:
    """Mean loss over the range of each question, nats per token."""
    device = model.head.weight.device
    results = []
    for start in range(0, len(questions), BATCH_SIZE):
        part = questions[start : start + BATCH_SIZE]
        batch = make_batch([[question.tokens] for question in part], max(len(question.tokens) for question in part))
        logits_BTV = model(batch.tokens_BT.to(device), batch.pieces_BT.to(device))
        losses_BT = F.cross_entropy(
            logits_BTV.transpose(1, 2), batch.targets_BT.to(device), ignore_index=-100, reduction="none"
        )
        for row, question in enumerate(part):
            results.append(losses_BT[row, question.start - 1 : question.stop - 1].cpu().double().mean().item())
    return np.array(results)


def _wrong_partners(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """For each pair, the next pair with a different caption, in a random order drawn from the seed."""
    if len({pair.caption for pair in pairs}) < 2:
        raise ValueError(
            f"grounding needs two pairs with different captions, but all captions of {len(pairs)} pairs are equal"
        )
    order = np.random.default_rng(seed).permutation(len(pairs)).tolist()
    partners: dict[int, Pair] = {}
    for place, index in enumerate(order):
        following = (pairs[order[(place + step) % len(order)]] for step in range(1, len(order)))
        partners[index] = next(other for other in following if other.caption != pairs[index].caption)
    return [partners[index] for index in range(len(pairs))]


def _gap(true: np.ndarray, other: np.ndarray, seed: int) -> Gap:
    differences = other - true
    random = np.random.default_rng(seed)
    means = [differences[random.integers(len(true), size=len(true))].mean() for _ in range(NUM_BOOTSTRAP)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Gap(
        mean=float(differences.mean()),
        low=float(low),
        high=float(high),
        true_nats=float(true.mean()),
        win_ratio=float((differences > 0).mean()),
    )
