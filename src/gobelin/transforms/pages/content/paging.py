"""Drops rows of links to the previous, next and upper page. They are recognised by their words and place, not by names.

Manuals that are divided into pages have such a row above and below each page: a table, a ``<div>`` or loose links, with
words (``Prev | Up | Next``), arrows (``<< Chords | Chapters >>``) or images of arrows. A block has a paging sign if a
part of it is such a word or an arrow with a link, or if it is a linked image with such a name. Two signs in a small
container at the region's edge make a row. Only a few blocks at each edge are read, so the time does not depend on the
size of the page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gobelin.data.model import Role
from gobelin.transforms.pages.content.region import Region
from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.tree.page_blocks import Block

_MAX_EDGE_BLOCKS = 5
_MAX_ROW_BLOCKS = 12
_MAX_ROW_CHARS = 400
_MAX_PART_CHARS = 100
_MAX_LEVELS = 6

_TURNS = (
    r"prev(?:ious)?|next|back|zur(?:ü|ue)ck|weiter|vorwärts|n(?:ä|ae)chste[rs]?|vorherige[rs]?|pr(?:é|e)c(?:é|e)dente?"
    r"|suivante?|anterior|siguiente|pr(?:ó|o)ximo|seguinte|precedente|successivo|successiva|avanti|indietro|volgende"
    r"|vorige|назад|вперёд|вперед|далее|следующая|предыдущая|前へ?|次へ?|前のページ|次のページ|戻る|上一[页章节]"
    r"|下一[页章节]"
)
_PLACES = (
    r"up|top|home|start|contents?|index|toc|table of contents|inhalt|inhaltsverzeichnis|anfang|nach oben|haut|sommaire"
    r"|table des mati(?:è|e)res|inicio|(?:í|i)ndice|indice|su|inhoud|содержание|ホーム|目次|上に戻る|目录"
)
_NOUN = r"(?: (?:page|chapter|section|topic|seite|kapitel|abschnitt))?"
_TURN = re.compile(rf"\W*(?:{_TURNS}){_NOUN}\W*|(?:<{{1,2}}|[←«‹⟵◀◄])[^<>]*|[^<>]*(?:>{{1,2}}|[→»›⟶▶►])", re.I)
_PLACE = re.compile(rf"\W*(?:{_PLACES})\W*", re.I)
_NAMED = re.compile(r"(prev(?:ious)?|next|back|left|right|forward)|(up|home|top|contents?|index|toc)", re.I)
_PARTS = re.compile(r"\s*[|\n\[\]]\s*")
_STEM = re.compile(r"([^/?#]{1,60})\.\w{2,5}(?:[?#].*)?$")
_STEM_WORDS = re.compile(r"[^a-zA-Z]+")


def drop_paging(region: Region) -> None:
    """Drops the rows of paging links at both ends of a region."""
    blocks, references, drop = region.blocks, region.references, region.drop
    for step in (1, -1):
        index = region.start if step == 1 else region.end - 1
        looked = 0
        while region.start <= index < region.end and looked < _MAX_EDGE_BLOCKS:
            if drop[index]:
                index += step
                continue
            looked += 1
            block = blocks[index]
            if not (block.num_links and _signs(block, references)):
                if block.num_chars >= _MAX_ROW_CHARS:
                    break
                index += step
                continue
            start, end = _row(region, index)
            signs = [sign for i in range(start, end) if not drop[i] for sign in _signs(blocks[i], references)]
            if len(signs) >= 2 and any(signs):
                drop[start:end] = [True] * (end - start)
            index = end if step == 1 else start - 1


def _row(region: Region, index: int) -> tuple[int, int]:
    """The range of the widest small container around a block inside the region, else of the adjacent links around
    it."""
    blocks, drop = region.blocks, region.drop
    place = blocks[index].container
    best: tuple[int, int] | None = None
    for _ in range(_MAX_LEVELS):
        if place <= region.index:
            break
        container = region.page.containers[place]
        if not _is_small(blocks, container.start, container.end):
            break
        best = (container.start, container.end)
        place = container.parent
    if best is not None:
        return best
    start, end, most = index, index + 1, _MAX_ROW_BLOCKS
    while start > region.start and index - start < most and _is_link(blocks[start - 1], drop[start - 1]):
        start -= 1
    while end < region.end and end - index < most and _is_link(blocks[end], drop[end]):
        end += 1
    return start, end


def _is_link(block: Block, is_dropped: bool) -> bool:
    return not is_dropped and block.num_links > 0 and block.link_chars >= 0.5 * block.num_chars


def _is_small(blocks: list[Block], start: int, end: int) -> bool:
    if end - start > _MAX_ROW_BLOCKS:
        return False
    num_chars = 0
    for index in range(start, end):
        block = blocks[index]
        num_chars += block.num_chars
        if block.num_chars - block.link_chars > _MAX_PART_CHARS or block.role is Role.CODE:
            return False
    return num_chars <= _MAX_ROW_CHARS


def _signs(block: Block, references: Sequence[ImageReference]) -> list[bool]:
    """The paging signs in a block: True for one that turns the page, False for one that leads to a fixed place."""
    if not block.num_links or block.role is Role.CODE:
        return []
    if block.image is not None:
        reference = references[block.image] if block.image < len(references) else None
        return [] if reference is None else _image_signs(reference)
    if block.num_chars > _MAX_ROW_CHARS:
        return []
    found = []
    for part in _PARTS.split(block.text):
        if part and len(part) <= _MAX_PART_CHARS:
            if _TURN.fullmatch(part):
                found.append(True)
            elif _PLACE.fullmatch(part):
                found.append(False)
    return found


def _image_signs(reference: ImageReference) -> list[bool]:
    alt = reference.alt or ""
    if alt and len(alt) <= _MAX_PART_CHARS:
        if _TURN.fullmatch(alt):
            return [True]
        if _PLACE.fullmatch(alt):
            return [False]
    stem = _STEM.search(reference.candidates[0][-300:]) if reference.candidates else None
    named = _NAMED.fullmatch(_STEM_WORDS.split(stem[1], maxsplit=1)[0]) if stem is not None else None
    return [] if named is None else [named[1] is not None]
