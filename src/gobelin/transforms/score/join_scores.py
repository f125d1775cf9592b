"""Joins scores over the whole corpus to those of each document and image: the last part of ``score``.

    by shard of images: image rows, groups, embeddings, uses --> rows of scores; facts, by document
    by shard of documents: measurements, groups, text embeddings, facts --> rows of scores, with the similarities of
    each
    image with the texts of its document

Groups of duplicates are found earlier (duplicates/). Counts and one embedding per shown image are shuffled. They go
from one step to the other through the disk, so each step can process some of the shards at a time.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypedDict

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gobelin.data.ids import shard_of
from gobelin.data.model import Action, Decision, Unit, to_row
from gobelin.data.rows import Row, TextEmbeddingRow
from gobelin.data.schemas import IMAGE_SCORES, IMAGE_SIGNATURES, OWN_SCORES, ScoreSchemas
from gobelin.store.paths import join
from gobelin.store.shards import OfShards, RowsByDocument, read_rows, write_decisions, write_shard
from gobelin.store.tables import shard_path
from gobelin.transforms.boundary import Guarded, Refused, WebStep, attempt
from gobelin.transforms.duplicates.groups import DocumentGroupRow
from gobelin.transforms.finite import finite_or_null
from gobelin.transforms.partition import ByShard, Parts
from gobelin.transforms.progress import advance
from gobelin.transforms.row_steps import WriteRows
from gobelin.transforms.score.measure import MeasurementRow
from gobelin.transforms.vision.image_text import score_images

IMAGE_FACTS = ("image_id", "width", "height", "phash", "dhash", "colour", "thumbnail", "format", "consent")
"""Columns of ``IMAGES`` that are copied into the scores."""


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFacts:
    """The scores of an image that a document shows, and its embedding if it has one."""

    scores: Row  # columns of IMAGE_SCORES (including those of plug-ins) and of IMAGE_SIGNATURES, and format
    embedding: bytes | None  # float16


USES_OF_IMAGES = pa.schema([("image_id", pa.string()), ("doc_id", pa.string())])
"""One row per image and document that shows it, from the measurements."""


class ImageUseRow(TypedDict):
    """A row of ``USES_OF_IMAGES``."""

    image_id: str
    doc_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class UsesByShard:
    """Measurements -> rows of ``USES_OF_IMAGES``, partitioned by shards of images (``partition.Partitioner``)."""

    num_shards: int
    num_parts: int

    def __call__(self, table: pa.Table) -> tuple[pa.Table, Parts]:
        lists = table["images"].combine_chunks()
        documents = table["doc_id"].combine_chunks().take(pc.list_parent_indices(lists))
        uses = pa.table([lists.flatten(), documents], USES_OF_IMAGES)
        return ByShard("image_id", self.num_shards, self.num_parts)(uses)


class ScoreImages(beam.PTransform):
    """((image_id, doc_id) pairs, image rows without bytes, (image_id, embedding) pairs, rows of ``IMAGE_GROUPS`` and of
    ``SEMANTIC_GROUPS``), all of the same images -> ``facts``: (image_id, (``ImageFacts``, documents that show it));
    ``decisions`` on images whose documents all failed."""

    def __init__(self, clip_model: str | None, needs_faces: bool = False) -> None:
        self._clip_model, self._needs_faces = clip_model, needs_faces

    def expand(
        self, inputs: tuple[beam.PCollection, beam.PCollection, beam.PCollection, beam.PCollection]
    ) -> beam.DoOutputsTuple:
        uses, images, embeddings, groups = inputs
        return (
            {
                "image": images | "ById" >> beam.Map(_by_image_id),
                "documents": uses,
                "group": groups | "GroupById" >> beam.Map(_by_image_id),
                "embedding": embeddings,
            }
            | "JoinById" >> beam.CoGroupByKey()
            | "ScoreImage"
            >> beam.ParDo(Guarded(_score_image, _refuse_image, self._clip_model, self._needs_faces)).with_outputs(
                "decisions", main="facts"
            )
        )


def _by_image_id(row: Row) -> tuple[str, Row]:
    return row["image_id"], row


def use_by_image(row: ImageUseRow) -> tuple[str, str]:
    """(image_id, doc_id) of a row of ``USES_OF_IMAGES``."""
    return row["image_id"], row["doc_id"]


def uses_by_image(row: MeasurementRow, only: OfShards) -> Iterator[tuple[str, str]]:
    """(image_id, doc_id) for the images of a row of ``MEASUREMENTS`` that are wanted."""
    for identifier in row["images"]:
        if only.holds(identifier):
            yield identifier, row["doc_id"]


def _refuse_image(joined: tuple[str, dict[str, Iterable[Any]]], detail: str) -> Iterator[Decision]:
    yield Decision(
        stage="score", unit=Unit.IMAGE, action=Action.FAIL, rule="score_error", image_id=joined[0], detail=detail
    )


def _score_image(
    joined: tuple[str, dict[str, Iterable[Any]]], clip_model: str | None, needs_faces: bool
) -> Iterator[Any]:
    identifier, sides = joined
    documents = sorted(set(sides["documents"]))
    embedding = next(iter(sides["embedding"]), None)
    found = {name: value for row in sides["group"] for name, value in row.items()}
    if (clip_model is not None and embedding is None) or (needs_faces and "faces" not in found):
        return  # it could not be opened; ``embed_decisions`` record that
    if not documents:
        decision = Decision(
            stage="score", unit=Unit.IMAGE, action=Action.FAIL, rule="document_failed", image_id=identifier
        )
        yield beam.pvalue.TaggedOutput("decisions", to_row(decision))
        return
    scores = {
        **dict.fromkeys(IMAGE_SCORES.names),
        **next(iter(sides["image"])),
        **found,
        "clip_model": clip_model if embedding is not None else None,
    }
    yield identifier, (ImageFacts(scores, embedding), documents)


FACTS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("image_id", pa.string()),
        ("scores", pa.string()),  # JSON: ``ImageFacts.scores``
        ("embedding", pa.binary()),
    ]
)
"""One row per image and document that shows it."""


class FactRow(TypedDict):
    """A row of ``FACTS``."""

    doc_id: str
    image_id: str
    scores: str
    embedding: bytes | None


class WriteImageScores(beam.PTransform):
    """Output of ``ScoreImages`` for some shards -> these shards of ``score/images`` and ``score/signatures/images``."""

    def __init__(
        self, folder: str, signatures: str, shards: Sequence[int], num_shards: int, schema: pa.Schema = IMAGE_SCORES
    ) -> None:
        self._folder, self._signatures, self._shards, self._num_shards = folder, signatures, shards, num_shards
        self._schema = schema

    def expand(self, facts: beam.PCollection) -> tuple[beam.PCollection, beam.PCollection]:
        scores = facts | "Scores" >> beam.Map(_image_row, self._schema, self._num_shards)
        signatures = facts | "Signatures" >> beam.Map(_image_row, IMAGE_SIGNATURES, self._num_shards, "own_documents")
        return (
            scores | "WriteScores" >> self._write(self._folder, self._schema),
            signatures | "WriteSignatures" >> self._write(self._signatures, IMAGE_SIGNATURES),
        )

    def _write(self, folder: str, schema: pa.Schema) -> WriteRows:
        return WriteRows(folder, schema, self._num_shards, ("image_id",), self._shards)


def _image_row(
    keyed: tuple[str, tuple[ImageFacts, list[str]]],
    schema: pa.Schema,
    num_shards: int,
    documents: str = "num_documents",
) -> tuple[int, Row]:
    identifier, (facts, _) = keyed
    scores = {**facts.scores, "num_documents": facts.scores[documents]}
    return shard_of(identifier, num_shards), {name: scores[name] for name in schema.names}


def facts_by_document(
    keyed: tuple[str, tuple[ImageFacts, list[str]]], num_shards: int
) -> Iterator[tuple[int, FactRow]]:
    """(shard of the document, row of ``FACTS``) for each document that shows an image."""
    identifier, (facts, documents) = keyed
    of_use = {name: value for name, value in facts.scores.items() if name != "thumbnail"}
    scores = json.dumps(finite_or_null(of_use), allow_nan=False)
    for doc_id in documents:
        yield (
            shard_of(doc_id, num_shards),
            {"doc_id": doc_id, "image_id": identifier, "scores": scores, "embedding": facts.embedding},
        )


class WriteDocumentScores(beam.PTransform):
    """Shard numbers -> these shards of ``score/documents``.

    Reads measurements and groups in ``work``, text embeddings (the data set ``texts``, if there is a model), and the
    ``facts`` of a shard in
    ``fact_folders``. All but the facts are sorted by doc_id.
    """

    def __init__(
        self,
        work: str,
        texts: str | None,
        fact_folders: Iterable[str],
        clip_model: str | None,
        folder: str,
        num_shards: int,
        schemas: ScoreSchemas = OWN_SCORES,
    ) -> None:
        self._arguments = (work, texts, tuple(fact_folders), clip_model, folder, num_shards, schemas)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | beam.ParDo(_WriteDocumentScores(*self._arguments))


class _WriteDocumentScores(WebStep):
    def __init__(
        self,
        work: str,
        texts: str | None,
        fact_folders: tuple[str, ...],
        clip_model: str | None,
        folder: str,
        num_shards: int,
        schemas: ScoreSchemas,
    ) -> None:
        self._work, self._texts, self._fact_folders, self._clip_model = work, texts, fact_folders, clip_model
        self._folder, self._num_shards, self._schemas = folder, num_shards, schemas

    def process(self, index: int) -> Iterator[str]:
        images: dict[str, dict[str, ImageFacts]] = {}
        for folder in self._fact_folders:
            for row in read_rows(shard_path(join(folder, "facts"), index, self._num_shards)):
                facts = ImageFacts(json.loads(row["scores"]), row["embedding"])
                images.setdefault(row["doc_id"], {})[row["image_id"]] = facts
        decisions: list[Decision] = []
        path = shard_path(self._folder, index, self._num_shards)
        write_shard(path, self._rows(index, images, decisions), self._schemas.documents)
        write_decisions(self._shard("join_decisions", index), decisions)
        yield path

    def _rows(self, index: int, images: dict[str, dict[str, ImageFacts]], decisions: list[Decision]) -> Iterator[Row]:
        texts = RowsByDocument(
            () if self._texts is None else read_rows(shard_path(self._texts, index, self._num_shards))
        )
        groups = read_rows(self._shard("document_groups", index))
        for row, group in zip(read_rows(self._shard("measurements", index)), groups, strict=True):
            facts = images.get(row["doc_id"], {})
            scores = attempt(_joined, row, group, facts, texts.of(row["doc_id"]), self._clip_model, self._schemas)
            advance("documents")
            if isinstance(scores, Refused):
                decisions.append(
                    Decision(
                        stage="score", unit=Unit.DOCUMENT, action=Action.FAIL, rule="score_error",
                        doc_id=row["doc_id"], detail=scores.detail,
                    )
                )  # fmt: skip
                continue
            yield scores

    def _shard(self, name: str, index: int) -> str:
        return shard_path(join(self._work, name), index, self._num_shards)


def _joined(
    row: MeasurementRow,
    group: DocumentGroupRow,
    facts: dict[str, ImageFacts],
    texts: list[TextEmbeddingRow],
    clip_model: str | None,
    schemas: ScoreSchemas,
) -> Row:
    scores = complete_scores(json.loads(row["scores"]), group, facts, schemas)
    if clip_model is not None:
        add_similarities(scores, facts, texts)
        scores["clip_model"] = clip_model
    return scores


def complete_scores(
    scores: Row, group: DocumentGroupRow, facts: dict[str, ImageFacts], schemas: ScoreSchemas = OWN_SCORES
) -> Row:
    """A document's row of ``DOCUMENT_SCORES``, from its own measurements and the data of the corpus.

    Args:
        scores: the document's measurements, including scores of plug-ins.
        group: its row of ``DOCUMENT_GROUPS``.
        facts: of its images, by id.
    """
    row = {name: scores.get(name) for name in schemas.documents.names}
    row |= {name: value for name, value in group.items() if name in row}
    nodes = [{name: node.get(name) for name in schemas.node_names} for node in scores["nodes"]]
    for node, site_count in zip(nodes, group["site_counts"], strict=True):
        node["site_count"] = site_count
        known = facts.get(node["image_id"])
        node["image_id"] = known.scores["image_id"] if known else None  # also None if the image failed
        if known:
            node |= {name: known.scores[name] for name in schemas.node_names if name in known.scores}
    return {**row, "nodes": nodes}


def add_similarities(scores: Row, facts: dict[str, ImageFacts], texts: list[TextEmbeddingRow]) -> None:
    """Fills the CLIP columns of a document's image nodes. Changes ``scores`` in place.

    Args:
        facts: of the document's images, by id.
        texts: the document's rows of ``TEXT_EMBEDDINGS``.
    """
    nodes = scores["nodes"]
    shown = [index for index, node in enumerate(nodes) if node["image_id"] is not None]
    if not shown:
        return
    by_role: dict[str, dict[int, Any]] = {"text": {}, "alt": {}, "caption": {}}
    for row in texts:
        by_role[row["role"]][row["node_index"]] = np.asarray(row["embedding"], dtype=np.float32)
    text_index = sorted(by_role["text"])
    similarities = score_images(
        shown,
        np.stack([np.frombuffer(facts[nodes[index]["image_id"]].embedding or b"", np.float16) for index in shown]),
        text_index,
        np.asarray([by_role["text"][index] for index in text_index], dtype=np.float32),
        by_role["alt"],
        by_role["caption"],
    )
    for index, found in similarities.items():
        nodes[index] |= dataclasses.asdict(found)
