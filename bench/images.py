"""Measures the cost of checking images, and the outcomes of files that trouble decoders.

    python bench/images.py --input 'crawl/*.warc.gz' --edge folder/of/pictures --largest

Prints, for the images of the archives: images per CPU-second of a bare decode by Pillow, of `check_image` and of
`ImageChecker` (CPU-seconds of both processes, without the start); the time of a start; how far the hashes of the
reduced decode are from those of all pixels. For the files of `--edge`, each through `ImageChecker`: outcomes by format,
the slowest file, and the greatest memory of the decoding process (Linux: its peak resident size, set back before each).
`--largest`: the same for pictures of 40 megapixels in each format, made here, with the pixel limit at its default.
"""

from __future__ import annotations

import argparse
import collections
import glob
import io
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from warcio.archiveiterator import ArchiveIterator

from gobelin.transforms.images.check_image import ImageFacts, ImageLimits, check_image
from gobelin.transforms.images.image_formats import identify
from gobelin.transforms.images.image_sandbox import ImageChecker
from gobelin.transforms.images.measure_image import dhash, pdq_hash, phash
from gobelin.transforms.images.open_image import open_rgb


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", help="quoted glob of WARC files")
    parser.add_argument("--edge", type=Path, help="folder of files")
    parser.add_argument("--largest", action="store_true", help="pictures of 40 megapixels, made for the purpose")
    parser.add_argument("--images", type=int, default=400, help="images of the archives at most (%(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="runs; the fastest counts (%(default)s)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.input:
        images = read_images(options.input, options.images)
        measure_speed(images, options.repeat)
        measure_drift(images)
    if options.edge:
        measure_edge(options.edge)
    if options.largest:
        measure_largest()
    return 0


def read_images(pattern: str, limit: int) -> list[bytes]:
    """Distinct images of archives that ``check_image`` takes; evenly drawn."""
    found = {}
    for path in sorted(glob.glob(pattern)):
        with open(path, "rb") as stream:
            for record in ArchiveIterator(stream):
                kind = record.http_headers and record.http_headers.get_header("Content-Type", "")
                if record.rec_type == "response" and (kind or "").startswith("image/"):
                    data = record.content_stream().read()
                    if isinstance(check_image(data, ImageLimits()), ImageFacts):
                        found[data] = True
    images = list(found)
    images = images[:: max(1, -(-len(images) // limit))]
    formats = collections.Counter(identify(data) for data in images)
    megapixels = [np.prod(open_size(data)) / 1e6 for data in images]
    print(
        f"{len(images)} images, {dict(formats.most_common())}, mean {sum(map(len, images)) / len(images) / 1e3:.0f} kB "
        f"and {np.mean(megapixels):.2f} megapixels"
    )
    return images


def open_size(data: bytes) -> tuple[int, int]:
    with PillowImage.open(io.BytesIO(data)) as image:
        return image.size


def bare_decode(data: bytes) -> None:
    with PillowImage.open(io.BytesIO(data)) as image:
        image.load()


def measure_speed(images: list[bytes], repeat: int) -> None:
    limits, with_pdq = ImageLimits(), ImageLimits(pdq=True)
    print(f"\n{'':<34}{'images/CPU-s':>14}{'images/s':>10}{'CPU ms/image':>14}")
    for name, function in (
        ("Pillow, open and load", bare_decode),
        ("open_rgb, all pixels", open_rgb),
        ("open_rgb, 256 pixels a side", lambda data: open_rgb(data, 256)),
        ("check_image", lambda data: check_image(data, limits)),
        ("check_image with PDQ", lambda data: check_image(data, with_pdq)),
    ):
        report(name, len(images), min(timed(function, images) for _ in range(repeat)))
    report("ImageChecker", len(images), min(sandboxed(images, limits) for _ in range(repeat)))
    starts = [started(limits) for _ in range(5)]
    print(f"a start of the decoding process: {min(starts)[1]:.2f} s, {min(starts)[0]:.2f} CPU-s")


def timed(function: Callable[[bytes], object], images: list[bytes]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    for data in images:
        function(data)
    return time.process_time() - cpu, time.perf_counter() - wall


def sandboxed(images: list[bytes], limits: ImageLimits) -> tuple[float, float]:
    """(CPU-seconds of both processes, wall seconds), without the child's start."""
    checker = ImageChecker(limits)
    checker.check(images[0])
    child = Path(f"/proc/{checker.process_ids[0]}/schedstat")
    before = int(child.read_text().split()[0])
    cpu, wall = timed(checker.check, images)
    cpu += (int(child.read_text().split()[0]) - before) / 1e9
    checker.close()
    return cpu, wall


def started(limits: ImageLimits) -> tuple[float, float]:
    """(CPU-seconds, wall seconds) of a child's start."""
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    checker = ImageChecker(limits)
    checker.check(b"P4 1 1 0")
    wall = time.perf_counter() - wall
    checker.close()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def report(name: str, count: int, seconds: tuple[float, float]) -> None:
    cpu, wall = seconds
    print(f"{name:<34}{count / cpu:>14.0f}{count / wall:>10.0f}{1000 * cpu / count:>14.2f}")


def measure_drift(images: list[bytes]) -> None:
    """Bits between the hashes that ``check_image`` gives and those of a decode of all pixels."""
    distances = collections.defaultdict(list)
    for data in images:
        found = check_image(data, ImageLimits(pdq=True))
        if isinstance(found, ImageFacts):
            pixels = open_rgb(data)
            grey = pixels.convert("L")
            full = {"phash": phash(grey), "dhash": dhash(grey), "pdq": pdq_hash(pixels, is_reduced=False)}
            for name, value in full.items():
                if value is not None and getattr(found, name) is not None:
                    distances[name].append((int(value, 16) ^ int(getattr(found, name), 16)).bit_count())
    print(
        f"\n{'hash, against that of all pixels':<34}{'images':>8}{'equal':>8}{'median':>8}{'95 %':>6}{'most':>6}  bits"
    )
    for name, values in distances.items():
        share = np.mean(np.array(values) == 0)
        print(
            f"{name:<34}{len(values):>8}{share:>8.2f}{np.median(values):>8.0f}{np.percentile(values, 95):>6.0f}"
            f"{max(values):>6}"
        )


def measure_edge(folder: Path) -> None:
    checker = ImageChecker(ImageLimits())
    checker.check(b"P4 1 1 0")  # starts the process
    rows: dict[str, list[tuple[str, float, int]]] = collections.defaultdict(list)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        reset_peak(checker.process_ids)
        start = time.perf_counter()
        found = checker.check(data)
        seconds = time.perf_counter() - start
        outcome = "image" if isinstance(found, ImageFacts) else found.rule
        rows[(identify(data) or "none of them").lower()].append((outcome, seconds, peak_of(checker.process_ids)))
    checker.close()
    everything = [row for each in rows.values() for row in each]
    print("\n| format, by content | files | images | otherwise | slowest, s | most memory, MiB |")
    print("|---|---|---|---|---|---|")
    for name, found_rows in [*sorted(rows.items(), key=lambda item: -len(item[1])), ("all", everything)]:
        outcomes = collections.Counter(outcome for outcome, _, _ in found_rows)
        num_images = outcomes.pop("image", 0)
        others = ", ".join(f"{count} `{rule}`" for rule, count in outcomes.most_common())
        slowest, most = max(row[1] for row in found_rows), max(row[2] for row in found_rows)
        print(f"| {name} | {len(found_rows)} | {num_images} | {others} | {slowest:.2f} | {most} |")


def measure_largest() -> None:
    limits = ImageLimits(max_bytes=1 << 30)
    print("\n| 40 megapixels | file, MB | outcome | CPU-s | memory, MiB |\n|---|---|---|---|---|")
    for name, data in largest_pictures():
        checker = ImageChecker(limits)
        checker.check(b"P4 1 1 0")  # starts the process
        child = Path(f"/proc/{checker.process_ids[0]}")
        reset_peak(checker.process_ids)
        before = int((child / "schedstat").read_text().split()[0])
        found = checker.check(data)
        outcome, cpu, peak = "image", "", ""
        if isinstance(found, ImageFacts):
            cpu = f"{(int((child / 'schedstat').read_text().split()[0]) - before) / 1e9:.2f}"
            peak = str(peak_of(checker.process_ids))
        else:
            outcome = f"`{found.rule}`"
        checker.close()
        print(f"| {name} | {len(data) / 1e6:.0f} | {outcome} | {cpu} | {peak} |", flush=True)


def largest_pictures() -> Iterator[tuple[str, bytes]]:
    """Smooth pictures of 7300 x 5470 pixels."""
    size = 7300, 5470
    blots = np.random.default_rng(0).integers(0, 256, (64, 64, 4), dtype=np.uint8)
    rgba = PillowImage.fromarray(blots).resize(size, PillowImage.Resampling.BICUBIC)
    rgb, grey = rgba.convert("RGB"), np.asarray(rgba.convert("L")).astype(np.uint16) * 257
    palette = rgb.quantize(64, method=PillowImage.Quantize.FASTOCTREE)
    for name, image, file_format, saving in (
        ("PNG, RGBA", rgba, "PNG", {"compress_level": 1}),
        ("PNG, 16-bit grey", PillowImage.fromarray(grey), "PNG", {"compress_level": 1}),
        ("PNG, palette", palette, "PNG", {"compress_level": 1}),
        ("GIF", palette, "GIF", {}),
        ("JPEG, progressive", rgb, "JPEG", {"quality": 90, "progressive": True}),
        ("JPEG, CMYK", rgb.convert("CMYK"), "JPEG", {"quality": 90}),
        ("WebP, alpha", rgba, "WEBP", {"quality": 80, "method": 0}),
        ("WebP, lossless", rgba, "WEBP", {"lossless": True, "method": 0, "quality": 0}),
        ("AVIF, alpha, 4:4:4", rgba, "AVIF", {"speed": 10, "quality": 60, "subsampling": "4:4:4"}),
        ("JPEG 2000", rgb, "JPEG2000", {"quality_mode": "rates", "quality_layers": [40]}),
        ("TIFF, 32-bit floats", PillowImage.fromarray(grey.astype(np.float32)), "TIFF", {}),
        ("TGA, RLE", rgba, "TGA", {"compression": "tga_rle"}),
        ("PPM, binary", rgb, "PPM", {}),
        ("QOI", rgba, "QOI", {}),
    ):
        stream = io.BytesIO()
        image.save(stream, file_format, **saving)
        yield name, stream.getvalue()
    yield "PPM, as text, 7 MP", b"P3 2600 2600 255 " + b"1 " * (3 * 2600 * 2600)


def reset_peak(process_ids: list[int]) -> None:
    for process_id in process_ids:
        Path(f"/proc/{process_id}/clear_refs").write_text("5")


def peak_of(process_ids: list[int]) -> int:
    """Peak resident MiB of the processes; 0 where they are gone."""
    lines = [line for each in process_ids for line in Path(f"/proc/{each}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    sys.exit(main())
