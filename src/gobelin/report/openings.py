"""How often each image of a run was opened, by which stage and why: its file, or its reduced copy."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from gobelin.report.pictures import THUMBNAIL_PX, Thumbnail
from gobelin.store.files import exists
from gobelin.store.paths import join
from gobelin.tokenize.codebook import CONFIG_NAME, read_frames
from gobelin.tokenize.preprocess import decode_side
from gobelin.transforms.vision.embed import CLIP_SIDE_PX, FACES_SIDE_PX


@dataclasses.dataclass(frozen=True, slots=True)
class Opening:
    """Images that a stage or the report opened once each."""

    by: str
    is_copy: bool  # the reduced copy, where there is one
    why: str
    pictures: int | None  # None: not counted


def openings(
    output: str, recipe: Mapping[str, Any], stages: Mapping[str, Any], thumbnails: Iterable[Thumbnail]
) -> list[Opening]:
    """The stages that opened images in a run, in order.

    Args:
        recipe: as JSON values.
        stages: counts of each stage; a stage that has not run has no images.
        thumbnails: of the report.
    """
    side = recipe["extract"]["image"]["copy_side_px"]
    made = f"facts, hashes and a copy of {side} px" if side else "facts and hashes"
    found = [Opening("extract", False, made, _counted(stages, "extract"))]

    def add(by: str, stage: str, wants_px: int, wants: str, at_most: int | None = None) -> None:
        is_copy, pictures = wants_px <= side, _counted(stages, stage)
        why = wants if is_copy else f"{wants}; " + (f"copies have {side}" if side else "no copies are kept")
        number = pictures if pictures is None or at_most is None else min(pictures, at_most)
        found.append(Opening(by, is_copy, why, number))

    if stages["score"]["status"] == "done":
        if recipe["score"]["faces"] is not None:
            add("score", "score", FACES_SIDE_PX, f"faces are looked for in {FACES_SIDE_PX} px")
        elif recipe["score"]["clip"] is not None:
            wants = f"CLIP: {CLIP_SIDE_PX} px, or its model's size where that is larger"
            add("score", "score", CLIP_SIDE_PX, wants)
    tokenizer = join(output, "tokenize", "image_tokenizer")
    if stages["tokenize"]["status"] == "done" and exists(join(tokenizer, CONFIG_NAME)):
        framings, config = read_frames(tokenizer).framings, recipe["tokenize"]
        wanted_px = max(map(decode_side, framings))
        wants = f"image tokenizer{'s' if len(framings) > 1 else ''}: {wanted_px} px"
        entries = list((config.get("codebooks") or {"": config}).values())
        num_fitted = sum(each["image_tokenizer"] is None for each in entries)
        if num_fitted:
            add("tokenize, the fit", "tokenize", wanted_px, wants, num_fitted * config["vqvae_max_images"])
        add("tokenize, encoding", "tokenize", wanted_px, wants)
    return [*found, *_of_report(thumbnails, side)]


def _of_report(thumbnails: Iterable[Thumbnail], side: int) -> list[Opening]:
    wants = f"thumbnails of {THUMBNAIL_PX} px on this page"
    numbers = {True: 0, False: 0}
    for thumbnail in thumbnails:
        if thumbnail.uri is not None:
            numbers[thumbnail.is_of_copy] += 1
    why = {True: wants, False: f"{wants}; these have no copy, or a smaller one" if side else wants}
    return [Opening("report", is_copy, why[is_copy], number) for is_copy, number in numbers.items() if number]


def _counted(stages: Mapping[str, Any], stage: str) -> int | None:
    counts = stages[stage].get("images")
    return None if counts is None else int(counts["seen" if stage != "extract" else "kept"])
