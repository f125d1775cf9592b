"""Extracts an ``ImageDraft`` from an image response (checked, hashed, with its bytes), or the decision that leaves it
out."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

from gobelin.data.ids import image_id
from gobelin.data.model import Action, Decision, Source, Unit, to_row
from gobelin.data.rows import Row
from gobelin.store.spool import Spool
from gobelin.transforms.archives.read_warc import Capture
from gobelin.transforms.extract.config import ExtractConfig, image_limits
from gobelin.transforms.extract.decisions import blocked_decision, capture_decision, refused_decision
from gobelin.transforms.extract.indexes import IMAGE_INDEX
from gobelin.transforms.images.block_list import load_block_list
from gobelin.transforms.images.check_image import ImageFacts, ImageProblem, check_image
from gobelin.transforms.images.tiff_pages import DAMAGED_PAGES, IMAGE_PAGES, count_pages
from gobelin.transforms.rights.consent import consent_of_headers, merge_signals
from gobelin.transforms.urls import url_key


@dataclasses.dataclass(frozen=True, slots=True)
class ImageDraft:
    """A checked image under one URL."""

    image_id: str
    url: str
    facts: ImageFacts
    md5: str
    consent: tuple[str, ...]
    source: Source
    warc_file: str
    warc_offset: int
    warc_date: str
    payload_digest: str | None
    data: bytes
    source_format: str | None = None  # svg if ``data`` was rendered from a drawing
    source_sha256: str | None = None  # of the drawing's bytes
    pages_left_out: Decision | None = None  # on further pages of a TIFF


Check = Callable[[bytes], ImageFacts | ImageProblem]
"""Returns an image's facts: ``ImageChecker.check``, or ``check_image`` under some limits."""


def image_row(draft: ImageDraft, url: str, spool: Spool) -> Row:
    """The index row of an image at this address. Its bytes, followed by its reduced copy, go into the spool."""
    row = {name: getattr(draft, name) for name in IMAGE_INDEX.names if hasattr(draft, name)}
    facts = to_row(draft.facts)
    copy = facts.pop("copy") or b""
    del facts["rendered"]  # it is ``draft.data``
    lies = to_row(spool.write(draft.data + copy)) | {"length": len(draft.data), "copy_length": len(copy)}
    return row | facts | lies | {"url_key": url_key(url), "is_blocked": False}


def extract_image(capture: Capture, config: ExtractConfig, check: Check | None = None) -> ImageDraft | Decision:
    """The draft of an image response, or the decision that leaves it out.

    Args:
        check: checks the image; None: in this process.
    """
    limits = image_limits(config)
    if capture.status != 200:
        return capture_decision(capture, Unit.IMAGE, Action.DROP, "http_status", capture.status, 200)
    if capture.is_truncated:
        return capture_decision(capture, Unit.IMAGE, Action.DROP, "image_bytes", len(capture.payload), limits.max_bytes)
    blocked = load_block_list(config.block_list)
    hit = blocked.match(capture.url, capture.payload) if blocked else None
    if hit is not None:
        return blocked_decision(capture, Unit.IMAGE, hit)
    facts = check(capture.payload) if check else check_image(capture.payload, limits)
    if isinstance(facts, ImageFacts):
        hit = blocked.match_pdq(facts.pdq) if blocked else None
        if hit is not None:
            return blocked_decision(capture, Unit.IMAGE, hit)
        data = facts.rendered or capture.payload
        is_drawing = facts.rendered is not None
        return ImageDraft(
            image_id=image_id(data),
            url=capture.url,
            facts=facts,
            md5=hashlib.md5(data, usedforsecurity=False).hexdigest(),
            consent=merge_signals(consent_of_headers(capture.headers), capture.consent),
            source=Source(capture.source),
            warc_file=capture.warc_file,
            warc_offset=capture.warc_offset,
            warc_date=capture.warc_date,
            payload_digest=capture.payload_digest,
            data=data,
            source_format="svg" if is_drawing else None,
            source_sha256=hashlib.sha256(capture.payload).hexdigest() if is_drawing else None,
            pages_left_out=_pages_left_out(capture),
        )
    return refused_decision(capture, Unit.IMAGE, facts)


def _pages_left_out(capture: Capture) -> Decision | None:
    """The decision with the number of TIFF pages that are not in its image, which is the first page; None if there are
    none."""
    num_pages, is_damaged = count_pages(capture.payload)
    if num_pages == 1 and not is_damaged:
        return None
    decision = capture_decision(capture, Unit.RECORD, Action.DROP, IMAGE_PAGES, num_pages - 1, 0)
    detail = DAMAGED_PAGES if is_damaged else None
    return dataclasses.replace(decision, image_id=image_id(capture.payload), detail=detail)
