"""Zero-shot scores: how much more an image fits one set of prompts than another, as a probability.

The prompts of a side are embedded, averaged and brought to unit length (the prompt ensemble of Radford et al., 2021,
arXiv 2103.00020); the softmax over the two sides' cosines, times the model's own logit scale, is the probability of
the positive side. That is a linear head with a sigmoid, so it is stored and run as one (``heads``).

Such probabilities are not calibrated. With the logit scale of 100 of public models, a difference of 0.02 between the
cosines gives a probability of 0.88. Look at images near a threshold before you trust it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from gobelin.errors import UserError
from gobelin.transforms.vision.heads import Head, Layer


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ZeroShotPrompts:
    """Two sets of texts; an image fits one of them better."""

    positive: tuple[str, ...]
    """Texts of what is looked for ("a photo with a watermark"). Several wordings are averaged."""

    negative: tuple[str, ...]
    """Texts of everything else ("a photo"). Word them as the positive ones, except for what is looked for."""

    def __post_init__(self) -> None:
        for side in ("positive", "negative"):
            texts = getattr(self, side)
            if not texts or not all(text.strip() for text in texts):
                raise UserError(f"{side}: give at least one text, and none that is empty; got {list(texts)}")


def zero_shot_head(
    name: str,
    prompts: ZeroShotPrompts,
    positive: npt.NDArray[np.floating],
    negative: npt.NDArray[np.floating],
    logit_scale: float,
    clip_model: str,
) -> Head:
    """The head that gives the probability of the positive side.

    Args:
        positive: (P, D) embeddings of the positive prompts, unit length.
        negative: (Q, D) of the negative ones.
        logit_scale: of the model, about 100.
        clip_model: its fingerprint.
    """
    difference = logit_scale * (_ensemble(positive) - _ensemble(negative))
    return Head(
        name=name,
        clip_model=clip_model,
        layers=(Layer(difference[None], np.zeros(1), "sigmoid"),),
        higher_is="worse",
        range=(0.0, 1.0),
        source="zero-shot prompts",
        notes={"positive": list(prompts.positive), "negative": list(prompts.negative), "logit_scale": logit_scale},
    )


def _ensemble(embeddings: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    mean = embeddings.astype(np.float64).mean(0)
    return mean / np.linalg.norm(mean)
