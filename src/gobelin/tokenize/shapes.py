"""Shapes of image tokenizers, by kind. Imports no torch, so that a recipe or a tokenizer's folder can be read without
it."""

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
        """Height and width of the images in pixels."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes."""

    @property
    def token_pixels(self) -> int:
        """Side of the square of pixels that one token represents."""

    @property
    def num_codes(self) -> int:
        """Codebook size K; 1 for continuous tokens."""

    @property
    def latent_channels(self) -> int:
        """Width of a continuous token; 0 for codes."""

    @property
    def has_decoder(self) -> bool:
        """Whether tokens can be decoded to pictures."""


class _Patches:
    """The common part of tokenizers that cut images into square patches, one token per patch."""

    __slots__ = ()
    image_size: int | tuple[int, int]
    patch_size: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images in pixels."""
        return height_and_width(self.image_size)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes."""
        height, width = self.size
        return height // self.patch_size, width // self.patch_size

    @property
    def token_pixels(self) -> int:
        """Side of the square of pixels that one token represents."""
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
    """Side of the square image, or its height and width, in pixels. With the same patch size, more pixels mean more
    tokens per image."""
    patch_size: int = 8
    """Side of a patch in pixels; divides image_size. Half the side gives finer detail and four times the tokens."""
    num_codes: int = 256
    """Codebook size K. On drawings, 512 kept 3 % more of the shapes than 256; photographs need more."""
    code_width: int = 16
    """Width d of a code vector. Narrow codes keep the whole codebook in use (arXiv 2110.04627). On drawings, 16 kept 3
    % more of the shapes than 8."""
    channels: int = 64
    """Width of the trunk."""
    num_blocks: int = 2
    """Residual blocks in the encoder, and in the decoder."""

    def __post_init__(self) -> None:
        self._check("num_codes", "code_width", "channels")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FSQConfig(_Patches):
    """Shape of a tokenizer with finite scalar quantization (arXiv 2309.15505), on the trunk of the VQ-VAE."""

    kind: ClassVar[str] = "fsq"

    image_size: int | tuple[int, int] = 56
    """Side of the square image, or its height and width, in pixels."""
    patch_size: int = 8
    """Side of a patch in pixels; divides image_size."""
    levels: tuple[int, ...] = (8, 6, 5)
    """Number of values of each number of a code, at least 3; K is their product. The paper suggests 8-6-5 = 240,
    8-5-5-5 = 1000, 7-5-5-5-5 = 4375, 8-8-8-6-5 = 15360 and 8-8-8-5-5-5 = 64000."""
    channels: int = 64
    """Width of the trunk."""
    num_blocks: int = 2
    """Residual blocks in the encoder, and in the decoder."""

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
        """Width of a code vector."""
        return len(self.levels)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrunkConfig:
    """Shape of the convolutional trunk of VQGAN (arXiv 2012.09841)."""

    image_size: int | tuple[int, int] = 256
    """Side of the square image, or its height and width, in pixels. The weights do not depend on it."""
    channels: int = 128
    """Channels at full resolution."""
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    """Channels of each level, as multiples of ``channels``. Each level after the first has half the resolution of the
    level before, so with five levels a token represents 16 x 16 pixels."""
    num_blocks: int = 2
    """Residual blocks per level; the decoder has one more."""
    attention_levels: tuple[int, ...] = (4,)
    """Levels with attention after each block; 0 is the full resolution. The middle always has attention."""
    z_channels: int = 256
    """Channels between trunk and code vectors."""
    norm_groups: int = 32
    """Groups of the GroupNorms; divides channels. All published weights have 32. A narrow trunk needs fewer: a group of
    one channel loses its brightness."""

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
        """Height and width of the images in pixels."""
        return height_and_width(self.image_size)

    @property
    def token_pixels(self) -> int:
        """Side of the square of pixels that one token represents."""
        return 2 ** (len(self.multipliers) - 1)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        height, width = self.size
        return height // self.token_pixels, width // self.token_pixels


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VQGANConfig(TrunkConfig):
    """Shape of a VQGAN. The defaults are those of the published tokenizers with 16 x 16 tokens for 256 px."""

    kind: ClassVar[str] = "vqgan"

    num_codes: int = 1024
    """Codebook size K."""
    code_width: int = 256
    """Width d of a code vector."""
    normalize_codes: bool = False
    """Whether vectors and codes have length 1, as in LlamaGen (arXiv 2406.06525)."""
    has_decoder: bool = True
    """Whether there is a decoder. Without one, codes cannot be decoded to pictures."""

    def __post_init__(self) -> None:
        TrunkConfig.__post_init__(self)
        require_positive(self, "num_codes", "code_width")

    @property
    def latent_channels(self) -> int:
        """0: tokens are codes."""
        return 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MoVQConfig(TrunkConfig):
    """Shape of Emu3's image tokenizer, a MoVQ (arXiv 2209.09002). The defaults are the published ones: 64 x 64 tokens
    for 512 px."""

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
    """Width d of a code vector; equals z_channels."""
    frames: int = 4
    """Number of video frames per token: a power of 2, at least 2."""

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
    """Shape of a KL-VAE (arXiv 2112.10752), whose tokens are continuous latents. The defaults are those of the
    published tokenizers with 32 x 32 tokens for 256 px."""

    kind: ClassVar[str] = "klvae"

    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    """As of the trunk."""
    attention_levels: tuple[int, ...] = ()
    """As of the trunk."""
    z_channels: int = 4
    """As of the trunk."""
    latent_channels: int = 4
    """Width d of a latent."""

    def __post_init__(self) -> None:
        TrunkConfig.__post_init__(self)
        require_positive(self, "latent_channels")

    @property
    def num_codes(self) -> int:
        """1: the id only marks a position, and a latent holds its content."""
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
"""Kinds that can be fitted from scratch. For a converted MoVQ, only the decoder can be fitted."""


def height_and_width(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width in pixels. One number means a square."""
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def require_positive(config: Any, *names: str) -> None:
    """Raises UserError if one of these settings is below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise UserError(f"{name} must be at least 1, got {getattr(config, name)}")
