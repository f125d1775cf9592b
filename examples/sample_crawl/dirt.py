"""The web's dirt: text that is no prose, pictures that are no content, and bytes that are no picture.

Every function makes one kind of dirt. `make_crawl` uses it and knows the truth about it.
"""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont

PLACEHOLDER_GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
"""A transparent 1x1 GIF: what a lazy page shows until its script runs, and what a tracker answers with."""

_PRODUCTS = ("watches", "handbags", "pills", "loans", "casino", "slots", "shoes", "followers", "coins", "tickets",
             "hosting", "software", "diet", "tires", "perfume")  # fmt: skip
_PUFF = ("cheap", "best", "free", "discount", "sale", "online", "offer", "deals", "bonus", "top", "price", "outlet",
         "buy", "win", "cash", "instant", "guaranteed", "limited", "exclusive", "now")  # fmt: skip
_NETWORKS = ("facebook", "twitter", "instagram", "pinterest", "whatsapp", "linkedin", "tumblr", "reddit")
_LOREM = ("lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit", "sed", "do",
          "eiusmod", "tempor", "incididunt", "ut", "labore", "et", "dolore", "magna", "aliqua", "enim", "ad",
          "minim", "veniam", "quis", "nostrud", "exercitation", "ullamco", "laboris", "nisi", "aliquip",
          "ex", "ea", "commodo", "consequat", "duis", "aute", "irure", "in", "reprehenderit", "voluptate",
          "velit", "esse", "cillum", "eu", "fugiat", "nulla", "pariatur", "excepteur", "sint", "occaecat",
          "cupidatat", "non", "proident", "sunt", "culpa", "qui", "officia", "deserunt", "mollit", "anim",
          "id", "est", "laborum")  # fmt: skip


def _pick(rng: Generator, words: tuple[str, ...], count: int) -> list[str]:
    return [words[i] for i in rng.integers(len(words), size=count).tolist()]


def _stuffed(rng: Generator) -> str:
    """Key words without grammar."""
    words = [w for pair in zip(_pick(rng, _PUFF, 30), _pick(rng, _PRODUCTS, 30)) for w in pair]
    return " ".join(words)


def _repeated(rng: Generator) -> str:
    """One advertisement many times over."""
    product = _pick(rng, _PRODUCTS, 1)[0]
    return f"Buy the best {product} at the best price and get your bonus now! " * int(rng.integers(6, 10))


def _begging(rng: Generator) -> str:
    """Calls to click and to follow."""
    first, second, third = _pick(rng, _NETWORKS, 3)
    product = _pick(rng, _PRODUCTS, 1)[0]
    return (
        f"Click here to follow us on {first}, share on {second}, like on {third}. Sign up, subscribe, click here: "
        f"free {product} newsletter! Share, like, click, tweet, pin, email, print."
    )


def spam_paragraphs(rng: Generator, flavour: int) -> list[str]:
    """Five paragraphs of spam: key words (flavour 0), repetition (1) or calls to click (2)."""
    write = (_stuffed, _repeated, _begging)[flavour % 3]
    return [write(rng).strip() for _ in range(5)]


def lorem_paragraphs(rng: Generator) -> list[str]:
    """Four paragraphs of filler text."""
    paragraphs = ["Lorem ipsum dolor sit amet, consectetur adipiscing elit."]
    for _ in range(3):
        words = _pick(rng, _LOREM, 45)
        sentences = [" ".join(words[i : i + 9]).capitalize() + "." for i in range(0, 45, 9)]
        paragraphs.append(" ".join(sentences))
    return paragraphs


def encode(picture: Image.Image, kind: str = "PNG") -> bytes:
    """The picture as a file: PNG, JPEG (quality 92, full chroma) or WEBP (lossless)."""
    options = {"PNG": {}, "JPEG": {"quality": 92, "subsampling": 0}, "WEBP": {"lossless": True, "method": 2}}[kind]
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def truncated(body: bytes) -> bytes:
    """The first three fifths of a file: its header is whole, its pixels are not."""
    return body[: len(body) * 3 // 5]


def html_body(title: str) -> bytes:
    """A short error page, as servers send it in a picture's place."""
    return f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>".encode()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb_png(number: int, side: int = 60_000) -> bytes:
    """A PNG of some 100 bytes whose header says side x side pixels; ``number`` makes its bytes unique."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    note = _chunk(b"tEXt", b"Comment\0" + str(number).encode())
    data = _chunk(b"IDAT", zlib.compress(b"\0" * 64))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + note + data + _chunk(b"IEND", b"")


def logo(name: str, tint: tuple[int, int, int]) -> Image.Image:
    """A site's logo: its name in white on a wide bar, 192x48."""
    picture = Image.new("RGB", (192, 48), tint)
    draw = ImageDraw.Draw(picture)
    draw.text((96, 24), name, fill="white", font=ImageFont.load_default(size=18), anchor="mm")
    return picture


def icon(letter: str, side: int) -> Image.Image:
    """A button with a letter, side x side."""
    picture = Image.new("RGB", (side, side), (90, 98, 110))
    ImageDraw.Draw(picture).text(
        (side / 2, side / 2), letter, fill="white", font=ImageFont.load_default(size=0.7 * side), anchor="mm"
    )
    return picture


def banner(words: tuple[str, str], tint: tuple[int, int, int], width: int, height: int) -> Image.Image:
    """A banner that asks for something, of a size that could be a picture's."""
    shade = np.linspace(1.15, 0.75, height)[:, None, None] * np.array(tint)[None, None, :]
    picture = Image.fromarray(np.broadcast_to(shade.clip(0, 255), (height, width, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for line, text in enumerate(words):
        draw.text(
            (width / 2, height * (0.36 + 0.3 * line)), text, fill="white",
            font=ImageFont.load_default(size=height / 5.5), anchor="mm",
        )  # fmt: skip
    return picture
