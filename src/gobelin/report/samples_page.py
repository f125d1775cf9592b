"""The samples of a model as one HTML page beside their pictures. What the model wrote is escaped; nothing is remote."""

from __future__ import annotations

import html
from typing import Any

from gobelin.train.config import SamplingConfig


def samples_page(samples: dict[str, Any], name: str, seed: int, sampling: SamplingConfig) -> str:
    """The samples as one HTML page beside their pictures."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Samples</title>"
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src 'self'; "
        "style-src 'unsafe-inline'\">"
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}"
        "img{width:112px;height:112px;image-rendering:pixelated;border:1px solid #ccc;margin:.15rem}"
        "section>div{border-top:1px solid #ddd;padding:.6rem 0}.g{color:#666}</style>"
        f"<h1>Samples of the model</h1><p class=g>Recipe {html.escape(name)}, seed {seed}, temperature "
        f"{sampling.temperature}, top-k {sampling.top_k}, guidance "
        f"{sampling.cfg_scale}.</p>"
    ]

    def picture(name: str) -> str:
        return f'<img src="{html.escape(name)}" alt="">'

    parts.append("<section><h2>Pictures drawn for a caption</h2>")
    if not samples["from_captions"]:
        parts.append("<p class=g>There was no caption to draw for: <code>sample.captions</code> gives some.</p>")
    for item in samples["from_captions"]:
        order = "<p class=g>In the order in which CLIP finds them close to the caption.</p>" if "clip" in item else ""
        parts.append(f"<div><p>{html.escape(item['caption'])}</p>{''.join(map(picture, item['images']))}{order}</div>")
    parts.append("</section><section><h2>Captions written for a held-out picture</h2>")
    if not samples["from_images"]:
        parts.append("<p class=g>No held-out picture with a caption was there to compare.</p>")
    for item in samples["from_images"]:
        parts.append(
            f"<div>{picture(item['image'])}<p>{html.escape(item['caption'])}</p>"
            f"<p class=g>The page says: {html.escape(item['true_caption'])}</p></div>"
        )
    parts.append("</section><section><h2>Documents written freely</h2>")
    for items in samples["documents"]:
        parts.append("<div>")
        for item in items:
            if item["kind"] == "text":
                parts.append(f"<p>{html.escape(item['text'])}</p>")
            else:
                caption = f"<p class=g>{html.escape(item['caption'])}</p>" if item["caption"] else ""
                parts.append(f"<div>{picture(item['image'])}{caption}</div>")
        parts.append("</div>")
    return "".join([*parts, "</section></html>\n"])
