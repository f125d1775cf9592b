"""``<noscript>`` copies: an image for browsers without scripts, which a crawl may hold in place of the image itself.

A copy belongs to the image with which it shares an address, anywhere on the page. Otherwise, if it is alone in its
<noscript>, it belongs to the lazy image right before or after it. Any other copy is an image of its own, which the page
shows only by a script.
"""

from __future__ import annotations

from itertools import islice

import lxml.html
from lxml.etree import ParserError, _Element

from gobelin.transforms.pages.images.image_candidates import is_placeholder
from gobelin.transforms.pages.images.image_drafts import Draft

_MAX_NOSCRIPT_CHARS = 1 << 16
"""A <noscript> with its content as text is parsed up to this length."""


def parse_noscript(noscript: _Element) -> list[_Element]:
    """Parses the text of a <noscript> into elements, and returns the images among them."""
    text = noscript.text or ""
    if len(text) > _MAX_NOSCRIPT_CHARS:
        return []
    try:
        fragments = lxml.html.fragments_fromstring(text)
    except ParserError:
        return []
    noscript.text = None
    for fragment in fragments:
        if isinstance(fragment, str):
            noscript.text = fragment
        else:
            noscript.append(fragment)
    return list(noscript.iter("img"))


def join_noscript(drafts: list[Draft]) -> list[Draft]:
    """Returns the drafts without the <noscript> copies whose addresses were added to the original images."""
    copies = [draft for draft in drafts if draft.noscript is not None]
    if not copies:
        return drafts
    owners: dict[str, list[Draft]] = {}
    for draft in drafts:
        if draft.noscript is None:
            for one in draft.found:
                owners.setdefault(one.url, []).append(draft)
    counts: dict[_Element, int] = {}
    for draft in copies:
        if draft.noscript is not None:
            counts[draft.noscript] = counts.get(draft.noscript, 0) + 1
    sole = {noscript: count == 1 for noscript, count in counts.items()}
    joined: set[Draft] = set()
    for place, draft in enumerate(drafts):
        noscript = draft.noscript
        if noscript is None:
            continue
        original = _original(draft, owners)
        if original is None and sole[noscript]:
            around = (drafts[place - 1] if place else None, drafts[place + 1] if place + 1 < len(drafts) else None)
            original = next((one for one in around if one is not None and _stands_for(noscript, one)), None)
        if original is not None:
            original.found += draft.found
            original.alt = original.alt or draft.alt
            original.title = original.title or draft.title
            original.width = original.width or draft.width
            original.height = original.height or draft.height
            joined.add(draft)
            counts[noscript] -= 1
            if counts[noscript] == 0:
                noscript.clear(keep_tail=True)
    return [draft for draft in drafts if draft not in joined]


def _original(copy: Draft, owners: dict[str, list[Draft]]) -> Draft | None:
    """The image that shares an address with a copy, or None. An address that several different images share is a
    placeholder."""
    for one in copy.found:
        found = owners.get(one.url)
        if found is None or is_placeholder(one.url):
            continue
        if {other.url for other in found[0].found} == {other.url for other in found[-1].found}:
            return found[0]
    return None


def _stands_for(noscript: _Element, draft: Draft) -> bool:
    """Whether a <noscript> holds the copy of a lazy image: the two are neighbours, with no text between them."""
    if draft.noscript is not None or not draft.is_lazy:
        return False
    before, after = noscript.getprevious(), noscript.getnext()
    chain = [draft.element, *islice(draft.element.iterancestors(), 5)]
    if before is not None and not (before.tail or "").strip() and any(part is before for part in chain):
        return True
    return after is not None and not (noscript.tail or "").strip() and any(part is after for part in chain)
