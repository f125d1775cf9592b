"""Turns a sample of a tar file into a document. The sample comes from gobelin or from other tools.

A JSON file with ``texts`` is a document. Its ``images`` are names of files in the sample; or addresses, as in MINT-1T's
web pages; or placeholders (null, ``page_0_image_1``), as in MINT-1T's PDF files, whose images are pages of one TIFF
file beside the JSON file. Images that ``images`` does not name are assigned, in order, to the places without a file
name; each page of a TIFF file counts as one image. If the numbers of images and places differ, extra ones are left
over, and a decision (rule ``sample_images``) states the numbers.

A sample without ``texts`` is images with words (image-text pairs). The words follow the images, each text once, whether
they come from a text file, from the JSON file or from both.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from typing import Any

from gobelin.data.rows import NodeRow, Row
from gobelin.exchange.entry import (
    SIDE,
    Entry,
    EntryError,
    LeftOut,
    Origin,
    Picture,
    document_of,
    image_node,
    known_of,
    optional_text,
    parse_json,
    picture_of,
    restored,
    same_words,
    text_node,
)
from gobelin.exchange.parquet_files import parallel_lists
from gobelin.exchange.sample_names import PICTURES, TEXTS, extension_of, stem_of
from gobelin.transforms.images.tiff_pages import DAMAGED_PAGES, IMAGE_PAGES, count_pages, split_pages

SAMPLE_IMAGES = "sample_images"
"""Rule of documents whose pictures are not as many as the places for them. Value: pictures; threshold: places."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """The files of a tar file that belong together, by name, and the files that were skipped."""

    files: dict[str, bytes]
    passed_over: tuple[LeftOut, ...] = ()


def entry_of_sample(sample: Sample, origin: Origin) -> Entry:
    """A document from a sample.

    Raises:
        EntryError: the sample does not follow the format.
    """
    if not sample.files and sample.passed_over:
        why = sample.passed_over[0]
        raise EntryError(why.rule, f"all files are passed over: {why.detail}")
    found = min((name for name in sample.files if extension_of(name) == "json"), key=_length_of_stem, default=None)
    described = {} if found is None else _json_of(sample.files[found])
    entry = (_interleaved if "texts" in described else _pair)(sample.files, described, origin)
    return dataclasses.replace(entry, left_out=(*sample.passed_over, *entry.left_out))


def _length_of_stem(name: str) -> int:
    return len(stem_of(name))


def _json_of(data: bytes) -> Row:
    value = parse_json(data.decode("utf-8-sig", "replace"), "a sample's JSON")
    if not isinstance(value, dict):
        raise EntryError("malformed_row", "a sample's JSON is not an object")
    return value


def _interleaved(files: dict[str, bytes], sample: Row, origin: Origin) -> Entry:
    texts, images = _places(sample, has_pictures=any(extension_of(name) in PICTURES for name in files))
    side = sample.get(SIDE)
    held = [text for text in texts if text is not None]
    if not all(isinstance(text, str) for text in held):
        raise EntryError("malformed_row", "texts holds something other than strings")
    described = sample.get("image_metadata")
    described = described if isinstance(described, list) else []
    shown = [image for text, image in zip(texts, images) if text is None]
    names = [_named(image, files) for image in shown]
    nodes = restored(side, held, len(shown))
    is_foreign = nodes is None
    if nodes is None:
        known = iter([_image_of(image, _at(described, place)) for place, image in enumerate(shown)])
        nodes = [next(known) if text is None else text_node(text) for text in texts]
        names = _without_shared(names, files)
    pictures = [
        None if name is None else picture_of(files[name], _at(described, place).get(SIDE))
        for place, name in enumerate(names)
    ]
    named = set(names)
    waiting, left_out = _pictures_of({name: data for name, data in files.items() if name not in named})
    open_places = [place for place, name in enumerate(names) if name is None and is_foreign]
    for place, picture in zip(open_places, waiting):
        pictures[place] = picture
    if waiting and len(waiting) != len(open_places):
        detail = "pictures that no place names, and places that name none"
        left_out.append(LeftOut(SAMPLE_IMAGES, len(waiting), len(open_places), detail))
    return Entry(document_of(side, nodes, origin, known_of(sample)), tuple(pictures), left_out=tuple(left_out))


def _places(sample: Row, has_pictures: bool) -> tuple[list[Any], list[Any]]:
    """``texts`` and ``images``: lists of equal length. A place where both are null belongs to an image, if there are
    any. If ``images`` is no list, so does every place without a text."""
    texts, images = sample["texts"], sample.get("images")
    if not has_pictures or not isinstance(texts, list):
        return parallel_lists(sample)
    images = [None] * len(texts) if images is None else images
    if not isinstance(images, list) or len(texts) != len(images):
        raise EntryError("malformed_row", "texts and images are not two lists of one length")
    if any(text is not None and image is not None for text, image in zip(texts, images)):
        raise EntryError("malformed_row", "texts and images: at some place neither is null")
    return texts, images


def _named(image: Any, files: dict[str, bytes]) -> str | None:
    """The file that an item of ``images`` names, by its full name or by its name in the folder of the sample."""
    if not isinstance(image, str):
        return None
    if image in files:
        return image
    folder = next(iter(files)).rpartition("/")[0]
    return f"{folder}/{image}" if f"{folder}/{image}" in files else None


def _without_shared(names: list[str | None], files: dict[str, bytes]) -> list[str | None]:
    """The names, without a TIFF file that is named once for each of its pages."""
    counts = Counter(name for name in names if name is not None)
    shared = {name for name, count in counts.items() if count > 1 and count_pages(files[name])[0] == count}
    return [None if name in shared else name for name in names]


def _pictures_of(files: dict[str, bytes]) -> tuple[list[Picture | None], list[LeftOut]]:
    """The images of files in order, with each page of a TIFF file as one image, and what was left out. A page that
    cannot be extracted is None."""
    pictures: list[Picture | None] = []
    left_out = []
    for name, data in files.items():
        if extension_of(name) not in PICTURES or not data:
            continue
        pages = split_pages(data)
        pictures += [None if page is None else Picture(page, {}) for page in pages.files]
        num_lost = pages.files.count(None)
        if num_lost:
            left_out.append(LeftOut(IMAGE_PAGES, num_lost, 0, f"pages that cannot be cut out of {name[-150:]}"))
        if pages.is_damaged:
            left_out.append(LeftOut(IMAGE_PAGES, detail=f"{DAMAGED_PAGES}: {name[-150:]}"))
    return pictures, left_out


def _pair(files: dict[str, bytes], sample: Row, origin: Origin) -> Entry:
    pictures, left_out = _pictures_of(files)
    caption = optional_text(sample.get("caption"))
    texts = _distinct(
        [
            *(_text_of(files[name]) for kind in TEXTS for name in files if extension_of(name) == kind),
            *(optional_text(sample.get(name)) for name in TEXTS if name != "caption"),
        ]
    )
    if not texts or any(same_words(caption or "") == same_words(text) for text in texts):
        texts, caption = texts or _distinct([caption]), None
    if not texts and not pictures:
        raise EntryError("malformed_row", "a sample with neither texts nor an image and its caption")
    url = optional_text(sample.get("url"))
    known = {"title": optional_text(sample.get("title"))}
    if len(pictures) == 1:
        images = [image_node(url, sample.get("alt"), caption)]
    else:  # an address and words of several pictures are those of the whole
        images = [image_node(None, sample.get("alt"), caption)] if pictures else []
        images += [image_node(None) for _ in pictures[1:]]
        known["url"] = url if pictures else None
    nodes = images + [text_node(text) for text in texts]
    return Entry(document_of(None, nodes, origin, known), tuple(pictures), left_out=tuple(left_out))


def _distinct(texts: list[str | None]) -> list[str]:
    """Texts that are not blank, each once."""
    found: dict[str, str] = {}
    for text in texts:
        if text and text.strip():
            found.setdefault(same_words(text), text)
    return list(found.values())


def _text_of(data: bytes) -> str:
    return data.decode("utf-8-sig", "replace").strip()


def _image_of(image: Any, described: Row) -> NodeRow:
    """A node of a foreign image. An item of ``images`` may be its address."""
    address = image if isinstance(image, str) and _ADDRESS.match(image) else None
    return image_node(optional_text(described.get("url")) or address, described.get("alt"), described.get("caption"))


_ADDRESS = re.compile("https?://", re.I)


def _at(items: list[Any], place: int) -> Row:
    return items[place] if place < len(items) and isinstance(items[place], dict) else {}
