"""Settings of the stage ``tokenize``."""

from __future__ import annotations

import dataclasses

from gobelin.tokenize.vqvae import VQVAEConfig


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TokenizeConfig:
    """How pictures and words become tokens."""

    image_tokenizer: str | None = None
    """Folder of a saved image tokenizer. Null: fit a VQ-VAE on the images of the corpus."""

    vqvae: VQVAEConfig = dataclasses.field(default_factory=VQVAEConfig)
    """Shape of the VQ-VAE that is fitted."""

    vqvae_steps: int = 1500
    """Steps of the fit, 16 images each; fixed, so that a fit repeats. 1500 take a minute on one core."""

    vqvae_max_images: int = 20_000
    """Images of the corpus that the fit may see, chosen by hash of their id; they are held in memory."""

    text_tokenizer: str | None = None
    """File of a byte-level BPE of the package `tokenizers`. Null: fit one on the text of the corpus."""

    text_vocab_size: int = 4096
    """Tokens of the BPE that is fitted."""

    alt_as_caption: bool = True
    """Whether the alternative text of an image stands in where it has no caption."""

    device: str = "cpu"
    """Torch device of the image tokenizer's worker: cpu, cuda."""
