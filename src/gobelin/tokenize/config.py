"""Settings of the stage ``tokenize``, and of a fit. No torch in here: a recipe is read without it."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from typing import Literal

from gobelin.errors import UserError
from gobelin.tokenize.framing import Resize, parse_grids
from gobelin.tokenize.shapes import VQVAEConfig, require_positive
from gobelin.transforms.devices import check_device

BATCH_SIZE = 16
"""Pictures of a step of a fit."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How a tokenizer is fitted, beside its shape, seed and steps."""

    batch_size: int = BATCH_SIZE
    """Pictures of a step, over all processes."""
    micro_batch: int | None = None
    """Pictures that are computed at a time; a step's gradients are added up over them. None: all."""
    learning_rate: float | None = None
    """Learning rate of AdamW. None: 2e-3, on a convolutional trunk of more than 32 channels less by their ratio; a
    fifth for a decoder alone."""
    discriminator: float = 0.0
    """Weight of the patch discriminator's opinion; 0: there is none."""
    discriminator_start: int = 0
    """Steps before it begins to learn and to count."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "micro_batch"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name} must be at least 1, got {value}")
        for name in ("discriminator", "discriminator_start"):
            if not (value := getattr(self, name)) >= 0:
                raise UserError(f"{name} must be at least 0, got {value}")
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise UserError(f"learning_rate must be between 0 and 1, got {self.learning_rate}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CodebookConfig:
    """An image tokenizer: a folder that holds one, or what is fitted."""

    min_side_px: int = 0
    """Least shorter side of the pictures that it takes, pixels. Of several whose least side a picture reaches, the one
    with the largest takes it; one has 0."""

    image_tokenizer: str | None = None
    """Folder of a saved image tokenizer. Null: fit a VQ-VAE on the images that it takes."""

    vqvae: VQVAEConfig = dataclasses.field(default_factory=VQVAEConfig)
    """Shape of the VQ-VAE that is fitted."""

    grids: tuple[str, ...] = ()
    """As tokenize.grids."""

    resize: Resize | None = None
    """As tokenize.resize."""

    ids: str | None = None
    """Name of its range of ids in the vocabulary. Null: that of its entry. Two entries may share a range where they are
    one tokenizer on other grids."""

    def __post_init__(self) -> None:
        parse_grids(self.grids)
        if self.min_side_px < 0:
            raise UserError(f"min_side_px must be at least 0, got {self.min_side_px}")
        if self.ids is not None:
            _check_name(self.ids)


MAX_CODEBOOKS = 8


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", name):
        raise UserError(f"a codebook is named by up to 32 of a-z, 0-9, _ and -, a letter or digit first, got {name!r}")


def _check_codebooks(codebooks: Mapping[str, CodebookConfig]) -> None:
    """Raises UserError where not every picture belongs to one codebook, or two would share ids and cannot."""
    for name in codebooks:
        _check_name(name)
    if len(codebooks) > MAX_CODEBOOKS:
        raise UserError(f"codebooks: at most {MAX_CODEBOOKS}, got {len(codebooks)}")
    least: dict[int, str] = {}
    for name, each in codebooks.items():
        if each.min_side_px in least:
            raise UserError(
                f"codebooks: {least[each.min_side_px]} and {name} both have min_side_px {each.min_side_px}, and every "
                "picture goes to one of them: give one a larger number"
            )
        least[each.min_side_px] = name
    if 0 not in least:
        raise UserError(
            f"codebooks: one must have min_side_px 0, for pictures of less than {min(least)} px; leave it out of "
            f"{least[min(least)]}"
        )
    shared = Counter(each.ids or name for name, each in codebooks.items())
    for name, each in codebooks.items():
        if shared[each.ids or name] > 1 and each.image_tokenizer is None:
            raise UserError(
                f"codebooks: {name} shares the ids {each.ids or name!r} with another entry, so it must be the same "
                "tokenizer: name its folder as image_tokenizer"
            )


Order = Literal["interleaved", "image_first", "text_first", "assigned"]
"""Order of the texts and images of a sequence: ``order.py``."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TokenizeConfig:
    """How pictures and words become tokens."""

    image_tokenizer: str | None = None
    """Folder of a saved image tokenizer. Null: fit a VQ-VAE on the images of the corpus."""

    vqvae: VQVAEConfig = dataclasses.field(default_factory=VQVAEConfig)
    """Shape of the VQ-VAE that is fitted."""

    grids: tuple[str, ...] = ()
    """Grids of tokens that pictures are cut to, as ROWSxCOLUMNS: [8x16, 12x12, 16x8] takes for each picture the one
    that is nearest to its shape. Empty: those of the tokenizer, which is one square unless it was fitted otherwise."""

    resize: Resize | None = None
    """How a picture is brought to its grid: crop (the centre) or letterbox (all of it, black beside it). Null: as the
    tokenizer was fitted, crop where it is fitted in the run."""

    codebooks: dict[str, CodebookConfig] = dataclasses.field(default_factory=dict)
    """Several image tokenizers in place of the one above, by name: {pictures: {min_side_px: 200, image_tokenizer:
    FOLDER}, thumbnails: {}}. Every picture goes to one of them, by the shorter side of its file. Each has a range of
    ids of its own, in this order. Empty: the one that image_tokenizer, vqvae, grids and resize say."""

    vqvae_steps: int = 1500
    """Steps of the fit, 16 images each; fixed, so that a fit repeats. 1500 take half a minute of one core."""

    vqvae_max_images: int = 20_000
    """Images of the corpus that the fit of a codebook may see, chosen by hash of their id; they are held in memory."""

    text_tokenizer: str | None = None
    """File of a byte-level BPE, of the package `tokenizers` or of tiktoken. Null: fit one on the text of the corpus."""

    text_vocab_size: int = 4096
    """Tokens of the BPE that is fitted."""

    alt_as_caption: bool = True
    """Whether the alternative text of an image stands in where it has no caption."""

    order: Order = "interleaved"
    """Order of texts and images in a sequence: interleaved (as on the page), image_first, text_first, or assigned (each
    image before the text that MMC4's assignment gives it; needs score.clip)."""

    max_images: int | None = None
    """Images of a document that enter its sequence at most, the first ones on the page. Null: all."""

    max_tokens: int | None = None
    """Tokens of a sequence at most. A longer document becomes several, cut between items; only a text that no sequence
    could hold is cut in itself, never an image. Null: one sequence per document."""

    shard_tokens: int = 2**25
    """Tokens of a token shard, about; one shard is in memory at a time, at some 10 bytes per token."""

    blur_faces: bool = False
    """Whether faces are blurred before an image becomes tokens, before the image tokenizer learns from it, and in
    exports. Needs score.faces; an image that was not searched for faces is left out."""

    device: str = "cpu"
    """Where images are encoded: cpu, cuda, mps, or auto, the fastest of them that is there. The same kind of device and
    settings give the same codes; files of codes say which. On GPUs one process encodes on each."""

    precision: str = "auto"
    """Precision of the image tokenizer's trunk: float32, bfloat16, or auto: the latter for a VQGAN where the device
    multiplies it in hardware. `gobelin tokenizer show` says how many codes are the same."""

    batch_size: int | None = None
    """Images that are encoded at a time. Null: what suits the device. Another number may change codes that are nearly
    as far from another one."""

    decode_processes: int | None = None
    """Processes that open pictures for one that encodes. Null: none on the CPU, on a GPU up to 16 of its share of the
    cores. Codes are the same."""

    def __post_init__(self) -> None:
        check_device(self.device)
        parse_grids(self.grids)
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise UserError(f"precision must be auto, float32 or bfloat16, got {self.precision!r}")
        if self.batch_size is not None and self.batch_size < 1:
            raise UserError(f"batch_size must be at least 1, or null, got {self.batch_size}")
        if self.decode_processes is not None and not 0 <= self.decode_processes <= 256:
            raise UserError(f"decode_processes must be in [0, 256], or null, got {self.decode_processes}")
        require_positive(self, "shard_tokens")
        if self.max_tokens is not None:
            require_positive(self, "max_tokens")
        if self.max_images is not None and self.max_images < 0:
            raise UserError(f"max_images must be at least 0, got {self.max_images}")
        if self.codebooks:
            _check_codebooks(self.codebooks)
            for name in ("image_tokenizer", "vqvae", "grids", "resize"):
                if getattr(self, name) != getattr(_ONE, name):
                    raise UserError(f"codebooks and {name} both say what images become: move it into an entry")

    def image_tokenizers(self) -> dict[str, CodebookConfig]:
        """The image tokenizers by the names of their entries; one by itself has the name ``""``."""
        one = CodebookConfig(
            image_tokenizer=self.image_tokenizer, vqvae=self.vqvae, grids=self.grids, resize=self.resize
        )
        return self.codebooks or {"": one}


_ONE = CodebookConfig()
