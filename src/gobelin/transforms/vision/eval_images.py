"""Image contamination: images of a corpus that resemble those of evaluation sets, by hashes and by embeddings.

Each image of the corpus is compared with all evaluation images. A hit is near by one of the shape hashes and similar in
colours and thumbnail (image_duplicates.py, with the recipe's settings; crops and mirror images are not found). If a
model embedded both, the highest cosine is a second score with a threshold of its own.

Cost: a millisecond per evaluation image to decode and hash it, then 1 to 2 ns per pair. A million images against fifty
thousand take about a minute and a half.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gobelin.errors import UserError
from gobelin.store.files import exists, is_folder, list_files, read_bytes
from gobelin.store.paths import join
from gobelin.store.shards import write_tables
from gobelin.store.tables import list_shards, read_columns
from gobelin.transforms.duplicates.image_duplicates import (
    ImageHashes,
    NearImageConfig,
    are_alike,
    image_hashes,
    near_in_shape,
)
from gobelin.transforms.images.check_image import ImageFacts, ImageLimits, check_image
from gobelin.transforms.images.open_image import open_rgb
from gobelin.transforms.score.config import ClipConfig, ScoreConfig
from gobelin.transforms.text.text_config import ContaminationConfig

IMAGE_CONTAMINATION = pa.schema(
    [
        ("image_id", pa.string()),
        ("num_eval_images", pa.int32()),
        ("eval_image", pa.string()),
        ("eval_similarity", pa.float32()),
    ]
)
"""One row per image; the columns are those of ``NODE_SCORES``."""

_COLUMNS = ("phash", "dhash", "colour", "thumbnail")

_CHUNK = 1 << 22
"""Number of pairs of images that are compared at a time."""


@dataclasses.dataclass(frozen=True, slots=True)
class EvalImages:
    """Hashes of evaluation images."""

    names: tuple[str, ...]
    hashes: ImageHashes
    num_unreadable: int  # number of files that are not images


def find_eval_images(config: ScoreConfig, images: str, embeddings: str, work: str) -> None:
    """Reads the data sets ``IMAGES`` and ``IMAGE_EMBEDDINGS`` (if the recipe has a model) and writes
    ``image_contamination``, of
    ``IMAGE_CONTAMINATION``, in the folder ``work``.

    Raises:
        UserError: see ``load_eval_images``.
    """
    assert config.contamination is not None
    index = load_eval_images(config.contamination)
    eval_embeddings = None if config.clip is None else _embed(index, config.clip)
    embedded = [] if config.clip is None else list_shards(embeddings)
    tables = []
    for number, path in enumerate(list_shards(images)):
        table = read_columns(path, ["image_id", *_COLUMNS])
        hashes = image_hashes(*(table[name].to_pylist() for name in _COLUMNS))
        matches = match_images(hashes, index, config.near_images)
        similarity = pa.nulls(len(table), pa.float32())
        if eval_embeddings is not None:
            similarity = _similarities(table["image_id"], embedded[number], eval_embeddings)
        columns = [table["image_id"], [count for count, _ in matches], [name for _, name in matches], similarity]
        tables.append(pa.table(dict(zip(IMAGE_CONTAMINATION.names, columns, strict=True))).cast(IMAGE_CONTAMINATION))
    write_tables(join(work, "image_contamination"), tables)


def _embed(index: EvalImages, config: ClipConfig) -> npt.NDArray[np.float32]:
    from gobelin.transforms.vision.embed import MAX_DECODE_SIDE_PX, load_model  # needs torch

    pictures = (open_rgb(read_bytes(name), MAX_DECODE_SIDE_PX) for name in index.names)
    return load_model(config).embed_images(pictures).astype(np.float32)


def _similarities(ids: pa.ChunkedArray, embeddings: str, eval_embeddings: npt.NDArray[np.float32]) -> pa.Array:
    """The highest cosine of each image with an evaluation image; null for images without an embedding."""
    table = read_columns(embeddings, ["image_id", "embedding"])
    vectors = pc.list_flatten(table["embedding"]).to_numpy().astype(np.float32)
    if not len(table):
        return pa.nulls(len(ids), pa.float32())
    cosines, _ = nearest_embeddings(vectors.reshape(len(table), -1), eval_embeddings)
    return pa.array(cosines).take(pc.index_in(ids, value_set=table["image_id"].combine_chunks()).combine_chunks())


def load_eval_images(config: ContaminationConfig, limits: ImageLimits | None = None) -> EvalImages:
    """The hashes of the images that a recipe names. Images of a folder are sorted by path.

    Raises:
        UserError: a path does not exist, or contains no image.
    """
    limits = limits or ImageLimits()
    names: list[str] = []
    facts: list[ImageFacts] = []
    num_unreadable = 0
    for given in config.images:
        before = len(names)
        for path in _image_files(given):
            checked = check_image(read_bytes(path), limits)
            if isinstance(checked, ImageFacts):
                names.append(path)
                facts.append(checked)
            else:
                num_unreadable += 1
        if len(names) == before:
            raise UserError(f"score.contamination.images: no image in {given}")
    hashes = image_hashes(*([getattr(fact, name) for fact in facts] for name in _COLUMNS))
    return EvalImages(tuple(names), hashes, num_unreadable)


def _image_files(given: str) -> list[str]:
    if exists(given):
        return [given]
    if not is_folder(given):
        raise UserError(f"score.contamination.images: no file or folder {given}")
    names = [name for name, _ in list_files(given)]
    return [join(given, name) for name in sorted(names, key=lambda name: name.split("/"))]


def match_images(hashes: ImageHashes, index: EvalImages, config: NearImageConfig) -> list[tuple[int, str | None]]:
    """For each image, (number of evaluation images of which it is a near-duplicate, the first of them or None)."""
    num_eval = len(index.names)
    if not num_eval:
        return [(0, None)] * len(hashes.phash)
    matches: list[tuple[int, str | None]] = []
    step = max(1, _CHUNK // num_eval)
    for start in range(0, len(hashes.phash), step):
        rows = np.arange(start, min(start + step, len(hashes.phash)))
        near = _near_pairs(hashes, rows, index.hashes, config)
        for row in range(len(rows)):
            found = near.get(row, [])
            matches.append((len(found), index.names[found[0]] if found else None))
    return matches


def _near_pairs(
    hashes: ImageHashes, rows: npt.NDArray[np.int64], others: ImageHashes, config: NearImageConfig
) -> dict[int, list[int]]:
    """Place in ``rows`` -> positions in ``others`` of its near-duplicates, for rows that have some."""
    phash, dhash, layout = hashes.take(rows).shapes
    is_near = near_in_shape((phash[:, None], dhash[:, None], layout[:, None]), others.shapes, config)
    left, right = np.nonzero(is_near)
    alike = are_alike(hashes.take(rows[left]), others.take(right), config) if len(left) else np.empty(0, np.bool_)
    near: dict[int, list[int]] = {}
    for row, place in zip(left[alike].tolist(), right[alike].tolist(), strict=True):
        near.setdefault(row, []).append(place)
    return near


def nearest_embeddings(
    embeddings: npt.NDArray[np.float32], eval_embeddings: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Returns (the highest cosine of each image with an evaluation image, (N,); the index of that image, (N,)).

    Args:
        embeddings: (N, dim), unit length.
        eval_embeddings: (M, dim), unit length, from the same model; M at least 1.
    """
    step = max(1, _CHUNK // len(eval_embeddings))
    best, place = [np.empty(0, np.float32)], [np.empty(0, np.int64)]
    for start in range(0, len(embeddings), step):
        cosines = embeddings[start : start + step] @ eval_embeddings.T
        best.append(cosines.max(axis=1).astype(np.float32))
        place.append(cosines.argmax(axis=1))
    return np.concatenate(best), np.concatenate(place)
