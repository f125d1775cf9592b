"""The names of the stages, in order."""

from __future__ import annotations

from typing import Literal, get_args

Stage = Literal["extract", "score", "select", "tokenize", "train", "sample", "report"]

STAGES: tuple[Stage, ...] = get_args(Stage)

CORPUS_STAGES: tuple[Stage, ...] = ("extract", "score", "select")
"""The stages that make the corpus; the last of them writes its data card."""
