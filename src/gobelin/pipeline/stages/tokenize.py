"""The stage ``tokenize``: the corpus -> token shards.

fit tokenizers      of images and of text, or take the ones that the recipe names
encode images       by shard of images: codes of each image that the corpus shows
assemble documents  one mixed sequence a document
"""

from __future__ import annotations

import dataclasses
from typing import Any

import apache_beam as beam

from gobelin.documents import Unit
from gobelin.errors import UserError
from gobelin.pipeline import fits
from gobelin.pipeline.context import Context, balanced_counts
from gobelin.pipeline.plan import Batch, DataSet, Step, data_sets, shards_to_do
from gobelin.pipeline.state import count_decisions, count_rows, images_shown
from gobelin.store.dataset import Attempt
from gobelin.tokenize.encode import AssembleDocuments, EncodeImages, shown_images
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.transforms.files import join, list_shards
from gobelin.transforms.shards import ReadRows, WriteDecisions, empty_shards


def tokenize(context: Context) -> dict[str, Any]:
    """Runs the stage. Returns what it counted."""
    folder, recipe, plan, num_shards = (
        context.folder("tokenize"),
        context.recipe,
        context.plan,
        context.recipe.num_shards,
    )
    work, output, corpus = folder.work, folder.attempt, context.data("select", "documents")
    if recipe.tokenize.blur_faces and recipe.score.faces is None:
        raise UserError("tokenize.blur_faces needs score.faces, which says where faces are: set it, or leave it out")
    num_documents = count_rows(corpus)
    if num_documents == 0:
        raise UserError(
            "the recipe kept no document, so there is nothing to tokenize: see the decisions in "
            f"{context.data('select', 'decisions')} or loosen a threshold with --set"
        )
    shown = images_shown(corpus)
    fitted = fits.fit_tokenizers(context, len(shown))

    faces = context.data("score", "images") if recipe.tokenize.blur_faces else None
    images = context.data("extract", "images")
    codes, failed = DataSet(output.data("codes"), num_shards), DataSet(join(work, "encode_decisions"), num_shards)
    encode = EncodeJob(
        join(folder.path, fits.IMAGE_TOKENIZER), images, corpus, codes.folder, failed.folder, num_shards,
        recipe.tokenize.device, faces,
    )  # fmt: skip
    made: tuple[DataSet, ...] = (codes, failed)
    waiting = sorted({index for data_set in made for index in shards_to_do(data_set)})
    batches = [Batch(shards, encode) for shards in plan.deal(waiting)]
    total = len(shown) * len(waiting) // num_shards
    plan.run(Step("tokenize: encode images", encode_images, batches, made, "images", total))

    vocabulary, text_tokenizer = fits.load_vocabulary(folder.path)
    assemble = AssembleJob(
        corpus, codes.folder, failed.folder, output, num_shards, vocabulary, text_tokenizer,
        recipe.tokenize.alt_as_caption,
    )  # fmt: skip
    made = data_sets(output, num_shards, "shards", "decisions")
    step = Step(
        "tokenize: assemble documents", assemble_documents, [Batch([], assemble)], made, "documents", num_documents
    )
    plan.run(step)
    decisions = count_decisions(output.data("decisions"))
    num_tokens, num_image_tokens = fits.count_tokens(output.data("shards"))
    return {
        "documents": balanced_counts(num_documents, count_rows(output.data("shards")), decisions, Unit.DOCUMENT),
        "images": balanced_counts(len(shown), count_rows(codes.folder), decisions, Unit.IMAGE),
        "tokens": {"all": num_tokens, "image": num_image_tokens, "vocabulary": vocabulary.size},
        **fitted,
    }


@dataclasses.dataclass(frozen=True, slots=True)
class EncodeJob:
    """Images that the corpus shows -> codes, both by shard."""

    tokenizer: str
    images: str
    corpus: str
    codes: str
    decisions: str
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
        | "EncodeImages"
        >> EncodeImages(job.tokenizer, job.images, job.codes, job.decisions, job.num_shards, job.device, job.scores)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class AssembleJob:
    """The corpus and the codes -> token shards, in ``output``."""

    corpus: str
    codes: str
    encode_decisions: str
    output: Attempt
    num_shards: int
    vocabulary: Vocabulary
    text_tokenizer: TextTokenizer
    alt_as_caption: bool


def assemble_documents(pipeline: beam.Pipeline, _: list[Any], job: AssembleJob) -> None:
    """One mixed sequence a document."""
    shards = pipeline | "Shards" >> beam.Create(range(job.num_shards))
    codes = pipeline | "Codes" >> ReadRows(list_shards(job.codes))
    decisions = pipeline | "ReadDecisions" >> ReadRows(list_shards(job.encode_decisions))
    assembled = (shards, codes) | "AssembleDocuments" >> AssembleDocuments(
        job.corpus,
        job.output.data("shards"),
        job.num_shards,
        job.vocabulary,
        job.text_tokenizer,
        job.alt_as_caption,
    )
    (
        (decisions, assembled.decisions)
        | "AllDecisions" >> beam.Flatten()
        | "WriteDecisions" >> WriteDecisions(job.output.data("decisions"), job.num_shards)
    )


def _is_of_shards(keyed: tuple[int, Any], shards: frozenset[int]) -> bool:
    return keyed[0] in shards
