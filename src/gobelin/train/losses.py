"""What training minimises, and what it is measured by: losses and hits of text and image tokens apart."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train.batches import NO_TARGET, Batch
from gobelin.train.compute import autocast

# B rows, T tokens of a row, M tokens that have a target, V vocabulary


@dataclasses.dataclass(frozen=True, slots=True)
class TokenLosses:
    """Of each token that has a target."""

    losses_M: Tensor  # nats
    normalizers_M: Tensor  # log of the sum of exponentials of its logits
    targets_M: Tensor
    logits_MV: Tensor


def token_losses(model: nn.Module, batch: Batch, device: torch.device, precision: str) -> TokenLosses:
    """Losses of a batch that lies on the CPU. Which tokens have a target is found there: a device is not waited for."""
    at_M = (batch.targets_BT.flatten() != NO_TARGET).nonzero()[:, 0]
    targets_M = batch.targets_BT.flatten()[at_M].to(device, non_blocking=True)
    fields = (each.to(device, non_blocking=True) for each in (batch.tokens_BT, batch.pieces_BT, at_M))
    with autocast(device, precision):
        logits_MV = model(*fields)
    losses_M, normalizers_M = LossAndNormalizer.apply(logits_MV.float(), targets_M)
    return TokenLosses(losses_M, normalizers_M, targets_M, logits_MV)


class LossAndNormalizer(torch.autograd.Function):
    """Cross entropy and log normaliser of each row of logits, (M, V) and targets (M) -> two of M.

    Both have one gradient pass over the logits here; autograd makes six of it, each as costly as the softmax.
    """

    @staticmethod
    def forward(ctx: Any, logits_MV: Tensor, targets_M: Tensor) -> tuple[Tensor, Tensor]:
        log_probabilities_MV = F.log_softmax(logits_MV, -1)
        ctx.save_for_backward(log_probabilities_MV, targets_M)
        # logit - log probability is the log normaliser, in whichever column: no second pass over the logits.
        normalizers_M = logits_MV[:, 0] - log_probabilities_MV[:, 0]
        return -log_probabilities_MV.gather(1, targets_M[:, None])[:, 0], normalizers_M

    @staticmethod
    def backward(ctx: Any, loss_M: Tensor, normalizer_M: Tensor) -> tuple[Tensor, None]:
        log_probabilities_MV, targets_M = ctx.saved_tensors
        gradient_MV = log_probabilities_MV.exp().mul_((loss_M + normalizer_M)[:, None])
        return gradient_MV.scatter_add_(1, targets_M[:, None], -loss_M[:, None]), None


@dataclasses.dataclass(frozen=True, slots=True)
class TargetWeights:
    """What tokens weigh in the loss, by what they are."""

    text: float
    image: float

    def of(self, targets_M: Tensor, vocabulary: Vocabulary) -> Tensor:
        """The weight of each target; that of special tokens is 1."""
        is_special, is_image = targets_M < vocabulary.text_offset, targets_M >= vocabulary.image_offset
        return torch.where(is_image, self.image, torch.where(is_special, 1.0, self.text))

    def total(self, rows: Sequence[Sequence[np.ndarray]], vocabulary: Vocabulary) -> tuple[float, int]:
        """Weight and number of all targets of packed rows."""
        targets_M = np.concatenate([piece[1:] for row in rows for piece in row])
        num_images = int((targets_M >= vocabulary.image_offset).sum())
        num_special = int((targets_M < vocabulary.text_offset).sum())
        num_texts = len(targets_M) - num_images - num_special
        return num_special + self.text * num_texts + self.image * num_images, len(targets_M)


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """Sums over targets: 3 x 4, for special, text and image tokens the nats, targets, hits and bytes of text. A hit is
    a target that was the likeliest token."""

    sums: Tensor

    def weighted(self, weights: TargetWeights) -> float | None:
        """The weighted mean over all targets, without z-loss; None without targets."""
        nats, count = (
            sum(each * weight for each, weight in zip(column, (1.0, weights.text, weights.image)))
            for column in self.sums[:, :2].T.tolist()
        )
        return nats / count if count else None

    def means(self) -> dict[str, float | None]:
        """Nats a text token and an image code, bits a byte of text, shares of hits; None where there were none."""
        _, text, image = self.sums.tolist()
        return {
            "text_nats": text[0] / text[1] if text[1] else None,
            "text_bits_per_byte": text[0] / math.log(2) / text[3] if text[3] else None,
            "text_accuracy": text[2] / text[1] if text[1] else None,
            "image_nats": image[0] / image[1] if image[1] else None,
            "image_accuracy": image[2] / image[1] if image[1] else None,
        }


def measure(found: TokenLosses, vocabulary: Vocabulary) -> Measured:
    """Split what was found by what the target is. Stays on the device, in double precision where it has that."""
    targets_M, losses_M = found.targets_M, found.losses_M.detach()
    dtype = torch.float32 if losses_M.device.type == "mps" else torch.float64
    kinds_M = (targets_M >= vocabulary.text_offset).long() + (targets_M >= vocabulary.image_offset).long()
    lengths = torch.tensor((*vocabulary.text_token_bytes, 0), device=targets_M.device)
    words_M = torch.where(kinds_M == 1, targets_M - vocabulary.text_offset, vocabulary.text_size)
    hits_M = found.logits_MV.detach().argmax(-1) == targets_M
    columns = (losses_M, torch.ones_like(losses_M), hits_M, lengths[words_M])
    values_M4 = torch.stack([column.to(dtype) for column in columns], 1)
    return Measured(values_M4.new_zeros(3, 4).index_add_(0, kinds_M, values_M4))
