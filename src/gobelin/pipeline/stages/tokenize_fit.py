"""Fits the tokenizers of a run, or copies those that its recipe names. Functions that load torch run in a worker
process."""

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
from gobelin.pipeline.run.counts import hashes_where, some_images_shown
from gobelin.pipeline.run.state import SUMMARY, read_json
from gobelin.pipeline.run.worker import Task
from gobelin.store import files
from gobelin.store.files import exists, read_bytes, write_bytes, write_json
from gobelin.store.paths import join
from gobelin.store.shards import read_folder
from gobelin.tokenize.codebook import (
    CONFIG_NAME,
    Codebook,
    describe_framing,
    framing_of,
    holds_several,
    read_codebook,
    read_codebooks,
    read_config,
    read_members,
    shape_on,
    write_members,
)
from gobelin.tokenize.config import CodebookConfig, TokenizeConfig
from gobelin.tokenize.encode import copies_serve
from gobelin.tokenize.framing import Frames, Framing, parse_grids
from gobelin.tokenize.pictures import grouped
from gobelin.tokenize.preprocess import decode
from gobelin.tokenize.text_tokenizer import FILE_NAME, TextTokenizer, fit_bpe
from gobelin.tokenize.vocabulary import Vocabulary, check_ranges
from gobelin.transforms.images.stored_images import StoredImages
from gobelin.transforms.progress import reach
from gobelin.transforms.torch_threads import FIT_THREADS, torch_threads
from gobelin.transforms.vision.faces import faces_of_images

IMAGE_TOKENIZER = "image_tokenizer"
"""Folder, in the stage ``tokenize``, of the image tokenizer that made the codes."""

MIN_FIT_IMAGES = 16
"""A codebook fitted on fewer images than one batch is noise."""


@dataclasses.dataclass(frozen=True, slots=True)
class FitJob:
    """The data that tokenizers are fitted on, and the stage's folder, where they are written."""

    recipe: Recipe
    folder: str
    corpus: str  # documents
    images: StoredImages
    scores: str  # of images


def fit_tokenizers(context: Context, num_images: int) -> dict[str, Any]:
    """Fits or copies the tokenizers into the stage's folder. Returns the quality of each fitted image tokenizer, by the
    name of its codebook."""
    config, folder = context.recipe.tokenize, context.folder("tokenize").path
    fitted = [each for each in config.image_tokenizers().values() if each.image_tokenizer is None]
    if fitted and num_images < MIN_FIT_IMAGES:
        raise UserError(
            f"the corpus shows {num_images} images, too few to fit an image tokenizer on (at least {MIN_FIT_IMAGES}): "
            "loosen the recipe, add archives, or give tokenize.image_tokenizer"
        )
    check_ranges(_named_codebooks(config))
    tasks = []
    serve = copies_serve(map(fitted_framing, fitted), context.recipe.extract.image.copy_side_px)
    job = FitJob(
        context.recipe, folder, context.data("select", "documents"), context.images(serve),
        context.data("score", "images"),
    )  # fmt: skip
    if not exists(join(folder, FILE_NAME)):
        tasks.append(Task("text-tokenizer", _text_tokenizer, (job,), alone=True))
    if not exists(join(folder, IMAGE_TOKENIZER, CONFIG_NAME)):
        tasks.append(Task("image-tokenizer", _image_tokenizers, (job,), alone=True))
    if tasks:
        total = config.vqvae_steps * len(fitted) or None
        context.supervisor.run("tokenize: fit tokenizers", tasks, "steps", total, threads=os.cpu_count() or 1)
    members = read_members(join(folder, IMAGE_TOKENIZER))
    found = {member.folder: read_json(join(member.folder, SUMMARY)) for member in members}
    return {"image_tokenizers": {read_codebook(at).name: reached for at, reached in found.items() if reached}}


def _named_codebooks(config: TokenizeConfig) -> list[Codebook]:
    """Codebooks of the tokenizers that the recipe names. They are checked before others are fitted."""
    found: list[Codebook] = []
    for name, each in config.image_tokenizers().items():
        if each.image_tokenizer is not None:
            books = read_codebooks(each.image_tokenizer)
            if name:
                shape, described = read_config(each.image_tokenizer)
                grids = _framing_as_asked(each, framing_of(shape, described)).grids
                books = tuple(
                    dataclasses.replace(books[0], name=each.ids or name, rows=rows, columns=columns)
                    for rows, columns in grids
                )
            found += books
    return found


def _text_tokenizer(job: FitJob) -> None:
    config = job.recipe.tokenize
    if config.text_tokenizer is not None:
        tokenizer = TextTokenizer.load(config.text_tokenizer)
    else:
        tokenizer = fit_bpe(corpus_texts(job.corpus), config.text_vocab_size)
    tokenizer.save(join(job.folder, FILE_NAME))


def corpus_texts(corpus: str) -> Iterator[str]:
    """Yields every text of a corpus that becomes tokens, in the order of the shards."""
    names = ("text", "caption", "alt")
    for row in read_folder(corpus, [f"nodes.list.element.{name}" for name in names]):
        for node in row["nodes"]:
            yield from (node[name] for name in names if node[name])


def _image_tokenizers(job: FitJob) -> None:
    config, target = job.recipe.tokenize, join(job.folder, IMAGE_TOKENIZER)
    each_least = {name: each.min_side_px for name, each in config.codebooks.items()}
    if not config.codebooks:
        _image_tokenizer(job, config.image_tokenizers()[""], "", target, 0)
        return
    done = 0
    for name, each in config.codebooks.items():
        if not exists(join(target, name, CONFIG_NAME)):
            _image_tokenizer(job, each, name, join(target, name), done)
        done += config.vqvae_steps * (each.image_tokenizer is None)
    write_members(target, each_least)


def _image_tokenizer(job: FitJob, config: CodebookConfig, name: str, target: str, done: int) -> None:
    """Copies or fits one image tokenizer.

    Args:
        name: of its entry in the recipe; ``""`` for a single tokenizer.
        done: steps of earlier fits.
    """
    from gobelin.tokenize.agreement import NUM_COMPARED, measure_agreement
    from gobelin.tokenize.fit import fit_images
    from gobelin.tokenize.image_tokenizer import ImageTokenizer, save_image_tokenizer
    from gobelin.tokenize.image_tokenizers import load_image_tokenizers

    ids = config.ids or name or None
    if config.image_tokenizer is not None:
        load_image_tokenizers(config.image_tokenizer)  # an error now, not in a worker
        _copy_files(config.image_tokenizer, target, {CONFIG_NAME: _config_with_framing(config, ids)})
        return
    pixels, framing = images_of_corpus(job, config, name), fitted_framing(config)
    if len(pixels) < MIN_FIT_IMAGES:
        raise UserError(
            f"{len(pixels)} images of the corpus can be opened and are of the codebook {name or config.vqvae.kind}, "
            f"too few to fit it on (at least {MIN_FIT_IMAGES}): loosen the recipe, add archives, or give it another "
            "min_side_px, or an image_tokenizer"
        )
    with torch_threads(FIT_THREADS):
        network, metrics = fit_images(
            pixels, shape_on(config.vqvae, framing), seed=job.recipe.seed, steps=job.recipe.tokenize.vqvae_steps,
            on_step=lambda step, _: reach("steps", done + step),
        )  # fmt: skip
        agreement = measure_agreement(network, grouped(pixels[:NUM_COMPARED])[0], "of the corpus")
    write_json(join(target, SUMMARY), dataclasses.asdict(metrics))
    save_image_tokenizer(ImageTokenizer(network, name=ids, agreement=agreement, framing=framing), target)


def fitted_framing(config: CodebookConfig) -> Framing:
    """The framing of an image tokenizer that a run fits."""
    grids = parse_grids(config.grids) or (config.vqvae.grid,)
    return Framing(grids, config.vqvae.token_pixels, config.resize or "crop")


def _framing_as_asked(config: CodebookConfig, framing: Framing) -> Framing:
    """The framing of a named tokenizer, changed by the settings of the recipe."""
    grids = parse_grids(config.grids) or framing.grids
    return dataclasses.replace(framing, grids=grids, resize=config.resize or framing.resize)


def _config_with_framing(config: CodebookConfig, ids: str | None = None) -> bytes:
    """``config.json`` of the tokenizer that a recipe names, with the grids of the recipe.

    Args:
        ids: name of its range of ids; None: unchanged.
    """
    assert config.image_tokenizer is not None
    if holds_several(config.image_tokenizer):
        if config.grids or config.resize:
            raise UserError(
                f"{config.image_tokenizer} holds several image tokenizers, which have their own grids: leave out "
                "grids and resize"
            )
        return read_bytes(join(config.image_tokenizer, CONFIG_NAME))
    shape, described = read_config(config.image_tokenizer)
    framing = _framing_as_asked(config, framing_of(shape, described))
    kept = {key: value for key, value in described.items() if key not in ("grids", "resize")}
    named = {"name": ids} if ids else {}
    return (
        json.dumps({**kept, **named, **describe_framing(shape, framing)}, indent=2, allow_nan=False) + "\n"
    ).encode()


def _copy_files(source: str, target: str, replaced: Mapping[str, bytes]) -> None:
    """Copies the files of a folder. Replaced files come last, because their presence marks the copy as complete."""
    for name, _ in files.list_files(source):
        if name not in replaced:
            with files.open_input(join(source, name)) as given, files.output(join(target, name)) as copy:
                shutil.copyfileobj(given, copy)
    for name, content in replaced.items():
        write_bytes(join(target, name), content)


def images_of_corpus(job: FitJob, config: CodebookConfig, name: str) -> list[np.ndarray]:
    """Images of the corpus that a codebook takes, uint8 (H, W, 3) each, chosen by a hash of their id. The recipe sets
    the largest number of images. Faces are blurred if the recipe blurs them.

    Args:
        name: of the codebook's entry in the recipe.
    """
    settings = job.recipe.tokenize
    framing, without_faces, among = fitted_framing(config), settings.blur_faces, None
    if len(settings.codebooks) > 1:
        frames = Frames((), tuple(each.min_side_px for each in settings.codebooks.values()))
        which = list(settings.codebooks).index(name)
        among = hashes_where(lambda height, width: frames.tokenizer_for(height, width) == which, job.images.sizes())
    wanted = some_images_shown(job.corpus, settings.vqvae_max_images, among)
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


def load_vocabulary(folder: str) -> tuple[Vocabulary, TextTokenizer]:
    """The vocabulary of a stage's tokenizers. Also writes it to ``vocabulary.json``."""
    from gobelin.tokenize.sequence import build_vocabulary

    text_tokenizer = TextTokenizer.load(folder)
    vocabulary = build_vocabulary(text_tokenizer, read_codebooks(join(folder, IMAGE_TOKENIZER)))
    vocabulary.save(folder)
    return vocabulary, text_tokenizer
