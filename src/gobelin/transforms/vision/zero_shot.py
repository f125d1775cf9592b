"""Zero-shot scores: the probability that an image fits one set of prompts better than another.

The prompts of a side are embedded, averaged and normalised to unit length (the prompt ensemble of Radford et al., 2021,
arXiv 2103.00020). The softmax over the cosines with the two sides, times the model's own logit scale, is the
probability of the positive side. That is a linear head with a sigmoid, so it is stored and applied as one (``heads``).

These probabilities are not calibrated. With the logit scale of 100 of public models, a difference of 0.02 between the
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
    """Two sets of texts. The score is high if an image fits the positive ones better."""

    positive: tuple[str, ...]
    """Texts that describe the target ("a photo with a watermark"). Several wordings are averaged."""

    negative: tuple[str, ...]
    """Texts that describe everything else ("a photo"). Word them as the positive ones, without the target."""

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
        negative: (Q, D) embeddings of the negative prompts, unit length.
        logit_scale: of the model, about 100.
        clip_model: fingerprint of the model.
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
