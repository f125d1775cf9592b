"""Tokenizers, training and sampling with everything on an object store: the same as on a disk."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gobelin.errors import UserError
from gobelin.store.files import list_files, read_bytes, write_bytes
from gobelin.store.paths import join
from gobelin.tokenize.image_tokenizer import ImageTokenizer, load_image_tokenizer, save_image_tokenizer
from gobelin.tokenize.shapes import VQVAEConfig
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.tokenize.vqvae import PatchAutoencoder
from gobelin.train import checkpoints
from gobelin.train.config import SamplingConfig, TrainConfig
from gobelin.train.model import LMConfig, load_model
from gobelin.train.pairs import held_out_pairs
from gobelin.train.sample import sample_images
from gobelin.train.shards import read_corpus
from gobelin.train.trainer import train
from tests.token_corpora import colored_documents, small_tokenizer, small_vocabulary, write_shards

TOKENIZER = small_tokenizer()
VOCABULARY = small_vocabulary(TOKENIZER)
CONFIG = TrainConfig(
    model=LMConfig(width=32, num_layers=2, num_heads=2, hidden=48),
    steps=12,
    row_tokens=48,
    batch_rows=4,
    warmup_steps=4,
    log_every=2,
    checkpoint_every=4,
    validation_ratio=0.2,
    threads=1,
)
Metrics = Mapping[str, float | None]


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder, on a disk and on an object store."""
    return str(tmp_path / "folder") if request.param == "disk" else request.getfixturevalue("object_store")


def _names(folder: str) -> list[str]:
    return [name for name, _ in list_files(folder)]


def _die_at(step: int) -> Any:
    def die(done: int, _: Metrics) -> None:
        if done == step:
            raise KeyboardInterrupt

    return die


def test_training_on_a_store_is_training_on_a_disk(object_store: str, tmp_path: Path) -> None:
    """Killed behind a checkpoint and gone on with: the same losses, the same log, the same bytes of the model."""
    documents = colored_documents(60)
    losses: dict[str, list[Metrics]] = {"disk": [], "store": []}
    local = write_shards(tmp_path / "shards", documents, VOCABULARY, TOKENIZER)
    here = str(tmp_path / "train")
    whole = train(local, VOCABULARY, CONFIG, here, seed=3, on_step=lambda _, metrics: losses["disk"].append(metrics))

    shards, there = (
        write_shards(join(object_store, "shards"), documents, VOCABULARY, TOKENIZER),
        f"{object_store}/train",
    )
    with pytest.raises(KeyboardInterrupt):
        train(shards, VOCABULARY, CONFIG, there, seed=3, on_step=_die_at(7))
    written = {"checkpoint_00000004", "index.npz", "metrics.jsonl", "speed.jsonl"}
    assert {name.partition("/")[0] for name in _names(there)} == written
    assert [json.loads(line)["step"] for line in read_bytes(join(there, "metrics.jsonl")).splitlines()] == [2, 4, 6]
    resumed = train(shards, VOCABULARY, CONFIG, there, seed=3, on_step=lambda _, each: losses["store"].append(each))

    assert losses["store"] == losses["disk"][4:]
    assert (resumed.step, resumed.metrics) == (whole.step, whole.metrics)
    for name in ("metrics.jsonl", "model.safetensors", "model.json", "vocabulary.json"):
        assert read_bytes(join(there, name)) == read_bytes(join(here, name))
    assert _names(there) == _names(here)
    again = train(shards, VOCABULARY, CONFIG, there, seed=3, on_step=_die_at(1))
    assert again == resumed

    model = load_model(there)
    pairs = held_out_pairs(read_corpus(shards, VOCABULARY, CONFIG.validation_ratio))
    assert pairs == held_out_pairs(read_corpus(local, VOCABULARY, CONFIG.validation_ratio))
    captions, sampling = ["a red square", "a blue square"], SamplingConfig()
    drawn = [sample_images(each, TOKENIZER, captions, sampling, 0) for each in (model, load_model(here))]
    assert np.array_equal(*drawn)


def test_a_checkpoint_that_was_cut_short_is_none(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever file of it is missing, the run goes on from the one before, and the rest of it is cleaned up."""
    shards = write_shards(tmp_path / "shards", colored_documents(40), VOCABULARY, TOKENIZER)
    output = join(folder, "train")
    write = checkpoints.write_bytes

    def broken(address: str, content: bytes) -> None:
        if address.endswith("checkpoint_00000008/state.json"):
            raise OSError("no space left")
        write(address, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_bytes", broken)
        with pytest.raises(OSError, match="no space left"):
            train(shards, VOCABULARY, CONFIG, output, seed=0)
    assert {name.partition("/")[0] for name in _names(output)} == {
        "checkpoint_00000004", "checkpoint_00000008", "index.npz", "metrics.jsonl", "speed.jsonl"
    }  # fmt: skip
    steps: list[int] = []
    train(shards, VOCABULARY, CONFIG, output, seed=0, on_step=lambda step, _: steps.append(step))
    assert steps[0] == 5
    assert {name.partition("/")[0] for name in _names(output) if "/" in name} == {
        "checkpoint_00000008",
        "checkpoint_00000012",
    }


def test_a_run_of_others_is_not_gone_on_with(folder: str, tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", colored_documents(40), VOCABULARY, TOKENIZER)
    train(shards, VOCABULARY, CONFIG, folder, seed=0, stop=lambda: True)
    with pytest.raises(UserError, match="another seed"):
        train(shards, VOCABULARY, CONFIG, folder, seed=1)


def test_what_somebody_keeps_beside_checkpoints_stays(folder: str, tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", colored_documents(40), VOCABULARY, TOKENIZER)
    own = ["checkpoint_best/model.safetensors", "checkpoint_notes.txt"]
    for name in own:
        write_bytes(join(folder, name), b"mine")
    train(shards, VOCABULARY, CONFIG, folder, seed=0)
    assert set(own) <= set(_names(folder))


def test_all_files_have_the_same_permissions(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", colored_documents(40), VOCABULARY, TOKENIZER)
    before = os.umask(0o027)
    try:
        train(shards, VOCABULARY, CONFIG, str(tmp_path / "train"), seed=0)
        save_image_tokenizer(ImageTokenizer(_vqvae()), str(tmp_path / "train" / "image_tokenizer"))
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "train").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o640}
    assert len(files) == 6 + 2 * 4 + 2


def _vqvae() -> PatchAutoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PatchAutoencoder(VQVAEConfig(image_size=16, patch_size=8, num_codes=8))


def test_tokenizers_on_a_store(object_store: str) -> None:
    folder = join(object_store, "tokenize")
    TOKENIZER.save(join(folder, "text_tokenizer.json"))
    VOCABULARY.save(folder)
    tokenizer = ImageTokenizer(_vqvae())
    save_image_tokenizer(tokenizer, join(folder, "image_tokenizer"))
    for address in (folder, join(folder, "text_tokenizer.json")):
        assert TextTokenizer.load(address).fingerprint == TOKENIZER.fingerprint
    assert Vocabulary.load(folder) == VOCABULARY
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    loaded = load_image_tokenizer(join(folder, "image_tokenizer"))
    assert np.array_equal(loaded.encode(images), tokenizer.encode(images))


def test_tokenizers_that_are_not_there_are_named(object_store: str) -> None:
    write_bytes(join(object_store, "folder", "x.bin"), b"12345")
    write_bytes(join(object_store, "bad.json"), b"\xff\xfe")
    for address, found in (("none", "does not exist"), ("folder", "a folder with x.bin"), ("folder/x.bin", "5 bytes")):
        with pytest.raises(UserError, match=found):
            load_image_tokenizer(join(object_store, address))
    with pytest.raises(UserError, match="no text tokenizer at s3://"):
        TextTokenizer.load(join(object_store, "none"))
    with pytest.raises(UserError, match="not UTF-8"):
        TextTokenizer.load(join(object_store, "bad.json"))
    with pytest.raises(UserError, match=r"no vocabulary\.json in s3://"):
        Vocabulary.load(object_store)
    with pytest.raises(UserError, match="no token shards in s3://"):
        read_corpus(join(object_store, "none"), VOCABULARY, 0.0)
    with pytest.raises(UserError, match="no model in s3://"):
        load_model(join(object_store, "none"))
