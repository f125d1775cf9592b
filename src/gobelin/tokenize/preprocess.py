"""A picture's file -> the pixels that an image tokenizer takes. Without torch, for processes that only decode."""

from __future__ import annotations

import numpy as np
import PIL.Image

from gobelin.transforms.images.open_image import open_rgb
from gobelin.transforms.vision.faces import Boxes, blur_faces


def preprocess(picture: PIL.Image.Image, size: tuple[int, int]) -> np.ndarray:
    """An upright RGB picture, as ``open_rgb`` gives it, as uint8 H x W x 3: the largest part of its centre that has the
    shape H : W, resized with antialiasing.

    The same as resizing (bicubic) until it covers H x W and cropping the centre, without ever making the parts that
    are cropped. A picture that already is H x W keeps its pixels.
    """
    height, width = size
    across, down = float(picture.width), float(picture.height)
    if picture.width * height <= picture.height * width:
        down = picture.width * height / width
    else:
        across = picture.height * width / height
    left, top = (picture.width - across) / 2, (picture.height - down) / 2
    box = (left, top, left + across, top + down)
    return np.asarray(picture.resize((width, height), PIL.Image.Resampling.BICUBIC, box=box))


def decode_side(size: tuple[int, int]) -> int:
    """Pixels that a picture's shorter side keeps at least before ``preprocess``: twice what is left of it, so that the
    last step of reducing is its own."""
    return 2 * max(size)


def decode(data: bytes, faces: Boxes, size: tuple[int, int]) -> np.ndarray:
    """A picture's file as uint8 H x W x 3, faces blurred.

    Raises:
        UnusableImageError: it gives no pixels. (An ``OSError``.)
    """
    return preprocess(blur_faces(open_rgb(data, decode_side(size)), faces), size)
