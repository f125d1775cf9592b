"""Reads the documents of a stage with their images and similarities, shard by shard, for all exports.

    documents of the stage --ids of images--> the shards of documents that need each image
    extract/images, score/image_embeddings --partition--> one file per shard of documents
    shard by shard: documents, their images, and (if requested) the cosines of their images and texts

It reads only images and nodes that the stage kept. There are two passes over the documents and one over the images.
Memory holds the ids of one shard of images and of one shard of documents, and one document.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from gobelin.data.ids import shard_of
from gobelin.data.rows import Row
from gobelin.data.schemas import IMAGES
from gobelin.exchange.blurring import WITHHELD, hide_faces
from gobelin.exchange.entry import Entry, Picture
from gobelin.exchange.partition import Partition, Records
from gobelin.exchange.similarities import Matrix, Similarities
from gobelin.store.dataset import current
from gobelin.store.paths import join
from gobelin.store.shards import read_rows
from gobelin.store.tables import list_shards, shard_path
from gobelin.transforms.vision.faces import faces_of_shard

STAGES = ("extract", "select")
"""Stages that hold documents."""

EMBEDDINGS = "embeddings"
IMPORTED = "similarities"
"""Also the name of the data set in ``extract``."""

_FACTS = [name for name in IMAGES.names if name != "data"]


@dataclasses.dataclass(frozen=True, slots=True)
class Corpus:
    """A stage's documents, ready to be read shard by shard. Made by ``open_corpus``."""

    output: str  # folder of the run
    stage: str
    num_shards: int
    with_data: bool  # whether pictures come with their bytes
    similarity: str | None  # where cosines come from: EMBEDDINGS, IMPORTED, or nowhere
    faces: str | None  # folder of IMAGE_SCORES with the faces that are blurred; None: nothing is
    _wanted: Partition
    _images: Partition
    _embeddings: Partition

    def entries(self, index: int) -> Iterator[tuple[Entry, Matrix | None]]:
        """Yields the documents of one shard in the order of their ids, each with the cosines, (N, M), of its N image
        nodes and M text nodes; None if unknown."""
        documents = read_rows(self.shard(self.stage, "documents", index))
        with Records(self._images, index) as images, Records(self._embeddings, index) as embeddings:
            similarities = self._similarities(index, embeddings)
            for document in documents:
                shown = [node for node in document["nodes"] if node["kind"] == "image"]
                entry = Entry(document, tuple(self._picture(node["image_id"], images) for node in shown))
                yield entry, similarities.of(document) if similarities else None

    def images(self, index: int) -> Iterator[Row]:
        """Yields rows of ``IMAGES`` of one shard: the images that some document of the stage shows. If faces are
        blurred, the rows come from ``hide_faces``."""
        wanted = {header["image_id"] for header, _, _ in self._wanted.headers(index)}
        rows = (row for row in read_rows(self.shard("extract", "images", index)) if row["image_id"] in wanted)
        yield from _hidden(rows, self.faces, index, self.num_shards)

    def done_with(self, index: int) -> None:
        """Deletes the temporary files of one shard of documents."""
        self._images.drop(index)
        self._embeddings.drop(index)

    def shard(self, stage: str, name: str, index: int) -> str:
        """Path of one shard of a data set of the run."""
        return shard_path(current(join(self.output, stage, name)), index, self.num_shards)

    def _similarities(self, index: int, embeddings: Records) -> Similarities | None:
        if self.similarity is None:
            return None
        texts = self.shard("score", "text_embeddings", index) if self.similarity == EMBEDDINGS else None
        imported = self.shard("extract", IMPORTED, index) if self.similarity == IMPORTED else None
        selected = None
        if self.stage == "select":
            selected = self.shard("extract", "documents", index), self.shard("select", "decisions", index)
        return Similarities(embeddings, texts, imported, selected)

    def _picture(self, identifier: str | None, images: Records) -> Picture | None:
        found = images.get(identifier) if identifier else None
        if not found:
            return None
        facts, data = found
        return Picture(data if self.with_data else None, facts, facts.get(WITHHELD))


def _hidden(rows: Iterable[Row], faces: str | None, index: int, num_shards: int) -> Iterator[Row]:
    """Rows of one shard of images, ready for an export."""
    if faces is None:
        yield from rows
        return
    boxes = faces_of_shard(faces, index, num_shards)
    for row in rows:
        yield hide_faces(row, boxes)


def open_corpus(
    output: str, stage: str, work: str, with_data: bool, similarity: str | None, faces: str | None
) -> Corpus:
    """Partitions the images that the documents of a stage show, by shard of documents.

    Args:
        work: a local folder; it may be deleted when the corpus has been read.
        similarity: source of the cosines: EMBEDDINGS from ``score``, IMPORTED, or none.
        faces: folder of ``IMAGE_SCORES`` with the faces to blur; None: nothing is blurred.
    """
    folder, pictures = current(join(output, stage, "documents")), current(join(output, "extract", "images"))
    embedded = current(join(output, "score", "image_embeddings")) if similarity == EMBEDDINGS else ""
    num_shards = len(list_shards(folder))
    wanted, images, embeddings = (Partition(join(work, name)) for name in ("wanted", "images", "embeddings"))
    corpus = Corpus(output, stage, num_shards, with_data, similarity, faces, wanted, images, embeddings)
    for index in range(num_shards):
        shown: set[str] = set()
        for row in read_rows(shard_path(folder, index, num_shards), ["nodes"]):
            shown.update(node["image_id"] for node in row["nodes"] if node["image_id"])
        for identifier in sorted(shown):
            wanted.append(shard_of(identifier, num_shards), {"image_id": identifier, "by": index})
    for index in range(num_shards):
        by: dict[str, list[int]] = defaultdict(list)
        for header, _, _ in wanted.headers(index):
            by[header["image_id"]].append(header["by"])
        columns = None if with_data else _FACTS
        rows = read_rows(shard_path(pictures, index, num_shards), columns)
        for row in _hidden((row for row in rows if row["image_id"] in by), faces, index, num_shards):
            data = row.pop("data", b"")
            for shard in by[row["image_id"]]:
                images.append(shard, row, data)
        if similarity == EMBEDDINGS:
            for row in read_rows(shard_path(embedded, index, num_shards)):
                for shard in by.get(row["image_id"], ()):
                    payload = np.asarray(row["embedding"], np.float16).tobytes()
                    embeddings.append(shard, {"image_id": row["image_id"]}, payload)
    return corpus
