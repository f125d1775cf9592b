"""A model in training: its weights, optimizer state, one step, and losses on held-out rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from gobelin.errors import UserError
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train import parallel
from gobelin.train.batches import Batch, Loader, make_batch
from gobelin.train.checkpoints import Checkpoints
from gobelin.train.config import TrainConfig
from gobelin.train.losses import Measured, TargetWeights, TokenLosses, Wanted, measure, token_losses
from gobelin.train.mixture import VALIDATION
from gobelin.train.model import LanguageModel, build_model
from gobelin.train.optimizers import Guard, local, make_optimizers, state_tensors, update
from gobelin.train.parallel import ALONE, Processes
from gobelin.transforms.devices import torch_device

Metrics = Mapping[str, float | None]
Rows = Sequence[Sequence[np.ndarray]]


class Trainee:
    """A model in training: its weights, the optimizer state, and the best weights so far.

    Raises:
        UserError: the rows of a step cannot be divided evenly, or FlexAttention does not support the device.
    """

    def __init__(self, config: TrainConfig, vocabulary: Vocabulary, seed: int, processes: Processes = ALONE) -> None:
        self.config, self.vocabulary, self.processes = config, vocabulary, processes
        self.device = torch_device(config.device)
        own_rows, left = divmod(config.batch_rows, processes.size)
        self.micro_rows = config.micro_batch_rows or own_rows
        if left or own_rows % self.micro_rows:
            raise UserError(
                f"train.batch_rows must be a multiple of {processes.size} processes x {self.micro_rows} rows at a time "
                f"(micro_batch_rows), got {config.batch_rows}"
            )
        self.model = build_model(
            config.model, vocabulary, torch.Generator().manual_seed(seed), self.device, self._shard()
        )
        self.model.recomputes = config.recompute
        self.model.uses_flex_attention = _uses_flex(config, self.device)
        self.model.has_fixed_shapes = config.compile
        if config.compile:
            for block in self.model.blocks:
                block.compile()
        is_replica = processes.size > 1 and config.parallel == "ddp"
        self.called: nn.Module = parallel.replicate(self.model, self.device) if is_replica else self.model
        self.optimizers = make_optimizers(self.model, config)
        self.guard = Guard(config.spike_factor, self.device)
        self.weights = TargetWeights(config.text_weight, config.image_weight)
        self.evaluations: list[tuple[int, float]] = []  # (step, held-out loss)
        self.best: dict[str, Tensor] = {}

    def _shard(self) -> Callable[[LanguageModel], None] | None:
        if self.processes.size == 1 or self.config.parallel == "ddp":
            return None
        return lambda model: parallel.shard(model, self.device, self.processes.size)

    @property
    def best_step(self) -> int | None:
        """The step with the lowest held-out loss; the first of equal ones."""
        return min(self.evaluations, key=lambda each: each[1])[0] if self.evaluations else None

    def evaluated(self, step: int, loss: float) -> None:
        """Records a held-out loss, and copies the weights if it is the lowest."""
        self.evaluations.append((step, loss))
        if self.best_step == step:
            self.best = {name: tensor.detach().clone() for name, tensor in self.model.named_parameters()}

    def is_over(self) -> bool:
        """Whether ``patience`` evaluations have followed the best one."""
        steps, patience = [step for step, _ in self.evaluations], self.config.patience
        best = self.best_step
        return patience is not None and best is not None and len(steps) - 1 - steps.index(best) >= patience

    def take_best(self, step: int) -> None:
        """Restores the best weights, unless they are those of this step."""
        if self.best_step not in (None, step):
            for name, parameter in self.model.named_parameters():
                local(parameter).data.copy_(local(self.best[name]))

    def tensors(self, has_best: bool) -> dict[str, Tensor]:
        """All tensors of a checkpoint, by name."""
        found = {f"model/{name}": parameter.detach() for name, parameter in self.model.named_parameters()}
        found |= {f"optimizer/{name}": tensor for name, tensor in state_tensors(self.model, self.optimizers)}
        found["guard"] = self.guard.state
        return found | ({f"best/{name}": tensor for name, tensor in self.best.items()} if has_best else {})

    def resume(self, checkpoints: Checkpoints) -> tuple[int, int, bytes]:
        """Resumes from the newest checkpoint, if there is one. Returns its step, the loader's position, and the log."""
        found = checkpoints.read()
        if found is None:
            return 0, 0, b""
        position, log, folder = found
        self.evaluations = list(position.evaluations)
        self.best = {name: torch.empty_like(each) for name, each in self.model.named_parameters()}
        checkpoints.load(folder, self.tensors(position.has_best))
        if not position.has_best and self.best_step is not None:
            self.best = {name: each.detach().clone() for name, each in self.model.named_parameters()}
        return position.step, position.position, log

    def step(self, rows: Rows, step: int, *, is_measured: bool) -> dict[str, float | None]:
        """One step on all rows of a batch, of which this process takes its share. ``step`` counts from 0.

        Returns:
            Measurements of the step; empty unless asked for. Without them, the device is not synchronized.
        """
        loss, norm, measured = self.backward(rows, is_measured)
        skips = self.guard.judge(loss, norm)
        update(self.optimizers, self.config, step, skips)
        if measured is None:
            return {}
        return {"loss": loss.item(), **measured.means(), "gradient_norm": norm.item()}

    def backward(self, rows: Rows, is_measured: bool) -> tuple[Tensor, Tensor, Measured | None]:
        """Computes clipped gradients. Returns the loss, the gradient norm before clipping, and the measurements."""
        config, processes = self.config, self.processes
        weight, count = self.weights.total(rows, self.vocabulary)
        loss, sums = torch.zeros((), device=self.device), None
        parts = self.own_batches(rows)
        for number, batch in enumerate(parts, 1):
            with parallel.gradients_are_shared(self.called, number == len(parts)):
                # The gradients should be summed over processes, but they are averaged.
                weights_N = self.weights.of(batch.targets_BT.flatten(), self.vocabulary) * (processes.size / weight)
                z_weight = config.z_loss * processes.size / count
                found, part = self.losses(batch, weights_N, z_weight, is_measured=is_measured)
                found.total.backward()
            loss += found.total.detach() / processes.size
            if part is not None:
                sums = part.sums if sums is None else sums + part.sums
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        processes.add(loss)
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        return loss, whole, None if sums is None else Measured(processes.add(sums))

    def losses(
        self, batch: Batch, weights_N: Tensor | None, z_weight: float, *, is_measured: bool
    ) -> tuple[TokenLosses, Measured | None]:
        """Losses of a batch (see ``Wanted``), and its measurements if asked for."""
        targets_N = batch.targets_BT.flatten().to(self.device, non_blocking=True)
        weights_N = None if weights_N is None else weights_N.to(self.device, non_blocking=True)
        wanted = Wanted(targets_N, weights_N, z_weight, with_hits=is_measured)
        found = token_losses(self.called, batch, wanted, self.device, self.config.precision)
        return found, measure(found, targets_N, self.vocabulary) if is_measured else None

    def own_batches(self, rows: Rows) -> list[Batch]:
        """This process's rows, as batches of equal size, the same number in each process. Padding fills missing
        rows."""
        own, size = list(rows[self.processes.rank :: self.processes.size]), self.processes.size
        own += [[]] * (-(-len(rows) // (size * self.micro_rows)) * self.micro_rows - len(own))
        return [
            make_batch(own[start : start + self.micro_rows], self.config.row_tokens)
            for start in range(0, len(own), self.micro_rows)
        ]

    def validate_all(self, evaluations: Mapping[str, Loader], max_rows: int | None = None) -> dict[str, float | None]:
        """``validate`` for several corpora, by the prefix of their losses."""
        found: dict[str, float | None] = {}
        for prefix, evaluation in evaluations.items():
            found |= self.validate(evaluation, max_rows, prefix)
        return found

    @torch.no_grad()
    def validate(
        self, evaluation: Loader, max_rows: int | None = None, prefix: str = VALIDATION
    ) -> dict[str, float | None]:
        """Losses over held-out documents, with the names of a step's losses after a prefix.

        Args:
            max_rows: number of rows to read, always the same rows; None: all.
        """
        sums = None
        rows = itertools.islice(evaluation.epoch(), max_rows)
        while part_rows := list(itertools.islice(rows, self.config.batch_rows)):
            for batch in self.own_batches(part_rows):
                _, part = self.losses(batch, None, 0.0, is_measured=True)
                assert part is not None
                sums = part.sums if sums is None else sums + part.sums
        assert sums is not None
        measured = Measured(self.processes.add(sums))
        means = {"loss": measured.weighted(self.weights), **measured.means()}
        return {f"{prefix}{name}": value for name, value in means.items()}


def _uses_flex(config: TrainConfig, device: torch.device) -> bool:
    if config.attention == "flex" and device.type != "cuda":
        raise UserError(f"train.attention flex has no gradients on the device {device.type}: set it to auto or sdpa")
    return config.attention != "sdpa" and config.compile and device.type == "cuda"
