"""One or several image tokenizers as a run has them: their codebooks stand one behind the other, as in its vocabulary.

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
    """Pixels to tokens of a vocabulary's codebooks, and back.

    Attributes:
        tokenizers: in the order of their codebooks.
        codebooks: one for each grid of each tokenizer.
        frames: which tokenizer and grid a picture has.
    """

    def __init__(self, tokenizers: Sequence[ImageTokenizer], min_sides_px: Sequence[int] = (0,)) -> None:
        self.tokenizers = tuple(tokenizers)
        self.codebooks = tuple(book for each in self.tokenizers for book in each.codebooks)
        self.frames = Frames(tuple(each.framing for each in self.tokenizers), tuple(min_sides_px))
        self._places = [(each, index) for each in self.tokenizers for index in range(len(each.codebooks))]

    @property
    def has_decoder(self) -> bool:
        """Whether the tokens of every tokenizer can become pictures."""
        return all(each.network.config.has_decoder for each in self.tokenizers)

    def encode(self, data: bytes, height: int, width: int, faces: Boxes = ()) -> tuple[int, np.ndarray]:
        """The codebook of a picture and its tokens.

        Args:
            data: the picture's file, or a reduced copy of it.
            height, width: of the file as displayed, pixels.

        Raises:
            UnusableImageError: it gives no pixels. (An ``OSError``.)
        """
        which = self.frames.tokenizer_for(height, width)
        pixels = decode(data, faces, self.frames.framings[which])
        return self.frames.codebook_of(which, pixels.shape[:2]), self.tokenizers[which].encode(pixels[None])[0]

    def encode_all(self, pictures: Iterable[tuple[int, np.ndarray]]) -> Iterator[np.ndarray]:
        """Tokens of pictures, each with the index of its tokenizer, in their order (``image_tokenizer.encode_all``)."""
        return encode_all(self.tokenizers, pictures)

    def decode(self, tokens: np.ndarray, codebook: int) -> np.ndarray:
        """Codes B x N or latents B x N x d of a codebook, to uint8 images B x H x W x 3. Raises UserError where its
        tokenizer has no decoder."""
        tokenizer, own = self._places[codebook]
        return tokenizer.decode(tokens, own)

    def framing_of(self, codebook: int) -> Framing:
        """The framing of the tokenizer that has this codebook."""
        return self._places[codebook][0].framing

    def made_how(self) -> list[dict[str, Any]]:
        """The conditions on which each tokenizer's codes depend besides pictures; with its name if there are
        several."""
        if len(self.tokenizers) == 1:
            return [self.tokenizers[0].made_how()]
        return [{"codebook": each.codebook.name, **each.made_how()} for each in self.tokenizers]


def load_image_tokenizers(
    folder: str, device: torch.device | str = "cpu", *, precision: str = "float32", batch_size: int | None = None
) -> ImageTokenizers:
    """The image tokenizers in this folder.

    Args:
        precision: float32, bfloat16 or auto, as ``precision_for`` has it.
        batch_size: None: what suits the device and each tokenizer.

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
        raise UserError(f"{folder}: tokens are either codes or latents, and its image tokenizers make both")
    return ImageTokenizers(tokenizers, [member.min_side_px for member in members])
