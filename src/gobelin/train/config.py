"""Settings of the stages ``train`` and ``sample``. Does not import torch, so that reading a recipe is fast."""

from __future__ import annotations

import dataclasses
from typing import Literal

from gobelin.errors import UserError
from gobelin.transforms.devices import DEVICES

PRECISIONS = ("float32", "bfloat16")


def check_device(device: str, precision: str) -> None:
    """Raises UserError unless both names are known. Does not check whether the device exists."""
    if device not in DEVICES:
        raise UserError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    if precision not in PRECISIONS:
        raise UserError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LMConfig:
    """Shape of the model. The vocabulary and the image grid come from the tokenizers."""

    width: int = 128
    """Model width D; a multiple of num_heads."""
    num_layers: int = 4
    """Transformer blocks."""
    num_heads: int = 4
    """Attention heads; width / num_heads must be even (rotary pairs)."""
    hidden: int = 352
    """Width of the gated hidden layer; about 8/3 of width keeps the cost of a plain 4 x one."""
    num_kv_heads: int | None = None
    """Heads of keys and values, which heads of queries share in groups (arXiv 2305.13245): a smaller cache in sampling.
    Must divide num_heads. Null: as many as num_heads."""
    place_embedding: bool = True
    """Whether image tokens have a learned embedding of their place in the picture. Without it the model is one that
    transformers can load (`gobelin export --format transformers`)."""

    @property
    def kv_heads(self) -> int:
        """Number of heads of keys and values."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def head_width(self) -> int:
        """Width of a head, K."""
        return self.width // self.num_heads

    def __post_init__(self) -> None:
        if self.width % (2 * self.num_heads):
            raise UserError(f"width must be a multiple of 2 x num_heads, got {self.width} and {self.num_heads}")
        if self.kv_heads < 1 or self.num_heads % self.kv_heads:
            raise UserError(f"num_kv_heads must divide num_heads, got {self.num_kv_heads} and {self.num_heads}")
        if self.num_layers < 1 or self.hidden < 1:
            raise UserError(f"num_layers and hidden must be at least 1, got {self.num_layers} and {self.hidden}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How the model is trained."""

    model: LMConfig = dataclasses.field(default_factory=LMConfig)
    """Shape of the model."""
    steps: int = 1300
    """Optimizer steps at most; fixed, so that a run repeats. Resuming needs the same number (the schedule depends on
    it)."""
    epochs: float | None = None
    """Passes over the training documents at most; with ``steps``, the smaller of the two counts. Up to 4 passes teach
    nearly as much as fresh data, more than 16 next to nothing (arXiv 2305.16264). Null: ``steps`` alone."""
    row_tokens: int = 256
    """Tokens of a row T; the longest context. Must hold an image; attention costs grow with it."""
    batch_rows: int = 4
    """Rows of a step. Small models on few tokens learn more from many small steps than from few large ones."""
    micro_batch_rows: int | None = None
    """Rows that a process computes at a time: gradients of a step are added up over as many such batches as it takes,
    with less memory. Null: all its rows at once."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """Of the matrices of the blocks. Muon takes more arithmetic a step and fewer steps; all else has AdamW."""
    learning_rate: float = 3e-3
    """Peak learning rate of both optimizers (Muon's updates are scaled to AdamW's size)."""
    weight_decay: float = 0.1
    """Decoupled weight decay of the matrices of the blocks; embeddings and head have a tenth of it, norms none."""
    warmup_steps: int = 30
    """Steps over which the learning rate rises from zero."""
    schedule: Literal["wsd", "cosine"] = "wsd"
    """How the learning rate goes after the warm-up: wsd stays and then falls linearly, cosine falls all the time."""
    decay_ratio: float = 0.5
    """Of wsd: share of the steps at the end over which it falls to ``final_lr_ratio``."""
    final_lr_ratio: float = 0.02
    """Learning rate at the end, as a share of the peak."""
    text_weight: float = 1.0
    """Weight of the loss of a text token; special tokens have 1."""
    image_weight: float = 1.0
    """Weight of the loss of an image token. Raise it where pictures are what matters:
    on drawings, 3 drew .69 to .71 of the shapes right instead of .62 after 1400 steps, but .46 to .58 of the captions
    it wrote were right instead of .68."""
    z_loss: float = 1e-4
    """Weight of the squared log normaliser."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; a larger one is scaled down to it."""
    spike_factor: float | None = 10.0
    """A batch whose gradient has more than this many times the usual norm is skipped, as is one whose loss or gradient
    is no number; after 5 in a row training stops. Null: only what is no number is skipped."""
    mixture: dict[str, float] = dataclasses.field(default_factory=dict)
    """Other corpora to train on, and the share of the tokens that each gives: {OUT2: 0.25}. Output folders whose images
    and texts were tokenized with the same tokenizers, or folders of token shards. The rest is the run's own corpus,
    whose passes ``epochs`` counts. All shares together must be below 1."""
    caption_drop: float = 0.1
    """Probability of leaving out a caption before its image; 0 makes guidance in sampling meaningless."""
    text_drop: float = 0.0
    """Probability of leaving out all texts and captions of a document with images: for guidance by pictures alone."""
    context_drop: float = 0.0
    """Probability of leaving out an image's caption and everything before the image in its document: for guidance by
    the whole context."""
    validation_ratio: float = 0.05
    """Share of the documents that is never trained on, whole sites by hash of their name, [0, 1)."""
    held_out: str | None = None
    """``train/held_out.json`` of another run: its documents are held out in place of a share, and other documents of
    their sites are not trained on."""
    eval_every: int = 100
    """Steps between evaluations on held-out documents. The weights with the lowest held-out loss become the model."""
    eval_rows: int = 64
    """The most rows of held-out documents that such an evaluation reads, always the same ones. The losses of the
    finished model are over all held-out documents."""
    patience: int | None = 4
    """Training ends after so many evaluations in a row without a lower held-out loss; null: never. Where nothing is
    held out, nothing ends it."""
    prefetch: bool | None = None
    """Whether a separate process reads and packs the next window of documents during training (300 MB, and a processor
    for a moment in every 4 million tokens). Null: unless the model is trained on the CPU."""
    log_every: int = 50
    """Steps between lines of ``metrics.jsonl``; only for these is the device waited for."""
    tensorboard: bool = False
    """Whether the lines are written for TensorBoard, too (`train/tensorboard`; needs the package)."""
    checkpoint_every: int = 500
    """Steps between checkpoints; the last step always has one."""
    keep_checkpoints: int = 2
    """Checkpoints that are kept, the newest."""
    threads: int = 2
    """Threads of torch on the CPU. Another number may change the weights in their last bits."""
    device: str = "cpu"
    """Where the model is trained: cpu, cuda, mps, or auto, the fastest of them that is there. Only on the CPU does a
    run repeat to the bit."""
    precision: str = "float32"
    """Of products of matrices: float32 or bfloat16. Weights and optimizers are float32 either way."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How the processes that torchrun starts share a model: ddp, each has all of it; fsdp, each a share of every
    weight, gradient and optimizer state."""
    compile: bool = False
    """Whether blocks are compiled (torch.compile), which takes a minute at first and a C++ compiler on the CPU."""
    recompute: bool = False
    """Whether blocks are computed again in the backward pass instead of kept (activation checkpointing): memory of a
    fraction, a third more arithmetic."""
    attention: Literal["auto", "sdpa", "flex"] = "auto"
    """sdpa hides other documents of a row by a mask; flex passes over them (FlexAttention; CUDA, with compile). auto:
    flex where that is so."""

    def __post_init__(self) -> None:
        for name in ("steps", "row_tokens", "batch_rows", "eval_every", "eval_rows", "log_every", "checkpoint_every",
                     "keep_checkpoints", "threads"):  # fmt: skip
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.epochs is not None and not 0 < self.epochs <= 1e6:
            raise UserError(f"epochs must be above 0 and at most 1000000, got {self.epochs}")
        if self.patience is not None and self.patience < 1:
            raise UserError(f"patience must be at least 1, or null, got {self.patience}")
        check_device(self.device, self.precision)
        if not 0 < self.learning_rate <= 1e30:  # more is no float32 once it is scaled
            raise UserError(f"learning_rate must be above 0 and at most 1e30, got {self.learning_rate}")
        for name in ("text_weight", "image_weight"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.micro_batch_rows is not None and not 1 <= self.micro_batch_rows <= self.batch_rows:
            raise UserError(f"micro_batch_rows must be in [1, batch_rows], got {self.micro_batch_rows}")
        if not all(share > 0 for share in self.mixture.values()) or sum(self.mixture.values()) >= 1:
            raise UserError(f"mixture: shares must be above 0, and together below 1, got {self.mixture}")
        if self.spike_factor is not None and self.spike_factor <= 1:
            raise UserError(f"spike_factor must be above 1, or null, got {self.spike_factor}")
        for name in ("caption_drop", "text_drop", "context_drop", "validation_ratio"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} must be in [0, 1), got {getattr(self, name)}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SamplingConfig:
    """How tokens are sampled."""

    temperature: float = 0.8
    """Divides the logits; lower is safer and more alike, 0 always takes the likeliest token."""
    top_k: int = 50
    """Only the k likeliest tokens can be drawn; 0 for no such limit."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability can be drawn (arXiv 1904.09751), (0, 1]."""
    cfg_scale: float = 3.0
    """Guidance of pictures by the tokens before them; 1 turns it off."""
    image_cfg_scale: float | None = None
    """Guidance of pictures by the pictures before them alone; ``cfg_scale`` is then that by the texts. Null: both
    guide alike."""
    text_temperature: float | None = None
    """Of text; null: ``temperature``."""
    text_top_k: int | None = None
    """Of text; null: ``top_k``."""
    text_top_p: float | None = None
    """Of text; null: ``top_p``."""
    text_cfg_scale: float = 1.0
    """Guidance of a text or a caption by the tokens before it; 1 turns it off."""
    repetition_penalty: float = 1.0
    """Makes text tokens that the document already has less likely (arXiv 1909.05858); 1 does nothing, 1.2 is much."""

    def __post_init__(self) -> None:
        for name in ("temperature", "top_k", "text_temperature", "text_top_k"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise UserError(f"{name} must not be negative, got {value}")
        for name in ("top_p", "text_top_p"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise UserError(f"{name} must be above 0 and at most 1, got {value}")
        for name in ("cfg_scale", "image_cfg_scale", "text_cfg_scale"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1000:
                raise UserError(f"{name} must be in [0, 1000], got {value}")
        if not 1 <= self.repetition_penalty <= 100:
            raise UserError(f"repetition_penalty must be in [1, 100], got {self.repetition_penalty}")

    @property
    def of_text(self) -> SamplingConfig:
        """The same settings, with the limits for text in place of those for images."""
        return dataclasses.replace(
            self,
            temperature=self.temperature if self.text_temperature is None else self.text_temperature,
            top_k=self.top_k if self.text_top_k is None else self.text_top_k,
            top_p=self.top_p if self.text_top_p is None else self.text_top_p,
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SampleConfig:
    """What is sampled from the model after training."""

    captions: tuple[str, ...] = ()
    """Captions to draw pictures for. Empty: captions of held-out documents."""

    num_captions: int = 16
    """How many of the held-out captions and pictures are taken."""

    images_per_caption: int = 2
    """Pictures a caption."""

    rank: bool = False
    """Show the pictures of a caption in the order in which the CLIP of ``score.clip`` finds them close to it."""

    grid: str | None = None
    """Grid of the pictures that are drawn, as in 8x16; or a codebook of the recipe, as in thumbnails; or both, as in
    thumbnails:8x16. Null: for a held-out caption that of its picture, in a conversation that of the last picture, else
    the first."""

    num_documents: int = 4
    """Whole documents that the model writes on its own."""

    max_document_tokens: int = 256
    """Length of such a document; at most a training row."""

    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)
    """How tokens are drawn."""

    device: str = "cpu"
    """Where it is drawn: cpu, cuda, mps, or auto, the fastest of them that is there."""

    precision: str = "float32"
    """Of products of matrices: float32 or bfloat16."""

    def __post_init__(self) -> None:
        check_device(self.device, self.precision)
