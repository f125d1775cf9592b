"""Train the mixed-token model on token shards, resumable to the bit.

Muon for the matrices of the blocks, AdamW for embeddings, head and norms; learning rate up over the first steps,
constant, then linear down over the second half (warm-up-stable-decay). The loss is the weighted mean over all predicted
tokens, plus a small penalty on the logits' normaliser (z-loss, arXiv 2204.02311). Text and image losses are reported
apart and without weights: nats per text token, bits per byte of text, nats per image code.

Every ``eval_every`` steps, and after the last, the model is evaluated on held-out documents. The weights with the
lowest held-out loss become ``model.safetensors``; without a lower one in ``patience`` evaluations the run ends early.

Everything random is drawn from the seed and the loader's position, so a checkpoint is weights, optimizer state, the
log so far, step and position, the evaluations, and the weights of the best of them. Its ``state.json`` is written last,
and without one it is none. Same shards, configuration, seed, number of threads and machine: the same weights and the
same ``metrics.jsonl``, whether or not the run was interrupted.

The log is written whole, every few seconds and when the run ends, in whatever way.

A loss or gradient that is no number ends the run before the weights learn from it (``DivergedError``): no line of the
log, no checkpoint and no model holds such numbers, and the checkpoint before them stays.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from gobelin.errors import UserError
from gobelin.store.files import (
    delete,
    exists,
    list_files,
    local_copy,
    local_output,
    output,
    read_bytes,
    read_json,
    write_bytes,
)
from gobelin.store.paths import join
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train.batches import NO_TARGET, Batch, Loader, make_batch
from gobelin.train.compute import autocast, torch_device
from gobelin.train.config import TrainConfig
from gobelin.train.held_out import HeldOut
from gobelin.train.metrics import METRICS_NAME
from gobelin.train.model import WEIGHTS_NAME, LanguageModel, build_model, save_model
from gobelin.train.muon import Muon
from gobelin.train.shards import TokenCorpus, read_corpus
from gobelin.transforms.finite import require_finite
from gobelin.transforms.torch_threads import torch_threads

CHECKPOINT_PREFIX = "checkpoint_"
STATE_NAME = "state.json"
OPTIMIZERS_NAME = "optimizers.pt"
BEST_NAME = "best.safetensors"
VALIDATION = "validation_"
"""Before the names of losses on held-out documents."""
SECONDS_BETWEEN_LOGS = 10.0
"""A log that somebody watches is at most so old."""

_CHECKPOINT = re.compile(rf"{CHECKPOINT_PREFIX}\d{{8}}")
_FREE_SETTINGS = ("log_every", "checkpoint_every", "threads", "device")  # may differ when a run is resumed


@dataclasses.dataclass(frozen=True, slots=True)
class TrainResult:
    """What a call of ``train`` ended with."""

    step: int  # steps done in all
    finished: bool  # False: stopped before the last step; a checkpoint is written
    metrics: dict[str, float | None]  # of the last step logged, and the validation losses of a finished run's model
    model_step: int  # after which the weights of the model were the present ones
    ended_by: str  # "steps", "epochs", "patience"; "" of a run that was stopped


@dataclasses.dataclass(slots=True)
class _Selection:
    """The evaluations of a run, and the weights of the best of them: the lowest loss, of equal ones the first."""

    evaluations: list[tuple[int, float]] = dataclasses.field(default_factory=list)  # (step, held-out loss)
    weights: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    @property
    def best_step(self) -> int | None:
        return min(self.evaluations, key=lambda each: each[1])[0] if self.evaluations else None

    def add(self, step: int, loss: float, model: LanguageModel) -> None:
        self.evaluations.append((step, loss))
        if self.best_step == step:
            self.weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}

    def is_over(self, patience: int | None) -> bool:
        """Whether so many evaluations have followed the best one."""
        steps = [step for step, _ in self.evaluations]
        return patience is not None and bool(steps) and len(steps) - 1 - steps.index(self.best_step) >= patience  # type: ignore[arg-type]


def train(
    shards: str,
    vocabulary: Vocabulary,
    config: TrainConfig,
    output_dir: str,
    *,
    seed: int,
    held_out: HeldOut | None = None,
    on_step: Callable[[int, Mapping[str, float | None]], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """Train a model on a data set of token shards, or go on where the checkpoint in ``output_dir`` stands.

    Writes ``metrics.jsonl``, ``index.npz`` (of the shards) and checkpoints, and after the last step
    ``model.safetensors`` (the weights of the evaluation with the lowest held-out loss; the last ones where nothing is
    held out), ``model.json`` and ``vocabulary.json``.

    Args:
        held_out: what is not trained on; None: ``validation_ratio`` of the documents, by hash of their id.
        on_step: called after each step with the number of steps done and the step's losses.
        stop: asked after each step; True ends the run with a checkpoint.

    Raises:
        UserError: see ``read_corpus``; or ``output_dir`` holds a checkpoint of other data, configuration or seed.
        DivergedError: loss, gradient or weights are no numbers any more; what was saved before is left.
    """
    split = config.validation_ratio if held_out is None else held_out
    corpus = read_corpus(shards, vocabulary, split, kept_in=output_dir)
    identity = {
        "config": {name: value for name, value in dataclasses.asdict(config).items() if name not in _FREE_SETTINGS},
        "seed": seed,
        "data": corpus.fingerprint,
        "split": None if held_out is None else held_out.fingerprint,
        "vocabulary": vocabulary.to_json(),
    }
    device, most_steps = torch_device(config.device), config.steps
    loader = Loader(corpus.training, row_tokens=config.row_tokens, caption_drop=config.caption_drop, seed=seed)
    evaluation = _evaluation(corpus, config)
    config = dataclasses.replace(config, steps=num_steps(loader, config))
    with torch_threads(config.threads):
        model = build_model(config.model, vocabulary, torch.Generator().manual_seed(seed), device)
        optimizers = _optimizers(model, config)
        step, position, lines, selection = _resume(output_dir, identity, model, optimizers)
        first_step, metrics = step, _last_metrics(lines)
        with _Log(join(output_dir, METRICS_NAME), lines) as log:
            while step < config.steps and not selection.is_over(config.patience):
                if stop is not None and step > first_step and stop():
                    break
                utilisation = loader.utilisation(position)
                batch, position = loader.batch(position, config.batch_rows)
                metrics = _backward(model, _to(batch, device), config)
                _require_finite(output_dir, step + 1, metrics)
                _update(optimizers, config, step)
                step += 1
                if on_step is not None:
                    on_step(step, metrics)
                evaluated: dict[str, float | None] = {}
                if evaluation is not None and (step % config.eval_every == 0 or step == config.steps):
                    evaluated = validate(model, evaluation, config, config.eval_rows)
                    _require_finite(output_dir, step, evaluated)
                    selection.add(step, evaluated[f"{VALIDATION}loss"] or 0.0, model)
                if evaluated or step % config.log_every == 0 or step == config.steps:
                    log.add({"step": step, **metrics, **evaluated, "utilisation": utilisation})
                if step % config.checkpoint_every == 0 and step < config.steps:
                    _save_checkpoint(output_dir, identity, model, optimizers, log, step, position, selection)
        _save_checkpoint(output_dir, identity, model, optimizers, log, step, position, selection)
        is_early = selection.is_over(config.patience)
        if step < config.steps and not is_early:
            return TrainResult(step, False, metrics, step, "")
        if selection.best_step not in (None, step):
            model.load_state_dict(selection.weights)
        validation = {} if evaluation is None else validate(model, evaluation, config)
        _require_finite(output_dir, step, validation)
        save_model(model, output_dir)
    ended_by = "patience" if step < config.steps else "epochs" if step < most_steps else "steps"
    return TrainResult(step, True, {**metrics, **validation}, selection.best_step or step, ended_by)


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


@torch.no_grad()
def validate(
    model: LanguageModel, evaluation: Loader, config: TrainConfig, max_rows: int | None = None
) -> dict[str, float | None]:
    """Losses over validation documents: ``validation_`` + the names of a step's losses.

    Args:
        max_rows: rows of them that are read, always the same ones; None: all.
    """
    sums, num_bytes = torch.zeros(3, 2, dtype=torch.float64), 0
    rows = itertools.islice(evaluation.epoch(), max_rows)
    while part_rows := list(itertools.islice(rows, config.batch_rows)):
        batch = _to(make_batch(part_rows, config.row_tokens), model.head.weight.device)
        losses_M, _, targets_M = _losses(model, batch, config.precision)
        part = modality_losses(losses_M, targets_M, model.vocabulary)
        sums += part.sums
        num_bytes += part.num_text_bytes
    losses = ModalityLosses(sums, num_bytes)
    means = {"loss": losses.weighted(config.image_weight), **losses.means()}
    return {f"{VALIDATION}{name}": value for name, value in means.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class ModalityLosses:
    """Sums of nats and numbers of targets: 3 x 2 for special, text and image tokens."""

    sums: Tensor
    num_text_bytes: int

    def weighted(self, image_weight: float) -> float | None:
        """The mean over all targets, those that are image codes with this weight: what training minimises, without
        z-loss. None without targets."""
        weights = torch.tensor([1.0, 1.0, image_weight], dtype=torch.float64)
        nats, count = (weights @ self.sums).tolist()
        return nats / count if count else None

    def means(self) -> dict[str, float | None]:
        """Nats per text token and per image code, bits per byte of text; None where there were none."""
        (_, text, image), counts = self.sums[:, 0].tolist(), self.sums[:, 1].tolist()
        return {
            "text_nats": text / counts[1] if counts[1] else None,
            "text_bits_per_byte": text / math.log(2) / self.num_text_bytes if self.num_text_bytes else None,
            "image_nats": image / counts[2] if counts[2] else None,
        }


def modality_losses(losses_M: Tensor, targets_M: Tensor, vocabulary: Vocabulary) -> ModalityLosses:
    """Split the losses of single targets by what the target is. Sums are made on the CPU: mps has no float64."""
    losses_M, targets_M = losses_M.detach().cpu(), targets_M.cpu()
    kinds_M = (targets_M >= vocabulary.text_offset).long() + (targets_M >= vocabulary.image_offset).long()
    values_M2 = torch.stack([losses_M.double(), torch.ones_like(losses_M, dtype=torch.float64)], 1)
    sums = values_M2.new_zeros(3, 2).index_add_(0, kinds_M, values_M2)
    lengths = torch.tensor(vocabulary.text_token_bytes)
    num_bytes = int(lengths[targets_M[kinds_M == 1] - vocabulary.text_offset].sum())
    return ModalityLosses(sums, num_bytes)


def learning_rate_ratio(step: int, config: TrainConfig) -> float:
    """Learning rate of this step (from 0) as a share of the peak."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    decay_steps = config.decay_ratio * config.steps
    left = (config.steps - step) / decay_steps if decay_steps else 1.0
    return warm * (config.final_lr_ratio + (1 - config.final_lr_ratio) * min(1.0, left))


def _optimizers(model: LanguageModel, config: TrainConfig) -> list[torch.optim.Optimizer]:
    matrices = [
        p
        for name, p in model.named_parameters()
        if name.startswith("blocks.") and name.endswith(".weight") and p.ndim == 2
    ]
    tables = [p for name, p in model.named_parameters() if p.ndim == 2 and not name.startswith("blocks.")]
    scales = [p for name, p in model.named_parameters() if p.ndim == 1 or name.endswith("qk_scale_2K")]
    groups: list[dict[str, Any]] = [
        {"params": tables, "weight_decay": 0.1 * config.weight_decay},
        {"params": scales, "weight_decay": 0.0},
    ]
    lr = config.learning_rate
    return [
        Muon(matrices, lr=lr, weight_decay=config.weight_decay),
        torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True),
    ]


def _backward(model: LanguageModel, batch: Batch, config: TrainConfig) -> dict[str, float | None]:
    """Gradients of the batch's loss, clipped; the losses and the norm of the gradient before that."""
    losses_M, normalizers_M, targets_M = _losses(model, batch, config.precision)
    weights_M = torch.where(targets_M >= model.vocabulary.image_offset, config.image_weight, 1.0)
    loss = (weights_M * losses_M).sum() / weights_M.sum() + config.z_loss * normalizers_M.square().mean()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    means = modality_losses(losses_M, targets_M, model.vocabulary).means()
    return {"loss": loss.item(), **means, "gradient_norm": norm.item()}


def _update(optimizers: list[torch.optim.Optimizer], config: TrainConfig, step: int) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_ratio(step, config)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _require_finite(output_dir: str, step: int, metrics: Mapping[str, float | None]) -> None:
    """Raises DivergedError unless all numbers of a step are finite."""
    checkpoints = _checkpoints(output_dir)
    left = f"The last good checkpoint is {checkpoints[-1]}" if checkpoints else "There is no checkpoint before it"
    require_finite(
        "training",
        step,
        {name: value for name, value in metrics.items() if value is not None},
        f"{left}; nothing was written of this step. The same settings would lead here again: lower train.learning_rate "
        "or change another setting of train, which starts the training anew",
    )


def _largest(tensors: Iterable[Tensor]) -> float:
    """The largest absolute value of any of the tensors; NaN where one of them holds it."""
    return torch.stack([tensor.detach().abs().max().float().cpu() for tensor in tensors if tensor.numel()]).max().item()


def _state_tensors(optimizers: list[torch.optim.Optimizer]) -> Iterator[Tensor]:
    for optimizer in optimizers:
        for state in optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))


def _losses(model: LanguageModel, batch: Batch, precision: str) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, log normaliser and target of each token that has a target."""
    has_target_BT = batch.targets_BT != NO_TARGET
    targets_M = batch.targets_BT[has_target_BT]
    with autocast(targets_M.device, precision):
        logits_MV = model.head(model.features(batch.tokens_BT, batch.pieces_BT)[has_target_BT])
    losses_M, normalizers_M = LossAndNormalizer.apply(logits_MV.float(), targets_M)
    return losses_M, normalizers_M, targets_M


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


def _fields(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    return batch.tokens_BT, batch.targets_BT, batch.pieces_BT


def _to(batch: Batch, device: torch.device | str) -> Batch:
    return Batch(*(field.to(device) for field in _fields(batch)))


class _Log:
    """Lines of JSON that are kept at an address; on a store a file can only be written whole."""

    def __init__(self, address: str, content: bytes) -> None:
        self._address, self.content = address, content
        self._num_written = -1
        self._next_write = 0.0

    def __enter__(self) -> _Log:
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

    def add(self, line: Mapping[str, float | None]) -> None:
        self.content += json.dumps(line, allow_nan=False).encode() + b"\n"
        if time.monotonic() >= self._next_write:
            self._write()

    def _write(self) -> None:
        if self._num_written != len(self.content):
            write_bytes(self._address, self.content)
            self._num_written = len(self.content)
        self._next_write = time.monotonic() + SECONDS_BETWEEN_LOGS


def _last_metrics(lines: bytes) -> dict[str, float | None]:
    """Of the last step that a log holds, without an evaluation's; empty without a step."""
    last = json.loads(lines.splitlines()[-1]) if lines else {}
    others = ("step", "utilisation")
    return {name: value for name, value in last.items() if name not in others and not name.startswith(VALIDATION)}


def _save_checkpoint(
    output_dir: str,
    identity: dict[str, Any],
    model: LanguageModel,
    optimizers: list[torch.optim.Optimizer],
    log: _Log,
    step: int,
    position: int,
    selection: _Selection,
) -> None:
    """Write ``checkpoint_00000123``, then remove the others. Raises DivergedError."""
    folder = join(output_dir, f"{CHECKPOINT_PREFIX}{step:08d}")
    if exists(join(folder, STATE_NAME)):
        return
    if step:
        largest = {"the largest weight": _largest(model.parameters())}
        largest["the largest number of the optimizers"] = _largest(_state_tensors(optimizers))
        _require_finite(output_dir, step, largest)
    with local_output(join(folder, WEIGHTS_NAME)) as weights:
        save_file({name: tensor.cpu() for name, tensor in model.state_dict().items()}, weights)
    with output(join(folder, OPTIMIZERS_NAME)) as stream:
        torch.save([optimizer.state_dict() for optimizer in optimizers], stream)
    if selection.best_step not in (None, step):
        with local_output(join(folder, BEST_NAME)) as weights:
            save_file(selection.weights, weights)
    write_bytes(join(folder, METRICS_NAME), log.content)
    state = json.dumps(
        {"step": step, "position": position, "evaluations": selection.evaluations, **identity},
        sort_keys=True,
        allow_nan=False,
    )
    write_bytes(join(folder, STATE_NAME), state.encode())
    for other in _checkpoint_folders(output_dir):
        if other != folder:
            delete(join(other, STATE_NAME))  # first, so that what is half deleted is no checkpoint
            delete(other)


def _checkpoint_folders(output_dir: str) -> dict[str, bool]:
    """Folders of checkpoints, the newest last, and whether each is whole."""
    found: dict[str, bool] = {}
    for name, _ in list_files(output_dir):
        folder, _, file = name.partition("/")
        if file and _CHECKPOINT.fullmatch(folder):
            address = join(output_dir, folder)
            found[address] = found.get(address, False) or file == STATE_NAME
    return found


def _checkpoints(output_dir: str) -> list[str]:
    """Folders of whole checkpoints, the newest last."""
    return [folder for folder, is_whole in _checkpoint_folders(output_dir).items() if is_whole]


def _resume(
    output_dir: str, identity: dict[str, Any], model: LanguageModel, optimizers: list[torch.optim.Optimizer]
) -> tuple[int, int, bytes, _Selection]:
    """Load the newest checkpoint, if there is one.

    Returns:
        The checkpoint's step and position, the log and the evaluations up to it; 0 and nothing without one.
    """
    checkpoints = _checkpoints(output_dir)
    if not checkpoints:
        return 0, 0, b"", _Selection()
    folder = checkpoints[-1]
    state = read_json(join(folder, STATE_NAME))
    step = state.pop("step")
    changed = [name for name, value in json.loads(json.dumps(identity)).items() if state.get(name) != value]
    if changed:
        raise UserError(
            f"{output_dir} holds a run with another {' and '.join(changed)}: give another output folder, "
            "or delete this one to start anew"
        )
    selection = _Selection([(each, loss) for each, loss in state["evaluations"]])
    with local_copy(folder) as local:
        weights = load_file(os.path.join(local, WEIGHTS_NAME))
        model.load_state_dict(weights)
        states = torch.load(os.path.join(local, OPTIMIZERS_NAME), weights_only=True, map_location="cpu")
        if selection.best_step is not None:
            is_last = selection.best_step == step
            selection.weights = weights if is_last else load_file(os.path.join(local, BEST_NAME))
    for optimizer, saved in zip(optimizers, states):
        optimizer.load_state_dict(saved)
    return step, state["position"], read_bytes(join(folder, METRICS_NAME)), selection
