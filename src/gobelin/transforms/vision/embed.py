"""Computes and stores the outputs of models: CLIP embeddings of images and texts, and the faces in images.

There is one embedding per distinct image, and one per text node, alt text and caption of a document with an image. Rows
of a shard are sorted by id, and a model's batches always have the same shape, so the result does not depend on workers
or runner. The shards of a worker share batches, so only the very last batch is padded. Models are loaded once per
process.

An image is decoded once, for the embedding and for the face detector. With more than one thread the next images are
decoded while the model computes a batch; their order stays. An image that cannot be decoded, or on which the detector
fails, gets a decision and no row.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.utils.shared import Shared

from gobelin.data.model import Action, Decision, Unit
from gobelin.data.rows import DocumentRow, FaceRow, ImageEmbeddingRow, TextEmbeddingRow
from gobelin.data.schemas import IMAGE_EMBEDDINGS, TEXT_EMBEDDINGS
from gobelin.store.dataset import Attempt
from gobelin.store.shards import read_rows, write_decisions, write_shard
from gobelin.store.tables import shard_path
from gobelin.transforms.boundary import Refused, WebStep, attempt
from gobelin.transforms.devices import torch_device
from gobelin.transforms.images.open_image import open_rgb
from gobelin.transforms.images.stored_images import StoredImages, StoredPicture
from gobelin.transforms.progress import advance
from gobelin.transforms.resource_hints import with_model
from gobelin.transforms.row_steps import InTurn
from gobelin.transforms.score.config import ClipConfig, ScoreConfig
from gobelin.transforms.vision.clip import ClipSpec, in_batches, load_clip
from gobelin.transforms.vision.faces import (
    IMAGE_FACES,
    Face,
    FaceDetector,
    ImageFacesRow,
    find_faces,
    load_detector,
)

if TYPE_CHECKING:
    import torch

    from gobelin.transforms.vision.clip import ClipModel

__all__ = ["EmbedImages", "EmbedTexts", "in_batches", "texts_to_embed"]

MAX_DECODE_SIDE_PX = 512
"""A file may be decoded at any scale that keeps this many pixels of its shorter side. All CLIP models in use need
fewer."""

FACES_SIDE_PX = MAX_DECODE_SIDE_PX
"""Shorter side in pixels of the image in which faces are searched. In a smaller one, small faces are missed."""

CLIP_SIDE_PX = 224
"""Input size of most models in pixels. A reduced copy replaces the file if its shorter side has this size, and at least
that of the model."""


class EmbedImages(beam.PTransform):
    """Tuples of shard numbers of ``images`` -> shards of ``image_embeddings`` (with ``config.clip``), ``image_faces``
    (with
    ``config.faces``) and ``embed_decisions`` in ``output``. At least one of the two settings must be present.

    Args:
        copies: folder of the reduced copies of ``copy_side`` px, which are read if they suffice; None: none.
    """

    def __init__(
        self, config: ScoreConfig, images: str, output: Attempt, num_shards: int, copies: str | None = None,
        copy_side: int = 0,
    ) -> None:  # fmt: skip
        self._arguments = (config, images, output, num_shards, copies, copy_side)
        self._device = config.clip.device if config.clip is not None else "cpu"

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | with_model(beam.ParDo(_EmbedImages(*self._arguments)), self._device)


class EmbedTexts(beam.PTransform):
    """Tuples of shard numbers of ``documents`` -> shards of ``text_embeddings`` in ``output``."""

    def __init__(self, config: ScoreConfig, documents: str, output: Attempt, num_shards: int) -> None:
        self._arguments = (config, documents, output, num_shards)
        self._device = config.clip.device if config.clip is not None else "cpu"

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | with_model(beam.ParDo(_EmbedTexts(*self._arguments)), self._device)


class _Embedder(WebStep):
    def __init__(self, config: ScoreConfig, source: str, output: Attempt, num_shards: int) -> None:
        self._config, self._source, self._output, self._num_shards = config, source, output, num_shards
        self._shared = Shared()

    def setup(self) -> None:
        self._model = None if self._config.clip is None else self._shared.acquire(self._load)

    def _load(self) -> ClipModel:
        assert self._config.clip is not None
        return load_model(self._config.clip)

    def _read(self, shards: Iterable[int], columns: list[str]) -> Iterator[tuple[int, Any]]:
        for index in shards:
            for row in read_rows(shard_path(self._source, index, self._num_shards), columns):
                yield index, row

    def _made(self, name: str, index: int) -> str:
        return shard_path(self._output.data(name), index, self._num_shards)


@functools.lru_cache(maxsize=1)
def load_model(config: ClipConfig) -> ClipModel:
    """The CLIP model of a recipe on the recipe's device. A process keeps the last one."""
    spec = ClipSpec(model=config.model, pretrained=config.pretrained, batch_size=config.batch_size)
    return load_clip(spec, torch_device(config.device))


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen:
    """The results of preparing one image."""

    shard: int
    image_id: str
    url: str
    prepared: torch.Tensor | None = None
    faces: list[Face] | None = None
    failure: tuple[str, str] | None = None  # rule, detail


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    """The rows of a shard besides its embeddings."""

    decisions: list[Decision] = dataclasses.field(default_factory=list)
    faces: list[ImageFacesRow] = dataclasses.field(default_factory=list)


class _EmbedImages(_Embedder):
    def __init__(
        self, config: ScoreConfig, source: str, output: Attempt, num_shards: int, copies: str | None = None,
        copy_side: int = 0,
    ) -> None:  # fmt: skip
        _Embedder.__init__(self, config, source, output, num_shards)
        self._copies, self._copy_side = copies, copy_side

    def setup(self) -> None:
        _Embedder.setup(self)
        self._detector: FaceDetector | None = None if self._config.faces is None else load_detector(self._config.faces)
        self._one_at_a_time = threading.Lock()  # detectors keep state between calls

    def process(self, shards: tuple[int, ...]) -> Iterator[str]:
        found = {index: _Found() for index in shards}
        seen = self._usable(self._seen(self._images(shards)), found)
        embedded = InTurn(self._embedded(seen))
        for index in shards:
            if self._model is not None:
                write_shard(self._made("image_embeddings", index), embedded.of(index), IMAGE_EMBEDDINGS)
            if self._detector is not None:
                write_shard(self._made("image_faces", index), found[index].faces, IMAGE_FACES)
            write_decisions(self._made("embed_decisions", index), found[index].decisions)
            yield self._made("embed_decisions", index)

    def _images(self, shards: Iterable[int]) -> Iterator[tuple[int, StoredPicture]]:
        """The images of shards, as reduced copies if these have enough pixels for the model and the detector."""
        wanted = 0 if self._model is None else max(CLIP_SIDE_PX, self._model.image_size)
        if self._detector is not None:
            wanted = max(wanted, FACES_SIDE_PX)
        copies = self._copies if self._copies is not None and wanted <= self._copy_side else None
        images = StoredImages(self._source, copies, self._num_shards)
        return ((index, row) for index in shards for row in images.read(index))

    def _embedded(self, found: Iterable[_Seen]) -> Iterator[tuple[int, ImageEmbeddingRow]]:
        if self._model is None:
            for _ in found:
                advance("images")
            return
        for batch in in_batches(found, self._model.batch_size):
            embeddings = self._model.embed_prepared_images([seen.prepared for seen in batch])
            advance("images", len(batch))
            for seen, embedding in zip(batch, embeddings, strict=True):
                yield seen.shard, {"image_id": seen.image_id, "embedding": embedding}

    def _usable(self, images: Iterable[_Seen], found: dict[int, _Found]) -> Iterator[_Seen]:
        """Yields the images that did not fail. Adds faces and decisions to ``found`` of their shard."""
        for seen in images:
            if seen.failure is not None:
                rule, detail = seen.failure
                found[seen.shard].decisions.append(
                    Decision(
                        stage="score", unit=Unit.IMAGE, action=Action.FAIL, rule=rule,
                        image_id=seen.image_id, url=seen.url, detail=detail,
                    )
                )  # fmt: skip
                continue
            if seen.faces is not None:
                faces: list[FaceRow] = [
                    {"x0": face.x0, "y0": face.y0, "x1": face.x1, "y1": face.y1, "score": face.score}
                    for face in seen.faces
                ]
                found[seen.shard].faces.append({"image_id": seen.image_id, "faces": faces, "num_faces": len(faces)})
            yield seen

    def _seen(self, source: Iterable[tuple[int, StoredPicture]]) -> Iterator[_Seen]:
        num_threads = 1 if self._config.clip is None else self._config.clip.threads
        if num_threads == 1:
            yield from map(self._see, source)
            return
        ahead = num_threads + (0 if self._model is None else 2 * self._model.batch_size)
        with ThreadPoolExecutor(num_threads) as pool:
            waiting: deque[Future[_Seen]] = deque()
            for pair in source:
                waiting.append(pool.submit(self._see, pair))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _see(self, pair: tuple[int, StoredPicture]) -> _Seen:
        shard, row = pair
        known = (shard, row["image_id"], row["urls"][0])
        image = attempt(open_rgb, row["data"], MAX_DECODE_SIDE_PX)
        if isinstance(image, Refused):
            return _Seen(*known, failure=("undecodable_image", image.detail))
        faces = None
        if self._detector is not None:
            assert self._config.faces is not None
            with self._one_at_a_time:
                found = attempt(find_faces, image, self._detector, self._config.faces.min_score)
            if isinstance(found, Refused):
                return _Seen(*known, failure=("face_detector", found.detail))
            faces = found
        if self._model is None:
            return _Seen(*known, faces=faces)
        prepared = attempt(self._model.prepare_image, image)
        if isinstance(prepared, Refused):
            return _Seen(*known, failure=("undecodable_image", prepared.detail))
        return _Seen(*known, prepared, faces)


class _EmbedTexts(_Embedder):
    def process(self, shards: tuple[int, ...]) -> Iterator[str]:
        decisions: dict[int, list[Decision]] = {index: [] for index in shards}
        embedded = InTurn(self._embedded(shards, decisions))
        for index in shards:
            write_shard(self._made("text_embeddings", index), embedded.of(index), TEXT_EMBEDDINGS)
            write_decisions(self._made("text_decisions", index), decisions[index])
            yield self._made("text_embeddings", index)

    def _embedded(
        self, shards: tuple[int, ...], decisions: dict[int, list[Decision]]
    ) -> Iterator[tuple[int, TextEmbeddingRow]]:
        assert self._model is not None
        documents = self._read(shards, ["doc_id", "nodes"])
        texts = ((index, *text) for index, document in documents for text in texts_to_embed([document]))
        for batch in in_batches(texts, self._model.batch_size):
            embeddings = attempt(self._model.embed_texts, [text for *_, text in batch])
            alone = [embeddings] if not isinstance(embeddings, Refused) else None
            for place, (index, doc_id, node_index, role, text) in enumerate(batch):
                # If a batch fails, each of its texts is tried alone.
                found = alone[0][place : place + 1] if alone else attempt(self._model.embed_texts, [text])
                if isinstance(found, Refused):
                    decisions[index].append(
                        Decision(
                            stage="score", unit=Unit.NODE, action=Action.FAIL, rule="score_error", doc_id=doc_id,
                            node_index=node_index, detail=found.detail,
                        )
                    )  # fmt: skip
                    continue
                yield index, {"doc_id": doc_id, "node_index": node_index, "role": role, "embedding": found[0]}


def texts_to_embed(documents: Iterable[DocumentRow]) -> Iterator[tuple[str, int, str, str]]:
    """(doc_id, node index, role, text) of each text in documents with an image, in reading order."""
    for document in documents:
        advance("documents")
        if not any(node["image_id"] for node in document["nodes"]):
            continue
        for node_index, node in enumerate(document["nodes"]):
            is_text = node["kind"] == "text"
            texts = {"text": node["text"]} if is_text else {"alt": node["alt"], "caption": node["caption"]}
            for role, text in texts.items():
                if text:
                    yield document["doc_id"], node_index, role, text
