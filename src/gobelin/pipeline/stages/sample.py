"""The stage ``sample``: a model -> generated images and texts, and a page that shows them. Runs in a worker process.

torch is imported inside the functions, because the command line and the text stages start without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gobelin.errors import UserError
from gobelin.pipeline.recipe.recipe import Recipe
from gobelin.pipeline.run.context import Context
from gobelin.pipeline.run.state import SUMMARY, read_summary
from gobelin.pipeline.run.worker import Task
from gobelin.pipeline.stages.tokenize_fit import IMAGE_TOKENIZER
from gobelin.report.samples_page import samples_page
from gobelin.store import files
from gobelin.store.files import write_bytes, write_json
from gobelin.store.paths import join
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train.held_out import FILE_NAME as HELD_OUT_NAME
from gobelin.train.held_out import HeldOut
from gobelin.train.prompt import asked_codebook
from gobelin.transforms.devices import torch_device
from gobelin.transforms.progress import advance

if TYPE_CHECKING:
    import torch

    from gobelin.tokenize.image_tokenizers import ImageTokenizers
    from gobelin.tokenize.sequence import ImageItem
    from gobelin.train.model import LanguageModel


def sample(context: Context) -> dict[str, Any]:
    """Runs the stage. Returns its counts."""
    folder, recipe = context.folder("sample"), context.recipe
    if recipe.sample.rank and recipe.score.clip is None:
        raise UserError("sample.rank needs a CLIP model: set score.clip, or sample.rank=false")
    task = Task("sample", sample_model, (context.output, recipe), alone=True)
    context.supervisor.run("sample", [task], "pictures", threads=recipe.train.threads)
    return read_summary(folder.path)


def sample_model(output: str, recipe: Recipe) -> None:
    """Samples images, captions and documents from the model of an output folder, and writes a page that shows them."""
    import torch

    from gobelin.train.compute import autocast

    device = torch_device(recipe.sample.device)
    torch.set_num_threads(recipe.train.threads)
    with autocast(device, recipe.sample.precision):
        sampler = _Sampler(output, recipe, device)
        samples: dict[str, list[Any]] = {
            "from_captions": sampler.from_captions(),
            "from_images": sampler.from_images(),
            "documents": sampler.documents(),
        }
    folder = join(output, "sample")
    write_json(join(folder, "samples.json"), samples)
    page = samples_page(samples, recipe.name, recipe.seed, recipe.sample.sampling)
    write_bytes(join(folder, "index.html"), page.encode())
    write_json(
        join(folder, SUMMARY),
        {
            "page": "sample/index.html",
            "pictures": sum(len(item["images"]) for item in samples["from_captions"]),
            "captions": len(samples["from_images"]),
            "documents_written": len(samples["documents"]),
        },
    )


class _Sampler:
    """A model with the settings of its recipe. Each image is written to ``sample/images`` as soon as it is generated.
    Samples refer to images by their path in the folder ``sample``."""

    def __init__(self, output: str, recipe: Recipe, device: torch.device) -> None:
        from gobelin.tokenize.image_tokenizers import load_image_tokenizers
        from gobelin.train.model import load_model

        tokens, trained = join(output, "tokenize"), join(output, "train")
        self._recipe, self._folder = recipe, join(output, "sample")
        self._vocabulary, self._text_tokenizer = Vocabulary.load(tokens), TextTokenizer.load(tokens)
        self._image_tokenizers = load_image_tokenizers(join(tokens, IMAGE_TOKENIZER))
        self._model = load_model(trained, device)
        self._held_out = _held_out_pictures(tokens, trained, self._vocabulary, self._text_tokenizer)
        self._num_written = 0

    def from_captions(self) -> list[dict[str, Any]]:
        """Images for the recipe's captions, or for held-out captions. If CLIP ranks the images, the best is first."""
        from gobelin.train.rerank import ranked
        from gobelin.transforms.vision.embed import load_model as load_clip_model

        config, made = self._recipe.sample, []
        captions = list(config.captions or list(self._held_out)[: config.num_captions])
        if not captions:
            return []
        wanted = [
            (caption, _codebook_for(config.grid, self._held_out.get(caption), self._vocabulary)) for caption in captions
        ]
        drawn = _pictures_of_captions(self._model, self._text_tokenizer, self._image_tokenizers, self._recipe, wanted)
        clip = None
        if config.rank:
            assert self._recipe.score.clip is not None
            clip = load_clip_model(self._recipe.score.clip)
        for caption, pictures in zip(captions, drawn, strict=True):
            sample: dict[str, Any] = {"caption": caption}
            if clip is not None:
                order = ranked(clip, caption, pictures)
                pictures = pictures[[place for place, _ in order]]
                sample["clip"] = [round(cosine, 4) for _, cosine in order]
            made.append({**sample, "images": self._write(pictures)})
        return made

    def from_images(self) -> list[dict[str, Any]]:
        """Captions for held-out images, each with the true caption, grouped by grid."""
        from gobelin.train.sample import sample_captions

        config, made = self._recipe.sample, []
        given = list(self._held_out.items())[: config.num_captions]
        for codebook in sorted({item.codebook for _, item in given}):
            of_grid = [(truth, item) for truth, item in given if item.codebook == codebook]
            codes = np.array([item.codes for _, item in of_grid])
            written = sample_captions(
                self._model, self._text_tokenizer, codes, config.sampling, self._recipe.seed, codebook=codebook
            )
            for (truth, picture), text in zip(of_grid, written, strict=True):
                made.append({"image": self._draw(picture), "caption": text, "true_caption": truth})
        return made

    def documents(self) -> list[list[dict[str, Any]]]:
        """Unconditional documents: the items of each."""
        from gobelin.tokenize.sequence import ImageItem, TextItem, decode_document
        from gobelin.train.sample import Request, generate

        config, made = self._recipe.sample, []
        requests = [
            Request((), config.max_document_tokens, (self._recipe.seed, number))
            for number in range(config.num_documents)
        ]
        for ids in generate(self._model, requests, config.sampling):
            items: list[dict[str, Any]] = []
            for item in decode_document(ids, None, self._vocabulary, self._text_tokenizer):
                if isinstance(item, TextItem):
                    items.append({"kind": "text", "text": item.text})
                elif isinstance(item, ImageItem):
                    items.append({"kind": "image", "image": self._draw(item), "caption": item.caption})
            made.append(items)
        return made

    def _draw(self, item: ImageItem) -> str:
        return self._write(self._image_tokenizers.decode(np.array([item.codes]), item.codebook))[0]

    def _write(self, pictures: Iterable[np.ndarray]) -> list[str]:
        """Writes images, uint8 (H, W, 3). Returns their paths in the folder."""
        from PIL import Image as PillowImage

        names = []
        for pixels in pictures:
            name = f"images/{self._num_written:04d}.png"
            with files.output(join(self._folder, name)) as stream:
                PillowImage.fromarray(pixels).save(stream, "PNG")
            names.append(name)
            self._num_written += 1
            advance("pictures")
        return names


def _held_out_pictures(
    tokens: str, trained: str, vocabulary: Vocabulary, text_tokenizer: TextTokenizer
) -> dict[str, ImageItem]:
    """Held-out images with a caption, by caption. Of several images with the same caption, takes the first.

    Args:
        tokens, trained: folders of the stages ``tokenize`` and ``train``.
    """
    from gobelin.tokenize.sequence import ImageItem
    from gobelin.train.pairs import held_out_pairs
    from gobelin.train.shards import read_corpus

    split = HeldOut.load(join(trained, HELD_OUT_NAME))
    found: dict[str, ImageItem] = {}
    for pair in held_out_pairs(read_corpus(join(tokens, "shards"), vocabulary, split, kept_in=trained)):
        caption = text_tokenizer.decode([token - vocabulary.text_offset for token in pair.caption])
        offset = vocabulary.image_offsets[pair.codebook]
        picture = ImageItem(None, tuple(code - offset for code in pair.codes), codebook=pair.codebook)
        found.setdefault(caption, picture)
    return found


def _codebook_for(asked: str | None, held_out: ImageItem | None, vocabulary: Vocabulary) -> int:
    """The codebook for the image of a caption. Raises UserError if ``sample.grid`` fits no codebook."""
    if asked is None:
        return 0 if held_out is None else held_out.codebook
    return asked_codebook(vocabulary, asked)


def _pictures_of_captions(
    model: LanguageModel, text_tokenizer: TextTokenizer, image_tokenizers: ImageTokenizers, recipe: Recipe,
    captions: Sequence[tuple[str, int]],
) -> list[np.ndarray]:  # fmt: skip
    """Images for (caption, codebook) pairs, uint8 (N, H, W, 3) per pair, on the codebook's grid."""
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
