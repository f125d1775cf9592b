"""Images for an image tokenizer: from the corpus of a run, a folder, or Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from gobelin.errors import UserError
from gobelin.pipeline.recipe.recipe import load_recipe
from gobelin.pipeline.run.counts import hashes_where, row_groups, some_images_shown
from gobelin.pipeline.run.state import RECIPE_NAME, RUN_NAME
from gobelin.store.dataset import paths_of
from gobelin.store.files import exists
from gobelin.store.paths import join
from gobelin.store.shards import read_folder
from gobelin.tokenize.encode import copies_serve
from gobelin.tokenize.framing import Framing
from gobelin.tokenize.pictures import JoinedSource, ParquetSource, PictureSource, pictures_at
from gobelin.transforms.vision.faces import Boxes, faces_of_images


def pictures_of(
    source: str, max_images: int, framing: Framing, takes: Callable[[int, int], bool] | None = None
) -> PictureSource:
    """The images at an address: the output folder of a run, a folder of files, or Parquet files.

    From a run, takes images that its corpus shows. Uses reduced copies if they are large enough, otherwise the files.
    If the recipe blurs faces, faces are blurred, and images that were not searched for faces are left out.

    Args:
        framing: the wanted sizes of images.
        takes: for a run, a function that chooses images by the height and width of their files; None: all.
    """
    if not exists(join(source, RUN_NAME)):
        return pictures_at(source)
    recipe, among = load_recipe(join(source, RECIPE_NAME)), None
    if takes is not None:
        among = hashes_where(takes, row_groups(join(source, "extract", "images"), ["image_id", "height", "width"]))
    shown = some_images_shown(join(source, "select", "documents"), max_images, among)
    faces = faces_of_images(join(source, "score", "images")) if recipe.tokenize.blur_faces else None
    wanted = {name for name in shown if faces is None or name in faces}
    if not wanted:
        raise UserError(f"the corpus of {source} shows no pictures{'' if takes is None else ' of this size'}")
    have_copies: set[str] = set()
    copies = join(source, "extract", "copies")
    if copies_serve([framing], recipe.extract.image.copy_side_px):
        have_copies = {row["image_id"] for row in read_folder(copies, ["image_id"])} & wanted
    parts = ((copies, have_copies), (join(source, "extract", "images"), wanted - have_copies))
    return JoinedSource([_stored(folder, names, faces) for folder, names in parts if names])


def _stored(folder: str, names: set[str], faces: Mapping[str, Boxes] | None) -> PictureSource:
    """The images with these ids in a data set of images."""
    wanted = pa.array(sorted(names), pa.string())
    return ParquetSource(
        paths_of(folder), key="image_id", faces=faces,
        keep=lambda table: pc.is_in(table["image_id"].combine_chunks(), wanted),
    )  # fmt: skip
