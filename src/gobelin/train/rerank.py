"""Ranks the images of one caption by CLIP similarity, as in DALL-E (arXiv 2102.12092)."""

from __future__ import annotations

import numpy as np
from PIL import Image as PillowImage

from gobelin.transforms.vision.clip import ClipModel


def ranked(clip: ClipModel, caption: str, pictures: np.ndarray) -> list[tuple[int, float]]:
    """(index, cosine with the caption) of each image, best first. Equal images keep their order.

    Args:
        pictures: uint8 (N, H, W, 3).
    """
    of_caption = clip.embed_texts([caption])[0].astype(np.float64)
    of_pictures = clip.embed_images(map(PillowImage.fromarray, pictures)).astype(np.float64)
    cosines = (of_pictures @ of_caption).tolist()
    return sorted(enumerate(cosines), key=lambda each: (-each[1], each[0]))
