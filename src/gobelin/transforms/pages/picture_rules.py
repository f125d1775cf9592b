"""Rules that take pictures out of a region: what belongs to something that went, and icons."""

from __future__ import annotations

import re

from gobelin.documents import PageKind
from gobelin.transforms.pages.image_candidates import is_image_file
from gobelin.transforms.pages.region import Region

_MAX_ICON_SIDE = 64  # px
_MAX_BLOCKS = 12


def drop_left_behind(region: Region) -> None:
    """A picture that leads to another page, in an element of which every word went: a teaser's, without the teaser."""
    page, drop = region.page, region.drop
    for index in range(region.start, region.end):
        block = page.blocks[index]
        if block.image is None or drop[index] or not block.num_links or block.image >= len(region.references):
            continue
        reference = region.references[block.image]
        is_page = reference.link_url is not None and not is_image_file(reference.link_url)
        if not is_page or reference.is_own or reference.caption or block.image in region.captions:
            continue
        place = page.containers[block.container]
        while not any(page.blocks[i].num_chars for i in range(place.start, min(place.end, place.start + _MAX_BLOCKS))):
            if place.parent <= 0:
                break
            place = page.containers[place.parent]
        words = [i for i in range(place.start, place.end) if page.blocks[i].num_chars] if place.start > 0 else []
        if words and place.end - place.start <= _MAX_BLOCKS and all(drop[i] for i in words):
            drop[index] = True


def drop_icons(region: Region) -> None:
    """Pictures that an article declares as small as an icon. Where a page is no article they may stand for words."""
    if region.kind is not PageKind.ARTICLE:
        return
    for index in range(region.start, region.end):
        image = region.blocks[index].image
        if image is None or image >= len(region.references):
            continue
        reference = region.references[image]
        sides = [side for side in (reference.rendered_width, reference.rendered_height) if side is not None]
        if sides and max(sides) <= _MAX_ICON_SIDE and not reference.caption and image not in region.captions:
            region.drop[index] = True


def drop_icon_rows(region: Region) -> None:
    """Three or more pictures above the first prose, or below the last, that say nothing of themselves: no alternative
    text, caption or size, no picture that they open, but a link that
    shares or a word or two beside each. They are signs of views, likes and ways to share."""
    weights, drop = region.weights, region.drop
    prose = [index for index in range(region.start, region.end) if weights[index] > 0 and not drop[index]]
    if not prose:
        return
    lead = {id(block) for block in region.lead}
    above = [index for index in range(region.start) if id(region.blocks[index]) in lead] if lead else []
    below = range(prose[-1] + 1, region.end) if region.kind is PageKind.ARTICLE else ()
    for zone in ([*above, *range(region.start, prose[0])], below):
        row: list[int] = []
        for index in zone:
            block = region.blocks[index]
            if block.image is None and block.num_chars > _MAX_SIGN_CHARS and not drop[index]:
                _drop_row(region, row)
                row = []
            elif _says_nothing(region, index):
                row.append(index)
        _drop_row(region, row)


_MAX_SIGN_CHARS = 40
_MAX_LABEL_CHARS = 12
_MIN_ROW = 3
_SHARE = re.compile(r"\bshare|sharer?\b|/intent\b|^mailto:", re.I)


def _says_nothing(region: Region, index: int) -> bool:
    image = region.blocks[index].image
    if image is None or region.drop[index] or image >= len(region.references) or image in region.captions:
        return False
    reference = region.references[image]
    opens_picture = reference.link_url is not None and is_image_file(reference.link_url)
    is_described = reference.alt or reference.caption or reference.is_own or opens_picture
    if is_described or reference.rendered_width or reference.rendered_height:
        return False
    beside = (region.blocks[other] for other in (index - 1, index + 1) if 0 <= other < len(region.blocks))
    if region.blocks[index].num_links and (reference.link_url is None or _SHARE.search(reference.link_url)):
        return True
    return any(0 < block.num_chars <= _MAX_LABEL_CHARS and any(map(str.isalnum, block.text)) for block in beside)


def _drop_row(region: Region, row: list[int]) -> None:
    if len(row) < _MIN_ROW:
        return
    gone = {id(region.blocks[index]) for index in row}
    region.lead = [block for block in region.lead if id(block) not in gone]
    for index in row:
        region.drop[index] = True
