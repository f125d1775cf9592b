"""Pixels as networks take them, and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_float(images: np.ndarray | Tensor, device: torch.device | str = "cpu") -> Tensor:
    """uint8 B x H x W x 3 in [0, 255] to float32 B x 3 x H x W in [-1, 1], which lies channels last as they do."""
    given = images if isinstance(images, Tensor) else torch.from_numpy(np.ascontiguousarray(images))
    return given.to(device).movedim(-1, 1).float().div_(127.5).sub_(1)


def to_uint8(images_B3HW: Tensor) -> np.ndarray:
    """The inverse of ``to_float``, rounded to the nearest level."""
    return ((images_B3HW + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).movedim(1, -1).cpu().numpy()
