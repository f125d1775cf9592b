"""Fits an image tokenizer on pictures, in a fixed number of steps, with the same result every time.

The first 30 % of the steps fit a plain autoencoder. Then k-means over encoded vectors initialises the codebook, and the
other steps quantize. AdamW's learning rate is constant for 60 % of the steps, and then falls linearly to 2 %. The loss
of the kinds on patches is 0.5 L1 + MSE, and that of the convolutional trunk L1 + 0.5 (1 - SSIM). To both, the fit adds
0.25 x commitment, or 1e-6 x KL divergence for latents. 1500 steps of 16 images of 56 px take about 25 s of one core on
patches and reach 26 dB on drawings.

Under ``torchrun`` the processes share the pictures of a step. They add up gradients, and the counts and sums that move
the codebook. So a step equals that of a single process, up to the rounding of sums. A step may also be computed in
parts (``micro_batch``), with their gradients added up in the same way.

A part of the pictures is held out. PSNR and SSIM are measured on it, and the use of the codebook over an epoch of the
other pictures. Equal pictures, seed, precision and number of threads give equal bytes, even if the fit was stopped and
continued. The fit ends with an error if a loss or gradient is not finite.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gobelin.errors import UserError
from gobelin.store.files import delete, exists, read_bytes, write_bytes
from gobelin.store.paths import join
from gobelin.tokenize.adversary import Adversary, check_sizes
from gobelin.tokenize.autoencoder import Reconstruction, grid_of
from gobelin.tokenize.codebook import describe_config
from gobelin.tokenize.config import BATCH_SIZE, FitSettings
from gobelin.tokenize.lpips import Lpips
from gobelin.tokenize.networks import Network, build_network
from gobelin.tokenize.pictures import ArrayPictures, Pictures, grouped
from gobelin.tokenize.pixels import to_float, to_uint8
from gobelin.tokenize.processes import ALONE, Processes, add_gradients
from gobelin.tokenize.quality import QualityMeter, ssim
from gobelin.tokenize.quantizer import EmaQuantizer
from gobelin.tokenize.shapes import FSQConfig, KLVAEConfig, TokenizerConfig, TrunkConfig
from gobelin.tokenize.vqgan import KLVAE
from gobelin.transforms.devices import Precision
from gobelin.transforms.finite import require_finite

LEARNING_RATE = 2e-3  # on patches
TRUNK_CHANNELS = 32  # a convolutional trunk of more channels learns more slowly by their ratio
PLAIN_SHARE = 0.3  # of the steps, before there is a codebook
HOLD_SHARE = 0.6  # of the steps, at the full learning rate
FINAL_LR_RATIO = 0.02
COMMITMENT = 0.25
KL_WEIGHT = 1e-6  # arXiv 2112.10752, appendix G
PERCEPTUAL = 1.0  # weight of LPIPS, as in VQGAN
STRUCTURE = 0.5  # weight of 1 - SSIM
VECTORS_PER_CODE = 40  # for k-means
MAX_MEASURED = 20_000  # pictures whose codes are counted
CHECKPOINT_NAME = "checkpoint.pt"
CHECKPOINT_STEPS, CHECKPOINT_SECONDS = 500, 600.0  # between two checkpoints, whichever comes first

_FIT = "the fit of the image tokenizer"
_ADVICE = "Nothing was written of this step: change the tokenizer's shape or the seed, and fit again"


@dataclasses.dataclass(frozen=True, slots=True)
class FitMetrics:
    """Quality of a fitted tokenizer."""

    num_images: int  # fitted on
    num_held_out: int
    psnr_db: float  # of held-out reconstructions in 8-bit range, over all pixels at once
    ssim: float  # of held-out reconstructions, mean
    codes_used: int  # of K, over an epoch of the fitted pictures, at most 20,000; 0 for latents
    perplexity: float  # of those codes: exp of their entropy, [1, K]; 0 for latents
    reencode_ratio: float  # share of held-out codes that decoding and encoding reproduce; 0 for latents


def fit_tokenizer(
    pictures: Pictures,
    config: TokenizerConfig,
    *,
    seed: int,
    steps: int,
    on_step: Callable[[int, float], None] | None = None,
    precision: Precision = "float32",
    device: torch.device | str = "cpu",
    checkpoints: str | None = None,
    checkpoint_steps: int = CHECKPOINT_STEPS,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    stop: Callable[[], bool] = lambda: False,
    perceptual: Lpips | None = None,
    settings: FitSettings | None = None,
    decoder_of: Network | None = None,
    processes: Processes = ALONE,
    look_every: int = 0,
    on_look: Callable[[int, float, Network, bool], None] | None = None,
) -> tuple[Network, FitMetrics] | None:
    """Fits an image tokenizer of this shape.

    Args:
        pictures: the pictures to fit on.
        config: the shape.
        seed: seed of weights, noise and codebook.
        steps: number of batches of ``settings.batch_size`` pictures, at least 1.
        on_step: called after each step with the number of steps done and the loss.
        precision: of the trunk. Quantizer, loss and weights are always float32.
        device: device of the network.
        checkpoints: folder of ``checkpoint.pt``. The fit continues from it, and writes it every ``checkpoint_steps``
            steps, ``checkpoint_seconds`` after the last one, and when ``stop`` returns True. It is deleted at the end.
        checkpoint_steps: maximum number of steps between two checkpoints.
        checkpoint_seconds: maximum time between two checkpoints, s.
        stop: called after each step. If it returns True, the fit writes a checkpoint and ends.
        perceptual: a perceptual distance that is added to the loss, for pictures of 16 px or more.
        settings: settings of the fit; by default those of ``FitSettings``.
        decoder_of: a tokenizer of this shape. Only its decoder is fitted, in place, so its codes stay the same.
        processes: the processes that fit together. All of them call this function with the same arguments.
        look_every: number of steps between two calls of ``on_look``; 0: no calls.
        on_look: called in the first process with the number of steps done, the loss, the network (which it must not
            change) and whether the fit quantizes yet.

    Returns:
        The network and its metrics, or None if ``stop`` ended the fit early.

    Raises:
        ValueError: ``steps`` is below 1.
        UserError: the checkpoint belongs to another fit, or the settings do not suit the processes or the pictures.
        DivergedError: a loss, a gradient or a final weight is not finite.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    fit = _Fit(
        pictures, config, seed, steps, precision, torch.device(device), perceptual, settings or FitSettings(),
        decoder_of, processes,
    )  # fmt: skip
    path = None if checkpoints is None else join(checkpoints, CHECKPOINT_NAME)
    if path is not None and exists(path):
        fit.load(path)
    written = time.monotonic()
    while fit.step < steps:
        loss = fit.advance()
        if on_step is not None:
            on_step(fit.step, loss)
        if on_look is not None and look_every and fit.step % look_every == 0 and processes.rank == 0:
            on_look(fit.step, loss, fit.network, fit.has_codes)
        is_due = fit.step % checkpoint_steps == 0 or time.monotonic() - written >= checkpoint_seconds
        stopped, is_due = processes.any(stop(), is_due)
        if path is not None and fit.step < steps and (stopped or is_due):
            if processes.rank == 0:
                fit.save(path)
            processes.wait()
            written = time.monotonic()
        if stopped and fit.step < steps:
            return None
    result = fit.finish()
    processes.wait()
    if path is not None and processes.rank == 0 and exists(path):
        delete(path)
    return result


def fit_images(
    images: Sequence[np.ndarray] | np.ndarray,
    config: TokenizerConfig,
    *,
    seed: int,
    steps: int,
    on_step: Callable[[int, float], None] | None = None,
    held_out_ratio: float = 0.05,
) -> tuple[Network, FitMetrics]:
    """Fits a tokenizer on pictures in memory: at least 2, uint8 H x W x 3 each, whose sides are multiples of a
    token's."""
    pixels = config.token_pixels
    for image in images:
        if (
            image.dtype != np.uint8
            or image.ndim != 3
            or image.shape[2] != 3
            or any(n % pixels for n in image.shape[:2])
        ):
            raise ValueError(
                f"images must be uint8 H x W x 3, both sides multiples of {pixels}, got {image.dtype} {image.shape}"
            )
    if len(images) < 2:
        raise ValueError(f"images must be two or more, got {len(images)}")
    result = fit_tokenizer(ArrayPictures(images, seed, held_out_ratio), config, seed=seed, steps=steps, on_step=on_step)
    assert result is not None  # nothing stops it
    return result


class _Fit:
    """The state of a fit: network, optimizer, random state and the number of steps done."""

    def __init__(
        self, pictures: Pictures, config: TokenizerConfig, seed: int, steps: int, precision: Precision,
        device: torch.device, perceptual: Lpips | None, settings: FitSettings, decoder_of: Network | None,
        processes: Processes,
    ) -> None:  # fmt: skip
        if settings.discriminator:
            check_sizes([image.shape[:2] for image in pictures.held_out()[:1]])
        if settings.batch_size % processes.size:
            raise UserError(f"batch_size {settings.batch_size} is not a multiple of the {processes.size} processes")
        self._pictures, self._config, self._steps, self._device, self._seed = pictures, config, steps, device, seed
        self._settings, self._processes, self._is_frozen = settings, processes, decoder_of is not None
        self._perceptual = None if perceptual is None else perceptual.to(device)
        self._dtype = torch.bfloat16 if precision == "bfloat16" else None
        self.network = decoder_of or build_network(config, torch.Generator().manual_seed(seed), device)
        given = _fingerprint_of(decoder_of)
        if decoder_of is not None:
            _freeze_encoder(self.network.to(device).train())
        self._weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        self._rate = settings.learning_rate or LEARNING_RATE * (0.2 if self._is_frozen else 1.0)
        if settings.learning_rate is None and isinstance(config, TrunkConfig):
            self._rate *= min(1.0, TRUNK_CHANNELS / config.channels)
        self._optimizer = torch.optim.AdamW(
            self._weights, lr=self._rate, betas=(0.9, 0.95), weight_decay=0.01, fused=True
        )  # fmt: skip
        self._adversary = None
        if settings.discriminator:
            self._adversary = Adversary(self.network, self._rate, settings.discriminator, seed, device)
        self._random = torch.Generator(device).manual_seed(seed)
        has_start = not self._is_frozen and not isinstance(config, (FSQConfig, KLVAEConfig))
        self._num_plain = round(PLAIN_SHARE * steps) if has_start else 0
        self._penalty = 0.0 if self._is_frozen else KL_WEIGHT if isinstance(config, KLVAEConfig) else COMMITMENT
        self.step = 0
        self._identity = json.dumps(
            {"config": describe_config(config), "seed": seed, "steps": steps, "precision": precision,
             "pictures": pictures.fingerprint, "torch": torch.__version__,
             "perceptual": None if perceptual is None else perceptual.fingerprint,
             "settings": dataclasses.asdict(settings), "decoder_of": given}
        )  # fmt: skip

    def advance(self) -> float:
        """Does one step and returns its loss."""
        quantizer = None if isinstance(self.network, KLVAE) else self.network.quantizer
        learned = quantizer if isinstance(quantizer, EmaQuantizer) and not self._is_frozen else None
        if self.step == self._num_plain and learned is not None:
            self._start_codebook(learned)
        if isinstance(self.network, KLVAE):  # its noise depends only on seed, step and process
            noise = np.random.SeedSequence([self._seed, self.step, self._processes.rank]).generate_state(1)[0]
            self._random.manual_seed(int(noise))
        rate = self._rate * _schedule(self.step / self._steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        adversary = self._adversary if self.step >= self._settings.discriminator_start else None
        self._optimizer.zero_grad(set_to_none=True)
        total, vectors, indices = torch.zeros((), dtype=torch.float64), [], []
        for images in self._parts():
            share = len(images) / self._settings.batch_size
            batch_B3HW = to_float(images, self._device)
            made, loss = self._reconstructed(batch_B3HW)
            output_B3HW = made.images_B3HW.float()
            (share * loss).backward(retain_graph=adversary is not None)
            if adversary is not None:
                with self._autocast():
                    adversary.judge(batch_B3HW, output_B3HW, share, self._weights)
            total += share * loss.item()
            if made.indices_M is not None and learned is not None:
                vectors.append(made.vectors_Md.detach().float())
                indices.append(made.indices_M)
        add_gradients(self._weights, self._processes)
        if adversary is not None:
            adversary.add_to(self._weights, self._processes)
        norm = torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        loss_of_all = float(self._processes.add(total))
        require_finite(_FIT, self.step + 1, {"the loss": loss_of_all, "the gradient's norm": norm.item()}, _ADVICE)
        self._optimizer.step()
        if adversary is not None:
            adversary.learn(rate, self._autocast, self._processes)
        if indices and learned is not None:
            learned.update(torch.cat(vectors), torch.cat(indices), self._random, self._processes)
        self.step += 1
        return loss_of_all

    @property
    def has_codes(self) -> bool:
        """Whether the steps quantize yet."""
        return self.step > self._num_plain or not self._num_plain

    def _parts(self) -> Iterator[np.ndarray]:
        """The pictures of the step for this process, in micro batches."""
        settings, processes = self._settings, self._processes
        images = self._pictures.batch(self.step, settings.batch_size, processes.rank, processes.size)
        yield from _in_batches(images, settings.micro_batch or len(images))

    def _reconstructed(self, batch_B3HW: Tensor) -> tuple[Reconstruction, Tensor]:
        """Reconstructs pictures, and computes the loss."""
        quantize = self.step >= self._num_plain and not (self._is_frozen and isinstance(self.network, KLVAE))
        with self._autocast():
            made = self.network(batch_B3HW, quantize=quantize, generator=self._random)
        output_B3HW = made.images_B3HW.float()
        loss = self._difference(output_B3HW, batch_B3HW) + self._penalty * made.penalty
        if self._perceptual is not None:
            loss = loss + PERCEPTUAL * self._perceptual(output_B3HW, batch_B3HW).mean()
        return made, loss

    def _difference(self, output_B3HW: Tensor, batch_B3HW: Tensor) -> Tensor:
        error_B3HW = output_B3HW - batch_B3HW
        if isinstance(self._config, TrunkConfig):
            return error_B3HW.abs().mean() + STRUCTURE * (1 - ssim(output_B3HW, batch_B3HW).mean())
        return 0.5 * error_B3HW.abs().mean() + error_B3HW.square().mean()

    def _start_codebook(self, quantizer: EmaQuantizer) -> None:
        """Initialises the codebook by k-means on vectors of the coming steps' pictures. Every process computes it, and
        all take the result of the first process."""
        assert not isinstance(self.network, KLVAE)
        rows, columns = self._config.grid
        size = self._settings.batch_size
        num_batches = -(-VECTORS_PER_CODE * self._config.num_codes // (rows * columns * size))
        num_batches = min(num_batches, -(-self._pictures.num_fitted // size))
        vectors = []
        with torch.no_grad(), self._autocast():
            for index in range(num_batches):
                pictures = self._pictures.batch(self.step + index, size)
                for images in _in_batches(pictures, self._settings.micro_batch or size):
                    vectors.append(self.network.vectors(to_float(images, self._device)).float())
        quantizer.start_from(torch.cat(vectors), self._random)
        if self._processes.size > 1:
            for values in (quantizer.codes_Kd, quantizer.counts_K, quantizer.sums_Kd):
                self._processes.add(values.mul_(float(self._processes.rank == 0)))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, self._dtype or torch.bfloat16, enabled=self._dtype is not None)

    def finish(self) -> tuple[Network, FitMetrics]:
        """Returns the network, ready for use, and its metrics. Raises DivergedError if a weight is not finite."""
        self.network.eval()
        values = [
            value.detach().abs().max() for value in self.network.state_dict().values() if value.is_floating_point()
        ]
        require_finite(_FIT, self._steps, {"the largest weight": torch.stack(values).max().item()}, _ADVICE)
        return self.network, self._measure()

    @torch.no_grad()
    def _measure(self) -> FitMetrics:
        held_out, is_coded = self._pictures.held_out(), self._config.latent_channels == 0
        meter = QualityMeter(self._config.num_codes)
        same = total = 0
        for images in _in_batches(held_out, BATCH_SIZE):
            given_B3HW = to_float(images, self._device)
            tokens = self.network.encode(given_B3HW)
            decoded = to_uint8(self.network.decode(tokens, grid_of(given_B3HW, self._config)))
            meter.add(images, decoded)
            if is_coded:
                same += int((self.network.encode(to_float(decoded, self._device)) == tokens).sum())
                total += tokens.numel()
        if is_coded:
            size, (rank, world) = self._settings.batch_size, (self._processes.rank, self._processes.size)
            for step in range(-(-min(self._pictures.num_fitted, MAX_MEASURED) // size)):
                pictures = self._pictures.batch(self._steps + step, size, rank, world)
                for images in _in_batches(pictures, self._settings.micro_batch or size):
                    meter.add_codes(self.network.encode(to_float(images, self._device)).cpu().numpy())
            self._processes.add(torch.from_numpy(meter.counts_K))
        quality = meter.result()
        return FitMetrics(
            num_images=self._pictures.num_fitted,
            num_held_out=len(held_out),
            psnr_db=quality.psnr_db,
            ssim=quality.ssim,
            codes_used=quality.codes_used,
            perplexity=quality.perplexity,
            reencode_ratio=same / total if total else 0.0,
        )

    def save(self, path: str) -> None:
        """Writes the state on which the next step depends."""
        state: dict[str, Any] = {
            "identity": self._identity,
            "step": self.step,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": self._random.get_state(),
        }
        if self._adversary is not None:
            state["adversary"] = self._adversary.state()
        stream = io.BytesIO()
        torch.save(state, stream)
        write_bytes(path, stream.getvalue())

    def load(self, path: str) -> None:
        """Continues from a checkpoint. Raises UserError if it cannot be read or belongs to another fit."""
        try:
            state = torch.load(io.BytesIO(read_bytes(path)), map_location=self._device, weights_only=True)
            identity = state["identity"]
        except Exception as error:  # noqa: BLE001  # torch documents no exception for a damaged file
            raise UserError(f"{path} is not a checkpoint of a fit ({error}); delete it to start again") from None
        if identity != self._identity:
            raise UserError(
                f"{path} belongs to a fit with other pictures, settings, seed or torch: use the same ones, or delete it"
            )
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._random.set_state(state["random"].cpu())
        if self._adversary is not None:
            self._adversary.load(state["adversary"])
        self.step = state["step"]


@torch.no_grad()
def reconstructed(
    network: Network, pictures: Sequence[np.ndarray], has_codes: bool
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Each picture, its reconstruction, and its tokens. Before the fit quantizes, vectors are decoded without
    quantization, and tokens are None. Pictures are grouped by size."""
    device = next(network.parameters()).device
    for images in _in_batches(list(pictures), BATCH_SIZE):
        given_B3HW = to_float(images, device)
        if not has_codes:
            made = to_uint8(network(given_B3HW, quantize=False).images_B3HW)
            yield from ((image, decoded, None) for image, decoded in zip(images, made, strict=True))
            continue
        tokens = network.encode(given_B3HW)
        decoded = to_uint8(network.decode(tokens, grid_of(given_B3HW, network.config)))
        yield from zip(images, decoded, tokens.cpu().numpy(), strict=True)


def _in_batches(pictures: list[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Batches of at most ``size`` pictures. All pictures of a batch have the same size."""
    for images in grouped(pictures):
        for start in range(0, len(images), size):
            yield images[start : start + size]


def _freeze_encoder(network: Network) -> None:
    """Freezes all weights except those of the decoder. Raises UserError if there is no decoder."""
    if not network.config.has_decoder:
        raise UserError("the tokenizer has only an encoder: there is no decoder to fit")
    for name, weight in network.named_parameters():
        weight.requires_grad_(name.startswith(("decoder.", "post_quant_conv.")))


def _fingerprint_of(network: Network | None) -> str | None:
    """SHA-256 of the weights that a fit begins with, so that it is continued with the same ones."""
    if network is None:
        return None
    digest = hashlib.sha256()
    for name, values in sorted(network.state_dict().items()):
        digest.update(name.encode() + values.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _schedule(progress: float) -> float:
    if progress < HOLD_SHARE:
        return 1.0
    return 1.0 - (1.0 - FINAL_LR_RATIO) * (progress - HOLD_SHARE) / (1.0 - HOLD_SHARE)
