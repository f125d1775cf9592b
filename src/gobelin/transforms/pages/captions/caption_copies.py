"""What a region says once in a picture's caption and once more as a text, and pictures that it shows twice in a row: a
preview beside the picture, a version to enlarge, one for narrow and one for wide screens."""

from __future__ import annotations

import re

from gobelin.data.model import PageKind, Role
from gobelin.transforms.pages.content.region import Region
from gobelin.transforms.pages.images.image_candidates import names_image_file
from gobelin.transforms.pages.images.picture_names import picture_file
from gobelin.transforms.pages.images.signs import stated_sides

_MIN_CHARS = 20
_MAX_MORE = 8  # characters of " ... more"
_MAX_BETWEEN = 4  # kept blocks between a picture and the copy of its caption
_MIN_FILE_CHARS = 10
_MAX_ADDRESS_CHARS = 1000
_NUMBER = re.compile(r"(?<![^\W_])\d{1,4}(?![^\W_])")
_ENDS = " .…"


def drop_caption_copies(region: Region) -> None:
    """A paragraph near a picture whose words the picture's caption has, too. A manual may say them again."""
    if region.kind is PageKind.MANUAL:
        return
    blocks, drop = region.blocks, region.drop
    kept = [index for index in range(region.start, region.end) if not drop[index]]
    for place, index in enumerate(kept):
        caption = _caption(region, index)
        if len(caption) < _MIN_CHARS:
            continue
        for other in kept[max(0, place - _MAX_BETWEEN) : place + _MAX_BETWEEN + 1]:
            block = blocks[other]
            if (
                block.image is None
                and block.role is Role.PARAGRAPH
                and _MIN_CHARS <= block.num_chars <= len(caption) + 8
            ):
                text = block.text.removesuffix(" less").removesuffix(" more").rstrip(_ENDS)
                if len(text) >= _MIN_CHARS and text in caption:
                    drop[other] = True


def drop_second_versions(region: Region) -> None:
    """Of an article's pictures in a row, with no text between, whose addresses differ in sizes alone: those without a
    caption of their own, and the smaller."""
    if region.kind is not PageKind.ARTICLE:
        return
    before: int | None = None
    for index in range(region.start, region.end):
        block = region.blocks[index]
        if region.drop[index] or (block.image is None and not block.num_chars):
            continue
        if block.image is None or block.image >= len(region.references):
            before = None
        elif before is not None and _is_same_picture(region, before, index):
            worse = min((before, index), key=lambda one: _worth(region, one))
            region.drop[worse] = True
            before = before if worse == index else index
        else:
            before = index


def _is_same_picture(region: Region, one: int, other: int) -> bool:
    names = {_name_without_sizes(_address(region, index)) for index in (one, other)}
    captions = sorted(filter(None, (_caption(region, one), _caption(region, other))), key=len)
    return len(names) == 1 and names != {""} and (len(captions) < 2 or captions[1].startswith(captions[0]))


def _name_without_sizes(url: str) -> str:
    """The address without its query and numbers of up to four digits; empty where its file's name may be that of
    several pictures: where it is short, or holds letters alone."""
    path = url[:_MAX_ADDRESS_CHARS].partition("?")[0]
    folder, _, _ = path.rpartition("/")
    name = picture_file(path)
    tells = len(name) >= _MIN_FILE_CHARS and any(map(str.isdigit, name))
    return f"{_NUMBER.sub('', folder)}/{name}" if tells and names_image_file(path) else ""


def _worth(region: Region, index: int) -> tuple[bool, int, int]:
    image = region.blocks[index].image
    assert image is not None
    numbers = map(int, _NUMBER.findall(_address(region, index)))
    side = max(stated_sides(region.references[image]), default=0)
    return bool(_caption(region, index)), side, sum(numbers)


def _address(region: Region, index: int) -> str:
    image = region.blocks[index].image
    assert image is not None
    return region.references[image].candidates[0]


def _caption(region: Region, index: int) -> str:
    image = region.blocks[index].image
    if image is None or image >= len(region.references):
        return ""
    return region.captions.get(image) or region.references[image].caption or ""
