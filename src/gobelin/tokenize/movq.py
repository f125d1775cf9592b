"""MoVQ as in Emu3 (Zheng et al., arXiv 2209.09002; Emu3, arXiv 2409.18869), for still pictures.

The encoder is the trunk of VQGAN. All norms in the decoder are spatial: convolutions of the code vectors scale and
shift the normalised values at each position (``SpatialNorm``). Emu3's network is for video. Causal convolutions over
time reduce four frames to one after the encoder, and expand one frame to four before the decoder. A picture is encoded
as four equal frames, and only the first decoded frame is used. So the convolutions over time can be computed as
convolutions over the picture. ``convert_emu3.py`` sums and selects their weights. No frame is computed twice, and codes
and pictures equal those of the network for video.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from gobelin.tokenize.autoencoder import ChannelAffine, CodedAutoencoder
from gobelin.tokenize.framing import Grid
from gobelin.tokenize.quantizer import EmaQuantizer
from gobelin.tokenize.shapes import MoVQConfig
from gobelin.tokenize.vqgan import NORM_EPS, Encoder, Upsample

# B batch, H W image, h w code grid, C channels, z channels between trunk and codes, d width of a code vector, M = B h w


class TimeBlock(nn.Module):
    """x + conv(swish(affine(conv(swish(affine(x)))))). The affine layers are Emu3's batch norms, whose statistics are
    fixed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelAffine(channels), ChannelAffine(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = self.conv1(F.silu(self.norm1(x_BCHW)))
        return x_BCHW + self.conv2(F.silu(self.norm2(y_BCHW)))


class TimeEncoder(nn.Module):
    """Emu3's convolutions over time for a picture, whose ``frames`` frames are equal. Different frames are stored next
    to each other in the channels. Each convolution halves their number."""

    def __init__(self, config: MoVQConfig) -> None:
        super().__init__()
        width, frames = config.z_channels, config.frames
        numbers = [1, *(frames // 2 ** (step + 1) for step in range(int(math.log2(frames))))]  # the first are equal
        self.convs = nn.ModuleList(
            nn.Conv2d(before * width, after * width, 3, padding=1) for before, after in itertools.pairwise(numbers)
        )
        self.blocks = nn.ModuleList(TimeBlock(width) for _ in range(config.num_blocks))

    def forward(self, x_Bzhw: Tensor) -> Tensor:
        for conv in self.convs:
            x_Bzhw = F.silu(conv(x_Bzhw))
        for block in self.blocks:
            x_Bzhw = block(x_Bzhw)
        return x_Bzhw


class SpatialNorm(nn.Module):
    """A GroupNorm that functions of the code vector scale and shift at each position."""

    def __init__(self, channels: int, code_width: int, groups: int) -> None:
        super().__init__()
        self.norm_layer = nn.GroupNorm(groups, channels, eps=NORM_EPS)
        self.conv_y = nn.Conv2d(code_width, channels, 1)
        self.conv_b = nn.Conv2d(code_width, channels, 1)

    def forward(self, x_BCHW: Tensor, codes_Bdhw: Tensor) -> Tensor:
        codes_BdHW = F.interpolate(codes_Bdhw, size=x_BCHW.shape[-2:], mode="nearest")
        return self.norm_layer(x_BCHW) * self.conv_y(codes_BdHW) + self.conv_b(codes_BdHW)


class SpatialBlock(nn.Module):
    """``vqgan.ResnetBlock`` with spatial norms."""

    def __init__(self, channels: int, out_channels: int, code_width: int, groups: int) -> None:
        super().__init__()
        self.norm1 = SpatialNorm(channels, code_width, groups)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = SpatialNorm(out_channels, code_width, groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else None

    def forward(self, x_BCHW: Tensor, codes_Bdhw: Tensor) -> Tensor:
        y_BCHW = self.conv1(F.silu(self.norm1(x_BCHW, codes_Bdhw)))
        y_BCHW = self.conv2(F.silu(self.norm2(y_BCHW, codes_Bdhw)))
        return y_BCHW + (x_BCHW if self.nin_shortcut is None else self.nin_shortcut(x_BCHW))


class SpatialAttention(nn.Module):
    """``vqgan.AttentionBlock`` with a spatial norm."""

    def __init__(self, channels: int, code_width: int, groups: int) -> None:
        super().__init__()
        self.norm = SpatialNorm(channels, code_width, groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCHW: Tensor, codes_Bdhw: Tensor) -> Tensor:
        normed_BCHW = self.norm(x_BCHW, codes_Bdhw)
        q_B1NC, k_B1NC, v_B1NC = (
            part(normed_BCHW).flatten(2).transpose(1, 2).unsqueeze(1) for part in (self.q, self.k, self.v)
        )
        y_BNC = F.scaled_dot_product_attention(q_B1NC, k_B1NC, v_B1NC).squeeze(1)
        return x_BCHW + self.proj_out(y_BNC.transpose(1, 2).unflatten(2, x_BCHW.shape[2:]))


class SpatialLevel(nn.Module):
    """The blocks of one resolution, each followed by attention if the level has it."""

    def __init__(self, widths: Sequence[int], code_width: int, groups: int, has_attention: bool, grows: bool) -> None:
        """``widths``: channels before the first block and after each block. ``grows``: whether the level doubles the
        resolution at its end."""
        super().__init__()
        self.block = nn.ModuleList(SpatialBlock(*pair, code_width, groups) for pair in itertools.pairwise(widths))
        self.attn = nn.ModuleList(SpatialAttention(width, code_width, groups) for width in widths[1:] if has_attention)
        self.upsample = Upsample(widths[-1]) if grows else None

    def forward(self, x_BCHW: Tensor, codes_Bdhw: Tensor) -> Tensor:
        for index, block in enumerate(self.block):
            x_BCHW = block(x_BCHW, codes_Bdhw)
            if self.attn:
                x_BCHW = self.attn[index](x_BCHW, codes_Bdhw)
        return x_BCHW if self.upsample is None else self.upsample(x_BCHW)


class SpatialMiddle(nn.Module):
    """Block, attention and block at the lowest resolution."""

    def __init__(self, channels: int, code_width: int, groups: int) -> None:
        super().__init__()
        self.block_1 = SpatialBlock(channels, channels, code_width, groups)
        self.attn_1 = SpatialAttention(channels, code_width, groups)
        self.block_2 = SpatialBlock(channels, channels, code_width, groups)

    def forward(self, x_BCHW: Tensor, codes_Bdhw: Tensor) -> Tensor:
        x_BCHW = self.attn_1(self.block_1(x_BCHW, codes_Bdhw), codes_Bdhw)
        return self.block_2(x_BCHW, codes_Bdhw)


class MoVQDecoder(nn.Module):
    """Projected code vectors B x z x h x w and code vectors B x d x h x w (d = z) to images B x 3 x H x W. The
    layers over time process both."""

    def __init__(self, config: MoVQConfig) -> None:
        super().__init__()
        widths = [config.channels * multiplier for multiplier in config.multipliers]
        width, groups = config.code_width, config.norm_groups
        self.time_blocks = nn.ModuleList(TimeBlock(config.z_channels) for _ in range(config.num_blocks))
        self.time_convs = nn.ModuleList(
            nn.Conv2d(config.z_channels, config.z_channels, 3, padding=1) for _ in range(int(math.log2(config.frames)))
        )
        self.conv_in = nn.Conv2d(config.z_channels, widths[-1], 3, padding=1)
        self.mid = SpatialMiddle(widths[-1], width, groups)
        self.up = nn.ModuleList(
            SpatialLevel(
                [before] + [own] * (config.num_blocks + 1), width, groups, index in config.attention_levels, index > 0
            )
            for index, (own, before) in enumerate(zip(widths, [*widths[1:], widths[-1]]))
        )
        self.norm_out = SpatialNorm(widths[0], width, groups)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, z_Bzhw: Tensor, codes_Bdhw: Tensor) -> Tensor:
        z_Bzhw, codes_Bdhw = self._over_time(z_Bzhw), self._over_time(codes_Bdhw)
        x_BCHW = self.mid(self.conv_in(z_Bzhw), codes_Bdhw)
        for level in reversed(self.up):
            x_BCHW = level(x_BCHW, codes_Bdhw)
        return self.conv_out(F.silu(self.norm_out(x_BCHW, codes_Bdhw)))

    def _over_time(self, x_Bzhw: Tensor) -> Tensor:
        for block in self.time_blocks:
            x_Bzhw = block(x_Bzhw)
        for conv in self.time_convs:
            x_Bzhw = F.silu(conv(x_Bzhw))
        return x_Bzhw


class MoVQ(CodedAutoencoder):
    """Images in [-1, 1] to code ids, and code ids to images."""

    config: MoVQConfig
    quantizer: EmaQuantizer

    def __init__(self, config: MoVQConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config, config.z_channels)
        self.encoder_time = TimeEncoder(config)
        self.quant_conv = nn.Conv2d(config.z_channels, config.code_width, 1)
        self.quantizer = EmaQuantizer(config.num_codes, config.code_width)
        self.post_quant_conv = nn.Conv2d(config.code_width, config.z_channels, 1)
        self.decoder = MoVQDecoder(config)

    def vectors(self, images_B3HW: Tensor) -> Tensor:
        """Code vectors of images in [-1, 1] before quantization, float32 M x d in raster order."""
        hidden_Bzhw = self.encoder(images_B3HW).to(self.quant_conv.weight.dtype)
        return self.quant_conv(self.encoder_time(hidden_Bzhw)).float().movedim(1, -1).flatten(0, 2)

    def pixels(self, vectors_Md: Tensor, grid: Grid) -> Tensor:
        """Images B x 3 x H x W of the code vectors of a grid (rows, columns), not clamped."""
        codes_Bdhw = vectors_Md.unflatten(0, (-1, *grid)).movedim(-1, 1)
        return self.decoder(self.post_quant_conv(codes_Bdhw), codes_Bdhw).float()
