"""Scores of a single document: text statistics, and the keys by which duplicates are found.

The stage ``score`` has three parts, and none of them decides anything.

    measure         each document by itself (this file)
    embed           CLIP embeddings of each distinct image and of each text of a document with images (embed.py)
    join            scores that need the whole corpus: duplicate groups, counts, image-text similarities
    (join_scores.py)

``measure`` and ``embed`` process shard by shard on any worker. ``join`` shuffles keys, counts and embeddings.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import TypedDict

import apache_beam as beam
import pyarrow as pa
import xxhash

from gobelin.data.model import Action, Decision, Role, Unit
from gobelin.data.rows import DocumentRow, NodeRow, Row, SignatureRow
from gobelin.data.schemas import SIGNATURES
from gobelin.store.paths import join
from gobelin.store.shards import read_rows, write_decisions, write_shard
from gobelin.store.tables import shard_path
from gobelin.transforms.boundary import Refused, WebStep, attempt
from gobelin.transforms.duplicates.signatures import document_signature, signature_metadata
from gobelin.transforms.finite import finite_or_null
from gobelin.transforms.progress import advance
from gobelin.transforms.score.config import ScoreConfig
from gobelin.transforms.score.plugin_scores import apply_scorers, load_scorers
from gobelin.transforms.text.invisible import comparable
from gobelin.transforms.text.pii import COLUMNS, Pii, count_pii, kinds_in
from gobelin.transforms.text.text_resources import TextResources, load_text_resources
from gobelin.transforms.text.text_statistics import (
    PARAGRAPH_MIN_TOKENS,
    TextCounts,
    count_text,
    document_statistics,
    statistics_of,
)
from gobelin.transforms.urls import host_of

MEASUREMENTS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("paragraphs", pa.list_(pa.int64())),  # for each node: hash of host and text; null for images
        ("images", pa.list_(pa.string())),  # distinct, sorted
        ("scores", pa.string()),  # JSON: the known part of the row of DOCUMENT_SCORES
    ]
)


class MeasurementRow(TypedDict):
    """A row of ``MEASUREMENTS``."""

    doc_id: str
    paragraphs: list[int | None]
    images: list[str]
    scores: str


def measure_document(
    document: DocumentRow, config: ScoreConfig, resources: TextResources | None = None, also: Row | None = None
) -> tuple[MeasurementRow, SignatureRow]:
    """A document's scores and keys that need no other document.

    Statistics are those of the prose, because code has no stop words and must not count as spam. Duplicates and
    contamination compare all text.

    Args:
        resources: lists and models that the configuration names. None: they are loaded here.
        also: further scores of the document, by column.
    """
    resources = resources or load_text_resources(config.text, config.contamination)
    host = host_of(document["url"])
    nodes = document["nodes"]
    measured: MeasurementRow = {
        "doc_id": document["doc_id"],
        "paragraphs": [None if node["text"] is None else _paragraph_key(host, node["text"]) for node in nodes],
        "images": sorted({node["image_id"] for node in nodes if node["image_id"]}),
        "scores": json.dumps(finite_or_null({**_scores(document, resources), **(also or {})}), allow_nan=False),
    }
    whole = "\n\n".join(node["text"] for node in nodes if node["text"] is not None)
    return measured, document_signature(document, whole, config.minhash)


def _paragraph_key(host: str, text: str) -> int:
    return _key(f"{host}\n{comparable(text)}")


def _scores(document: DocumentRow, resources: TextResources) -> Row:
    """The part of the row of ``DOCUMENT_SCORES`` that depends only on the document's own texts."""
    language = document["language"]
    lists = resources.lists(language)
    nodes = document["nodes"]
    texts = [node for node in nodes if node["kind"] == "text"]
    counts = [count_text(node["text"] or "", language, lists, node["role"] == Role.LIST_ITEM) for node in texts]
    prose = [count for count, node in zip(counts, texts, strict=True) if node["role"] != Role.CODE]
    personal = kinds_in("\n\n".join(text for node in nodes for text in _texts_of(node)))
    contamination, by_text = resources.contamination([node["text"] or "" for node in texts])
    text_scores = iter([_text_scores(count, found) for count, found in zip(counts, by_text, strict=True)])
    return {
        "doc_id": document["doc_id"],
        "num_images": sum(node["image_id"] is not None for node in nodes),
        **document_statistics(prose, language, lists),
        **resources.models.scores([count.text for count in prose], language),
        **contamination,
        "nodes": [
            {
                **(next(text_scores) if node["kind"] == "text" else {"kind": "image", "image_id": node["image_id"]}),
                **_pii_counts(node, personal),
            }
            for node in nodes
        ],
    }


def _text_scores(counts: TextCounts, num_eval_ngrams: int | None) -> Row:
    return {
        "kind": "text",
        **statistics_of(counts, PARAGRAPH_MIN_TOKENS),
        "num_eval_ngrams": num_eval_ngrams,
        "site_count": 1,
    }


def _pii_counts(node: NodeRow, personal: list[Pii]) -> Row:
    counts: Counter[Pii] = Counter()
    if personal:
        for text in _texts_of(node):
            counts += count_pii(text, personal)
    return {COLUMNS[kind]: counts[kind] for kind in Pii}


def _texts_of(node: NodeRow) -> list[str]:
    """Texts of a node that may hold personal data. Addresses of images are not searched."""
    fields = (node["text"], node["alt"], node["caption"], node["title"], node["link_url"])
    return [each for each in fields if each]


def _key(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode()) - (1 << 63)


class Measure(beam.PTransform):
    """Shard numbers of ``documents`` -> shards of ``signatures``, and of ``measurements`` and ``measure_decisions`` in
    the folder ``work``."""

    def __init__(self, config: ScoreConfig, documents: str, work: str, signatures: str, num_shards: int) -> None:
        self._arguments = (config, documents, work, signatures, num_shards)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | beam.ParDo(_Measure(*self._arguments))


class _Measure(WebStep):
    def __init__(self, config: ScoreConfig, documents: str, work: str, signatures: str, num_shards: int) -> None:
        self._config, self._documents, self._work = config, documents, work
        self._signatures, self._num_shards = signatures, num_shards
        self._resources: TextResources | None = None

    def setup(self) -> None:
        # Loaded here, so that an unreadable file ends the run instead of failing each document.
        self._resources = load_text_resources(self._config.text, self._config.contamination)
        self._scorers = load_scorers(self._config.plugins, Unit.DOCUMENT)

    def process(self, index: int) -> Iterator[str]:
        decisions: list[Decision] = []
        signatures: list[SignatureRow] = []
        path = shard_path(join(self._work, "measurements"), index, self._num_shards)
        source = shard_path(self._documents, index, self._num_shards)
        failed = shard_path(join(self._work, "measure_decisions"), index, self._num_shards)
        write_shard(path, self._measurements(source, decisions, signatures), MEASUREMENTS)
        signed = shard_path(self._signatures, index, self._num_shards)
        write_shard(signed, signatures, SIGNATURES, signature_metadata(self._config.minhash))
        write_decisions(failed, decisions)
        yield path

    def _measurements(
        self, source: str, decisions: list[Decision], signatures: list[SignatureRow]
    ) -> Iterator[MeasurementRow]:
        for document in read_rows(source):
            advance("documents")
            also, failed = apply_scorers(self._scorers, document, Unit.DOCUMENT)
            made = attempt(measure_document, document, self._config, self._resources, also)
            if isinstance(made, Refused):
                decisions.append(
                    Decision(
                        stage="score", unit=Unit.DOCUMENT, action=Action.FAIL, rule="score_error",
                        doc_id=document["doc_id"], url=document["url"],
                        detail=made.detail,
                    )
                )  # fmt: skip
                continue
            decisions += failed
            measured, signature = made
            signatures.append(signature)
            yield measured
