"""Facts of a picture file out of one decode: format, size, the perceptual hashes, colours and a grey thumbnail.

``phash`` and ``dhash`` by the package imagehash (DCT of 32 x 32, differences of 9 x 8), 64 bits each, on a picture
whose shorter side was reduced to 128 pixels or a little more; PDQ (ThreatExchange's, by pdqhash) on one of 512 or a
little more. How far that drifts from hashes of all pixels stands in docs/images.md. All see the picture as displayed:
oriented, on white.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import io
import os
from collections.abc import Callable

import imagehash
import numpy as np
from PIL import Image as PillowImage

from gobelin.store.files import files_in
from gobelin.store.paths import name_of
from gobelin.transforms.images.image_formats import identify
from gobelin.transforms.images.open_image import UNRENDERABLE, ImageLimits, OpenedImage, UnusableImageError, open_image
from gobelin.transforms.images.thumbnail import THUMBNAIL_SIDE_PX, cell_means, thumbnail

HASH_SIDE_PX = 128
"""Shorter side that a decode keeps for ``phash`` and ``dhash``."""

PDQ_SIDE_PX = 512
"""The same for PDQ."""

COPY_QUALITY = 95
"""JPEG quality of a reduced copy. PNG takes 6 times as long to write and twice as long to read (docs/images.md)."""

MAX_COPY_ASPECT = 8

MIN_PDQ_QUALITY = 50
"""Hashes of pictures with fewer features (flat areas, plain text) match by chance; ThreatExchange discards <= 49."""


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a decode tells."""

    format: str  # jpeg, png, gif, webp, avif, bmp, ico, cur, tiff, jpeg2000, ppm, tga, qoi
    width: int  # pixels, as displayed
    height: int
    phash: str  # 64 bits, 16 hex digits
    dhash: str  # 64 bits, 16 hex digits
    colour: str  # mean RGB of 4 x 4 cells, row by row, 96 hex digits: what the grey hashes cannot tell
    thumbnail: str  # 2304 greys, 4624 hex digits (thumbnail.py): what hashes of 64 bits cannot tell
    pdq: str | None = None  # 256 bits, 64 hex digits; None: not asked for, or the picture has too few features
    copy: bytes | None = dataclasses.field(default=None, repr=False)  # a reduced JPEG; None: the file serves as well
    rendered: bytes | None = dataclasses.field(default=None, repr=False)  # a PNG of a drawing; all else is said of it


def measure_image(data: bytes, limits: ImageLimits) -> ImageFacts:
    """Facts of an image file. Decodes it in this process, without a limit of time.

    Raises:
        UnusableImageError: it cannot be read.
    """
    rendered = _render(data, limits) if limits.svg and identify(data) == "svg" else None
    side = max(PDQ_SIDE_PX if limits.pdq else THUMBNAIL_SIDE_PX, 2 * limits.copy_side_px)
    opened = open_image(rendered or data, side, limits)
    pixels = opened.pixels
    if rendered is not None and len(pixels.getcolors(1) or ()) == 1:
        raise UnusableImageError(UNRENDERABLE, detail="nothing to be seen on white")
    copy = reduced_copy(opened, limits.copy_side_px) if limits.copy_side_px else None
    pdq = pdq_hash(pixels) if limits.pdq else None
    reduced = _reduce(pixels, HASH_SIDE_PX)
    grey = reduced.convert("L")
    width, height = opened.width, opened.height
    colours = np.rint(cell_means(np.asarray(reduced), width, height, 4, 4, reach=0.0))
    colour = np.clip(colours, 0, 255).astype(np.uint8).tobytes().hex()
    small = thumbnail(np.asarray(_reduce(pixels, THUMBNAIL_SIDE_PX).convert("L")), width, height)
    return ImageFacts(opened.format, width, height, phash(grey), dhash(grey), colour, small, pdq, copy, rendered)


def _render(data: bytes, limits: ImageLimits) -> bytes:
    from gobelin.transforms.images.render_svg import render_svg

    if len(data) > limits.max_bytes:
        raise UnusableImageError("image_bytes", len(data), limits.max_bytes)
    return render_svg(data)


def reduced_copy(opened: OpenedImage, side: int) -> bytes | None:
    """A JPEG of a picture as displayed, sRGB, on white, resized (bicubic, antialiased) until its shorter side has
    ``side`` pixels, or as it is where that is smaller; quality 95, colours at full resolution.

    None where it would save nothing: the file is a JPEG of no more pixels; and for strips of over ``MAX_COPY_ASPECT``
    to 1.

    Args:
        opened: with a shorter side of ``2 * side`` pixels where the file has them.
    """
    shorter, longer = sorted((opened.width, opened.height))
    if longer > MAX_COPY_ASPECT * shorter or (opened.format == "jpeg" and shorter <= side):
        return None
    pixels = opened.pixels
    width, height = pixels.size
    if min(width, height) > side:
        longer = round(max(width, height) * side / min(width, height))
        longer += (longer - side) % 2  # the middle square begins at a whole pixel
        size = (side, longer) if width <= height else (longer, side)
        pixels = pixels.resize(size, PillowImage.Resampling.BICUBIC)
    stream = io.BytesIO()
    pixels.save(stream, "JPEG", quality=COPY_QUALITY, subsampling=0)
    return stream.getvalue()


def phash(grey: PillowImage.Image) -> str:
    """64-bit perceptual hash of a picture of mode L: signs of its low frequencies against their median. The bits are
    those of ``imagehash.phash``, which takes .4 CPU-seconds to import scipy."""
    pixels = np.asarray(grey.resize((_DCT_SIDE, _DCT_SIDE), PillowImage.Resampling.LANCZOS), np.float64)
    low = dct_2d()(pixels)[:8, :8]
    return _hex(low > np.median(low))


_DCT_SIDE = 32


@functools.cache
def dct_2d() -> Callable[[np.ndarray], np.ndarray]:
    """scipy's transform (DCT-II, of columns and then of rows). Where pictures are flat or symmetric, rounding decides
    bits, so it has to be scipy's own code; of scipy only that extension is loaded, where it lies in its known place."""
    try:
        scipy = importlib.util.find_spec("scipy")
        folder = os.path.join(os.path.dirname(scipy.origin or ""), "fft", "_pocketfft") if scipy else ""
        file = next(path for path in files_in(folder) if name_of(path).startswith("pypocketfft."))
        spec = importlib.util.spec_from_file_location("pypocketfft", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        transform = functools.partial(_dct_by_extension, module.dct)
        transform(np.zeros((_DCT_SIDE, _DCT_SIDE)))
        return transform
    except Exception:  # noqa: BLE001  # it is no public name: another scipy may have it elsewhere
        return _dct_by_scipy


def _dct_by_extension(dct: Callable[..., np.ndarray], pixels: np.ndarray) -> np.ndarray:
    return dct(dct(pixels, 2, (0,), 0, None, 1, None), 2, (1,), 0, None, 1, None)


def _dct_by_scipy(pixels: np.ndarray) -> np.ndarray:
    from scipy.fft import dct

    return dct(dct(pixels, axis=0), axis=1)


def dhash(grey: PillowImage.Image) -> str:
    """64-bit difference hash of a picture of mode L: whether brightness grows from left to right."""
    return str(imagehash.dhash(grey))


def pdq_hash(pixels: PillowImage.Image, is_reduced: bool = True) -> str | None:
    """256-bit PDQ hash of an RGB picture; None where its quality is under ``MIN_PDQ_QUALITY``.

    Args:
        is_reduced: a picture far over ``PDQ_SIDE_PX`` a side may be averaged down first.
    """
    import pdqhash

    reduced = _reduce(pixels, PDQ_SIDE_PX) if is_reduced else pixels
    bits, quality = pdqhash.compute(np.ascontiguousarray(reduced))
    return _hex(np.asarray(bits, bool)) if quality >= MIN_PDQ_QUALITY else None


def _reduce(pixels: PillowImage.Image, side: int) -> PillowImage.Image:
    """Averaged down by a whole factor, the shorter side to no less than ``side``. A line of a million pixels is
    squeezed along its length alone: to resize it as it is takes gigabytes of filter weights."""
    factor = max(1, min(pixels.size) // side)
    factors = max(factor, pixels.width // (8 * side)), max(factor, pixels.height // (8 * side))
    return pixels.reduce(factors) if factors != (1, 1) else pixels


def _hex(bits: np.ndarray) -> str:
    return np.packbits(bits).tobytes().hex()
