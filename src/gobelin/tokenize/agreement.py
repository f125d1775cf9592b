"""Measures how many codes are the same in bfloat16 and in float32. The result is kept beside a new tokenizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gobelin.tokenize.framing import Framing
from gobelin.tokenize.image_tokenizer import ImageTokenizer
from gobelin.tokenize.networks import Network
from gobelin.transforms.devices import device_kind

NUM_COMPARED = 64
"""The number of pictures of a fit that are compared."""

DRAWN_PIXELS = 2**18
"""The number of pixels of all drawn pictures, if there are no others: 4 of 256 px."""


def measure_agreement(
    network: Network, images: np.ndarray, of: str, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Encodes pictures twice.

    Args:
        images: uint8 B x H x W x 3.
        of: a description of these pictures.

    Returns:
        ``bfloat16``: for codes, the share of equal ones, [0, 1]; for latents, the root mean squared difference divided
        by the standard deviation. ``pictures``, ``of``, ``device``: the conditions of the measurement.
    """
    pixels = network.config.token_pixels
    framing = Framing(((images.shape[1] // pixels, images.shape[2] // pixels),), pixels)
    usual = ImageTokenizer(network, device, framing=framing).batch_size
    size = min(usual, len(images))
    exact = ImageTokenizer(network, device, batch_size=size, framing=framing).encode(images)
    rough = ImageTokenizer(
        network, device, batch_size=size, precision="bfloat16", framing=framing
    ).encode(images)  # fmt: skip
    if exact.dtype == np.float16:
        exact, rough = exact.astype(np.float32), rough.astype(np.float32)
        found = float(np.sqrt(np.square(exact - rough).mean()) / max(float(exact.std()), 1e-12))
    else:
        found = float((exact == rough).mean())
    return {"bfloat16": found, "pictures": len(images), "of": of, "device": device_kind(device)}


def drawn_pictures(size: tuple[int, int]) -> np.ndarray:
    """Pictures of a tokenizer's height and width, uint8 B x H x W x 3, always the same: slopes of colour with discs and
    a little noise. At least two."""
    height, width = size
    number = max(2, min(16, DRAWN_PIXELS // (height * width)))
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    made = []
    for _ in range(number):
        slope = random.uniform(-1, 1, (3, 2))
        pixels = 0.5 + (slope[:, 0, None, None] * (rows - 0.5) + slope[:, 1, None, None] * (columns - 0.5)) / 2
        for _ in range(6):
            y, x, radius = random.uniform(0, 1), random.uniform(0, 1), random.uniform(0.05, 0.3)
            is_inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
            pixels = np.where(is_inside, random.uniform(0, 1, (3, 1, 1)), pixels)
        pixels = pixels + random.normal(0, 0.02, pixels.shape)
        made.append(np.clip(255 * pixels, 0, 255).astype(np.uint8).transpose(1, 2, 0))
    return np.stack(made)
