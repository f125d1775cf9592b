"""Fit the VQ-VAE on a set of images, in a fixed number of steps, the same every time.

First 30 % of the steps as a plain autoencoder, then k-means over encoded vectors starts the codebook, then with
quantization to the end. Loss: 0.5 L1 + MSE + 0.25 commitment. AdamW, learning rate constant for 60 % of the steps,
then linear to 2 %. 1500 steps of 16 images of 56 px take about 25 s of one core and reach 26 dB on drawings.
A part of the images is held out; the metrics are measured there. Same images, seed and number of threads: same bytes.
A loss or gradient that is no number ends the fit with an error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from gobelin.tokenize.config import VQVAEConfig
from gobelin.tokenize.pixels import to_float, to_uint8
from gobelin.tokenize.vqvae import VQVAE, build_vqvae
from gobelin.transforms.finite import require_finite

BATCH_SIZE = 16
LEARNING_RATE = 2e-3
PLAIN_SHARE = 0.3  # of the steps, before there is a codebook
HOLD_SHARE = 0.6  # of the steps, at the full learning rate
FINAL_LR_RATIO = 0.02
COMMITMENT = 0.25
MAX_HELD_OUT = 500
VECTORS_PER_CODE = 40  # for k-means

_FIT = "the fit of the image tokenizer"
_ADVICE = (
    "Nothing was written of it, and it keeps no checkpoints: change tokenize.vqvae or the seed, and it starts anew"
)


@dataclasses.dataclass(frozen=True, slots=True)
class VQVAEMetrics:
    """What a fit reached on images it has not seen."""

    num_images: int  # fitted on
    num_held_out: int
    psnr_db: float  # of held-out reconstructions in 8-bit range, over all pixels at once
    codes_used: int  # of K, by the held-out images
    perplexity: float  # of the held-out codes: exp of their entropy, [1, K]
    reencode_ratio: float  # positions whose code is the same after decoding and encoding again, [0, 1]


def fit_vqvae(
    images: np.ndarray,
    config: VQVAEConfig,
    *,
    seed: int,
    steps: int,
    on_step: Callable[[int, float], None] | None = None,
    held_out_ratio: float = 0.05,
    device: torch.device | str = "cpu",
) -> tuple[VQVAE, VQVAEMetrics]:
    """Fit a VQ-VAE.

    Args:
        images: uint8, N x H x W x 3 of the configuration's size; at least 2.
        steps: batches of 16 images.
        on_step: called after each step with the number of steps done and the loss.
        held_out_ratio: share of the images kept for the metrics, at least 1 and at most 500 images.

    Raises:
        ValueError: images or steps are not as said.
        DivergedError: the loss or the gradient is no number any more, or the weights at the end.
    """
    height, width = config.size
    if images.dtype != np.uint8 or images.shape[1:] != (height, width, 3) or len(images) < 2:
        raise ValueError(f"images must be two or more uint8 {height} x {width} x 3, got {images.dtype} {images.shape}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    device = torch.device(device)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator).numpy()
    num_held_out = min(MAX_HELD_OUT, max(1, round(held_out_ratio * len(images))))
    held_out, fitted = images[np.sort(order[:num_held_out])], images[np.sort(order[num_held_out:])]

    model = build_vqvae(config, generator, device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01, fused=True
    )
    num_plain = round(PLAIN_SHARE * steps)
    restarts = torch.Generator(device).manual_seed(seed)
    for step in range(steps):
        if step == num_plain:
            num_images = -(-VECTORS_PER_CODE * config.num_codes // (config.grid[0] * config.grid[1]))
            sample = fitted[torch.randperm(len(fitted), generator=generator).numpy()[:num_images]]
            with torch.no_grad():
                model.quantizer.start_from(model.vectors(to_float(sample, device)), restarts)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * _schedule(step / steps)
        picks = torch.randint(len(fitted), (BATCH_SIZE,), generator=generator).numpy()
        batch_B3HW = to_float(fitted[picks], device)
        output_B3HW, vectors_Md, indices_M, commitment = model(batch_B3HW, quantize=step >= num_plain)
        error_B3HW = output_B3HW - batch_B3HW
        loss = 0.5 * error_B3HW.abs().mean() + error_B3HW.square().mean() + COMMITMENT * commitment
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        require_finite(_FIT, step + 1, {"the loss": loss.item(), "the gradient's norm": norm.item()}, _ADVICE)
        optimizer.step()
        if indices_M is not None:
            model.quantizer.update(vectors_Md.detach(), indices_M, restarts)
        if on_step is not None:
            on_step(step + 1, loss.item())
    model.eval()
    largest = torch.stack([value.detach().abs().max() for value in model.state_dict().values()]).max().item()
    require_finite(_FIT, steps, {"the largest weight": largest}, _ADVICE)
    return model, _measure(model, held_out, len(fitted), device)


def _schedule(progress: float) -> float:
    if progress < HOLD_SHARE:
        return 1.0
    return 1.0 - (1.0 - FINAL_LR_RATIO) * (progress - HOLD_SHARE) / (1.0 - HOLD_SHARE)


@torch.no_grad()
def _measure(model: VQVAE, held_out: np.ndarray, num_fitted: int, device: torch.device) -> VQVAEMetrics:
    ids_BN = model.encode(to_float(held_out, device))
    decoded = to_uint8(model.decode(ids_BN))
    squared = np.square(decoded.astype(np.float64) - held_out).mean()
    shares_K = torch.bincount(ids_BN.flatten(), minlength=model.config.num_codes).double() / ids_BN.numel()
    again_BN = model.encode(to_float(decoded, device))
    return VQVAEMetrics(
        num_images=num_fitted,
        num_held_out=len(held_out),
        psnr_db=float(10 * np.log10(255.0**2 / max(squared, 1e-12))),
        codes_used=int((shares_K > 0).sum()),
        perplexity=float(torch.special.entr(shares_K).sum().exp()),
        reencode_ratio=float((again_BN == ids_BN).double().mean()),
    )
