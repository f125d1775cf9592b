"""Settings of the stage ``tokenize`` and of a fit. Imports no torch, so that a recipe can be read without it."""

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
"""Pictures per step of a fit."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """Settings of a fit besides shape, seed and steps."""

    batch_size: int = BATCH_SIZE
    """Pictures per step, over all processes."""
    micro_batch: int | None = None
    """Pictures that are computed at a time. The gradients of a step are accumulated over them. None: all pictures of
    the step."""
    learning_rate: float | None = None
    """Learning rate of AdamW. None: 2e-3. For a convolutional trunk of more than 32 channels it is multiplied by 32 /
    channels, and for a fit of the decoder alone by 0.2."""
    discriminator: float = 0.0
    """Weight of the adversarial loss of the patch discriminator. 0: no discriminator."""
    discriminator_start: int = 0
    """Number of steps before the discriminator is fitted and its loss counts."""

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
    """An image tokenizer: a folder with a saved one, or the settings of a fit."""

    min_side_px: int = 0
    """Minimum shorter side of the pictures of this tokenizer, in pixels. A picture goes to the tokenizer with the
    largest minimum that it reaches. One tokenizer must have 0."""

    image_tokenizer: str | None = None
    """Folder of a saved image tokenizer. Null: fit a VQ-VAE on the images for this entry."""

    vqvae: VQVAEConfig = dataclasses.field(default_factory=VQVAEConfig)
    """Shape of the VQ-VAE to fit."""

    grids: tuple[str, ...] = ()
    """As tokenize.grids."""

    resize: Resize | None = None
    """As tokenize.resize."""

    ids: str | None = None
    """Name of the range of ids in the vocabulary. Null: the name of the entry. Two entries may share a range if they
    are the same tokenizer with other grids."""

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
    """Raises UserError if a picture would belong to no codebook or to two, or if entries that share ids name no saved
    tokenizer."""
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
    """How images and texts become tokens."""

    image_tokenizer: str | None = None
    """Folder of a saved image tokenizer. Null: fit a VQ-VAE on the images of the corpus."""

    vqvae: VQVAEConfig = dataclasses.field(default_factory=VQVAEConfig)
    """Shape of the VQ-VAE to fit."""

    grids: tuple[str, ...] = ()
    """Grids of tokens as ROWSxCOLUMNS. With [8x16, 12x12, 16x8], each picture is cropped to the grid that is nearest to
    its shape. Empty: the grids of the tokenizer; by default one square."""

    resize: Resize | None = None
    """How a picture is brought to its grid: crop (the centre) or letterbox (the whole picture with black bars). Null:
    as the tokenizer was fitted; crop for one that the run fits."""

    codebooks: dict[str, CodebookConfig] = dataclasses.field(default_factory=dict)
    """Several image tokenizers by name, instead of the one above: {pictures: {min_side_px: 200, image_tokenizer:
    FOLDER}, thumbnails: {}}. Each picture goes to one of them, by the shorter side of its file. Each has its own range
    of ids, in this order. Empty: one tokenizer, from image_tokenizer, vqvae, grids and resize."""

    vqvae_steps: int = 1500
    """Steps of the fit, with 16 images each. The number is fixed, so that a fit can be repeated. 1500 steps take half a
    minute on one core."""

    vqvae_max_images: int = 20_000
    """Maximum number of images for the fit of a codebook. They are chosen by the hash of their id and held in
    memory."""

    text_tokenizer: str | None = None
    """File of a byte-level BPE of the package `tokenizers` or of tiktoken. Null: fit one on the text of the corpus."""

    text_vocab_size: int = 4096
    """Number of tokens of the BPE to fit."""

    alt_as_caption: bool = True
    """Whether the alt text of an image replaces a missing caption."""

    order: Order = "interleaved"
    """Order of texts and images in a sequence: interleaved (as on the page), image_first, text_first, or assigned (each
    image before the text that MMC4's assignment gives it; needs score.clip)."""

    max_images: int | None = None
    """Maximum number of images of a document in its sequences; the first ones on the page are used. Null: all."""

    max_tokens: int | None = None
    """Maximum number of tokens of a sequence. A longer document becomes several sequences and is cut between items. A
    text is cut only if it is longer than a sequence, and an image never. Null: one sequence per document."""

    shard_tokens: int = 2**25
    """Approximate number of tokens of a token shard. One shard is in memory at a time, with about 10 bytes per
    token."""

    blur_faces: bool = False
    """Whether to blur faces before images are tokenized, before the image tokenizer is fitted on them, and in exports.
    Needs score.faces. Images that were not searched for faces are left out."""

    device: str = "cpu"
    """Device that encodes images: cpu, cuda, mps, or auto, the fastest available one. The same kind of device and
    settings give the same codes, and files of codes record both. With GPUs, one process encodes on each."""

    precision: str = "auto"
    """Precision of the image tokenizer's trunk: float32, bfloat16 or auto. Auto is bfloat16 for a VQGAN or MoVQ on a
    device with bfloat16 hardware, otherwise float32. `gobelin tokenizer show` prints the share of codes that stay
    equal."""

    batch_size: int | None = None
    """Images that are encoded at a time. Null: a default for the device. Another number may change a code if another
    code is almost as near."""

    decode_processes: int | None = None
    """Processes that decode images for one process that encodes. Null: none on the CPU; on a GPU its share of the
    cores, at most 16. The codes do not depend on it."""

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
                    raise UserError(f"codebooks and {name} both choose the image tokenizer: move it into an entry")

    def image_tokenizers(self) -> dict[str, CodebookConfig]:
        """The image tokenizers by the name of their entry. A single tokenizer has the name ``""``."""
        one = CodebookConfig(
            image_tokenizer=self.image_tokenizer, vqvae=self.vqvae, grids=self.grids, resize=self.resize
        )
        return self.codebooks or {"": one}


_ONE = CodebookConfig()
