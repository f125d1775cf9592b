"""What a training run amounts to before it begins: parameters, arithmetic, memory, passes over the corpus. No torch."""

from __future__ import annotations

import dataclasses
import math

from gobelin.train.config import LMConfig, TrainConfig

MOST_PASSES = 16
"""Passes from which on repeated data teach next to nothing (arXiv 2305.16264, figure 1)."""


@dataclasses.dataclass(frozen=True, slots=True)
class ModelSize:
    """Of one shape of the model."""

    parameters: int
    flops_per_token: int
    """Of training, forward and backward: 6 a parameter of a matrix and 12 x layers x width x row (arXiv 2204.02311,
    appendix B). The embedding is looked up and counts nothing."""
    state_bytes: int
    """Weights and gradients, and the state of the optimizers: Muon's one number a weight, AdamW's two."""
    activation_bytes: int
    """Of one step, roughly: what is kept for the backward pass, logits included."""


def model_size(config: TrainConfig, vocabulary_size: int, max_tokens_per_image: int) -> ModelSize:
    """What a model of this shape takes, trained on rows of this configuration."""
    model: LMConfig = config.model
    width, layers = model.width, model.num_layers
    matrices = layers * (4 * width * width + 3 * width * model.hidden)
    head = vocabulary_size * width
    scales = layers * (2 * width + 2 * width // model.num_heads) + width
    others = 2 * head + max_tokens_per_image * width + scales
    row_flops = 12 * layers * width * config.row_tokens
    a_token = 4 * (layers * (14 * width + 4 * model.hidden) + 2 * vocabulary_size)
    return ModelSize(
        parameters=matrices + others,
        flops_per_token=6 * (matrices + head) + row_flops,
        state_bytes=12 * matrices + 16 * others,
        activation_bytes=config.batch_rows * config.row_tokens * a_token,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class CorpusSize:
    """What there is to train on."""

    documents: int
    tokens: int
    images: int


@dataclasses.dataclass(frozen=True, slots=True)
class Outlook:
    """What the settings of a run mean for a corpus."""

    corpus: CorpusSize
    steps: int  # at most
    passes: float  # over what is not held out, at most
    parameters: int

    @property
    def is_too_small(self) -> bool:
        """More passes than teach anything, by a model that could hold the corpus by heart."""
        return self.passes > MOST_PASSES and self.parameters > self.corpus.tokens

    def sentence(self) -> str:
        """What is to be trained, on what, in one line."""
        corpus = self.corpus
        return (
            f"{corpus.tokens:,} tokens in {corpus.documents:,} documents with {corpus.images:,} images; {self.steps:,} "
            f"steps are {self.passes:.1f} passes over them; {self.parameters:,} parameters, "
            f"{self.parameters / max(1, corpus.tokens):.2g} a token"
        )

    def warning(self) -> str | None:
        """What to change where the corpus is too small for the run."""
        if not self.is_too_small:
            return None
        return (
            f"the corpus is too small for this run: from pass {MOST_PASSES} on repeated data teach next to nothing "
            f"(arXiv 2305.16264), and the model has {self.parameters / max(1, self.corpus.tokens):.0f} parameters a "
            "token, enough to learn it by heart: add archives, set train.epochs to 4, or take a smaller train.model"
        )


def outlook(config: TrainConfig, corpus: CorpusSize, vocabulary_size: int, max_tokens_per_image: int) -> Outlook:
    """What a run means for a corpus, from numbers alone; packing adds a few percent to the steps of a pass."""
    tokens = max(1.0, corpus.tokens * (1 - config.validation_ratio))
    step = config.batch_rows * config.row_tokens
    steps = config.steps
    if config.epochs is not None:
        steps = max(1, min(steps, math.ceil(config.epochs * tokens / step)))
    parameters = model_size(config, vocabulary_size, max_tokens_per_image).parameters
    return Outlook(corpus, steps, steps * step / tokens, parameters)
