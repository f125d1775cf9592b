"""The image tokenizer as a Beam stage: each distinct image that the corpus shows -> its codes, once (the GPU worker).

Goes shard by shard over the stored images and reads no other. ``assemble.py`` makes sequences of the codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.utils.shared import Shared

from gobelin.data.model import Action, Decision, Unit
from gobelin.data.rows import Row
from gobelin.data.schemas import IMAGE_CODES, IMAGE_LATENTS
from gobelin.store.shards import read_rows, write_decisions, write_shard
from gobelin.store.tables import shard_path
from gobelin.tokenize.codebook import Codebook
from gobelin.transforms.boundary import Refused, WebStep, attempt
from gobelin.transforms.images.open_image import open_rgb
from gobelin.transforms.machines import with_model
from gobelin.transforms.progress import advance
from gobelin.transforms.vision.clip import in_batches
from gobelin.transforms.vision.faces import Boxes, blur_faces, faces_of_shard

if TYPE_CHECKING:
    from gobelin.tokenize.image_tokenizer import ImageTokenizer

IMAGES_AT_ONCE = 512
PIXELS_AT_ONCE = 2**25
"""Most pictures, and pixels of pictures, held in memory, at the tokenizer's size: 128 of 512 px are 100 MB."""


class EncodeImages(beam.PTransform):
    """(shard, ids of shown images) -> shards of the data sets ``codes`` and ``decisions``.

    Args:
        scores: folder of ``IMAGE_SCORES`` with the faces that are blurred first; None: nothing is.
    """

    def __init__(
        self, tokenizer: str, images: str, codes: str, decisions: str, num_shards: int, device: str,
        scores: str | None = None,
    ) -> None:  # fmt: skip
        self._arguments, self._device = (tokenizer, images, codes, decisions, num_shards, device, scores), device

    def expand(self, shown: beam.PCollection) -> beam.PCollection:
        return shown | with_model(beam.ParDo(_EncodeImages(*self._arguments)), self._device)


class _EncodeImages(WebStep):
    def __init__(
        self, tokenizer: str, images: str, codes: str, decisions: str, num_shards: int, device: str, scores: str | None
    ) -> None:
        self._path, self._images, self._codes, self._decisions = tokenizer, images, codes, decisions
        self._num_shards, self._device, self._scores = num_shards, device, scores
        self._shared = Shared()

    def setup(self) -> None:
        self._tokenizer: ImageTokenizer = self._shared.acquire(self._load)

    def _load(self) -> ImageTokenizer:
        from gobelin.tokenize.image_tokenizer import load_image_tokenizer

        return load_image_tokenizer(self._path, self._device)

    def process(self, element: tuple[int, Iterable[str | None]]) -> Iterator[str]:
        index, shown = element
        wanted = set(shown)
        decisions: list[Decision] = []
        path = shard_path(self._codes, index, self._num_shards)
        schema = codes_schema(self._tokenizer.codebook)
        write_shard(path, self._rows(index, wanted, decisions), schema)
        write_decisions(shard_path(self._decisions, index, self._num_shards), decisions)
        yield path

    def _rows(self, index: int, wanted: set[str | None], decisions: list[Decision]) -> Iterator[Row]:
        rows = read_rows(shard_path(self._images, index, self._num_shards), ["image_id", "data", "urls"])
        faces = None if self._scores is None else faces_of_shard(self._scores, index, self._num_shards)
        pictures = self._pictures((row for row in rows if row["image_id"] in wanted), faces, decisions)
        height, width = self._tokenizer.size
        for batch in in_batches(pictures, max(1, min(IMAGES_AT_ONCE, PIXELS_AT_ONCE // (height * width)))):
            tokens = self._tokenizer.encode(np.stack([pixels for _, pixels in batch]))
            advance("images", len(batch))
            for (identifier, _), each in zip(batch, tokens, strict=True):
                if self._tokenizer.codebook.is_continuous:
                    yield {"image_id": identifier, "codes": np.zeros(len(each), np.int32), "latents": each.ravel()}
                else:
                    yield {"image_id": identifier, "codes": each}

    def _pictures(
        self, rows: Iterable[Row], faces: dict[str, Boxes] | None, decisions: list[Decision]
    ) -> Iterator[tuple[str, np.ndarray]]:
        size = self._tokenizer.size
        for row in rows:
            is_known = faces is None or row["image_id"] in faces
            pixels = attempt(_pixels, row["data"], (faces or {}).get(row["image_id"], ()), size) if is_known else None
            if pixels is None or isinstance(pixels, Refused):
                rule, detail = ("faces_unknown", None) if pixels is None else ("undecodable_image", pixels.detail)
                decisions.append(
                    Decision(
                        stage="tokenize", unit=Unit.IMAGE, action=Action.FAIL, rule=rule,
                        image_id=row["image_id"], url=row["urls"][0], detail=detail,
                    )
                )  # fmt: skip
                continue
            yield row["image_id"], pixels


def _pixels(data: bytes, faces: Boxes, size: tuple[int, int]) -> np.ndarray:
    from gobelin.tokenize.image_tokenizer import preprocess

    return preprocess(blur_faces(open_rgb(data, 2 * max(size)), faces), size)


def codes_schema(codebook: Codebook) -> pa.Schema:
    """Schema of the data set ``codes`` of a tokenizer."""
    return IMAGE_LATENTS if codebook.is_continuous else IMAGE_CODES
