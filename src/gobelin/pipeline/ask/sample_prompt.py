"""``gobelin sample --prompt``: samples from the model of an output folder with a prompt, and writes files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from gobelin.errors import UserError
from gobelin.pipeline.ask.model_folder import ModelFolder, open_model, png
from gobelin.pipeline.recipe.recipe import Recipe, as_dict
from gobelin.store.files import read_bytes, write_bytes, write_json
from gobelin.store.paths import join
from gobelin.train.prompt import Make, Part, what_to_make
from gobelin.train.rerank import ranked
from gobelin.transforms.vision.embed import load_model as load_clip_model


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A prompt with its settings."""

    parts: Sequence[tuple[str, str]]  # ("text", its words) or ("picture", its address)
    make: Make | None = None  # None: what the prompt most likely asks for
    number: int = 1
    rank: bool = False
    max_tokens: int | None = None


def sample_prompt(output: str, recipe: Recipe, order: Order) -> dict[str, Any]:
    """Generates samples for a prompt. Returns the values of ``samples.json``, and the pixels of each image under
    ``"pixels"``.

    Raises:
        UserError: there is no model, the prompt cannot be read, or there is no CLIP model to rank with.
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
    """Adds the pixels of every image. Images with the same grid are decoded in one batch."""
    pictures = [item for sample in samples for item in sample["items"] if item["kind"] == "picture"]
    for codebook in sorted({item.get("codebook", 0) for item in pictures}):
        of_grid = [item for item in pictures if item.get("codebook", 0) == codebook]
        decoded = folder.image_tokenizers.decode(np.array([item["codes"] for item in of_grid], np.int32), codebook)
        for item, pixels in zip(of_grid, decoded, strict=True):
            item["pixels"] = pixels


def write_samples(made: dict[str, Any], folder: str, kind: str) -> str:
    """Writes the result of ``sample_prompt``: PNG files and a page in the given format. Returns the address of the
    page."""
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


def folder_name(order: Order, recipe: Recipe) -> str:
    """A folder name that depends only on the prompt and the settings."""
    asked = json.dumps([dataclasses.asdict(order), as_dict(recipe.sample.sampling), recipe.seed], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:8]
