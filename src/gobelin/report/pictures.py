"""Thumbnails as ``data:`` URIs. A picture of the web is never put into the page as it came: it is decoded and encoded
anew, so that nothing but pixels gets there.

Pictures are pulled from ``extract/images`` in one pass, one row group in memory at a time and only those asked for.
A 160-pixel WebP is 2-4 kB.
"""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image as PillowImage

from gobelin.transforms.files import list_shards, open_input
from gobelin.transforms.images.open_image import open_rgb
from gobelin.transforms.vision.faces import blur_faces, boxes_of

THUMBNAIL_PX = 160
"""Longer side of a thumbnail."""

WEBP_QUALITY = 60


@dataclasses.dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture for the page. ``uri`` is None where it could not be decoded; width and height are the original's."""

    uri: str | None
    width: int
    height: int
    format: str
    num_bytes: int


def make_thumbnails(output: Path, image_ids: set[str]) -> dict[str, Thumbnail]:
    """Thumbnails of stored pictures, known faces blurred; an id that is not stored has none."""
    faces = boxes_of(rows_with_ids(output / "score" / "images", "image_id", image_ids, ["image_id", "faces"]))
    made = {}
    for row in rows_with_ids(output / "extract" / "images", "image_id", image_ids):
        uri = None
        try:
            picture = blur_faces(open_rgb(row["data"], 2 * THUMBNAIL_PX), faces.get(row["image_id"], ()))
            picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), PillowImage.Resampling.LANCZOS)
            uri = webp_uri(picture)
        except OSError:  # its header and a small decode were fine when it was extracted
            pass
        made[row["image_id"]] = Thumbnail(uri, row["width"], row["height"], row["format"], len(row["data"]))
    return made


def rows_with_ids(
    folder: Path, id_column: str, wanted: set[str], columns: list[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a data set with these ids, as far as it is there; a row group without any of them is not read."""
    values = pa.array(sorted(wanted), pa.string())
    for path in list_shards(str(folder), may_be_unfinished=True) if wanted else []:
        with open_input(path) as stream:
            file = pq.ParquetFile(stream)
            for group in range(file.num_row_groups):
                is_wanted = pc.is_in(file.read_row_group(group, columns=[id_column])[id_column], value_set=values)
                if pc.any(is_wanted).as_py():
                    yield from file.read_row_group(group, columns=columns).filter(is_wanted).to_pylist()


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
