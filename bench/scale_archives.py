"""Makes copies of real archives that are no duplicates of them, for bench/scale.py."""

from __future__ import annotations

import gzip
import io
import os
import random
import re
from pathlib import Path
from typing import Any

_TEXT = re.compile(r">([^<>]{30,})<")
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])")
_LONG_WORD = re.compile(r"\b[a-z]{5,}\b|[\u4e00-\u9fff]")
_HEADERS = ("content-encoding", "transfer-encoding", "content-length")
_TILES = 4


def copy_archive(source: str, target: str, number: int) -> None:
    """A copy of a WARC file, record by record: other hosts, other order of sentences and of long words, pictures whose
    tiles are in another order. So copies are no duplicates of each other, of text or of pictures."""
    from warcio.archiveiterator import ArchiveIterator

    rng = random.Random(f"{Path(source).name} {number}")
    partial = f"{target}.part"
    with open(source, "rb") as given, open(partial, "wb") as stream:
        for record in ArchiveIterator(given):
            url = record.rec_headers.get_header("WARC-Target-URI")
            if record.rec_type != "response" or not url or record.http_headers is None:
                continue
            kind = record.http_headers.get_header("Content-Type") or ""
            body = record.content_stream().read()
            if "html" in kind:
                body = _other_text(body.decode("utf-8", "surrogateescape"), rng).encode("utf-8", "surrogateescape")
                body = _other_hosts(body, number)
            elif kind.startswith("image/") and "svg" not in kind:
                body = _other_picture(body, rng) + f"{number:08d}".encode()
            stream.write(gzip.compress(_record(record, _other_hosts(url.encode(), number), body), 1, mtime=0))
    os.replace(partial, target)


def _other_hosts(data: bytes, number: int) -> bytes:
    return re.sub(rb"(https?:)?//(?=[a-z0-9])", lambda match: match[0] + b"c%d." % number, data)


def _other_text(page: str, rng: random.Random) -> str:
    return _TEXT.sub(lambda match: f">{_shuffled(match[1], rng)}<", page)


def _shuffled(text: str, rng: random.Random) -> str:
    sentences = _SENTENCE_END.split(text)
    rng.shuffle(sentences)
    text = "".join(sentences)
    words: dict[int, list[str]] = {}
    for word in _LONG_WORD.findall(text):
        words.setdefault(len(word), []).append(word)
    for alike in words.values():
        rng.shuffle(alike)
    return _LONG_WORD.sub(lambda match: words[len(match[0])].pop(), text)


def _other_picture(data: bytes, rng: random.Random) -> bytes:
    """The picture with its tiles in another order, in its own format; what Pillow cannot do so stays as it is."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            width, height = picture.width // _TILES, picture.height // _TILES
            if min(width, height) < _TILES or getattr(picture, "n_frames", 1) > 1:
                return data
            corners = [(x * width, y * height) for x in range(_TILES) for y in range(_TILES)]
            tiles = [picture.crop((x, y, x + width, y + height)) for x, y in corners]
            rng.shuffle(tiles)
            changed = picture.copy()
            for tile, corner in zip(tiles, corners, strict=True):
                changed.paste(tile, corner)
            buffer = io.BytesIO()
            faster = {"PNG": {"compress_level": 3}, "JPEG": {"quality": 85}}.get(picture.format or "", {})
            changed.save(buffer, picture.format, **faster)
            return buffer.getvalue()
    except (OSError, ValueError, SyntaxError):
        return data


def _record(record: Any, url: bytes, body: bytes) -> bytes:
    headers = [f"{name}: {value}" for name, value in record.http_headers.headers if name.lower() not in _HEADERS]
    head = "\r\n".join([f"HTTP/1.1 {record.http_headers.statusline}", *headers, f"Content-Length: {len(body)}"])
    block = head.encode("utf-8", "replace") + b"\r\n\r\n" + body
    lines = ["WARC/1.1", "WARC-Type: response", f"WARC-Date: {record.rec_headers.get_header('WARC-Date')}",
             f"WARC-Target-URI: {url.decode()}", "Content-Type: application/http; msgtype=response",
             f"Content-Length: {len(block)}"]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


def count_responses(path: str) -> tuple[int, int]:
    """(HTML responses, responses with a picture) in a WARC file."""
    from warcio.archiveiterator import ArchiveIterator

    pages = pictures = 0
    with open(path, "rb") as stream:
        for record in ArchiveIterator(stream):
            if record.rec_type == "response" and record.http_headers is not None:
                kind = record.http_headers.get_header("Content-Type") or ""
                pages += "html" in kind
                pictures += kind.startswith("image/")
    return pages, pictures
