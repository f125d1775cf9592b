"""The model of an output folder with its tokenizers, for ``sample --prompt`` and ``chat``."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage

from gobelin.errors import UserError
from gobelin.pipeline.recipe.recipe import Recipe
from gobelin.pipeline.stages.tokenize_fit import IMAGE_TOKENIZER
from gobelin.store.paths import join
from gobelin.tokenize.grammar import parse
from gobelin.tokenize.image_tokenizers import ImageTokenizers, load_image_tokenizers
from gobelin.tokenize.sequence import ImageItem
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.vocabulary import END_OF_DOCUMENT, END_OF_IMAGE, Vocabulary
from gobelin.train.compute import autocast
from gobelin.train.config import SamplingConfig
from gobelin.train.model import LanguageModel, load_model
from gobelin.train.prompt import Make, Part, Prompt, asked_codebook, build_prompt, codebook_to_draw
from gobelin.train.sample import Request, generate
from gobelin.transforms.devices import torch_device
from gobelin.transforms.images.check_image import ImageLimits, ImageProblem
from gobelin.transforms.images.image_sandbox import ImageChecker


@dataclasses.dataclass(frozen=True, slots=True)
class ModelFolder:
    """A trained model with its tokenizers."""

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
        """Encodes an image file.

        Raises:
            UserError: the file is no image, or exceeds a limit. The message begins with ``name``.
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
        """Decodes the codes of an image, uint8 (H, W, 3)."""
        return self.image_tokenizers.decode(np.array([codes], np.int32), codebook)[0]

    def prompt(self, parts: Sequence[Part], make: Make, grid: str | None = None) -> Prompt:
        """``build_prompt`` for this model. A generated image has the codebook of the last image in the prompt, unless
        ``grid`` or ``sample.grid`` names another."""
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
        """Generates whole documents that begin with the prompt. The first documents do not depend on ``number``.

        Args:
            max_tokens: largest number of generated tokens; an image that has begun is completed.
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
            num_given: number of tokens after ``<|document|>`` that belong to the prompt.
        """
        given_stop = 1 + num_given

        def words(span: tuple[int, int] | None) -> dict[str, str]:
            """The part of a text that the prompt gave, and the part that the model generated."""
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
    """The model that a run trained in an output folder. Raises UserError if there is none."""
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


def png(pixels: np.ndarray) -> bytes:
    """Pixels, uint8 (H, W, 3), as a PNG file."""
    stream = io.BytesIO()
    PillowImage.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
