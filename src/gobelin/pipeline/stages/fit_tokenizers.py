"""Tokenizers that a run fits, or takes from where its recipe says. What loads torch runs in a worker process."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gobelin.errors import UserError
from gobelin.pipeline.recipe.recipe import Recipe
from gobelin.pipeline.run.context import Context
from gobelin.pipeline.run.state import read_json, some_images_shown
from gobelin.pipeline.run.worker import Task
from gobelin.store import files
from gobelin.store.files import exists, write_bytes, write_json
from gobelin.store.paths import join
from gobelin.store.shards import read_folder
from gobelin.tokenize.codebook import CONFIG_NAME, describe_framing, framing_of, read_codebooks, read_config, shape_on
from gobelin.tokenize.config import TokenizeConfig
from gobelin.tokenize.encode import copies_serve
from gobelin.tokenize.framing import Framing, parse_grids
from gobelin.tokenize.pictures import grouped
from gobelin.tokenize.preprocess import decode
from gobelin.tokenize.text_tokenizer import FILE_NAME, TextTokenizer, fit_bpe
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.transforms.images.stored_images import StoredImages
from gobelin.transforms.progress import reach
from gobelin.transforms.torch_threads import FIT_THREADS, torch_threads
from gobelin.transforms.vision.faces import faces_of_images

IMAGE_TOKENIZER = "image_tokenizer"
"""Folder, in the stage ``tokenize``, of the image tokenizer that made the codes."""

SUMMARY = "summary.json"

MIN_FIT_IMAGES = 16
"""A codebook fitted on fewer images than one batch is noise."""


@dataclasses.dataclass(frozen=True, slots=True)
class FitJob:
    """What tokenizers are fitted on, and the stage's folder, which they are written to."""

    recipe: Recipe
    folder: str
    corpus: str  # documents
    images: StoredImages
    scores: str  # of images


def fit_tokenizers(context: Context, num_images: int) -> dict[str, Any]:
    """Fits, or copies, the tokenizers into the stage's folder. Returns what is to be told of them."""
    recipe, folder = context.recipe, context.folder("tokenize").path
    if recipe.tokenize.image_tokenizer is None and num_images < MIN_FIT_IMAGES:
        raise UserError(
            f"the corpus shows {num_images} images, too few to fit an image tokenizer on (at least {MIN_FIT_IMAGES}): "
            "loosen the recipe, add archives, or give tokenize.image_tokenizer"
        )
    tasks = []
    job = FitJob(
        recipe, folder, context.data("select", "documents"), context.images(_copies_serve(recipe)),
        context.data("score", "images"),
    )  # fmt: skip
    if not exists(join(folder, FILE_NAME)):
        tasks.append(Task("text-tokenizer", _text_tokenizer, (job,), alone=True))
    if not exists(join(folder, IMAGE_TOKENIZER, CONFIG_NAME)):
        tasks.append(Task("image-tokenizer", _image_tokenizer, (job,), alone=True))
    if tasks:
        total = recipe.tokenize.vqvae_steps if recipe.tokenize.image_tokenizer is None else None
        context.supervisor.run("tokenize: fit tokenizers", tasks, "steps", total, threads=os.cpu_count() or 1)
    from_fit = read_json(join(folder, IMAGE_TOKENIZER, SUMMARY)) or {}
    return {"image_tokenizer": from_fit}


def _text_tokenizer(job: FitJob) -> None:
    config = job.recipe.tokenize
    if config.text_tokenizer is not None:
        tokenizer = TextTokenizer.load(config.text_tokenizer)
    else:
        tokenizer = fit_bpe(corpus_texts(job.corpus), config.text_vocab_size)
    tokenizer.save(join(job.folder, FILE_NAME))


def corpus_texts(corpus: str) -> Iterator[str]:
    """Every text of a corpus that becomes tokens, in the order of the shards."""
    names = ("text", "caption", "alt")
    for row in read_folder(corpus, [f"nodes.list.element.{name}" for name in names]):
        for node in row["nodes"]:
            yield from (node[name] for name in names if node[name])


def _image_tokenizer(job: FitJob) -> None:
    from gobelin.tokenize.agreement import NUM_COMPARED, measure_agreement
    from gobelin.tokenize.fit import fit_images
    from gobelin.tokenize.image_tokenizer import ImageTokenizer, load_image_tokenizer, save_image_tokenizer

    config = job.recipe.tokenize
    target = join(job.folder, IMAGE_TOKENIZER)
    if config.image_tokenizer is not None:
        load_image_tokenizer(config.image_tokenizer)  # an error now, not in a worker
        _copy_files(config.image_tokenizer, target, {CONFIG_NAME: _config_with_framing(config)})
    else:
        pixels, framing = images_of_corpus(job), fitted_framing(config)
        with torch_threads(FIT_THREADS):
            network, metrics = fit_images(
                pixels, shape_on(config.vqvae, framing), seed=job.recipe.seed, steps=config.vqvae_steps,
                on_step=_count_step,
            )  # fmt: skip
            agreement = measure_agreement(network, grouped(pixels[:NUM_COMPARED])[0], "of the corpus")
        write_json(join(target, SUMMARY), dataclasses.asdict(metrics))
        save_image_tokenizer(ImageTokenizer(network, agreement=agreement, framing=framing), target)


def fitted_framing(config: TokenizeConfig) -> Framing:
    """Of the image tokenizer that a run fits."""
    grids = parse_grids(config.grids) or (config.vqvae.grid,)
    return Framing(grids, config.vqvae.token_pixels, config.resize or "crop")


def _config_with_framing(config: TokenizeConfig) -> bytes:
    """``config.json`` of the tokenizer that a recipe names, with the grids that the recipe wants."""
    assert config.image_tokenizer is not None
    shape, described = read_config(config.image_tokenizer)
    framing = framing_of(shape, described)
    if config.grids or config.resize:
        framing = dataclasses.replace(
            framing, grids=parse_grids(config.grids) or framing.grids, resize=config.resize or framing.resize
        )
    kept = {name: value for name, value in described.items() if name not in ("grids", "resize")}
    return (json.dumps({**kept, **describe_framing(shape, framing)}, indent=2, allow_nan=False) + "\n").encode()


def _copy_files(source: str, target: str, replaced: Mapping[str, bytes]) -> None:
    """Copies the files of a folder. Those that are replaced come last, since they say that all are there."""
    for name, _ in files.list_files(source):
        if name not in replaced:
            with files.open_input(join(source, name)) as given, files.output(join(target, name)) as copy:
                shutil.copyfileobj(given, copy)
    for name, content in replaced.items():
        write_bytes(join(target, name), content)


def _count_step(step: int, _: Any) -> None:
    reach("steps", step)


def images_of_corpus(job: FitJob) -> list[np.ndarray]:
    """Images of the corpus, uint8 H x W x 3 each, at most as many as the recipe says, chosen by hash of their id.
    Faces are blurred where the recipe has them blurred."""
    config = job.recipe.tokenize
    framing, without_faces = fitted_framing(config), config.blur_faces
    wanted = some_images_shown(job.corpus, config.vqvae_max_images)
    faces = faces_of_images(job.scores) if without_faces else {}
    pictures = []
    for row in (row for index in range(job.images.num_shards) for row in job.images.read(index, wanted)):
        if without_faces and row["image_id"] not in faces:
            continue  # it may have some; the encoder leaves it out too
        try:
            pictures.append(decode(row["data"], faces.get(row["image_id"], ()), framing))
        except OSError:
            continue  # the encoder will leave it out and say so
    return pictures


def _copies_serve(recipe: Recipe) -> bool:
    return copies_serve(fitted_framing(recipe.tokenize), recipe.extract.image.copy_side_px)


def load_vocabulary(folder: str) -> tuple[Vocabulary, TextTokenizer]:
    """The vocabulary of a stage's two tokenizers, written to ``vocabulary.json``."""
    from gobelin.tokenize.sequence import build_vocabulary

    text_tokenizer = TextTokenizer.load(folder)
    vocabulary = build_vocabulary(text_tokenizer, read_codebooks(join(folder, IMAGE_TOKENIZER)))
    vocabulary.save(folder)
    return vocabulary, text_tokenizer
