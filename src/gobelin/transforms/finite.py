"""NaN and infinity: a fit stops at them, and JSON stores null instead."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gobelin.errors import DivergedError


def require_finite(fit: str, step: int, values: Mapping[str, float], advice: str) -> None:
    """Stops a fit if a number of a step is not finite. Call it before the step changes the model or is logged.

    Args:
        fit: what is being fitted, for the message.
        step: number of the step, from 1.
        values: the numbers of the step by name.
        advice: what remains of the fit and what to do, for the message.

    Raises:
        DivergedError: a value is NaN or infinite. The message names the step and these values.
    """
    bad = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise DivergedError(f"{fit} stopped at step {step}: {', '.join(bad)}. {advice}")


def finite_or_null(value: Any) -> Any:
    """A JSON value in which None replaces each NaN and infinity, because JSON cannot store them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite_or_null(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_or_null(item) for item in value]
    return value
