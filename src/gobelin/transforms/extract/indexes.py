"""Index rows: the data that represents each page and image until both are joined by URL (resolve_urls.py).

An index row has a few hundred bytes. Large data is in a spool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import pyarrow as pa

from gobelin.data.rows import Row
from gobelin.transforms.urls import url_key

PAGE_INDEX = pa.schema(
    [
        ("doc_id", pa.string()),
        ("url", pa.string()),
        ("url_key", pa.string()),
        ("warc_file", pa.string()),
        ("warc_offset", pa.int64()),
        ("warc_date", pa.string()),
        ("payload_digest", pa.string()),  # as in the archive; null if it has none
        ("consent", pa.list_(pa.string())),
        ("candidates", pa.list_(pa.list_(pa.string()))),  # URLs of each image node, best first
        ("candidate_keys", pa.list_(pa.list_(pa.string()))),  # their ``url_key``s
        ("path", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
    ]
)
"""One row per page draft: its keys, and the position of its document in a spool."""


class PageIndexRow(TypedDict):
    """A row of ``PAGE_INDEX``."""

    doc_id: str
    url: str
    url_key: str
    warc_file: str
    warc_offset: int
    warc_date: str
    payload_digest: str | None
    consent: Sequence[str]
    candidates: Sequence[Sequence[str]]
    candidate_keys: Sequence[Sequence[str]]
    path: str
    offset: int
    length: int


IMAGE_INDEX = pa.schema(
    [
        ("image_id", pa.string()),
        ("url", pa.string()),
        ("url_key", pa.string()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("md5", pa.string()),
        ("phash", pa.string()),
        ("dhash", pa.string()),
        ("colour", pa.string()),
        ("thumbnail", pa.string()),
        ("pdq", pa.string()),
        ("source_format", pa.string()),
        ("source_sha256", pa.string()),
        ("consent", pa.list_(pa.string())),
        ("source", pa.string()),
        ("warc_file", pa.string()),
        ("warc_offset", pa.int64()),
        ("warc_date", pa.string()),
        ("payload_digest", pa.string()),
        ("is_blocked", pa.bool_()),  # only its URL is kept, so that no document refers to it
        ("path", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("copy_length", pa.int64()),  # bytes of the reduced copy, stored after those of the image; 0: there is none
    ]
)
"""One row per image draft: its keys and facts, and the position of its bytes in a spool."""


class ImageIndexRow(TypedDict):
    """A row of ``IMAGE_INDEX`` of an image with bytes (not blocked)."""

    image_id: str
    url: str
    url_key: str
    format: str
    width: int
    height: int
    md5: str
    phash: str
    dhash: str
    colour: str
    thumbnail: str
    pdq: str | None
    source_format: str | None
    source_sha256: str | None
    consent: Sequence[str]
    source: str
    warc_file: str
    warc_offset: int
    warc_date: str
    payload_digest: str | None
    is_blocked: bool
    path: str
    offset: int
    length: int
    copy_length: int  # 0: there is no copy


def address_keys(url: str, candidates: Sequence[Sequence[str]]) -> Row:
    """The columns of a page's index row with addresses and their keys, except for its own address."""
    keys = [[url_key(candidate) for candidate in urls] for urls in candidates]
    return {"url_key": url_key(url), "candidates": candidates, "candidate_keys": keys}


def blocked_row(url: str, warc_date: str | None = None, payload_digest: str | None = None) -> Row:
    """The index row of an image on a block list: its address, so that no document refers to it, and the data by which
    revisits find it."""
    row: Row = {
        **dict.fromkeys(IMAGE_INDEX.names),
        "url": url,
        "url_key": url_key(url),
        "consent": [],
        "is_blocked": True,
    }
    return {**row, "warc_date": warc_date, "payload_digest": payload_digest}
