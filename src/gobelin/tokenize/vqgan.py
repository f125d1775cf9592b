"""The convolutional trunk of VQGAN (Esser et al., arXiv 2012.09841), and two tokenizers with it.

``VQGAN`` has codes, and ``KLVAE`` (Rombach et al., arXiv 2112.10752) continuous latents. The trunk consists of residual
blocks of GroupNorm, swish and 3 x 3 convolutions. Each level has half the resolution of the level before. There is
attention over all positions in the middle, and after the blocks of the configured levels. Modules have the names of the
published checkpoints, so that their weights can be loaded. ``down.0`` and ``up.0`` are both at full resolution.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gobelin.tokenize.autoencoder import CodedAutoencoder, Reconstruction, grid_of
from gobelin.tokenize.framing import Grid
from gobelin.tokenize.quantizer import EmaQuantizer
from gobelin.tokenize.shapes import KLVAEConfig, TrunkConfig, VQGANConfig

# B batch, H W image, h w code grid, C channels, N = h w, d width of a code vector, M = B N

NORM_EPS = 1e-6


class ResnetBlock(nn.Module):
    """x + conv(swish(norm(conv(swish(norm(x)))))). If the number of channels changes, a 1 x 1 convolution is applied to
    x."""

    def __init__(self, channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, eps=NORM_EPS)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=NORM_EPS)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = self.conv1(F.silu(self.norm1(x_BCHW)))
        y_BCHW = self.conv2(F.silu(self.norm2(y_BCHW)))
        return y_BCHW + (x_BCHW if self.nin_shortcut is None else self.nin_shortcut(x_BCHW))


class AttentionBlock(nn.Module):
    """x + self-attention over all positions, with one head as wide as the channels."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=NORM_EPS)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        normed_BCHW = self.norm(x_BCHW)
        q_B1NC, k_B1NC, v_B1NC = (
            part(normed_BCHW).flatten(2).transpose(1, 2).unsqueeze(1) for part in (self.q, self.k, self.v)
        )
        y_BNC = F.scaled_dot_product_attention(q_B1NC, k_B1NC, v_B1NC).squeeze(1)
        return x_BCHW + self.proj_out(y_BNC.transpose(1, 2).unflatten(2, x_BCHW.shape[2:]))


class Downsample(nn.Module):
    """Halves the resolution with a 3 x 3 convolution of stride 2, padded only on the right and at the bottom."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.conv(F.pad(x_BCHW, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles the resolution by nearest-neighbour interpolation, followed by a 3 x 3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.conv(F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The blocks of one resolution, each followed by attention if the level has it."""

    def __init__(self, widths: Sequence[int], groups: int, has_attention: bool) -> None:
        """``widths``: channels before the first block and after each block."""
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(*pair, groups) for pair in itertools.pairwise(widths))
        self.attn = nn.ModuleList(AttentionBlock(width, groups) for width in widths[1:] if has_attention)
        self.downsample: Downsample | None = None
        self.upsample: Upsample | None = None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        for index, block in enumerate(self.block):
            x_BCHW = block(x_BCHW)
            if self.attn:
                x_BCHW = self.attn[index](x_BCHW)
        for resample in (self.downsample, self.upsample):
            if resample is not None:
                x_BCHW = resample(x_BCHW)
        return x_BCHW


class Middle(nn.Module):
    """Block, attention and block at the lowest resolution."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = AttentionBlock(channels, groups)
        self.block_2 = ResnetBlock(channels, channels, groups)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x_BCHW)))


class Encoder(nn.Module):
    """Images B x 3 x H x W to B x out_channels x h x w."""

    def __init__(self, config: TrunkConfig, out_channels: int) -> None:
        super().__init__()
        widths = [config.channels * multiplier for multiplier in config.multipliers]
        self.conv_in = nn.Conv2d(3, config.channels, 3, padding=1)
        self.down = nn.ModuleList()
        for index, (before, width) in enumerate(zip([config.channels, *widths], widths)):
            level = Level([before] + [width] * config.num_blocks, config.norm_groups, index in config.attention_levels)
            if index + 1 < len(widths):
                level.downsample = Downsample(width)
            self.down.append(level)
        self.mid = Middle(widths[-1], config.norm_groups)
        self.norm_out = nn.GroupNorm(config.norm_groups, widths[-1], eps=NORM_EPS)
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        x_BCHW = self.conv_in(images_B3HW.to(self.conv_in.weight.dtype))
        for level in self.down:
            x_BCHW = level(x_BCHW)
        return self.conv_out(F.silu(self.norm_out(self.mid(x_BCHW))))


class Decoder(nn.Module):
    """B x z x h x w to images B x 3 x H x W. Each level has one block more than in the encoder."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        widths = [config.channels * multiplier for multiplier in config.multipliers]
        self.conv_in = nn.Conv2d(config.z_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], config.norm_groups)
        self.up = nn.ModuleList()
        for index, (width, before) in enumerate(zip(widths, [*widths[1:], widths[-1]])):
            level = Level(
                [before] + [width] * (config.num_blocks + 1), config.norm_groups, index in config.attention_levels
            )
            if index > 0:
                level.upsample = Upsample(width)
            self.up.append(level)
        self.norm_out = nn.GroupNorm(config.norm_groups, widths[0], eps=NORM_EPS)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, z_Bzhw: Tensor) -> Tensor:
        x_BCHW = self.mid(self.conv_in(z_Bzhw))
        for level in reversed(self.up):
            x_BCHW = level(x_BCHW)
        return self.conv_out(F.silu(self.norm_out(x_BCHW)))


class VQGAN(CodedAutoencoder):
    """Images in [-1, 1] to code ids, and code ids to images. Without a decoder it only encodes."""

    config: VQGANConfig
    quantizer: EmaQuantizer

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config, config.z_channels)
        self.quant_conv = nn.Conv2d(config.z_channels, config.code_width, 1)
        self.quantizer = EmaQuantizer(config.num_codes, config.code_width, normalize=config.normalize_codes)
        if config.has_decoder:
            self.post_quant_conv = nn.Conv2d(config.code_width, config.z_channels, 1)
            self.decoder = Decoder(config)

    def vectors(self, images_B3HW: Tensor) -> Tensor:
        """Code vectors of images in [-1, 1] before quantization, float32 M x d in raster order."""
        hidden_BChw = self.encoder(images_B3HW).to(self.quant_conv.weight.dtype)
        return self.quant_conv(hidden_BChw).float().movedim(1, -1).flatten(0, 2)

    def pixels(self, vectors_Md: Tensor, grid: Grid) -> Tensor:
        """Images B x 3 x H x W of the code vectors of a grid (rows, columns), not clamped."""
        grid_Bdhw = vectors_Md.unflatten(0, (-1, *grid)).movedim(-1, 1)
        return self.decoder(self.post_quant_conv(grid_Bdhw)).float()


class KLVAE(nn.Module):
    """Images in [-1, 1] to latents, and latents to images. A latent is the mean of a normal distribution of d numbers
    per position."""

    def __init__(self, config: KLVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config, 2 * config.z_channels)
        self.quant_conv = nn.Conv2d(2 * config.z_channels, 2 * config.latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(config.latent_channels, config.z_channels, 1)
        self.decoder = Decoder(config)

    def moments(self, images_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Means and logarithms of variances, float32, each B x N x d in raster order."""
        hidden_BChw = self.encoder(images_B3HW).to(self.quant_conv.weight.dtype)
        moments_BN2d = self.quant_conv(hidden_BChw).float().flatten(2).transpose(1, 2)
        means_BNd, log_variances_BNd = moments_BN2d.chunk(2, -1)
        return means_BNd, log_variances_BNd.clamp(-30, 20)

    def pixels(self, latents_BNd: Tensor, grid: Grid) -> Tensor:
        """Images B x 3 x H x W of the latents of a grid (rows, columns), not clamped."""
        grid_Bdhw = latents_BNd.transpose(1, 2).unflatten(2, grid)
        return self.decoder(self.post_quant_conv(grid_Bdhw)).float()

    def forward(
        self, images_B3HW: Tensor, *, quantize: bool, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """Reconstructs images for a fit, from a sample of the distribution. The penalty is the KL divergence from the
        standard normal distribution in nats per number. If ``quantize`` is False, the means are decoded, and the
        penalty is 0."""
        (means_BNd, logs_BNd), grid = self.moments(images_B3HW), grid_of(images_B3HW, self.config)
        if not quantize:
            return Reconstruction(self.pixels(means_BNd, grid), means_BNd.flatten(0, 1), None, means_BNd.new_zeros(()))
        noise_BNd = torch.randn(means_BNd.shape, generator=generator, device=means_BNd.device)
        divergence = 0.5 * (means_BNd.square() + logs_BNd.exp() - 1 - logs_BNd).mean()
        output_B3HW = self.pixels(means_BNd + (0.5 * logs_BNd).exp() * noise_BNd, grid)
        return Reconstruction(output_B3HW, means_BNd.flatten(0, 1), None, divergence)

    @torch.no_grad()
    def encode(self, images_B3HW: Tensor) -> Tensor:
        """Latents of images in [-1, 1], float32 B x N x d. They are the means, so a picture always has the same
        latents."""
        return self.moments(images_B3HW)[0]

    @torch.no_grad()
    def decode(self, latents_BNd: Tensor, grid: Grid | None = None) -> Tensor:
        """Images in [-1, 1], B x 3 x H x W, of latents B x N x d. The grid defaults to that of the shape."""
        return self.pixels(latents_BNd, grid or self.config.grid).clamp(-1, 1)
