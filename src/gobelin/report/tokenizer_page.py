"""An image tokenizer as one HTML page: its configuration, its quality, and originals beside reconstructions. Nothing is
loaded from elsewhere. Images are decoded and encoded again."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as PillowImage

from gobelin.report.pictures import png_uri
from gobelin.tokenize.codebook import Codebook

if TYPE_CHECKING:
    from gobelin.tokenize.quality import Quality


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """An image as the tokenizer sees it, and its reconstruction."""

    original: np.ndarray  # uint8 H x W x 3
    decoded: np.ndarray
    psnr_db: float
    ssim: float


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """The progress of a fit at one step."""

    step: int
    loss: float
    psnr_db: float  # of a few held-out pictures
    ssim: float
    codes_used: int  # by them; 0 for latents, and before there are codes
    pictures: tuple[str, ...]  # data URIs of reconstructions, always of the same pictures


def fit_page(title: str, steps: int, originals: Sequence[str], looks: Sequence[Look]) -> str:
    """The page of a running fit. A browser reloads it every ten seconds."""
    table = f"<table><tr><th>steps<td>{looks[-1].step if looks else 0:,} of {steps:,}</table>"
    return _page(title, table + fit_section(originals, looks), refresh=True)


def fit_section(originals: Sequence[str], looks: Sequence[Look]) -> str:
    """Reconstructions during a fit: one column per step, one row per image."""
    if not looks:
        return ""
    rows = [
        ("step", [f"{look.step:,}" for look in looks]),
        ("loss", [f"{look.loss:.4f}" for look in looks]),
        ("PSNR, dB", [f"{look.psnr_db:.2f}" for look in looks]),
        ("SSIM", [f"{look.ssim:.3f}" for look in looks]),
    ]
    if any(look.codes_used for look in looks):
        rows.append(("codes used", [f"{look.codes_used:,}" if look.codes_used else "none yet" for look in looks]))
    head = "".join(
        f"<tr><th scope=row>{name}<td>{'<td>'.join(values)}" for name, values in rows
    )  # fmt: skip
    pictures = "".join(
        f'<tr><td><img src="{original}" alt="original {number + 1}">'
        + "".join(f'<td><img src="{look.pictures[number]}" alt="at step {look.step}">' for look in looks)
        for number, original in enumerate(originals)
    )
    return (
        "<h2>While it was fitted</h2><p>The same held-out pictures, the original first; numbers are over "
        "up to 64 of them.</p>"
        f"<div class=wide><table>{head}{pictures}</table></div>"
    )


def tokenizer_page(sections: Mapping[str, str], fitted: str = "") -> str:
    """The page.

    Args:
        sections: ``tokenizer_section`` of each tokenizer, by the name of its codebook.
        fitted: ``fit_section`` of the fit, if there is only one tokenizer.
    """
    names = list(sections)
    if len(names) == 1:
        return _page(f"Image tokenizer {names[0]}", sections[names[0]] + fitted)
    return _page("Image tokenizers", "".join(f"<h2>{html.escape(name)}</h2>{body}" for name, body in sections.items()))


def tokenizer_section(
    codebooks: Sequence[Codebook], pictures: Sequence[Shown], quality: Quality | None,
    agreement: Mapping[str, Any] | None = None,
) -> str:  # fmt: skip
    """The description of a tokenizer as HTML. Without a decoder, it has no images.

    Args:
        codebooks: one for each grid.
    """
    codebook = codebooks[0]
    rows = [
        *facts(codebooks),
        *agreement_row(codebook, agreement),
        *([] if quality is None else measured(codebook, quality)),
    ]
    table = "".join(f"<tr><th>{html.escape(name)}<td>{html.escape(value)}" for name, value in rows)
    figures = "".join(
        f"<figure>{_image(shown.original, 'the original')}{_image(shown.decoded, 'its reconstruction')}"
        f"<figcaption>PSNR {shown.psnr_db:.1f} dB, SSIM {shown.ssim:.2f}</figcaption></figure>"
        for shown in pictures
    )
    none = "<p>This tokenizer has no decoder, so there are no reconstructions.</p>"
    return f"<table>{table}</table><h2>Originals and reconstructions</h2>{figures or none}"


def _page(title: str, body: str, refresh: bool = False) -> str:
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Image tokenizer</title>"
        f"{'<meta http-equiv=refresh content=10>' if refresh else ''}"
        "<meta name=viewport content='width=device-width'>"
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src data:; "
        "style-src 'unsafe-inline'\">"
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}"
        "th{text-align:left;font-weight:normal;color:#555;padding-right:1rem;vertical-align:top}"
        "td{overflow-wrap:anywhere}figure{display:inline-block;margin:.5rem}"
        "img{width:128px;image-rendering:pixelated;margin-right:2px}figcaption{color:#555;font-size:.85rem}"
        ".wide{overflow-x:auto}.wide img{width:96px}.wide td{overflow-wrap:normal;white-space:nowrap}</style>"
        f"<h1>{html.escape(title)}</h1>{body}</html>\n"
    )


def facts(codebooks: Sequence[Codebook]) -> list[tuple[str, str]]:
    """A tokenizer's properties as (name, value) pairs for people. ``codebooks``: one for each grid."""
    codebook = codebooks[0]
    bits = " or ".join(f"{each:,.0f}" for each in sorted({book.bits_per_image for book in codebooks}))
    what = (
        [("latent", f"{codebook.latent_channels} numbers a token, float16")]
        if codebook.is_continuous
        else [("codes", f"{codebook.num_codes:,}"), ("bits an image", bits)]
    )
    return [
        ("kind", codebook.kind),
        ("grid" if len(codebooks) == 1 else "grids", ", ".join(map(_grid, codebooks)) + " tokens an image"),
        *what,
        ("fingerprint", codebook.fingerprint),
    ]


def _grid(codebook: Codebook) -> str:
    return f"{codebook.rows} x {codebook.columns} = {codebook.tokens_per_image}"


def agreement_row(codebook: Codebook, agreement: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """The agreement of bfloat16 with float32 as a (name, value) pair; empty if unknown."""
    if agreement is None:
        return []
    found, where = agreement["bfloat16"], f"{agreement['pictures']} pictures {agreement['of']}, {agreement['device']}"
    if codebook.is_continuous:
        return [("bfloat16", f"latents differ by {found:.2%} of their spread from float32's ({where})")]
    return [("bfloat16", f"{found:.1%} of the codes are float32's ({where})")]


def encoded_on(made: Mapping[str, Any]) -> str:
    """The device and precision that made the codes, for people."""
    halved = f"; halved {made['halved']} times, as memory was short" if made.get("halved") else ""
    name = f"{made['codebook']}: " if "codebook" in made else ""
    return f"{name}{made.get('device')}, {made.get('precision')}, {made.get('batch_size')} pictures at a time{halved}"


def measured(codebook: Codebook, quality: Quality) -> list[tuple[str, str]]:
    """The quality on a sample, as (name, value) pairs for people."""
    rows = []
    if quality.num_images:
        rows.append(
            ("kept", f"PSNR {quality.psnr_db:.2f} dB, SSIM {quality.ssim:.3f} over {quality.num_images:,} pictures")
        )
    if not codebook.is_continuous:
        share = quality.codes_used / codebook.num_codes
        rows.append(("codes used", f"{quality.codes_used:,} ({share:.0%}), perplexity {quality.perplexity:,.1f}"))
    return rows


def _image(pixels: np.ndarray, alt: str) -> str:
    return f'<img src="{png_uri(PillowImage.fromarray(pixels))}" alt="{alt}">'
