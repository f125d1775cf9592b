"""Groups of near-duplicate images over drawings and photographs with known copies: recall, precision, what is lost.

Each picture has an original (PNG) and copies of it, drawn from ``WAYS``: JPEG, WebP, a palette GIF, 0.3 to 2 times the
size by four filters, and both together. All of them are grouped like a crawl's images.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from drawings import FIRST_HELD_OUT_FAMILY, HELD_OUT, TUNED, draw
from PIL import Image as PillowImage

from gobelin.transforms.duplicates.image_duplicates import NearImageConfig, are_alike, image_hashes, near_image_groups
from gobelin.transforms.images.check_image import ImageFacts, ImageLimits, check_image

Picture = PillowImage.Image
Filter = PillowImage.Resampling
COLUMNS = ("phash", "dhash", "colour", "thumbnail")


def encode(picture: Picture, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _scaled(factor: float, resample: Filter, kind: str, **options: int) -> Callable[[Picture], bytes]:
    def copy(picture: Picture) -> bytes:
        size = max(8, round(picture.width * factor)), max(8, round(picture.height * factor))
        return encode(picture.resize(size, resample), kind, **options)

    return copy


def _saved(kind: str, **options: int) -> Callable[[Picture], bytes]:
    return lambda picture: encode(picture, kind, **options)


WAYS: dict[str, Callable[[Picture], bytes]] = {
    "JPEG 95": _saved("JPEG", quality=95), "JPEG 75": _saved("JPEG", quality=75), "JPEG 50": _saved("JPEG", quality=50),
    "WebP 80": _saved("WEBP", quality=80), "WebP 60": _saved("WEBP", quality=60),
    "GIF": lambda picture: encode(picture.quantize(256), "GIF"),
    "PNG x0.3": _scaled(0.3, Filter.LANCZOS, "PNG"), "PNG x0.4 bilinear": _scaled(0.4, Filter.BILINEAR, "PNG"),
    "PNG x0.5": _scaled(0.5, Filter.LANCZOS, "PNG"), "PNG x0.7 bicubic": _scaled(0.7, Filter.BICUBIC, "PNG"),
    "PNG x1.5": _scaled(1.5, Filter.BICUBIC, "PNG"), "PNG x2": _scaled(2, Filter.LANCZOS, "PNG"),
    "PNG x2 nearest": _scaled(2, Filter.NEAREST, "PNG"),
    "JPEG 75 x0.5": _scaled(0.5, Filter.LANCZOS, "JPEG", quality=75),
    "JPEG 60 x0.3": _scaled(0.3, Filter.LANCZOS, "JPEG", quality=60),
    "WebP 60 x0.33": _scaled(1 / 3, Filter.LANCZOS, "WEBP", quality=60),
    "JPEG 50 x1.5": _scaled(1.5, Filter.LANCZOS, "JPEG", quality=50),
}  # fmt: skip


def measure_groups(title: str, pictures: Iterable[Picture], num_copies: int, config: NearImageConfig) -> None:
    """Prints, for different pictures with copies each, what their groups hold."""
    rng = np.random.default_rng(7)
    names = list(WAYS)
    facts: list[ImageFacts] = []
    owners: list[int] = []
    for owner, picture in enumerate(pictures):
        ways = [names[at] for at in rng.permutation(len(names))[:num_copies]]
        for data in [encode(picture, "PNG"), *(WAYS[way](picture.convert("RGB")) for way in ways)]:
            checked = check_image(data, ImageLimits())
            if isinstance(checked, ImageFacts):
                facts.append(checked)
                owners.append(owner)
    order = rng.permutation(len(facts))  # ids are digests: any order
    hashes = image_hashes(*([getattr(facts[at], name) for at in order] for name in COLUMNS))
    owner_of = np.array(owners)[order]
    started = time.process_time()
    groups = near_image_groups(hashes, config)
    seconds = time.process_time() - started
    a, b = np.triu_indices(len(facts), 1)
    same, joined = owner_of[a] == owner_of[b], groups[a] == groups[b]
    found = int((same & joined).sum())
    alone = are_alike(hashes.take(a[same]), hashes.take(b[same]), config).mean() if same.any() else 1.0
    lost = len(set(owner_of.tolist())) - len(set(groups.tolist()))
    recall, precision, false = found / max(1, same.sum()), found / max(1, joined.sum()), int((joined & ~same).sum())
    print(f"{title:<34}{len(set(owners)):>7}{len(facts):>8}{recall:>9.4f}{alone:>9.4f}{precision:>11.4f}{false:>8}"
          f"{max(0, lost):>6}{seconds:>8.2f}")  # fmt: skip


HEADER = (f"{'':<34}{'differ':>7}{'images':>8}{'recall':>9}{'of pairs':>9}{'precision':>11}{'false':>8}{'lost':>6}"
          f"{'CPU s':>8}")  # fmt: skip


def families(kind: str, first: int, num: int, num_variants: int) -> Iterator[Picture]:
    """Pictures that differ: variants of a family that came out equal are left out."""
    seen = set()
    for family in range(first, first + num):
        for variant in range(num_variants):
            picture = draw(kind, family, variant)
            if (content := picture.tobytes()) not in seen:
                seen.add(content)
                yield picture


def drawings(num_families: int, num_variants: int, num_copies: int, config: NearImageConfig) -> None:
    """The tuned kinds with new families, then the kinds that were held out."""
    print("\nGroups of drawings; a family's variants differ in one place\n" + HEADER)
    for kinds, what in ((TUNED, "new families"), (HELD_OUT, "held out")):
        for kind in kinds:
            pictures = families(kind, FIRST_HELD_OUT_FAMILY, num_families, num_variants)
            measure_groups(f"{kind} ({what})", pictures, num_copies, config)
