"""Near-duplicate images: recall and precision by distance, compared with imagehash and PDQ.

    python bench/duplicates_images.py --corpus ../shared/corpus/neardup

The first set has real pictures and plots, each with copies made here (JPEG at quality 50 and 20, half and a third of
the size). Every two versions of one picture are a clean pair, and versions of different pictures are not. The next sets
are pictures that others edited, and five releases of sixty plots (graded: nobody says which are the same). In the
drawings of the sample crawl, pictures that differ by under 3 of 255 on average are the same, and those that differ by
10 and more are not. Finally, drawings (drawings.py says which were held out) and photographs and plots with copies are
put in groups, like a crawl's images.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pdqhash
from image_groups import COLUMNS, HEADER, drawings, encode, measure_groups
from PIL import Image as PillowImage
from warcio.archiveiterator import ArchiveIterator

from gobelin.transforms.duplicates.image_duplicates import NearImageConfig, are_alike, image_hashes
from gobelin.transforms.images.check_image import ImageFacts, ImageLimits, check_image
from gobelin.transforms.images.open_image import open_rgb

LIMITS = ImageLimits()


def copies(picture: PillowImage.Image) -> dict[str, bytes]:
    """Clean copies of a picture, by what was done."""
    half = picture.resize((picture.width // 2, picture.height // 2), PillowImage.Resampling.LANCZOS)
    third = picture.resize((picture.width // 3, picture.height // 3), PillowImage.Resampling.LANCZOS)
    return {
        "jpeg 50": encode(picture, "JPEG", quality=50),
        "jpeg 20": encode(picture, "JPEG", quality=20),
        "half": encode(half, "PNG"),
        "third, webp 60": encode(third, "WEBP", quality=60),
    }


class Measured:
    """Hashes of many pictures, by each of the ways that are compared."""

    def __init__(self, files: Iterable[bytes]) -> None:
        kept = [(data, facts) for data in files if isinstance(facts := check_image(data, LIMITS), ImageFacts)]
        self.facts = [facts for _, facts in kept]
        self.ours = image_hashes(*([getattr(facts, name) for facts in self.facts] for name in COLUMNS))
        pictures = [open_rgb(data) for data, _ in kept]
        self.phash = stack(imagehash.phash(picture).hash for picture in pictures)
        self.dhash = stack(imagehash.dhash(picture).hash for picture in pictures)
        self.pdq = stack(pdqhash.compute(np.asarray(picture))[0] for picture in pictures)
        small = [picture.resize((32, 32), PillowImage.Resampling.BOX) for picture in pictures]
        self.small = np.stack([np.asarray(picture, np.int16).reshape(-1) for picture in small])


def stack(bits: Iterable[Any]) -> np.ndarray:
    return np.packbits(np.stack([np.asarray(row, bool).reshape(-1) for row in bits]), axis=1)


def distances(bits: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.bitwise_count(bits[a] ^ bits[b]).sum(1)


def ways(measured: Measured, a: np.ndarray, b: np.ndarray) -> Iterable[tuple[str, str, np.ndarray]]:
    """(way, distance, which of the pairs it joins)."""
    for name, bits, steps in (("imagehash phash", measured.phash, (2, 4, 6, 8, 10)),
                              ("imagehash dhash", measured.dhash, (2, 4, 6, 8, 10)),
                              ("PDQ", measured.pdq, (16, 24, 31, 40, 48))):  # fmt: skip
        apart = distances(bits, a, b)
        for step in steps:
            yield name, str(step), apart <= step
    one, other = measured.ours.take(a), measured.ours.take(b)
    for name, make in OURS.items():
        for step in (2, 3, 4, 6, 8):
            yield name, str(step), are_alike(one, other, make(step))
    yield DEFAULT, "", are_alike(one, other, NearImageConfig())


DEFAULT = "gobelin's default"
CHOSEN = {("imagehash phash", "4"), ("imagehash dhash", "4"), ("PDQ", "31"), ("either, no colour", "4"), (DEFAULT, "")}
"""What the shorter tables show."""

OURS: dict[str, Callable[[int], NearImageConfig]] = {
    "either, no colour": lambda step: NearImageConfig(
        phash_distance=step, dhash_distance=step, colour_distance=None, verify=False
    ),
    "either + colour": lambda step: NearImageConfig(phash_distance=step, dhash_distance=step, verify=False),
    "either, verified": lambda step: NearImageConfig(phash_distance=step, dhash_distance=step),
}


def table(
    title: str,
    measured: Measured,
    a: np.ndarray,
    b: np.ndarray,
    same: np.ndarray,
    other: np.ndarray,
    is_whole: bool = False,
) -> None:
    print(f"\n{title}: {same.sum()} pairs of the same, {other.sum()} of different pictures")
    print(f"{'way':<20}{'distance':>9}{'recall':>9}{'false':>8}{'precision':>11}")
    for way, step, joined in ways(measured, a, b):
        if not is_whole and (way, step) not in CHOSEN:
            continue
        found, false = int((joined & same).sum()), int((joined & other).sum())
        precision = f"{found / (found + false):.4f}" if found + false else "-"
        print(f"{way:<20}{step:>9}{found / max(1, same.sum()):>9.3f}{false:>8}{precision:>11}")


def clean_pairs(corpus: Path) -> None:
    paths = [*sorted(corpus.glob("seaborn-images/*@0.13.png")), *sorted(corpus.glob("pdq-labelme-subset/*")),
             *sorted(corpus.glob("imagehash/*")), corpus / "pdq-bridge-mods/aaa-orig.jpg"]  # fmt: skip
    files, owners = [], []
    for owner, path in enumerate(paths):
        data = path.read_bytes()
        versions = [data, *copies(open_rgb(data)).values()]
        files += versions
        owners += [owner] * len(versions)
    a, b = np.triu_indices(len(files), 1)
    same = np.array(owners)[a] == np.array(owners)[b]
    table("Clean copies", Measured(files), a, b, same, ~same, is_whole=True)


def edited(corpus: Path) -> None:
    groups = {
        "edits by others (sharper, blurred, smaller, more contrast, more colour)": "pdq-bridge-mods/*",
        "letterboxed": "pdq-letterbox/*",
        "turned and mirrored": "pdq-dih/*",
    }
    for title, pattern in groups.items():
        measured = Measured(path.read_bytes() for path in sorted(corpus.glob(pattern)))
        a, b = np.triu_indices(len(measured.facts), 1)
        table(title, measured, a, b, np.ones(len(a), bool), np.zeros(len(a), bool))


def releases(corpus: Path) -> None:
    paths = sorted(corpus.glob("seaborn-images/*"))
    names = np.array([path.name.rsplit("@", 1)[0] for path in paths])
    measured = Measured(path.read_bytes() for path in paths)
    a, b = np.triu_indices(len(paths), 1)
    same = names[a] == names[b]
    table("Five releases of sixty plots (graded)", measured, a, b, same, ~same)


def sample_crawl() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "examples.sample_crawl.make_crawl", "--output", folder, "--pages", "300"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=Path(__file__).parent.parent)
        files = {}
        for path in sorted(Path(folder).glob("*.warc.gz")):
            with path.open("rb") as stream:
                for record in ArchiveIterator(stream):
                    headers = record.http_headers
                    if record.rec_type == "response" and (headers.get_header("Content-Type") or "").startswith(
                        "image/"
                    ):
                        files[record.content_stream().read()] = None
    measured = Measured(itertools.islice(files, 1500))
    a, b = np.triu_indices(len(measured.facts), 1)
    near = np.flatnonzero(
        (distances(measured.phash, a, b) <= 12) | (distances(measured.dhash, a, b) <= 12)
        | (distances(measured.pdq, a, b) <= 60) | ((measured.ours.phash[a] ^ measured.ours.phash[b]) == 0)
    )  # fmt: skip
    a, b = a[near], b[near]  # the others are joined by no way
    apart = np.concatenate([np.abs(measured.small[a[at : at + 4096]] - measured.small[b[at : at + 4096]]).mean(1)
                            for at in range(0, len(a), 4096)])  # fmt: skip
    table("Drawings of the sample crawl", measured, a, b, apart < 3, apart >= 10, is_whole=True)


def photographs(corpus: Path) -> None:
    """Photographs and plots with known copies, grouped together: each original with six copies."""
    paths = [*sorted(corpus.glob("pdq-labelme-subset/*")), *sorted(corpus.glob("imagehash/*")),
             corpus / "pdq-bridge-mods/aaa-orig.jpg"]  # fmt: skip
    plots = sorted(corpus.glob("seaborn-images/*@0.13.png"))
    print("\nGroups of files with copies made here\n" + HEADER)
    measure_groups("photographs", (open_rgb(path.read_bytes()) for path in paths), 6, NearImageConfig())
    measure_groups("plots of seaborn", (open_rgb(path.read_bytes()) for path in plots), 6, NearImageConfig())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="folder of pictures: pdq-bridge-mods, seaborn-images ...")
    parser.add_argument("--families", type=int, default=10, help="of drawings of each kind, four variants each")
    options = parser.parse_args()
    if options.corpus is not None:
        clean_pairs(options.corpus)
        edited(options.corpus)
        releases(options.corpus)
    sample_crawl()
    drawings(options.families, 4, 3, NearImageConfig())
    if options.corpus is not None:
        photographs(options.corpus)
    return 0


if __name__ == "__main__":
    sys.exit(main())
