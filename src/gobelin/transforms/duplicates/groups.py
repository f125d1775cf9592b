"""Definitions of duplicates: groups of documents and of images over a whole corpus, and over earlier ones.

    documents   Same canonical URL, same words, near-duplicate words (minhash.py): each is a group with the name of its
    smallest
                doc_id. For paragraphs, the number of occurrences of the text on its host is counted.
    images      Equal bytes are already one image (image_id). Near-duplicates (image_duplicates.py) and, if requested,
    similar
                embeddings (semantic_duplicates.py) are groups with the name of their smallest image_id, and with the
                number of
                documents that show one of them.
    earlier     If a group holds a document of an earlier run's corpus, ``earlier`` names it: the latest capture, then
    the
                smallest id. For the same words and for near-duplicates the earlier document stays. For the same URL the
                newer
                capture stays: the kind is "url" if the earlier one is as new, and "older_url" if it is older. An
                image's
                counts include the documents of earlier runs.

Two implementations give the same result. ``find_duplicates`` (find_duplicates.py) sorts keys with NumPy in one process
and handles up to about ten million documents. ``FindDocumentGroups`` (document_groups.py) and ``FindImageGroups``
(image_groups.py) are Beam graphs for more. Only keys and signatures are shuffled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal, TypedDict

import pyarrow as pa

from gobelin.data.rows import EarlierRow
from gobelin.data.schemas import DOCUMENT_SCORES

DOCUMENT_GROUPS = pa.schema(
    [
        *(DOCUMENT_SCORES.field(name) for name in ("doc_id", "url_group", "exact_group", "near_group", "earlier")),
        pa.field("site_counts", pa.list_(pa.int32())),  # occurrences of each node's text on its host; null: image
    ]
)
"""One row per document."""


class DocumentGroupRow(TypedDict):
    """A row of ``DOCUMENT_GROUPS``."""

    doc_id: str
    url_group: str
    exact_group: str
    near_group: str
    earlier: Sequence[EarlierRow]
    site_counts: Sequence[int | None]


IMAGE_GROUPS = pa.schema(
    [
        pa.field("image_id", pa.string()),
        pa.field("near_group", pa.string()),
        pa.field("num_documents", pa.int32()),
        pa.field("near_count", pa.int32()),
        pa.field("own_documents", pa.int32()),  # of this run only, for the signatures
    ]
)
"""One row per image."""


class ImageGroupRow(TypedDict):
    """A row of ``IMAGE_GROUPS``."""

    image_id: str
    near_group: str
    num_documents: int
    near_count: int
    own_documents: int


SameKey = Literal["url_key", "text_digest"]

KINDS: dict[str, SameKey] = {"url": "url_key", "exact": "text_digest"}
"""Kinds of group whose members have an equal key, and the key. A text without words has no digest. Its doc_id replaces
the key, so the same document is found again in an earlier run, but it is not a duplicate of any other document."""


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A document in a group. ``run``: None for the run that is being scored."""

    doc_id: str
    warc_date: str
    run: str | None
    is_kept: bool


def earlier_of(members: Iterable[Member]) -> Member | None:
    """The member of an earlier corpus that represents a group; None if there is none."""
    kept = [member for member in members if member.run is not None and member.is_kept]
    kept.sort(key=lambda member: (member.doc_id, member.run))
    return max(kept, key=lambda member: member.warc_date, default=None)


def earlier_kind(kind: str, own_date: str, earlier_date: str) -> str:
    """The kind under which a document of an earlier run is recorded. See the module's docstring for the same URL."""
    return "older_url" if kind == "url" and earlier_date < own_date else kind
