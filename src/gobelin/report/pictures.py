"""Thumbnails as ``data:`` URIs. A picture of the web is never put into the page as it came: it is decoded and encoded
anew, so that nothing but pixels gets there.

Pictures are pulled from ``extract/images`` in one pass, one row group in memory at a time and only those asked for.
A 160-pixel WebP is 2-4 kB.
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
    """A picture for the page. ``uri`` is None where it could not be decoded; width and height are the original's;
    ``url`` is the first of its addresses."""

    uri: str | None
    width: int
    height: int
    format: str
    num_bytes: int
    url: str | None


def make_thumbnails(output: str, image_ids: set[str]) -> dict[str, Thumbnail]:
    """Thumbnails of stored pictures, known faces blurred; an id that is not stored has none."""
    faces = boxes_of(rows_with_ids(join(output, "score", "images"), "image_id", image_ids, ["image_id", "faces"]))
    made = {}
    for row in rows_with_ids(join(output, "extract", "images"), "image_id", image_ids):
        uri = None
        try:
            picture = blur_faces(open_rgb(row["data"], 2 * THUMBNAIL_PX), faces.get(row["image_id"], ()))
            picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), PillowImage.Resampling.LANCZOS)
            uri = webp_uri(picture)
        except OSError:  # its header and a small decode were fine when it was extracted
            pass
        url = row["urls"][0] if row["urls"] else None
        made[row["image_id"]] = Thumbnail(uri, row["width"], row["height"], row["format"], len(row["data"]), url)
    return made


def webp_uri(picture: PillowImage.Image) -> str:
    """A picture as a small, lossy ``data:`` URI, without metadata."""
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=WEBP_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def png_uri(picture: PillowImage.Image) -> str:
    """A picture as a ``data:`` URI that keeps every pixel: for what the tokenizer or the model drew."""
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
