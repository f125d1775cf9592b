"""The stage ``tokenize``: the corpus -> token shards.

fit tokenizers      for images and text, or copy those that the recipe names
encode images       by shard of images: codes of each image that the corpus shows
assemble documents  one mixed sequence per document, or several for a long document
shuffle             sequences -> token shards with about ``shard_tokens`` tokens each, and their index
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import apache_beam as beam

from gobelin.data.model import Unit
from gobelin.data.schemas import DECISIONS
from gobelin.errors import UserError
from gobelin.pipeline.recipe.recipe import Recipe
from gobelin.pipeline.recipe.values import tokenize_lacks
from gobelin.pipeline.run.context import Context, balanced_counts
from gobelin.pipeline.run.counts import count_decisions, count_images_shown
from gobelin.pipeline.run.partition import Source, partition
from gobelin.pipeline.run.plan import Batch, DataSet, Plan, Step, is_complete, shards_to_do
from gobelin.pipeline.stages.tokenize_fit import IMAGE_TOKENIZER, fit_tokenizers, load_vocabulary
from gobelin.store.dataset import Attempt, num_rows_of
from gobelin.store.paths import join
from gobelin.store.tables import list_shards
from gobelin.tokenize.assemble import AssembleDocuments, ReadCodesOfShards, SequenceLayout
from gobelin.tokenize.codebook import read_frames
from gobelin.tokenize.encode import EncodeImages, Encoding, Shown, codes_schema, copies_serve, how_encoded
from gobelin.tokenize.shown import SHOWN, read_shown, shown_images
from gobelin.tokenize.split import least_max_tokens
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.token_shards import (
    ByKey,
    Totals,
    count_sequences,
    sequence_schema,
    shards_of_slices,
    write_token_shard,
)
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.transforms.devices import num_gpus_here
from gobelin.transforms.partition import ByNumber, ByShard, DecisionsByShard, Split
from gobelin.transforms.row_steps import ReadRows, WriteDecisions, empty_shards

ROWS_AT_ONCE = 20_000
"""Documents and images from which on codes are dealt out; documents of a batch then."""

Files = tuple[tuple[str, ...], ...]


def tokenize(context: Context) -> dict[str, Any]:
    """Runs the stage. Returns its counts."""
    folder, recipe, plan, num_shards = (
        context.folder("tokenize"),
        context.recipe,
        context.plan,
        context.recipe.num_shards,
    )
    work, output, corpus = folder.work, folder.attempt, context.data("select", "documents")
    for lacking in tokenize_lacks(recipe):
        raise UserError(lacking)
    num_documents = num_rows_of(corpus)
    if num_documents == 0:
        raise UserError(
            "the recipe kept no document, so there is nothing to tokenize: see the decisions in "
            f"{context.data('select', 'decisions')} or loosen a threshold with --set"
        )
    num_shown = count_images_shown(corpus)
    fitted = fit_tokenizers(context, num_shown)

    faces = context.data("score", "images") if recipe.tokenize.blur_faces else None
    codes, failed = DataSet(output.data("codes"), num_shards), DataSet(join(work, "encode_decisions"), num_shards)
    tokenizer, config = join(folder.path, IMAGE_TOKENIZER), recipe.tokenize
    workers = encode_workers(config.device, plan.num_workers)
    images = context.images(copies_serve(read_frames(tokenizer).framings, recipe.extract.image.copy_side_px))
    encoding = Encoding(
        tokenizer, images, codes.folder, failed.folder, config.device, config.precision, config.batch_size,
        config.decode_processes, workers, faces,
    )  # fmt: skip
    size = max(num_documents, num_shown)
    if plan.num_batches(size, ROWS_AT_ONCE) > 1:
        encoding = dataclasses.replace(encoding, shown=partition_shown(plan, corpus, work, num_shards))
    made: tuple[DataSet, ...] = (codes, failed)
    waiting = sorted({index for data_set in made for index in shards_to_do(data_set)})
    encode = EncodeJob(encoding, corpus, plan.shares_batches)
    batches = [Batch(shards, encode) for shards in plan.deal(waiting, workers=workers)]
    before = num_shown - num_shown * len(waiting) // num_shards
    plan.run(Step("tokenize: encode images", encode_images, batches, made, "images", num_shown, before))

    vocabulary, text_tokenizer = load_vocabulary(folder.path)
    layout = sequence_layout(recipe, context.data("score", "documents"), context.data("select", "decisions"))
    if layout.max_tokens is not None and layout.max_tokens < least_max_tokens(vocabulary):
        raise UserError(
            f"tokenize.max_tokens must be at least {least_max_tokens(vocabulary)}, room for an image, got "
            f"{layout.max_tokens}"
        )
    assemble = AssembleJob(
        corpus, codes.folder, failed.folder, output, join(work, "sequences"), num_shards, vocabulary, text_tokenizer,
        layout,
    )  # fmt: skip
    run_assembly(plan, assemble, work, encoding.shown, num_documents)
    totals = shuffle_into_shards(plan, assemble, work, recipe.tokenize.shard_tokens)
    decisions = count_decisions(output.data("decisions"))
    return {
        "documents": balanced_counts(num_documents, totals.num_documents, decisions, Unit.DOCUMENT),
        "images": balanced_counts(num_shown, num_rows_of(codes.folder), decisions, Unit.IMAGE),
        "tokens": {
            "all": totals.num_tokens,
            "image": totals.num_image_tokens,
            "vocabulary": vocabulary.size,
            "sequences": num_rows_of(output.data("shards")),
            "shards": len(list_shards(output.data("shards"))),
        },
        "encoded": how_encoded(codes.folder),
        **fitted,
    }


def sequence_layout(recipe: Recipe, scores: str, decisions: str) -> SequenceLayout:
    """The layout of sequences that a recipe sets.

    Args:
        scores, decisions: folders of ``score/documents`` and ``select/decisions``.
    """
    config = recipe.tokenize
    return SequenceLayout(
        config.alt_as_caption, config.order, config.max_images, config.max_tokens, recipe.seed,
        (scores, decisions) if config.order == "assigned" else None,
    )  # fmt: skip


def encode_workers(device: str, workers: int) -> int:
    """Number of processes that encode at the same time: one per GPU if the device is a GPU, each with its own decoding
    processes; otherwise the number of workers."""
    num_gpus = num_gpus_here() if device == "auto" or device.startswith("cuda") else 0
    return min(workers, num_gpus) if num_gpus else workers


def partition_shown(plan: Plan, corpus: str, work: str, num_shards: int) -> Files:
    """Partitions the images that the corpus shows by shard of images. Returns the files of ``SHOWN`` for each shard."""
    split = Split("shown", (), SHOWN, ByShard("image_id", num_shards, num_shards), num_shards, read_shown)
    source = Source(split, list_shards(corpus))
    parted = partition(plan, "tokenize: deal out shown images", join(work, "shown"), [source])
    return tuple(tuple(parted.paths("shown", index)) for index in range(num_shards))


def run_assembly(
    plan: Plan, job: AssembleJob, work: str, shown: Files | None, num_documents: int, at_once: int = ROWS_AT_ONCE
) -> None:
    """Writes ``decisions``, and sequences into ``job.sequences``.

    Args:
        shown: result of ``partition_shown``, for several batches; None: one batch.
        at_once: documents per batch.
    """
    num_shards = job.num_shards
    made = (DataSet(job.sequences, num_shards), DataSet(job.output.data("decisions"), num_shards))
    batches = [Batch(list(range(num_shards)), job)]
    if shown is not None:
        units = plan.deal(range(num_shards), num_documents, at_once)
        schema = codes_schema(job.vocabulary.codebooks)
        of_codes = Split("codes", tuple(schema.names), schema, ByNumber("shard"), num_shards, ReadCodesOfShards(shown))
        deal = DecisionsByShard(num_shards, len(units))
        of_decisions = Split("decisions", tuple(DECISIONS.names), DECISIONS, deal, len(units))
        sources = [Source(of_codes, list_shards(job.codes)), Source(of_decisions, list_shards(job.encode_decisions))]
        name = f"parts-of-codes-for-{len(units)}"  # a rerun with another number of workers may cut other batches
        parted = partition(plan, "tokenize: deal out codes", join(work, name), sources)
        parts = tuple(tuple(parted.paths("codes", index)) for index in range(num_shards))
        batches = [
            Batch(shards, dataclasses.replace(job, parts=parts, decided=tuple(parted.paths("decisions", number))))
            for number, shards in enumerate(units)
        ]
    plan.run(Step("tokenize: assemble documents", assemble_documents, batches, made, "documents", num_documents))


def shuffle_into_shards(plan: Plan, job: AssembleJob, work: str, shard_tokens: int) -> Totals:
    """Writes ``shards`` and ``index`` from the sequences. Returns their totals."""
    totals = count_sequences(list_shards(job.sequences))
    shards = shards_of_slices(totals.slices, shard_tokens)
    num_shards = int(shards.max()) + 1
    made = (DataSet(job.output.data("shards"), num_shards), DataSet(job.output.data("index"), num_shards))
    if is_complete(made):
        return totals
    schema = sequence_schema(job.vocabulary.codebooks[0])
    split = Split("sequences", tuple(schema.names), schema, ByKey(shards), num_shards)
    parted = partition(plan, "tokenize: deal sequences out", join(work, f"shuffled-into-{num_shards}"),
                       [Source(split, list_shards(job.sequences))])  # fmt: skip
    said = dataclasses.asdict(job.layout)
    del said["assignments"]
    paths = tuple(tuple(parted.paths("sequences", number)) for number in range(num_shards))
    said |= {"shard_tokens": shard_tokens, "encoded": how_encoded(job.codes)}
    shuffle = ShuffleJob(made[0].folder, made[1].folder, paths, job.vocabulary, said)
    batches = [Batch(numbers, shuffle) for numbers in plan.deal(range(num_shards))]
    plan.run(Step("tokenize: write token shards", write_token_shards, batches, made))
    return totals


@dataclasses.dataclass(frozen=True, slots=True)
class ShuffleJob:
    """Partitioned sequences -> token shards and their index."""

    shards: str
    index: str
    paths: Files  # of each shard, files with its sequences
    vocabulary: Vocabulary
    layout: dict[str, Any]  # what the shards say of themselves


def write_token_shards(pipeline: beam.Pipeline, numbers: list[int], job: ShuffleJob) -> None:
    """For each unit (a token shard): writes its rows, sorted, and its index."""
    pipeline | "Numbers" >> beam.Create(numbers) | "WriteShard" >> beam.Map(_write_token_shard, job)


def _write_token_shard(number: int, job: ShuffleJob) -> int:
    write_token_shard(
        job.shards, job.index, number, len(job.paths), job.paths[number], job.vocabulary, job.layout
    )  # fmt: skip
    return number


@dataclasses.dataclass(frozen=True, slots=True)
class EncodeJob:
    """Images that the corpus shows -> codes, both by shard."""

    encoding: Encoding
    corpus: str
    share_batches: bool = True  # one worker has all shards of the pipeline, and fills batches across them


def encode_images(pipeline: beam.Pipeline, shards: list[int], job: EncodeJob) -> None:
    """For each unit (a shard of images): computes the codes of each distinct image that the corpus shows."""
    num_shards, share = job.encoding.images.num_shards, job.share_batches
    if job.encoding.shown is None:
        ids = (
            pipeline
            | "Corpus" >> beam.Create(range(num_shards))
            | "ShownImages" >> beam.FlatMap(shown_images, job.corpus, num_shards)
        )
        shown = (
            (ids, empty_shards(pipeline, shards))
            | beam.Flatten()
            | "OfTheseShards" >> beam.Filter(_is_of_shards, frozenset(shards))
            | "Together" >> beam.Map(_by_group, share)
            | beam.GroupByKey()
            | "Groups" >> beam.Map(_as_group, tuple(shards))
        )
    else:
        groups = [tuple(shards)] if share else [(index,) for index in shards]
        shown = pipeline | "Shards" >> beam.Create([(group, ()) for group in groups])
    shown | "EncodeImages" >> EncodeImages(job.encoding)


def _by_group(keyed: tuple[int, str | None], share: bool) -> tuple[int, tuple[int, str | None]]:
    """Keys an image by its shard, or by -1 if all shards share batches."""
    return (-1 if share else keyed[0]), keyed


def _as_group(grouped: tuple[int, Iterable[tuple[int, str | None]]], shards: tuple[int, ...]) -> Shown:
    group, ids = grouped
    return (shards if group < 0 else (group,)), list(ids)


@dataclasses.dataclass(frozen=True, slots=True)
class AssembleJob:
    """The corpus and the codes -> sequences; decisions, in ``output``."""

    corpus: str
    codes: str
    encode_decisions: str
    output: Attempt
    sequences: str  # folder
    num_shards: int
    vocabulary: Vocabulary
    text_tokenizer: TextTokenizer
    layout: SequenceLayout
    parts: Files | None = None  # of each shard, files with the codes of its images; None: all shards are in one batch
    decided: tuple[str, ...] = ()  # where there are parts: files with the batch's decisions on images


def assemble_documents(pipeline: beam.Pipeline, shards: list[int], job: AssembleJob) -> None:
    """For each unit (a shard of the corpus): assembles one mixed sequence per document, or several for a long
    document."""
    places = pipeline | "Shards" >> beam.Create(shards)
    codes = pipeline | "Codes" >> ReadRows(list_shards(job.codes) if job.parts is None else [])
    decided = list_shards(job.encode_decisions) if job.parts is None else job.decided
    decisions = pipeline | "ReadDecisions" >> ReadRows(decided)
    assembled = (places, codes) | "AssembleDocuments" >> AssembleDocuments(
        job.corpus,
        job.sequences,
        job.num_shards,
        job.vocabulary,
        job.text_tokenizer,
        job.layout,
        job.parts,
    )
    (
        (decisions, assembled.decisions)
        | "AllDecisions" >> beam.Flatten()
        | "WriteDecisions" >> WriteDecisions(job.output.data("decisions"), job.num_shards, shards)
    )


def _is_of_shards(keyed: tuple[int, Any], shards: frozenset[int]) -> bool:
    return keyed[0] in shards
