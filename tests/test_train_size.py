"""What a run amounts to, before it begins."""

from __future__ import annotations

import pytest
import torch

from gobelin.train.config import LMConfig, TrainConfig
from gobelin.train.model import build_model
from gobelin.train.size import CorpusSize, model_size, outlook
from tests.token_corpora import small_tokenizer, small_vocabulary

VOCABULARY = small_vocabulary(small_tokenizer())


@pytest.mark.parametrize("config", [LMConfig(), LMConfig(width=24, num_layers=3, num_heads=2, hidden=40)], ids=str)
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
    assert f"{found.parameters / 2000:.0f} parameters a token" in warning


@pytest.mark.parametrize(
    ("epochs", "tokens", "steps"), [(4.0, 2000, 20), (None, 200_000, 100), (1.0, 200_000, 100), (0.001, 2000, 1)]
)
def test_few_passes_are_no_reason_to_warn(epochs: float | None, tokens: int, steps: int) -> None:
    config = TrainConfig(steps=100, epochs=epochs, row_tokens=100, batch_rows=2, validation_ratio=0.5)
    found = outlook(config, CorpusSize(98, tokens, 30), 1000, 49)
    assert found.steps == steps
    assert found.warning() is None
