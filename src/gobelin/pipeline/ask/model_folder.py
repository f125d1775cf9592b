"""The model of an output folder, asked for pictures and texts: ``gobelin sample --prompt`` and ``gobelin chat``."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage

from gobelin.errors import UserError
from gobelin.pipeline.recipe.recipe import Recipe, as_dict
from gobelin.pipeline.stages.tokenize_fit import IMAGE_TOKENIZER
from gobelin.store.files import read_bytes, write_bytes, write_json
from gobelin.store.paths import join
from gobelin.tokenize.grammar import parse
from gobelin.tokenize.image_tokenizers import ImageTokenizers, load_image_tokenizers
from gobelin.tokenize.sequence import ImageItem
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.vocabulary import END_OF_DOCUMENT, END_OF_IMAGE, Vocabulary
from gobelin.train.compute import autocast
from gobelin.train.config import SamplingConfig
from gobelin.train.model import LanguageModel, load_model
from gobelin.train.prompt import Make, Part, Prompt, asked_codebook, build_prompt, codebook_to_draw, what_to_make
from gobelin.train.rank import ranked
from gobelin.train.sample import Request, generate
from gobelin.transforms.devices import torch_device
from gobelin.transforms.images.check_image import ImageLimits, ImageProblem
from gobelin.transforms.images.image_sandbox import ImageChecker
from gobelin.transforms.vision.embed import load_model as load_clip_model


@dataclasses.dataclass(frozen=True, slots=True)
class ModelFolder:
    """A trained model and what turns its tokens into texts and pictures."""

    model: LanguageModel
    text_tokenizer: TextTokenizer
    image_tokenizers: ImageTokenizers
    context: int
    precision: str
    grid: str | None = None  # ``sample.grid``

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's vocabulary."""
        return self.model.vocabulary

    def picture(self, data: bytes, name: str) -> ImageItem:
        """The bytes of a picture's file as codes.

        Raises:
            UserError: it is no picture, or passes the limits of one; the message begins with the name.
        """
        checker = ImageChecker(ImageLimits(svg=False))
        try:
            found = checker.check(data)
        finally:
            checker.close()
        if isinstance(found, ImageProblem):
            raise UserError(f"{name}: {_IN_WORDS.get(found.rule, found.rule)}")
        codebook, codes = self.image_tokenizers.encode(data, found.height, found.width)
        return ImageItem(None, tuple(codes.tolist()), codebook=codebook)

    def pixels(self, codes: Sequence[int], codebook: int = 0) -> np.ndarray:
        """The picture of these codes of a codebook, uint8 H x W x 3."""
        return self.image_tokenizers.decode(np.array([codes], np.int32), codebook)[0]

    def prompt(self, parts: Sequence[Part], make: Make, grid: str | None = None) -> Prompt:
        """``build_prompt`` for this model. A picture that is drawn has the codebook of the last one of the prompt,
        unless ``grid`` or ``sample.grid`` names another."""
        codebook = codebook_to_draw(parts, self.vocabulary, grid or self.grid)
        return build_prompt(parts, make, self.context, self.vocabulary, self.text_tokenizer, codebook=codebook)

    def write(
        self,
        prompt: Prompt,
        config: SamplingConfig,
        seed: int,
        number: int = 1,
        max_tokens: int | None = None,
        on_token: Callable[[int, int], None] | None = None,
    ) -> list[list[int]]:
        """Whole documents that begin with the prompt. Another number changes none of the first ones.

        Args:
            max_tokens: that are added to a prompt at most; pictures that are begun are finished.
        """
        limit = self.context
        if max_tokens is not None and prompt.make != "picture":
            limit = min(limit, 1 + len(prompt.tokens) + max_tokens + 2)
        requests = [Request(prompt.tokens, limit, (seed, index), prompt.ends) for index in range(number)]
        with autocast(self.model.head.weight.device, self.precision):
            written = generate(self.model, requests, config, on_token=on_token)
        if prompt.make == "both":
            return written
        end = [END_OF_IMAGE] if prompt.make == "picture" else []
        return [[*tokens, *end, END_OF_DOCUMENT] for tokens in written]

    def items(self, tokens: Sequence[int], num_given: int) -> list[dict[str, Any]]:
        """The items of a whole document as plain values.

        Args:
            num_given: tokens behind ``<|document|>`` that are the prompt's.
        """
        given_stop = 1 + num_given

        def words(span: tuple[int, int] | None) -> dict[str, str]:
            """What the prompt gave of a text, and what the model wrote."""
            start, stop = span or (0, 0)
            cut = min(max(start, given_stop), stop)
            ids = [token - self.vocabulary.text_offset for token in tokens[start:stop]]
            decode = self.text_tokenizer.decode
            return {"given": decode(ids[: cut - start]), "made": decode(ids[cut - start :])}

        found: list[dict[str, Any]] = []
        for item in parse(tokens, self.vocabulary):
            if item.codes is None:
                found.append({"kind": "text", **words(item.text)})
                continue
            offset = self.vocabulary.image_offsets[item.codebook]
            codes = [int(token) - offset for token in tokens[item.codes[0] : item.codes[1]]]
            made = item.codes[0] >= given_stop
            picture = {"kind": "picture", "made": made, "codes": codes, "caption": words(item.text)}
            found.append({**picture, "codebook": item.codebook} if item.codebook else picture)
        return found


_IN_WORDS = {
    "empty_image": "the file is empty",
    "not_an_image": "not a picture",
    "undecodable_image": "a damaged picture",
    "image_format": "a picture of a format that is not read",
    "image_bytes": "a picture of too many bytes",
    "image_pixels": "a picture of too many pixels",
    "image_frames": "an animation of too many frames",
    "image_seconds": "a picture that takes too long to open",
    "image_memory": "a picture that takes too much memory to open",
}


def open_model(output: str, recipe: Recipe) -> ModelFolder:
    """The model that a run trained in an output folder. Raises UserError where there is none."""
    device = torch_device(recipe.sample.device)
    torch.set_num_threads(recipe.train.threads)
    tokens = join(output, "tokenize")
    model = load_model(join(output, "train"), device)
    text_tokenizer, image_tokenizers = TextTokenizer.load(tokens), load_image_tokenizers(join(tokens, IMAGE_TOKENIZER))
    here, trained = image_tokenizers.codebooks, model.vocabulary.codebooks
    for kind, is_same in (
        ("text", text_tokenizer.fingerprint == model.vocabulary.text_fingerprint),
        ("image", [book.fingerprint for book in here] == [book.fingerprint for book in trained]),
    ):
        if not is_same:
            raise UserError(f"{output}: the model was trained with another {kind} tokenizer than {tokens} has")
    if [book.grid for book in here] != [book.grid for book in trained]:
        raise UserError(f"{output}: the model was trained with other grids of images than {tokens} has")
    grid = recipe.sample.grid
    if grid is not None:
        asked_codebook(model.vocabulary, grid)  # an error now, not in the midst of a conversation
    return ModelFolder(
        model, text_tokenizer, image_tokenizers, recipe.train.row_tokens, recipe.sample.precision, grid
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is asked of the model, and how."""

    parts: Sequence[tuple[str, str]]  # ("text", its words) or ("picture", its address)
    make: Make | None = None  # None: what the prompt most likely asks for
    number: int = 1
    rank: bool = False
    max_tokens: int | None = None


def sample_prompt(output: str, recipe: Recipe, order: Order) -> dict[str, Any]:
    """Makes what is asked for. The values of ``samples.json``, with the pixels of each picture under ``"pixels"``.

    Raises:
        UserError: no model, a prompt that cannot be read, or no CLIP to rank with; the message says what to do.
    """
    if order.rank and recipe.score.clip is None:
        raise UserError("--rank needs a CLIP model: --set score.clip.model=local-dir:FOLDER, or one of open_clip")
    contents = [(kind, value, _content(value) if kind == "picture" else b"") for kind, value in order.parts]
    folder = open_model(output, recipe)
    parts: list[Part] = [value if kind == "text" else folder.picture(data, value) for kind, value, data in contents]
    make = order.make or what_to_make(parts)
    captions = [part for part in parts[-1:] if isinstance(part, str)]
    if order.rank and (make != "picture" or not captions):
        raise UserError("--rank orders pictures by their caption: ask for pictures, with a text at the end")
    prompt = folder.prompt(parts, make)
    written = folder.write(prompt, recipe.sample.sampling, recipe.seed, order.number, order.max_tokens)
    samples: list[dict[str, Any]] = [{"items": folder.items(tokens, len(prompt.tokens))} for tokens in written]
    _draw(folder, samples)
    if order.rank:
        assert recipe.score.clip is not None
        drawn = np.stack([sample["items"][-1]["pixels"] for sample in samples])
        order_by_clip = ranked(load_clip_model(recipe.score.clip), captions[0], drawn)
        samples = [{"clip": round(cosine, 4), **samples[index]} for index, cosine in order_by_clip]
    return {
        "make": make,
        "notes": prompt.notes,
        "seed": recipe.seed,
        "sampling": as_dict(recipe.sample.sampling),
        "samples": samples,
    }


def _content(address: str) -> bytes:
    try:
        return read_bytes(address)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"--image {address}: no such file") from None


def _draw(folder: ModelFolder, samples: Sequence[dict[str, Any]]) -> None:
    """Adds the pixels of every picture, those of a grid decoded together."""
    pictures = [item for sample in samples for item in sample["items"] if item["kind"] == "picture"]
    for codebook in sorted({item.get("codebook", 0) for item in pictures}):
        of_grid = [item for item in pictures if item.get("codebook", 0) == codebook]
        decoded = folder.image_tokenizers.decode(np.array([item["codes"] for item in of_grid], np.int32), codebook)
        for item, pixels in zip(of_grid, decoded, strict=True):
            item["pixels"] = pixels


def write_samples(made: dict[str, Any], folder: str, kind: str) -> str:
    """Writes what ``sample_prompt`` made: PNG files, and a page of this kind. Returns the page's address."""
    from gobelin.report.samples_page import prompt_markdown, prompt_page

    names: dict[bytes, str] = {}
    for sample in made["samples"]:
        for item in sample["items"]:
            pixels = item.pop("pixels", None)
            if pixels is not None:
                data = png(pixels)
                if data not in names:
                    names[data] = f"images/{len(names):04d}.png"
                    write_bytes(join(folder, names[data]), data)
                item["image"] = names[data]
    if kind == "json":
        address = join(folder, "samples.json")
        write_json(address, made)
    elif kind == "markdown":
        address = join(folder, "samples.md")
        write_bytes(address, prompt_markdown(made).encode())
    else:
        address = join(folder, "index.html")
        write_bytes(address, prompt_page(made).encode())
    return address


def png(pixels: np.ndarray) -> bytes:
    """Pixels, uint8 H x W x 3, as a PNG file."""
    stream = io.BytesIO()
    PillowImage.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def folder_name(order: Order, recipe: Recipe) -> str:
    """The same for the same question under the same settings."""
    asked = json.dumps([dataclasses.asdict(order), as_dict(recipe.sample.sampling), recipe.seed], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:8]
