"""Compares the cost of the part of `score` that looks at images with a bare loop over open_clip.

    python bench/embed.py --input 'crawl/*.warc.gz'
    python bench/embed.py --input 'crawl/*.warc.gz' --device cuda --threads 16 --batch-size 256

The bare loop decodes with Pillow, uses open_clip's own preprocessing and forward passes of --batch-size, and normalises
to unit length in float16. Gobelin turns shards of Parquet with the images into shards with the embeddings, with the
stage's graph. Both have the same weights (random, because only time is measured) and the same images, and run in turn,
--repeat times. Models are loaded before.

On cpu the unit is images per CPU-second on one thread. On cuda it is images per second of wall time. The bare loop gets
the same decoding threads, and its batch size is the best of several.
"""

from __future__ import annotations

import argparse
import glob
import io
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image as PillowImage
from safetensors.torch import save_file
from warcio.archiveiterator import ArchiveIterator

from gobelin.data.ids import image_id, shard_of
from gobelin.data.schemas import IMAGES
from gobelin.store.dataset import commit_shards
from gobelin.store.shards import write_shard
from gobelin.store.tables import shard_path
from gobelin.transforms.images.check_image import ImageFacts, ImageLimits, check_image
from gobelin.transforms.images.open_image import open_rgb
from gobelin.transforms.score.config import ClipConfig, ScoreConfig
from gobelin.transforms.vision.embed import _EmbedImages

BATCH_SIZES = (64, 128, 256, 512)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, help="quoted glob of WARC files")
    parser.add_argument("--model", default="ViT-B-32", help="architecture of open_clip (%(default)s)")
    parser.add_argument("--images", type=int, default=256, help="images at most (%(default)s)")
    parser.add_argument("--shards", type=int, default=1, help="files they lie in (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="(%(default)s)")
    parser.add_argument("--device", default="cpu", help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="that decode (%(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the median counts (%(default)s)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images = read_images(options.input, options.images)
    print(f"{len(images)} images, {options.model}, {options.threads} thread(s), {machine(options.device)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(options.model, folder / "model")
        write_images(images, folder / "images", options.shards)
        model, preprocess = open_clip.create_model_from_pretrained(
            f"local-dir:{folder / 'model'}", device=options.device
        )
        model.eval()
        clip = ClipConfig(
            model=f"local-dir:{folder / 'model'}",
            batch_size=options.batch_size,
            device=options.device,
            threads=options.threads,
        )
        stage = _EmbedImages(ScoreConfig(clip=clip), str(folder / "images"), str(folder / "work"), options.shards)
        stage.setup()

        def bare(batch_size: int) -> Callable[[], Any]:
            return lambda: bare_loop(images, model, preprocess, batch_size, options.device, options.threads)

        def gobelin() -> None:
            list(stage.process(tuple(range(options.shards))))

        clock = time.process_time if options.device == "cpu" else time.perf_counter
        if options.device == "cpu":
            best = options.batch_size
        else:
            bare(options.batch_size)()  # kernels are compiled and chosen at the first call
            best = min(BATCH_SIZES, key=lambda size: seconds(bare(size), clock))
        print(f"{'run':<6}{'bare loop':>12}{'gobelin':>12}{'share':>8}   images per second, bare batches of {best}")
        shares = []
        for run in range(options.repeat):
            rates = [len(images) / seconds(work, clock) for work in (bare(best), gobelin)]
            shares.append(rates[1] / rates[0])
            print(f"{run + 1:<6}{rates[0]:>12.2f}{rates[1]:>12.2f}{shares[-1]:>8.3f}", flush=True)
        print(f"median share {statistics.median(shares):.3f}")
        where_time_goes(images, stage)
    return 0


def bare_loop(
    images: list[bytes], model: Any, preprocess: Any, batch_size: int, device: str, threads: int
) -> np.ndarray:
    def prepare(data: bytes) -> torch.Tensor:
        return preprocess(PillowImage.open(io.BytesIO(data)).convert("RGB"))

    def embed(batch: list[torch.Tensor]) -> np.ndarray:
        with torch.inference_mode():
            return model.encode_image(torch.stack(batch).to(device), normalize=True).half().cpu().numpy()

    found, held = [], []
    with ThreadPoolExecutor(threads) as pool:
        for tensor in map(prepare, images) if threads == 1 else pool.map(prepare, images):
            held.append(tensor)
            if len(held) == batch_size:
                found.append(embed(held))
                held = []
    if held:
        found.append(embed(held))
    return np.concatenate(found)


def where_time_goes(images: list[bytes], stage: Any) -> None:
    """Milliseconds of one thread an image, of the parts."""
    clip = stage._model
    start = time.process_time()
    pictures = [open_rgb(data, 512) for data in images]
    decoded = time.process_time()
    tensors = [clip.prepare_image(picture) for picture in pictures]
    prepared = time.process_time()
    for place in range(0, len(tensors), clip.batch_size):
        clip.embed_prepared_images(tensors[place : place + clip.batch_size])
    embedded = time.process_time()
    parts = {"decode": decoded - start, "prepare": prepared - decoded, "model": embedded - prepared}
    print("ms an image: " + ", ".join(f"{name} {1000 * value / len(images):.2f}" for name, value in parts.items()))


def seconds(work: Callable[[], Any], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start


def read_images(pattern: str, limit: int) -> list[bytes]:
    """Distinct images of archives that gobelin takes, in the order of their hash."""
    found: dict[str, bytes] = {}
    for path in sorted(glob.glob(pattern)):
        with open(path, "rb") as stream:
            for record in ArchiveIterator(stream):
                kind = record.http_headers.get_header("Content-Type", "") if record.http_headers else ""
                if record.rec_type == "response" and kind.startswith("image/"):
                    data = record.content_stream().read()
                    found[image_id(data)] = data
    usable = (data for _, data in sorted(found.items()) if isinstance(check_image(data, ImageLimits()), ImageFacts))
    return list(islice(usable, limit))


def write_model(architecture: str, folder: Path) -> None:
    """A folder with random weights, such as ``local-dir:`` takes."""
    model = open_clip.create_model(architecture)
    folder.mkdir(parents=True)
    config = {"model_cfg": open_clip.get_model_config(architecture), "preprocess_cfg": model.visual.preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")


def write_images(images: list[bytes], folder: Path, num_shards: int) -> None:
    """The data set ``images``, as far as the stage reads it."""
    empty = {field.name: [] if str(field.type).startswith("list") else 0 if "int" in str(field.type) else ""
             for field in IMAGES}  # fmt: skip
    names = [f"{place:064x}" for place in range(len(images))]
    for index in range(num_shards):
        rows = [
            {**empty, "image_id": name, "data": data, "urls": ["https://a.example/"]}
            for name, data in zip(names, images, strict=True)
            if shard_of(name, num_shards) == index
        ]
        write_shard(shard_path(str(folder), index, num_shards), rows, IMAGES)
    commit_shards(str(folder), num_shards)


def machine(device: str) -> str:
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")


if __name__ == "__main__":
    sys.exit(main())
