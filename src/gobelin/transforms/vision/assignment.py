"""MMC4's assignment of images to texts: each text gets at most one image, and the sum of cosines is the highest.

It is the linear assignment problem (``scipy.optimize.linear_sum_assignment`` on the similarities, maximised). Where
there are more images than texts, those left over go to the text that fits each best, whatever that text has already
(Zhu et al., 2023, arXiv 2304.06939, section 3; the released compute_assignments.py pads to a square, with the same
outcome). MMC4 assigns after its image rules, and drops images whose best cosine is below 0.15 before: call it with the
matrix of what is left to reproduce that.

Cost: cubic in the smaller side at worst; 1000 images by 2000 texts took 0.1 to 0.8 s.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True, slots=True)
class Assignment:
    """For each image the text that it is assigned to, and their cosine; arrays of length N."""

    text: npt.NDArray[np.intp]
    similarity: npt.NDArray[np.float32]


def assign_images(similarities: npt.NDArray[np.floating]) -> Assignment:
    """Assigns each of N images to one of M texts.

    Args:
        similarities: (N, M), finite, M at least 1. Of equal sums the same one is found each time: equal matrices give
            equal assignments.
    """
    from scipy.optimize import linear_sum_assignment  # not at the top: it takes a second to import

    num_images, num_texts = similarities.shape
    if not num_texts:
        raise ValueError(f"{num_images} images cannot be assigned to no text")
    text = similarities.argmax(1) if num_images else np.empty(0, np.intp)
    images, chosen = linear_sum_assignment(similarities.astype(np.float64), maximize=True)
    text[images] = chosen
    return Assignment(text, similarities[np.arange(num_images), text].astype(np.float32))
