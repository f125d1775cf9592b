"""Settings of the stages ``train`` and ``sample``."""

from __future__ import annotations

import dataclasses

from gobelin.train.sample import SamplingConfig
from gobelin.train.trainer import TrainConfig

__all__ = ["SampleConfig", "SamplingConfig", "TrainConfig"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SampleConfig:
    """What is drawn from the model after training."""

    captions: tuple[str, ...] = ()
    """Captions to draw pictures for. Empty: captions of held-out documents."""

    num_captions: int = 16
    """How many of the held-out captions and pictures are taken."""

    images_per_caption: int = 2
    """Pictures a caption."""

    num_documents: int = 4
    """Whole documents that the model writes on its own."""

    max_document_tokens: int = 256
    """Length of such a document; at most a training row."""

    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)
    """How tokens are drawn."""
