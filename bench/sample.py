"""Measures the speed of sampling with and without a cache of keys and values, alone and in batches, and the memory
bound.

    python bench/sample.py [--sizes "2 M" "10 M"] [--context 256] [--device cpu] [--precision float32]
    python bench/sample.py --sizes "350 M" "1.3 B" --context 1024 --device cuda --precision bfloat16   # on a GPU

A token that is drawn alone needs every weight once (one row of the embedding), and the keys and values of all tokens
before it, so

    seconds a token >= (weights + 2 x layers x keys and values a token x tokens before) x bytes of a number / bandwidth

The bandwidth is the rate at which this device reads 1 GiB, measured in the same run. Seconds are CPU-seconds on one
thread, or seconds of the clock on a GPU. The numbers are medians of several runs, in turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from gobelin.tokenize.codebook import Codebook
from gobelin.tokenize.vocabulary import CAPTION_OF_NEXT, DOCUMENT, IMAGE, TEXT, Vocabulary
from gobelin.train.compute import autocast
from gobelin.train.config import SamplingConfig
from gobelin.train.decoder import Decoder, draw
from gobelin.train.model import LanguageModel, build_model
from gobelin.train.sample import Request, generate
from gobelin.train.size import SHAPES

CONFIG = SamplingConfig(cfg_scale=1)
BATCH = 64
UNCACHED_TOKENS = 8
"""Tokens of the way without a cache, in the middle of the context: it is slow, and its cost a token is even there."""


def vocabulary() -> Vocabulary:
    """Of 4,096 text tokens, and pictures of 7 x 7 codes out of 256."""
    book = Codebook(name="vqvae", kind="vqvae", num_codes=256, rows=7, columns=7, fingerprint="0" * 64)
    return Vocabulary(text_size=4096, codebooks=(book,), text_fingerprint="0" * 64, text_token_bytes=(4,) * 4096)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the CPU, or of the clock where the device is another."""
    if device.type == "cpu":
        started = time.process_time()
        work()
        return time.process_time() - started
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started


def bandwidth(device: torch.device) -> float:
    """Bytes a second at which the device reads memory: the sum of 1 GiB."""
    numbers = torch.ones(2**28, device=device)
    numbers.sum()
    return 2**30 / min(seconds_of(numbers.sum, device) for _ in range(5))


@torch.no_grad()
def cached(model: LanguageModel, context: int, first: int, num_tokens: int) -> None:
    """Draws tokens of one text, one after the other, behind a prompt of ``first`` tokens."""
    words = model.vocabulary
    decoder = Decoder(model, context)
    decoder.add([(0, "")], [[DOCUMENT, TEXT, *[words.text_offset] * (first - 2)]])
    for number in range(num_tokens):
        uniform = torch.tensor([(number % 97) / 97], dtype=torch.float64)
        token = draw(decoder.logits_BV[:, words.text_offset : words.image_offset], CONFIG, uniform)
        decoder.append([int(token) + words.text_offset], [-1])


@torch.no_grad()
def uncached(model: LanguageModel, first: int, num_tokens: int) -> None:
    """The same from whole sequences."""
    words = model.vocabulary
    tokens = [DOCUMENT, TEXT, *[words.text_offset] * (first - 2)]
    for number in range(num_tokens):
        tokens_BT = torch.tensor([tokens], device=model.head.weight.device)
        logits_BV = model.head(model.features(tokens_BT, torch.zeros_like(tokens_BT))[:, -1]).float()
        uniform = torch.tensor([(number % 97) / 97], dtype=torch.float64)
        drawn = draw(logits_BV[:, words.text_offset : words.image_offset], CONFIG, uniform)
        tokens.append(int(drawn) + words.text_offset)


def pictures(model: LanguageModel, number: int, scale: float) -> None:
    """Pictures of a caption of 12 tokens, side by side."""
    prompt = [CAPTION_OF_NEXT, *[model.vocabulary.text_offset] * 12, IMAGE]
    requests = [Request(prompt, 66, seed, "item") for seed in range(number)]
    generate(model, requests, SamplingConfig(cfg_scale=scale))


def measure(size: str, context: int, device: torch.device, precision: str, repeats: int) -> None:
    words = vocabulary()
    model = build_model(SHAPES[size], words, torch.Generator().manual_seed(0), device).eval()
    weights = sum(p.numel() for p in model.parameters()) - model.embedding.weight.numel()
    config, middle = model.config, context // 2
    num_bytes = 2 if precision == "bfloat16" else 4
    kept = 2 * config.num_layers * config.kv_heads * config.head_width
    rate = bandwidth(device)
    bound = (weights + kept * middle * 1.5) * num_bytes / rate  # from the middle to the end: 1.5 x the middle
    rest = context - middle - 1
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "no cache, alone": (lambda: uncached(model, (context + middle) // 2, UNCACHED_TOKENS), UNCACHED_TOKENS),
        "cache, alone": (lambda: cached(model, context, middle, rest), rest),
        f"cache, {BATCH} pictures": (lambda: pictures(model, BATCH, 1), BATCH * 49),
        f"cache, {BATCH} pictures, guided": (lambda: pictures(model, BATCH, 3), BATCH * 49),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(repeats + 1):
        for way, (work, tokens) in ways.items():
            with autocast(device, precision):
                taken = seconds_of(work, device) / tokens
            if repeat:  # the first one warms up
                seconds[way].append(taken)
    total = sum(p.numel() for p in model.parameters())
    print(
        f"{size}: {total / 1e6:.1f} M parameters, context {context}, {device.type}, {precision}\n"
        f"  bound alone: ({weights / 1e6:.1f} M weights + {kept} x {middle * 1.5:.0f} tokens) x {num_bytes} bytes / "
        f"{rate / 1e9:.1f} GB/s = {bound * 1e3:.3f} ms a token"
    )
    slow = statistics.median(seconds["no cache, alone"])
    for way, taken in seconds.items():
        median = statistics.median(taken)
        near = f"  {bound / median:4.0%} of the bound" if way == "cache, alone" else ""
        print(f"  {way:<28}{median * 1e3:9.3f} ms a token  {slow / median:7.1f} x{near}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(SHAPES), default=["2 M", "10 M"])
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for size in given.sizes:
        measure(size, given.context, torch.device(given.device), given.precision, given.repeats)


if __name__ == "__main__":
    main()
