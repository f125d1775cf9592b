"""Adds the image that a page declares as its own, if the page's body shows it outside the chosen region.

News sites put it above the heading, beside the text, or in an element that looks like boilerplate. It belongs to the
article at the place where a reader sees it. The same image in a menu, in a list of teasers or as a portrait does not
count.
"""

from __future__ import annotations

import re

from gobelin.data.model import Role
from gobelin.transforms.pages.content.boilerplate import Kind
from gobelin.transforms.pages.content.region import Region
from gobelin.transforms.pages.images.image_candidates import is_image_file
from gobelin.transforms.pages.images.signs import stated_sides
from gobelin.transforms.pages.tree.page_blocks import PageBlocks

_MAX_ABOVE = 60
"""Number of blocks above the heading (or above the region, if there is none) in which the image is searched."""

_MAX_DEPTH = 24
_NEAR = 4  # containers around an image whose names may mark a portrait
_MIN_SIDE = 100  # px
_MIN_TEASER = 75
_MIN_BELOW = 300
_MAX_BELOW = 20  # blocks
_MAX_CAPTION_CHARS = 500
_ELSEWHERE = frozenset(("nav", "footer", "aside", "dialog", "menu"))
_PORTRAIT = re.compile(r"avatar|gravatar|author|byline|profile|logo|user(?:pic|-?icon)", re.I)


def add_lead_image(region: Region) -> None:
    """Adds the page's own image, with its caption, if it is not among the kept images."""
    blocks, references = region.blocks, region.references
    own = [
        i
        for i, b in enumerate(blocks)
        if b.image is not None and b.image < len(references) and references[b.image].is_own
    ]
    kept = {id(block) for block in region.lead}
    if not own or any(
        id(blocks[index]) in kept or (region.start <= index < region.end and not region.drop[index]) for index in own
    ):
        return
    top = region.start if region.heading is None else min(region.heading, region.start)
    near = [index for index in own if top - _MAX_ABOVE <= index < region.end and _is_shown_alone(region, index)]
    near = near or [index for index in own if _is_below(region, index) or _leads_here(region, index)]
    if not near:
        return
    index = min(near, key=lambda index: (abs(index - top), index))
    block = blocks[index]
    if region.start <= index < region.end:
        region.drop[index] = False
    elif index >= region.end:
        region.lead.append(block)
    else:
        places = {id(other): place for place, other in enumerate(blocks[: region.start])}
        at = sum(places.get(id(other), -1) < index for other in region.lead)
        region.lead.insert(at, block)
    assert block.image is not None
    if block.image not in region.captions and not references[block.image].caption:
        caption = _caption_beside(region.page, index)
        if caption is not None:
            region.captions[block.image] = blocks[caption].text
            region.drop[caption] = True


def _is_below(region: Region, index: int) -> bool:
    """Whether an image stands alone and large right below the region, in an element that begins with the region."""
    containers = region.page.containers
    outer = containers[region.index]
    while outer.parent > 0 and outer.end <= index and outer.start == region.start:
        outer = containers[outer.parent]
    image = region.blocks[index].image
    assert image is not None
    is_large = max(stated_sides(region.references[image]), default=0) >= _MIN_BELOW
    is_near = region.end <= index < region.end + _MAX_BELOW and outer.start == region.start
    return is_near and index < outer.end and is_large and _is_shown_alone(region, index)


def _leads_here(region: Region, index: int) -> bool:
    """Whether an image links to this very page, as in a list of popular articles. Then it is this page's image as
    well."""
    image = region.blocks[index].image
    assert image is not None
    reference = region.references[image]
    return reference.leads_here and min(stated_sides(reference), default=_MIN_SIDE) >= _MIN_TEASER


def _is_shown_alone(region: Region, index: int) -> bool:
    """Whether an image is content of its own: not in a menu or a list of teasers, not a portrait, not a logo. It may
    link to its own page or to a gallery, but an image beside another link is a teaser."""
    page, block = region.page, region.blocks[index]
    assert block.image is not None
    reference = region.references[block.image]
    if block.leads_home:
        return False
    sides = [side for side in (reference.rendered_width, reference.rendered_height) if side is not None]
    if sides and max(sides) < _MIN_SIDE:
        return False
    is_linked = bool(block.num_links and reference.link_url and not is_image_file(reference.link_url))
    if is_linked and _is_beside_link(region, index):
        return False
    place, is_around, in_item, in_boilerplate = block.container, False, False, False
    for depth in range(_MAX_DEPTH):
        if place <= 0:
            break
        container = page.containers[place]
        if container.tag in _ELSEWHERE or (depth < _NEAR and _PORTRAIT.search(container.names)):
            return False
        if container.start <= region.start and container.end >= region.end:
            is_around = True
        if not is_around:
            in_item, in_boilerplate = (
                in_item or container.tag == "li",
                in_boilerplate or container.kind is Kind.BOILERPLATE,
            )
        place = container.parent
    return is_linked + in_item + in_boilerplate <= 1


def _is_beside_link(region: Region, index: int) -> bool:
    """Whether an image has a neighbouring link with words, or a linked image, in the smallest element that holds more
    than the image. An element that holds the whole region is too large and does not count."""
    page = region.page
    place = page.containers[page.blocks[index].container]
    while place.end - place.start <= 1 and place.parent > 0:
        place = page.containers[place.parent]
    if place.start <= region.start and place.end >= region.end:
        return False
    beside = [page.blocks[other] for other in (index - 1, index + 1) if place.start <= other < place.end]
    return any(
        block.num_links and (block.image is not None or block.link_chars > 0.5 * block.num_chars) for block in beside
    )


def _caption_beside(page: PageBlocks, index: int) -> int | None:
    """The index of the block right after an image, if its element is a caption."""
    if index + 1 >= len(page.blocks):
        return None
    block = page.blocks[index + 1]
    if not 0 < block.num_chars <= _MAX_CAPTION_CHARS or block.role is Role.HEADING:
        return None
    is_caption = block.role is Role.CAPTION or page.containers[block.container].kind is Kind.CAPTION
    return index + 1 if is_caption else None
