"""Optimizers, their schedule, and the guard that protects the weights from bad batches."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from gobelin.train.config import TrainConfig
from gobelin.train.model import LanguageModel
from gobelin.train.muon import Muon

MOST_SKIPS = 5
"""Batches in a row that may be skipped before training stops."""

STEPS_TO_KNOW = 50
"""Gradients that are seen before one counts as a spike."""

MEMORY = 0.98  # of the mean norm of gradients: about the last 50 steps


def learning_rate_ratio(step: int, config: TrainConfig) -> float:
    """Learning rate of this step (from 0), relative to the peak, [0, 1]."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "cosine":
        passed = max(0.0, step + 1 - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
        left = 0.5 + 0.5 * math.cos(math.pi * min(1.0, passed))
    else:
        decay_steps = config.decay_ratio * config.steps
        left = min(1.0, (config.steps - step) / decay_steps) if decay_steps else 1.0
    return warm * (config.final_lr_ratio + (1 - config.final_lr_ratio) * left)


def make_optimizers(model: LanguageModel, config: TrainConfig) -> list[Optimizer]:
    """Muon for the matrices of the blocks and AdamW for the rest, or AdamW for all. Their state is allocated, all
    zeros."""
    named = list(model.named_parameters())
    tables = [p for name, p in named if p.ndim == 2 and not name.startswith("blocks.")]
    scales = [p for _, p in named if p.ndim == 1]
    groups: list[dict[str, Any]] = [
        {"params": tables, "weight_decay": 0.1 * config.weight_decay},
        {"params": scales, "weight_decay": 0.0},
    ]
    width, head = config.model.width, config.model.head_width
    blocks = {"qkv.weight": (head, width), "out.weight": (width, head), "gate_up.weight": None, "down.weight": None}
    matrices = [
        {"params": [p for name, p in named if name.endswith(end)], "block": block} for end, block in blocks.items()
    ]
    found: list[Optimizer] = []
    if config.optimizer == "muon":
        found.append(Muon(matrices, lr=config.learning_rate, weight_decay=config.weight_decay))
    else:
        groups += [{"params": each["params"], "weight_decay": config.weight_decay} for each in matrices]
    found.append(torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True))
    for optimizer in found:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                optimizer.state[parameter].update(_fresh_state(optimizer, parameter))
    return found


def _fresh_state(optimizer: Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    if isinstance(optimizer, Muon):
        return {"momentum_buffer": torch.zeros_like(parameter)}
    return {
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }


def state_tensors(model: LanguageModel, optimizers: Sequence[Optimizer]) -> Iterator[tuple[str, Tensor]]:
    """Yields (``parameter/name of the state``, tensor) of the optimizers' state."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            yield from ((f"{names[parameter]}/{key}", value) for key, value in state.items())


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """The statistics of a guard."""

    mean_norm: float  # of the gradients that were taken
    seen: int  # how many they were
    in_a_row: int  # batches skipped up to now
    skipped: int  # in all
    loss: float  # of the last batch
    norm: float


class Guard:
    """Checks the gradient of each batch. A gradient that is not finite, or far larger than usual, must not change the
    weights.

    ``state``, the numbers of ``Judged``, stays on the device. Only ``read`` synchronizes with the device.
    """

    def __init__(self, spike_factor: float | None, device: torch.device) -> None:
        self._factor = math.inf if spike_factor is None else spike_factor
        self.state = torch.zeros(6, device=device)

    def judge(self, loss: Tensor, norm: Tensor) -> Tensor:
        """Whether to skip the batch: a bool tensor with one element."""
        mean, seen, in_a_row, skipped = self.state[:4]
        is_spike = (seen >= STEPS_TO_KNOW) & (norm > self._factor * mean)
        skips = ~(loss.isfinite() & norm.isfinite()) | is_spike
        share = (1 / (seen + 1)).clamp(min=1 - MEMORY)
        taken = torch.stack([mean + share * (norm - mean), seen + 1, torch.zeros_like(mean), skipped, loss, norm])
        left = torch.stack([mean, seen, in_a_row + 1, skipped + 1, loss, norm])
        self.state = torch.where(skips, left, taken)
        return skips

    def read(self) -> Judged:
        """The statistics so far. Synchronizes with the device."""
        mean, seen, in_a_row, skipped, loss, norm = self.state.tolist()
        return Judged(mean, int(seen), int(in_a_row), int(skipped), loss, norm)


def update(optimizers: Sequence[Optimizer], config: TrainConfig, step: int, skips: Tensor) -> None:
    """One step of the optimizers, or none if the batch is skipped. Then clears the gradients."""
    is_known = skips.device.type == "cpu"  # elsewhere the optimizers read it on the device
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_ratio(step, config)
        if not is_known:
            optimizer.grad_scale, optimizer.found_inf = None, skips.float()  # type: ignore[attr-defined]
        if not is_known or not skips:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def local(tensor: Tensor) -> Tensor:
    """This process's shard of a tensor, or the tensor itself."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
