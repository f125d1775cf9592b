"""Decodes the file of a picture to the pixels for an image tokenizer. Imports no torch, for processes that only
decode."""

from __future__ import annotations

import numpy as np
import PIL.Image

from gobelin.tokenize.framing import Framing, Resize
from gobelin.transforms.images.open_image import open_rgb
from gobelin.transforms.vision.faces import Boxes, blur_faces


def frame(picture: PIL.Image.Image, framing: Framing) -> np.ndarray:
    """An upright RGB picture (``open_rgb``) as uint8 H x W x 3 for the grid that is nearest to its shape."""
    size = framing.sizes[framing.index_for(picture.height, picture.width)]
    return preprocess(picture, size, framing.resize)


def preprocess(picture: PIL.Image.Image, size: tuple[int, int], resize: Resize = "crop") -> np.ndarray:
    """An upright RGB picture (``open_rgb``) as uint8 H x W x 3, resized with antialiasing (bicubic). A crop keeps the
    largest centred part with the shape H : W. A letterbox keeps the whole picture, centred on black.

    A crop equals a resize until the picture covers H x W, followed by a crop of the centre, but does not compute the
    cropped parts. A picture of H x W pixels is unchanged.
    """
    height, width = size
    if resize == "letterbox":
        return _letterbox(picture, height, width)
    across, down = float(picture.width), float(picture.height)
    if picture.width * height <= picture.height * width:
        down = picture.width * height / width
    else:
        across = picture.height * width / height
    left, top = (picture.width - across) / 2, (picture.height - down) / 2
    box = (left, top, left + across, top + down)
    return np.array(picture.resize((width, height), PIL.Image.Resampling.BICUBIC, box=box))  # writable


def _letterbox(picture: PIL.Image.Image, height: int, width: int) -> np.ndarray:
    """The whole picture as large as it fits, centred on black."""
    inside = (width, max(1, round(picture.height * width / picture.width)))
    if inside[1] > height:
        inside = (max(1, round(picture.width * height / picture.height)), height)
    pixels = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inside[0]) // 2, (height - inside[1]) // 2
    scaled = np.asarray(picture.resize(inside, PIL.Image.Resampling.BICUBIC))
    pixels[top : top + inside[1], left : left + inside[0]] = scaled
    return pixels


def decode_side(framing: Framing) -> int:
    """Minimum shorter side in pixels to which a picture may be reduced while it is decoded, before ``frame``: twice the
    longest side of the grids, so that ``frame`` does the last step of the reduction."""
    return 2 * framing.longest_side


def decode(data: bytes, faces: Boxes, framing: Framing) -> np.ndarray:
    """The file of a picture as uint8 H x W x 3 for one of the grids, with blurred faces.

    Raises:
        UnusableImageError: the picture cannot be decoded. (A subclass of ``OSError``.)
    """
    return frame(blur_faces(open_rgb(data, decode_side(framing)), faces), framing)
