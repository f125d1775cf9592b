"""Training results: loss curves, the grounding gap, samples."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image as PillowImage

from gobelin.report.documents import shown_text
from gobelin.report.pictures import png_uri
from gobelin.store.files import exists, read_bytes, read_json
from gobelin.store.paths import join

MAX_SAMPLES = 16
MAX_IMAGES_PER_CAPTION = 4
MAX_WRITTEN = 6
"""What is shown of each kind of sample."""


def curve(metrics: list[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    """(step, value) of each line that has the metric."""
    return [(line["step"], line[name]) for line in metrics if line.get(name) is not None]


def read_samples(folder: str) -> dict[str, Any] | None:
    """``samples.json`` with images as ``data:`` URIs in place of file names, limited to the samples on the page."""
    path = join(folder, "samples.json")
    if not exists(path):
        return None
    samples = read_json(path)

    def picture(name: str) -> str:
        with PillowImage.open(io.BytesIO(read_bytes(join(folder, name)))) as image:
            return png_uri(image.convert("RGB"))

    return {
        "from_captions": [
            {
                "caption": shown_text(item["caption"]),
                "images": [picture(name) for name in item["images"][:MAX_IMAGES_PER_CAPTION]],
            }
            for item in samples["from_captions"][:MAX_SAMPLES]
        ],
        "from_images": [
            {
                "image": picture(item["image"]),
                "caption": shown_text(item["caption"]),
                "true_caption": shown_text(item["true_caption"]),
            }
            for item in samples["from_images"][:MAX_SAMPLES]
        ],
        "documents": [[_item(item, picture) for item in items] for items in samples["documents"][:MAX_WRITTEN]],
        "totals": {name: len(samples[name]) for name in ("from_captions", "from_images", "documents")},
    }


def _item(item: dict[str, Any], picture: Any) -> dict[str, Any]:
    if item["kind"] == "text":
        return {"kind": "text", "text": shown_text(item["text"])}
    return {"kind": "image", "image": picture(item["image"]), "caption": shown_text(item["caption"])}
