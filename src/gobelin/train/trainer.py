"""Train the mixed-token model on token shards, resumable to the bit.

Muon for the matrices of the blocks, AdamW for embeddings, head and norms; a learning rate that rises over the first
steps and falls in the end. The loss is the weighted mean over all predicted tokens, plus a small penalty on the logits'
normaliser (z-loss, arXiv 2204.02311). Text and image losses are reported apart and without weights.

Every ``eval_every`` steps, and after the last, the model is evaluated on held-out documents. The weights with the
lowest held-out loss become ``model.safetensors``; without a lower one in ``patience`` evaluations the run ends early.

Everything random is drawn from the seed and the loader's position, so a checkpoint is weights, optimizer state, the
log so far, step and position, the evaluations, and the weights of the best of them. Same shards, configuration, seed,
number of threads and machine: the same weights and the same ``metrics.jsonl``, whether or not the run was interrupted.
Under ``torchrun`` several processes share the rows of each step (``parallel.py``), and a run may go on with another
number of them.

A batch whose loss or gradient is no number, or whose gradient is a spike, changes no weights (``Guard``). After a few
in a row the run ends (``DivergedError``): no checkpoint and no model holds such numbers.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from gobelin.errors import DivergedError, UserError
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train import log as logs
from gobelin.train import parallel
from gobelin.train.batches import Batch, Loader, make_batch
from gobelin.train.checkpoints import Checkpoints, Position
from gobelin.train.config import TrainConfig
from gobelin.train.held_out import HeldOut
from gobelin.train.losses import Measured, TargetWeights, TokenLosses, Wanted, measure, token_losses
from gobelin.train.mixture import read_mixture
from gobelin.train.model import LanguageModel, build_model, save_model, whole_weights
from gobelin.train.optimizers import MOST_SKIPS, Guard, local, make_optimizers, state_tensors, update
from gobelin.train.parallel import ALONE, Processes
from gobelin.train.shards import TokenCorpus, read_corpus
from gobelin.train.size import model_size
from gobelin.transforms.devices import torch_device
from gobelin.transforms.finite import require_finite
from gobelin.transforms.torch_threads import torch_threads

VALIDATION = "validation_"
"""Before the names of losses on held-out documents."""

_FREE_SETTINGS = (  # may differ when a run is resumed
    "log_every", "checkpoint_every", "keep_checkpoints", "tensorboard", "threads", "device", "parallel", "compile",
    "recompute", "attention", "micro_batch_rows", "mixture",
)  # fmt: skip

Metrics = Mapping[str, float | None]
Rows = Sequence[Sequence[np.ndarray]]


@dataclasses.dataclass(frozen=True, slots=True)
class TrainResult:
    """What a call of ``train`` ended with."""

    step: int  # steps done in all
    finished: bool  # False: stopped before the last step; a checkpoint is written
    metrics: dict[str, float | None]  # of the last step logged, and the validation losses of a finished run's model
    model_step: int  # after which the weights of the model were the present ones
    ended_by: str  # "steps", "epochs", "patience"; "" of a run that was stopped
    num_skipped: int = 0  # batches that changed no weights


class Trainee:
    """A model under way: its weights, what optimizers remember, and the best weights so far.

    Raises:
        UserError: rows of a step cannot be dealt out evenly, or FlexAttention has no device.
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
        """Of the lowest held-out loss; of equal ones the first."""
        return min(self.evaluations, key=lambda each: each[1])[0] if self.evaluations else None

    def evaluated(self, step: int, loss: float) -> None:
        """Note a held-out loss, and the weights where it is the lowest."""
        self.evaluations.append((step, loss))
        if self.best_step == step:
            self.best = {name: tensor.detach().clone() for name, tensor in self.model.named_parameters()}

    def is_over(self) -> bool:
        """Whether ``patience`` evaluations have followed the best one."""
        steps, patience = [step for step, _ in self.evaluations], self.config.patience
        best = self.best_step
        return patience is not None and best is not None and len(steps) - 1 - steps.index(best) >= patience

    def take_best(self, step: int) -> None:
        """Go back to the best weights, where those of this step are not."""
        if self.best_step not in (None, step):
            for name, parameter in self.model.named_parameters():
                local(parameter).data.copy_(local(self.best[name]))

    def tensors(self, has_best: bool) -> dict[str, Tensor]:
        """All that a checkpoint holds, by name."""
        found = {f"model/{name}": parameter.detach() for name, parameter in self.model.named_parameters()}
        found |= {f"optimizer/{name}": tensor for name, tensor in state_tensors(self.model, self.optimizers)}
        found["guard"] = self.guard.state
        return found | ({f"best/{name}": tensor for name, tensor in self.best.items()} if has_best else {})

    def resume(self, checkpoints: Checkpoints) -> tuple[int, int, bytes]:
        """Go on where the newest checkpoint stands, if there is one: its step, the loader's position, the log."""
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
            What it was measured by; nothing where that is not asked for, and the device is not waited for then.
        """
        loss, norm, measured = self.backward(rows, is_measured)
        skips = self.guard.judge(loss, norm)
        update(self.optimizers, self.config, step, skips)
        if measured is None:
            return {}
        return {"loss": loss.item(), **measured.means(), "gradient_norm": norm.item()}

    def backward(self, rows: Rows, is_measured: bool) -> tuple[Tensor, Tensor, Measured | None]:
        """Gradients of the loss of rows, clipped; the loss, the norm of the gradient before, and what was measured."""
        config, processes = self.config, self.processes
        weight, count = self.weights.total(rows, self.vocabulary)
        loss, sums = torch.zeros((), device=self.device), None
        parts = self.own_batches(rows)
        for number, batch in enumerate(parts, 1):
            with parallel.gradients_are_shared(self.called, number == len(parts)):
                # A sum over processes is wanted, and they take the mean of gradients.
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
        """Losses of a batch, see ``Wanted``, and what was measured of it where that is asked for."""
        targets_N = batch.targets_BT.flatten().to(self.device, non_blocking=True)
        weights_N = None if weights_N is None else weights_N.to(self.device, non_blocking=True)
        wanted = Wanted(targets_N, weights_N, z_weight, with_hits=is_measured)
        found = token_losses(self.called, batch, wanted, self.device, self.config.precision)
        return found, measure(found, targets_N, self.vocabulary) if is_measured else None

    def own_batches(self, rows: Rows) -> list[Batch]:
        """This process's rows, as batches of equal size and as many as others have: what is missing is padding."""
        own, size = list(rows[self.processes.rank :: self.processes.size]), self.processes.size
        own += [[]] * (-(-len(rows) // (size * self.micro_rows)) * self.micro_rows - len(own))
        return [
            make_batch(own[start : start + self.micro_rows], self.config.row_tokens)
            for start in range(0, len(own), self.micro_rows)
        ]

    @torch.no_grad()
    def validate(self, evaluation: Loader, max_rows: int | None = None) -> dict[str, float | None]:
        """Losses over validation documents: ``validation_`` + the names of a step's losses.

        Args:
            max_rows: rows of them that are read, always the same ones; None: all.
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
        return {f"{VALIDATION}{name}": value for name, value in means.items()}


def train(
    shards: str,
    vocabulary: Vocabulary,
    config: TrainConfig,
    output_dir: str,
    *,
    seed: int,
    held_out: HeldOut | None = None,
    on_step: Callable[[int, Metrics], None] | None = None,
    stop: Callable[[], bool] | None = None,
    processes: Processes = ALONE,
) -> TrainResult:
    """Train a model on a data set of token shards, or go on where the checkpoint in ``output_dir`` stands.

    Writes ``metrics.jsonl``, ``speed.jsonl``, ``index.npz`` (of the shards) and checkpoints, and after the last step
    ``model.safetensors`` (the weights of the evaluation with the lowest held-out loss; the last ones where nothing is
    held out), ``model.json`` and ``vocabulary.json``.

    Args:
        held_out: what is not trained on; None: ``validation_ratio`` of the documents, by hash of their id.
        on_step: called after each step with the number of steps done and, of every ``log_every``-th step, what it was
            measured by; of others with nothing.
        stop: asked after each step; True, in any process, ends the run with a checkpoint.

    Raises:
        UserError: see ``read_corpus`` and ``Trainee``; or ``output_dir`` holds a checkpoint of other data,
            configuration or seed.
        DivergedError: losses, gradients or weights are no numbers any more; what was saved before is left.
    """
    split = config.validation_ratio if held_out is None else held_out
    if processes.rank:
        processes.wait()  # until the first has made the index
    corpus = read_corpus(shards, vocabulary, split, kept_in=output_dir)
    portions = read_mixture(config.mixture, vocabulary, split, output_dir)
    if not processes.rank:
        processes.wait()
    identity = {
        "config": {name: value for name, value in dataclasses.asdict(config).items() if name not in _FREE_SETTINGS},
        "seed": seed,
        "data": corpus.fingerprint,
        "mixture": [[portion.documents.fingerprint, portion.share] for portion in portions],
        "split": None if held_out is None else held_out.fingerprint,
        "vocabulary": vocabulary.to_json(),
    }
    loader = Loader(
        corpus.training, row_tokens=config.row_tokens, caption_drop=config.caption_drop, text_drop=config.text_drop,
        context_drop=config.context_drop, seed=seed, portions=portions,
    )  # fmt: skip
    evaluation, most_steps = _evaluation(corpus, config), config.steps
    config = dataclasses.replace(config, steps=num_steps(loader, config))
    with torch_threads(config.threads):
        trainee = Trainee(config, vocabulary, seed, processes)
        with Checkpoints(output_dir, identity, processes, config.keep_checkpoints) as checkpoints:
            run = _Run(trainee, loader, evaluation, checkpoints, output_dir)
            step, metrics = run.run(on_step or _nothing, stop or _never)
        num_skipped = trainee.guard.read().skipped
        if step < config.steps and not trainee.is_over():
            return TrainResult(step, False, metrics, step, "", num_skipped)
        trainee.take_best(step)
        validation = {} if evaluation is None else trainee.validate(evaluation)
        _require_finite(checkpoints, step, validation)
        weights = whole_weights(trainee.model)
        if processes.rank == 0:
            save_model(trainee.model, output_dir, weights)
        processes.wait()
    ended_by = "patience" if step < config.steps else "epochs" if step < most_steps else "steps"
    return TrainResult(step, True, {**metrics, **validation}, trainee.best_step or step, ended_by, num_skipped)


def _nothing(step: int, metrics: Metrics) -> None:
    """Nothing is told."""


def _never() -> bool:
    return False


@dataclasses.dataclass(frozen=True, slots=True)
class _Run:
    """The steps of a call of ``train``."""

    trainee: Trainee
    loader: Loader
    evaluation: Loader | None
    checkpoints: Checkpoints
    output_dir: str

    def run(
        self, on_step: Callable[[int, Metrics], None], stop: Callable[[], bool]
    ) -> tuple[int, dict[str, float | None]]:
        """All steps that are left, or those until ``stop``: steps done, and the last ones' measurements."""
        trainee, config, processes = self.trainee, self.trainee.config, self.trainee.processes
        step, position, content = trainee.resume(self.checkpoints)
        metrics = _last_metrics(content)
        is_due = stops = False
        with logs.opened(
            self.output_dir, content, step, with_tensorboard=config.tensorboard, writes=processes.rank == 0
        ) as log:
            while step < config.steps and not trainee.is_over() and not stops:
                utilisation = self.loader.utilisation(position)
                rows, position = self.loader.rows(position, config.batch_rows)
                evaluates = self.evaluation is not None and (
                    (step + 1) % config.eval_every == 0 or step + 1 == config.steps
                )
                is_logged = evaluates or (step + 1) % config.log_every == 0 or step + 1 == config.steps
                measured = trainee.step(rows, step, is_measured=is_logged)
                step += 1
                is_due = is_due or step % config.checkpoint_every == 0
                if is_logged:
                    metrics = self._log(log, step, measured, utilisation, evaluates) or metrics
                elif trainee.device.type == "cpu" or is_due:
                    self._require_taken(step)
                on_step(step, metrics if is_logged else {})
                stops, is_writing = processes.any(stop(), self.checkpoints.is_writing)
                if not is_writing:
                    self.checkpoints.commit()
                if is_due and step < config.steps and not trainee.guard.state[2]:
                    is_due = False
                    self._save(log, step, position)
            self._save(log, step, position)
        return step, metrics

    def _log(
        self, log: logs.Log, step: int, measured: dict[str, float | None], utilisation: float, evaluates: bool
    ) -> dict[str, float | None]:
        """Writes down what a step was measured by, held-out losses included, unless its batch was skipped."""
        trainee, config = self.trainee, self.trainee.config
        size = model_size(config, trainee.vocabulary.size, trainee.vocabulary.max_tokens_per_image)
        tokens = config.batch_rows * config.row_tokens
        log.add_speed(step, tokens, tokens * size.flops_per_token / trainee.processes.size, trainee.device)
        self._require_taken(step, is_last=step == config.steps)
        found = trainee.guard.read()
        evaluated: dict[str, float | None] = {}
        if evaluates and self.evaluation is not None:
            with log.pause():
                evaluated = trainee.validate(self.evaluation, config.eval_rows)
            _require_finite(self.checkpoints, step, evaluated)
            trainee.evaluated(step, evaluated[f"{VALIDATION}loss"] or 0.0)
        told = {} if found.in_a_row else measured
        skipped = {"skipped": float(found.skipped)} if found.skipped else {}
        log.add(step, {**told, **evaluated, **skipped, "utilisation": utilisation})
        return told

    def _require_taken(self, step: int, *, is_last: bool = False) -> None:
        """Raises DivergedError after a few batches in a row that were skipped, and where the last was no number."""
        found = self.trainee.guard.read()
        if found.in_a_row >= MOST_SKIPS or (is_last and not math.isfinite(found.loss + found.norm)):
            self.checkpoints.commit()
            raise DivergedError(
                f"training stopped at step {step}: {found.in_a_row} "
                f"{'batches in a row were' if found.in_a_row > 1 else 'batch was'} skipped, the last with a loss of "
                f"{found.loss:g} and a gradient of norm {found.norm:g}, where {found.mean_norm:g} is usual. "
                f"{_advice(self.checkpoints)}"
            )

    def _save(self, log: logs.Log, step: int, position: int) -> None:
        """Begin a checkpoint, unless there is one of this step. Raises DivergedError."""
        trainee = self.trainee
        if self.checkpoints.newest_step == step:
            return
        if step:
            _require_finite_tensors(self.checkpoints, step, trainee)
        has_best = trainee.best_step not in (None, step)
        at = Position(step, position, tuple(trainee.evaluations), has_best)
        self.checkpoints.start(at, trainee.tensors(has_best), log.content)


def num_steps(loader: Loader, config: TrainConfig) -> int:
    """Steps of a run: ``steps``, or those of ``epochs`` passes where these are fewer, at least one. A pass is counted
    as the rows of the first one; another packs a few more or less."""
    if config.epochs is None:
        return config.steps
    num_rows = loader.num_rows_of_an_epoch()
    return max(1, min(config.steps, math.ceil(config.epochs * num_rows / config.batch_rows)))


def _evaluation(corpus: TokenCorpus, config: TrainConfig) -> Loader | None:
    """Rows of the documents that are held out, with all their captions; None where nothing is."""
    if not len(corpus.validation):
        return None
    return Loader(corpus.validation, row_tokens=config.row_tokens, caption_drop=0.0, seed=0)


def _uses_flex(config: TrainConfig, device: torch.device) -> bool:
    if config.attention == "flex" and device.type != "cuda":
        raise UserError(f"train.attention flex has no gradients on the device {device.type}: set it to auto or sdpa")
    return config.attention != "sdpa" and config.compile and device.type == "cuda"


def _last_metrics(lines: bytes) -> dict[str, float | None]:
    """Of the last step that a log holds, without an evaluation's; empty without a step."""
    last = json.loads(lines.splitlines()[-1]) if lines else {}
    others = ("step", "utilisation")
    return {name: value for name, value in last.items() if name not in others and not name.startswith(VALIDATION)}


def _advice(checkpoints: Checkpoints) -> str:
    whole = checkpoints.whole()
    left = f"The last good checkpoint is {whole[-1]}" if whole else "There is no checkpoint before it"
    return (
        f"{left}; nothing was written of this step. The same settings would lead here again: lower train.learning_rate "
        "or change another setting of train, which starts the training anew"
    )


def _require_finite(checkpoints: Checkpoints, step: int, metrics: Metrics) -> None:
    """Raises DivergedError unless all numbers of a step are finite."""
    known = {name: value for name, value in metrics.items() if value is not None}
    if not all(map(math.isfinite, known.values())):
        checkpoints.commit()
        require_finite("training", step, known, _advice(checkpoints))


def _require_finite_tensors(checkpoints: Checkpoints, step: int, trainee: Trainee) -> None:
    """Raises DivergedError in all processes unless all weights and all that optimizers remember are finite."""
    states = (tensor for _, tensor in state_tensors(trainee.model, trainee.optimizers))
    largest = {
        "the largest weight": _largest(trainee.model.parameters()),
        "the largest number of the optimizers": _largest(states),
    }
    bad = trainee.processes.any(*(not math.isfinite(value) for value in largest.values()))
    _require_finite(checkpoints, step, {name: math.nan if is_bad else 0.0 for name, is_bad in zip(largest, bad)})


def _largest(tensors: Iterable[Tensor]) -> float:
    """The largest absolute value of any of the tensors; NaN where one of them holds it."""
    found = [local(tensor).detach().abs().max().float() for tensor in tensors if local(tensor).numel()]
    return torch.stack(found).max().item() if found else 0.0
