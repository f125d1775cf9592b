"""Warnings about a training, from its log, one sentence each. Does not import torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

RISE = 0.02
"""Share by which the held-out loss must rise above its lowest value before that is told: less is noise."""


def fit_alerts(
    lines: Sequence[Mapping[str, Any]], losses: Mapping[str, float | None], model_step: int, num_codes: int
) -> list[str]:
    """Signs that a model memorized its corpus, or learned nothing about its images.

    Args:
        lines: of ``metrics.jsonl``.
        losses: of the finished model; names of losses on held-out documents begin with ``validation_``.
        model_step: the step of the model's weights.
        num_codes: image tokens of the vocabulary.
    """
    return [*_overfitting(lines, model_step), *_guessing(losses, num_codes)]


def skip_alerts(num_skipped: int, step: int) -> list[str]:
    """A warning if a run skipped batches, with their share of the steps."""
    if not num_skipped:
        return []
    return [
        f"{num_skipped:,} of {step:,} batches {'were' if num_skipped > 1 else 'was'} skipped: loss or gradient was not "
        "finite, or the gradient was far larger than usual (train.spike_factor). A lower train.learning_rate helps"
    ]


def _overfitting(lines: Sequence[Mapping[str, Any]], model_step: int) -> list[str]:
    """A warning if the held-out loss rose after the model's step while the training loss kept falling."""
    held_out = [(line["step"], line["validation_loss"]) for line in lines if line.get("validation_loss") is not None]
    best = min((loss for _, loss in held_out), default=0.0)
    before = [line["loss"] for line in lines if line["step"] <= model_step and line.get("loss") is not None]
    behind = [line["loss"] for line in lines if line["step"] > model_step and line.get("loss") is not None]
    if not held_out or not before or not behind:
        return []
    last_step, last = held_out[-1]
    if last <= best * (1 + RISE) or sum(behind) / len(behind) >= before[-1]:
        return []
    return [
        f"the model overfits: from step {model_step:,} to {last_step:,} the held-out loss rose from {best:.3f} to "
        f"{last:.3f} while the training loss fell from {before[-1]:.3f} to {behind[-1]:.3f}; the weights of step "
        f"{model_step:,} were kept. More documents help, or fewer passes (train.epochs)"
    ]


def _guessing(losses: Mapping[str, float | None], num_codes: int) -> list[str]:
    """A warning if held-out images are predicted no better than by guessing."""
    held_out, guess = losses.get("validation_image_nats"), math.log(num_codes)
    if held_out is None or held_out < guess:
        return []
    trained = losses.get("image_nats")
    in_training = "" if trained is None else f" ({trained:.3f} in training)"
    return [
        f"the model has learned nothing general about pictures: the held-out loss is {held_out:.3f} nats per image "
        f"token{in_training}, and guessing among {num_codes:,} codes gives {guess:.3f}. Its pictures are noise or "
        "copies, because the corpus has too few pictures"
    ]
