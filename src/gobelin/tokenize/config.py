"""Settings of the stage ``tokenize``, and shapes of image tokenizers. No torch in here: a recipe is read without it."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol

from gobelin.errors import UserError
from gobelin.tokenize.framing import Resize, parse_grids
from gobelin.transforms.devices import check_device


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
