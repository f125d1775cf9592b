"""Definitions of duplicates: groups of documents and of images over a whole corpus, and over earlier ones.

    documents   same canonical URL, same words, near-duplicate words (minhash.py): each a group, named after its
                smallest doc_id. Paragraphs: how often the same text stands on its host.
    images      Same bytes are one image already (image_id). Near-duplicates (image_duplicates.py) and, where asked
                for, alike embeddings (semantic_duplicates.py) are groups, named after their smallest image_id, with
                the number of documents that show one of them.
    earlier     Of a group that holds a document of an earlier run's corpus, ``earlier`` names it: the latest capture,
                then the smallest id. For the same words and for near-duplicates the earlier one stays. For the same
                URL the newer capture stays: "url" where the earlier one is as new, "older_url" where it is older.
                An image's counts include the documents of earlier runs.

Two implementations give the same answer. ``find_duplicates`` (find_duplicates.py) sorts keys with NumPy in one process
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
        pa.field("site_counts", pa.list_(pa.int32())),  # of each node: times its text stands on its host; null: image
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
        pa.field("own_documents", pa.int32()),  # of this run alone, for the signatures
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
"""Kinds of group whose members have one key in common, and the key. A text without words has none: it is known by its
doc_id, and so found again in an earlier run, but is no duplicate of any other."""


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A document in a group. ``run``: None in the run that is being scored."""

    doc_id: str
    warc_date: str
    run: str | None
    is_kept: bool


def earlier_of(members: Iterable[Member]) -> Member | None:
    """The member of an earlier corpus that a group is known by; None where there is none."""
    kept = [member for member in members if member.run is not None and member.is_kept]
    kept.sort(key=lambda member: (member.doc_id, member.run))
    return max(kept, key=lambda member: member.warc_date, default=None)


def earlier_kind(kind: str, own_date: str, earlier_date: str) -> str:
    """The kind under which a document of an earlier run is recorded; see above for the same URL."""
    return "older_url" if kind == "url" and earlier_date < own_date else kind
