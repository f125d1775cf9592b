"""Face detectors of OpenCV for ``score.faces.detector``. They need the extra ``faces``.

    haar    Viola and Jones' cascade for frontal faces (2001), whose file is in OpenCV's package. It finds upright
    frontal
            faces, misses profiles and small faces, and has false positives.
    yunet   a small network (Wu et al., 2023). The user provides its file, face_detection_yunet_2023mar.onnx of OpenCV's
            model zoo (MIT).

Both search an image of at most ``max_side`` pixels. haar takes 30 ms at 640 pixels on one CPU thread.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from gobelin.errors import UserError
from gobelin.store.files import exists, local_copy
from gobelin.transforms.vision.faces import Face, FaceDetector


def haar(min_side: float = 0.05, neighbours: int = 5, max_side: int = 640) -> FaceDetector:
    """Frontal faces by OpenCV's Haar cascade.

    Args:
        min_side: minimum size of a face, as a share of the shorter side.
        neighbours: number of overlapping hits that make a face; more give fewer false positives.
        max_side: longer side, in pixels, of the image that is searched.
    """
    cv2 = _opencv()
    cascade = cv2.CascadeClassifier(os.path.join(cv2.data.haarcascades, "haarcascade_frontalface_default.xml"))

    def detect(image: PillowImage.Image) -> Iterator[Face]:
        grey = cv2.equalizeHist(np.asarray(_reduced(image, max_side).convert("L")))
        height, width = grey.shape
        least = max(24, round(min_side * min(width, height)))
        boxes, _, weights = cascade.detectMultiScale3(
            grey, scaleFactor=1.1, minNeighbors=neighbours, minSize=(least, least), outputRejectLevels=True
        )
        for (x, y, w, h), weight in zip(boxes, weights, strict=True):
            # The cascade's last stage gives an unbounded margin; the logistic function maps it to [0, 1].
            yield Face(x / width, y / height, (x + w) / width, (y + h) / height, 1 / (1 + math.exp(-float(weight))))

    return detect


def yunet(model: str, min_score: float = 0.6, max_side: int = 640) -> FaceDetector:
    """Faces by OpenCV's YuNet.

    Args:
        model: path of the ONNX file.
        min_score: minimum confidence of the network, [0, 1].
        max_side: longer side, in pixels, of the image that is searched.
    """
    cv2 = _opencv()
    if not exists(model):
        raise UserError(f"score.faces.options.model: no file {model}")
    try:
        with local_copy(model) as file:
            network = cv2.FaceDetectorYN.create(file, "", (320, 320), min_score)
    except cv2.error as error:
        raise UserError(f"score.faces.options.model: {model} is not a YuNet model: {str(error)[:200]}") from None

    def detect(image: PillowImage.Image) -> Iterator[Face]:
        pixels = np.asarray(_reduced(image, max_side))[:, :, ::-1]
        height, width = pixels.shape[:2]
        network.setInputSize((width, height))
        _, found = network.detect(np.ascontiguousarray(pixels))
        for x, y, w, h, *_, score in found if found is not None else ():
            yield Face(x / width, y / height, (x + w) / width, (y + h) / height, float(score))

    return detect


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        raise UserError("this face detector needs OpenCV: pip install 'gobelin[faces]'") from None
    cv2.setNumThreads(1)
    return cv2


def _reduced(image: PillowImage.Image, max_side: int) -> PillowImage.Image:
    copy = image.copy()
    copy.thumbnail((max_side, max_side), PillowImage.Resampling.BILINEAR)
    return copy
