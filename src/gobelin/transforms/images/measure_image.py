"""Measures an image file in one decode: format, size, perceptual hashes, colours and a grey thumbnail.

``phash`` and ``dhash`` have the definitions of the package imagehash (DCT of 32 x 32, differences of 9 x 8), 64 bits
each, on an image whose shorter side was reduced to about 128 pixels. PDQ (by pdqhash, from ThreatExchange) uses about
512. docs/images.md compares them with hashes of all pixels. All hashes see the image as displayed: oriented, on white.
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
"""Shorter side in pixels that is kept for ``phash`` and ``dhash``."""

PDQ_SIDE_PX = 512
"""Shorter side in pixels that is kept for PDQ."""

COPY_QUALITY = 95
"""JPEG quality of a reduced copy. PNG takes 6 times as long to write and twice as long to read (docs/images.md)."""

MAX_COPY_ASPECT = 8

MIN_PDQ_QUALITY = 50
"""Minimum quality of a PDQ hash. Hashes of images with few features (flat areas, plain text) match by chance;
ThreatExchange discards values up to 49."""


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFacts:
    """The results of one decode."""

    format: str  # jpeg, png, gif, webp, avif, bmp, ico, cur, tiff, jpeg2000, ppm, tga, qoi
    width: int  # pixels, as displayed
    height: int
    phash: str  # 64 bits, 16 hex digits
    dhash: str  # 64 bits, 16 hex digits
    colour: str  # mean RGB of 4 x 4 cells, row by row, 96 hex digits; the hashes are blind to colour
    thumbnail: str  # 2304 greys, 4624 hex digits (thumbnail.py); finer than hashes of 64 bits
    pdq: str | None = None  # 256 bits, 64 hex digits; None: not requested, or the image has too few features
    copy: bytes | None = dataclasses.field(default=None, repr=False)  # a reduced JPEG; None: the file is as small
    rendered: bytes | None = dataclasses.field(default=None, repr=False)  # PNG of a drawing, to which all else refers


def measure_image(data: bytes, limits: ImageLimits) -> ImageFacts:
    """Measures an image file. Decodes it in this process, without a time limit.

    Raises:
        UnusableImageError: it cannot be read.
    """
    rendered = _render(data, limits) if limits.svg and identify(data) == "svg" else None
    side = max(PDQ_SIDE_PX if limits.pdq else THUMBNAIL_SIDE_PX, 2 * limits.copy_side_px)
    opened = open_image(rendered or data, side, limits)
    pixels = opened.pixels
    if rendered is not None and len(pixels.getcolors(1) or ()) == 1:
        raise UnusableImageError(UNRENDERABLE, detail="nothing is visible on white")
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
    """A JPEG of an image as displayed, in sRGB, on white. It is resized (bicubic, antialiased) to a shorter side of
    ``side`` pixels,
    or keeps its size if it is smaller; quality 95, no chroma subsampling.

    Returns None if a copy would save nothing (the file is a JPEG with no more pixels), and for strips with an aspect
    ratio above
    ``MAX_COPY_ASPECT``.

    Args:
        opened: decoded with a shorter side of at least ``2 * side`` pixels, if the file has them.
    """
    shorter, longer = sorted((opened.width, opened.height))
    if longer > MAX_COPY_ASPECT * shorter or (opened.format == "jpeg" and shorter <= side):
        return None
    pixels = opened.pixels
    width, height = pixels.size
    if min(width, height) > side:
        longer = round(max(width, height) * side / min(width, height))
        longer += (longer - side) % 2  # so that the central square begins at a whole pixel
        size = (side, longer) if width <= height else (longer, side)
        pixels = pixels.resize(size, PillowImage.Resampling.BICUBIC)
    stream = io.BytesIO()
    pixels.save(stream, "JPEG", quality=COPY_QUALITY, subsampling=0)
    return stream.getvalue()


def phash(grey: PillowImage.Image) -> str:
    """The 64-bit perceptual hash of an image of mode L: whether each low frequency is above the median. The bits equal
    those of ``imagehash.phash``, which takes 0.4 CPU-seconds to import scipy."""
    pixels = np.asarray(grey.resize((_DCT_SIDE, _DCT_SIDE), PillowImage.Resampling.LANCZOS), np.float64)
    low = dct_2d()(pixels)[:8, :8]
    return _hex(low > np.median(low))


_DCT_SIDE = 32


@functools.cache
def dct_2d() -> Callable[[np.ndarray], np.ndarray]:
    """scipy's DCT-II, over columns and then over rows. For flat or symmetric images rounding decides bits, so scipy's
    own code must be used. Only the extension module of scipy is loaded if it is at its known place."""
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
    except Exception:  # noqa: BLE001  # not a public name: another version of scipy may have it elsewhere
        return _dct_by_scipy


def _dct_by_extension(dct: Callable[..., np.ndarray], pixels: np.ndarray) -> np.ndarray:
    return dct(dct(pixels, 2, (0,), 0, None, 1, None), 2, (1,), 0, None, 1, None)


def _dct_by_scipy(pixels: np.ndarray) -> np.ndarray:
    from scipy.fft import dct

    return dct(dct(pixels, axis=0), axis=1)


def dhash(grey: PillowImage.Image) -> str:
    """The 64-bit difference hash of an image of mode L: whether brightness increases from left to right."""
    return str(imagehash.dhash(grey))


def pdq_hash(pixels: PillowImage.Image, is_reduced: bool = True) -> str | None:
    """The 256-bit PDQ hash of an RGB image; None if its quality is below ``MIN_PDQ_QUALITY``.

    Args:
        is_reduced: whether a much larger image may first be averaged down to about ``PDQ_SIDE_PX``.
    """
    import pdqhash

    reduced = _reduce(pixels, PDQ_SIDE_PX) if is_reduced else pixels
    bits, quality = pdqhash.compute(np.ascontiguousarray(reduced))
    return _hex(np.asarray(bits, bool)) if quality >= MIN_PDQ_QUALITY else None


def _reduce(pixels: PillowImage.Image, side: int) -> PillowImage.Image:
    """Averages the image down by a whole factor, to a shorter side of at least ``side``. A strip with a very long side
    is also reduced along that side, because resizing it directly takes gigabytes of filter weights."""
    factor = max(1, min(pixels.size) // side)
    factors = max(factor, pixels.width // (8 * side)), max(factor, pixels.height // (8 * side))
    return pixels.reduce(factors) if factors != (1, 1) else pixels


def _hex(bits: np.ndarray) -> str:
    return np.packbits(bits).tobytes().hex()
