"""WebDataset: tar files in which files that share a name up to the first dot are one sample.

    DOC_ID.json        texts, images: lists of one length, at each place exactly one of the two not null, as MINT-1T
                       has them; an image is the name of its file in the tar. image_metadata: of each image its address,
                       alt, caption, width, height. url, title, language, and the side field
    DOC_ID.3.jpg       the image at place 3; one that stands twice in a document is there once

This is also what NVIDIA NeMo Curator's InterleavedWebdatasetReader takes. Files come in the order of the ids, without
times and owners, so equal documents give equal bytes. Foreign samples: images in any order and before or after their
JSON; a ``txt`` or ``caption`` beside images without ``texts`` is a text after them (image-text pairs).
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gobelin.errors import UserError
from gobelin.exchange.entry import (
    SIDE,
    Entry,
    EntryError,
    Origin,
    Picture,
    as_json,
    attempt,
    document_of,
    extension,
    image_node,
    known_of,
    optional_text,
    parse_json,
    picture_of,
    restored,
    side_of,
    side_of_picture,
    text_node,
)
from gobelin.exchange.parquet_files import parallel_lists
from gobelin.exchange.writing import Shard, whole_file

Row = dict[str, Any]

MAX_MEMBER_BYTES = 64 * 1024 * 1024
"""A longer file of a sample is passed over."""

MAX_MEMBERS = 10_000
"""Files of one sample that are held; more are passed over."""

_TEXTS = ("txt", "text", "caption")
_IMAGES = frozenset(
    ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jp2", "ico", "ppm", "tga", "qoi"]
)


def write_shard(shard: Shard) -> None:
    """One tar file."""
    path = shard.folder / f"{shard.index:05d}.tar"
    with whole_file(path) as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for entry, _ in shard.items:
            for name, data in sample_files(entry):
                member = tarfile.TarInfo(name)  # mode 0644, and no time, owner or group
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def sample_files(entry: Entry) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the files of a document, its JSON first. Every image node has a picture with bytes."""
    document = entry.document
    texts: list[str | None] = []
    images: list[str | None] = []
    described = []
    files: dict[str, tuple[str, bytes]] = {}
    for place, (node, picture) in enumerate(entry.laid_out):
        if node["kind"] == "text":
            texts.append(node["text"])
            images.append(None)
            continue
        assert picture is not None
        assert picture.data is not None
        name = f"{document['doc_id']}.{place}.{extension(picture.facts['format'])}"
        name, _ = files.setdefault(node["image_id"], (name, picture.data))
        texts.append(None)
        images.append(name)
        described.append(image_metadata(node, picture))
    sample = {
        "url": document["url"],
        "title": document["title"],
        "language": document["language"],
        "texts": texts,
        "images": images,
        "image_metadata": described,
        SIDE: side_of(document),
    }
    yield f"{document['doc_id']}.json", as_json(sample).encode("utf-8", "replace")
    yield from files.values()


def image_metadata(node: Row, picture: Picture) -> Row:
    """What a reader may want to know of an image, and its side field."""
    return {
        "url": node["image_url"],
        "alt": node["alt"],
        "caption": node["caption"],
        "width": picture.facts["width"],
        "height": picture.facts["height"],
        "sha256": node["image_id"],
        SIDE: side_of_picture(picture),
    }


def read_source(path: Path) -> Iterator[Entry | EntryError]:
    """The documents of one tar file, sample by sample.

    Raises:
        UserError: the file is no tar file.
    """
    try:
        for number, files in enumerate(_samples(path)):
            yield attempt(entry_of_files, files, Origin(path.name, number))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{path}: cannot be read as a tar file: {error}") from None


def _samples(path: Path) -> Iterator[dict[str, bytes]]:
    """The files of each sample: neighbours in the tar whose names are the same up to the first dot of the last part."""
    held: dict[str, bytes] = {}
    key = None
    with tarfile.open(path, mode="r|*") as archive:
        for member in archive:
            if not member.isreg():
                continue
            folder, _, name = member.name.rpartition("/")
            stem, dot, _ = name.partition(".")
            if not dot:
                continue
            if (folder, stem) != key:
                if held:
                    yield held
                key, held = (folder, stem), {}
            if member.size <= MAX_MEMBER_BYTES and len(held) < MAX_MEMBERS:
                stream = archive.extractfile(member)
                held[member.name] = stream.read() if stream else b""
            archive.members = []  # type: ignore[attr-defined]  # else every header that was read stays in memory
    if held:
        yield held


def entry_of_files(files: dict[str, bytes], origin: Origin) -> Entry:
    """A document from the files of a sample, by their names in the tar.

    Raises:
        EntryError: the sample is not as the format has it.
    """
    parts = {name.rpartition("/")[2].partition(".")[2].lower(): name for name in files}
    sample = _json_of(files[parts["json"]]) if "json" in parts else {}
    if "texts" not in sample:
        return _pair(files, parts, sample, origin)
    texts, images = parallel_lists(sample)
    side = sample.get(SIDE)
    held = [text for text in texts if text is not None]
    if not all(isinstance(text, str) for text in held):
        raise EntryError("malformed_row", "texts holds what is no string")
    described = sample.get("image_metadata")
    described = described if isinstance(described, list) else []
    shown = [image for image in images if image is not None]
    nodes = restored(side, held, len(shown))
    if nodes is None:
        metadata = iter([*described, *[None] * len(shown)])
        nodes = [_image(next(metadata)) if text is None else text_node(text) for text in texts]
    pictures = [_picture(files, image, _at(described, place)) for place, image in enumerate(shown)]
    document = document_of(side, nodes, origin, known_of(sample))
    return Entry(document, tuple(pictures))


def _pair(files: dict[str, bytes], parts: dict[str, str], sample: Row, origin: Origin) -> Entry:
    text = next((files[parts[name]].decode("utf-8", "replace") for name in _TEXTS if name in parts), None)
    text = text or next((found for name in _TEXTS if (found := optional_text(sample.get(name)))), None)
    images = [name for part, name in parts.items() if part.rpartition(".")[2] in _IMAGES]
    if not text and not images:
        raise EntryError("malformed_row", "a sample with neither texts nor an image and its caption")
    nodes = [_image(sample) for _ in images] + ([text_node(text)] if text else [])
    document = document_of(None, nodes, origin, {"title": optional_text(sample.get("title"))})
    return Entry(document, tuple(Picture(files[name], {}) for name in images))


def _json_of(data: bytes) -> Row:
    value = parse_json(data.decode("utf-8", "replace"), "a sample's JSON")
    if not isinstance(value, dict):
        raise EntryError("malformed_row", "a sample's JSON is no object")
    return value


def _image(described: Any) -> Row:
    known = described if isinstance(described, dict) else {}
    return image_node(known.get("url"), known.get("alt"), known.get("caption"))


def _at(items: list[Any], place: int) -> Row:
    return items[place] if place < len(items) and isinstance(items[place], dict) else {}


def _picture(files: dict[str, bytes], name: Any, described: Row) -> Picture | None:
    data = files.get(name) if isinstance(name, str) else None
    return picture_of(data, described.get(SIDE))
