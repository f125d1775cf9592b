"""Fits a small CLIP on pairs of a picture and a text, for corpora of drawings and for work without public weights.

A vision transformer of patches averaged over places and a causal text transformer, both of open_clip, trained with its
contrastive loss: of all pairs in a batch, the matching ones shall have the highest cosine in their row and column
(Radford et al., 2021, arXiv 2103.00020). AdamW, linear warm-up, cosine decay to 0, gradients clipped to norm 1, logit
scale at most 100. The vocabulary is the first merges of open_clip's own, so that the embedding table stays small.

The folder written is an ordinary open_clip model: ``load_clip(ClipSpec(model="local-dir:DIR"), device)``. Outside this
project, name the vocabulary file when asking for the tokenizer, since open_clip looks for it in the working directory:
``open_clip.get_tokenizer("local-dir:DIR", bpe_path="DIR/bpe.txt.gz")``.

Cost: with the defaults and 4000 pairs, 14 CPU-seconds on one thread, 0.37 million parameters, 1.5 MB. On drawings
of one coloured shape, of charts and of maps, with captions and paragraphs, three seeds told a picture's own text
from another's with an AUC of 0.977 to 0.981. What it sees is colour, size and ground; of shapes with the same colour
it knows little. The number of steps is fixed: the same pairs and seed give the same weights on the same machine and
thread count.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL.Image import Image
from safetensors.torch import save
from scipy.stats import rankdata

from gobelin.errors import UserError
from gobelin.transforms.finite import require_finite
from gobelin.transforms.vision.clip import LOCAL_DIR, ClipModel, ClipSpec, load_clip

_BYTES = 512  # open_clip's vocabulary: a byte, or a byte that ends a word
_SPECIAL = 2  # start and end of text
_MAX_LOGIT_SCALE = math.log(100)
_BPE_FILE = "bpe.txt.gz"

_FIT = "the fit of CLIP"
_ADVICE = "No model was written, and a fit keeps no checkpoints: lower its learning rate, or take another seed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClipFitConfig:
    """Architecture and training of the small model. The defaults suit pictures of a few coloured shapes."""

    image_size: int = 64
    """Pixels a side; larger pictures are resized and cropped to the middle square."""
    patch_size: int = 16
    """Pixels a side of a patch; smaller ones see finer shapes and cost with the square."""
    context_length: int = 64
    """Tokens of a text that are seen, about 45 words. Cost is linear in it."""
    num_merges: int = 2000
    """Word pieces beyond single bytes; up to 48894."""
    width: int = 64
    """Channels of both transformers, and of the embeddings; a multiple of 32, the width of a head."""
    image_layers: int = 2
    """Layers of the image transformer."""
    text_layers: int = 1
    """Layers of the text transformer."""
    batch_size: int = 64
    """Pairs a step; each is told from all others of its batch."""
    num_steps: int = 300
    """Steps in all. Twice as many help with shapes, not with colours."""
    learning_rate: float = 3e-3
    """Highest, after the warm-up."""
    warmup_steps: int = 30
    """Steps over which the learning rate rises from 0."""
    weight_decay: float = 0.1
    """Of matrices; biases, norms and the logit scale are spared."""
    num_held_out: int = 300
    """Last pairs of the list, kept out of training to measure the AUC on; at most a fifth of the list."""


@dataclasses.dataclass(frozen=True, slots=True)
class ClipFitMetrics:
    """What came of a fit."""

    num_steps: int
    num_pairs: int  # trained on
    num_parameters: int
    loss: float  # mean of the last 20 steps, nats; log(batch_size) is chance
    held_out_auc: float | None  # of held-out pairs against the same pictures with texts of others; None under 2 pairs
    fingerprint: str  # of the model written


def fit_clip(
    pairs: Sequence[tuple[Image, str]],
    output_dir: str | Path,
    config: ClipFitConfig,
    seed: int,
    on_step: Callable[[int, float], None] | None = None,
) -> ClipFitMetrics:
    """Trains on (picture, text) pairs and writes the model into ``output_dir``, which is made if need be.

    Args:
        pairs: pictures of mode RGB. Several texts of one picture are several pairs; a text may be a caption or a
            paragraph, and what the model is to score should look like what it saw.
        output_dir: gets open_clip_config.json, open_clip_model.safetensors and bpe.txt.gz.
        config: architecture and training.
        seed: of the first weights and of the batches. Does not touch the global generator.
        on_step: called with the number of steps done and the loss of the last one.

    Raises:
        ValueError: the pairs do not fill a batch.
        DivergedError: the loss or the gradient is no number any more, or the weights at the end; no model is written.
    """
    num_held_out = min(config.num_held_out, len(pairs) // 5)
    training, held_out = pairs[: len(pairs) - num_held_out], pairs[len(pairs) - num_held_out :]
    if len(training) < config.batch_size:
        raise UserError(f"{len(pairs)} pairs do not fill a batch of {config.batch_size}: give more pairs")
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    _write_vocabulary(output_dir / _BPE_FILE, config.num_merges)
    open_clip_config = _open_clip_config(config)
    (output_dir / "open_clip_config.json").write_text(json.dumps(open_clip_config, indent=2, allow_nan=False) + "\n")

    name = f"{LOCAL_DIR}{output_dir}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(**open_clip_config["model_cfg"])
    preprocess = image_transform_v2(PreprocessCfg(**open_clip_config["preprocess_cfg"]), is_train=False)
    tokenizer = open_clip.get_tokenizer(name, bpe_path=str(output_dir / _BPE_FILE))
    images = torch.stack([preprocess(image) for image, _ in training])
    texts = tokenizer([text for _, text in training])
    losses = _train(model, images, texts, config, torch.Generator().manual_seed(seed), on_step)
    (output_dir / "open_clip_model.safetensors").write_bytes(save(model.state_dict()))

    fitted = load_clip(ClipSpec(model=name, batch_size=config.batch_size), "cpu")
    auc = _held_out_auc(fitted, held_out) if len(held_out) > 1 else None
    return ClipFitMetrics(
        num_steps=config.num_steps,
        num_pairs=len(training),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        loss=float(np.mean(losses[-20:])),
        held_out_auc=auc,
        fingerprint=fitted.fingerprint,
    )


def _held_out_auc(clip: ClipModel, pairs: Sequence[tuple[Image, str]]) -> float:
    texts = [text for _, text in pairs]
    of_texts = clip.embed_texts(texts)
    return matched_auc(clip.embed_images([image for image, _ in pairs]), of_texts, of_texts[_partners(texts)])


def matched_auc(
    images: npt.NDArray[np.float16], texts: npt.NDArray[np.float16], mismatched_texts: npt.NDArray[np.float16]
) -> float:
    """Probability that a matched pair has a higher cosine than a mismatched one; ties count half; NaN without pairs.

    Args:
        images: (N, D), unit length.
        texts: (N, D), unit length, each of the picture of the same row.
        mismatched_texts: (N, D), unit length, each of another picture than the one of the same row.
    """
    matched = (images.astype(np.float64) * texts.astype(np.float64)).sum(1)
    mismatched = (images.astype(np.float64) * mismatched_texts.astype(np.float64)).sum(1)
    if not len(matched):
        return math.nan
    ranks = rankdata(np.concatenate([matched, mismatched]))[: len(matched)]  # Mann-Whitney
    return float((ranks.sum() - len(matched) * (len(matched) + 1) / 2) / (len(matched) * len(mismatched)))


def _train(
    model: torch.nn.Module,
    images: torch.Tensor,
    texts: torch.Tensor,
    config: ClipFitConfig,
    generator: torch.Generator,
    on_step: Callable[[int, float], None] | None,
) -> list[float]:
    """The loss of each step. images: (N, 3, S, S) preprocessed; texts: (N, context_length) token ids."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    spared = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": spared, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
        eps=1e-6,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, config))
    contrast = open_clip.ClipLoss()
    order = torch.empty(0, dtype=torch.long)
    losses = []
    model.train()
    for step in range(1, config.num_steps + 1):
        if len(order) < config.batch_size:  # a new epoch; what is left of the last one is skipped
            order = torch.randperm(len(images), generator=generator)
        batch, order = order[: config.batch_size], order[config.batch_size :]
        loss = contrast(*model(images[batch], texts[batch]))
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        losses.append(loss.item())
        require_finite(_FIT, step, {"the loss": losses[-1], "the gradient's norm": norm.item()}, _ADVICE)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=_MAX_LOGIT_SCALE)  # type: ignore[operator]
        if on_step is not None:
            on_step(step, losses[-1])
    model.eval()
    largest = torch.stack([parameter.detach().abs().max() for parameter in model.parameters()]).max().item()
    require_finite(_FIT, config.num_steps, {"the largest weight": largest}, _ADVICE)
    return losses


def _rate(step: int, config: ClipFitConfig) -> float:
    """Share of the highest learning rate at a step, counted from 0."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.num_steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _partners(texts: Sequence[str]) -> list[int]:
    """For each text the index of the next one, cyclically, that is not the same; its own if all are the same."""
    return [
        next(
            (other % len(texts) for other in range(index + 1, index + len(texts)) if texts[other % len(texts)] != text),
            index,
        )
        for index, text in enumerate(texts)
    ]


def _write_vocabulary(path: Path, num_merges: int) -> None:
    """The first merges of the vocabulary that open_clip ships, in the same form: gzip, one header line."""
    shipped = Path(open_clip.tokenizer.default_bpe())
    with gzip.open(shipped, "rt", encoding="utf-8") as file:
        lines = [next(file) for _ in range(1 + num_merges)]
    # No time stamp, so that the same model is the same bytes. No line end after the last merge: it would count as one.
    path.write_bytes(gzip.compress("".join(lines).rstrip("\n").encode(), mtime=0))


def _open_clip_config(config: ClipFitConfig) -> dict[str, Any]:
    return {
        "model_cfg": {
            "embed_dim": config.width,
            "vision_cfg": {
                "image_size": config.image_size,
                "patch_size": config.patch_size,
                "width": config.width,
                "layers": config.image_layers,
                "head_width": 32,
                "pool_type": "avg",
            },
            "text_cfg": {
                "context_length": config.context_length,
                "vocab_size": _BYTES + config.num_merges + _SPECIAL,
                "width": config.width,
                "heads": config.width // 32,
                "layers": config.text_layers,
                "tokenizer_kwargs": {"bpe_path": _BPE_FILE},
            },
        },
        "preprocess_cfg": {
            "size": config.image_size,
            "mode": "RGB",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }
