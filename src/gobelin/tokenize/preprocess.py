"""A picture's file -> the pixels that an image tokenizer takes. Without torch, for processes that only decode."""

from __future__ import annotations

import numpy as np
import PIL.Image

from gobelin.tokenize.framing import Framing, Resize
from gobelin.transforms.images.open_image import open_rgb
from gobelin.transforms.vision.faces import Boxes, blur_faces


def frame(picture: PIL.Image.Image, framing: Framing) -> np.ndarray:
    """An upright RGB picture, as ``open_rgb`` gives it, as uint8 H x W x 3 of the grid that is nearest to its shape."""
    size = framing.sizes[framing.index_for(picture.height, picture.width)]
    return preprocess(picture, size, framing.resize)


def preprocess(picture: PIL.Image.Image, size: tuple[int, int], resize: Resize = "crop") -> np.ndarray:
    """An upright RGB picture, as ``open_rgb`` gives it, as uint8 H x W x 3, resized with antialiasing: the largest part
    of its centre that has the shape H : W; or, as a letterbox, all of it in the middle of black.

    A crop is the same as resizing (bicubic) until it covers H x W and cropping the centre, without ever making the
    parts that are cropped. A picture that already is H x W keeps its pixels.
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
    """All of the picture, as large as fits; what is left over is black, half of it on each side."""
    inside = (width, max(1, round(picture.height * width / picture.width)))
    if inside[1] > height:
        inside = (max(1, round(picture.width * height / picture.height)), height)
    pixels = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inside[0]) // 2, (height - inside[1]) // 2
    scaled = np.asarray(picture.resize(inside, PIL.Image.Resampling.BICUBIC))
    pixels[top : top + inside[1], left : left + inside[0]] = scaled
    return pixels


def decode_side(framing: Framing) -> int:
    """Pixels that a picture's shorter side keeps at least before ``frame``: twice what is left of it, so that the last
    step of reducing is its own."""
    return 2 * framing.longest_side


def decode(data: bytes, faces: Boxes, framing: Framing) -> np.ndarray:
    """A picture's file as uint8 H x W x 3 of one of the sizes, faces blurred.

    Raises:
        UnusableImageError: it gives no pixels. (An ``OSError``.)
    """
    return frame(blur_faces(open_rgb(data, decode_side(framing)), faces), framing)
