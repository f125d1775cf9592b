"""Drops repetitions in a region: texts that repeat a caption, and images that are shown twice in a row (a preview, an
enlarged version, versions for narrow and wide screens)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gobelin.data.model import PageKind, Role
from gobelin.transforms.pages.content.region import Region
from gobelin.transforms.pages.images.image_candidates import names_image_file
from gobelin.transforms.pages.images.picture_names import picture_file
from gobelin.transforms.pages.images.signs import stated_sides
from gobelin.transforms.pages.tree.page_blocks import Block

_MIN_CHARS = 20
_MAX_MORE = 8  # length of " ... more"
_MAX_BETWEEN = 4  # kept blocks between a picture and the copy of its caption
_MIN_FILE_CHARS = 10
_MAX_ADDRESS_CHARS = 1000
_NUMBER = re.compile(r"(?<![^\W_])\d{1,4}(?![^\W_])")
_ENDS = " .…"


def drop_caption_copies(region: Region) -> None:
    """Drops a paragraph near an image if the image's caption contains its text. Manuals keep it, as they may repeat
    captions."""
    if region.kind is PageKind.MANUAL:
        return
    kept = _kept(region)
    for place, block in enumerate(kept):
        caption = _caption(region, block)
        if len(caption) < _MIN_CHARS:
            continue
        near = kept[max(0, place - _MAX_BETWEEN) : place + _MAX_BETWEEN + 1]
        _drop(region, [other for other in near if _is_in_caption(other, caption)])


def _is_in_caption(block: Block, caption: str) -> bool:
    if block.image is not None or block.role is not Role.PARAGRAPH or block.num_chars > len(caption) + _MAX_MORE:
        return False
    text = block.text.removesuffix(" less").removesuffix(" more").rstrip(_ENDS)
    return len(text) >= _MIN_CHARS and text in caption


def drop_second_versions(region: Region) -> None:
    """Drops the second version of an image in an article: two images without text between them whose addresses differ
    only in sizes. The one without a caption goes, else the smaller one."""
    if region.kind is not PageKind.ARTICLE:
        return
    before: Block | None = None
    for block in _kept(region):
        if block.image is None or block.image >= len(region.references):
            before = None if block.num_chars else before
        elif before is not None and _is_same_picture(region, before, block):
            worse = min((before, block), key=lambda one: _worth(region, one))
            _drop(region, [worse])
            before = before if worse is block else block
        else:
            before = block


def _kept(region: Region) -> list[Block]:
    kept = [region.blocks[index] for index in range(region.start, region.end) if not region.drop[index]]
    return [*region.lead, *kept]


def _drop(region: Region, blocks: Sequence[Block]) -> None:
    if not blocks:
        return
    gone = set(map(id, blocks))
    region.lead = [block for block in region.lead if id(block) not in gone]
    for index in range(region.start, region.end):
        region.drop[index] = region.drop[index] or id(region.blocks[index]) in gone


def _is_same_picture(region: Region, one: Block, other: Block) -> bool:
    names = {_name_without_sizes(_address(region, block)) for block in (one, other)}
    captions = sorted(filter(None, (_caption(region, one), _caption(region, other))), key=len)
    return len(names) == 1 and names != {""} and (len(captions) < 2 or captions[1].startswith(captions[0]))


def _name_without_sizes(url: str) -> str:
    """The address without its query and without numbers of up to four digits; empty if the file name is too generic to
    identify an image (short, or without digits)."""
    path = url[:_MAX_ADDRESS_CHARS].partition("?")[0]
    folder, _, _ = path.rpartition("/")
    name = picture_file(path)
    tells = len(name) >= _MIN_FILE_CHARS and any(map(str.isdigit, name))
    return f"{_NUMBER.sub('', folder)}/{name}" if tells and names_image_file(path) else ""


def _worth(region: Region, block: Block) -> tuple[bool, int, int]:
    assert block.image is not None
    numbers = map(int, _NUMBER.findall(_address(region, block)))
    side = max(stated_sides(region.references[block.image]), default=0)
    return bool(_caption(region, block)), side, sum(numbers)


def _address(region: Region, block: Block) -> str:
    assert block.image is not None
    return region.references[block.image].candidates[0]


def _caption(region: Region, block: Block) -> str:
    if block.image is None or block.image >= len(region.references):
        return ""
    parts = (region.references[block.image].caption, region.captions.get(block.image))
    return " ".join(part for part in parts if part)
