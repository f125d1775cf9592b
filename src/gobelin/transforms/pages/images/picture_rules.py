"""Rules that drop images from a region: icons, logos, teasers, and images whose text was dropped."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from gobelin.data.model import PageKind
from gobelin.transforms.pages.content.region import Region
from gobelin.transforms.pages.images.image_candidates import is_image_file
from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.images.picture_names import picture_file
from gobelin.transforms.pages.images.signs import is_called_icon, is_called_sign, is_of_site, is_unnamed, stated_sides

_MAX_ICON_SIDE = 64  # px
_MAX_MARK_SIDE = 32
_MAX_BLOCKS = 12


def drop_left_behind(region: Region) -> None:
    """Drops an image that links to another page if all words of its element were dropped: it is the image of a
    teaser."""
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
    """Drops images that are as small as icons by their stated size. On pages that are not articles, only the smallest
    ones that link to another page are dropped; on manuals none, because there they may stand for words."""
    if region.kind is PageKind.MANUAL:
        return
    is_article = region.kind is PageKind.ARTICLE
    for index in range(region.start, region.end):
        image = region.blocks[index].image
        if image is None or image >= len(region.references):
            continue
        reference = region.references[image]
        sides = stated_sides(reference)
        leads = reference.link_url is not None and not is_image_file(reference.link_url)
        is_icon = sides and (max(sides) <= _MAX_ICON_SIDE if is_article else leads and max(sides) <= _MAX_MARK_SIDE)
        if is_icon and not (reference.caption or reference.is_own) and image not in region.captions:
            region.drop[index] = True


def drop_signs(region: Region) -> None:
    """Drops images that belong to the site or a person and not to the page, and images that an article or a product
    page shows at least three times."""
    first, last = _ends_of_prose(region)
    found: dict[str, list[int]] = {}
    for index in _shown(region):
        image = region.blocks[index].image
        assert image is not None
        reference = region.references[image]
        if reference.caption or image in region.captions:
            continue
        found.setdefault(reference.candidates[0], []).append(index)
        if region.kind is PageKind.MANUAL or reference.is_own:
            continue
        is_called = is_called_sign(reference) or (region.kind is PageKind.ARTICLE and is_called_icon(reference))
        if is_of_site(reference) or reference.is_author or (is_called and not first < index < last):
            _drop(region, [index])
    for copies in found.values():
        if len(copies) >= _MIN_ROW and region.kind in (PageKind.ARTICLE, PageKind.PRODUCT):
            _drop(region, copies)


def drop_copies(region: Region) -> None:
    """Drops further sizes of an article's own picture: those without a caption if another one has one, and
    thumbnails."""
    if region.kind is not PageKind.ARTICLE:
        return
    groups: dict[str, list[tuple[bool, int, int]]] = {}
    for index in _shown(region):
        image = region.blocks[index].image
        assert image is not None
        reference = region.references[image]
        if reference.is_own:
            has_caption = reference.caption is not None or image in region.captions
            side = max(stated_sides(reference), default=_UNKNOWN_SIDE)
            groups.setdefault(picture_file(reference.candidates[0]), []).append((not has_caption, -side, index))
    for copies in groups.values():
        first = min(copies)
        others = [copy for copy in copies if copy is not first and copy[0]]
        _drop(region, [copy[2] for copy in others if not first[0] or -copy[1] <= _MAX_THUMB_SIDE])


def _ends_of_prose(region: Region) -> tuple[int, int]:
    """The first and the last kept block with prose; (``region.end``, ``region.end``) if there is none."""
    prose = [index for index in range(region.start, region.end) if region.weights[index] > 0 and not region.drop[index]]
    return (prose[0], prose[-1]) if prose else (region.end, region.end)


def _shown(region: Region) -> list[int]:
    """The indexes of the kept blocks that are images."""
    lead = {id(block) for block in region.lead}
    return [
        index
        for index, block in enumerate(region.blocks[: region.end])
        if block.image is not None
        and block.image < len(region.references)
        and ((index >= region.start and not region.drop[index]) or id(block) in lead)
    ]


def _drop(region: Region, indexes: Sequence[int]) -> None:
    gone = {id(region.blocks[index]) for index in indexes}
    region.lead = [block for block in region.lead if id(block) not in gone]
    for index in indexes:
        region.drop[index] = True


def drop_pointers(region: Region) -> None:
    """Drops images of an article that are not about its subject: images outside the prose that link to another page and
    are small or of unknown size (a portrait, a teaser, the logo of a partner), and images as flat as a line of text."""
    if region.kind is not PageKind.ARTICLE:
        return
    first, last = _ends_of_prose(region)
    _drop(
        region, [index for index in _shown(region) if _points_elsewhere(region, index, is_inside=first < index < last)]
    )


def _points_elsewhere(region: Region, index: int, is_inside: bool) -> bool:
    block = region.blocks[index]
    image = block.image
    if image is None or image >= len(region.references) or image in region.captions:
        return False
    reference = region.references[image]
    if reference.caption or reference.is_own:
        return False
    shown = [side for side in (reference.rendered_width, reference.rendered_height) if side is not None]
    if shown and min(shown) <= _MAX_FLAT_SIDE:
        return True
    sides = stated_sides(reference)
    is_portrait = len(sides) == 2 and sides[0] == sides[1] <= _MAX_PORTRAIT_SIDE
    leads = bool(block.num_links and reference.link_url and not is_image_file(reference.link_url))
    if is_inside:
        return leads and is_portrait and not reference.leads_here
    return is_portrait or is_unnamed(reference) or (leads and min(sides, default=0) <= _MAX_THUMB_SIDE)


_MAX_THUMB_SIDE = 200  # px
_MAX_FLAT_SIDE = 48
_MAX_PORTRAIT_SIDE = 125
_UNKNOWN_SIDE = 640


def drop_icon_rows(region: Region) -> None:
    """Drops rows of at least three undescribed images above the first prose or below the last. An undescribed image has
    no caption and no size and opens no image file. It is an icon if its file name says so, or if it has no alt text and
    is a share link or has a word or two beside it. Such rows count views and likes, or offer ways to share."""
    weights, drop = region.weights, region.drop
    prose = [index for index in range(region.start, region.end) if weights[index] > 0 and not drop[index]]
    if not prose:
        return
    lead = {id(block) for block in region.lead}
    above = [index for index in range(region.start) if id(region.blocks[index]) in lead] if lead else []
    zones: list[tuple[Sequence[int], Callable[[Region, int], bool]]] = [
        ([*above, *range(region.start, prose[0])], _says_nothing),
        (range(prose[-1] + 1, region.end), _says_nothing if region.kind is PageKind.ARTICLE else _is_icon),
    ]
    for zone, is_sign in zones:
        row: list[int] = []
        for index in zone:
            block = region.blocks[index]
            if block.image is None and block.num_chars > _MAX_SIGN_CHARS and not drop[index]:
                _drop_row(region, row)
                row = []
            elif is_sign(region, index):
                row.append(index)
        _drop_row(region, row)


_MAX_SIGN_CHARS = 40
_MAX_LABEL_CHARS = 12
_MIN_ROW = 3
_MAX_ADDRESS_CHARS = 1000
_ICON_FILE = re.compile(r"(?:^|[/_-])(?:icons?|ico|logo|badge|btn|sns)(?=[._/-])", re.I)
_SHARE = re.compile(r"\bshare|sharer?\b|/intent\b|^mailto:", re.I)


def _says_nothing(region: Region, index: int) -> bool:
    if _is_icon(region, index):
        return True
    reference = _undescribed(region, index)
    if reference is None or reference.alt:
        return False
    beside = (region.blocks[other] for other in (index - 1, index + 1) if 0 <= other < len(region.blocks))
    if region.blocks[index].num_links and (reference.link_url is None or _SHARE.search(reference.link_url)):
        return True
    return any(0 < block.num_chars <= _MAX_LABEL_CHARS and any(map(str.isalnum, block.text)) for block in beside)


def _is_icon(region: Region, index: int) -> bool:
    """Whether an undescribed image has the file name of an icon, and an alt text of at most a word or two."""
    reference = _undescribed(region, index)
    if reference is None or len(reference.alt or "") > _MAX_LABEL_CHARS:
        return False
    return _ICON_FILE.search("/".join(reference.candidates[0][:_MAX_ADDRESS_CHARS].split("/")[-2:])) is not None


def _undescribed(region: Region, index: int) -> ImageReference | None:
    """The reference of a kept image without caption and size that opens no image file and is not the page's own, else
    None."""
    image = region.blocks[index].image
    if image is None or region.drop[index] or image >= len(region.references) or image in region.captions:
        return None
    reference = region.references[image]
    opens_picture = reference.link_url is not None and is_image_file(reference.link_url)
    is_described = reference.caption or reference.is_own or opens_picture
    return None if is_described or reference.rendered_width or reference.rendered_height else reference


def _drop_row(region: Region, row: list[int]) -> None:
    if len(row) >= _MIN_ROW:
        _drop(region, row)
