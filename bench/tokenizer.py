"""Measures image tokenizers: the quality of reconstructions, the codes used, and the cost of encoding.

    python -m bench.tokenizer FOLDER [--steps 1500] [--trunk-steps 300] [--size 64]
    python -m bench.tokenizer FOLDER --seeds 3 [--steps 1500] [--size 64]       (ours and the peer's quantizer alone)
    python -m bench.tokenizer OUT --device cuda [--compile]       (what ``bench/tokenizer_worker.py device`` does)

The pictures of a folder (files with names of pictures; unreadable ones are left out) are cut to squares. The same tenth
is held out for all. Our VQ-VAE, FSQ, and the same trunk with the quantizer of `vector-quantize-pytorch`, if that is
installed (moving averages, k-means start, dead codes restarted), are fitted on them with the same steps. A narrow VQGAN
and KL-VAE are fitted with fewer steps. Everything uses one thread. The bench prints a table in Markdown: PSNR and SSIM
of the held-out pictures, codes used and perplexity over an epoch, the share of codes that stay the same when a
reconstruction is encoded again, and CPU-seconds. Then it prints pictures per CPU-second of the encoder alone, and with
opening the file.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench import tokenizer_worker
from gobelin.tokenize import fit as fitting
from gobelin.tokenize.image_tokenizer import ImageTokenizer
from gobelin.tokenize.networks import build_network
from gobelin.tokenize.pictures import ArrayPictures
from gobelin.tokenize.preprocess import preprocess
from gobelin.tokenize.shapes import FSQConfig, KLVAEConfig, TokenizerConfig, VQGANConfig, VQVAEConfig
from gobelin.transforms.images.open_image import open_rgb

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif"}
SEED = 0


class PeerQuantizer(nn.Module):
    """The quantizer of vector-quantize-pytorch behind our names; it updates its codebook when it is called."""

    def __init__(self, num_codes: int, width: int) -> None:
        super().__init__()
        from vector_quantize_pytorch import VectorQuantize

        self.inner = VectorQuantize(
            dim=width, codebook_size=num_codes, decay=0.95, kmeans_init=True, kmeans_iters=8,
            threshold_ema_dead_code=0.1, commitment_weight=1.0,
        )  # fmt: skip

    def forward(self, vectors_Md: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        quantized, ids, loss = self.inner(vectors_Md[None])
        return quantized[0], ids[0], loss.sum()

    def nearest(self, vectors_Md: Tensor) -> Tensor:
        return self.inner(vectors_Md[None], freeze_codebook=True)[1][0]

    def vectors_of(self, ids_M: Tensor) -> Tensor:
        return self.inner.get_codes_from_indices(ids_M)


def with_peer(config: VQVAEConfig, generator: torch.Generator, device: Any) -> nn.Module:
    network = build_network(config, generator, device)
    network.quantizer = PeerQuantizer(config.num_codes, config.code_width)
    return network


def load(folder: Path, side: int, limit: int) -> tuple[list[bytes], np.ndarray]:
    """The files that can be opened, and their squares."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    files, squares = [], []
    for path in np.random.default_rng(SEED).permutation(np.array(paths, dtype=object)):
        try:
            squares.append(preprocess(open_rgb(path.read_bytes(), 2 * side), (side, side)))
        except OSError:
            continue
        files.append(path.read_bytes())
        if len(files) == limit:
            break
    return files, np.stack(squares)


def fitted(
    name: str, pictures: ArrayPictures, config: TokenizerConfig, steps: int, precision: str, seed: int = SEED
) -> ImageTokenizer:
    start = time.process_time()
    result = fitting.fit_tokenizer(pictures, config, seed=seed, steps=steps, precision=precision)
    seconds = time.process_time() - start
    network, metrics = result
    codes = f"{metrics.codes_used} of {config.num_codes} | {metrics.perplexity:.0f}" if metrics.codes_used else "| "
    rows, columns = config.grid
    print(
        f"| {name} | {rows} x {columns} | {steps} | {precision} | {metrics.psnr_db:.2f} | {metrics.ssim:.3f} | {codes} "
        f"| {metrics.reencode_ratio:.2f} | {seconds:.0f} |",
        flush=True,
    )
    return ImageTokenizer(network)


def fit_peer(pictures: ArrayPictures, config: VQVAEConfig, steps: int, seed: int = SEED) -> None:
    try:
        import vector_quantize_pytorch
    except ImportError:
        print("| vector-quantize-pytorch: not installed |")
        return
    assert vector_quantize_pytorch
    fitting.build_network = with_peer
    fitted(f"same trunk, vector-quantize-pytorch, seed {seed}", pictures, config, steps, "float32", seed)
    fitting.build_network = build_network


def speed(name: str, tokenizer: ImageTokenizer, images: np.ndarray, files: list[bytes]) -> None:
    tokenizer.encode(images[:1])
    start = time.process_time()
    tokenizer.encode(images)
    alone = time.process_time() - start
    start = time.process_time()
    for data in files[: len(images)]:
        preprocess(open_rgb(data, 2 * max(tokenizer.size)), tokenizer.size)
    opening = time.process_time() - start
    number = len(images)
    print(f"| {name} | {number} | {number / alone:,.1f} | {number / (alone + opening):,.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--trunk-steps", type=int, default=300)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=0, help="fit the VQ-VAE and the peer's alone, by so many seeds")
    parser.add_argument("--limit", type=int, default=2000)
    parser.add_argument("--device", help="measure the worker on it instead; FOLDER is the output folder of a run then")
    parser.add_argument("--compile", action="store_true", help="with --device: the trunk through torch.compile")
    parser.add_argument("--processes", type=int, help="with --device: processes that open pictures")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.device is not None:
        arguments.output = arguments.folder
        tokenizer_worker.device(arguments)
        return
    torch.set_num_threads(1)
    side = arguments.size
    files, squares = load(Path(arguments.folder), side, arguments.limit)
    print(f"{len(squares)} pictures of {side} px, torch {torch.__version__}, one thread\n")
    columns = (
        "tokenizer",
        "grid",
        "steps",
        "precision",
        "PSNR dB",
        "SSIM",
        "codes used",
        "perplexity",
        "again",
        "CPU s",
    )
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    pictures = ArrayPictures(squares, SEED, 0.1)
    vqvae = VQVAEConfig(image_size=side, num_codes=512)
    if arguments.seeds:
        for seed in range(arguments.seeds):
            fitted(f"VQ-VAE, seed {seed}", pictures, vqvae, arguments.steps, "float32", seed)
            fit_peer(pictures, vqvae, arguments.steps, seed)
        return
    tokenizer = fitted("VQ-VAE", pictures, vqvae, arguments.steps, "float32")
    fitted("VQ-VAE", pictures, vqvae, arguments.steps, "bfloat16")
    fit_peer(pictures, vqvae, arguments.steps)
    fsq = FSQConfig(image_size=side, levels=(8, 8, 8))
    fitted("FSQ 8-8-8", pictures, fsq, arguments.steps, "float32")
    narrow: dict[str, Any] = {"image_size": side, "channels": 16, "multipliers": (1, 2, 4, 4), "num_blocks": 1,
                              "attention_levels": (), "norm_groups": 4}  # fmt: skip
    vqgan = VQGANConfig(**narrow, z_channels=32, num_codes=512, code_width=16)
    trunk = fitted("VQGAN, 16 channels", pictures, vqgan, arguments.trunk_steps, "float32")
    klvae = KLVAEConfig(**narrow, z_channels=8, latent_channels=4)
    latents = fitted("KL-VAE, 16 channels", pictures, klvae, arguments.trunk_steps, "float32")
    print("\n| encoder | pictures | a CPU-second, encoder alone | with opening the file |\n|---|---|---|---|")
    for name, each in (
        ("VQ-VAE, 64 channels", tokenizer),
        ("VQGAN, 16 channels", trunk),
        ("KL-VAE, 16 channels", latents),
    ):
        speed(f"{name}, {side} px", each, squares[:512], files)
    published = ImageTokenizer(build_network(VQGANConfig(), torch.Generator().manual_seed(SEED)))
    large = np.stack([preprocess(open_rgb(data, 512), (256, 256)) for data in files[:8]])
    speed("VQGAN of the published shape (random weights), 256 px", published, large, files)


if __name__ == "__main__":
    main()
