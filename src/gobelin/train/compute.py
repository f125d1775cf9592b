"""Precision of matrix products in training and sampling."""

from __future__ import annotations

import torch


def autocast(device: torch.device | str, precision: str) -> torch.autocast:
    """Within it, matrix products are computed in this precision: float32 or bfloat16."""
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
