"""Describes image tokenizers: their configuration, their reconstruction quality, and a page of reconstructions.

torch is imported inside the functions, because the command line starts without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gobelin.errors import UserError
from gobelin.pipeline.tokenizers.folder import agreement_of, tokenizer_folder
from gobelin.pipeline.tokenizers.pictures import pictures_of
from gobelin.report.tokenizer_page import Shown, tokenizer_page, tokenizer_section
from gobelin.store.files import write_bytes
from gobelin.tokenize.codebook import Codebook, Member, read_codebooks, read_frames, read_members
from gobelin.tokenize.framing import Frames, Framing
from gobelin.tokenize.pictures import PictureSource, StreamedPictures, grouped
from gobelin.transforms.torch_threads import torch_threads

if TYPE_CHECKING:
    from gobelin.tokenize.image_tokenizer import ImageTokenizer
    from gobelin.tokenize.quality import Quality

NUM_SHOWN = 16
"""Pictures on a page of reconstructions."""


@dataclasses.dataclass(frozen=True, slots=True)
class Looked:
    """The description of a tokenizer."""

    codebooks: tuple[Codebook, ...]  # once for each of its grids
    agreement: dict[str, Any] | None
    quality: Quality | None  # None: there were no pictures
    least_px: int  # of the shorter side of the pictures that it takes
    section: str = ""  # of the page


def show(address: str, source: str | None, page: str | None, num_images: int) -> list[Looked]:
    """Describes image tokenizers. With images, also measures their quality and the use of their codes.

    Args:
        address: folder of a tokenizer, or output folder of a run, whose corpus is then the source.
        source: images, as for ``pictures_of``. In a run with several tokenizers, each gets its own images, otherwise
            all.
        page: HTML file for reconstructions.
        num_images: number of images per tokenizer.
    """
    folder = tokenizer_folder(address)
    if source is None and folder != address:
        source = address
    if source is None and page is not None:
        raise UserError("a page of reconstructions needs pictures: name a folder, Parquet files or a run's output")
    members, frames = read_members(folder), read_frames(folder)
    found = [_look_at(member, which, frames, source, num_images) for which, member in enumerate(members)]
    if page is not None:
        write_bytes(page, tokenizer_page({each.codebooks[0].name: each.section for each in found}).encode())
    return found


def _look_at(member: Member, which: int, frames: Frames, source: str | None, num_images: int) -> Looked:
    agreement = agreement_of(member.folder)
    if source is None:
        return Looked(read_codebooks(member.folder), agreement, None, member.min_side_px)
    from gobelin.tokenize.image_tokenizer import load_image_tokenizer
    from gobelin.tokenize.quality import QualityMeter

    def takes(height: int, width: int) -> bool:
        return frames.tokenizer_for(height, width) == which

    with torch_threads(2):
        tokenizer = load_image_tokenizer(member.folder)
        codebook = tokenizer.codebook
        meter = QualityMeter(codebook.num_codes)
        first: list[np.ndarray] = []
        pictures = pictures_of(source, num_images, tokenizer.framing, takes if len(frames.framings) > 1 else None)
        for found in _samples(pictures, tokenizer.framing, num_images):
            for images in grouped(found):
                tokens = tokenizer.encode(images)
                if not codebook.is_continuous:
                    meter.add_codes(tokens)
                if tokenizer.network.config.has_decoder:
                    meter.add(images, tokenizer.decode(tokens, tokenizer.framing.index_of(images.shape[1:3])))
            first += found[: NUM_SHOWN - len(first)]
        quality = meter.result()
        return Looked(
            tokenizer.codebooks, agreement, quality, member.min_side_px, section_of(tokenizer, first, quality)
        )  # fmt: skip


def _samples(source: PictureSource, framing: Framing, num_images: int) -> Iterator[list[np.ndarray]]:
    """Yields images of a source, at most 32 at a time. Leaves out images that cannot be decoded."""
    pictures = StreamedPictures(source, framing, 0, held_out_ratio=0.0, max_images=num_images)
    number = 0
    for start in range(0, pictures.num_fitted, 32):
        found = [pictures.at(place) for place in range(start, min(start + 32, pictures.num_fitted))]
        decoded = [picture for picture in found if picture is not None]
        if decoded:
            number += len(decoded)
            yield decoded
    if not number:
        raise UserError("none of the pictures can be decoded: are these picture files?")


def section_of(tokenizer: ImageTokenizer, images: Sequence[np.ndarray], quality: Quality | None) -> str:
    """The section of the page with the tokenizer and images beside their reconstructions."""
    from gobelin.tokenize.quality import QualityMeter

    shown = []
    if tokenizer.network.config.has_decoder:
        for image in images:
            decoded = tokenizer.decode(tokenizer.encode(image[None]), tokenizer.framing.index_of(image.shape[:2]))[0]
            meter = QualityMeter(1)
            meter.add(image[None], decoded[None])
            one = meter.result()
            shown.append(Shown(image, decoded, one.psnr_db, one.ssim))
    return tokenizer_section(tokenizer.codebooks, shown, quality, tokenizer.agreement)
