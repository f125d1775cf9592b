"""The folder of an image tokenizer: finds it, reads its description, and checks whether a new one may be written
there."""

from __future__ import annotations

from typing import Any

from gobelin.errors import UserError
from gobelin.pipeline.run.state import SUMMARY
from gobelin.store.files import exists, list_files
from gobelin.store.lock import LEASE_NAME
from gobelin.store.paths import join
from gobelin.tokenize.codebook import CONFIG_NAME, read_config

PAGE_NAME = "reconstructions.html"

CHECKPOINT_NAME = "checkpoint.pt"

LOOKS_NAME = "looks.json"
"""What the page of a fit that goes on is made of."""

IMAGE_TOKENIZER = join("tokenize", "image_tokenizer")
"""Folder of the image tokenizer in the output folder of a run."""

_OURS = (LEASE_NAME, CHECKPOINT_NAME, SUMMARY, PAGE_NAME, LOOKS_NAME)


def check_free(output: str) -> None:
    """Raises UserError unless the folder is empty or holds an interrupted fit."""
    if exists(join(output, CONFIG_NAME)):
        raise UserError(f"{output} holds an image tokenizer already: choose another folder, or delete it")
    others = [name for name, _ in list_files(output) if name not in _OURS]
    if others:
        raise UserError(f"{output} is not empty ({', '.join(others[:3])}): choose another folder")


def tokenizer_folder(address: str) -> str:
    """The folder of a tokenizer: the address itself, or its place in the output folder of a run."""
    inside = join(address, IMAGE_TOKENIZER)
    return inside if exists(join(inside, CONFIG_NAME)) else address


def agreement_of(folder: str) -> dict[str, Any] | None:
    """The share of a tokenizer's codes that are equal in bfloat16 and float32, from its description; None if not
    measured."""
    return read_config(folder)[1].get("agreement")
