"""Trained elsewhere: a model in the layout of transformers, and token shards in trainers of other people."""

from __future__ import annotations

import dataclasses
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from gobelin.errors import UserError
from gobelin.exchange.token_files import documents_of
from gobelin.pipeline.exchange import export_training
from gobelin.tokenize.sequence import ImageItem, Item
from gobelin.train.held_out import HeldOut
from gobelin.train.model import LMConfig, build_model, save_model
from gobelin.train.transformers_layout import save_as_transformers
from tests.token_corpora import colored_documents, small_tokenizer, small_vocabulary, write_shards

TOKENIZER = small_tokenizer()
VOCABULARY = small_vocabulary(TOKENIZER)
SHAPE = LMConfig(width=32, num_layers=2, num_heads=4, num_kv_heads=2, hidden=48, place_embedding=False)
EXAMPLES = Path(__file__).parents[1] / "examples" / "elsewhere"


@pytest.mark.parametrize("num_kv_heads", [None, 2])
@torch.no_grad()
def test_a_model_of_transformers_has_the_same_logits(num_kv_heads: int | None, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    shape = dataclasses.replace(SHAPE, num_kv_heads=num_kv_heads)
    generator = torch.Generator().manual_seed(0)
    model = build_model(shape, VOCABULARY, generator).eval()
    for parameter in model.parameters():
        parameter.normal_(mean=float(parameter.ndim == 1), std=0.3, generator=generator)
    save_as_transformers(model, str(tmp_path), 48)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(str(tmp_path)).eval()
    tokens_BT = torch.randint(0, VOCABULARY.size, (3, 40), generator=generator)
    expected_BTV = model(tokens_BT, torch.zeros_like(tokens_BT))
    assert expected_BTV.std() > 1
    torch.testing.assert_close(theirs(tokens_BT).logits, expected_BTV, atol=1e-4, rtol=1e-4)
    of_norms = shape.num_layers * (2 * shape.head_width - 1)  # of queries and keys; here one number a layer
    parameters = sum(each.numel() for each in model.parameters()) + of_norms
    assert sum(each.numel() for each in theirs.parameters()) == parameters


def test_a_model_that_embeds_places_has_no_such_layout(tmp_path: Path) -> None:
    model = build_model(dataclasses.replace(SHAPE, place_embedding=True), VOCABULARY, torch.Generator())
    with pytest.raises(UserError, match="place_embedding=false"):
        save_as_transformers(model, str(tmp_path), 48)


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("name", ["hugging_face", "torchtitan_dataset", "plain_ddp"])
def test_examples_take_images_of_any_size(name: str, tmp_path: Path) -> None:
    vocabulary = small_vocabulary(TOKENIZER, (9, 9))
    documents: dict[str, list[Item]] = {f"{number:032x}": [ImageItem("image", (number,) * 81)] for number in range(9)}
    shards = write_shards(tmp_path / "shards", documents, vocabulary, TOKENIZER)
    losses = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](shards, num_steps=2)
    assert all(loss > 0 for loss in losses)


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("name", ["hugging_face", "torchtitan_dataset", "plain_ddp"])
def test_examples_learn_from_token_shards(name: str, tmp_path: Path) -> None:
    """Each is a program of its own; ``main`` gives its losses."""
    shards = write_shards(tmp_path / "shards", colored_documents(60), VOCABULARY, TOKENIZER)
    losses = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](shards, num_steps=25)
    assert len(losses) == 25
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


@pytest.mark.parametrize("name", ["megatron", "nanogpt"])
def test_what_the_split_leaves_out_is_in_no_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A near-duplicate of a held-out document that is trained on elsewhere makes the loss on ``val`` too low."""
    shards = write_shards(tmp_path / "out" / "tokenize" / "shards", colored_documents(9), VOCABULARY, TOKENIZER)
    VOCABULARY.save(str(tmp_path / "out" / "tokenize"))
    (tmp_path / "out" / "run.json").write_text(json.dumps({"stages": {"tokenize": {"status": "done"}}}))
    (tmp_path / "out" / "recipe.yaml").write_text("{}")
    held_out, left_out, *others = documents = dict(documents_of(shards))
    split = HeldOut("document", (), (held_out,), (left_out,))
    monkeypatch.setattr(export_training, "hold_out", lambda *_: split)
    monkeypatch.setattr(export_training, "write_card", lambda *_: None)  # tests/test_card.py
    summary = export_training.export_training(str(tmp_path / "out"), name, str(tmp_path / "to"))
    assert summary["left_out"] == 1
    for part, ids in (("train", others), ("val", [held_out])):
        written = np.fromfile(tmp_path / "to" / f"{part}.bin", np.uint16).tolist()
        assert written == np.concatenate([documents[doc_id] for doc_id in ids]).tolist()


def test_a_refused_export_leaves_its_folder_empty(tmp_path: Path) -> None:
    shape = dataclasses.replace(SHAPE, place_embedding=True)
    save_model(build_model(shape, VOCABULARY, torch.Generator()), str(tmp_path / "out" / "train"))
    VOCABULARY.save(str(tmp_path / "out" / "tokenize"))
    stages = {"tokenize": {"status": "done"}, "train": {"status": "done"}}
    (tmp_path / "out" / "run.json").write_text(json.dumps({"stages": stages, "recipe": {"train": {"row_tokens": 64}}}))
    for _ in range(2):
        with pytest.raises(UserError, match="place_embedding=false"):
            export_training.export_training(str(tmp_path / "out"), "transformers", str(tmp_path / "to"))
