"""NaN and infinity: a fit stops at them, and JSON holds null in their place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gobelin.errors import DivergedError


def require_finite(fit: str, step: int, values: Mapping[str, float], advice: str) -> None:
    """Stops a fit before it learns from a step, or writes of one, whose numbers are not finite.

    Args:
        fit: what is being fitted, for the message.
        step: counted from 1.
        values: the step's numbers by name.
        advice: what is left of the fit and what to do.

    Raises:
        DivergedError: one of the values is infinite or no number; the message names the step and those values.
    """
    bad = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise DivergedError(f"{fit} stopped at step {step}: {', '.join(bad)}. {advice}")


def finite_or_null(value: Any) -> Any:
    """A JSON value in which each number that is infinite or none is null: JSON has no other way to write them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite_or_null(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_or_null(item) for item in value]
    return value
