"""Pages of TIFF files: each comes out as it is, smaller versions are none, and hostile lists end."""

from __future__ import annotations

import io
import random
import struct
import time
from typing import Any

import pytest
from PIL import Image as PillowImage
from PIL import ImageSequence

from gobelin.transforms.images import tiff_pages
from gobelin.transforms.images.open_image import UnusableImageError, open_rgb
from gobelin.transforms.images.tiff_pages import count_pages, split_pages


def a_page(number: int, mode: str = "RGB") -> PillowImage.Image:
    noise = random.Random(number).randbytes(40 * 30 * 3)
    return PillowImage.frombytes("RGB", (40, 30), noise).resize((50 + number, 40)).convert(mode)


def a_tiff(*pages: PillowImage.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:], **options)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "1", "L", "I;16", "F", "CMYK", "LAB", "P", "RGBA"])
@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"big_tiff": True}], ids=["raw", "lzw", "big"])
def test_each_page_has_the_pixels_that_it_had(mode: str, options: dict[str, Any]) -> None:
    modes = [a_page(number, "L" if mode in ("I;16", "F") else mode) for number in range(3)]
    pages = [page.convert("I").convert(mode) if mode in ("I;16", "F") else page for page in modes]
    data = a_tiff(*pages, **options)
    assert count_pages(data) == (3, False)
    files = split_pages(data).files
    with PillowImage.open(io.BytesIO(data)) as whole:
        expected = [frame.copy() for frame in ImageSequence.Iterator(whole)]
    for file, frame in zip(files, expected, strict=True):
        assert file is not None
        with PillowImage.open(io.BytesIO(file)) as page:
            assert getattr(page, "n_frames", 1) == 1
            assert (page.mode, page.size, page.tobytes()) == (frame.mode, frame.size, frame.tobytes())
        open_rgb(file)


@pytest.mark.parametrize("compression", ["jpeg", "group4", "tiff_adobe_deflate", "packbits"])
def test_compressed_pages_stay_compressed(compression: str) -> None:
    mode = "1" if compression == "group4" else "RGB"
    data = a_tiff(*(a_page(number, mode) for number in range(4)), compression=compression)
    files = split_pages(data).files
    assert sum(len(file or b"") for file in files) <= len(data) + 100
    assert [open_rgb(file or b"").width for file in files] == [50, 51, 52, 53]


def test_equal_pages_are_equal_files_and_one_page_is_the_file_itself() -> None:
    first, second = split_pages(a_tiff(a_page(1), a_page(1))).files
    assert first == second
    single = a_tiff(a_page(1))
    assert split_pages(single).files == (single,)
    for image_format in ("PNG", "GIF", "WEBP"):
        stream = io.BytesIO()
        a_page(1).save(stream, image_format, save_all=True, append_images=[a_page(2).resize((51, 40))])
        assert count_pages(stream.getvalue()) == (1, False)  # an animation has no pages
        assert split_pages(stream.getvalue()).files == (stream.getvalue(),)


def with_tag(tiff: bytes, page: int, tag: int, value: int) -> bytes:
    """A little-endian TIFF whose page says something in place of its tag of 284 (planar configuration)."""
    data = bytearray(tiff)
    place = struct.unpack_from("<I", data, 4)[0]
    for _ in range(page):
        (count,) = struct.unpack_from("<H", data, place)
        place = struct.unpack_from("<I", data, place + 2 + 12 * count)[0]
    (count,) = struct.unpack_from("<H", data, place)
    for at in range(place + 2, place + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, at)[0] == 284:
            struct.pack_into("<HHIHH", data, at, tag, 3, 1, value, 0)
    return bytes(data)


@pytest.mark.parametrize(
    ("tag", "value", "num_pages"),
    [(254, 1, 2), (254, 4, 2), (255, 2, 2), (254, 2, 3), (255, 3, 3), (255, 1, 3), (254, 0, 3)],
)
def test_smaller_versions_and_masks_are_no_pages(tag: int, value: int, num_pages: int) -> None:
    data = with_tag(a_tiff(a_page(1), a_page(2), a_page(3)), 1, tag, value)
    assert count_pages(data) == (num_pages, False)
    assert len(split_pages(data).files) == num_pages


def link_of(tiff: bytes, page: int) -> int:
    """Where a page of a little-endian TIFF says where the next one is."""
    place = struct.unpack_from("<I", tiff, 4)[0]
    for turn in range(page + 1):
        (count,) = struct.unpack_from("<H", tiff, place)
        link = place + 2 + 12 * count
        if turn < page:
            place = struct.unpack_from("<I", tiff, link)[0]
    return link


def test_a_loop_ends_and_a_broken_chain_is_told() -> None:
    whole = a_tiff(a_page(1), a_page(2), a_page(3))
    loop, broken = bytearray(whole), bytearray(whole)
    struct.pack_into("<I", loop, link_of(whole, 1), struct.unpack_from("<I", whole, 4)[0])
    struct.pack_into("<I", broken, link_of(whole, 1), len(whole) + 5)
    assert count_pages(bytes(loop)) == (2, False)
    assert count_pages(bytes(broken)) == (2, True)
    assert split_pages(bytes(broken)).is_damaged


def test_a_page_that_cannot_be_cut_out_leaves_its_place() -> None:
    """Old-style JPEG keeps tables anywhere in the file."""
    whole = a_tiff(a_page(1), a_page(2), a_page(3))
    data = bytearray(whole)
    place = struct.unpack_from("<I", whole, link_of(whole, 0))[0]
    for at in range(place + 2, place + 2 + 12 * struct.unpack_from("<H", whole, place)[0], 12):
        if struct.unpack_from("<H", data, at)[0] == 259:
            struct.pack_into("<H", data, at + 8, 6)
    assert [file is None for file in split_pages(bytes(data)).files] == [False, True, False]


def test_pages_that_overlap_cost_no_more_than_a_few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of directories that name the same strip."""
    strip = bytes(1_000_000)
    tags = [(256, 4, 1, 1000), (257, 4, 1, 1000), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
            (277, 3, 1, 1), (279, 4, 1, len(strip))]  # fmt: skip
    size = 2 + 12 * len(tags) + 4
    start = 8 + len(strip)
    directories = b"".join(
        struct.pack("<H", len(tags))
        + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        + struct.pack("<I", start + (number + 1) * size if number < 2999 else 0)
        for number in range(3000)
    )
    data = struct.pack("<2sHI", b"II", 42, start) + strip + directories
    assert count_pages(data) == (3000, False)
    files = split_pages(data).files
    assert len(files) == 3000
    assert files[0] is not None
    assert sum(len(file or b"") for file in files) <= 2 * tiff_pages.MAX_GROWTH * len(data)
    monkeypatch.setattr(tiff_pages, "MAX_PAGES", 10)
    assert count_pages(data) == (10, True)


def test_damaged_files_raise_nothing_and_take_no_time() -> None:
    samples = [a_tiff(a_page(1), a_page(2)), a_tiff(a_page(1), a_page(2), big_tiff=True), a_tiff(a_page(3, "1"))]
    rng = random.Random(5)
    start = time.process_time()
    for _ in range(3000):
        data = bytearray(rng.choice(samples))
        for _ in range(rng.randint(1, 12)):
            data[rng.randrange(4, len(data))] = rng.choice((0, 1, 255, rng.randrange(256)))
        cut = bytes(data[: rng.choice((len(data), rng.randrange(8, len(data))))])
        assert len(split_pages(cut).files) == max(1, count_pages(cut)[0])
    assert time.process_time() - start < 20


@pytest.mark.parametrize("head", [b"II\x2a\0", b"MM\0\x2a", b"II\x2b\0", b"MM\0\x2b", b"II\0\x2a", b"MM\x2a\0"])
def test_a_header_alone_is_a_page(head: bytes) -> None:
    assert count_pages(head)[0] == 1
    assert split_pages(head + b"\xff" * 12).files == (head + b"\xff" * 12,)
    with pytest.raises(UnusableImageError):
        open_rgb(head)
