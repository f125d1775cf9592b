"""Untrusted picture files: what is taken, with which facts, and what is not, with which reason."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image as PillowImage

from gobelin.documents import Action
from gobelin.transforms.check_image import ImageFacts, ImageLimits, ImageProblem, check_image, open_rgb
from gobelin.transforms.near_duplicates import hamming

LIMITS = ImageLimits()
Make = Callable[..., Any]


def picture(width: int = 60, height: int = 40) -> PillowImage.Image:
    small = np.random.default_rng(3).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return PillowImage.fromarray(small).resize((width, height), PillowImage.Resampling.BICUBIC)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width: int, height: int, bits: int, color: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG put together by hand: also ones that no encoder would write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + extra + body


def facts(data: bytes) -> ImageFacts:
    found = check_image(data, LIMITS)
    assert isinstance(found, ImageFacts), found
    return found


def problem(data: bytes, limits: ImageLimits = LIMITS) -> ImageProblem:
    found = check_image(data, limits)
    assert isinstance(found, ImageProblem), found
    return found


@pytest.mark.parametrize(
    ("mode", "file_format", "options"),
    [
        ("RGB", "PNG", {}),
        ("RGB", "JPEG", {"quality": 95}),
        ("L", "JPEG", {"quality": 95}),
        ("CMYK", "JPEG", {"quality": 95}),
        ("RGBA", "PNG", {}),
        ("LA", "PNG", {}),
        ("L", "PNG", {}),
        ("P", "PNG", {}),
        ("P", "PNG", {"transparency": 3}),
        ("RGB", "PNG", {"transparency": (1, 2, 3)}),
        ("1", "PNG", {}),
        ("1", "PNG", {"transparency": 1}),
        ("P", "GIF", {}),
        ("P", "GIF", {"transparency": 0}),
        ("RGB", "WEBP", {"quality": 90}),
        ("RGBA", "WEBP", {"lossless": True}),
        ("RGB", "BMP", {}),
        ("RGB", "TIFF", {}),
        ("CMYK", "TIFF", {}),
        ("RGB", "AVIF", {}),
    ],
)
def test_every_mode_is_read(encode: Make, mode: str, file_format: str, options: dict[str, Any]) -> None:
    """Same picture, any form: same facts and, but for rounding, the same perceptual hash; RGB to every model."""
    data = encode(picture().convert(mode), file_format, **options)
    found = facts(data)
    assert (found.format, found.width, found.height) == (file_format.lower(), 60, 40)
    reference = str(imagehash.phash(picture().convert("L") if mode == "1" else picture()))
    assert hamming(found.phash, reference) <= (16 if mode == "1" else 8)
    rgb = open_rgb(data)
    assert (rgb.mode, rgb.size) == ("RGB", (60, 40))


@pytest.mark.parametrize(
    ("file_format", "dtype"),
    [("PNG", np.uint16), ("TIFF", np.uint16), ("TIFF", ">u2"), ("TIFF", np.int32), ("TIFF", np.float32)],
)
def test_deep_greys_are_stretched_not_clipped(encode: Make, file_format: str, dtype: Any) -> None:
    ramp = (np.arange(40 * 60).reshape(40, 60) * 20).astype(dtype)
    if dtype == ">u2":
        image = PillowImage.frombytes("I;16B", (60, 40), ramp.tobytes())
    else:
        image = PillowImage.fromarray(ramp)
    data = encode(image, file_format)
    assert facts(data).width == 60
    values = np.asarray(open_rgb(data))
    assert values.min() == 0
    assert values.max() >= 254
    assert len(np.unique(values)) > 200


@pytest.mark.parametrize(
    "data",
    [
        raw_png(4, 4, 16, 0, (b"\0" + b"\1\2" * 4) * 4),
        raw_png(4, 4, 16, 0, (b"\0" + b"\1\2" * 4) * 4, chunk(b"tRNS", b"\1\2")),
        raw_png(4, 4, 16, 2, (b"\0" + b"\1\2" * 12) * 4),
        raw_png(4, 4, 16, 4, (b"\0" + b"\1\2" * 8) * 4),
        raw_png(4, 4, 16, 6, (b"\0" + b"\1\2" * 16) * 4),
        raw_png(4, 4, 2, 0, (b"\0" + b"\x1b") * 4),
    ],
    ids=["grey", "grey with transparency", "rgb", "grey alpha", "rgba", "two bits"],
)
def test_png_depths(data: bytes) -> None:
    assert (facts(data).width, facts(data).height) == (4, 4)
    assert open_rgb(data).mode == "RGB"


def test_transparency_is_white(encode: Make) -> None:
    """What lies under full transparency is noise and must show neither in the hash nor to a model."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 4), dtype=np.uint8)
    noise[:, :, 3] = 0
    noise[10:30, 20:40] = (200, 0, 0, 255)
    clean = np.full((40, 60, 3), 255, np.uint8)
    clean[10:30, 20:40] = (200, 0, 0)
    dirty, plain = encode(PillowImage.fromarray(noise), "PNG"), encode(PillowImage.fromarray(clean), "PNG")
    assert np.array_equal(np.asarray(open_rgb(dirty)), clean)
    assert facts(dirty).phash == facts(plain).phash


def test_multi_picture_jpeg_is_a_jpeg(encode: Make) -> None:
    """What phones write: a JPEG with a second one behind it."""
    data = encode(picture(), "MPO", save_all=True, append_images=[picture()])
    assert facts(data).format == "jpeg"


def test_animations_count_by_their_first_frame(encode: Make) -> None:
    frames = [picture(), picture().rotate(90)]
    for file_format in ("GIF", "WEBP", "PNG"):
        data = encode(frames[0], file_format, save_all=True, append_images=frames[1:])
        assert (facts(data).width, facts(data).height) == (60, 40)
        assert hamming(facts(data).phash, str(imagehash.phash(picture()))) <= 8


def test_hash_of_a_reduced_decode_is_close_to_that_of_a_full_one(encode: Make) -> None:
    data = encode(picture(1600, 1200), "JPEG", quality=90)
    with PillowImage.open(io.BytesIO(data)) as image:
        full = str(imagehash.phash(image))
    found = facts(data)
    assert (found.width, found.height) == (1600, 1200)
    assert hamming(found.phash, full) <= 4


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000), (3, 2)])
def test_tiny_and_thin_pictures(encode: Make, size: tuple[int, int]) -> None:
    for file_format in ("PNG", "JPEG"):
        found = facts(encode(PillowImage.new("RGB", size, "red"), file_format))
        assert (found.width, found.height) == size


@pytest.mark.parametrize(
    ("data", "action", "rule"),
    [
        (b"", Action.FAIL, "empty_image"),
        (b"\0", Action.FAIL, "not_an_image"),
        (b"hello", Action.FAIL, "not_an_image"),
        (b"<!doctype html><p>404 not found", Action.FAIL, "not_an_image"),
        (b"\x89PNG\r\n\x1a\n", Action.FAIL, None),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), Action.FAIL, None),
        (b"\xff\xd8\xff\xe0" + bytes(100), Action.FAIL, None),
        (b"GIF89a" + bytes(7), Action.FAIL, None),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(30), Action.FAIL, None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Action.DROP, "image_format"),
        (b"\xef\xbb\xbf\n<?xml version='1.0'?><!-- x --><svg></svg>", Action.DROP, "image_format"),
        (b"<!-- drawn --><SVG></SVG>", Action.DROP, "image_format"),
        (b"<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'x'><svg/>", Action.DROP, "image_format"),
        (raw_png(0, 4, 8, 2, b""), Action.FAIL, None),
        (raw_png(4, 0, 8, 2, b""), Action.FAIL, None),
        (raw_png(4, 4, 8, 2, b""), Action.FAIL, "undecodable_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", Action.FAIL, "not_an_image"),
    ],
)
def test_what_is_no_picture(data: bytes, action: Action, rule: str | None) -> None:
    found = problem(data)
    assert found.action is action
    assert rule is None or found.rule == rule
    assert found.rule in {"empty_image", "not_an_image", "undecodable_image", "image_format"}


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_truncated_files_fail(encode: Make, file_format: str) -> None:
    data = encode(picture(300, 200), file_format)
    for share in (0.3, 0.6, 0.9):
        found = problem(data[: int(len(data) * share)])
        assert (found.action, found.rule in {"undecodable_image", "not_an_image"}) == (Action.FAIL, True)


@pytest.mark.parametrize(
    ("width", "height"), [(9000, 9000), (20_000, 5000), (30_000, 30_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)]
)
def test_bombs_are_dropped_unread(width: int, height: int) -> None:
    """Between our limit and Pillow's warning, beyond the warning, beyond its error: one rule, no decode."""
    start = time.perf_counter()
    found = problem(raw_png(width, height, 8, 2, b""))
    assert (found.action, found.rule, found.threshold) == (Action.DROP, "image_pixels", LIMITS.max_pixels)
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize(("side", "is_taken"), [(99, True), (100, True), (101, False)])
def test_pixel_limit_is_the_last_size_taken(encode: Make, side: int, is_taken: bool) -> None:
    data = encode(picture(side, 100), "PNG")
    found = check_image(data, ImageLimits(max_pixels=10_000))
    assert isinstance(found, ImageFacts) == is_taken
    if isinstance(found, ImageProblem):
        assert (found.rule, found.value, found.threshold) == ("image_pixels", side * 100, 10_000)


@pytest.mark.parametrize(("spare", "is_taken"), [(1, True), (0, True), (-1, False)])
def test_byte_limit_is_the_last_length_taken(encode: Make, spare: int, is_taken: bool) -> None:
    data = encode(picture(), "PNG")
    found = check_image(data, ImageLimits(max_bytes=len(data) + spare))
    assert isinstance(found, ImageFacts) == is_taken
    if isinstance(found, ImageProblem):
        assert (found.rule, found.value, found.threshold) == ("image_bytes", len(data), len(data) - 1)


def test_icon_that_hides_a_large_picture(encode: Make) -> None:
    """An ICO says 16 x 16 and holds a PNG of another size: the pixel limit and the facts go by the PNG."""
    inner = encode(PillowImage.new("RGB", (700, 500)), "PNG")
    data = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    found = facts(data)
    assert (found.width, found.height) == (700, 500)
    assert problem(data, ImageLimits(max_pixels=100_000)).rule == "image_pixels"


def test_damaged_files_never_raise(encode: Make) -> None:
    rng = np.random.default_rng(0)
    for file_format in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "ICO", "AVIF"):
        data = encode(picture(), file_format)
        for _ in range(40):
            damaged = bytearray(data)
            for position in rng.integers(0, min(len(data), 200), 3):
                damaged[position] = rng.integers(256)
            found = check_image(bytes(damaged), LIMITS)
            if isinstance(found, ImageFacts):
                assert open_rgb(bytes(damaged)).mode == "RGB"


def test_open_rgb_reduces_jpegs_no_further_than_asked(encode: Make) -> None:
    data = encode(picture(1600, 1200), "JPEG")
    reduced = open_rgb(data, 300)
    assert min(reduced.size) >= 300
    assert reduced.width < 1600
    assert open_rgb(data).size == (1600, 1200)


EDGE_CASES = Path(__file__).parents[2] / "shared" / "corpus" / "images-edge"


@pytest.mark.corpus
@pytest.mark.skipif(not EDGE_CASES.is_dir(), reason="the real corpus is not beside the checkout")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # fuzz files with pixels that are no numbers
def test_pictures_that_trouble_decoders() -> None:
    """Files of several decoders' own tests: each is facts or a reason, and what has facts can be opened."""
    paths = sorted(path for path in EDGE_CASES.rglob("*") if path.is_file())
    taken = 0
    for path in paths:
        data = path.read_bytes()
        found = check_image(data, LIMITS)
        if isinstance(found, ImageFacts):
            assert open_rgb(data, 512).mode == "RGB", path.name
            taken += 1
    assert 0.5 < taken / len(paths) < 1.0
