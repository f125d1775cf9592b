"""Measures how well a tokenizer reconstructs pictures, and how much of its codebook it uses.

PSNR is computed over all pixels at once. SSIM is that of Wang et al. (2004): a Gaussian window of 11 pixels with
deviation 1.5, each colour by itself, and only windows inside the picture. Usage and perplexity are counted over all
added pictures and never averaged over batches, because a batch uses fewer codes than an epoch.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gobelin.tokenize.pixels import to_float

WINDOW = 11
DEVIATION = 1.5
C1, C2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2  # for a range of 2: [-1, 1]


@dataclasses.dataclass(frozen=True, slots=True)
class Quality:
    """Quality of reconstructions, and the use of the codebook."""

    num_images: int
    psnr_db: float  # in 8-bit range, over all pixels at once
    ssim: float  # mean, [-1, 1]
    codes_used: int  # of K; 0 for continuous tokens
    perplexity: float  # exp of the entropy of codes, [1, K]; 0 for continuous tokens


class QualityMeter:
    """Accumulates pictures, reconstructions and codes over batches."""

    def __init__(self, num_codes: int) -> None:
        self.counts_K = np.zeros(num_codes, dtype=np.int64)
        self._num_images = 0
        self._squared = 0.0
        self._num_values = 0
        self._ssim = 0.0

    def add(self, images: np.ndarray, decoded: np.ndarray) -> None:
        """Adds pictures and their reconstructions, both uint8 B x H x W x 3."""
        self._num_images += len(images)
        self._squared += float(np.square(decoded.astype(np.float64) - images).sum())
        self._num_values += images.size
        self._ssim += float(ssim(to_float(images), to_float(decoded)).double().sum())

    def add_codes(self, codes: np.ndarray) -> None:
        """Adds codes in [0, K), of any shape."""
        self.counts_K += np.bincount(codes.ravel(), minlength=len(self.counts_K))

    def result(self) -> Quality:
        """The result so far. Without pictures, PSNR and SSIM are 0."""
        number = max(self._num_images, 1)
        return Quality(
            num_images=self._num_images,
            psnr_db=psnr_db(self._squared / self._num_values) if self._num_values else 0.0,
            ssim=self._ssim / number,
            codes_used=int((self.counts_K > 0).sum()),
            perplexity=perplexity(self.counts_K),
        )


def psnr_db(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB for a mean squared error in 8-bit levels; 168 dB for no error."""
    return 10 * math.log10(255.0**2 / max(mean_squared_error, 1e-12))


def perplexity(counts_K: np.ndarray) -> float:
    """The exponential of the codes' entropy: the number of codes in use if all were used equally. 0 without codes."""
    shares = counts_K[counts_K > 0] / max(int(counts_K.sum()), 1)
    return math.exp(-float((shares * np.log(shares)).sum())) if len(shares) else 0.0


def ssim(first_B3HW: Tensor, second_B3HW: Tensor) -> Tensor:
    """Structural similarity of each pair of pictures in [-1, 1]: shape B, at most 1. Differentiable.

    For pictures with fewer than 11 pixels per side, the window is smaller.
    """
    channels, side = first_B3HW.shape[1], min(WINDOW, *first_B3HW.shape[2:])
    steps = torch.arange(side, device=first_B3HW.device, dtype=first_B3HW.dtype) - (side - 1) / 2
    line = torch.exp(-(steps**2) / (2 * DEVIATION**2))
    line = line / line.sum()

    def blur(x_B3HW: Tensor) -> Tensor:
        x_B3HW = F.conv2d(x_B3HW, line.view(1, 1, side, 1).expand(channels, 1, side, 1), groups=channels)
        return F.conv2d(x_B3HW, line.view(1, 1, 1, side).expand(channels, 1, 1, side), groups=channels)

    mean_1, mean_2 = blur(first_B3HW), blur(second_B3HW)
    variance_1 = blur(first_B3HW * first_B3HW) - mean_1 * mean_1
    variance_2 = blur(second_B3HW * second_B3HW) - mean_2 * mean_2
    covariance = blur(first_B3HW * second_B3HW) - mean_1 * mean_2
    likeness = (2 * mean_1 * mean_2 + C1) / (mean_1 * mean_1 + mean_2 * mean_2 + C1)
    structure = (2 * covariance + C2) / (variance_1 + variance_2 + C2)
    return (likeness * structure).mean((1, 2, 3))
