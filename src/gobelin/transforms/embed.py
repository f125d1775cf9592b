"""CLIP embeddings of images and texts, computed once and stored: the part of ``score`` that needs a model.

One embedding a distinct image; one for each text node, alternative text and caption of the documents that show an
image. Shard by shard; within a shard rows come in the order of their ids and batches have a fixed size, so the result
does not depend on workers or runner. The model is loaded once a process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import apache_beam as beam
from apache_beam.utils.shared import Shared
from PIL import Image as PillowImage

from gobelin.documents import IMAGE_EMBEDDINGS, TEXT_EMBEDDINGS, Action, Decision, Unit
from gobelin.transforms.clip import ClipSpec, load_clip
from gobelin.transforms.measure import ClipConfig
from gobelin.transforms.open_image import open_rgb
from gobelin.transforms.progress import advance
from gobelin.transforms.shards import join, read_rows, shard_path, with_decisions, write_rows
from gobelin.transforms.urls import describe

if TYPE_CHECKING:
    from gobelin.transforms.clip import ClipModel

Row = dict[str, Any]
_T = TypeVar("_T")

IMAGES_AT_ONCE = 256
"""Decoded pictures held in memory; a multiple of every sensible batch size."""

TEXTS_AT_ONCE = 2048
"""Texts held in memory."""

MAX_DECODE_SIDE_PX = 512
"""A JPEG may be decoded at any scale that still has this many pixels a side: every CLIP in use looks at fewer."""


def in_batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Lists of ``size`` items, the last one shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


class EmbedImages(beam.PTransform):
    """Shard numbers of ``images`` -> shards of ``image_embeddings`` and ``embed_decisions`` in the folder ``work``."""

    def __init__(self, config: ClipConfig, images: str, work: str, num_shards: int, device: str) -> None:
        self._arguments = (config, images, work, num_shards, device)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | beam.ParDo(_EmbedImages(*self._arguments))


class EmbedTexts(beam.PTransform):
    """Shard numbers of ``documents`` -> shards of ``text_embeddings`` in the folder ``work``."""

    def __init__(self, config: ClipConfig, documents: str, work: str, num_shards: int, device: str) -> None:
        self._arguments = (config, documents, work, num_shards, device)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | beam.ParDo(_EmbedTexts(*self._arguments))


class _Embedder(beam.DoFn):
    def __init__(self, config: ClipConfig, source: str, work: str, num_shards: int, device: str) -> None:
        self._config, self._source, self._work = config, source, work
        self._num_shards, self._device = num_shards, device
        self._shared = Shared()

    def setup(self) -> None:
        self._model: ClipModel = self._shared.acquire(self._load)

    def _load(self) -> ClipModel:
        spec = ClipSpec(
            model=self._config.model, pretrained=self._config.pretrained, batch_size=self._config.batch_size
        )
        return load_clip(spec, self._device)


class _EmbedImages(_Embedder):
    def process(self, index: int) -> Iterator[str]:
        decisions: list[Decision] = []
        path = shard_path(join(self._work, "image_embeddings"), index, self._num_shards)
        failed = shard_path(join(self._work, "embed_decisions"), index, self._num_shards)
        rows = with_decisions(self._rows(index, decisions), decisions, failed)
        write_rows(path, rows, IMAGE_EMBEDDINGS)
        yield path

    def _rows(self, index: int, decisions: list[Decision]) -> Iterator[Row]:
        source = read_rows(shard_path(self._source, index, self._num_shards), ["image_id", "data", "urls"])
        for batch in in_batches(self._decoded(source, decisions), IMAGES_AT_ONCE):
            embeddings = self._model.embed_images([image for _, image in batch])
            advance("images", len(batch))
            for (identifier, _), embedding in zip(batch, embeddings, strict=True):
                yield {"image_id": identifier, "embedding": embedding}

    def _decoded(self, source: Iterable[Row], decisions: list[Decision]) -> Iterator[tuple[str, PillowImage.Image]]:
        for row in source:
            try:
                image = open_rgb(row["data"], MAX_DECODE_SIDE_PX)
            except Exception as error:  # noqa: BLE001  # the stage boundary: one bad picture never ends a run
                decisions.append(
                    Decision(
                        stage="score", unit=Unit.IMAGE, action=Action.FAIL, rule="undecodable_image",
                        image_id=row["image_id"], url=row["urls"][0], detail=describe(error),
                    )
                )  # fmt: skip
                continue
            yield row["image_id"], image


class _EmbedTexts(_Embedder):
    def process(self, index: int) -> Iterator[str]:
        path = shard_path(join(self._work, "text_embeddings"), index, self._num_shards)
        write_rows(path, self._rows(index), TEXT_EMBEDDINGS)
        yield path

    def _rows(self, index: int) -> Iterator[Row]:
        documents = read_rows(shard_path(self._source, index, self._num_shards), ["doc_id", "nodes"])
        for batch in in_batches(texts_to_embed(documents), TEXTS_AT_ONCE):
            embeddings = self._model.embed_texts([text for *_, text in batch])
            for (doc_id, node_index, role, _), embedding in zip(batch, embeddings, strict=True):
                yield {"doc_id": doc_id, "node_index": node_index, "role": role, "embedding": embedding}


def texts_to_embed(documents: Iterable[Row]) -> Iterator[tuple[str, int, str, str]]:
    """(doc_id, node index, role, text) of every text in documents that show an image; in reading order."""
    for document in documents:
        advance("documents")
        if not any(node["image_id"] for node in document["nodes"]):
            continue
        for node_index, node in enumerate(document["nodes"]):
            for role in ("text",) if node["kind"] == "text" else ("alt", "caption"):
                if node[role]:
                    yield document["doc_id"], node_index, role, node[role]
