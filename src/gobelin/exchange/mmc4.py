"""MMC4: JSON lines with one document each, and images assigned to texts (Zhu et al., 2023, arXiv 2304.06939).

    text_list            the texts; here one per node (the published data set has sentences)
    image_info           list of image_name, raw_url, matched_text_index, matched_sim, face_detections
    similarity_matrix    cosines, one row per image, one column per text
    url, could_have_url_duplicate

Lines are in ``docs_shard_N.jsonl``, the only file in ``docs_shard_N.jsonl.zip``. ``--with-images`` writes the bytes to
``images/N/IMAGE_NAME``, where OpenFlamingo's ``convert_mmc4_to_wds.py`` expects them. An image may also hold its bytes
as ``image_base64``, as that script writes them. An import reads both.

If ``score`` embedded every image and text of the document, or the document was imported with cosines, images are
assigned as in the paper (``vision/assignment.py``). Otherwise an image belongs to the text after it, its cosines are
null, and ``export.json`` counts the document as not scored. The side field, a key of the document, stores the order of
images and texts. In a foreign document an image is placed before its assigned text, as in the paper's training data.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gobelin.data.rows import NodeRow, Row
from gobelin.exchange.entry import (
    SIDE,
    Entry,
    EntryError,
    Origin,
    Picture,
    as_json,
    document_of,
    extension,
    image_node,
    optional_text,
    picture_of,
    restored,
    side_of,
    side_of_picture,
    text_node,
)
from gobelin.exchange.foreign_rows import damage_as_user_error
from gobelin.exchange.lines import read_entries
from gobelin.exchange.similarities import Matrix, sound_matrix
from gobelin.exchange.writing import Shard
from gobelin.store.files import is_folder, open_input, output, read_bytes, size_of, write_bytes
from gobelin.store.paths import join, name_of, parent_of
from gobelin.transforms.urls import well_formed
from gobelin.transforms.vision.assignment import assign_images

MAX_PICTURE_BYTES = 64 * 1024 * 1024
"""A longer file in ``images`` is not read."""

MAX_NAME_BYTES = 255
"""Longest name of a file in ``images``, in UTF-8."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def write_shard(shard: Shard) -> None:
    """Writes one zip file with one member. Images with bytes become separate files."""
    name = f"docs_shard_{shard.index}.jsonl"
    member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    member.compress_type = zipfile.ZIP_DEFLATED
    with output(join(shard.folder, f"{name}.zip")) as stream:
        with zipfile.ZipFile(stream, "w") as archive, archive.open(member, "w", force_zip64=True) as lines:
            for line in _lines(shard):
                lines.write(line)
        shard.written.archive(f"{name}.zip", stream)


def _lines(shard: Shard) -> Iterator[bytes]:
    """Yields the documents' lines, and writes images that have bytes."""
    for entry, matrix in shard.items:
        if not any(node["kind"] == "text" for node in entry.document["nodes"]):
            shard.losses.document(entry, "no_text", "MMC4 assigns every image to a text")
            continue
        if matrix is None and entry.pictures:
            shard.losses.notes["not_scored"] += 1
        shard.written.rows += 1
        yield as_json(mmc4_object(entry, matrix)).encode("utf-8", "replace") + b"\n"
        _write_images(entry, join(shard.folder, "images", str(shard.index)))


def _write_images(entry: Entry, folder: str) -> None:
    for node, picture in entry.shown:
        if picture is not None and picture.data is not None:
            write_bytes(join(folder, image_name(node, picture)), picture.data)


def mmc4_object(entry: Entry, matrix: Matrix | None) -> Row:
    """A document in MMC4's format.

    Args:
        matrix: cosines, (N, M), of its N image nodes and M text nodes, M at least 1; None: unknown.
    """
    document = entry.document
    texts = [node["text"] for node in document["nodes"] if node["kind"] == "text"]
    if matrix is None:
        chosen, cosines = _in_reading_order(document["nodes"]), [None] * len(entry.pictures)
    else:
        assignment = assign_images(matrix)
        chosen = assignment.text.tolist()
        cosines = matrix[np.arange(len(chosen)), assignment.text].tolist()
    image_info = []
    for (node, picture), text_index, cosine in zip(entry.shown, chosen, cosines, strict=True):
        info: Row = {
            "image_name": image_name(node, picture),
            "raw_url": node["image_url"],
            "matched_text_index": text_index,
            "matched_sim": cosine,
            "face_detections": None,
        }
        if picture is not None:
            info[SIDE] = side_of_picture(picture)
        image_info.append(info)
    return {
        "text_list": texts,
        "url": document["url"],
        "image_info": image_info,
        "similarity_matrix": None if matrix is None and image_info else [] if matrix is None else matrix.tolist(),
        "could_have_url_duplicate": 0,
        SIDE: side_of(document),
    }


def image_name(node: NodeRow, picture: Picture | None) -> str:
    """A file name: the image's id, or a digest of its address if the image is missing."""
    if picture is not None:
        return f"{node['image_id']}.{extension(picture.facts['format'])}"
    return hashlib.blake2b((node["image_url"] or "").encode(), digest_size=16).hexdigest() + ".jpg"


def _in_reading_order(nodes: Sequence[NodeRow]) -> list[int]:
    """For each image node, the index of the text after it, or of the last text for images at the end."""
    num_texts = sum(node["kind"] == "text" for node in nodes)
    before = 0
    chosen = []
    for node in nodes:
        if node["kind"] == "text":
            before += 1
        else:
            chosen.append(min(before, num_texts - 1))
    return chosen


def read_source(path: str) -> Iterator[Entry | EntryError]:
    """The documents of one ``.jsonl`` or ``.jsonl.zip`` file, with the pictures in ``images`` beside it.

    Raises:
        UserError: the file cannot be opened, or the zip file is damaged.
    """
    folder = _image_folder(path)
    with (
        damage_as_user_error(path, "a zip file" if path.endswith(".zip") else "JSON lines"),
        open_input(path) as stream,
    ):
        if not path.endswith(".zip"):
            yield from read_entries(stream, name_of(path), entry_of_object, folder)
            return
        with zipfile.ZipFile(stream) as archive:
            for name in archive.namelist():
                with archive.open(name) as lines:
                    yield from read_entries(lines, f"{name_of(path)}!{name}", entry_of_object, folder)


def _image_folder(path: str) -> str | None:
    """``images/N`` for shard N: the number in the file's name."""
    digits = [part for part in name_of(path).partition(".")[0].split("_") if part.isdecimal()]
    folder = join(parent_of(path), "images", str(int(digits[0]))) if digits else None
    return folder if folder is not None and is_folder(folder) else None


def entry_of_object(value: Row, origin: Origin, folder: str | None) -> Entry:
    """A document from an object in MMC4's format.

    Args:
        folder: that holds its images by their ``image_name``.

    Raises:
        EntryError: the object does not follow the format.
    """
    texts, images = value.get("text_list"), value.get("image_info")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise EntryError("malformed_row", "text_list is not a list of strings")
    if not isinstance(images, list) or not all(isinstance(info, dict) for info in images):
        raise EntryError("malformed_row", "image_info is not a list of objects")
    side = value.get(SIDE)
    cosines = sound_matrix(value.get("similarity_matrix"), len(images), len(texts))
    nodes = restored(side, texts, len(images))
    if nodes is None:
        nodes, order = _foreign_nodes(texts, images)
        images = [images[place] for place in order]
        if cosines is not None:
            kept = [place for place, text in enumerate(texts) if text.strip()]
            cosines = [[cosines[place][text] for text in kept] for place in order]
    document = document_of(side, nodes, origin, {"url": optional_text(value.get("url"))})
    return Entry(document, tuple(_picture(info, folder) for info in images), cosines)


def _foreign_nodes(texts: list[str], images: list[Row]) -> tuple[list[NodeRow], list[int]]:
    """Nodes, with each image before its text, and the indices in ``images`` of the image nodes."""
    of_text: dict[int, list[int]] = {}
    for place, info in enumerate(images):
        index = info.get("matched_text_index")
        of_text.setdefault(index if type(index) is int and 0 <= index < len(texts) else len(texts), []).append(place)
    nodes = []
    order = []
    for index in range(len(texts) + 1):
        for place in of_text.get(index, ()):
            nodes.append(image_node(images[place].get("raw_url")))
            order.append(place)
        if index < len(texts) and texts[index].strip():
            nodes.append(text_node(texts[index]))
    return nodes, order


def _picture(info: Row, folder: str | None) -> Picture | None:
    data = _inline(info.get("image_base64")) or _beside(info.get("image_name"), folder)
    return picture_of(data, info.get(SIDE))


def _inline(text: Any) -> bytes | None:
    if not isinstance(text, str):
        return None
    if text.startswith("b'") and text.endswith("'"):  # what str(bytes) makes of it; the script above does that
        text = text[2:-1]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _beside(name: Any, folder: str | None) -> bytes | None:
    if folder is None or not _is_file_name(name):
        return None
    path = join(folder, name)
    try:
        return read_bytes(path) if size_of(path) <= MAX_PICTURE_BYTES else None
    except (FileNotFoundError, IsADirectoryError):
        return None


def _is_file_name(name: Any) -> bool:
    """Whether a foreign string is a safe file name in a folder, on a local disk and on every object store."""
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or _CONTROL.search(name):
        return False
    return well_formed(name) == name and len(name.encode()) <= MAX_NAME_BYTES
