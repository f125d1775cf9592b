"""The Beam graphs, each readable from top to bottom. No logic here: the transforms have it.

The same graphs run on a laptop and on a cluster. Those *by unit* do their work archive by archive or shard by shard
and shuffle next to nothing: a local run gives some of the units to each worker process. The others need the whole
data set at once; what they shuffle is keys.

Every graph is a function of a pipeline and of one frozen dataclass of paths and settings, so that a job can be handed
to another process by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np

from gobelin.documents import ARCHIVES, DECISIONS, FETCHES, NOT_RUN, ArchiveTally, shard_of, to_row
from gobelin.tokenize.encode import AssembleDocuments, EncodeImages, shown_images
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.transforms.archives.ranges import ArchiveRange
from gobelin.transforms.archives.read_warc import Capture, ReadWarc
from gobelin.transforms.archives.revisits import REVISIT_INDEX, ResolveRevisits
from gobelin.transforms.extract import IMAGE_INDEX, PAGE_INDEX, ExtractImages, ExtractPages
from gobelin.transforms.extract_config import ExtractConfig
from gobelin.transforms.fetching.fetch import FetchImages
from gobelin.transforms.fetching.wanted_urls import WANTED, WantedUrls
from gobelin.transforms.join_scores import IMAGE_FACTS, ScoreImages, WriteDocumentScores, WriteImageScores
from gobelin.transforms.link import LinkImages, WriteDocuments, WriteImages, is_stored, name_of
from gobelin.transforms.measure import Measure, ScoreConfig
from gobelin.transforms.rights.site_policy import POLICY_INDEX
from gobelin.transforms.rights.site_signals import FindSiteSignals, policy_rows
from gobelin.transforms.selection.rules import SelectConfig
from gobelin.transforms.selection.write_corpus import JudgeDocuments, KeepOneOfEach, WriteCorpus
from gobelin.transforms.shards import WriteRows, empty_shards, join, list_shards, read_rows, shard_path
from gobelin.transforms.urls import host_of
from gobelin.transforms.vision.embed import EmbedImages, EmbedTexts
from gobelin.transforms.vision.score_heads import ScoreHeads

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class ReadJob:
    """Archives -> spools and their index, in ``folder``."""

    config: ExtractConfig
    folder: str
    num_index_shards: int


INDEXES = ("pages", "images", "policies", "revisits", "decisions", "archives")
"""Data sets that ``read_archives`` writes."""


def read_archives(pipeline: beam.Pipeline, archives: list[ArchiveRange], job: ReadJob) -> None:
    """By unit (an archive, or a range of one): find pages and images, extract both, write payloads down."""
    spools = join(job.folder, "spools")
    records = (
        pipeline
        | "Archives" >> beam.Create(archives)
        | "ReadWarc" >> ReadWarc(job.config.max_page_bytes, job.config.image.max_bytes)
    )
    pages = records.pages | "ExtractPages" >> ExtractPages(job.config, spools)
    images = records.images | "ExtractImages" >> ExtractImages(job.config, spools)

    _write_index("pages", (pages.pages,), PAGE_INDEX, job)
    _write_index("images", (pages.images, images.images), IMAGE_INDEX, job)
    _write_index("decisions", (records.decisions, pages.decisions, images.decisions), DECISIONS, job)
    _write_index("archives", (records.tallies, pages.tallies), ARCHIVES, job)
    _write_index("policies", (records.policies | "PolicyRows" >> beam.FlatMap(policy_rows),), POLICY_INDEX, job, "host")
    _write_index("revisits", (records.revisits,), REVISIT_INDEX, job)


def _write_index(
    name: str, rows: tuple[beam.PCollection, ...], schema: Any, job: ReadJob | FetchJob, sort_by: str = "warc_file"
) -> None:
    (
        rows
        | f"{name}/Flatten" >> beam.Flatten()
        | f"{name}/ToShard" >> beam.Map(_by_place, job.num_index_shards)
        | f"{name}/Write" >> WriteRows(join(job.folder, name), schema, job.num_index_shards, (sort_by,))
    )


def _by_place(row: Row, num_shards: int) -> tuple[int, Row]:
    place = f"{row.get('warc_file') or row.get('origin')} {row.get('warc_offset')} {row.get('url')}"
    return shard_of(place, num_shards), row


@dataclasses.dataclass(frozen=True, slots=True)
class WantJob:
    """The index of all ``read_archives`` and earlier ``fetch_images`` folders -> URLs to fetch, in ``output``."""

    read_folders: tuple[str, ...]
    fetch_folders: tuple[str, ...]
    output: str
    num_candidates: int
    num_shards: int


def want_images(pipeline: beam.Pipeline, _: list[Any], job: WantJob) -> None:
    """Which images no archive holds; their URLs, all of one host in one shard."""
    folders = (*job.read_folders, *job.fetch_folders)
    pages = pipeline | "PageIndex" >> _Rows(_parts(job.read_folders, "pages"), ["doc_id", "candidates"])
    images = pipeline | "ImageIndex" >> _Rows(_parts(folders, "images"), ["url"])
    fetches = pipeline | "Fetches" >> _Rows(_parts(job.fetch_folders, "fetches"), ["url"])
    (
        (pages, images, fetches)
        | "WantedUrls" >> WantedUrls(job.num_candidates)
        | "ByHost" >> beam.Map(_url_to_shard, job.num_shards)
        | "Write" >> WriteRows(job.output, WANTED, job.num_shards, ("url",))
    )


def _url_to_shard(url: str, num_shards: int) -> tuple[int, Row]:
    return shard_of(host_of(url), num_shards), {"url": url}


@dataclasses.dataclass(frozen=True, slots=True)
class FetchJob:
    """URLs in ``wanted`` -> spools and their index, in ``folder``."""

    config: ExtractConfig
    wanted: str
    num_shards: int  # of ``wanted``
    folder: str
    num_index_shards: int


FETCH_INDEXES = ("images", "policies", "decisions", "archives", "fetches")
"""Data sets that ``fetch_images`` writes."""


def fetch_images(pipeline: beam.Pipeline, shards: list[int], job: FetchJob) -> None:
    """By unit (a shard of URLs): ask for the images of its hosts, and extract them as if an archive had held them."""
    config = job.config
    fetched = (
        pipeline
        | "Shards" >> beam.Create([shard_path(job.wanted, index, job.num_shards) for index in shards])
        | "Urls" >> beam.FlatMap(_urls)
        | "FetchImages"
        >> FetchImages(config.fetch, config.image.max_bytes, job.num_shards, config.block_list, config.robots_agents)
    )
    images = fetched.images | "ExtractImages" >> ExtractImages(config, join(job.folder, "spools"))

    _write_index("images", (images.images,), IMAGE_INDEX, job, "url")
    _write_index("decisions", (images.decisions,), DECISIONS, job, "url")
    _write_index("policies", (fetched.policies,), POLICY_INDEX, job, "host")
    _write_index("fetches", (fetched.fetches,), FETCHES, job, "url")
    _write_index("archives", (fetched.images | "Tally" >> beam.Map(_fetched_tally),), ARCHIVES, job)


def _urls(path: str) -> Iterator[str]:
    for row in read_rows(path):
        yield row["url"]


def _fetched_tally(capture: Capture) -> Row:
    return to_row(ArchiveTally(capture.warc_file, 0, 0, 1, 0))


@dataclasses.dataclass(frozen=True, slots=True)
class LinkJob:
    """The indexes of ``read_archives`` and ``fetch_images`` -> the data sets of ``extract``, in ``output``."""

    read_folders: tuple[str, ...]
    fetch_folders: tuple[str, ...]
    output: str
    num_shards: int
    agents: tuple[str, ...]  # of robots.txt, whose being disallowed is recorded


def link_images(pipeline: beam.Pipeline, _: list[Any], job: LinkJob) -> None:
    """Join pages and images by URL; write documents, the images they show, decisions and tallies."""
    folders = (*job.read_folders, *job.fetch_folders)
    pages = pipeline | "PageIndex" >> _Rows(_parts(job.read_folders, "pages"))
    images = pipeline | "ImageIndex" >> _Rows(_parts(folders, "images"))
    policies = pipeline | "PolicyIndex" >> _Rows(_parts(folders, "policies"))
    revisits = pipeline | "RevisitIndex" >> _Rows(_parts(job.read_folders, "revisits"))
    decisions = pipeline | "ReadDecisions" >> _Rows(_parts(folders, "decisions"))
    tallies = pipeline | "ReadTallies" >> _Rows(_parts(folders, "archives"))

    revisited = (revisits, pages, images) | "ResolveRevisits" >> ResolveRevisits()
    names = (images | "Names" >> beam.Map(name_of), revisited.images) | "AllNames" >> beam.Flatten()
    page_signals = (pages, policies) | "SignalsOfPages" >> FindSiteSignals("doc_id", job.agents)
    image_signals = (names, policies) | "SignalsOfImages" >> FindSiteSignals("image_id", job.agents)

    resolutions = (pages, names) | "LinkImages" >> LinkImages()
    documents = (pages, resolutions, page_signals) | "WriteDocuments" >> WriteDocuments(
        join(job.output, "documents"), job.num_shards
    )
    with_bytes = images | "WithBytes" >> beam.Filter(is_stored)
    stored = (with_bytes, documents["shown"], revisited.images, image_signals) | "WriteImages" >> WriteImages(
        join(job.output, "images"), job.num_shards
    )

    decided = (decisions, revisited.decisions, documents["decisions"], stored["decisions"])
    _write_decisions(decided, job.output, job.num_shards)
    fetches = pipeline | "ReadFetches" >> _Rows(_parts(job.fetch_folders, "fetches"))
    (
        fetches
        | "FetchesToShard" >> beam.Map(_to_first_shard)
        | "WriteFetches" >> WriteRows(join(job.output, "fetches"), FETCHES, 1, ("url",))
    )
    (
        tallies
        | "TalliesToShard" >> beam.Map(_to_first_shard)
        | "WriteTallies" >> WriteRows(join(job.output, "archives"), ARCHIVES, 1, ("warc_file",))
    )


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


def join_scores(pipeline: beam.Pipeline, _: list[Any], job: JoinJob) -> None:
    """Groups, counts and similarities put together; one row of scores a document and one an image."""
    measurements = pipeline | "Measurements" >> _Rows(list_shards(join(job.work, "measurements")))
    images = pipeline | "Images" >> _Rows(list_shards(job.images), list(IMAGE_FACTS))
    groups = pipeline | "ImageGroups" >> _Rows(
        _parts((job.work,), "image_groups", "semantic_groups", "image_heads", "image_faces", "image_contamination")
    )
    embeddings = pipeline | "Embeddings" >> _Rows(list_shards(join(job.work, "image_embeddings")))
    decisions = pipeline | "ReadDecisions" >> _Rows(_parts((job.work,), "measure_decisions", "embed_decisions"))

    scored = (
        measurements,
        images,
        embeddings | "EmbeddingById" >> beam.Map(_embedding_by_id),
        groups,
    ) | "ScoreImages" >> ScoreImages(job.clip_model, job.needs_faces)

    facts = scored.facts
    facts | "WriteImageScores" >> WriteImageScores(
        join(job.output, "images"), join(job.output, "signatures", "images"), job.num_shards
    )
    facts | "WriteDocumentScores" >> WriteDocumentScores(
        job.work, job.clip_model, join(job.output, "documents"), job.num_shards
    )
    _write_decisions((decisions, scored.decisions), job.output, job.num_shards)


@dataclasses.dataclass(frozen=True, slots=True)
class SelectJob:
    """Documents and their scores -> the corpus, in ``output``."""

    config: SelectConfig
    documents: str
    scores: str
    output: str
    num_shards: int


def select_documents(pipeline: beam.Pipeline, _: list[Any], job: SelectJob) -> None:
    """Judge each document, keep one of each group of duplicates, write what is left. No model."""
    judged = (
        pipeline
        | "Shards" >> beam.Create(range(job.num_shards))
        | "JudgeDocuments" >> JudgeDocuments(job.config, job.documents, job.scores, job.num_shards)
    )
    unique = judged.survivors | "KeepOneOfEach" >> KeepOneOfEach(job.config.document.unique)
    corpus = unique.survivors | "WriteCorpus" >> WriteCorpus(
        job.config, job.documents, job.scores, join(job.output, "documents"), job.num_shards
    )
    _write_decisions((judged.decisions, unique.decisions, corpus["decisions"]), job.output, job.num_shards)
    (
        judged.not_run
        | "CountNotRun" >> beam.CombinePerKey(sum)
        | "NotRunToShard" >> beam.Map(_not_run_row)
        | "WriteNotRun" >> WriteRows(join(job.output, "not_run"), NOT_RUN, 1, ("rule",))
    )


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
        (shown, empty_shards(pipeline, job.num_shards))
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
    codes = pipeline | "Codes" >> _Rows(list_shards(join(job.work, "codes")))
    decisions = pipeline | "ReadDecisions" >> _Rows(list_shards(join(job.work, "encode_decisions")))
    assembled = (shards, codes) | "AssembleDocuments" >> AssembleDocuments(
        job.corpus,
        join(job.output, "shards"),
        job.num_shards,
        job.vocabulary,
        job.text_tokenizer,
        job.alt_as_caption,
    )
    _write_decisions((decisions, assembled.decisions), job.output, job.num_shards)


class _Rows(beam.PTransform):
    """The rows of these Parquet files."""

    def __init__(self, paths: list[str], columns: list[str] | None = None) -> None:
        self._paths, self._columns = paths, columns

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return pipeline | "Paths" >> beam.Create(self._paths) | "Rows" >> beam.FlatMap(read_rows, self._columns)


def _parts(folders: tuple[str, ...], *names: str) -> list[str]:
    return [path for folder in folders for name in names for path in list_shards(join(folder, name))]


def _write_decisions(sources: tuple[beam.PCollection, ...], output: str, num_shards: int) -> None:
    (
        sources
        | "Decisions" >> beam.Flatten()
        | "DecisionsToShard" >> beam.Map(_decision_to_shard, num_shards)
        | "WriteDecisions"
        >> WriteRows(join(output, "decisions"), DECISIONS, num_shards, ("doc_id", "node_index", "url"))
    )


def _decision_to_shard(row: Row, num_shards: int) -> tuple[int, Row]:
    return shard_of(row["doc_id"] or row["url"] or row["image_id"] or row["warc_file"] or "", num_shards), row


def _to_first_shard(row: Row) -> tuple[int, Row]:
    return 0, row


def _embedding_by_id(row: Row) -> tuple[str, bytes]:
    return row["image_id"], np.asarray(row["embedding"], np.float16).tobytes()


def _not_run_row(counted: tuple[str, int]) -> tuple[int, Row]:
    return 0, {"rule": counted[0], "times": counted[1]}


def _is_of_shards(keyed: tuple[int, Any], shards: frozenset[int]) -> bool:
    return keyed[0] in shards
