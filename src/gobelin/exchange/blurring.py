"""Blurs faces in exported images if the recipe blurs faces before it tokenizes an image.

    faces in score/images --> none found       the archived bytes
                              some             decoded, blurred (``vision/faces.py``), encoded again
                              not searched     the image is left out; it gets no tokens either

An image keeps its id and its hashes, which identify the archived file and link its scores and decisions. Its row has
``faces_blurred`` and the format of the new file. Each image with faces is decoded and encoded once.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import pyarrow as pa

from gobelin.data.rows import Row
from gobelin.data.schemas import IMAGES
from gobelin.transforms.images.open_image import UnusableImageError, open_rgb
from gobelin.transforms.vision.faces import Boxes, blur_faces

FACES_BLURRED = "faces_blurred"
"""Name of a picture's fact, and of the column: whether its bytes are others than those archived."""

WITHHELD = "withheld"
"""Name of a picture's fact: the rule for which its bytes may not leave."""

FACES_UNKNOWN = "faces_unknown"
"""Rule of an image that was not searched for faces."""

BLURRED_IMAGES = IMAGES.append(
    pa.field(FACES_BLURRED, pa.bool_(), nullable=False, metadata={"unit": "true: data are not the bytes of image_id"})
)
"""Rows of images that left a run whose recipe has faces blurred."""

JPEG_QUALITY = 95
"""Quality of the JPEG of a blurred picture whose file was lossy already; colours keep their full resolution. Pillow
advises against more than 95."""

_LOSSY = frozenset({"jpeg", "webp", "avif", "jpeg2000"})


def hide_faces(row: Row, faces: Mapping[str, Boxes]) -> Row:
    """A row of ``IMAGES``, with or without its ``data``, for an export: with ``faces_blurred`` or ``withheld``.

    Args:
        faces: boxes by image_id, of all images that were searched for faces.
    """
    boxes = faces.get(row["image_id"])
    if boxes is None:
        return {**row, "data": b"", WITHHELD: FACES_UNKNOWN}
    if not boxes:
        return {**row, FACES_BLURRED: False}
    is_lossy = row["format"] in _LOSSY
    changed = {**row, FACES_BLURRED: True, "format": "jpeg" if is_lossy else "png"}
    if "data" not in row:
        return changed
    try:
        return {**changed, "data": _blurred(row["data"], boxes, is_lossy)}
    except UnusableImageError:
        return {**row, "data": b"", WITHHELD: "undecodable_image"}


def _blurred(data: bytes, boxes: Boxes, is_lossy: bool) -> bytes:
    picture = blur_faces(open_rgb(data), boxes)
    stream = io.BytesIO()
    if is_lossy:
        picture.save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        picture.save(stream, "PNG")
    return stream.getvalue()
