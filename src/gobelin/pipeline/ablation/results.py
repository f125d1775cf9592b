"""Paired differences between arms, with 95 % intervals of Student's t over seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy.special import stdtrit

from gobelin.pipeline.ablation.arms import Arm

Metric = Literal["text_bits_per_byte", "image_nats", "image_gap", "text_gap"]

IS_LOSS: Mapping[Metric, bool] = {
    "text_bits_per_byte": True,
    "image_nats": True,
    "image_gap": False,
    "text_gap": False,
}
"""Metric -> whether less is better. Gaps are in nats per token by which the right partner is better."""

COMPARISONS: tuple[tuple[Arm, Arm], ...] = (
    ("curated", "raw"),
    ("curated", "random"),
    ("curated", "dropped"),
    ("random", "raw"),
)

CONFIDENCE = 0.95

Verdict = Literal["better", "worse", "inconclusive"]


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """The mean over seeds of one arm minus another arm with the same seed."""

    arm: Arm
    against: Arm
    mean: float
    low: float
    high: float
    verdict: Verdict  # on ``arm``


def paired_interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """(mean, low, high) of the 95 % interval, mean +- t s / sqrt(n) with n - 1 degrees of freedom; n is at least 2."""
    values = np.asarray(differences, np.float64)
    mean, num = float(values.mean()), len(values)
    half = float(stdtrit(num - 1, (1 + CONFIDENCE) / 2) * values.std(ddof=1)) / math.sqrt(num)
    return mean, mean - half, mean + half


def difference(arm: Arm, against: Arm, pairs: Sequence[tuple[float, float]], is_loss: bool) -> Difference:
    """The difference between two arms, from their values with the same seeds. Inconclusive if the interval contains
    zero."""
    mean, low, high = paired_interval([one - other for one, other in pairs])
    verdict: Verdict = "inconclusive" if low <= 0 <= high else "better" if (mean < 0) == is_loss else "worse"
    return Difference(arm, against, mean, low, high, verdict)


def compare(runs: Mapping[tuple[Arm, int], Mapping[str, Mapping[Metric, float | None]]]) -> list[dict[str, Any]]:
    """For each held-out set and metric that all runs have: means of the arms, and differences.

    Args:
        runs: metrics on each held-out set, by arm and seed.
    """
    arms = list(dict.fromkeys(arm for arm, _ in runs))
    seeds = sorted({seed for _, seed in runs})
    found = []
    for name in next(iter(runs.values())):
        for metric, is_loss in IS_LOSS.items():
            values = {arm: [runs[arm, seed][name][metric] for seed in seeds] for arm in arms}
            known = {arm: [each for each in column if each is not None] for arm, column in values.items()}
            if any(len(column) < len(seeds) for column in known.values()):
                continue
            differences = [
                difference(arm, against, list(zip(known[arm], known[against])), is_loss)
                for arm, against in COMPARISONS
                if arm in known and against in known
            ]
            found.append(
                {
                    "held_out": name,
                    "metric": metric,
                    "is_loss": is_loss,
                    "arms": {
                        arm: {"mean": float(np.mean(column)), "deviation": float(np.std(column, ddof=1)),
                              "values": column}
                        for arm, column in known.items()
                    },
                    "differences": [dataclasses.asdict(each) for each in differences],
                }
            )  # fmt: skip
    return found
