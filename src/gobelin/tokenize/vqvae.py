"""A small trunk for images: 8 x 8 pixel patches to codes and back, with the codebook of a VQ-VAE (arXiv 1711.00937) or
finite scalar quantization (arXiv 2309.15505).

A strided convolution cuts the image into patches. All computation is at patch resolution (two residual blocks in the
encoder, and two in the decoder), and the output is shuffled back into pixels. There is no normalisation layer: on
pictures with flat colours, GroupNorm loses the colours within the first minutes of a fit. Without it, encoding a
decoded picture reproduces more than 90 % of its codes. 56 px and patches of 8 px make 49 tokens and 0.44 M parameters.
Encoding takes about 0.12 ms per image on one core.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from gobelin.tokenize.autoencoder import CodedAutoencoder
from gobelin.tokenize.framing import Grid
from gobelin.tokenize.fsq import FiniteScalarQuantizer
from gobelin.tokenize.quantizer import EmaQuantizer
from gobelin.tokenize.shapes import FSQConfig, VQVAEConfig

# B batch, H W image, h w code grid (image / patch), C channels, d width of a code, M = B h w


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(silu(x)))), both 3 x 3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BChw: Tensor) -> Tensor:
        return x_BChw + self.conv_2(F.silu(self.conv_1(F.silu(x_BChw))))


class PatchAutoencoder(CodedAutoencoder):
    """Images in [-1, 1] to code ids in [0, K), and code ids to images. The type of the configuration determines the
    quantizer."""

    config: VQVAEConfig | FSQConfig

    def __init__(self, config: VQVAEConfig | FSQConfig) -> None:
        super().__init__()
        self.config = config
        patch, channels = config.patch_size, config.channels
        blocks = [ResidualBlock(channels) for _ in range(2 * config.num_blocks)]
        self.encoder = nn.Sequential(
            nn.Conv2d(3, channels, patch, stride=patch),
            *blocks[: config.num_blocks],
            nn.SiLU(),
            nn.Conv2d(channels, config.code_width, 3, padding=1),
        )
        self.quantizer = (
            FiniteScalarQuantizer(config.levels)
            if isinstance(config, FSQConfig)
            else EmaQuantizer(config.num_codes, config.code_width)
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(config.code_width, channels, 3, padding=1),
            *blocks[config.num_blocks :],
            nn.SiLU(),
            nn.Conv2d(channels, 3 * patch * patch, 3, padding=1),
            nn.PixelShuffle(patch),
        )

    def vectors(self, images_B3HW: Tensor) -> Tensor:
        """Code vectors of images in [-1, 1] before quantization, float32 M x d in raster order."""
        stem, last = self.encoder[0], self.encoder[-1]
        assert isinstance(stem, nn.Conv2d)
        assert isinstance(last, nn.Conv2d)
        hidden_BChw = self.encoder[:-1](images_B3HW.to(stem.weight.dtype))
        return last(hidden_BChw.to(last.weight.dtype)).float().movedim(1, -1).flatten(0, 2)

    def pixels(self, vectors_Md: Tensor, grid: Grid) -> Tensor:
        """Images B x 3 x H x W of the code vectors of a grid (rows, columns), not clamped."""
        return self.decoder(vectors_Md.unflatten(0, (-1, *grid)).movedim(-1, 1)).float()
