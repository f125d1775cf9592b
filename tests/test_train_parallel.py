"""Two processes under torchrun, on the CPU: the losses of one process, its checkpoints, its rows."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from gobelin.errors import UserError
from gobelin.train.batches import Loader, make_batch
from gobelin.train.config import LMConfig, TrainConfig
from gobelin.train.parallel import Processes
from gobelin.train.shards import read_corpus
from gobelin.train.trainee import Trainee
from gobelin.train.trainer import train
from tests.token_corpora import colored_documents, small_tokenizer, small_vocabulary, write_shards

TOKENIZER = small_tokenizer()
VOCABULARY = small_vocabulary(TOKENIZER)
CONFIG = TrainConfig(
    model=LMConfig(width=32, num_layers=2, num_heads=4, num_kv_heads=2, hidden=48),
    steps=10,
    row_tokens=48,
    batch_rows=4,
    warmup_steps=2,
    log_every=1,
    eval_every=5,
    eval_rows=7,
    checkpoint_every=5,
    validation_ratio=0.2,
    threads=1,
)
TOLERANCE = 2e-4
"""Relative, of losses. Sums over two processes are rounded otherwise than those of one; ten steps make 1e-5 of it."""


def _train(shards: str, output: Path, last: int = 99, **settings: Any) -> None:
    calls = iter(range(1, 10_000))
    config = dataclasses.replace(CONFIG, **settings)
    train(shards, VOCABULARY, config, str(output), seed=0, stop=lambda: next(calls) == last)


def _lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one process and of two; some are begun by the one and ended by the other."""
    folder = tmp_path_factory.mktemp("parallel")
    shards = write_shards(folder / "shards", colored_documents(60), VOCABULARY, TOKENIZER)
    _train(shards, folder / "one")
    for name in ("from one to ddp", "from one to fsdp"):
        _train(shards, folder / name, last=6)
    runs = [
        ("ddp", 99, {}),
        ("fsdp", 99, {"parallel": "fsdp", "micro_batch_rows": 1, "recompute": True}),
        ("adamw", 99, {"parallel": "fsdp", "optimizer": "adamw"}),
        ("from one to ddp", 99, {}),
        ("from one to fsdp", 99, {"parallel": "fsdp"}),
        ("from fsdp to one", 6, {"parallel": "fsdp"}),
    ]
    jobs = [
        {"shards": shards, "output": str(folder / name), "last": last,
         "config": dataclasses.asdict(dataclasses.replace(CONFIG, **settings))}
        for name, last, settings in runs
    ]  # fmt: skip
    (folder / "runs.json").write_text(json.dumps(jobs))
    program = Path(__file__).with_name("train_ranks.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(program)]
    done = subprocess.run([*command, str(folder / "runs.json")], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    _train(shards, folder / "from fsdp to one")
    _train(shards, folder / "adamw of one", optimizer="adamw")
    return folder


@pytest.mark.parametrize(
    ("name", "of_one"),
    [
        ("ddp", "one"),
        ("fsdp", "one"),
        ("adamw", "adamw of one"),
        ("from one to ddp", "one"),
        ("from one to fsdp", "one"),
        ("from fsdp to one", "one"),
    ],
)
def test_losses_are_those_of_one_process(name: str, of_one: str, folder: Path) -> None:
    lines, expected = _lines(folder / name), _lines(folder / of_one)
    assert [line["step"] for line in lines] == list(range(1, 11))
    for line, known in zip(lines, expected, strict=True):
        assert line.keys() == known.keys()
        for key in ("loss", "text_nats", "image_nats", "gradient_norm", "validation_loss"):
            if key in known:
                assert line[key] == pytest.approx(known[key], rel=TOLERANCE), (line["step"], key)


@pytest.mark.parametrize("name", ["ddp", "fsdp", "from one to fsdp", "from fsdp to one"])
def test_the_model_is_one_file_like_that_of_one_process(name: str, folder: Path) -> None:
    found, expected = (load_file(folder / each / "model.safetensors") for each in (name, "one"))
    assert found.keys() == expected.keys()
    for key, weights in expected.items():
        np.testing.assert_allclose(found[key], weights, atol=2e-3, err_msg=key)


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_rows_are_those_of_one_process_to_the_bit(name: str, folder: Path) -> None:
    documents = read_corpus(str(folder / "shards"), VOCABULARY, CONFIG.validation_ratio).training
    loader, position = Loader(documents, row_tokens=48, caption_drop=CONFIG.caption_drop, seed=0), 0
    own = [np.load(folder / name / f"rows_{rank}.npy") for rank in range(2)]
    for step in range(4):
        rows, position = loader.rows(position, CONFIG.batch_rows)
        tokens_BT = make_batch(rows, 48).tokens_BT.numpy()
        for rank in range(2):
            np.testing.assert_array_equal(own[rank][step], tokens_BT[rank::2])


def test_checkpoints_are_written_by_all_processes(folder: Path) -> None:
    kept = sorted(path.name for path in (folder / "fsdp").glob("checkpoint_*"))
    assert kept == ["checkpoint_00000005", "checkpoint_00000010"]
    newest = folder / "fsdp" / kept[-1]
    assert {path.name for path in newest.iterdir()} >= {"__0_0.distcp", "__1_0.distcp", ".metadata", "state.json"}
    assert json.loads((newest / "state.json").read_text())["processes"] == 2


def test_rows_that_cannot_be_dealt_out_are_told() -> None:
    with pytest.raises(UserError, match="multiple of 3 processes x 1 rows"):
        Trainee(CONFIG, VOCABULARY, 0, Processes(0, 3))
