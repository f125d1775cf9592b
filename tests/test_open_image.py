"""From bytes to pixels: every mode and format to the same 8-bit sRGB, as a browser shows it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageCms, ImageOps

from gobelin.transforms.images.image_formats import DECODED, REFUSED, identify
from gobelin.transforms.images.open_image import (
    ImageLimits,
    UnusableImageError,
    count_frames,
    open_image,
    open_rgb,
    read_orientation,
)

Make = Callable[..., Any]


def picture(width: int = 60, height: int = 40) -> PillowImage.Image:
    """Smooth, colourful, and different in each corner."""
    small = np.random.default_rng(3).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return PillowImage.fromarray(small).resize((width, height), PillowImage.Resampling.BICUBIC)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width: int, height: int, bits: int, color: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG put together by hand: also ones that no encoder would write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + extra + body


def exif_block(orientation: int) -> bytes:
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def values(image: PillowImage.Image) -> np.ndarray:
    return np.asarray(image, np.int16)


def furthest(left: PillowImage.Image, right: PillowImage.Image) -> int:
    """Greatest difference of a channel of a pixel."""
    assert left.size == right.size
    return int(np.abs(values(left) - values(right)).max())


@pytest.mark.parametrize(
    ("mode", "file_format", "tolerance"),
    [
        ("RGB", "PNG", 0), ("RGB", "BMP", 0), ("RGB", "TIFF", 0), ("RGB", "PPM", 0), ("RGB", "TGA", 0),
        ("RGB", "JPEG2000", 0), ("RGB", "JPEG", 40), ("RGB", "WEBP", 40), ("RGB", "AVIF", 40),
        ("RGBA", "PNG", 0), ("RGBA", "TIFF", 0), ("RGBA", "TGA", 0), ("RGBA", "ICO", 0), ("RGBA", "QOI", 0),
    ],
)  # fmt: skip
def test_every_format_gives_the_same_pixels(encode: Make, mode: str, file_format: str, tolerance: int) -> None:
    data = encode(picture().convert(mode), file_format, **({"sizes": [(60, 40)]} if file_format == "ICO" else {}))
    assert furthest(open_rgb(data), picture()) <= tolerance


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "TGA", "JPEG"])
def test_grey_stays_grey(encode: Make, file_format: str) -> None:
    data = encode(picture().convert("L"), file_format)
    assert furthest(open_rgb(data), picture().convert("L").convert("RGB")) <= (8 if file_format == "JPEG" else 0)


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_four_inks(encode: Make, file_format: str) -> None:
    """Also as Photoshop writes them into a JPEG, inverted: paper must not come out black."""
    paper = PillowImage.new("CMYK", (32, 32), (0, 0, 0, 0))
    paper.paste((0, 255, 255, 0), (0, 0, 16, 32))
    shown = values(open_rgb(encode(paper, file_format)))
    assert np.abs(shown[:, 20:] - [255, 255, 255]).max() <= 2
    assert np.abs(shown[:, :12] - [255, 0, 0]).max() <= 8


@pytest.mark.parametrize(
    ("file_format", "dtype"), [("TIFF", np.uint16), ("TIFF", np.int32), ("TIFF", np.float32), ("PPM", np.float32)]
)
def test_measurements_are_stretched_not_clipped(encode: Make, file_format: str, dtype: Any) -> None:
    ramp = (np.arange(40 * 60).reshape(40, 60) * 20 + 500).astype(dtype)
    shown = values(open_rgb(encode(PillowImage.fromarray(ramp), file_format)))[:, :, 0].ravel()
    assert (shown[0], shown[-1]) == (0, 255)
    assert (np.diff(shown) >= 0).all()
    assert len(np.unique(shown)) == 256


def test_floats_that_are_no_numbers(encode: Make) -> None:
    ramp = np.linspace(0, 1, 2400, dtype=np.float32).reshape(40, 60)
    ramp[0, :3] = np.nan, np.inf, -np.inf
    shown = values(open_rgb(encode(PillowImage.fromarray(ramp), "TIFF")))[:, :, 0]
    assert list(shown[0, :3]) == [0, 255, 0]
    assert shown[-1, -1] == 255
    assert abs(int(shown[20, 0]) - 127) <= 2


def test_sixteen_bits_of_png_mean_black_to_white(encode: Make) -> None:
    """A dark grey picture stays dark, as in a browser."""
    dark = np.full((8, 8), 257 * 40, np.uint16)
    assert (values(open_rgb(encode(PillowImage.fromarray(dark), "PNG"))) == 40).all()


@pytest.mark.parametrize(
    ("data", "pixel"),
    [
        (raw_png(4, 4, 16, 0, (b"\0" + b"\x80\x80" * 4) * 4), (128, 128, 128)),
        (raw_png(4, 4, 16, 0, (b"\0" + b"\1\2" * 4) * 4, chunk(b"tRNS", b"\1\2")), (255, 255, 255)),
        (raw_png(4, 4, 16, 2, (b"\0" + b"\x80\x80\x40\x40\x20\x20" * 4) * 4), (128, 64, 32)),
        (raw_png(4, 4, 16, 4, (b"\0" + b"\x80\x80\xff\xff" * 4) * 4), (128, 128, 128)),
        (raw_png(4, 4, 16, 6, (b"\0" + b"\x80\x80\x40\x40\x20\x20\0\0" * 4) * 4), (255, 255, 255)),
        (raw_png(4, 4, 2, 0, (b"\0" + b"\x55") * 4), (85, 85, 85)),
    ],
    ids=["grey", "grey with transparency", "rgb", "grey alpha", "rgba", "two bits"],
)
def test_png_depths(data: bytes, pixel: tuple[int, int, int]) -> None:
    assert open_rgb(data).getpixel((1, 1)) == pixel


@pytest.mark.parametrize(
    ("mode", "file_format", "options"),
    [
        ("P", "PNG", {}),
        ("P", "PNG", {"transparency": 0}),
        ("RGB", "PNG", {"transparency": (1, 2, 3)}),
        ("1", "PNG", {}),
        ("1", "PNG", {"transparency": 1}),
        ("LA", "PNG", {}),
        ("LA", "TIFF", {}),
        ("PA", "TIFF", {}),
        ("P", "GIF", {}),
        ("P", "GIF", {"transparency": 0}),
        ("P", "TIFF", {}),
        ("LAB", "TIFF", {}),
    ],
)
@pytest.mark.parametrize("max_side", [None, 10])
def test_every_mode_is_read(
    encode: Make, mode: str, file_format: str, options: dict[str, Any], max_side: int | None
) -> None:
    if mode == "LAB":
        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        source = ImageCms.applyTransform(picture(), to_lab)
        assert source is not None
    else:
        source = picture().convert("P" if mode == "PA" else mode).convert(mode)
    image = open_rgb(encode(source, file_format, **options), max_side)
    assert (image.mode, image.size) == ("RGB", (60, 40) if max_side is None else (15, 10))
    if mode == "LAB" and max_side is None:
        assert np.abs(values(image) - values(picture())).mean() < 3


def test_transparency_is_white(encode: Make) -> None:
    """What lies under full transparency is noise, and no model must see it; not at its edges either."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 4), dtype=np.uint8)
    noise[:, :, 3] = 0
    noise[10:30, 20:40] = (200, 0, 0, 255)
    noise[0, 0] = (0, 0, 0, 128)
    clean = np.full((40, 60, 3), 255, np.uint8)
    clean[10:30, 20:40] = (200, 0, 0)
    clean[0, 0] = 127
    data = encode(PillowImage.fromarray(noise), "PNG")
    assert np.array_equal(np.asarray(open_rgb(data)), clean)
    reduced = values(open_rgb(data, 10))
    assert reduced.shape == (10, 15, 3)
    assert (reduced[0, 1:] == 255).all()  # averaging must not let the hidden noise in
    assert (reduced[4, 6] == (200, 0, 0)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_shown_as_a_browser_turns_it(encode: Make, file_format: str, orientation: int) -> None:
    options: dict[str, Any] = {"exif": exif_block(orientation)}
    if file_format == "TIFF":
        options = {"tiffinfo": {0x0112: orientation}}
    elif file_format != "PNG":
        options["quality"] = 95
    opened = open_image(encode(picture(64, 32), file_format, **options))
    with PillowImage.open(io.BytesIO(encode(picture(64, 32), "JPEG", exif=exif_block(orientation)))) as image:
        expected = ImageOps.exif_transpose(image)
    assert (opened.width, opened.height) == opened.pixels.size == expected.size
    assert np.abs(values(opened.pixels) - values(expected)).mean() < 8  # of a wrong turn: over 40


@pytest.mark.parametrize(
    ("block", "orientation"),
    [
        (None, 1),
        (b"", 1),
        (b"Exif\0\0", 1),
        (b"MM\0\x2a\0\0\0\x08", 1),
        (b"MM\0\x2a\xff\xff\xff\xff\0\1", 1),
        (b"MM\0\x2a\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0", 6),
        (b"Exif\0\0II\x2a\0\x08\0\0\0\1\0\x12\x01\3\0\1\0\0\0\x08\0\0\0", 8),
        (b"MM\0\x2a\0\0\0\x08\xff\xff\x01\x12\0\3\0\0\0\1\0\6\0\0", 6),  # says 65,535 entries
        (b"MM\0\x2a\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\x09\0\0", 1),
        (b"MM\0\x2a\0\0\0\x08\0\1\x01\x12\0\2\0\0\0\1\0\6\0\0", 1),  # of a type that is none
        (b"MM\0\x2a\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0", 1),
        ("text", 1),
    ],
)
def test_orientation_of_any_bytes(block: Any, orientation: int) -> None:
    assert read_orientation(block) == orientation


def swapped_profile() -> bytes:
    """sRGB with the first two colorants exchanged: whoever heeds it shows red as green."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    names = {bytes(data[place : place + 4]): place for place in range(132, 132 + 12 * data[131], 12)}
    red, green = names[b"rXYZ"], names[b"gXYZ"]
    data[red : red + 4], data[green : green + 4] = data[green : green + 4], data[red : red + 4]
    return bytes(data).replace(b"s\0R\0G\0B", b"a\0a\0a\0a").replace(b"sRGB", b"aaaa")


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_profiles_are_heeded(encode: Make, file_format: str) -> None:
    red = PillowImage.new("RGB", (40, 40), (230, 20, 20))
    options = {"quality": 100} if file_format in ("JPEG", "WEBP") else {}
    plain, profiled = (
        encode(red, file_format, **options),
        encode(red, file_format, icc_profile=swapped_profile(), **options),
    )
    assert open_rgb(plain).getpixel((5, 5))[0] > 200
    shown = open_rgb(profiled).getpixel((5, 5))
    assert shown[1] > 200 > shown[0]


def test_profile_under_transparency(encode: Make) -> None:
    image = PillowImage.new("RGBA", (40, 40), (230, 20, 20, 255))
    image.paste((0, 0, 0, 0), (20, 0, 40, 40))
    shown = open_rgb(encode(image, "PNG", icc_profile=swapped_profile()))
    assert shown.getpixel((30, 5)) == (255, 255, 255)
    assert shown.getpixel((5, 5))[1] > 200


@pytest.mark.parametrize("profile", [b"x", b"\0" * 200, swapped_profile()[:300]])
def test_damaged_profiles_are_ignored(encode: Make, profile: bytes) -> None:
    assert furthest(open_rgb(encode(picture(), "PNG", icc_profile=profile)), picture()) == 0


def test_profile_of_another_colour_space_is_ignored(encode: Make) -> None:
    grey = picture().convert("L")
    assert furthest(open_rgb(encode(grey, "PNG", icc_profile=swapped_profile())), grey.convert("RGB")) == 0


def test_first_frame_first_page_largest_icon(encode: Make) -> None:
    frames = [picture(), picture().rotate(180)]
    for file_format, tolerance in (("GIF", 80), ("WEBP", 60), ("PNG", 0), ("AVIF", 60), ("TIFF", 0), ("MPO", 60)):
        data = encode(frames[0], file_format, save_all=True, append_images=frames[1:])
        assert furthest(open_rgb(data), picture()) <= tolerance, file_format
    icon = encode(picture(64, 64), "ICO", sizes=[(16, 16), (64, 64), (32, 32)])
    assert open_rgb(icon).size == (64, 64)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_frames_are_counted_no_further_than_needed(encode: Make, file_format: str) -> None:
    frames = [picture().rotate(20 * turn) for turn in range(5)]
    data = encode(frames[0], file_format, save_all=True, append_images=frames[1:])
    with PillowImage.open(io.BytesIO(data)) as image:
        assert count_frames(image, data, 100) == 5
        assert count_frames(image, data, 3) == 3
    open_image(data, limits=ImageLimits(max_frames=5))
    with pytest.raises(UnusableImageError) as caught:
        open_image(data, limits=ImageLimits(max_frames=4))
    assert (caught.value.rule, caught.value.value, caught.value.threshold) == ("image_frames", 5, 4)


def test_a_still_gif_with_a_colour_table_and_comment_has_one_frame(encode: Make) -> None:
    data = encode(picture().quantize(16), "GIF", comment=b"x" * 700)
    with PillowImage.open(io.BytesIO(data)) as image:
        assert count_frames(image, data, 100) == 1
    for end in range(13, len(data)):  # never hangs, never raises
        with PillowImage.open(io.BytesIO(data)) as image:
            assert count_frames(image, data[:end], 100) <= 1


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_reduced_no_further_than_asked(encode: Make, file_format: str) -> None:
    data = encode(picture(1600, 1200), file_format)
    for side in (100, 300, 512, 1199, 1200, 4000):
        reduced = open_image(data, side)
        assert min(reduced.pixels.size) >= min(side, 1200)
        assert side > 600 or reduced.pixels.width < 1600
        assert (reduced.width, reduced.height) == (1600, 1200)
    assert open_rgb(data).size == (1600, 1200)


def test_a_reduced_picture_is_the_same_picture(encode: Make) -> None:
    for file_format in ("JPEG", "PNG"):
        small = open_rgb(encode(picture(1600, 1200), file_format), 150).resize((60, 40))
        assert np.abs(values(small) - values(picture(1600, 1200).resize((60, 40)))).mean() < 3


def test_equal_bytes_give_equal_pixels(encode: Make) -> None:
    for file_format in ("JPEG", "WEBP", "AVIF", "PNG"):
        data = encode(picture(700, 500), file_format)
        assert len({open_rgb(data, 200).tobytes() for _ in range(3)}) == 1


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WEBP"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf", "AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heif"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", None),
        (b"\xff\xff\xff\xffftypavif" + bytes(100), "AVIF"),
        (b"\xff\x0a" + bytes(20), "jxl"),
        (b"8BPS\0\1", "psd"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "eps"),
        (b"%PDF-1.7", "pdf"),
        (b"DDS |\0\0\0", "dds"),
        (b"\x01\xda\0\1", "sgi"),
        (b"\0\0\1\0\1\0" + bytes(40), "ICO"),
        (b"\0\0\2\0\1\0" + bytes(40), "CUR"),
        (b"\0\0\2\0\0\0\0\0\0\0\0\0\4\0\4\0\x18\0", "TGA"),
        (b"\1\0\0\0" + bytes(36) + b" EMF", "emf"),
        (b"P6\n1 1\n255\nabc", "PPM"),
        (b"P6", None),
        (b"Posh", None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg"),
        (b"\xef\xbb\xbf\n<?xml version='1.0'?><!-- x --><svg></svg>", "svg"),
        (b"<?xml version='1.0'?>" + b" " * 3000 + b"<svg></svg>", "svg"),
        ("<svg xmlns=''/>".encode("utf-16"), "svg"),
        (b"<!-- drawn --><SVG></SVG>", "svg"),
        (b"<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'x'><svg/>", "svg"),
        (b"<?xml version='1.0'?><html><body><svg></svg>", None),
        (b"<!doctype html><p>404 not found <svg>", None),
        (b"#define a_width 3\n", "xbm"),
        (b"#define A 3\n", None),
        (b"{}", None),
        (bytes(64), None),
        (b"", None),
    ],
)
def test_formats_are_told_by_content(head: bytes, name: str | None) -> None:
    assert identify(head) == name
    assert name is None or name in DECODED or name in REFUSED


def test_one_decoder_is_asked(encode: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the name says, and never a second one after the first gave up."""
    asked: list[Any] = []
    original = PillowImage.open

    def watched(stream: Any, **options: Any) -> Any:
        asked.append(options["formats"])
        return original(stream, **options)

    monkeypatch.setattr(PillowImage, "open", watched)
    open_rgb(encode(picture(), "WEBP"))
    with pytest.raises(UnusableImageError):
        open_rgb(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(UnusableImageError):
        open_rgb(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    assert asked == [("WEBP",), ("PNG",)]


def test_reasons_name_no_address_in_memory() -> None:
    """The same file must give the same decision on every machine."""
    for data in (b"II\x2a\0" + bytes(20), b"\xff\x4f\xff\x51" + bytes(20), b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(UnusableImageError) as caught:
            open_rgb(data)
        assert "0x" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"max_bytes": 0},
        {"max_pixels": -1},
        {"max_frames": 0},
        {"max_seconds": 0},
        {"max_memory": 1024},
        {"max_pixels": 10**8},
    ],
)
def test_senseless_limits_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        ImageLimits(**changes)
