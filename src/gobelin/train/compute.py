"""How exactly torch multiplies while a model is trained or sampled from."""

from __future__ import annotations

import torch


def autocast(device: torch.device | str, precision: str) -> torch.autocast:
    """Within it, products of matrices are computed in this precision: float32 or bfloat16."""
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
