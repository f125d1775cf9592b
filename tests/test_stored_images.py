"""Reduced copies beside the images of a run: what they are, who reads them, and that nothing else does."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pytest

from gobelin.data.schemas import IMAGE_COPIES
from gobelin.store import shards
from gobelin.tokenize.preprocess import preprocess
from gobelin.transforms.images import stored_images
from gobelin.transforms.images.check_image import ImageFacts, ImageLimits, check_image
from gobelin.transforms.images.image_sandbox import ImageChecker
from gobelin.transforms.images.open_image import open_rgb
from gobelin.transforms.images.stored_images import StoredImages

Make = Callable[..., Any]

_IMAGES = pa.schema(
    [
        ("image_id", pa.string()),
        ("data", pa.large_binary()),
        ("urls", pa.list_(pa.string())),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)
SIZE = {"width": 30, "height": 20}


def a_picture(width: int, height: int, form: str = "PNG", **options: Any) -> bytes:
    """A file of a smooth picture with a sharp edge."""
    rows, columns = np.mgrid[:height, :width].astype(float)
    channels = [rows / height, columns / width, rows > columns]
    pixels = (255 * np.stack(channels, -1)).astype(np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


def facts_of(data: bytes, side: int = 64) -> ImageFacts:
    facts = check_image(data, ImageLimits(copy_side_px=side))
    assert isinstance(facts, ImageFacts)
    return facts


def test_a_copy_has_the_asked_for_shorter_side() -> None:
    for width, height, expected in ((300, 200, (96, 64)), (200, 301, (64, 96)), (640, 64, None), (40, 30, (40, 30))):
        copy = facts_of(a_picture(width, height)).copy
        if expected is None:
            assert copy is None  # a strip of 10 to 1
        else:
            assert copy is not None
            assert PIL.Image.open(io.BytesIO(copy)).size == expected


def test_a_copy_is_left_out_where_the_file_costs_no_more() -> None:
    assert facts_of(a_picture(80, 60, "JPEG")).copy is None
    assert facts_of(a_picture(80, 60)).copy is not None
    assert facts_of(a_picture(300, 200, "JPEG")).copy is not None
    assert facts_of(a_picture(300, 200), side=0).copy is None


def test_a_copy_shows_what_the_file_shows() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # on its side
    for data in (a_picture(300, 200), a_picture(400, 300, "JPEG", exif=exif, quality=95), a_picture(200, 333, "WEBP")):
        copy = facts_of(data).copy
        assert copy is not None
        for size in ((64, 64), (32, 32), (16, 24)):
            whole, reduced = (preprocess(open_rgb(each), size).astype(float) for each in (data, copy))
            error = float(np.square(whole - reduced).mean())
            assert 10 * np.log10(255**2 / error) > 34


def test_hashes_do_not_depend_on_whether_there_is_a_copy() -> None:
    for data in (a_picture(300, 200), a_picture(100, 80, "JPEG")):
        with_copy, without = facts_of(data), facts_of(data, side=0)
        for name in ("phash", "dhash", "colour", "thumbnail", "width", "height", "format"):
            assert getattr(with_copy, name) == getattr(without, name), name


def test_the_process_for_decoding_gives_the_same_copy() -> None:
    limits = ImageLimits(copy_side_px=64)
    checker = ImageChecker(limits)
    try:
        for data in (a_picture(300, 200), a_picture(80, 60, "JPEG"), b"no picture", a_picture(500, 400, "WEBP")):
            assert checker.check(data) == check_image(data, limits)
    finally:
        checker.close()


@pytest.fixture
def stored(tmp_path: Path, write_data_set: Make, monkeypatch: pytest.MonkeyPatch) -> StoredImages:
    """Thirty images in two shards and many row groups; every third has no copy."""
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 100)
    names = [f"{number:064x}" for number in range(30)]
    images = [{"image_id": name, "data": b"file " + name.encode(), "urls": [name], **SIZE} for name in names]
    copies = [{"image_id": name, "data": b"copy " + name.encode()} for place, name in enumerate(names) if place % 3]
    write_data_set(tmp_path / "images", images, _IMAGES, 2, "image_id")
    write_data_set(tmp_path / "copies", copies, IMAGE_COPIES, 2, "image_id")
    return StoredImages(str(tmp_path / "images"), str(tmp_path / "copies"), 2)


def test_a_copy_is_read_in_place_of_its_file(stored: StoredImages) -> None:
    rows = [row for index in range(2) for row in stored.read(index)]
    assert len(rows) == 30
    for row in rows:
        kind = b"copy" if int(row["image_id"], 16) % 3 else b"file"
        assert row["data"] == kind + b" " + row["image_id"].encode()
        assert row["urls"] == [row["image_id"]]
        assert (row["width"], row["height"]) == (30, 20)
    without = StoredImages(stored.images, None, 2)
    assert {row["data"][:4] for index in range(2) for row in without.read(index)} == {b"file"}
    for index in range(2):
        ids = [row["image_id"] for row in stored.read(index)]
        assert ids == sorted(ids)


def test_files_that_have_a_copy_are_not_read(stored: StoredImages, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {f"{number:064x}" for number in (1, 4, 5, 7)}

    def fail(*_: Any) -> None:
        raise AssertionError("a file was read")

    monkeypatch.setattr(stored_images, "read_row_group", fail)
    assert {row["image_id"] for index in range(2) for row in stored.read(index, wanted)} == wanted
    with pytest.raises(AssertionError, match="a file was read"):
        list(stored.read(0)) + list(stored.read(1))
