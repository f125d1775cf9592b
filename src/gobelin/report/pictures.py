"""Thumbnails as ``data:`` URIs. Each image is decoded and encoded again, so that only pixels get into the page.

Images are read from ``extract/images`` and the reduced copies beside it, ``extract/copies``. Only the requested images
are read, with one row group in memory at a time. A copy is used instead of the file if it has enough pixels. A WebP of
160 pixels has 2-4 kB.
"""

from __future__ import annotations

import base64
import dataclasses
import io

from PIL import Image as PillowImage

from gobelin.report.find_rows import rows_with_ids
from gobelin.store.paths import join
from gobelin.transforms.images.open_image import open_rgb
from gobelin.transforms.vision.faces import blur_faces, boxes_of

THUMBNAIL_PX = 160
"""Longer side of a thumbnail."""

WEBP_QUALITY = 60


@dataclasses.dataclass(frozen=True, slots=True)
class Thumbnail:
    """An image for the page. ``uri`` is None if it could not be decoded. Width and height are the original's. ``url``
    is the first of its addresses."""

    uri: str | None
    width: int
    height: int
    format: str
    num_bytes: int
    url: str | None
    is_of_copy: bool = False
    """The reduced copy was opened, and not the file."""


def make_thumbnails(output: str, image_ids: set[str]) -> dict[str, Thumbnail]:
    """Thumbnails of stored images, with known faces blurred. Ids that are not stored are missing from the result."""
    faces = boxes_of(rows_with_ids(join(output, "score", "images"), "image_id", image_ids, ["image_id", "faces"]))
    copies = copies_of(output, image_ids)
    made = {}
    for row in rows_with_ids(join(output, "extract", "images"), "image_id", image_ids):
        uri, copy = None, copies.get(row["image_id"])
        is_of_copy = copy is not None and _is_large_enough(copy, row["width"], row["height"])
        try:
            opened = open_rgb(copy if copy is not None and is_of_copy else row["data"], 2 * THUMBNAIL_PX)
            picture = blur_faces(opened, faces.get(row["image_id"], ()))
            picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), PillowImage.Resampling.LANCZOS)
            uri = webp_uri(picture)
        except OSError:  # its header and a small decode were fine when it was extracted
            pass
        url = row["urls"][0] if row["urls"] else None
        made[row["image_id"]] = Thumbnail(
            uri, row["width"], row["height"], row["format"], len(row["data"]), url, is_of_copy
        )  # fmt: skip
    return made


def copies_of(output: str, image_ids: set[str]) -> dict[str, bytes]:
    """The reduced copies of images, as JPEG. Images without a copy are missing from the result."""
    rows = rows_with_ids(join(output, "extract", "copies"), "image_id", image_ids)
    return {row["image_id"]: row["data"] for row in rows}


def _is_large_enough(copy: bytes, width: int, height: int) -> bool:
    """Whether the longer side of a copy is as long as that of a thumbnail, or as that of its file with these pixels."""
    with PillowImage.open(io.BytesIO(copy)) as opened:  # reads the header
        return max(opened.size) >= min(THUMBNAIL_PX, max(width, height))


def webp_uri(picture: PillowImage.Image) -> str:
    """An image as a small, lossy ``data:`` URI, without metadata."""
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=WEBP_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def png_uri(picture: PillowImage.Image) -> str:
    """An image as a lossless ``data:`` URI, for output of the tokenizer or the model."""
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
