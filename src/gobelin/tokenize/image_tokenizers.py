"""The image tokenizers of a run. The list of their codebooks is in the order of the vocabulary.

Each picture belongs to one tokenizer, by its size (``Frames``), and to one of its grids, by its shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from gobelin.errors import UserError
from gobelin.tokenize.codebook import read_members
from gobelin.tokenize.framing import Frames, Framing
from gobelin.tokenize.image_tokenizer import ImageTokenizer, encode_all, load_image_tokenizer, precision_for
from gobelin.tokenize.preprocess import decode
from gobelin.transforms.vision.faces import Boxes


class ImageTokenizers:
    """Pixels to tokens of a vocabulary's codebooks, and tokens to pixels.

    Attributes:
        tokenizers: in the order of their codebooks.
        codebooks: one per tokenizer and grid.
        frames: chooses the tokenizer and the grid of a picture.
    """

    def __init__(self, tokenizers: Sequence[ImageTokenizer], min_sides_px: Sequence[int] = (0,)) -> None:
        self.tokenizers = tuple(tokenizers)
        self.codebooks = tuple(book for each in self.tokenizers for book in each.codebooks)
        self.frames = Frames(tuple(each.framing for each in self.tokenizers), tuple(min_sides_px))
        self._places = [(each, index) for each in self.tokenizers for index in range(len(each.codebooks))]

    @property
    def has_decoder(self) -> bool:
        """Whether the tokens of every tokenizer can be decoded to pictures."""
        return all(each.network.config.has_decoder for each in self.tokenizers)

    def encode(self, data: bytes, height: int, width: int, faces: Boxes = ()) -> tuple[int, np.ndarray]:
        """The index of a picture's codebook, and its tokens.

        Args:
            data: the file of the picture, or a reduced copy of it.
            height, width: size of the original as displayed, in pixels.
            faces: faces to blur.

        Raises:
            UnusableImageError: the picture cannot be decoded. (A subclass of ``OSError``.)
        """
        which = self.frames.tokenizer_for(height, width)
        pixels = decode(data, faces, self.frames.framings[which])
        return self.frames.codebook_of(which, pixels.shape[:2]), self.tokenizers[which].encode(pixels[None])[0]

    def encode_all(self, pictures: Iterable[tuple[int, np.ndarray]]) -> Iterator[np.ndarray]:
        """Yields the tokens of a stream of pictures, in order. Each comes with the index of its tokenizer
        (``image_tokenizer.encode_all``)."""
        return encode_all(self.tokenizers, pictures)

    def decode(self, tokens: np.ndarray, codebook: int) -> np.ndarray:
        """Codes B x N or latents B x N x d of a codebook to uint8 images B x H x W x 3. Raises UserError if its
        tokenizer has no decoder."""
        tokenizer, own = self._places[codebook]
        return tokenizer.decode(tokens, own)

    def framing_of(self, codebook: int) -> Framing:
        """The framing of the tokenizer that has this codebook."""
        return self._places[codebook][0].framing

    def made_how(self) -> list[dict[str, Any]]:
        """For each tokenizer, the conditions on which codes depend besides pictures; with its name if there are several
        tokenizers."""
        if len(self.tokenizers) == 1:
            return [self.tokenizers[0].made_how()]
        return [{"codebook": each.codebook.name, **each.made_how()} for each in self.tokenizers]


def load_image_tokenizers(
    folder: str, device: torch.device | str = "cpu", *, precision: str = "float32", batch_size: int | None = None
) -> ImageTokenizers:
    """Loads the image tokenizers in this folder.

    Args:
        folder: folder of one tokenizer, or of several.
        device: device of the networks.
        precision: float32, bfloat16 or auto (``precision_for``).
        batch_size: None: a default for the device and each tokenizer.

    Raises:
        UserError: there are none, or they cannot be read.
    """
    members, device = read_members(folder), torch.device(device)
    tokenizers = [
        load_image_tokenizer(
            member.folder, device, precision=precision_for(member.folder, precision, device), batch_size=batch_size
        )
        for member in members
    ]
    if len({each.codebook.is_continuous for each in tokenizers}) > 1:
        raise UserError(f"{folder}: tokens are either codes or latents, but its image tokenizers make both")
    return ImageTokenizers(tokenizers, [member.min_side_px for member in members])
