"""The training loss and its measurements, separately for text and image tokens."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train.batches import NO_TARGET, Batch
from gobelin.train.compute import autocast
from gobelin.train.linear import product

# B rows, T tokens of a row, N = B x T, D model width, V vocabulary

CHUNK_BYTES = 4 * 2**20
"""Of logits at a time on a CPU. So they stay in its cache, and memory is that of a chunk, however large the vocabulary;
fewer rows than ``CHUNK_ROWS`` would make the products slow."""

CHUNK_ROWS = 128

DEVICE_CHUNK_BYTES = 256 * 2**20
"""The same on another device, which wants large products."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """The tokens, targets and weights for which losses are computed."""

    targets_N: Tensor  # NO_TARGET where there is none
    weights_N: Tensor | None = None  # of each target in what is minimised; None: nothing is
    z_weight: float = 0.0  # of the squared log normaliser of each token that has a target
    with_hits: bool = False


class TokenLosses(NamedTuple):
    """Losses per token of rows laid end to end. Values of tokens without a target are meaningless."""

    total: Tensor  # what is minimised, a scalar, and alone has gradients
    losses_N: Tensor  # nats
    hits_N: Tensor | None  # whether the target was the likeliest token


def token_losses(model: nn.Module, batch: Batch, wanted: Wanted, device: torch.device, precision: str) -> TokenLosses:
    """Losses of a batch, which may lie on the CPU. Does not synchronize with the device."""
    tokens_BT, pieces_BT = (each.to(device, non_blocking=True) for each in (batch.tokens_BT, batch.pieces_BT))
    with autocast(device, precision):
        found: TokenLosses = model(tokens_BT, pieces_BT, wanted)
    return found


def losses_of_head(head: nn.Linear, x_ND: Tensor, wanted: Wanted) -> TokenLosses:
    """Losses of the head's logits, one chunk of rows at a time. Computes the gradients in the same pass, so no logits
    are stored or recomputed."""
    return TokenLosses(*_Losses.apply(x_ND, head.weight, wanted))


class _Losses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, weight_VD: Tensor, wanted: Wanted) -> tuple[Tensor, Tensor, Tensor | None]:
        learns = wanted.weights_N is not None and any(ctx.needs_input_grad)
        chunk_bytes = CHUNK_BYTES if x_ND.device.type == "cpu" else DEVICE_CHUNK_BYTES
        chunk = max(CHUNK_ROWS, chunk_bytes // (4 * len(weight_VD)))
        weights_N = torch.zeros_like(x_ND[:, 0]) if wanted.weights_N is None else wanted.weights_N
        z_weights_N = wanted.z_weight * (wanted.targets_N != NO_TARGET)
        of_x, of_weight, totals, losses, hits = [], None, [], [], []
        fields = (x_ND, wanted.targets_N.clamp(min=0)[:, None], weights_N, z_weights_N)
        for x_MD, targets_M1, weights_M, z_weights_M in zip(*(each.split(chunk) for each in fields), strict=True):
            logits_MV = product(x_MD, weight_VD.T).float()
            if wanted.with_hits:
                hits.append(logits_MV.argmax(-1) == targets_M1[:, 0])
            largest_M, of_target_M = logits_MV.amax(-1), logits_MV.gather(1, targets_M1)[:, 0]
            chances_MV = torch.softmax(logits_MV, -1, out=logits_MV)
            normalizers_M = largest_M - chances_MV.amax(-1).log()  # at least 1 / V: it does not underflow
            losses.append(normalizers_M - of_target_M)
            totals.append((weights_M * losses[-1]).sum() + (z_weights_M * normalizers_M.square()).sum())
            if learns:
                chances_MV *= (weights_M + 2 * z_weights_M * normalizers_M)[:, None]
                of_logits_MV = chances_MV.scatter_add_(1, targets_M1, -weights_M[:, None])
                of_x.append(product(of_logits_MV, weight_VD))
                of_chunk = product(x_MD.T, of_logits_MV).T.to(weight_VD.dtype)  # sums in full precision
                of_weight = of_chunk if of_weight is None else of_weight.add_(of_chunk)
        ctx.save_for_backward(*([torch.cat(of_x), of_weight] if of_weight is not None else []))
        found = (torch.stack(totals).sum(), torch.cat(losses), torch.cat(hits) if hits else None)
        ctx.mark_non_differentiable(*(each for each in found[1:] if each is not None))
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, None]:
        of_x_ND, of_weight_VD = ctx.saved_tensors
        return of_x_ND * gradient, of_weight_VD * gradient, None


@dataclasses.dataclass(frozen=True, slots=True)
class TargetWeights:
    """Weights of tokens in the loss, by their kind."""

    text: float
    image: float

    def of(self, targets_M: Tensor, vocabulary: Vocabulary) -> Tensor:
        """The weight of each target: 1 for special tokens, 0 without a target."""
        is_special, is_image = targets_M < vocabulary.text_offset, targets_M >= vocabulary.image_offset
        weights_M = torch.where(is_image, self.image, torch.where(is_special, 1.0, self.text))
        return torch.where(targets_M == NO_TARGET, 0.0, weights_M)

    def total(self, rows: Sequence[Sequence[np.ndarray]], vocabulary: Vocabulary) -> tuple[float, int]:
        """Weight and number of all targets of packed rows."""
        targets_M = np.concatenate([piece[1:] for row in rows for piece in row])
        num_images = int((targets_M >= vocabulary.image_offset).sum())
        num_special = int((targets_M < vocabulary.text_offset).sum())
        num_texts = len(targets_M) - num_images - num_special
        return num_special + self.text * num_texts + self.image * num_images, len(targets_M)


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """Sums over targets, (3, 4): for special, text and image tokens, the nats, targets, hits and bytes of text. A hit
    is a target that was the most likely token."""

    sums: Tensor

    def weighted(self, weights: TargetWeights) -> float | None:
        """The weighted mean loss over all targets, without z-loss; None without targets."""
        nats, count = (
            sum(each * weight for each, weight in zip(column, (1.0, weights.text, weights.image)))
            for column in self.sums[:, :2].T.tolist()
        )
        return nats / count if count else None

    def means(self) -> dict[str, float | None]:
        """Nats per text token and per image code, bits per byte of text, and accuracies; None if there are no such
        tokens."""
        _, text, image = self.sums.tolist()
        return {
            "text_nats": text[0] / text[1] if text[1] else None,
            "text_bits_per_byte": text[0] / math.log(2) / text[3] if text[3] else None,
            "text_accuracy": text[2] / text[1] if text[1] else None,
            "image_nats": image[0] / image[1] if image[1] else None,
            "image_accuracy": image[2] / image[1] if image[1] else None,
        }


def measure(found: TokenLosses, targets_N: Tensor, vocabulary: Vocabulary) -> Measured:
    """Sums losses and hits by the kind of target. Stays on the device, in double precision if the device supports
    it."""
    assert found.hits_N is not None
    dtype = torch.float32 if targets_N.device.type == "mps" else torch.float64
    kinds_N = (targets_N >= vocabulary.text_offset).long() + (targets_N >= vocabulary.image_offset).long()
    lengths = torch.tensor((*vocabulary.text_token_bytes, 0), device=targets_N.device)
    words_N = torch.where(kinds_N == 1, targets_N - vocabulary.text_offset, vocabulary.text_size)
    columns = (found.losses_N, torch.ones_like(found.losses_N), found.hits_N, lengths[words_N])
    values_N4 = torch.stack([column.to(dtype) for column in columns], 1)
    no_target = 3
    sums = values_N4.new_zeros(4, 4).index_add_(0, kinds_N.masked_fill(targets_N == NO_TARGET, no_target), values_N4)
    return Measured(sums[:no_target])
