"""Untrusted picture files: what is taken, with which facts, and what is not, with which reason."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image as PillowImage

from gobelin.data.model import Action
from gobelin.transforms.images import measure_image
from gobelin.transforms.images.check_image import ImageFacts, ImageLimits, ImageProblem, check_image
from gobelin.transforms.images.open_image import open_rgb

LIMITS = ImageLimits()
Make = Callable[..., Any]


def picture(width: int = 60, height: int = 40, seed: int = 3) -> PillowImage.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return PillowImage.fromarray(small).resize((width, height), PillowImage.Resampling.BICUBIC)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width: int, height: int, bits: int, color: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG put together by hand: also ones that no encoder would write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + extra + body


def hamming(left: str, right: str) -> int:
    return (int(left, 16) ^ int(right, 16)).bit_count()


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
        ("RGB", "JPEG2000", {}),
        ("RGB", "PPM", {}),
        ("RGB", "TGA", {}),
        ("RGBA", "QOI", {}),
    ],
)
def test_facts_do_not_depend_on_the_form(encode: Make, mode: str, file_format: str, options: dict[str, Any]) -> None:
    """Same picture, any form: same facts and, but for rounding, the same perceptual hashes."""
    found = facts(encode(picture().convert(mode), file_format, **options))
    assert (found.format, found.width, found.height) == (file_format.lower(), 60, 40)
    tolerance = 16 if mode == "1" else 8
    assert hamming(found.phash, str(imagehash.phash(picture()))) <= tolerance
    assert hamming(found.dhash, str(imagehash.dhash(picture()))) <= tolerance
    assert found.pdq is None


def test_hashes_are_those_of_imagehash() -> None:
    """Bit by bit, on what was not reduced: hashes of other tools can be compared with ours."""
    flat = [PillowImage.new("L", (50, 40), shade) for shade in (0, 7, 255)]
    noisy = PillowImage.fromarray(np.random.default_rng(1).integers(0, 256, (99, 77), dtype=np.uint8))
    for grey in [*(picture(300, 200, seed).convert("L") for seed in range(10)), *flat, noisy]:
        assert measure_image.dhash(grey) == str(imagehash.dhash(grey))
        assert measure_image.phash(grey) == str(imagehash.phash(grey))


def test_hashes_of_a_reduced_decode_are_close_to_those_of_a_full_one(encode: Make) -> None:
    for file_format in ("JPEG", "PNG"):
        data = encode(picture(1600, 1200), file_format)
        with PillowImage.open(io.BytesIO(data)) as image:
            full = str(imagehash.phash(image)), str(imagehash.dhash(image))
        found = facts(data)
        assert (found.width, found.height) == (1600, 1200)
        assert hamming(found.phash, full[0]) <= 4
        assert hamming(found.dhash, full[1]) <= 4


def test_a_turned_photograph_is_what_is_seen(encode: Make) -> None:
    """Width, height and hashes are those of the picture as displayed, so its turned copy is a near-duplicate."""
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    upright = picture(400, 600)
    lying = encode(upright.transpose(PillowImage.Transpose.ROTATE_90), "JPEG", quality=95, exif=exif.tobytes())
    found, expected = facts(lying), facts(encode(upright, "PNG"))
    assert (found.width, found.height) == (400, 600)
    assert hamming(found.phash, expected.phash) <= 4


def test_transparency_does_not_show_in_a_hash(encode: Make) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 4), dtype=np.uint8)
    noise[:, :, 3] = 0
    noise[10:30, 20:40] = (200, 0, 0, 255)
    clean = np.full((40, 60, 3), 255, np.uint8)
    clean[10:30, 20:40] = (200, 0, 0)
    dirty, plain = encode(PillowImage.fromarray(noise), "PNG"), encode(PillowImage.fromarray(clean), "PNG")
    assert facts(dirty).phash == facts(plain).phash
    assert facts(dirty).dhash == facts(plain).dhash


def test_pdq(encode: Make) -> None:
    """Asked for, of pictures with features; near for an encoding of another kind, far for another picture."""
    pytest.importorskip("pdqhash")
    limits = ImageLimits(pdq=True)

    def pdq_of(image: PillowImage.Image, file_format: str, **options: Any) -> str | None:
        found = check_image(encode(image, file_format, **options), limits)
        assert isinstance(found, ImageFacts)
        return found.pdq

    blots = np.random.default_rng(5).integers(0, 256, (2, 16, 20, 3), dtype=np.uint8)
    photo, another = (PillowImage.fromarray(each).resize((900, 700), PillowImage.Resampling.BICUBIC) for each in blots)
    original = pdq_of(photo, "PNG")
    assert original is not None
    assert len(bytes.fromhex(original)) == 32
    worse, smaller = pdq_of(photo, "JPEG", quality=30), pdq_of(photo.resize((450, 350)), "PNG")
    other = pdq_of(another, "PNG")
    assert worse is not None
    assert smaller is not None
    assert other is not None
    assert hamming(original, worse) <= 10
    assert hamming(original, smaller) <= 31
    assert hamming(original, other) >= 80
    assert pdq_of(PillowImage.new("RGB", (300, 300), "grey"), "PNG") is None


def test_pdq_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pdqhash"):
        ImageLimits(pdq=True)
    ImageLimits()


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
        assert problem(data, ImageLimits(max_frames=1)) == ImageProblem(Action.DROP, "image_frames", 2, 1)


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000), (3, 2)])
def test_tiny_and_thin_pictures(encode: Make, size: tuple[int, int]) -> None:
    for file_format in ("PNG", "JPEG"):
        found = facts(encode(PillowImage.new("RGB", size, "red"), file_format))
        assert (found.width, found.height) == size


@pytest.mark.parametrize("size", [(1, 3_000_000), (3_000_000, 1), (10, 2_000_000)])
def test_a_line_of_millions_of_pixels_is_cheap(encode: Make, size: tuple[int, int]) -> None:
    """Resized as it is, it takes gigabytes of filter weights (found by fuzzing)."""
    data = encode(PillowImage.new("L", size, 200), "PNG")
    start = time.process_time()
    assert (facts(data).width, facts(data).height) == size
    assert time.process_time() - start < 2


def test_colour_tells_what_the_grey_hashes_do_not(encode: Make) -> None:
    image = PillowImage.new("RGB", (80, 80), (200, 0, 0))
    image.paste((0, 0, 200), (60, 60, 80, 80))
    colour = bytes.fromhex(facts(encode(image, "PNG")).colour)
    assert (len(colour), colour[:3], colour[-3:]) == (48, bytes((200, 0, 0)), bytes((0, 0, 200)))


@pytest.mark.parametrize(
    ("data", "action", "rule"),
    [
        (b"", Action.FAIL, "empty_image"),
        (b"\0", Action.FAIL, "not_an_image"),
        (b"hello", Action.FAIL, "not_an_image"),
        (b"<!doctype html><p>404 not found", Action.FAIL, "not_an_image"),
        (b"\x89PNG\r\n\x1a\n", Action.FAIL, "undecodable_image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), Action.FAIL, "undecodable_image"),
        (b"\xff\xd8\xff\xe0" + bytes(100), Action.FAIL, "undecodable_image"),
        (b"GIF89a" + bytes(7), Action.FAIL, "undecodable_image"),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(30), Action.FAIL, "undecodable_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Action.DROP, "image_svg"),
        (raw_png(0, 4, 8, 2, b""), Action.FAIL, "undecodable_image"),
        (raw_png(4, 0, 8, 2, b""), Action.FAIL, "undecodable_image"),
        (raw_png(4, 4, 8, 2, b""), Action.FAIL, "undecodable_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", Action.DROP, "image_format"),
        (b"8BPS\0\1" + bytes(100), Action.DROP, "image_format"),
    ],
)
def test_what_is_no_picture(data: bytes, action: Action, rule: str) -> None:
    found = problem(data)
    assert (found.action, found.rule) == (action, rule)


def test_refused_formats_are_named() -> None:
    assert problem(b"<svg xmlns='http://www.w3.org/2000/svg'/>", ImageLimits(svg=False)).detail == "svg"
    assert problem(b"8BPS\0\1" + bytes(100)).detail == "psd"


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_truncated_files_fail(encode: Make, file_format: str) -> None:
    data = encode(picture(300, 200), file_format)
    for share in (0.3, 0.6, 0.9):
        found = problem(data[: int(len(data) * share)])
        assert (found.action, found.rule) == (Action.FAIL, "undecodable_image")


@pytest.mark.parametrize(
    ("width", "height"), [(9000, 9000), (20_000, 5000), (30_000, 30_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)]
)
def test_bombs_are_dropped_unread(width: int, height: int) -> None:
    """Between our limit and Pillow's warning, beyond the warning, beyond its error: one rule, no decode."""
    start = time.perf_counter()
    found = problem(raw_png(width, height, 8, 2, b""))
    assert (found.action, found.rule, found.threshold) == (Action.DROP, "image_pixels", LIMITS.max_pixels)
    assert found.value == float(width * height)
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
    for file_format in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "ICO", "AVIF", "JPEG2000", "TGA", "PPM", "QOI"):
        data = encode(picture(), file_format)
        for _ in range(40):
            damaged = bytearray(data)
            for position in rng.integers(0, min(len(data), 200), 3):
                damaged[position] = rng.integers(256)
            found = check_image(bytes(damaged), LIMITS)
            if isinstance(found, ImageFacts):
                assert open_rgb(bytes(damaged)).mode == "RGB"


def test_running_out_of_memory_is_a_decision(encode: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(PillowImage, "open", fail)
    assert problem(encode(picture(), "PNG")).rule == "image_memory"


def test_decoding_needs_neither_beam_nor_arrow() -> None:
    """The decoding process starts with what it needs, and a crash of it takes nothing else down."""
    code = (
        "import sys, gobelin.transforms.images.image_sandbox;"
        "print([name for name in ('apache_beam', 'pyarrow', 'torch') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"


EDGE_CASES = Path(__file__).parents[2] / "shared" / "corpus" / "images-edge"


@pytest.mark.corpus
@pytest.mark.skipif(not EDGE_CASES.is_dir(), reason="the real corpus is not beside the checkout")
def test_pictures_that_trouble_decoders() -> None:
    """Files of several decoders' own tests: each is facts or a reason, and what has facts can be opened. All that
    Pillow decodes is taken, or refused by a rule that says so."""
    paths = sorted(path for path in EDGE_CASES.rglob("*") if path.is_file())
    taken = []
    for path in paths:
        data = path.read_bytes()
        found = check_image(data, LIMITS)
        if isinstance(found, ImageFacts):
            assert open_rgb(found.rendered or data, 512).mode == "RGB", path.name
            taken.append(path)
        elif found.rule in ("undecodable_image", "not_an_image"):
            with pytest.raises(Exception), PillowImage.open(io.BytesIO(data)) as image:  # noqa: B017, PT011
                image.load()
    assert len(taken) >= 291
