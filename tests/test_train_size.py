"""What a run amounts to, before it begins."""

from __future__ import annotations

import pytest
import torch

from gobelin.train.config import LMConfig, TrainConfig
from gobelin.train.model import build_model
from gobelin.train.size import SHAPES, CorpusSize, model_size, outlook, plan_lines
from tests.token_corpora import small_tokenizer, small_vocabulary

VOCABULARY = small_vocabulary(small_tokenizer())


SHARED_HEADS = LMConfig(width=24, num_layers=3, num_heads=4, hidden=40, num_kv_heads=2, place_embedding=False)


@pytest.mark.parametrize("config", [LMConfig(), SHARED_HEADS], ids=["default", "shared heads"])
def test_parameters_are_those_of_the_model(config: LMConfig) -> None:
    model = build_model(config, VOCABULARY, torch.Generator())
    size = model_size(TrainConfig(model=config), VOCABULARY.size, VOCABULARY.max_tokens_per_image)
    assert size.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_a_corpus_too_small_is_told_with_numbers() -> None:
    config = TrainConfig(steps=100, row_tokens=100, batch_rows=2, validation_ratio=0.5)
    found = outlook(config, CorpusSize(98, 2000, 30), 1000, 49)
    assert (found.steps, found.passes) == (100, 20.0)
    sentence = found.sentence()
    for part in ("2,000 tokens in 98 documents with 30 images", "100 steps are 20.0 passes", "parameters"):
        assert part in sentence
    warning = found.warning()
    assert warning is not None
    assert f"{found.parameters / 2000:.0f} parameters per token" in warning


@pytest.mark.parametrize(
    ("epochs", "tokens", "steps"), [(4.0, 2000, 20), (None, 200_000, 100), (1.0, 200_000, 100), (0.001, 2000, 1)]
)
def test_few_passes_are_no_reason_to_warn(epochs: float | None, tokens: int, steps: int) -> None:
    config = TrainConfig(steps=100, epochs=epochs, row_tokens=100, batch_rows=2, validation_ratio=0.5)
    found = outlook(config, CorpusSize(98, tokens, 30), 1000, 49)
    assert found.steps == steps
    assert found.warning() is None


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_have_the_size_of_their_name(name: str) -> None:
    number, unit = name.split()
    size = model_size(TrainConfig(model=SHAPES[name], row_tokens=2048), 16_384, 256)
    assert size.parameters == pytest.approx(float(number) * {"M": 1e6, "B": 1e9}[unit], rel=1.6 if unit == "M" else 0.2)
    assert size.flops_per_token > 6 * (size.parameters - 16_384 * SHAPES[name].width - 256 * SHAPES[name].width) * 0.99


def test_the_plan_is_a_table_of_sizes() -> None:
    config = TrainConfig(steps=100, row_tokens=100, batch_rows=2, validation_ratio=0.5)
    lines = plan_lines(config, CorpusSize(98, 2000, 30), 1000, 49)
    rows = {line.split("  ")[0].strip(): line for line in lines if " GB" in line}
    assert list(rows) == ["recipe", *SHAPES]
    assert "20.0" in rows["7 B"]
    sizes = [int(line[37:53].replace(",", "")) for line in rows.values()]
    assert sizes[1:] == sorted(sizes[1:])
    assert any(line.startswith("warning: the corpus is too small") for line in lines)
