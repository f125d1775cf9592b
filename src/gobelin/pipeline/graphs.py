"""The Beam graphs, each readable from top to bottom. No logic here: the transforms have it.

The same graphs run on a laptop and on a cluster. Those *by unit* do their work archive by archive or shard by shard
and shuffle next to nothing: a local run gives some of the units to each worker process. The others need the whole
data set at once; what they shuffle is keys.

Every graph is a function of a pipeline and of one frozen dataclass of paths and settings, so that a job can be handed
to another process by name. Those of ``extract`` are in ``extract_graphs.py``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import apache_beam as beam
import numpy as np

from gobelin.documents import NOT_RUN, shard_of
from gobelin.tokenize.encode import AssembleDocuments, EncodeImages, shown_images
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.transforms.files import join, list_shards
from gobelin.transforms.join_scores import (
    FACTS,
    IMAGE_FACTS,
    ScoreImages,
    WriteDocumentScores,
    WriteImageScores,
    facts_by_document,
)
from gobelin.transforms.measure import Measure, ScoreConfig
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.write_corpus import (
    STAY,
    USES,
    JudgeDocuments,
    KeepOneOfEach,
    WriteCorpus,
    WriteSelectDecisions,
)
from gobelin.transforms.shards import (
    OfShards,
    ReadRows,
    WriteDecisions,
    WriteRows,
    empty_shards,
    shards_of,
)
from gobelin.transforms.vision.embed import EmbedImages, EmbedTexts
from gobelin.transforms.vision.score_heads import ScoreHeads

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class MeasureJob:
    """``documents`` -> signatures, and measurements in ``work``, all by shard."""

    config: ScoreConfig
    documents: str
    work: str
    signatures: str
    num_shards: int


def measure_documents(pipeline: beam.Pipeline, shards: list[int], job: MeasureJob) -> None:
    """By unit (a shard of documents): text statistics and the keys under which duplicates meet."""
    (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "Measure" >> Measure(job.config, job.documents, job.work, job.signatures, job.num_shards)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class EmbedJob:
    """``images`` or ``documents`` (``source``) -> embeddings (of images also faces), both by shard."""

    config: ScoreConfig
    source: str
    work: str
    num_shards: int
    share_batches: bool = True  # one worker has all shards of the pipeline, and fills batches across them


def _together(shards: list[int], are_together: bool) -> list[tuple[int, ...]]:
    return [tuple(shards)] if are_together else [(index,) for index in shards]


def embed_images(pipeline: beam.Pipeline, shards: list[int], job: EmbedJob) -> None:
    """By unit (a shard of images): one CLIP embedding a distinct image, and its faces."""
    (
        pipeline
        | "Shards" >> beam.Create(_together(shards, job.share_batches))
        | "EmbedImages" >> EmbedImages(job.config, job.source, job.work, job.num_shards)
    )


def embed_texts(pipeline: beam.Pipeline, shards: list[int], job: EmbedJob) -> None:
    """By unit (a shard of documents): CLIP embeddings of the texts around images."""
    (
        pipeline
        | "Shards" >> beam.Create(_together(shards, job.share_batches))
        | "EmbedTexts" >> EmbedTexts(job.config, job.source, job.work, job.num_shards)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class HeadsJob:
    """Image embeddings in ``work`` -> scores of heads there, by shard."""

    heads: tuple[tuple[str, str], ...]  # name of the score, path
    work: str
    num_shards: int


def score_heads(pipeline: beam.Pipeline, shards: list[int], job: HeadsJob) -> None:
    """By unit (a shard of image embeddings): the scores of heads and zero-shot prompts."""
    (pipeline | "Shards" >> beam.Create(shards) | "ScoreHeads" >> ScoreHeads(job.heads, job.work, job.num_shards))


@dataclasses.dataclass(frozen=True, slots=True)
class JoinJob:
    """Measurements, groups and embeddings in ``work`` -> the data sets of ``score``, in ``output``."""

    images: str
    work: str
    output: str
    num_shards: int
    clip_model: str | None  # fingerprint; None: not run
    needs_faces: bool
    fact_folders: tuple[str, ...] = ()  # what each batch of ``score_images`` left
    also_of_images: tuple[str, ...] = ()  # data sets on images in ``work``, beside their groups and faces


def score_images(pipeline: beam.Pipeline, shards: list[int], job: JoinJob) -> None:
    """By unit (a shard of images): what is known of each and who shows it; ``facts`` by shard of document, and
    ``decisions``."""
    only = OfShards("image_id", frozenset(shards), job.num_shards)
    measurements = pipeline | "Measurements" >> ReadRows(
        list_shards(join(job.work, "measurements")), ["doc_id", "images"]
    )
    images = pipeline | "Images" >> ReadRows(list_shards(job.images), list(IMAGE_FACTS), only)
    of_images = ("image_groups", *(("image_faces",) if job.needs_faces else ()), *job.also_of_images)
    groups = (
        tuple(pipeline | name >> ReadRows(list_shards(join(job.work, name)), None, only) for name in of_images)
        | beam.Flatten()
    )
    embedded = [] if job.clip_model is None else list_shards(join(job.work, "image_embeddings"))
    embeddings = (
        pipeline | "Embeddings" >> ReadRows(embedded, None, only) | "EmbeddingById" >> beam.Map(_embedding_by_id)
    )
    scored = (measurements, images, embeddings, groups) | "ScoreImages" >> ScoreImages(
        only, job.clip_model, job.needs_faces
    )
    scored.facts | "WriteImageScores" >> WriteImageScores(
        join(job.output, "images"), join(job.output, "signatures", "images"), shards, job.num_shards
    )
    folder = fact_folder(job, shards)
    (
        scored.facts
        | "FactsToShard" >> beam.FlatMap(facts_by_document, job.num_shards)
        | "WriteFacts" >> WriteRows(join(folder, "facts"), FACTS, job.num_shards, ("doc_id", "image_id"))
    )
    scored.decisions | "WriteDecisions" >> WriteDecisions(join(folder, "decisions"), 1)


def score_documents(pipeline: beam.Pipeline, shards: list[int], job: JoinJob) -> None:
    """By unit (a shard of documents): all that is known of each, and of its images beside its texts."""
    (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "WriteDocumentScores"
        >> WriteDocumentScores(
            job.work, job.fact_folders, job.clip_model, join(job.output, "documents"), job.num_shards
        )
    )


def write_score_decisions(pipeline: beam.Pipeline, _: list[Any], job: JoinJob) -> None:
    """Put together what failed on the way."""
    are_seen = job.clip_model is not None or job.needs_faces
    made = ("measure_decisions", "join_decisions", *(("embed_decisions",) if are_seen else ()))
    paths = shards_of((job.work,), *made) + shards_of(job.fact_folders, "decisions")
    # Those on texts are written before the embeddings, which ``score_documents`` has found complete.
    paths += list_shards(join(job.work, "text_decisions"), may_be_unfinished=True)
    decisions = pipeline | "Decisions" >> ReadRows(paths)
    decisions | "WriteDecisions" >> WriteDecisions(join(job.output, "decisions"), job.num_shards)


def fact_folder(job: JoinJob, shards: list[int]) -> str:
    """Where a batch of ``score_images`` leaves what ``score_documents`` reads."""
    return join(job.work, f"facts-{shards[0]}")


@dataclasses.dataclass(frozen=True, slots=True)
class SelectJob:
    """Documents and their scores -> the corpus, in ``output``."""

    config: SelectConfig
    documents: str
    scores: str
    work: str  # for what one graph leaves for the next
    output: str
    num_shards: int
    use_folders: tuple[str, ...] = ()  # what each batch of ``write_corpus`` left


def judge_documents(pipeline: beam.Pipeline, shards: list[int], job: SelectJob) -> None:
    """By unit (a shard of documents): who passes the rules. No model."""
    (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "JudgeDocuments" >> JudgeDocuments(job.config, job.documents, job.scores, job.work, job.num_shards)
    )


def choose_documents(pipeline: beam.Pipeline, _: list[Any], job: SelectJob) -> None:
    """Of each group of duplicates, who stays; and which rules did not run how often."""
    survivors = pipeline | "Survivors" >> ReadRows(list_shards(join(job.work, "survivors")))
    unique = survivors | "KeepOneOfEach" >> KeepOneOfEach(job.config.document.unique)
    (
        unique.survivors
        | "StayToShard" >> beam.Map(_stay_to_shard, job.num_shards)
        | "WriteStay" >> WriteRows(join(job.work, "stay"), STAY, job.num_shards, ("doc_id",))
    )
    unique.decisions | "WriteDecisions" >> WriteDecisions(join(job.work, "unique_decisions"), job.num_shards)
    (
        pipeline
        | "NotRun" >> ReadRows(list_shards(join(job.work, "judge_not_run")))
        | "ByRule" >> beam.Map(_by_rule)
        | "CountNotRun" >> beam.CombinePerKey(sum)
        | "NotRunToShard" >> beam.Map(_not_run_row)
        | "WriteNotRun" >> WriteRows(join(job.output, "not_run"), NOT_RUN, 1, ("rule",))
    )


def write_corpus(pipeline: beam.Pipeline, shards: list[int], job: SelectJob) -> None:
    """By unit (a shard of documents): those that stay; ``uses`` of images, by shard of image."""
    (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "WriteCorpus"
        >> WriteCorpus(job.config, job.documents, job.scores, job.work, join(job.output, "documents"), job.num_shards)
        | "UsesToShard" >> beam.Map(_use_to_shard, job.num_shards)
        | "WriteUses" >> WriteRows(join(use_folder(job, shards), "uses"), USES, job.num_shards, ("image_id", "outcome"))
    )


def write_select_decisions(pipeline: beam.Pipeline, shards: list[int], job: SelectJob) -> None:
    """By unit (a shard of decisions): put together what was decided on documents, nodes and images."""
    (
        pipeline
        | "Shards" >> beam.Create(shards)
        | "WriteDecisions"
        >> WriteSelectDecisions(job.work, job.use_folders, join(job.output, "decisions"), job.num_shards)
    )


def use_folder(job: SelectJob, shards: list[int]) -> str:
    """Where a batch of ``write_corpus`` leaves what became of images."""
    return join(job.work, f"uses-{shards[0]}")


@dataclasses.dataclass(frozen=True, slots=True)
class EncodeJob:
    """Images that the corpus shows -> codes, both by shard."""

    tokenizer: str
    images: str
    corpus: str
    work: str
    num_shards: int
    device: str
    scores: str | None = None  # of images, whose faces are blurred; None: no face is


def encode_images(pipeline: beam.Pipeline, shards: list[int], job: EncodeJob) -> None:
    """By unit (a shard of images): the codes of each distinct image that the corpus shows."""
    shown = (
        pipeline
        | "Corpus" >> beam.Create(range(job.num_shards))
        | "ShownImages" >> beam.FlatMap(shown_images, job.corpus, job.num_shards)
    )
    (
        (shown, empty_shards(pipeline, shards))
        | beam.Flatten()
        | "OfTheseShards" >> beam.Filter(_is_of_shards, frozenset(shards))
        | beam.GroupByKey()
        | "EncodeImages" >> EncodeImages(job.tokenizer, job.images, job.work, job.num_shards, job.device, job.scores)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class AssembleJob:
    """The corpus and the codes in ``work`` -> token shards, in ``output``."""

    corpus: str
    work: str
    output: str
    num_shards: int
    vocabulary: Vocabulary
    text_tokenizer: TextTokenizer
    alt_as_caption: bool


def assemble_documents(pipeline: beam.Pipeline, _: list[Any], job: AssembleJob) -> None:
    """One mixed sequence a document."""
    shards = pipeline | "Shards" >> beam.Create(range(job.num_shards))
    codes = pipeline | "Codes" >> ReadRows(list_shards(join(job.work, "codes")))
    decisions = pipeline | "ReadDecisions" >> ReadRows(list_shards(join(job.work, "encode_decisions")))
    assembled = (shards, codes) | "AssembleDocuments" >> AssembleDocuments(
        job.corpus,
        join(job.output, "shards"),
        job.num_shards,
        job.vocabulary,
        job.text_tokenizer,
        job.alt_as_caption,
    )
    (
        (decisions, assembled.decisions)
        | "AllDecisions" >> beam.Flatten()
        | "WriteDecisions" >> WriteDecisions(join(job.output, "decisions"), job.num_shards)
    )


def _embedding_by_id(row: Row) -> tuple[str, bytes]:
    return row["image_id"], np.asarray(row["embedding"], np.float16).tobytes()


def _stay_to_shard(survivor: Row, num_shards: int) -> tuple[int, Row]:
    return shard_of(survivor["doc_id"], num_shards), {"doc_id": survivor["doc_id"]}


def _use_to_shard(use: Row, num_shards: int) -> tuple[int, Row]:
    return shard_of(use["image_id"], num_shards), use


def _by_rule(row: Row) -> tuple[str, int]:
    return row["rule"], row["times"]


def _not_run_row(counted: tuple[str, int]) -> tuple[int, Row]:
    return 0, {"rule": counted[0], "times": counted[1]}


def _is_of_shards(keyed: tuple[int, Any], shards: frozenset[int]) -> bool:
    return keyed[0] in shards
