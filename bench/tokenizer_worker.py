"""Measures the encode stage from stored pictures to codes, and compares it with the bare network.

    python -m bench.tokenizer_worker stage OUT [--tokenizer FOLDER] [--processes 0] [--repeat 3]
    python -m bench.tokenizer_worker network [--device cpu] [--batch 8] [--compile]
    python -m bench.tokenizer_worker llamagen FOLDER [--device cpu] [--pictures 8]
    python -m bench.tokenizer_worker device OUT --device cuda [--tokenizer FOLDER]

``stage`` encodes the images of a corpus in an output folder of ``gobelin run`` as the stage does, from files and from
their reduced copies. It prints pictures per CPU-second, and the PSNR of the decoded codes against the picture that the
tokenizer sees of the whole file. ``network`` compares ``encode`` with a bare loop of torch on the same module, in
turns: the VQGAN of the published shape (random weights, 256 px). ``llamagen`` encodes pictures of a folder with the
loop of LlamaGen's extraction (batch 1, float32, one file per image) and with the worker, with the same weights and
device. ``device`` first measures the rates of matrix products and of copies. Then it measures the share of these rates
that the encoder reaches, with pictures ready in memory, and from Parquet with decoding.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gobelin.pipeline.run.counts import some_images_shown
from gobelin.store.dataset import current, is_committed
from gobelin.store.paths import join
from gobelin.store.tables import list_shards
from gobelin.tokenize.encode import Encoding, _EncodeImages
from gobelin.tokenize.framing import Framing
from gobelin.tokenize.image_tokenizer import ImageTokenizer, load_image_tokenizer, save_image_tokenizer
from gobelin.tokenize.networks import build_network
from gobelin.tokenize.pixels import to_float
from gobelin.tokenize.preprocess import decode, preprocess
from gobelin.tokenize.shapes import VQGANConfig
from gobelin.transforms.devices import device_kind, fastest_precision, torch_device
from gobelin.transforms.images.open_image import open_rgb
from gobelin.transforms.images.stored_images import StoredImages

GIGA = 1e9
ENCODER_GFLOP = 138.4
"""Of one picture of 256 px through the encoder of the published shape, a multiply and an add counted as two."""


def published(device: str = "cpu", **options: Any) -> ImageTokenizer:
    """A VQGAN of the published shape with random weights."""
    network = build_network(
        VQGANConfig(num_codes=16384, code_width=8, normalize_codes=True), torch.Generator().manual_seed(0)
    )
    network.quantizer.start_at(torch.randn(16384, 8, generator=torch.Generator().manual_seed(1)))
    return ImageTokenizer(network, device, **options)


@contextlib.contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Wall and CPU seconds of what stands within, those of processes that ended in it too."""
    found: dict[str, float] = {}
    start, before = time.perf_counter(), os.times()
    yield found
    after = os.times()
    found["wall"] = time.perf_counter() - start
    found["cpu"] = sum(after[:4]) - sum(before[:4])


class Run:
    """The images of an output folder that its corpus shows."""

    def __init__(self, output: str, limit: int) -> None:
        self.images = current(join(output, "extract", "images"))
        self.num_shards = len(list_shards(self.images))
        copies = join(output, "extract", "copies")
        self.copies = current(copies) if is_committed(copies) else None
        self.ids = set(some_images_shown(join(output, "select", "documents"), limit))

    def stored(self, copies: bool) -> StoredImages:
        return StoredImages(self.images, self.copies if copies else None, self.num_shards)

    def encode(self, tokenizer: str, copies: bool, **options: Any) -> tuple[dict[str, float], dict[str, list[int]]]:
        """Seconds, and codes by image id."""
        from gobelin.data.ids import shard_of
        from gobelin.store.shards import read_rows

        with tempfile.TemporaryDirectory(prefix="gobelin-bench-") as work:
            encoding = Encoding(tokenizer, self.stored(copies), join(work, "codes"), join(work, "failed"), **options)
            step = _EncodeImages(encoding)
            step.setup()
            shown = [(shard_of(each, self.num_shards), each) for each in sorted(self.ids)]
            step._tokenizer.encode(np.zeros((1, *step._tokenizer.size, 3), np.uint8))
            with measured() as spent:
                paths = list(step.process((range(self.num_shards), shown)))
                step.teardown()
            return spent, {row["image_id"]: row["codes"] for path in paths for row in read_rows(path)}


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(1e-3, float(np.square(one.astype(float) - other).mean())))


def stage(arguments: argparse.Namespace) -> None:
    run = Run(arguments.output, arguments.limit)
    folder = arguments.tokenizer or join(arguments.output, "tokenize", "image_tokenizer")
    tokenizer = load_image_tokenizer(folder)
    whole = {
        row["image_id"]: preprocess(open_rgb(row["data"]), tokenizer.size)
        for index in range(run.num_shards)
        for row in run.stored(copies=False).read(index, run.ids)
    }
    pixels = np.stack(list(whole.values()))
    with measured() as alone:
        tokenizer.encode(pixels)
    rate = len(whole) / alone["cpu"]
    print(f"{len(whole)} pictures of {tokenizer.size[0]} px; the encoder alone: {rate:,.0f} a CPU-second\n")
    print("| read | a CPU-second | a second | PSNR kept, dB | codes as from whole files |\n|---|---|---|---|---|")
    ideal = dict(zip(whole, tokenizer.encode(pixels).tolist()))
    for copies in (False, True):
        spent, codes = min(
            (run.encode(folder, copies, processes=arguments.processes) for _ in range(arguments.repeat)),
            key=lambda each: each[0]["cpu"],
        )
        decoded = tokenizer.decode(np.array(list(codes.values())))
        kept = float(np.mean([psnr(whole[name], made) for name, made in zip(codes, decoded)]))
        same = float(np.mean([np.mean(np.array(ideal[name]) == codes[name]) for name in codes]))
        read = "reduced copies" if copies else "files"
        by_cpu, by_wall = len(codes) / spent["cpu"], len(codes) / spent["wall"]
        print(f"| {read} | {by_cpu:,.0f} | {by_wall:,.0f} | {kept:.2f} | {same:.1%} |", flush=True)


def network(arguments: argparse.Namespace) -> None:
    device = torch_device(arguments.device)
    pictures = np.random.default_rng(0).integers(0, 256, (arguments.batch, 256, 256, 3), np.uint8)
    print("| trunk | bare loop, pictures a second | encode | of the bare loop | its convolution alone | encode of it |")
    print("|---|---|---|---|---|---|")
    for precision in ("float32", *(["bfloat16"] if fastest_precision(device) == "bfloat16" else [])):
        tokenizer = published(str(device), precision=precision, batch_size=arguments.batch)
        if arguments.compile:
            tokenizer._encoder.encoder = torch.compile(tokenizer._encoder.encoder)
        bare_batch = to_float(pictures, device)

        @torch.inference_mode()
        def bare(tokenizer: ImageTokenizer = tokenizer, batch: torch.Tensor = bare_batch) -> None:
            tokenizer._encoder.encode(batch).cpu()

        times = in_turns([bare, lambda tokenizer=tokenizer: tokenizer.encode(pictures)], arguments.repeat)
        rates = [len(pictures) / each for each in times]
        alone = convolution_rate(device, precision, arguments.repeat) / (ENCODER_GFLOP * GIGA)
        shares = f"{rates[1] / rates[0]:.2f} | {alone:.2f} | {rates[1] / alone:.0%}"
        print(f"| {precision} | {rates[0]:.2f} | {rates[1]:.2f} | {shares} |", flush=True)


def convolution_rate(device: torch.device, precision: str, repeat: int) -> float:
    """FLOP a second of the convolution that most of the encoder is: 3 x 3, 128 channels, 256 x 256 places, channels
    last. What a picture would take if the encoder were nothing else."""
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    layer = torch.nn.Conv2d(128, 128, 3, padding=1).to(device, kind, memory_format=torch.channels_last)
    given = torch.randn(1, 128, 256, 256, device=device, dtype=kind).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def call() -> None:
        layer(given).flatten()[0].cpu()

    (seconds,) = in_turns([call], repeat)
    return 2 * 9 * 128 * 128 * 256 * 256 / seconds


def in_turns(calls: list[Callable[[], Any]], repeat: int) -> list[float]:
    """Least CPU seconds (on a GPU wall seconds) of each call."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    best = [float("inf")] * len(calls)
    for turn in range(repeat + 1):
        for place, call in enumerate(calls):
            start = clock()
            call()
            if turn:  # the first is a warm-up
                best[place] = min(best[place], clock() - start)
    return best


def llamagen(arguments: argparse.Namespace) -> None:
    device = torch_device(arguments.device)
    precision = fastest_precision(device)
    paths = sorted(path for path in Path(arguments.output).rglob("*") if path.suffix in (".jpg", ".jpeg", ".png"))
    files = [path.read_bytes() for path in paths[: arguments.pictures]]
    exact = published(str(device))
    exact.network.to(memory_format=torch.contiguous_format)
    fast = published(str(device), precision=precision)

    @torch.inference_mode()
    def loop() -> None:
        with tempfile.TemporaryDirectory() as work:
            for number, data in enumerate(files):
                pixels = preprocess(open_rgb(data), (256, 256))
                codes = exact.network.encode(to_float(pixels[None].copy(), device).contiguous())
                np.save(os.path.join(work, f"{number}.npy"), codes.cpu().numpy())

    times = in_turns(
        [loop, lambda: list(fast.encode_all(decode(data, (), Framing(((16, 16),), 16)) for data in files))], 1
    )
    print(
        f"{len(files)} pictures on {device_kind(device)}: the loop {len(files) / times[0]:.2f} a second, the worker in"
    )
    print(f"{precision} {len(files) / times[1]:.2f}: {times[0] / times[1]:.1f} times")


def device(arguments: argparse.Namespace) -> None:
    place = torch_device(arguments.device)
    flops, copy_rate, memory = rates_of(place)
    print(f"{device_kind(place)}: products in bfloat16 {flops / 1e12:,.0f} TFLOP/s")
    print(f"copies: host to device {copy_rate / GIGA:.1f} GB/s, in the device's memory {memory / GIGA:,.0f} GB/s")
    by_flops, by_copies = flops / (ENCODER_GFLOP * GIGA), copy_rate / (256 * 256 * 3)
    roof = min(by_flops, by_copies)
    print(f"roof: {by_flops:,.0f} pictures a second by products, {by_copies:,.0f} by copies: {roof:,.0f}\n")
    print("| batch | precision | pictures a second | of the roof |\n|---|---|---|---|")
    best, best_batch = 0.0, 1
    precision = fastest_precision(place)
    for batch in (16, 32, 64, 128, 256):
        tokenizer = published(str(place), precision=precision, batch_size=batch)
        if arguments.compile:
            tokenizer._encoder.encoder = torch.compile(tokenizer._encoder.encoder, mode="max-autotune-no-cudagraphs")
        pictures = np.random.default_rng(0).integers(0, 256, (4 * batch, 256, 256, 3), np.uint8)
        (seconds,) = in_turns([lambda t=tokenizer, p=pictures: t.encode(p)], arguments.repeat)
        rate = len(pictures) / seconds
        if rate > best:
            best, best_batch = rate, batch
        print(f"| {batch} | {precision} | {rate:,.0f} | {rate / roof:.0%} |", flush=True)
    if arguments.output:
        run = Run(arguments.output, arguments.limit)
        with tempfile.TemporaryDirectory() as folder:
            save_image_tokenizer(published(), folder)
            for copies in (False, True):
                spent, codes = run.encode(
                    folder, copies, device=str(place), precision=precision, batch_size=best_batch,
                    processes=arguments.processes,
                )  # fmt: skip
                rate = len(codes) / spent["wall"]
                what = "reduced copies" if copies else "files"
                print(f"from Parquet, {what}: {rate:,.0f} pictures a second, {rate / best:.0%} of the encoder alone")


def rates_of(place: torch.device) -> tuple[float, float, float]:
    """FLOP/s of a bfloat16 product, bytes/s from pinned memory to the device, bytes/s of a copy on the device."""
    size = 8192 if place.type == "cuda" else 1024
    left = torch.randn(size, size, device=place, dtype=torch.bfloat16)
    pinned = torch.empty(2**28, dtype=torch.uint8, pin_memory=place.type == "cuda")
    there = torch.empty_like(pinned, device=place)

    def wait() -> None:
        if place.type == "cuda":
            torch.cuda.synchronize()

    def timed(call: Callable[[], Any], times: int = 10) -> float:
        call()
        wait()
        start = time.perf_counter()
        for _ in range(times):
            call()
        wait()
        return (time.perf_counter() - start) / times

    product = timed(lambda: left @ left)
    copy = timed(lambda: there.copy_(pinned, non_blocking=True))
    inside = timed(lambda: there.clone())
    return 2 * size**3 / product, len(pinned) / copy, 2 * len(pinned) / inside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("stage", "network", "llamagen", "device"))
    parser.add_argument("output", nargs="?")
    parser.add_argument("--tokenizer")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--processes", type=int)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--limit", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    {"stage": stage, "network": network, "llamagen": llamagen, "device": device}[arguments.what](arguments)


if __name__ == "__main__":
    main()
