"""What can be told of documents and images only beside all the others: the last part of the stage ``score``.

    measurements --equal keys--> groups of the same URL, of the same text
                 --band keys---> MinHash buckets -> edges -> connected components
                 --paragraphs--> how often a text stands on its host
    images ------perceptual hash keys-> verified edges -> connected components -> counts of the documents that show them
    embeddings --by image-> similarities of each image with the texts of its documents

What is shuffled are keys, counts and one embedding a shown image. Components are found by union-find in one process,
good to about 1e8 edges.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np

from gobelin.documents import (
    DOCUMENT_SCORES,
    IMAGE_SCORES,
    NODE_SCORES,
    Action,
    Decision,
    Unit,
    shard_of,
    to_row,
)
from gobelin.transforms.clip import score_images
from gobelin.transforms.components import ConnectByKey, ConnectEdges
from gobelin.transforms.near_duplicates import (
    phash_band_keys,
    phash_bucket_edges,
)
from gobelin.transforms.progress import advance
from gobelin.transforms.shards import WriteRows, empty_shards, read_rows, shard_path, write_rows

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """A document belongs to the duplicate group ``group`` of its ``kind``."""

    kind: str  # url_group | exact_group | near_group
    group: str


@dataclasses.dataclass(frozen=True, slots=True)
class SiteCount:
    """The text of one node stands ``count`` times on its host."""

    node_index: int
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image that a document shows, and its embedding where it has one."""

    scores: Row  # of IMAGE_SCORES, and format
    embedding: bytes | None  # float16


class FindDuplicates(beam.PTransform):
    """Measurements -> (doc_id, ``Group`` or ``SiteCount``) wherever a document is not alone in its group."""

    def expand(self, measurements: beam.PCollection) -> beam.PCollection:
        same = (
            measurements
            | "KeysOfSame" >> beam.FlatMap(_keys_of_same)
            | "GroupSame" >> beam.GroupByKey()
            | "NameGroup" >> beam.FlatMap(_name_group)
        )
        near = (
            measurements
            | "BandKeys" >> beam.FlatMap(_band_keys)
            | "ConnectBands" >> ConnectByKey()
            | "NearGroup" >> beam.Map(_near_group)
        )
        repeated = (
            measurements
            | "ParagraphKeys" >> beam.FlatMap(_paragraph_keys)
            | "GroupParagraphs" >> beam.GroupByKey()
            | "SiteCounts" >> beam.FlatMap(_site_counts)
        )
        return (same, near, repeated) | beam.Flatten()


_KINDS = {"url_key": "url_group", "text_digest": "exact_group"}


def _keys_of_same(row: Row) -> Iterator[tuple[tuple[str, str], str]]:
    for field, kind in _KINDS.items():
        if row[field] is not None:
            yield (kind, row[field]), row["doc_id"]


def _name_group(grouped: tuple[tuple[str, str], Iterable[str]]) -> Iterator[tuple[str, Group]]:
    (kind, _), members = grouped
    doc_ids = sorted(members)
    for doc_id in doc_ids[1:]:
        yield doc_id, Group(kind, doc_ids[0])


def _band_keys(row: Row) -> Iterator[tuple[int, str]]:
    for key in row["bands"]:
        yield key, row["doc_id"]


def _near_group(component: tuple[str, str]) -> tuple[str, Group]:
    return component[0], Group("near_group", component[1])


def _paragraph_keys(row: Row) -> Iterator[tuple[str, tuple[str, int]]]:
    for index, key in enumerate(row["paragraphs"]):
        if key is not None:
            yield key, (row["doc_id"], index)


def _site_counts(grouped: tuple[str, Iterable[tuple[str, int]]]) -> Iterator[tuple[str, SiteCount]]:
    places = list(grouped[1])
    if len(places) > 1:
        for doc_id, node_index in places:
            yield doc_id, SiteCount(node_index, len(places))


class ScoreImages(beam.PTransform):
    """(measurements, image rows without bytes, (image_id, embedding) pairs) -> ``facts``: ``ImageFacts`` keyed by
    image_id, beside the documents that show it; ``decisions`` on images of which every document failed."""

    def __init__(self, phash_distance: int, clip_model: str | None) -> None:
        self._phash_distance, self._clip_model = phash_distance, clip_model

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection, beam.PCollection]) -> beam.DoOutputsTuple:
        measurements, images, embeddings = inputs
        components = (
            images
            | "PhashKeys" >> beam.FlatMap(_phash_keys, self._phash_distance)
            | "GroupPhash" >> beam.GroupByKey()
            | "PhashEdges" >> beam.FlatMap(_phash_edges, self._phash_distance)
            | "ConnectNear" >> ConnectEdges()
        )
        return (
            {
                "image": images | "ById" >> beam.Map(_image_by_id),
                "documents": measurements | "Uses" >> beam.FlatMap(_uses),
                "component": components,
                "embedding": embeddings,
            }
            | "JoinById" >> beam.CoGroupByKey()
            | "ToGroup" >> beam.Map(_to_near_group)
            | "GroupNear" >> beam.GroupByKey()
            | "CountGroup" >> beam.FlatMap(_count_group, self._clip_model).with_outputs("decisions", main="facts")
        )


def _phash_keys(image: Row, distance: int) -> Iterator[tuple[int, tuple[str, str]]]:
    for key in phash_band_keys(image["phash"], distance):
        yield key, (image["image_id"], image["phash"])


def _phash_edges(grouped: tuple[int, Iterable[tuple[str, str]]], distance: int) -> Iterator[tuple[str, str]]:
    yield from phash_bucket_edges(grouped[1], distance)


def _image_by_id(image: Row) -> tuple[str, Row]:
    return image["image_id"], image


def _uses(row: Row) -> Iterator[tuple[str, str]]:
    for identifier in row["images"]:
        yield identifier, row["doc_id"]


def _to_near_group(joined: tuple[str, dict[str, Iterable[Any]]]) -> tuple[str, Any]:
    identifier, sides = joined
    image = next(iter(sides["image"]))
    embedding = next(iter(sides["embedding"]), None)
    documents = sorted(set(sides["documents"]))
    return next(iter(sides["component"]), identifier), (image, documents, embedding)


def _count_group(grouped: tuple[str, Iterable[Any]], clip_model: str | None) -> Iterator[Any]:
    group, members = grouped
    members = list(members)
    near_count = len({doc_id for _, documents, _ in members for doc_id in documents})
    for image, documents, embedding in members:
        if clip_model is not None and embedding is None:
            continue  # it could not be opened; ``embed`` has said so
        if not documents:
            yield beam.pvalue.TaggedOutput(
                "decisions",
                to_row(
                    Decision(
                        stage="score", unit=Unit.IMAGE, action=Action.FAIL, rule="document_failed",
                        image_id=image["image_id"],
                    )
                ),
            )  # fmt: skip
            continue
        scores = {
            **{name: image[name] for name in ("image_id", "width", "height", "phash", "format")},
            "num_documents": len(documents),
            "near_group": group,
            "near_count": near_count,
            "nsfw": None,
            "aesthetic": None,
            "clip_model": clip_model if embedding is not None else None,
        }
        yield image["image_id"], (ImageFacts(scores, embedding), documents)


class WriteImageScores(beam.PTransform):
    """Output of ``ScoreImages`` -> the data set ``scores/images``."""

    def __init__(self, folder: str, num_shards: int) -> None:
        self._folder, self._num_shards = folder, num_shards

    def expand(self, facts: beam.PCollection) -> beam.PCollection:
        rows = facts | "Rows" >> beam.Map(_image_score_row, self._num_shards)
        return rows | WriteRows(self._folder, IMAGE_SCORES, self._num_shards, ("image_id",))


def _image_score_row(keyed: tuple[str, tuple[ImageFacts, list[str]]], num_shards: int) -> tuple[int, Row]:
    identifier, (facts, _) = keyed
    return shard_of(identifier, num_shards), {name: facts.scores[name] for name in IMAGE_SCORES.names}


class WriteDocumentScores(beam.PTransform):
    """((doc_id, ``Group`` | ``SiteCount``) pairs, output of ``ScoreImages``) -> the data set ``scores/documents``.

    Reads each measurement again where its row is written, with the text embeddings of the same shard.
    """

    def __init__(
        self, measurements: str, text_embeddings: str | None, clip_model: str | None, folder: str, num_shards: int
    ) -> None:
        self._arguments = (measurements, text_embeddings, clip_model, folder, num_shards)
        self._num_shards = num_shards

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        duplicates, images = inputs
        return (
            (
                duplicates | "DuplicatesToShard" >> beam.Map(_to_shard, self._num_shards),
                images
                | "ImagesOfDocuments" >> beam.FlatMap(_facts_by_document)
                | "ImagesToShard" >> beam.Map(_to_shard, self._num_shards),
                empty_shards(duplicates.pipeline, self._num_shards),
            )
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.ParDo(_WriteDocumentScores(*self._arguments))
        )


def _facts_by_document(keyed: tuple[str, tuple[ImageFacts, list[str]]]) -> Iterator[tuple[str, ImageFacts]]:
    _, (facts, documents) = keyed
    for doc_id in documents:
        yield doc_id, facts


def _to_shard(pair: tuple[str, Any], num_shards: int) -> tuple[int, Any]:
    return shard_of(pair[0], num_shards), pair


class _WriteDocumentScores(beam.DoFn):
    def __init__(
        self, measurements: str, text_embeddings: str | None, clip_model: str | None, folder: str, num_shards: int
    ) -> None:
        self._measurements, self._text_embeddings = measurements, text_embeddings
        self._clip_model, self._folder, self._num_shards = clip_model, folder, num_shards

    def process(self, element: tuple[int, Iterable[Any]]) -> Iterator[str]:
        index, group = element
        updates: dict[str, list[Any]] = {}
        for pair in group:
            if pair is not None:
                updates.setdefault(pair[0], []).append(pair[1])
        path = shard_path(self._folder, index, self._num_shards)
        write_rows(path, self._rows(index, updates), DOCUMENT_SCORES)
        yield path

    def _rows(self, index: int, updates: dict[str, list[Any]]) -> Iterator[Row]:
        texts = _EmbeddingsOfShard(
            shard_path(self._text_embeddings, index, self._num_shards) if self._text_embeddings else None
        )
        for row in read_rows(shard_path(self._measurements, index, self._num_shards)):
            scores = complete_scores(json.loads(row["scores"]), updates.get(row["doc_id"], ()))
            if self._clip_model is not None:
                facts = {fact.scores["image_id"]: fact for fact in updates.get(row["doc_id"], ())
                         if isinstance(fact, ImageFacts)}  # fmt: skip
                add_similarities(scores, facts, texts.of(row["doc_id"]))
                scores["clip_model"] = self._clip_model
            advance("documents")
            yield scores


_NODE_FIELDS = tuple(field.name for field in NODE_SCORES)
_IMAGE_FIELDS = ("format", "width", "height", "phash", "num_documents", "near_count", "nsfw", "aesthetic")


def complete_scores(scores: Row, updates: Iterable[Group | SiteCount | ImageFacts]) -> Row:
    """A document's row of ``DOCUMENT_SCORES`` from what was measured of it and what the corpus added."""
    row = {name: scores.get(name) for name in DOCUMENT_SCORES.names}
    for kind in ("url_group", "exact_group", "near_group"):
        row[kind] = scores["doc_id"]
    nodes = [{name: node.get(name) for name in _NODE_FIELDS} for node in scores["nodes"]]
    facts: dict[str, Row] = {}
    for update in updates:
        match update:
            case Group(kind, group):
                row[kind] = group
            case SiteCount(node_index, count):
                nodes[node_index]["site_count"] = count
            case ImageFacts(image_scores, _):
                facts[image_scores["image_id"]] = image_scores
    for node in nodes:
        known = facts.get(node["image_id"])
        node["image_id"] = known["image_id"] if known else None  # None too where the image failed
        if known:
            node |= {name: known[name] for name in _IMAGE_FIELDS}
    return {**row, "nodes": nodes}


def add_similarities(scores: Row, facts: dict[str, ImageFacts], texts: list[Row]) -> None:
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


class _EmbeddingsOfShard:
    """Text embeddings of one shard, document after document in the order of their ids."""

    def __init__(self, path: str | None) -> None:
        self._rows = iter(()) if path is None else read_rows(path)
        self._next: Row | None = next(self._rows, None)

    def of(self, doc_id: str) -> list[Row]:
        found = []
        while self._next is not None and self._next["doc_id"] <= doc_id:
            if self._next["doc_id"] == doc_id:
                found.append(self._next)
            self._next = next(self._rows, None)
        return found
