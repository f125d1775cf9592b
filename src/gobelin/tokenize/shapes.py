"""Shapes of image tokenizers, by kind. No torch in here: a recipe and a tokenizer's folder are read without it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, Protocol

from gobelin.errors import UserError


class TokenizerConfig(Protocol):
    """The shape of an image tokenizer: a frozen dataclass of JSON values."""

    kind: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images, pixels."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes."""

    @property
    def token_pixels(self) -> int:
        """Pixels of a token, each way."""

    @property
    def num_codes(self) -> int:
        """Codebook size K; 1 where tokens are continuous."""

    @property
    def latent_channels(self) -> int:
        """Numbers of a continuous token; 0 where tokens are codes."""

    @property
    def has_decoder(self) -> bool:
        """Whether codes can become pictures."""


class _Patches:
    """Images cut into square patches, one token each."""

    __slots__ = ()
    image_size: int | tuple[int, int]
    patch_size: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images, pixels."""
        return height_and_width(self.image_size)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes."""
        height, width = self.size
        return height // self.patch_size, width // self.patch_size

    @property
    def token_pixels(self) -> int:
        """Pixels of a token, each way."""
        return self.patch_size

    @property
    def latent_channels(self) -> int:
        """0: tokens are codes."""
        return 0

    @property
    def has_decoder(self) -> bool:
        """True."""
        return True

    def _check(self, *names: str) -> None:
        require_positive(self, "patch_size", *names)
        if min(self.size) < 1 or any(side % self.patch_size for side in self.size):
            raise UserError(f"patch_size {self.patch_size} does not divide image_size {self.image_size}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VQVAEConfig(_Patches):
    """Shape of a VQ-VAE."""

    kind: ClassVar[str] = "vqvae"

    image_size: int | tuple[int, int] = 56
    """Side of the square image, or height and width; pixels. More pixels at the same patch mean more tokens per
    image."""
    patch_size: int = 8
    """Side of a patch, pixels; divides image_size. Halve it for finer detail at four times the tokens."""
    num_codes: int = 256
    """Codebook size K. On drawings 512 kept 3 of 100 more shapes than 256; photographs want more."""
    code_width: int = 16
    """Width d of a code vector. Narrow codes keep the whole codebook in use (arXiv 2110.04627); on drawings 16 kept
    3 of 100 more shapes than 8."""
    channels: int = 64
    """Width of the trunk."""
    num_blocks: int = 2
    """Residual blocks, each side."""

    def __post_init__(self) -> None:
        self._check("num_codes", "code_width", "channels")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FSQConfig(_Patches):
    """Shape of a tokenizer with finite scalar quantization (arXiv 2309.15505), on the trunk of the VQ-VAE."""

    kind: ClassVar[str] = "fsq"

    image_size: int | tuple[int, int] = 56
    """Side of the square image, or height and width; pixels."""
    patch_size: int = 8
    """Side of a patch, pixels; divides image_size."""
    levels: tuple[int, ...] = (8, 6, 5)
    """Values that each number of a code may take, at least 3; K is their product. The paper's: 8-6-5 = 240,
    8-5-5-5 = 1000, 7-5-5-5-5 = 4375, 8-8-8-6-5 = 15360, 8-8-8-5-5-5 = 64000."""
    channels: int = 64
    """Width of the trunk."""
    num_blocks: int = 2
    """Residual blocks, each side."""

    def __post_init__(self) -> None:
        self._check("channels")
        if not self.levels or min(self.levels) < 3:
            raise UserError(f"levels must be one or more numbers of at least 3, got {self.levels}")

    @property
    def num_codes(self) -> int:
        """The product of the levels."""
        return math.prod(self.levels)

    @property
    def code_width(self) -> int:
        """Numbers of a code."""
        return len(self.levels)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrunkConfig:
    """Shape of the convolutional trunk of VQGAN (arXiv 2012.09841)."""

    image_size: int | tuple[int, int] = 256
    """Side of the square image, or height and width; pixels. The weights do not depend on it."""
    channels: int = 128
    """Channels at full resolution."""
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    """Channels of each level, as multiples of ``channels``. Each level after the first has half the resolution, so five
    levels make a token of 16 x 16 pixels."""
    num_blocks: int = 2
    """Residual blocks of a level; the decoder has one more."""
    attention_levels: tuple[int, ...] = (4,)
    """Levels with attention after each block, besides the middle; 0 is the full resolution."""
    z_channels: int = 256
    """Channels between trunk and code vectors."""
    norm_groups: int = 32
    """Groups of the GroupNorms, 32 in all published weights; divides channels. A narrow trunk wants fewer: a group of
    one channel forgets how bright it is."""

    def __post_init__(self) -> None:
        require_positive(self, "channels", "num_blocks", "z_channels", "norm_groups")
        if self.channels % self.norm_groups:
            raise UserError(f"norm_groups {self.norm_groups} does not divide channels {self.channels}")
        levels = range(len(self.multipliers))
        if not self.multipliers or min(self.multipliers) < 1 or not set(self.attention_levels) <= set(levels):
            raise UserError(
                f"attention_levels {self.attention_levels} must be among the levels of multipliers {self.multipliers}"
            )
        if min(self.size) < 1 or any(side % self.token_pixels for side in self.size):
            raise UserError(
                f"image_size {self.image_size} must be a multiple of {self.token_pixels}, the pixels of a token at "
                f"{len(self.multipliers)} levels"
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images, pixels."""
        return height_and_width(self.image_size)

    @property
    def token_pixels(self) -> int:
        """Pixels of a token, each way."""
        return 2 ** (len(self.multipliers) - 1)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        height, width = self.size
        return height // self.token_pixels, width // self.token_pixels


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VQGANConfig(TrunkConfig):
    """Shape of a VQGAN. The default is that of the published 16 x 16 grids of 256 px."""

    kind: ClassVar[str] = "vqgan"

    num_codes: int = 1024
    """Codebook size K."""
    code_width: int = 256
    """Width d of a code vector."""
    normalize_codes: bool = False
    """Whether vectors and codes have length 1, as in LlamaGen (arXiv 2406.06525)."""
    has_decoder: bool = True
    """False: the weights are of an encoder alone, and codes cannot become pictures."""

    def __post_init__(self) -> None:
        TrunkConfig.__post_init__(self)
        require_positive(self, "num_codes", "code_width")

    @property
    def latent_channels(self) -> int:
        """0: tokens are codes."""
        return 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MoVQConfig(TrunkConfig):
    """Shape of Emu3's image tokenizer, a MoVQ (arXiv 2209.09002). The default is the published one: 64 x 64 tokens of
    512 px."""

    kind: ClassVar[str] = "movq"

    image_size: int | tuple[int, int] = 512
    """As of the trunk."""
    channels: int = 256
    """As of the trunk."""
    multipliers: tuple[int, ...] = (1, 2, 2, 4)
    """As of the trunk."""
    attention_levels: tuple[int, ...] = (3,)
    """As of the trunk."""
    z_channels: int = 4
    """As of the trunk."""
    num_codes: int = 32768
    """Codebook size K."""
    code_width: int = 4
    """Width d of a code vector, that of z_channels."""
    frames: int = 4
    """Frames of a video that are one token: a power of 2, from 2."""

    def __post_init__(self) -> None:
        TrunkConfig.__post_init__(self)
        require_positive(self, "num_codes")
        if self.code_width != self.z_channels:
            raise UserError(f"code_width {self.code_width} must be z_channels {self.z_channels}")
        if self.frames < 2 or self.frames & (self.frames - 1):
            raise UserError(f"frames must be a power of 2, from 2, got {self.frames}")

    @property
    def latent_channels(self) -> int:
        """0: tokens are codes."""
        return 0

    @property
    def has_decoder(self) -> bool:
        """True."""
        return True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KLVAEConfig(TrunkConfig):
    """Shape of a KL-VAE (arXiv 2112.10752), whose tokens are latents of real numbers. The default is that of the
    published 32 x 32 grids of 256 px."""

    kind: ClassVar[str] = "klvae"

    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    """As of the trunk."""
    attention_levels: tuple[int, ...] = ()
    """As of the trunk."""
    z_channels: int = 4
    """As of the trunk."""
    latent_channels: int = 4
    """Numbers d of a latent."""

    def __post_init__(self) -> None:
        TrunkConfig.__post_init__(self)
        require_positive(self, "latent_channels")

    @property
    def num_codes(self) -> int:
        """1: a token marks a place, and its latent says what stands there."""
        return 1

    @property
    def has_decoder(self) -> bool:
        """True."""
        return True


CONFIGS: dict[str, type[TokenizerConfig]] = {
    "vqvae": VQVAEConfig,
    "fsq": FSQConfig,
    "vqgan": VQGANConfig,
    "klvae": KLVAEConfig,
    "movq": MoVQConfig,
}
"""The shape of each kind of image tokenizer, by name of the kind."""

FITTED_KINDS = tuple(kind for kind in CONFIGS if kind != "movq")
"""Kinds that are fitted from the start; of a converted MoVQ the decoder alone can be fitted on."""


def height_and_width(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Pixels of both sides, where one number means a square."""
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def require_positive(config: Any, *names: str) -> None:
    """Raises UserError where one of these settings is below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise UserError(f"{name} must be at least 1, got {getattr(config, name)}")
