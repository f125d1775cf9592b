"""Trains the mixed-token model on token shards. A resumed run is bit-identical.

Muon trains the matrices of the blocks, and AdamW the embeddings, head and norms. The learning rate warms up over the
first steps and decays at the end. The loss is the weighted mean over all predicted tokens, plus a small z-loss on the
logits' normaliser (arXiv 2204.02311). Text and image losses are reported separately and without weights.

Every ``eval_every`` steps, and after the last, the model is evaluated on held-out documents. The weights with the
lowest held-out loss become ``model.safetensors``. The run ends early after ``patience`` evaluations without a lower
loss.

Everything random is drawn from the seed and the loader's position. So a checkpoint holds weights, optimizer state, the
log so far, step and position, the evaluations, and the weights of the best evaluation. The same shards, configuration,
seed, number of threads and machine give the same weights and the same ``metrics.jsonl``, whether or not the run was
interrupted. Under ``torchrun`` several processes share the rows of each step (``parallel.py``), and a run may continue
with another number of processes.

A batch whose loss or gradient is not finite, or whose gradient is a spike, does not change the weights (``Guard``).
After a few in a row the run ends (``DivergedError``), so no checkpoint or model holds such numbers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from gobelin.errors import DivergedError
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train import log as logs
from gobelin.train.batches import Loader
from gobelin.train.checkpoints import Checkpoints, Position
from gobelin.train.config import TrainConfig
from gobelin.train.held_out import HeldOut
from gobelin.train.mixture import VALIDATION, Mixture, prefix_of, read_mixture
from gobelin.train.model import save_model, whole_weights
from gobelin.train.optimizers import MOST_SKIPS, local, state_tensors
from gobelin.train.parallel import ALONE, Processes
from gobelin.train.size import model_size
from gobelin.train.trainee import Metrics, Trainee
from gobelin.transforms.finite import require_finite
from gobelin.transforms.torch_threads import torch_threads

_FREE_SETTINGS = (  # may differ when a run is resumed
    "log_every", "checkpoint_every", "keep_checkpoints", "tensorboard", "threads", "device", "parallel", "compile",
    "recompute", "attention", "micro_batch_rows", "mixture", "prefetch",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class TrainResult:
    """The result of ``train``."""

    step: int  # steps done in all
    finished: bool  # False: stopped before the last step; a checkpoint is written
    metrics: dict[str, float | None]  # of the last step logged, and the validation losses of a finished run's model
    model_step: int  # after which the weights of the model were the present ones
    ended_by: str  # "steps", "epochs", "patience"; "" of a run that was stopped
    num_skipped: int = 0  # batches that changed no weights
    num_near: int = 0  # documents of a mixture that are not trained on: near-duplicates of held-out ones


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
    """Trains a model on a data set of token shards, or resumes from the checkpoint in ``output_dir``.

    Writes ``metrics.jsonl``, ``speed.jsonl``, ``index.npz`` (the index of the shards) and checkpoints. After the last
    step it writes ``model.safetensors``, ``model.json`` and ``vocabulary.json``. The weights are those with the lowest
    held-out loss, or the last ones if nothing is held out.

    Args:
        held_out: documents to hold out; None: ``validation_ratio`` of the documents, by a hash of their id.
        on_step: called after each step with the number of steps done and the measurements, which are empty except every
            ``log_every`` steps.
        stop: called after each step. If it returns True in any process, the run writes a checkpoint and ends.

    Raises:
        UserError: see ``read_corpus`` and ``Trainee``; or ``output_dir`` holds a checkpoint of other data,
            configuration or seed.
        DivergedError: losses, gradients or weights are not finite; earlier checkpoints are kept.
    """
    split = config.validation_ratio if held_out is None else held_out
    if processes.rank:
        processes.wait()  # until the first has made the index
    mixture = read_mixture(shards, config.mixture, vocabulary, split, config.validation_ratio, output_dir)
    corpus = mixture.own
    if not processes.rank:
        processes.wait()
    identity = {
        "config": {name: value for name, value in dataclasses.asdict(config).items() if name not in _FREE_SETTINGS},
        "seed": seed,
        "data": corpus.fingerprint,
        "mixture": mixture.identity,
        "split": None if held_out is None else held_out.fingerprint,
        "vocabulary": vocabulary.to_json(),
    }
    loader = Loader(
        corpus.training, row_tokens=config.row_tokens, caption_drop=config.caption_drop, text_drop=config.text_drop,
        context_drop=config.context_drop, seed=seed, portions=mixture.portions,
    )  # fmt: skip
    evaluations, most_steps = _evaluations(mixture, config), config.steps
    config = dataclasses.replace(config, steps=num_steps(loader, config))
    with torch_threads(config.threads):
        trainee = Trainee(config, vocabulary, seed, processes)
        with Checkpoints(output_dir, identity, processes, config.keep_checkpoints) as checkpoints:
            run = _Run(trainee, loader, evaluations, checkpoints, output_dir)
            reads_ahead = trainee.device.type != "cpu" if config.prefetch is None else config.prefetch
            with loader.reading_ahead() if reads_ahead else contextlib.nullcontext():
                step, metrics = run.run(on_step or _nothing, stop or _never)
        num_skipped = trainee.guard.read().skipped
        if step < config.steps and not trainee.is_over():
            return TrainResult(step, False, metrics, step, "", num_skipped, mixture.num_near)
        trainee.take_best(step)
        validation = trainee.validate_all(evaluations)
        _require_finite(checkpoints, step, validation)
        weights = whole_weights(trainee.model)
        if processes.rank == 0:
            save_model(trainee.model, output_dir, weights)
        processes.wait()
    ended_by = "patience" if step < config.steps else "epochs" if step < most_steps else "steps"
    losses, model_step = {**metrics, **validation}, trainee.best_step or step
    return TrainResult(step, True, losses, model_step, ended_by, num_skipped, mixture.num_near)


def _nothing(step: int, metrics: Metrics) -> None:
    """Ignores a step."""


def _never() -> bool:
    return False


@dataclasses.dataclass(frozen=True, slots=True)
class _Run:
    """The steps of one call of ``train``."""

    trainee: Trainee
    loader: Loader
    evaluations: Mapping[str, Loader]
    checkpoints: Checkpoints
    output_dir: str

    def run(
        self, on_step: Callable[[int, Metrics], None], stop: Callable[[], bool]
    ) -> tuple[int, dict[str, float | None]]:
        """Runs the remaining steps, or until ``stop``. Returns the number of steps done, and the last measurements."""
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
                evaluates = VALIDATION in self.evaluations and (
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
        """Logs the measurements of a step, with held-out losses, unless its batch was skipped."""
        trainee, config = self.trainee, self.trainee.config
        size = model_size(config, trainee.vocabulary.size, trainee.vocabulary.max_tokens_per_image)
        tokens = config.batch_rows * config.row_tokens
        log.add_speed(step, tokens, tokens * size.flops_per_token / trainee.processes.size, trainee.device)
        self._require_taken(step, is_last=step == config.steps)
        found = trainee.guard.read()
        evaluated: dict[str, float | None] = {}
        if evaluates:
            with log.pause():
                evaluated = trainee.validate_all(self.evaluations, config.eval_rows)
            _require_finite(self.checkpoints, step, evaluated)
            trainee.evaluated(step, evaluated[f"{VALIDATION}loss"] or 0.0)
        told = {} if found.in_a_row else measured
        skipped = {"skipped": float(found.skipped)} if found.skipped else {}
        log.add(step, {**told, **evaluated, **skipped, "utilisation": utilisation})
        return told

    def _require_taken(self, step: int, *, is_last: bool = False) -> None:
        """Raises DivergedError if a few batches in a row were skipped, or if the last step was not finite."""
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
        """Starts a checkpoint, unless there is one of this step. Raises DivergedError."""
        trainee = self.trainee
        if self.checkpoints.newest_step == step:
            return
        if step:
            _require_finite_tensors(self.checkpoints, step, trainee)
        has_best = trainee.best_step not in (None, step)
        at = Position(step, position, tuple(trainee.evaluations), has_best)
        self.checkpoints.start(at, trainee.tensors(has_best), log.content)


def num_steps(loader: Loader, config: TrainConfig) -> int:
    """Steps of a run: the smaller of ``steps`` and ``epochs`` passes, at least one. The first pass determines the rows
    per pass; others have slightly more or fewer."""
    if config.epochs is None:
        return config.steps
    num_rows = loader.num_rows_of_an_epoch()
    return max(1, min(config.steps, math.ceil(config.epochs * num_rows / config.batch_rows)))


def _evaluations(mixture: Mixture, config: TrainConfig) -> dict[str, Loader]:
    """Rows of each corpus's held-out documents, with all captions, by the prefix of their losses."""
    corpora = {VALIDATION: mixture.own}
    corpora |= {prefix_of(number): corpus for number, (_, corpus) in enumerate(mixture.others)}
    return {
        prefix: Loader(corpus.validation, row_tokens=config.row_tokens, caption_drop=0.0, seed=0)
        for prefix, corpus in corpora.items()
        if len(corpus.validation)
    }


def _last_metrics(lines: bytes) -> dict[str, float | None]:
    """Measurements of the last step in a log, without held-out losses; empty if there is no step."""
    last = json.loads(lines.splitlines()[-1]) if lines else {}
    others = ("step", "utilisation")
    return {name: value for name, value in last.items() if name not in others and not name.startswith(VALIDATION)}


def _advice(checkpoints: Checkpoints) -> str:
    whole = checkpoints.whole()
    left = f"The last good checkpoint is {whole[-1]}" if whole else "There is no checkpoint before it"
    return (
        f"{left}; nothing of this step was written. The same settings would fail again: lower train.learning_rate "
        "or change another setting of train, which restarts the training"
    )


def _require_finite(checkpoints: Checkpoints, step: int, metrics: Metrics) -> None:
    """Raises DivergedError unless all numbers of a step are finite."""
    known = {name: value for name, value in metrics.items() if value is not None}
    if not all(map(math.isfinite, known.values())):
        checkpoints.commit()
        require_finite("training", step, known, _advice(checkpoints))


def _require_finite_tensors(checkpoints: Checkpoints, step: int, trainee: Trainee) -> None:
    """Raises DivergedError in all processes unless all weights and the optimizer state are finite."""
    states = (tensor for _, tensor in state_tensors(trainee.model, trainee.optimizers))
    largest = {
        "the largest weight": _largest(trainee.model.parameters()),
        "the largest number of the optimizers": _largest(states),
    }
    bad = trainee.processes.any(*(not math.isfinite(value) for value in largest.values()))
    _require_finite(checkpoints, step, {name: math.nan if is_bad else 0.0 for name, is_bad in zip(largest, bad)})


def _largest(tensors: Iterable[Tensor]) -> float:
    """The largest absolute value in any of the tensors; NaN if one holds NaN."""
    found = [local(tensor).detach().abs().max().float() for tensor in tensors if local(tensor).numel()]
    return torch.stack(found).max().item() if found else 0.0
