"""The samples of a model as one page, HTML or Markdown, beside their images. The model's text is escaped, and nothing
is loaded from elsewhere."""

from __future__ import annotations

import html
import re
from typing import Any

from gobelin.exchange.markdown_text import code, prose
from gobelin.train.config import SamplingConfig

_HEAD = (
    "<!doctype html><html lang=en><meta charset=utf-8>"
    "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src 'self'; "
    "style-src 'unsafe-inline'\">"
    "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}"
    "img{width:112px;height:112px;object-fit:contain;image-rendering:pixelated;border:1px solid #ccc;margin:.15rem}"
    "section>div{border-top:1px solid #ddd;padding:.6rem 0}.g{color:#666}figure{margin:.6rem 0}"
    "figure.g img{opacity:.6}.w{white-space:pre-wrap}.card{display:inline-block;vertical-align:top;width:13rem}"
    ".card h2{font-size:1rem;margin:.5rem 0 0}</style>"
)


def samples_page(samples: dict[str, Any], name: str, seed: int, sampling: SamplingConfig) -> str:
    """The samples as one HTML page, beside their images."""
    parts = [
        f"{_HEAD}<title>Samples</title><h1>Samples of the model</h1>"
        f"<p class=g>Recipe {html.escape(name)}, seed {seed}, temperature {sampling.temperature}, "
        f"top-k {sampling.top_k}, guidance {sampling.cfg_scale}.</p>"
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


def prompt_page(made: dict[str, Any]) -> str:
    """The samples for a prompt as one HTML page, beside their images.

    Args:
        made: the values of ``samples.json``.
    """
    sections = []
    kind = " class=card" if made["make"] == "picture" else ""
    for number, sample in enumerate(made["samples"], 1):
        near = f", cosine of CLIP {sample['clip']:.3f}" if "clip" in sample else ""
        items = "".join(_prompt_item(item) for item in sample["items"])
        sections.append(f"<section{kind}><h2>{number}{near}</h2>{items}</section>")
    notes = "".join(f"<p class=g>{html.escape(note)}</p>" for note in made["notes"])
    return (
        f"{_HEAD}<title>Samples of a prompt</title><h1>Samples of a prompt</h1>"
        f"<p class=g>{html.escape(_settings(made))} What stands in grey was given; given pictures are shown as the "
        f"model sees them.</p>{notes}{''.join(sections)}</html>\n"
    )


def _prompt_item(item: dict[str, Any]) -> str:
    def words(text: dict[str, str]) -> str:
        return f"<span class=g>{html.escape(text['given'])}</span>{html.escape(text['made'])}"

    if item["kind"] == "text":
        return f"<p class=w>{words(item)}</p>"
    kind = "" if item["made"] else " class=g"
    picture = f'<img src="{html.escape(item["image"])}" alt="">'
    return f"<figure{kind}>{picture}<figcaption>{words(item['caption'])}</figcaption></figure>"


def prompt_markdown(made: dict[str, Any]) -> str:
    """The samples for a prompt as Markdown. Markdown characters are escaped, except for fences of code."""
    lines = ["# Samples of a prompt", "", prose(_settings(made)), ""]
    for note in made["notes"]:
        lines += [prose(note), ""]
    for number, sample in enumerate(made["samples"], 1):
        near = f", cosine of CLIP {sample['clip']:.3f}" if "clip" in sample else ""
        lines += [f"## {number}{near}", ""]
        for item in sample["items"]:
            text = item if item["kind"] == "text" else item["caption"]
            if item["kind"] == "picture":
                lines += [f"![{'drawn' if item['made'] else 'given'}]({item['image']})", ""]
            if text["given"] + text["made"]:
                lines += [_in_markdown(text["given"] + text["made"]), ""]
    return "\n".join(lines)


def _in_markdown(text: str) -> str:
    """A text as Markdown blocks that show the same text: code between fences, words elsewhere. A fence that the model
    never closed ends with the text."""
    blocks: list[str] = []
    last = 0
    for found in _FENCED.finditer(text):
        blocks += [prose(text[last : found.start()]), code(found["code"] or "", found["language"])]
        last = found.end()
    return "\n\n".join(block for block in (*blocks, prose(text[last:])) if block)


_FENCED = re.compile(
    r"^(?P<fence>`{3,})(?P<language>[\w+#.-]{0,40})[ \t]*(?:\n(?P<code>.*?))??(?:\n(?P=fence)`*[ \t]*$|\Z)", re.S | re.M
)
"""A block of code, as tokens of documents hold it (``data/markdown_blocks.py``)."""


def _settings(made: dict[str, Any]) -> str:
    given = made["sampling"]
    of_text = ("temperature", "top_k", "top_p")
    told = [f"seed {made['seed']}", f"temperature {given['temperature']}", f"top-k {given['top_k']}"]
    told += [f"top-p {given['top_p']}", f"guidance {given['cfg_scale']}"]
    told += [f"{name} of text {given[f'text_{name}']}" for name in of_text if given[f"text_{name}"] is not None]
    if given["image_cfg_scale"] is not None:
        told.append(f"guidance by pictures {given['image_cfg_scale']}")
    if given["text_cfg_scale"] != 1:
        told.append(f"guidance of text {given['text_cfg_scale']}")
    if given["repetition_penalty"] != 1:
        told.append(f"penalty of repetition {given['repetition_penalty']}")
    return f"{', '.join(told).capitalize()}."
