"""Training: it learns, it repeats, and it resumes to the bit."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gobelin.errors import DivergedError, UserError
from gobelin.tokenize.sequence import ImageItem
from gobelin.train import losses
from gobelin.train.batches import NO_TARGET, Loader, make_batch
from gobelin.train.config import TrainConfig
from gobelin.train.evaluate import losses_of
from gobelin.train.fit_alerts import fit_alerts
from gobelin.train.log import in_words
from gobelin.train.losses import TargetWeights, TokenLosses, measure
from gobelin.train.model import LMConfig, load_model
from gobelin.train.optimizers import MOST_SKIPS, STEPS_TO_KNOW, Guard, learning_rate_ratio, update
from gobelin.train.shards import read_corpus
from gobelin.train.trainee import Trainee
from gobelin.train.trainer import TrainResult, train
from gobelin.transforms.torch_threads import torch_threads
from tests.token_corpora import colored_documents, small_tokenizer, small_vocabulary, write_shards

TOKENIZER = small_tokenizer()
VOCABULARY = small_vocabulary(TOKENIZER)
CONFIG = TrainConfig(
    model=LMConfig(width=32, num_layers=2, num_heads=2, hidden=48),
    steps=20,
    row_tokens=48,
    batch_rows=4,
    warmup_steps=4,
    log_every=5,
    checkpoint_every=5,
    validation_ratio=0.1,
    threads=1,
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_shards(tmp_path_factory.mktemp("shards"), colored_documents(60), VOCABULARY, TOKENIZER)


def _train(
    shards: str,
    output: Path,
    config: TrainConfig = CONFIG,
    seed: int = 0,
    stop: Callable[[], bool] | None = None,
    on_step: Callable[[int, Mapping[str, float | None]], None] | None = None,
) -> TrainResult:
    return train(shards, VOCABULARY, config, str(output), seed=seed, stop=stop, on_step=on_step)


def _stop_after(num_steps: int) -> Callable[[], bool]:
    calls = iter(range(1, 1000))
    return lambda: next(calls) == num_steps


def _weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def _lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in _log(folder).splitlines()]


def _log(folder: Path) -> str:
    return (folder / "metrics.jsonl").read_text()


def test_an_interrupted_run_ends_with_the_same_weights(shards: str, tmp_path: Path) -> None:
    whole = _train(shards, tmp_path / "whole")
    assert (whole.step, whole.finished) == (20, True)

    first = _train(shards, tmp_path / "parts", stop=_stop_after(8))
    assert (first.step, first.finished) == (8, False)
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    steps: list[int] = []
    second = _train(shards, tmp_path / "parts", on_step=lambda step, _: steps.append(step))
    assert steps == list(range(9, 21))
    assert second.metrics == whole.metrics
    assert _weights(tmp_path / "parts") == _weights(tmp_path / "whole")
    assert _log(tmp_path / "parts") == _log(tmp_path / "whole")


def test_a_crash_costs_the_steps_since_the_last_checkpoint(shards: str, tmp_path: Path) -> None:
    def crash(step: int, _: Mapping[str, float | None]) -> None:
        if step == 13:
            raise KeyboardInterrupt

    _train(shards, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        _train(shards, tmp_path / "crash", on_step=crash)
    with (tmp_path / "crash" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 11, "loss": 1.0}\n{"step": 1')  # written after the checkpoint, and a line cut short
    steps: list[int] = []
    _train(shards, tmp_path / "crash", on_step=lambda step, _: steps.append(step))
    assert steps[0] == 11
    assert _weights(tmp_path / "crash") == _weights(tmp_path / "whole")
    assert _log(tmp_path / "crash") == _log(tmp_path / "whole")
    assert [line["step"] for line in _lines(tmp_path / "crash")] == [5, 10, 15, 20]


def test_a_run_that_dies_behind_its_last_checkpoint_keeps_its_losses(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _train(shards, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Trainee, "take_best", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            _train(shards, tmp_path / "dead")
    assert not (tmp_path / "dead" / "model.safetensors").exists()
    with (tmp_path / "dead" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 20, "loss": 1.0}\n7\n')  # a step twice, and a line of something else
    resumed = _train(shards, tmp_path / "dead")
    assert resumed.metrics == whole.metrics
    assert {"loss", "image_nats", "gradient_norm", "validation_image_nats"} <= resumed.metrics.keys()
    assert _log(tmp_path / "dead") == _log(tmp_path / "whole")


def _broken_at(steps: Sequence[int], patch: pytest.MonkeyPatch, by: float = math.nan) -> None:
    """From now on the gradients of these steps, counted from 1, are multiplied by a number."""
    backward, calls = Trainee.backward, itertools.count(1)

    def broken(trainee: Trainee, *rest: Any) -> Any:
        loss, norm, measured = backward(trainee, *rest)
        if next(calls) not in steps:
            return loss, norm, measured
        for parameter in trainee.model.parameters():
            parameter.grad.mul_(by)  # type: ignore[union-attr]
        return loss, norm * by, measured

    patch.setattr(Trainee, "backward", broken)


def test_a_batch_that_is_no_number_is_skipped(shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weight changes, no number of it is written, and the log says how many there were."""
    _broken_at([7, 10], monkeypatch)
    result = _train(shards, tmp_path)
    assert (result.finished, result.num_skipped) == (True, 2)
    lines = _lines(tmp_path)
    assert [line.get("skipped") for line in lines] == [None, 2, 2, 2]
    assert ["loss" in line for line in lines] == [True, False, True, True]


@pytest.mark.parametrize("first", [1, 13])
def test_a_few_batches_in_a_row_that_are_no_numbers_end_the_run(
    first: int, shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint before them stays, and the run goes on from there once it can."""
    last = first + MOST_SKIPS - 1
    with monkeypatch.context() as patch:
        _broken_at(range(first, 99), patch)
        message = rf"training stopped at step {last}: 5 batches in a row were skipped, the last with .* of norm nan"
        with pytest.raises(DivergedError, match=message) as raised:
            _train(shards, tmp_path / "run")
    left = [path.name for path in (tmp_path / "run").glob("checkpoint_*")]
    assert sorted(left) == ([] if first == 1 else ["checkpoint_00000005", "checkpoint_00000010"])
    assert ("checkpoint_00000010" in str(raised.value)) == (first == 13)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    _train(shards, tmp_path / "run")
    _train(shards, tmp_path / "whole")
    assert _weights(tmp_path / "run") == _weights(tmp_path / "whole")
    assert _log(tmp_path / "run") == _log(tmp_path / "whole")


def test_the_guard_knows_a_spike_from_what_is_usual() -> None:
    guard, loss = Guard(10.0, torch.device("cpu")), torch.tensor(1.0)
    norms = [2.0] * STEPS_TO_KNOW
    assert not any(guard.judge(loss, torch.tensor(norm)) for norm in [30.0, *norms])  # the first are not known yet
    usual = guard.read().mean_norm
    assert not guard.judge(loss, torch.tensor(9 * usual))
    usual = guard.read().mean_norm
    assert guard.judge(loss, torch.tensor(11 * usual))
    assert guard.judge(torch.tensor(math.inf), torch.tensor(usual))
    found = guard.read()
    assert (found.mean_norm, found.in_a_row, found.skipped) == (pytest.approx(usual), 2, 2)
    assert not guard.judge(loss, torch.tensor(usual))
    assert (guard.read().in_a_row, guard.read().skipped) == (0, 2)
    assert not Guard(None, torch.device("cpu")).judge(loss, torch.tensor(1e9))


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_what_a_device_skips_the_cpu_skips(kind: str, shards: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device decides without being waited for, by ``found_inf``."""
    config = dataclasses.replace(CONFIG, optimizer=kind)
    documents = read_corpus(shards, VOCABULARY, 0.0).training
    rows, _ = Loader(documents, row_tokens=48, caption_drop=0.0, seed=0).rows(0, 4)
    trainees = [Trainee(config, VOCABULARY, 0) for _ in range(2)]
    for skips in (False, True, False):
        for trainee, on_device in zip(trainees, (False, True)):
            trainee.backward(rows, False)
            if skips:
                for parameter in trainee.model.parameters():
                    assert parameter.grad is not None
                    parameter.grad.fill_(math.nan)
            if on_device:
                for optimizer in trainee.optimizers:
                    optimizer.grad_scale, optimizer.found_inf = None, torch.tensor(float(skips))  # type: ignore[attr-defined]
                    optimizer.step()
                    optimizer.zero_grad()
            else:
                update(trainee.optimizers, config, CONFIG.warmup_steps, torch.tensor(skips))
    here, there = (trainee.tensors(False) for trainee in trainees)
    for name, tensor in here.items():
        torch.testing.assert_close(tensor, there[name], msg=name)


def test_weights_that_are_no_numbers_are_not_saved(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step whose loss and gradient are fine, and whose update is not."""
    step = Trainee.step

    def broken(trainee: Trainee, rows: Any, number: int, **rest: Any) -> Any:
        found = step(trainee, rows, number, **rest)
        if number == 9:
            trainee.model.head.weight.detach()[0, 0] = torch.nan
        return found

    monkeypatch.setattr(Trainee, "step", broken)
    with pytest.raises(DivergedError, match="step 10: the largest weight is nan"):
        _train(shards, tmp_path)
    assert [path.name for path in tmp_path.glob("checkpoint_*")] == ["checkpoint_00000005"]


def test_a_learning_rate_far_too_high_ends_the_run(shards: str, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, learning_rate=1e25, warmup_steps=0)
    with pytest.raises(DivergedError, match=r"step [67]: 5 batches in a row .* (nan|inf)"):
        _train(shards, tmp_path, config)
    assert not list(tmp_path.glob("checkpoint_*"))
    short = dataclasses.replace(config, steps=4, validation_ratio=0.0)
    with pytest.raises(DivergedError, match=r"step 4: . batch"):
        _train(shards, tmp_path / "short", short)
    assert not (tmp_path / "short" / "model.safetensors").exists()


@pytest.mark.parametrize("settings", [{"micro_batch_rows": 1}, {"micro_batch_rows": 2, "recompute": True}], ids=str)
def test_a_step_is_the_same_in_parts(settings: dict[str, Any], shards: str, tmp_path: Path) -> None:
    whole = _train(shards, tmp_path / "whole")
    parts = _train(shards, tmp_path / "parts", dataclasses.replace(CONFIG, **settings))
    for name, value in whole.metrics.items():
        assert parts.metrics[name] == pytest.approx(value, rel=1e-3), name


@pytest.mark.filterwarnings("ignore")  # of the compiler
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_blocks_learn_the_same(shards: str, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=4, warmup_steps=1, log_every=1, validation_ratio=0.0)
    plain = _train(shards, tmp_path / "plain", config)
    _train(shards, tmp_path / "compiled", dataclasses.replace(config, compile=True))
    assert plain.finished
    for line, same in zip(_lines(tmp_path / "plain"), _lines(tmp_path / "compiled"), strict=True):
        assert {name: pytest.approx(value, rel=1e-4) for name, value in line.items()} == same
    assert load_model(str(tmp_path / "compiled")).vocabulary == VOCABULARY


def test_adamw_alone_learns(shards: str, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=60, optimizer="adamw", schedule="cosine")
    _train(shards, tmp_path, config)
    lines = _lines(tmp_path)
    assert lines[-1]["image_nats"] < lines[0]["image_nats"] - 0.2


def test_checkpoints_kept_are_the_newest(shards: str, tmp_path: Path) -> None:
    _train(shards, tmp_path, dataclasses.replace(CONFIG, checkpoint_every=3, keep_checkpoints=3))
    kept = sorted(path.name for path in tmp_path.glob("checkpoint_*"))
    assert kept == ["checkpoint_00000015", "checkpoint_00000018", "checkpoint_00000020"]
    assert all((tmp_path / name / "state.json").exists() for name in kept)


def test_a_run_that_was_interrupted_leaves_the_same_checkpoints(shards: str, tmp_path: Path) -> None:
    def crash(step: int, _: Mapping[str, float | None]) -> None:
        if step == 8:
            raise KeyboardInterrupt

    config = dataclasses.replace(CONFIG, steps=10, log_every=1)
    _train(shards, tmp_path / "whole", config)
    with pytest.raises(KeyboardInterrupt):
        _train(shards, tmp_path / "again", config, on_step=crash)
    _train(shards, tmp_path / "again", config)
    whole, again = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "checkpoint_00000010").iterdir()}
        for name in ("whole", "again")
    )
    assert ".metadata" in whole
    assert [name for name in whole if whole[name] != again.get(name)] == []
    assert whole.keys() == again.keys()


def test_speed_is_written_apart(shards: str, tmp_path: Path) -> None:
    _train(shards, tmp_path)
    speed = [json.loads(line) for line in (tmp_path / "speed.jsonl").read_text().splitlines()]
    assert [line["step"] for line in speed] == [5, 10, 15, 20]
    for line in speed:
        assert line["tokens_per_second"] == pytest.approx(5 * 4 * 48 / line["seconds"])
        assert line["mfu"] is None


def test_the_speed_of_steps_that_are_done_again_is_told_once(shards: str, tmp_path: Path) -> None:
    def crash(step: int, _: Mapping[str, float | None]) -> None:
        if step == 8:
            raise KeyboardInterrupt

    config = dataclasses.replace(CONFIG, steps=10, log_every=1)
    with pytest.raises(KeyboardInterrupt):
        _train(shards, tmp_path, config, on_step=crash)
    _train(shards, tmp_path, config)
    speed = [json.loads(line) for line in (tmp_path / "speed.jsonl").read_text().splitlines()]
    assert [line["step"] for line in speed] == list(range(1, 11))


def test_a_step_is_told_in_a_few_words() -> None:
    line = {"loss": 3.2141, "text_bits_per_byte": 2.5, "image_nats": 5.1, "gradient_norm": 1.0}
    told = in_words(line, 256)
    assert told == "loss 3.214, text 2.50 bits a byte, images 5.10 nats a code (guessing 5.55)"
    assert in_words({"loss": None, "image_nats": None}, 256) == ""


def test_tensorboard_holds_losses_and_speed(shards: str, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    _train(shards, tmp_path, dataclasses.replace(CONFIG, tensorboard=True))
    found = events.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert {"loss", "image_nats", "validation_loss", "tokens_per_second"} <= set(found.Tags()["scalars"])
    losses = {each.step: each.value for each in found.Scalars("loss")}
    assert losses == {line["step"]: pytest.approx(line["loss"], rel=1e-6) for line in _lines(tmp_path)}


def test_a_finished_run_does_nothing_more(shards: str, tmp_path: Path) -> None:
    _train(shards, tmp_path)
    before = _weights(tmp_path)
    steps: list[int] = []
    result = _train(shards, tmp_path, on_step=lambda step, _: steps.append(step))
    assert (result.step, result.finished, steps) == (20, True, [])
    assert result.metrics["loss"] == _lines(tmp_path)[-1]["loss"]
    assert result.metrics["validation_image_nats"] is not None
    assert _weights(tmp_path) == before
    kept = sorted(path.name for path in tmp_path.glob("checkpoint_*"))
    assert kept == ["checkpoint_00000015", "checkpoint_00000020"]


def test_same_seed_same_weights(shards: str, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    config = dataclasses.replace(CONFIG, steps=6)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        _train(shards, tmp_path / name, config, seed)
    assert _weights(tmp_path / "a") == _weights(tmp_path / "b")
    assert _weights(tmp_path / "a") != _weights(tmp_path / "c")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("change", "seed", "what"),
    [({}, 1, "another seed"), ({"steps": 21}, 0, "another config"), ({"learning_rate": 1e-3}, 0, "another config")],
)
def test_another_run_is_not_resumed(
    change: dict[str, float], seed: int, what: str, shards: str, tmp_path: Path
) -> None:
    _train(shards, tmp_path, stop=_stop_after(2))
    with pytest.raises(ValueError, match=what):
        _train(shards, tmp_path, dataclasses.replace(CONFIG, **change), seed)  # type: ignore[arg-type]


def test_other_data_is_not_resumed(shards: str, tmp_path: Path) -> None:
    _train(shards, tmp_path / "run", stop=_stop_after(2))
    other = write_shards(tmp_path / "other", colored_documents(59), VOCABULARY, TOKENIZER)
    with pytest.raises(ValueError, match="another data"):
        _train(other, tmp_path / "run")


def test_how_often_to_write_may_change(shards: str, tmp_path: Path) -> None:
    _train(shards, tmp_path, stop=_stop_after(2))
    changed = dataclasses.replace(CONFIG, log_every=7, checkpoint_every=3)
    assert _train(shards, tmp_path, changed, stop=_stop_after(1)).step == 3


def test_losses_fall(shards: str, tmp_path: Path) -> None:
    losses: list[Mapping[str, float | None]] = []
    config = dataclasses.replace(CONFIG, steps=160, log_every=1)
    result = _train(shards, tmp_path, config, on_step=lambda _, metrics: losses.append(metrics))
    assert losses[0]["image_nats"] == pytest.approx(torch.tensor(VOCABULARY.size).log().item(), rel=1e-3)
    # Eight of 32 codes fit a colour: ln 8 = 2.08 is the best there is, ln 32 = 3.47 what codes alone would give.
    assert result.metrics["validation_image_nats"] is not None
    assert result.metrics["validation_image_nats"] < 3.0
    assert result.metrics["validation_text_nats"] is not None
    assert result.metrics["validation_text_nats"] < 1.5
    lines = _lines(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, 161))
    assert lines[-1]["image_accuracy"] > 2 * lines[0]["image_accuracy"]
    assert 0.5 < lines[0]["utilisation"] <= 1
    assert load_model(str(tmp_path)).vocabulary == VOCABULARY


NOISE = {
    f"{number:032x}": [
        ImageItem(f"{number}", tuple(np.random.default_rng(number).integers(0, 32, 4).tolist()), "a red square")
    ]
    for number in range(60)
}
"""Pictures whose codes follow from nothing: there is nothing to learn but the corpus itself."""


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainResult]:
    folder = tmp_path_factory.mktemp("overfitted")
    shards = write_shards(folder / "shards", NOISE, VOCABULARY, TOKENIZER)
    config = dataclasses.replace(CONFIG, steps=240, eval_every=10, patience=None, validation_ratio=0.3)
    return folder / "run", _train(shards, folder / "run", config)


def test_the_best_weights_are_the_model(overfitted: tuple[Path, TrainResult]) -> None:
    folder, result = overfitted
    losses = {line["step"]: line["validation_loss"] for line in _lines(folder) if "validation_loss" in line}
    assert list(losses) == list(range(10, 241, 10))
    assert result.model_step == min(losses, key=lambda step: losses[step]) < 200
    assert (result.step, result.ended_by) == (240, "steps")
    assert result.metrics["validation_loss"] == pytest.approx(losses[result.model_step], rel=1e-6)
    assert losses[240] > 1.02 * losses[result.model_step]


def test_a_corpus_learned_by_heart_is_told(overfitted: tuple[Path, TrainResult]) -> None:
    """A crawl of 98 documents went to .105 nats an image token in training and 8.32 held out, where guessing gives
    6.24, and nothing said so."""
    folder, result = overfitted
    guessing = np.log(32)
    in_training, held_out = (result.metrics[name] for name in ("image_nats", "validation_image_nats"))
    assert in_training is not None
    assert held_out is not None
    assert in_training < 0.5 * guessing < guessing < held_out
    rises, guesses = fit_alerts(_lines(folder), result.metrics, result.model_step, 32)
    assert f"from step {result.model_step} to 240 the held-out loss rose from" in rises
    assert f"the held-out loss is {held_out:.3f} nats per image token ({in_training:.3f} in training)" in guesses
    assert "guessing among 32 codes gives 3.466" in guesses

    best = {**result.metrics, "validation_image_nats": 3.0}
    assert fit_alerts(_lines(folder), best, result.model_step, 32) == [rises]
    until_best = [line for line in _lines(folder) if line["step"] <= result.model_step]
    assert fit_alerts(until_best, best, result.model_step, 32) == []


def test_training_ends_where_patience_does(tmp_path: Path) -> None:
    """The same whether or not it is interrupted, also between the best evaluation and the end."""
    shards = write_shards(tmp_path / "shards", NOISE, VOCABULARY, TOKENIZER)
    config = dataclasses.replace(CONFIG, steps=1000, eval_every=7, patience=3, validation_ratio=0.3)
    whole = _train(shards, tmp_path / "whole", config)
    assert (whole.finished, whole.ended_by) == (True, "patience")
    assert whole.model_step == whole.step - 3 * 7
    assert _train(shards, tmp_path / "whole", config) == whole

    stopped = _train(shards, tmp_path / "parts", config, stop=_stop_after(whole.model_step + 8))
    assert (stopped.step, stopped.finished) == (whole.model_step + 8, False)
    assert _train(shards, tmp_path / "parts", config) == whole
    assert _weights(tmp_path / "parts") == _weights(tmp_path / "whole")
    assert _log(tmp_path / "parts") == _log(tmp_path / "whole")


def test_nothing_held_out_is_no_reason_to_end(shards: str, tmp_path: Path) -> None:
    result = _train(shards, tmp_path, dataclasses.replace(CONFIG, validation_ratio=0.0, patience=1, eval_every=1))
    assert (result.step, result.model_step, result.ended_by) == (20, 20, "steps")
    assert all("validation_loss" not in line for line in _lines(tmp_path))


@pytest.mark.parametrize(
    ("epochs", "limit", "ended_by"), [(0.01, 1000, "epochs"), (1.5, 1000, "epochs"), (99, 20, "steps")]
)
def test_the_smaller_of_epochs_and_steps_ends_a_run(
    epochs: float, limit: int, ended_by: str, shards: str, tmp_path: Path
) -> None:
    corpus = read_corpus(shards, VOCABULARY, CONFIG.validation_ratio)
    num_rows = len(list(Loader(corpus.training, row_tokens=48, caption_drop=0.1, seed=0).epoch()))
    result = _train(shards, tmp_path, dataclasses.replace(CONFIG, epochs=epochs, steps=limit, patience=None))
    steps = {0.01: 1, 1.5: -(-3 * num_rows // 8), 99: limit}[epochs]
    assert (result.step, result.ended_by) == (steps, ended_by)


def test_bfloat16_learns_the_same(shards: str, tmp_path: Path) -> None:
    exact = _train(shards, tmp_path / "float32").metrics
    near = _train(
        shards, tmp_path / "bfloat16", dataclasses.replace(CONFIG, precision="bfloat16", device="auto")
    ).metrics
    assert near["loss"] != exact["loss"]
    assert near["loss"] == pytest.approx(exact["loss"], rel=0.05)
    assert load_model(str(tmp_path / "bfloat16")).head.weight.dtype == torch.float32


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_is_named(shards: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="finds no device mps here"):
        _train(shards, tmp_path, dataclasses.replace(CONFIG, device="mps"))


def test_losses_are_split_by_modality() -> None:
    text, image = VOCABULARY.text_offset, VOCABULARY.image_offset
    word = next(i for i, size in enumerate(VOCABULARY.text_token_bytes) if size == 4)
    targets_N = torch.tensor([2, text, NO_TARGET, text + word, image, image + 1, image + 7])
    losses_N = torch.tensor([9.0, 1.0, 77.0, 2.0, 3.0, 4.0, 5.0])
    hits_N = torch.tensor([True, True, True, False, True, False, True])
    measured = measure(TokenLosses(losses_N.sum(), losses_N, hits_N), targets_N, VOCABULARY)
    means = measured.means()
    assert means["text_nats"] == pytest.approx(1.5)
    assert means["image_nats"] == pytest.approx(4.0)
    assert means["text_bits_per_byte"] == pytest.approx(3 / 0.693147 / (1 + 4))
    assert (means["text_accuracy"], means["image_accuracy"]) == (0.5, pytest.approx(2 / 3))
    assert measured.weighted(TargetWeights(1.0, 1.0)) == pytest.approx(24 / 6)
    special = measure(TokenLosses(losses_N[:1], losses_N[:1], hits_N[:1]), targets_N[:1], VOCABULARY)
    assert set(special.means().values()) == {None}


def test_losses_do_not_depend_on_packing(shards: str, tmp_path: Path) -> None:
    """The mean over targets of a batch is that of its pieces one by one."""
    _train(shards, tmp_path)
    model = load_model(str(tmp_path))
    corpus = read_corpus(shards, VOCABULARY, 0.1)
    rows, _ = Loader(corpus.training, row_tokens=96, caption_drop=0.0, seed=0).rows(0, 4)
    assert max(map(len, rows)) > 1

    def nats(row_pieces: list[list[np.ndarray]]) -> float:
        batch = make_batch(row_pieces, 96)
        logits_BTV = model(batch.tokens_BT, batch.pieces_BT)
        return F.cross_entropy(
            logits_BTV.flatten(0, 1), batch.targets_BT.flatten(), ignore_index=NO_TARGET, reduction="sum"
        ).item()

    together = nats([list(row) for row in rows])
    assert together == pytest.approx(sum(nats([[piece]]) for row in rows for piece in row), rel=1e-5)


def test_losses_of_documents_are_of_the_first_rows(shards: str, tmp_path: Path) -> None:
    _train(shards, tmp_path)
    model, documents = load_model(str(tmp_path)), read_corpus(shards, VOCABULARY, 0.1).training
    rows = list(Loader(documents, row_tokens=96, caption_drop=0.0, seed=0).epoch())
    assert len(rows) > 3
    for max_rows, num_rows in ((3, 3), (10**6, len(rows))):
        found = losses_of(model, documents, row_tokens=96, batch_rows=2, precision="float32", max_rows=max_rows)
        batch = make_batch(rows[:num_rows], 96)
        targets_N = batch.targets_BT.flatten()
        with torch.no_grad():
            whole = model(batch.tokens_BT, batch.pieces_BT, losses.Wanted(targets_N, with_hits=True))
        expected = measure(whole, targets_N, VOCABULARY).means()
        assert found == {name: pytest.approx(value, rel=1e-5) for name, value in expected.items()}


def test_the_image_weight_weighs_images(shards: str, tmp_path: Path) -> None:
    last: dict[float, Mapping[str, float | None]] = {}
    for weight in (0.05, 20.0):
        config = dataclasses.replace(CONFIG, steps=60, image_weight=weight)
        last[weight] = _train(shards, tmp_path / f"{weight}", config).metrics
    low, high = last[0.05], last[20.0]
    assert low["text_nats"] is not None
    assert high["text_nats"] is not None
    assert low["image_nats"] is not None
    assert high["image_nats"] is not None
    assert low["text_nats"] < high["text_nats"] - 0.1
    assert high["image_nats"] < low["image_nats"] - 0.1


@pytest.mark.parametrize(
    ("step", "ratio"),
    [(0, 0.25), (1, 0.5), (3, 1.0), (10, 1.0), (15, 0.02 + 0.98 * 0.5), (19, 0.02 + 0.98 * 0.1)],
)
def test_schedule(step: int, ratio: float) -> None:
    assert learning_rate_ratio(step, CONFIG) == pytest.approx(ratio)


def test_the_cosine_falls_from_the_warm_up_to_the_end() -> None:
    config = dataclasses.replace(CONFIG, schedule="cosine")
    ratios = [learning_rate_ratio(step, config) for step in range(20)]
    assert ratios[:4] == [0.25, 0.5, 0.75, 1.0]
    assert ratios[3:] == sorted(ratios[3:], reverse=True)
    assert ratios[11] == pytest.approx(0.02 + 0.98 * 0.5)
    assert ratios[19] == pytest.approx(0.02)


def test_threads_go_back() -> None:
    before = torch.get_num_threads()
    tiny = torch.tensor([1e-30])
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        assert (tiny * 1e-9).item() == 0.0
    assert torch.get_num_threads() == before
    assert (tiny * 1e-9).item() > 0.0


def test_losses_of_chunks_have_the_gradients_of_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CHUNK_BYTES", 0)
    monkeypatch.setattr(losses, "CHUNK_ROWS", 4)
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(5, 11, bias=False)
    torch.nn.init.normal_(head.weight, std=0.3, generator=generator)
    x_ND = (3 * torch.randn(10, 5, generator=generator)).requires_grad_()
    targets_N = torch.tensor([0, 10, 3, NO_TARGET, 3, 0, 7, 1, NO_TARGET, 10])
    weights_N, z_weight = torch.rand(10, generator=generator) * (targets_N != NO_TARGET), 0.3
    found = losses.losses_of_head(head, x_ND, losses.Wanted(targets_N, weights_N, z_weight, with_hits=True))
    (2 * found.total).backward()
    gradients = [x_ND.grad, head.weight.grad]
    x_ND.grad = head.weight.grad = None

    logits_NV = head(x_ND)
    nats_N = F.cross_entropy(logits_NV, targets_N, ignore_index=NO_TARGET, reduction="none")
    penalties_N = logits_NV.logsumexp(1).square() * (targets_N != NO_TARGET)
    total = (weights_N * nats_N).sum() + z_weight * penalties_N.sum()
    (2 * total).backward()
    torch.testing.assert_close(found.total, total)
    torch.testing.assert_close(gradients, [x_ND.grad, head.weight.grad], rtol=1e-4, atol=1e-6)
    has_target = targets_N != NO_TARGET
    torch.testing.assert_close(found.losses_N[has_target], nats_N[has_target])
    assert found.hits_N is not None
    assert torch.equal(found.hits_N, logits_NV.argmax(1) == targets_N)
    without = losses.losses_of_head(head, x_ND, losses.Wanted(targets_N))
    torch.testing.assert_close(without.losses_N, found.losses_N)
    assert without.hits_N is None


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"threads": 0},
        {"caption_drop": 1.0},
        {"image_weight": 0.0},
        {"text_weight": 0.0},
        {"micro_batch_rows": 5},
        {"spike_factor": 1.0},
        {"context_drop": 1.0},
        {"keep_checkpoints": 0},
        {"validation_ratio": -0.1},
        {"learning_rate": 0.0},
        {"learning_rate": 1e31},
        {"epochs": 0.0},
        {"patience": 0},
        {"eval_every": 0},
        {"device": "gpu"},
        {"precision": "float16"},
    ],
)
def test_config_refuses(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        dataclasses.replace(CONFIG, **change)  # type: ignore[arg-type]
