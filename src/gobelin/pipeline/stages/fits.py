"""CLIP heads from prompts, and the model: what a run fits beside tokenizers, each in a worker process of its own.

torch is imported inside the functions: the command line and the text stages start without it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gobelin.pipeline.recipe.recipe import Recipe
from gobelin.pipeline.run.company import is_first, say_begins
from gobelin.pipeline.run.state import read_json
from gobelin.pipeline.run.supervisor import Supervisor
from gobelin.pipeline.run.worker import Task, heed_stop, stop_requested
from gobelin.pipeline.stages.fit_tokenizers import IMAGE_TOKENIZER
from gobelin.pipeline.stages.held_out import hold_out
from gobelin.report.samples_page import samples_page
from gobelin.store import files
from gobelin.store.files import exists, write_bytes, write_json
from gobelin.store.paths import join, parent_of
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train.config import TrainConfig
from gobelin.train.fit_alerts import fit_alerts, skip_alerts
from gobelin.train.held_out import FILE_NAME as HELD_OUT_NAME
from gobelin.train.held_out import HeldOut
from gobelin.train.metrics import read_metrics
from gobelin.train.prompt import asked_codebook
from gobelin.train.size import CorpusSize, Outlook, outlook, plan_lines
from gobelin.transforms.devices import torch_device
from gobelin.transforms.progress import advance, note, reach
from gobelin.transforms.score.config import ScoreConfig
from gobelin.transforms.vision.heads import check_heads, load_head, save_head
from gobelin.transforms.vision.zero_shot import zero_shot_head

if TYPE_CHECKING:
    import torch

    from gobelin.tokenize.image_tokenizers import ImageTokenizers
    from gobelin.tokenize.sequence import ImageItem
    from gobelin.train.model import LanguageModel
    from gobelin.train.shards import TokenCorpus

SUMMARY = "summary.json"

_CLIP_NAME = "clip.json"


def prepare_clip(supervisor: Supervisor, config: ScoreConfig, work: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Loads the CLIP model once, in a process that ends again, and embeds the zero-shot prompts.

    Returns:
        The model's fingerprint, and (name of the score, path) of each head, those of the prompts among them.

    Raises:
        StepFailedError: the model cannot be loaded; the message says why.
        UserError: a head cannot be read, or belongs to another model.
    """
    for head_path in config.heads.values():
        load_head(head_path)  # what is wrong with it comes before a model is loaded
    assert config.clip is not None
    path = join(work, _CLIP_NAME)
    if not knows_clip(work):
        title = "score: load CLIP" + (" (may download it)" if config.clip.pretrained else "")
        supervisor.run(title, [Task("load-clip", _write_fingerprint, (config, path), alone=True)])
    fingerprint = (read_json(path) or {})["fingerprint"]
    check_heads({name: load_head(head_path) for name, head_path in config.heads.items()}, fingerprint)
    heads = {**config.heads, **{name: _prompts_path(work, name) for name in config.zero_shot}}
    return fingerprint, tuple(sorted(heads.items()))


def knows_clip(work: str) -> bool:
    """Whether ``prepare_clip`` was here."""
    return exists(join(work, _CLIP_NAME))


def _prompts_path(work: str, name: str) -> str:
    return join(work, "zero_shot", f"{name}.safetensors")


def _write_fingerprint(config: ScoreConfig, path: str) -> None:
    from gobelin.transforms.vision.embed import load_model

    assert config.clip is not None
    model = load_model(config.clip)
    for name, prompts in config.zero_shot.items():
        positive, negative = model.embed_texts(prompts.positive), model.embed_texts(prompts.negative)
        head = zero_shot_head(name, prompts, positive, negative, model.logit_scale, model.fingerprint)
        save_head(head, _prompts_path(parent_of(path), name))
    write_json(path, {"fingerprint": model.fingerprint})


def training_outlook(output: str, recipe: Recipe) -> Outlook:
    """What training means for the corpus of an output folder, from what ``tokenize`` counted."""
    return outlook(recipe.train, *_corpus_size(output))


def training_plan(output: str, recipe: Recipe) -> list[str]:
    """What training the corpus of an output folder takes, for models of several sizes, as a table."""
    return plan_lines(recipe.train, *_corpus_size(output))


def _corpus_size(output: str) -> tuple[CorpusSize, int, int]:
    """The corpus, ids of the vocabulary, tokens of its largest image."""
    folder = join(output, "tokenize")
    vocabulary = Vocabulary.load(folder)
    counts = read_json(join(folder, "manifest.json")) or {}
    corpus = CorpusSize(counts["documents"]["kept"], counts["tokens"]["all"], counts["images"]["kept"])
    return corpus, vocabulary.size, vocabulary.max_tokens_per_image


def train_model(output: str, recipe: Recipe) -> None:
    """Trains, or goes on with, the model of an output folder; then measures its grounding."""
    from gobelin.train.compute import autocast
    from gobelin.train.evaluate import grounding_gap
    from gobelin.train.log import in_words
    from gobelin.train.model import load_model
    from gobelin.train.parallel import joined
    from gobelin.train.shards import held_out_pairs, read_corpus
    from gobelin.train.trainer import train

    heed_stop()
    device = torch_device(recipe.train.device)
    tokens, folder = join(output, "tokenize"), join(output, "train")
    shards = join(tokens, "shards")
    vocabulary = Vocabulary.load(tokens)
    held_out = hold_out(output, recipe.train)
    if is_first():
        held_out.save(folder)
        say_begins()
    num_codes = vocabulary.size - vocabulary.image_offset

    def tell(step: int, metrics: Mapping[str, float | None]) -> None:
        if metrics:
            note(in_words(metrics, num_codes))
        reach("steps", step)

    with joined(device) as processes:
        result = train(
            shards, vocabulary, recipe.train, folder, seed=recipe.seed, held_out=held_out, on_step=tell,
            stop=stop_requested, processes=processes,
        )  # fmt: skip
    if not result.finished:
        raise SystemExit(1)
    if not is_first():
        return
    corpus = read_corpus(shards, vocabulary, held_out, kept_in=folder)
    pairs = held_out_pairs(corpus)
    lines = read_metrics(folder)
    grounding = None
    if len({pair.caption for pair in pairs}) > 1:
        with autocast(device, recipe.train.precision):
            gap = grounding_gap(load_model(folder, device), pairs[:500], seed=recipe.seed)
        grounding = dataclasses.asdict(gap)
    write_json(
        join(folder, SUMMARY),
        {
            "steps": result.step,
            "model_step": result.model_step,
            "ended_by": result.ended_by,
            "documents": {"training": len(corpus.training), "validation": len(corpus.validation)},
            "held_out": {"by": held_out.by, "sites": len(held_out.sites), "left_out": len(held_out.left_out)},
            "losses": result.metrics,
            "guessing_image_nats": math.log(num_codes),
            "utilisation": float(np.mean([line["utilisation"] for line in lines])),
            "grounding": grounding,
            "alerts": [
                *fit_alerts(lines, result.metrics, result.model_step, num_codes),
                *skip_alerts(result.num_skipped, result.step),
            ],
            "notes": [
                *split_notes(held_out),
                *_mixture_notes(recipe.train, result.metrics, num_codes),
                *training_notes(corpus, num_pairs=len({pair.caption for pair in pairs}), config=recipe.train),
            ],
        },
    )


def _mixture_notes(config: TrainConfig, losses: Mapping[str, float | None], num_codes: int) -> list[str]:
    """The held-out losses of each corpus that is mixed in."""
    from gobelin.train.log import in_words
    from gobelin.train.mixture import prefix_of

    found = []
    for number, address in enumerate(sorted(config.mixture)):
        own = {name.removeprefix(prefix_of(number)): value for name, value in losses.items()
               if name.startswith(prefix_of(number))}  # fmt: skip
        found.append(f"held out of {address}, mixed in: {in_words(own, num_codes) or 'nothing'}")
    return found


def split_notes(held_out: HeldOut) -> list[str]:
    """What a user should know of what is held out, one sentence each."""
    notes = []
    if held_out.by == "document" and held_out.documents:
        notes.append(
            "no site is small enough to be held out whole, so single documents are: what they share with others of "
            "their sites makes the held-out loss too low"
        )
    if held_out.left_out:
        notes.append(
            f"{len(held_out.left_out):,} {'documents are' if len(held_out.left_out) > 1 else 'document is'} neither "
            "trained on nor held out: near-duplicates across the split, or of sites that train.held_out holds out"
        )
    return notes


def training_notes(corpus: TokenCorpus, num_pairs: int, config: TrainConfig) -> list[str]:
    """What a user should know of a corpus that was trained on, one sentence each: captions that do not fit a row, and
    what could not be measured because nothing, or too little, is held out.

    Args:
        num_pairs: held-out pairs of a picture and a caption, of different captions.
    """
    notes = []
    num_documents = len(corpus.training) + len(corpus.validation)
    num_long = int((corpus.training.index.longest_image >= config.row_tokens).sum())  # <|document|> needs room, too
    if num_long:
        notes.append(
            f"captions of {num_long:,} {'documents leave' if num_long > 1 else 'document leave'} no room for the image "
            f"in a row of {config.row_tokens} tokens and were shortened: raise train.row_tokens"
        )
    if not len(corpus.validation):
        reason = f"of {num_documents:,} documents none falls to the share of {config.validation_ratio:g}"
        notes.append(
            f"nothing is held out ({reason if config.validation_ratio else 'the share is 0'}), so there is no held-out "
            "loss and no grounding gap: take more documents, or raise train.validation_ratio"
        )
    elif num_pairs < 2:
        notes.append(
            f"{len(corpus.validation):,} documents are held out, with fewer than two pictures whose captions differ "
            "and that training has not seen, so there is no grounding gap"
        )
    return notes


def sample_model(output: str, recipe: Recipe) -> None:
    """Draws pictures, captions and documents from the model of an output folder, and a page that shows them."""
    import torch

    from gobelin.train.compute import autocast

    device = torch_device(recipe.sample.device)
    torch.set_num_threads(recipe.train.threads)
    with autocast(device, recipe.sample.precision):
        _sample(output, recipe, device)


def _sample(output: str, recipe: Recipe, device: torch.device) -> None:
    from PIL import Image as PillowImage

    from gobelin.tokenize.image_tokenizers import load_image_tokenizers
    from gobelin.tokenize.sequence import ImageItem, TextItem, decode_document
    from gobelin.train.model import load_model
    from gobelin.train.rank import ranked
    from gobelin.train.sample import Request, generate, sample_captions
    from gobelin.train.shards import held_out_pairs, read_corpus
    from gobelin.transforms.vision.embed import load_model as load_clip_model

    config = recipe.sample
    tokens, folder = join(output, "tokenize"), join(output, "sample")
    vocabulary, text_tokenizer = Vocabulary.load(tokens), TextTokenizer.load(tokens)
    image_tokenizers = load_image_tokenizers(join(tokens, IMAGE_TOKENIZER))
    model = load_model(join(output, "train"), device)
    trained = join(output, "train")
    split = HeldOut.load(join(trained, HELD_OUT_NAME))
    pairs = held_out_pairs(read_corpus(join(tokens, "shards"), vocabulary, split, kept_in=trained))
    held_out: dict[str, ImageItem] = {}
    for pair in pairs:
        caption = text_tokenizer.decode([token - vocabulary.text_offset for token in pair.caption])
        offset = vocabulary.image_offsets[pair.codebook]
        picture = ImageItem(None, tuple(code - offset for code in pair.codes), codebook=pair.codebook)
        held_out.setdefault(caption, picture)
    names: Iterator[str] = (f"images/{number:04d}.png" for number in range(1_000_000))

    def draw(item: ImageItem) -> str:
        return write(image_tokenizers.decode(np.array([item.codes]), item.codebook))[0]

    def write(pictures: Iterable[np.ndarray]) -> list[str]:
        made = []
        for pixels in pictures:
            name = next(names)
            with files.output(join(folder, name)) as stream:
                PillowImage.fromarray(pixels).save(stream, "PNG")
            made.append(name)
            advance("pictures")
        return made

    captions = list(config.captions or list(held_out)[: config.num_captions])
    from_captions = []
    if captions:
        drawn = _pictures_of_captions(model, text_tokenizer, image_tokenizers, recipe, [
            (caption, _codebook_for(config.grid, held_out.get(caption), vocabulary)) for caption in captions
        ])  # fmt: skip
        clip = None
        if config.rank:
            assert recipe.score.clip is not None
            clip = load_clip_model(recipe.score.clip)
        for caption, pictures in zip(captions, drawn, strict=True):
            sample: dict[str, Any] = {"caption": caption}
            if clip is not None:
                order = ranked(clip, caption, pictures)
                pictures = pictures[[place for place, _ in order]]
                sample["clip"] = [round(cosine, 4) for _, cosine in order]
            from_captions.append({**sample, "images": write(pictures)})
    from_images = []
    given = list(held_out.items())[: config.num_captions]
    for codebook in sorted({item.codebook for _, item in given}):
        of_grid = [(truth, item) for truth, item in given if item.codebook == codebook]
        codes = np.array([item.codes for _, item in of_grid])
        written = sample_captions(
            model, text_tokenizer, codes, config.sampling, recipe.seed, codebook=codebook
        )  # fmt: skip
        for (truth, picture), text in zip(of_grid, written, strict=True):
            from_images.append({"image": draw(picture), "caption": text, "true_caption": truth})
    documents = []
    requests = [
        Request((), config.max_document_tokens, (recipe.seed, number)) for number in range(config.num_documents)
    ]
    for ids in generate(model, requests, config.sampling):
        items: list[dict[str, Any]] = []
        for item in decode_document(ids, None, vocabulary, text_tokenizer):
            if isinstance(item, TextItem):
                items.append({"kind": "text", "text": item.text})
            elif isinstance(item, ImageItem):
                items.append({"kind": "image", "image": draw(item), "caption": item.caption})
        documents.append(items)
    samples = {"from_captions": from_captions, "from_images": from_images, "documents": documents}
    write_json(join(folder, "samples.json"), samples)
    page = samples_page(samples, recipe.name, recipe.seed, recipe.sample.sampling)
    write_bytes(join(folder, "index.html"), page.encode())
    write_json(
        join(folder, SUMMARY),
        {
            "page": "sample/index.html",
            "pictures": sum(len(item["images"]) for item in from_captions),
            "captions": len(from_images),
            "documents_written": len(documents),
        },
    )


def _codebook_for(asked: str | None, held_out: ImageItem | None, vocabulary: Vocabulary) -> int:
    """The codebook of a picture that is drawn for a caption. Raises UserError where ``sample.grid`` names none."""
    if asked is None:
        return 0 if held_out is None else held_out.codebook
    return asked_codebook(vocabulary, asked)


def _pictures_of_captions(
    model: LanguageModel, text_tokenizer: TextTokenizer, image_tokenizers: ImageTokenizers, recipe: Recipe,
    captions: Sequence[tuple[str, int]],
) -> list[np.ndarray]:  # fmt: skip
    """Pictures for each caption, uint8 N x H x W x 3, on the grid of the codebook that is given with it."""
    from gobelin.train.sample import sample_images

    config = recipe.sample
    made: dict[int, np.ndarray] = {}
    for codebook in sorted({book for _, book in captions}):
        places = [place for place, (_, book) in enumerate(captions) if book == codebook]
        repeated = [captions[place][0] for place in places for _ in range(config.images_per_caption)]
        codes = sample_images(model, text_tokenizer, repeated, config.sampling, recipe.seed, codebook=codebook)
        drawn = image_tokenizers.decode(codes, codebook)
        for number, place in enumerate(places):
            made[place] = drawn[number * config.images_per_caption :][: config.images_per_caption]
    return [made[place] for place in range(len(captions))]


def read_summary(folder: str) -> dict[str, Any]:
    """What a worker process wrote about its work."""
    return read_json(join(folder, SUMMARY)) or {}
