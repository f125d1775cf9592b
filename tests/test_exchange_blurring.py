"""What becomes of one image whose faces are blurred on its way out."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from gobelin.exchange.blurring import FACES_BLURRED, FACES_UNKNOWN, WITHHELD, hide_faces

Row = dict[str, Any]
SIZE = (200, 120)
BOX = (0.4, 0.3, 0.6, 0.7)


def picture() -> PillowImage.Image:
    """Grey, with black and white stripes in the box."""
    pixels = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
    pixels[36:84, 80:120] = np.repeat([255, 255, 0, 0] * 12, 40 * 3).reshape(48, 40, 3)
    return PillowImage.fromarray(pixels)


def row_of(data: bytes, image_format: str) -> Row:
    return {"image_id": "a", "data": data, "format": image_format, "width": SIZE[0], "height": SIZE[1], "md5": "m"}


def contrast(data: bytes) -> float:
    """The largest step from row to row in the middle of the box."""
    pixels = np.asarray(PillowImage.open(io.BytesIO(data)).convert("L"), int)
    return float(abs(np.diff(pixels[45:75, 95:105], axis=0)).max())


@pytest.mark.parametrize(
    ("image_format", "becomes"),
    [("png", "png"), ("gif", "png"), ("bmp", "png"), ("tiff", "png"), ("jpeg", "jpeg"), ("webp", "jpeg"),
     ("avif", "jpeg")],
)  # fmt: skip
def test_faces_are_gone_and_the_rest_is_there(image_format: str, becomes: str, encode: Callable[..., bytes]) -> None:
    before = row_of(encode(picture(), image_format.upper()), image_format)
    after = hide_faces(before, {"a": (BOX,)})
    opened = PillowImage.open(io.BytesIO(after["data"]))
    assert opened.format == after["format"].upper() == becomes.upper()
    assert opened.size == SIZE
    assert contrast(before["data"]) > 200
    assert contrast(after["data"]) < 80
    corner = np.asarray(opened.convert("RGB"), int)[:20, :40]
    assert abs(corner - 128).max() <= (0 if becomes == "png" else 2)
    assert after[FACES_BLURRED] is True
    assert {name: after[name] for name in ("image_id", "md5")} == {"image_id": "a", "md5": "m"}
    assert hide_faces(before, {"a": (BOX,)}) == after


@pytest.mark.parametrize(
    ("data", "boxes", "expected"),
    [
        (b"any bytes", (), {"data": b"any bytes", FACES_BLURRED: False, "format": "webp"}),
        (b"any bytes", None, {"data": b"", WITHHELD: FACES_UNKNOWN, "format": "webp"}),
        (b"any bytes", (BOX,), {"data": b"", WITHHELD: "undecodable_image", "format": "webp"}),
    ],
)
def test_bytes_stay_or_do_not_leave(data: bytes, boxes: Any, expected: Row) -> None:
    row = row_of(data, "webp")
    assert hide_faces(row, {} if boxes is None else {"a": boxes}) == {**row, **expected}


def test_without_bytes_the_format_is_that_of_the_new_file() -> None:
    row = {"image_id": "a", "format": "webp"}
    assert hide_faces(row, {"a": (BOX,)}) == {"image_id": "a", "format": "jpeg", FACES_BLURRED: True}


def test_a_turned_picture_stands_upright(encode: Callable[..., bytes]) -> None:
    """Boxes are relative to the picture as displayed, and so is the new file."""
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned = picture().transpose(PillowImage.Transpose.ROTATE_90)
    row = row_of(encode(turned, "JPEG", exif=exif, quality=95), "jpeg")
    after = hide_faces(row, {"a": (BOX,)})
    opened = PillowImage.open(io.BytesIO(after["data"]))
    assert opened.size == SIZE
    assert opened.getexif().get(0x0112) is None
    assert contrast(after["data"]) < 80
