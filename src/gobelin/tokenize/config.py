"""Settings of the stage ``tokenize``, and shapes of image tokenizers. No torch in here: a recipe is read without it."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Protocol

from gobelin.errors import UserError


class TokenizerConfig(Protocol):
    """What the shape of every kind of image tokenizer says; a frozen dataclass of JSON values."""

    kind: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images, pixels."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes."""

    @property
    def num_codes(self) -> int:
        """Codebook size K; 1 where tokens are continuous."""

    @property
    def latent_channels(self) -> int:
        """Numbers of a continuous token; 0 where tokens are codes."""


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
    def latent_channels(self) -> int:
        """0: tokens are codes."""
        return 0

    def _check(self, *names: str) -> None:
        require_positive(self, "patch_size", *names)
        if min(self.size) < 1 or any(side % self.patch_size for side in self.size):
            raise UserError(f"patch_size {self.patch_size} does not divide image_size {self.image_size}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VQVAEConfig(_Patches):
    """Shape of a VQ-VAE."""

    kind: ClassVar[str] = "vqvae"

    image_size: int | tuple[int, int] = 56
    """Side of the square image, or height and width; pixels. More pixels at the same patch mean more tokens an
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


CONFIGS: dict[str, type[TokenizerConfig]] = {config.kind: config for config in (VQVAEConfig,)}
"""The shape of each kind of image tokenizer, by name of the kind."""


def height_and_width(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Pixels of both sides, where one number means a square."""
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def require_positive(config: Any, *names: str) -> None:
    """Raises UserError where one of these settings is below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise UserError(f"{name} must be at least 1, got {getattr(config, name)}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TokenizeConfig:
    """How pictures and words become tokens."""

    image_tokenizer: str | None = None
    """Folder of a saved image tokenizer. Null: fit a VQ-VAE on the images of the corpus."""

    vqvae: VQVAEConfig = dataclasses.field(default_factory=VQVAEConfig)
    """Shape of the VQ-VAE that is fitted."""

    vqvae_steps: int = 1500
    """Steps of the fit, 16 images each; fixed, so that a fit repeats. 1500 take half a minute of one core."""

    vqvae_max_images: int = 20_000
    """Images of the corpus that the fit may see, chosen by hash of their id; they are held in memory."""

    text_tokenizer: str | None = None
    """File of a byte-level BPE of the package `tokenizers`. Null: fit one on the text of the corpus."""

    text_vocab_size: int = 4096
    """Tokens of the BPE that is fitted."""

    alt_as_caption: bool = True
    """Whether the alternative text of an image stands in where it has no caption."""

    blur_faces: bool = False
    """Whether faces are blurred before an image becomes tokens, before the image tokenizer learns from it, and in
    exports. Needs score.faces; an image that was not searched for faces is left out."""

    device: str = "cpu"
    """Torch device of the image tokenizer's worker: cpu, cuda."""
