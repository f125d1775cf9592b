"""Decodes an untrusted image file to pixels. Hashes, embeddings, tokens and thumbnails all use this one decoder.

Order: size in bytes, format by content (``image_formats``), pixels and frames by the header, then the decode. A JPEG is
decoded at a reduced scale if the caller needs few pixels. The first frame, the first page or the largest icon is taken.
Deep and palette modes become 8-bit channels, a large image is averaged down by a whole factor, colours are converted to
sRGB by the embedded profile, transparency is put on white, and the Exif orientation is applied. Width and height are
therefore those that a browser shows.

Equal bytes give equal pixels with the same version of Pillow. Peak memory is about 16 bytes per pixel of the file.
There is no time limit here; ``image_sandbox`` has one.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import io
import re
import struct
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import AvifImagePlugin, ImageCms, UnidentifiedImageError
from PIL import Image as PillowImage

from gobelin.errors import UserError
from gobelin.transforms.images.image_formats import DECODED, PLUGINS, identify

AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # one core per worker; does not change the pixels

_NAMES = {"MPO": "jpeg"}
"""A JPEG followed by further images, as many phones write."""

_FULL_RANGE = ("PNG", "PPM", "JPEG2000")
"""Formats in which 16-bit grey ranges from black to white, as browsers show it. TIFF with 16 or 32 bits and floats in
any format hold measurements of any range; these are stretched from their minimum to their maximum."""

_TURNED = ("TIFF", *PLUGINS)
"""Formats whose decoder has already applied the orientation."""

_ORIENTATION = {
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_270,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_90,
}
"""Value of the Exif tag 0x0112 (Exif 2.3) -> the transposition that undoes it."""

_PROFILE_MODES = {"RGB ": ("RGB",), "GRAY": ("L",), "CMYK": ("CMYK",)}
"""Colour space of a profile -> modes that it can describe. Any other pair means a damaged file."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageLimits:
    """Which image files may be opened, and what is measured. Quality is judged later, by the measured values."""

    max_bytes: int = 20 * 1024 * 1024
    """Maximum size of an image file in bytes. Larger files are dropped unread. DataComp and NeMo Curator use similar
    limits."""

    max_pixels: int = 40_000_000
    """Maximum width x height in the header. 40 megapixels decode to 160 MB, and the largest camera images are of this
    size. The limit is at most Pillow's own, 89,478,485, above which Pillow reports a decompression bomb."""

    max_frames: int = 10_000
    """Maximum number of frames of an animation; only the first one is decoded. 1 drops all animations."""

    max_seconds: float = 5.0
    """Maximum CPU seconds per image (in ``image_sandbox`` only). Images that browsers show take at most 2.5 within the
    other limits (docs/images.md). An image that takes longer was made to."""

    max_memory: int = 1024 * 1024 * 1024
    """Maximum bytes of address space of a decoding process (in ``image_sandbox`` only). The interpreter takes 220 MB of
    it. AVIF and WebP need most: about 16 bytes per pixel."""

    copy_side_px: int = 256
    """Shorter side, in pixels, of the reduced copy that is kept of an image. Models that need no more pixels (most CLIP
    models, image tokenizers of up to half of it) read the copy, so the file is decoded only once. 0: no copies."""

    svg: bool = True
    """Whether SVG drawings are rendered; the PNG replaces the file (docs/images.md). false: SVG is dropped as an unread
    format."""

    pdq: bool = False
    """Whether to compute the PDQ hash, which block lists of that kind need. Takes 2 to 8 ms per image. Needs the
    package ``pdqhash`` (extra ``pdq``)."""

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "max_frames", "max_seconds", "max_memory"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name} must be greater than 0, got {getattr(self, name)}")
        if not 0 <= self.copy_side_px <= MAX_COPY_SIDE_PX:
            raise UserError(f"copy_side_px must be in [0, {MAX_COPY_SIDE_PX}], got {self.copy_side_px}")
        if self.max_pixels > BOMB_PIXELS:
            raise UserError(f"max_pixels must be at most {BOMB_PIXELS} (Pillow's own limit), got {self.max_pixels}")
        if self.max_memory < MIN_MEMORY:
            raise UserError(f"max_memory must be at least {MIN_MEMORY} (the interpreter alone), got {self.max_memory}")
        if self.pdq and importlib.util.find_spec("pdqhash") is None:
            raise UserError("pdq: true needs the package pdqhash; install gobelin with the extra 'pdq'")


BOMB_PIXELS = 89_478_485
MAX_COPY_SIDE_PX = 1024
MIN_MEMORY = 320 * 1024 * 1024


UNRENDERABLE = "image_svg"
"""Rule of a well-formed drawing that is not rendered; the detail gives the reason."""


class UnusableImageError(OSError):
    """A file that gives no pixels. ``rule``, ``value``, ``threshold`` and ``detail`` are the fields of a
    ``Decision``."""

    def __init__(
        self, rule: str, value: float | None = None, threshold: float | None = None, detail: str | None = None
    ) -> None:
        super().__init__(": ".join([rule, *([detail] if detail else [])]))
        self.rule, self.value, self.threshold, self.detail = rule, value, threshold, detail


@dataclasses.dataclass(frozen=True, slots=True)
class OpenedImage:
    """A decoded image. ``width`` and ``height`` are those of the file as displayed; ``pixels`` may be smaller."""

    format: str
    width: int
    height: int
    pixels: PillowImage.Image


def open_rgb(data: bytes, max_side: int | None = None) -> PillowImage.Image:
    """Decodes an image that passed ``check_image`` to 8-bit sRGB, oriented, on white. All models get their pixels here.

    Args:
        max_side: if given, the image may be reduced as long as its shorter side keeps this many pixels.

    Raises:
        UnusableImageError: it gives no pixels. (An ``OSError``.)
    """
    return open_image(data, max_side).pixels


def open_image(data: bytes, max_side: int | None = None, limits: ImageLimits | None = None) -> OpenedImage:
    """Decodes an image as ``open_rgb`` does and returns the facts of the file too, under limits of bytes, pixels and
    frames.

    Raises:
        UnusableImageError: a limit is exceeded, the format is not in ``DECODED``, or the file is damaged.
    """
    if not data:
        raise UnusableImageError("empty_image")
    if limits is not None and len(data) > limits.max_bytes:
        raise UnusableImageError("image_bytes", len(data), limits.max_bytes)
    name = identify(data)
    if name is None:
        raise UnusableImageError("not_an_image")
    if name not in DECODED and not has_plugin(name):
        raise UnusableImageError("image_format", detail=name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", PillowImage.DecompressionBombWarning)
            return _decode(data, name, max_side, limits)
    except UnusableImageError:
        raise
    except (PillowImage.DecompressionBombError, PillowImage.DecompressionBombWarning) as error:
        found = re.search(r"\((\d+) pixels\)", str(error))  # Pillow checks its own limit first
        num_pixels, threshold = float(found[1]) if found else None, limits.max_pixels if limits else None
        raise UnusableImageError("image_pixels", num_pixels, threshold) from error
    except MemoryError as error:
        raise UnusableImageError("image_memory", threshold=limits.max_memory if limits else None) from error
    except UnidentifiedImageError as error:  # its message contains a memory address
        raise UnusableImageError("undecodable_image", detail=f"damaged header of {name.lower()}") from error
    except Exception as error:  # damaged files make decoders raise exceptions of any type
        detail = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
        raise UnusableImageError("undecodable_image", detail=detail) from error


@functools.cache
def has_plugin(name: str) -> bool:
    """Whether a format of ``PLUGINS`` can be read. Loads its package."""
    module_name, _ = PLUGINS.get(name, (None, None))
    if module_name is None or importlib.util.find_spec(module_name) is None:
        return False
    module = importlib.import_module(module_name)
    if name == "heif":
        module.register_heif_opener(thumbnails=False, decode_threads=1)
    if name == "jxl":
        module.JpegXLImagePlugin.DECODE_THREADS = 0  # one core per worker
    return True


def _decode(data: bytes, name: str, max_side: int | None, limits: ImageLimits | None) -> OpenedImage:
    with PillowImage.open(io.BytesIO(data), formats=(PLUGINS[name][1] if name in PLUGINS else name,)) as image:
        width, height = image.size  # of an icon: of its largest image, which Pillow has already decoded
        if width < 1 or height < 1:
            raise UnusableImageError("undecodable_image", detail=f"{width} x {height} pixels")
        if limits is not None:
            _check_header(image, data, limits)
        format_name = _NAMES.get(image.format or name, name.lower())
        if max_side is not None:
            image.draft(None, (max_side, max_side))  # only JPEG supports this
        image.load()
        profile, exif = image.info.get("icc_profile"), image.info.get("exif")
        pixels = _to_srgb(_reduce(_to_channels(image, name), max_side), profile)
        is_turned = name in _TURNED and not getattr(image, "jpeg", False)  # but not for a JPEG inside a JPEG XL
    orientation = 1 if is_turned else read_orientation(exif)
    if orientation in _ORIENTATION:
        pixels = pixels.transpose(_ORIENTATION[orientation])
    if orientation >= 5:
        width, height = height, width
    return OpenedImage(format_name, width, height, pixels)


def _check_header(image: PillowImage.Image, data: bytes, limits: ImageLimits) -> None:
    num_pixels = image.width * image.height
    if num_pixels > limits.max_pixels:
        raise UnusableImageError("image_pixels", num_pixels, limits.max_pixels)
    num_frames = count_frames(image, data, limits.max_frames + 1)
    if num_frames > limits.max_frames:
        raise UnusableImageError("image_frames", num_frames, limits.max_frames)


def count_frames(image: PillowImage.Image, data: bytes, up_to: int) -> int:
    """The number of frames of an animation, counted up to ``up_to``. Pages, icons and a phone's second image do not
    count."""
    if image.format == "GIF":
        return _count_gif_frames(data, up_to)
    if image.format in ("PNG", "WEBP", "AVIF"):
        return min(getattr(image, "n_frames", 1), up_to)
    return 1


def _count_gif_frames(data: bytes, up_to: int) -> int:
    """The number of image descriptors of a GIF, counted from block to block, because its header does not give it."""
    end, count = len(data), 0
    place = 13 + _colour_table_bytes(data[10])
    while place + 9 < end and count < up_to:
        if data[place] == 0x2C:  # image descriptor, colour table, code size, blocks
            count += 1
            place += 11 + _colour_table_bytes(data[place + 9])
        elif data[place] == 0x21:  # extension, label, blocks
            place += 2
        else:  # the end, or garbage
            break
        while place < end and data[place]:
            place += 1 + data[place]
        place += 1
    return count


def _colour_table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def read_orientation(exif: bytes | None) -> int:
    """The orientation in an Exif block, 1 to 8; 1 if it is missing or invalid. Only this tag is read, because a hostile
    block can make a full parser copy data thousands of times."""
    if not isinstance(exif, bytes):
        return 1
    block = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 10:
        return 1
    (start,) = struct.unpack_from(order + "I", block, 4)
    if start + 2 > len(block):
        return 1
    (count,) = struct.unpack_from(order + "H", block, start)
    for place in range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12):
        tag, kind, _, value = struct.unpack_from(order + "HHIH", block, place)
        if tag == 0x0112:
            return value if kind == 3 and 1 <= value <= 8 else 1
    return 1


def _to_channels(image: PillowImage.Image, name: str) -> PillowImage.Image:
    """Converts to 8-bit channels: L, LA, RGB, RGBA, CMYK, LAB or YCbCr."""
    transparency = image.info.get("transparency")
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _shallow(image, name, transparency)
    if image.mode in ("PA", "RGBa", "La") or (transparency is not None and image.mode in ("1", "L", "P", "RGB")):
        return image.convert("RGBA")
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "RGBX", "HSV"):
        return image.convert("RGB")
    return image


def _shallow(image: PillowImage.Image, name: str, transparency: object) -> PillowImage.Image:
    """8-bit grey from 16 or 32 bits per pixel: L, or LA if one value is transparent."""
    values = np.asarray(image)
    is_full_range = name in _FULL_RANGE and image.mode != "F"
    low, high = (0.0, 65535.0) if is_full_range else _range(values)
    scale = np.float32(255.0 / (high - low) if high > low else 0.0)
    grey = np.empty(values.shape, np.uint8)
    with np.errstate(all="ignore"):  # fuzz files hold infinities
        for rows in _blocks(values.shape):
            scaled = np.nan_to_num((values[rows].astype(np.float32) - np.float32(low)) * scale, posinf=255.0, neginf=0)
            grey[rows] = np.clip(np.rint(scaled), 0.0, 255.0)
    pixels = PillowImage.fromarray(grey)
    if not isinstance(transparency, int):
        return pixels
    return PillowImage.merge(
        "LA", (pixels, PillowImage.fromarray(np.where(values == transparency, 0, 255).astype(np.uint8)))
    )


def _range(values: np.ndarray) -> tuple[float, float]:
    """The minimum and maximum finite value; (0, 0) if there is none."""
    low, high = np.inf, -np.inf
    for rows in _blocks(values.shape):
        block = values[rows]
        finite = block if block.dtype.kind != "f" else block[np.isfinite(block)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def _blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of rows of about a megapixel each, which limit the memory of computations in floats."""
    step = max(1, (1 << 20) // max(1, shape[1]))
    return (slice(start, start + step) for start in range(0, shape[0], step))


def _reduce(image: PillowImage.Image, max_side: int | None) -> PillowImage.Image:
    """Averages squares of pixels. This comes before colours and transparency, which then take almost no time."""
    factor = min(image.size) // max_side if max_side else 1
    return image.reduce(factor) if factor > 1 else image


def _to_srgb(image: PillowImage.Image, profile: bytes | None) -> PillowImage.Image:
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    if alpha is not None:
        image = image.convert(image.mode.removesuffix("A"))
    transform = _transform(profile, image.mode) if profile or image.mode == "LAB" else None
    image = image.convert("RGB") if transform is None else ImageCms.applyTransform(image, transform) or image
    if alpha is None:
        return image
    return PillowImage.composite(image, PillowImage.new("RGB", image.size, "white"), alpha)


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from a profile's colours to sRGB. None if none is needed or the profile is damaged; the values are
    then read as sRGB, as browsers do."""
    target = ImageCms.createProfile("sRGB")
    try:
        if mode == "LAB":
            return ImageCms.buildTransform(ImageCms.createProfile("LAB"), target, "LAB", "RGB")
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        if mode not in _PROFILE_MODES.get(source.profile.xcolor_space, ()):
            return None
        if "sRGB" in (source.profile.profile_description or ""):
            return None
        return ImageCms.buildTransform(source, target, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
