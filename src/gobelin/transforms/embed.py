"""What models see of images and texts, computed once and stored: CLIP embeddings, and the faces of images.

One embedding a distinct image; one for each text node, alternative text and caption of the documents that show an
image. Shard by shard; within a shard rows come in the order of their ids and batches have a fixed size, so the result
does not depend on workers or runner. Models are loaded once a process.

A picture is decoded once, for the embedding and for the face detector. With more than one thread the next pictures are
decoded while the model works on a batch; their order stays. An image that cannot be decoded, or on which the detector
fails, is one decision and has no row.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.utils.shared import Shared

from gobelin.documents import IMAGE_EMBEDDINGS, TEXT_EMBEDDINGS, Action, Decision, Unit
from gobelin.transforms.clip import ClipSpec, in_batches, load_clip
from gobelin.transforms.faces import IMAGE_FACES, Face, FaceDetector, find_faces, load_detector
from gobelin.transforms.measure import ClipConfig, ScoreConfig
from gobelin.transforms.open_image import open_rgb
from gobelin.transforms.progress import advance
from gobelin.transforms.shards import join, read_rows, shard_path, with_decisions, write_rows
from gobelin.transforms.urls import describe

if TYPE_CHECKING:
    import torch

    from gobelin.transforms.clip import ClipModel

__all__ = ["EmbedImages", "EmbedTexts", "in_batches", "texts_to_embed"]

Row = dict[str, Any]

MAX_DECODE_SIDE_PX = 512
"""A JPEG may be decoded at any scale that still has this many pixels a side: every CLIP in use looks at fewer."""


class EmbedImages(beam.PTransform):
    """Shard numbers of ``images`` -> shards of ``image_embeddings`` (with ``config.clip``), ``image_faces`` (with
    ``config.faces``) and ``embed_decisions`` in the folder ``work``. One of the two must be set."""

    def __init__(self, config: ScoreConfig, images: str, work: str, num_shards: int) -> None:
        self._arguments = (config, images, work, num_shards)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | beam.ParDo(_EmbedImages(*self._arguments))


class EmbedTexts(beam.PTransform):
    """Shard numbers of ``documents`` -> shards of ``text_embeddings`` in the folder ``work``."""

    def __init__(self, config: ScoreConfig, documents: str, work: str, num_shards: int) -> None:
        self._arguments = (config, documents, work, num_shards)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | beam.ParDo(_EmbedTexts(*self._arguments))


class _Embedder(beam.DoFn):
    def __init__(self, config: ScoreConfig, source: str, work: str, num_shards: int) -> None:
        self._config, self._source, self._work, self._num_shards = config, source, work, num_shards
        self._shared = Shared()

    def setup(self) -> None:
        self._model = None if self._config.clip is None else self._shared.acquire(self._load)

    def _load(self) -> ClipModel:
        assert self._config.clip is not None
        return load_model(self._config.clip)


def load_model(config: ClipConfig) -> ClipModel:
    """The CLIP model of a recipe, on the recipe's device."""
    spec = ClipSpec(model=config.model, pretrained=config.pretrained, batch_size=config.batch_size)
    return load_clip(spec, config.device)


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen:
    """What came of one image's bytes."""

    row: Row
    prepared: torch.Tensor | None = None
    faces: list[Face] | None = None
    failure: tuple[str, str] | None = None  # rule, detail


class _EmbedImages(_Embedder):
    def setup(self) -> None:
        _Embedder.setup(self)
        self._detector: FaceDetector | None = None if self._config.faces is None else load_detector(self._config.faces)
        self._one_at_a_time = threading.Lock()  # detectors keep state between calls

    def process(self, index: int) -> Iterator[str]:
        decisions: list[Decision] = []
        faces: list[Row] = []
        failed = shard_path(join(self._work, "embed_decisions"), index, self._num_shards)
        rows = with_decisions(self._rows(index, decisions, faces), decisions, failed)
        if self._model is None:
            for _ in rows:
                pass
            yield self._write_faces(faces, index)
        else:
            path = shard_path(join(self._work, "image_embeddings"), index, self._num_shards)
            write_rows(path, self._then_faces(rows, faces, index), IMAGE_EMBEDDINGS)
            yield path

    def _then_faces(self, rows: Iterable[Row], faces: list[Row], index: int) -> Iterator[Row]:
        """The rows; after the last one, and so before their file appears, the faces are written."""
        yield from rows
        if self._detector is not None:
            self._write_faces(faces, index)

    def _write_faces(self, faces: list[Row], index: int) -> str:
        path = shard_path(join(self._work, "image_faces"), index, self._num_shards)
        write_rows(path, faces, IMAGE_FACES)
        return path

    def _rows(self, index: int, decisions: list[Decision], faces: list[Row]) -> Iterator[Row]:
        source = read_rows(shard_path(self._source, index, self._num_shards), ["image_id", "data", "urls"])
        usable = self._usable(self._seen(source), decisions, faces)
        for batch in in_batches(usable, 1 if self._model is None else self._model.batch_size):
            if self._model is not None:
                embeddings = self._model.embed_prepared_images([seen.prepared for seen in batch])
                for seen, embedding in zip(batch, embeddings, strict=True):
                    yield {"image_id": seen.row["image_id"], "embedding": embedding}
            advance("images", len(batch))

    def _usable(self, found: Iterable[_Seen], decisions: list[Decision], faces: list[Row]) -> Iterator[_Seen]:
        for seen in found:
            if seen.failure is not None:
                rule, detail = seen.failure
                decisions.append(
                    Decision(
                        stage="score", unit=Unit.IMAGE, action=Action.FAIL, rule=rule,
                        image_id=seen.row["image_id"], url=seen.row["urls"][0], detail=detail,
                    )
                )  # fmt: skip
                continue
            if seen.faces is not None:
                rows = [dataclasses.asdict(face) for face in seen.faces]
                faces.append({"image_id": seen.row["image_id"], "faces": rows, "num_faces": len(rows)})
            yield seen

    def _seen(self, source: Iterable[Row]) -> Iterator[_Seen]:
        num_threads = 1 if self._config.clip is None else self._config.clip.threads
        if num_threads == 1:
            yield from map(self._see, source)
            return
        ahead = num_threads + (0 if self._model is None else 2 * self._model.batch_size)
        with ThreadPoolExecutor(num_threads) as pool:
            waiting: deque[Future[_Seen]] = deque()
            for row in source:
                waiting.append(pool.submit(self._see, row))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _see(self, row: Row) -> _Seen:
        row, data = {name: row[name] for name in ("image_id", "urls")}, row["data"]
        try:
            image = open_rgb(data, MAX_DECODE_SIDE_PX)
        except Exception as error:  # noqa: BLE001  # the stage boundary: one bad picture never ends a run
            return _Seen(row, failure=("undecodable_image", describe(error)))
        faces = None
        if self._detector is not None:
            assert self._config.faces is not None
            try:
                with self._one_at_a_time:
                    faces = find_faces(image, self._detector, self._config.faces.min_score)
            except Exception as error:  # noqa: BLE001  # the user's code meets the web's pictures
                return _Seen(row, failure=("face_detector", describe(error)))
        return _Seen(row, None if self._model is None else self._model.prepare_image(image), faces)


class _EmbedTexts(_Embedder):
    def process(self, index: int) -> Iterator[str]:
        path = shard_path(join(self._work, "text_embeddings"), index, self._num_shards)
        write_rows(path, self._rows(index), TEXT_EMBEDDINGS)
        yield path

    def _rows(self, index: int) -> Iterator[Row]:
        assert self._model is not None
        documents = read_rows(shard_path(self._source, index, self._num_shards), ["doc_id", "nodes"])
        for batch in in_batches(texts_to_embed(documents), self._model.batch_size):
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
