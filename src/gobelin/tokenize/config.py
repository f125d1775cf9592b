"""Settings of the stage ``tokenize``. No torch in here: a recipe is read without it."""

from __future__ import annotations

import dataclasses

from gobelin.errors import UserError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VQVAEConfig:
    """Shape of a VQ-VAE."""

    image_size: int = 56
    """Side of the square image, pixels. More pixels at the same patch mean more tokens an image."""
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
        if self.image_size % self.patch_size:
            raise UserError(f"patch_size {self.patch_size} does not divide image_size {self.image_size}")
        for name in ("image_size", "patch_size", "num_codes", "code_width", "channels"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes."""
        return (self.image_size // self.patch_size,) * 2


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
