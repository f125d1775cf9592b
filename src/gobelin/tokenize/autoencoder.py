"""The common part of image tokenizers with codes: an encoder computes vectors, a quantizer makes codes of them, and a
decoder makes pixels of the codes.

A kind of tokenizer has a trunk (``vectors`` and ``pixels``) and a quantizer. A fit calls ``forward``. The pipeline
calls ``encode`` and ``decode``.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from gobelin.tokenize.framing import Grid
from gobelin.tokenize.fsq import FiniteScalarQuantizer
from gobelin.tokenize.quantizer import EmaQuantizer
from gobelin.tokenize.shapes import TokenizerConfig

# B batch, H W image, h w code grid, N = h w, d width of a code vector, K codebook size, M = B N


@dataclasses.dataclass(frozen=True, slots=True)
class Reconstruction:
    """The result of ``forward`` for a batch."""

    images_B3HW: Tensor  # not clamped
    vectors_Md: Tensor  # before quantization
    indices_M: Tensor | None  # None: nothing was quantized
    penalty: Tensor  # a scalar: commitment loss or KL divergence, unweighted


class CodedAutoencoder(nn.Module):
    """Images in [-1, 1] to code ids in [0, K), and code ids to images."""

    config: TokenizerConfig
    quantizer: EmaQuantizer | FiniteScalarQuantizer

    def vectors(self, images_B3HW: Tensor) -> Tensor:
        """Code vectors of images in [-1, 1] before quantization, float32 M x d in raster order."""
        raise NotImplementedError

    def pixels(self, vectors_Md: Tensor, grid: Grid) -> Tensor:
        """Images B x 3 x H x W of the code vectors of a grid (rows, columns), not clamped."""
        raise NotImplementedError

    def forward(
        self, images_B3HW: Tensor, *, quantize: bool, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """Reconstructs images for a fit. If ``quantize`` is False, vectors are decoded without quantization."""
        vectors_Md, grid = self.vectors(images_B3HW), grid_of(images_B3HW, self.config)
        if not quantize:
            return Reconstruction(self.pixels(vectors_Md, grid), vectors_Md, None, vectors_Md.new_zeros(()))
        quantized_Md, indices_M, penalty = self.quantizer(vectors_Md)
        return Reconstruction(self.pixels(quantized_Md, grid), vectors_Md, indices_M, penalty)

    @torch.no_grad()
    def encode(self, images_B3HW: Tensor) -> Tensor:
        """Code ids in [0, K) of images in [-1, 1], int64 B x N in raster order."""
        return self.quantizer.nearest(self.vectors(images_B3HW)).view(len(images_B3HW), -1)

    @torch.no_grad()
    def decode(self, ids_BN: Tensor, grid: Grid | None = None) -> Tensor:
        """Images in [-1, 1], B x 3 x H x W, of code ids B x N. The grid defaults to that of the shape."""
        return self.pixels(self.quantizer.vectors_of(ids_BN.flatten()), grid or self.config.grid).clamp(-1, 1)


class ChannelAffine(nn.Module):
    """Scales and shifts each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW * self.weight[:, None, None] + self.bias[:, None, None]


def grid_of(images_B3HW: Tensor, config: TokenizerConfig) -> Grid:
    """Rows and columns of the tokens of these images."""
    height, width = images_B3HW.shape[2:]
    return height // config.token_pixels, width // config.token_pixels


def start_weights(model: nn.Module, generator: torch.Generator) -> None:
    """Draws fresh weights from the generator. Convolutions are uniform with variance 1 / (3 fan_in), as in torch. Norms
    start at one and zero, and codes at zero until k-means initialises them."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            bound = module.weight[0].numel() ** -0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        elif isinstance(module, (nn.GroupNorm, ChannelAffine)):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, EmaQuantizer):
            module.reset()
