"""What can be told of a document by itself: text statistics, and the keys under which duplicates meet.

The stage ``score`` has three parts; none of them decides anything.

    measure         each document by itself (this file)
    embed           each distinct image, and each text of a document with images: CLIP embeddings, once (embed.py)
    join_scores     what needs the whole corpus: duplicate groups, counts, image-text similarities (join_scores.py)

``measure`` and ``embed`` go shard by shard and may run anywhere; ``join_scores`` shuffles keys, counts and embeddings.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import xxhash

from gobelin.documents import SIGNATURES, Action, Decision, Role, Unit
from gobelin.transforms.image_duplicates import NearImageConfig
from gobelin.transforms.minhash import MinHashConfig
from gobelin.transforms.pii import count_emails
from gobelin.transforms.progress import advance
from gobelin.transforms.semantic_duplicates import SemanticConfig
from gobelin.transforms.shards import join, read_rows, shard_path, with_decisions, write_rows
from gobelin.transforms.signatures import document_signature, signature_metadata
from gobelin.transforms.text_statistics import PARAGRAPH_MIN_TOKENS, text_statistics
from gobelin.transforms.urls import describe, host_of

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClipConfig:
    """The model that compares pictures and texts."""

    model: str
    """An open_clip architecture (ViT-L-14-quickgelu), ``hf-hub:...``, or ``local-dir:FOLDER`` with open_clip's
    configuration and weights."""

    pretrained: str | None = None
    """open_clip's tag of the weights (openai, laion2b_s34b_b79k ...) or a file. Not needed with the other two forms
    of ``model``. Without weights nothing is scored."""

    batch_size: int = 64
    """Images or texts a forward pass. Results are the same for any value up to rounding; keep it fixed in a corpus."""

    def __post_init__(self) -> None:
        brings_weights = self.model.startswith(("local-dir:", "hf-hub:"))
        if not brings_weights and not self.pretrained:
            raise ValueError(
                f"CLIP model {self.model} names no weights, and random ones are never used: set pretrained to a tag of "
                "open_clip or a file, or model to local-dir:FOLDER"
            )
        if brings_weights and self.pretrained:
            raise ValueError(f"CLIP model {self.model} brings its own weights: leave pretrained out")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """What is measured. Thresholds are ``select``'s."""

    minhash: MinHashConfig = dataclasses.field(default_factory=MinHashConfig)
    """Near-duplicate texts. The default joins 97 % of pairs of Jaccard similarity 0.8 and none of 0.5. OBELICS: 16
    hashes over 5-grams."""

    near_images: NearImageConfig = dataclasses.field(default_factory=NearImageConfig)
    """Near-duplicate images."""

    earlier: tuple[str, ...] = ()
    """Output folders of earlier runs. What is in their corpora already is known by their signatures and named in the
    scores; ``document.unique`` then keeps it out of this one."""

    clip: ClipConfig | None = None
    """Image-text similarity. Null: not run."""

    semantic: SemanticConfig | None = None
    """Images of like meaning, by the embeddings of ``clip``. Null: not run."""

    def __post_init__(self) -> None:
        if self.semantic is not None and self.clip is None:
            raise ValueError("semantic compares embeddings of images, and clip, which makes them, is null: set it too")


MEASUREMENTS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("paragraphs", pa.list_(pa.int64())),  # of each node, null for images: hash of host and text
        ("images", pa.list_(pa.string())),  # distinct, sorted
        ("scores", pa.string()),  # JSON: the row of DOCUMENT_SCORES as far as it is known
    ]
)


def measure_document(document: Row, config: ScoreConfig) -> tuple[Row, Row]:
    """What one document's scores and keys are, as far as it can be told without the others: its rows of
    ``MEASUREMENTS`` and of ``SIGNATURES``.

    The statistics are those of its prose: code has no stop words, and is no spam for it. Duplicates compare all text.
    """
    language = document["language"]
    host = host_of(document["url"])
    texts = [node for node in document["nodes"] if node["kind"] == "text"]
    whole = "\n\n".join(node["text"] for node in texts)
    prose = "\n\n".join(node["text"] for node in texts if node["role"] != Role.CODE)
    images = sorted({node["image_id"] for node in document["nodes"] if node["image_id"]})
    scores = {
        "doc_id": document["doc_id"],
        "num_images": sum(node["image_id"] is not None for node in document["nodes"]),
        **dataclasses.asdict(text_statistics(prose, language)),
        "nodes": [_node_scores(node, language) for node in document["nodes"]],
    }
    measured = {
        "doc_id": document["doc_id"],
        "paragraphs": [
            _key(f"{host}\n{node['text']}") if node["kind"] == "text" else None for node in document["nodes"]
        ],
        "images": images,
        "scores": json.dumps(scores),
    }
    return measured, document_signature(document, whole, config.minhash)


def _node_scores(node: Row, language: str | None) -> Row:
    if node["kind"] == "image":
        return {"kind": "image", "image_id": node["image_id"]}
    return {
        "kind": "text",
        **dataclasses.asdict(text_statistics(node["text"], language, PARAGRAPH_MIN_TOKENS)),
        "num_emails": count_emails(node["text"]),
        "site_count": 1,
    }


def _key(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode()) - (1 << 63)


class Measure(beam.PTransform):
    """Shard numbers of ``documents`` -> shards of ``signatures``, and of ``measurements`` and ``measure_decisions`` in
    the folder ``work``."""

    def __init__(self, config: ScoreConfig, documents: str, work: str, signatures: str, num_shards: int) -> None:
        self._arguments = (config, documents, work, signatures, num_shards)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return shards | beam.ParDo(_Measure(*self._arguments))


class _Measure(beam.DoFn):
    def __init__(self, config: ScoreConfig, documents: str, work: str, signatures: str, num_shards: int) -> None:
        self._config, self._documents, self._work = config, documents, work
        self._signatures, self._num_shards = signatures, num_shards

    def process(self, index: int) -> Iterator[str]:
        decisions: list[Decision] = []
        signatures: list[Row] = []
        path = shard_path(join(self._work, "measurements"), index, self._num_shards)
        source = shard_path(self._documents, index, self._num_shards)
        failed = shard_path(join(self._work, "measure_decisions"), index, self._num_shards)
        rows = with_decisions(self._measurements(source, decisions, signatures), decisions, failed)
        write_rows(path, self._with_signatures(rows, signatures, index), MEASUREMENTS)
        yield path

    def _with_signatures(self, rows: Iterable[Row], signatures: list[Row], index: int) -> Iterator[Row]:
        """The rows; after the last one, and so before their file appears, the signatures are written."""
        yield from rows
        path = shard_path(self._signatures, index, self._num_shards)
        write_rows(path, signatures, SIGNATURES, signature_metadata(self._config.minhash))

    def _measurements(self, source: str, decisions: list[Decision], signatures: list[Row]) -> Iterator[Row]:
        for document in read_rows(source):
            advance("documents")
            try:
                measured, signature = measure_document(document, self._config)
            except Exception as error:  # noqa: BLE001  # the stage boundary: one bad document never ends a run
                decisions.append(
                    Decision(
                        stage="score", unit=Unit.DOCUMENT, action=Action.FAIL, rule="score_error",
                        doc_id=document["doc_id"], url=document["url"],
                        detail=describe(error),
                    )
                )  # fmt: skip
                continue
            signatures.append(signature)
            yield measured
