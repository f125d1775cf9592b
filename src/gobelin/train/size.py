"""The size of a training run before it begins: parameters, arithmetic, memory, epochs. Does not import torch."""

from __future__ import annotations

import dataclasses
import math

from gobelin.train.config import LMConfig, TrainConfig

SHAPES = {
    "2 M": LMConfig(width=128, num_layers=4, num_heads=4, hidden=352),
    "10 M": LMConfig(width=256, num_layers=8, num_heads=8, hidden=704),
    "50 M": LMConfig(width=512, num_layers=12, num_heads=8, hidden=1408),
    "125 M": LMConfig(width=768, num_layers=12, num_heads=12, hidden=2048),
    "350 M": LMConfig(width=1024, num_layers=24, num_heads=16, hidden=2816),
    "1.3 B": LMConfig(width=2048, num_layers=24, num_heads=16, hidden=5632),
    "3 B": LMConfig(width=2560, num_layers=32, num_heads=32, hidden=9216, num_kv_heads=8),
    "7 B": LMConfig(width=4096, num_layers=32, num_heads=32, hidden=12288, num_kv_heads=8),
}
"""Usual shapes, by about how many parameters they have."""

TOKENS_A_PARAMETER = 20
"""Of the best model for its arithmetic (arXiv 2203.15556)."""

MOST_PASSES = 16
"""Passes from which on repeated data teach next to nothing (arXiv 2305.16264, figure 1)."""


@dataclasses.dataclass(frozen=True, slots=True)
class ModelSize:
    """The size of a model."""

    parameters: int
    flops_per_token: int
    """Of training, forward and backward: 6 a parameter of a matrix and 12 x layers x width x row (arXiv 2204.02311,
    appendix B). The embedding is looked up and counts nothing."""
    state_bytes: int
    """Weights and gradients, and the state of the optimizers: Muon's one number a weight, AdamW's two."""
    activation_bytes: int
    """Of one step, roughly: what is kept for the backward pass. Logits are not: losses are computed in chunks."""


def model_size(config: TrainConfig, vocabulary_size: int, max_tokens_per_image: int) -> ModelSize:
    """Parameters, arithmetic and memory of a model with this configuration."""
    model: LMConfig = config.model
    width, layers = model.width, model.num_layers
    of_values = width * model.kv_heads // model.num_heads  # width of all heads of values
    matrices = layers * (2 * width * (width + of_values) + 3 * width * model.hidden)
    head = vocabulary_size * width
    scales = layers * (2 * width + 1) + width
    others = 2 * head + max_tokens_per_image * width * model.place_embedding + scales
    row_flops = 12 * layers * width * config.row_tokens
    a_token = 4 * (layers * (14 * width + 4 * model.hidden) + 2 * width)
    return ModelSize(
        parameters=matrices + others,
        flops_per_token=6 * (matrices + head) + row_flops,
        state_bytes=12 * matrices + 16 * others,
        activation_bytes=config.batch_rows * config.row_tokens * a_token,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class CorpusSize:
    """The size of a training corpus."""

    documents: int
    tokens: int
    images: int


@dataclasses.dataclass(frozen=True, slots=True)
class Outlook:
    """Estimates for a run on a corpus."""

    corpus: CorpusSize
    steps: int  # at most
    passes: float  # over what is not held out, at most
    parameters: int

    @property
    def is_too_small(self) -> bool:
        """Whether the run has too many epochs to learn more, and the model could memorize the corpus."""
        return self.passes > MOST_PASSES and self.parameters > self.corpus.tokens

    def sentence(self) -> str:
        """One line: the model, the corpus and the steps."""
        corpus = self.corpus
        return (
            f"{corpus.tokens:,} tokens in {corpus.documents:,} documents with {corpus.images:,} images; {self.steps:,} "
            f"steps are {self.passes:.1f} passes over them; {self.parameters:,} parameters, "
            f"{self.parameters / max(1, corpus.tokens):.2g} per token"
        )

    def warning(self) -> str | None:
        """What to change if the corpus is too small for the run."""
        if not self.is_too_small:
            return None
        return (
            f"the corpus is too small for this run: after {MOST_PASSES} passes repeated data hardly help "
            f"(arXiv 2305.16264), and the model has {self.parameters / max(1, self.corpus.tokens):.0f} parameters "
            "per token, enough to memorize it: add archives, set train.epochs to 4, or take a smaller train.model"
        )


def outlook(config: TrainConfig, corpus: CorpusSize, vocabulary_size: int, max_tokens_per_image: int) -> Outlook:
    """Estimates a run on a corpus. Packing adds a few percent to the steps of an epoch."""
    tokens = max(1.0, corpus.tokens * (1 - config.validation_ratio))
    step = config.batch_rows * config.row_tokens
    steps = config.steps
    own_share = 1 - sum(config.mixture.values())
    if config.epochs is not None:
        steps = max(1, min(steps, math.ceil(config.epochs * tokens / own_share / step)))
    parameters = model_size(config, vocabulary_size, max_tokens_per_image).parameters
    return Outlook(corpus, steps, own_share * steps * step / tokens, parameters)


def plan_lines(config: TrainConfig, corpus: CorpusSize, vocabulary_size: int, max_tokens_per_image: int) -> list[str]:
    """A table with the cost of training on this corpus: the recipe's model first, then common sizes."""
    found = outlook(config, corpus, vocabulary_size, max_tokens_per_image)
    warning = found.warning()
    lines = [
        found.sentence(),
        *(f"of the tokens {share:.0%} come from {address}" for address, share in sorted(config.mixture.items())),
        *([] if warning is None else [f"warning: {warning}"]),
        "",
        f"{'model':<8}{'width':>6}{'layers':>8}{'heads':>7}{'hidden':>8}{'parameters':>16}{'FLOPs a token':>15}"
        f"{'memory':>11}{'passes':>9}{f'for {TOKENS_A_PARAMETER} a parameter':>20}",
    ]
    for name, shape in {"recipe": config.model, **SHAPES}.items():
        size = model_size(dataclasses.replace(config, model=shape), vocabulary_size, max_tokens_per_image)
        memory = (size.state_bytes + size.activation_bytes) / 1e9
        enough = TOKENS_A_PARAMETER * size.parameters / max(1.0, corpus.tokens * (1 - config.validation_ratio))
        lines.append(
            f"{name:<8}{shape.width:>6}{shape.num_layers:>8}{shape.num_heads:>7}{shape.hidden:>8}{size.parameters:>16,}"
            f"{size.flops_per_token:>15.2e}{memory:>8,.2f} GB{found.passes:>9.1f}{f'{enough:,.1f} passes':>20}"
        )
    return [
        *lines,
        "",
        f"passes: over the corpus, by train.steps and train.epochs. More than {MOST_PASSES} teach next to nothing "
        "(arXiv 2305.16264).",
        f"for {TOKENS_A_PARAMETER} a parameter: passes that would give each parameter {TOKENS_A_PARAMETER} tokens, the "
        "best use of arithmetic (arXiv 2203.15556).",
        "memory: weights, gradients and optimizers in float32, and roughly what a step of "
        f"{config.batch_rows} x {config.row_tokens} tokens keeps. Under torchrun with train.parallel=fsdp each process "
        "has its share of it; train.micro_batch_rows and train.recompute make the second part smaller.",
    ]
