"""Rows of data sets as Python has them: what ``pyarrow`` makes of a row of one of the schemas in ``schemas.py``.

A test compares each class here with its schema. What a column means, its unit and its range stand in the schema.

Rows with scores name their other columns, and those scores that the code reads by name. All scores are declared in the
table of scores (``scores.py``); what compares one reads it by the name that a rule gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

Row = dict[str, Any]
"""A row of any schema: column -> value; lists and structs are lists and dicts."""


class LicenceRow(TypedDict):
    """A licence statement in ``DocumentRow.licences``."""

    uri: str
    scope: str
    evidence: str
    image_url: str | None


class NodeRow(TypedDict):
    """A text or an image of a document: ``NODE``."""

    kind: str
    role: str | None
    level: int | None
    text: str | None
    code_language: str | None
    header_rows: int | None
    continues: bool | None
    image_url: str | None
    image_id: str | None
    alt: str | None
    caption: str | None
    title: str | None
    link_url: str | None
    rendered_width: int | None
    rendered_height: int | None


class DocumentRow(TypedDict):
    """A row of ``DOCUMENTS``."""

    doc_id: str
    url: str
    warc_file: str
    warc_offset: int
    warc_length: int
    warc_date: str
    content_digest: str
    title: str | None
    language: str | None
    language_score: float | None
    licences: Sequence[LicenceRow]
    consent: Sequence[str]
    charset: str
    extractor: str
    page_kind: str | None
    nodes: Sequence[NodeRow]


class ImageRow(TypedDict):
    """A row of ``IMAGES``."""

    image_id: str
    data: bytes
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
    urls: Sequence[str]
    consent: Sequence[str]
    source: str
    warc_file: str
    warc_offset: int


class DecisionRow(TypedDict):
    """A row of ``DECISIONS``."""

    stage: str
    unit: str
    action: str
    rule: str
    doc_id: str | None
    node_index: int | None
    image_id: str | None
    url: str | None
    value: float | None
    threshold: float | None
    detail: str | None
    warc_file: str | None
    warc_offset: int | None


class ArchiveRow(TypedDict):
    """A row of ``ARCHIVES``."""

    warc_file: str
    num_records: int
    num_documents: int
    num_images: int
    num_other: int


class FetchRow(TypedDict):
    """A row of ``FETCHES``."""

    url: str
    host: str
    status: str
    http_status: int | None
    tries: int
    num_bytes: int
    final_url: str | None
    detail: str | None


class NotRunRow(TypedDict):
    """A row of ``NOT_RUN``."""

    rule: str
    times: int


class HeadValueRow(TypedDict):
    """What one head says of an image: of ``HEAD_VALUES``."""

    name: str
    value: float


class FaceRow(TypedDict):
    """A face in an image: of ``FACES``."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float


class NodeScoresRow(TypedDict):
    """What is known of a node: ``NODE_SCORES``, without most scores."""

    kind: str
    num_words: int | None
    num_emails: int | None
    num_ips: int | None
    num_phones: int | None
    num_cards: int | None
    num_ibans: int | None
    num_secrets: int | None
    image_id: str | None
    format: str | None
    width: int | None
    height: int | None
    phash: str | None
    consent: Sequence[str] | None
    near_group: str | None
    clip_assigned: int | None
    clip_assigned_score: float | None
    eval_image: str | None
    heads: Sequence[HeadValueRow] | None


class EarlierRow(TypedDict):
    """A document of an earlier run, in ``DocumentScoresRow.earlier``."""

    kind: str
    doc_id: str
    run: str


class DocumentScoresRow(TypedDict):
    """A row of ``DOCUMENT_SCORES``, without the scores."""

    doc_id: str
    num_images: int
    eval_source: str | None
    url_group: str
    exact_group: str
    near_group: str
    earlier: Sequence[EarlierRow]
    clip_model: str | None
    nodes: Sequence[NodeScoresRow]


class ImageScoresRow(TypedDict):
    """A row of ``IMAGE_SCORES``, without the scores."""

    image_id: str
    width: int
    height: int
    phash: str
    near_group: str
    semantic_group: str | None
    heads: Sequence[HeadValueRow] | None
    faces: Sequence[FaceRow] | None
    clip_model: str | None


class SignatureRow(TypedDict):
    """A row of ``SIGNATURES``."""

    doc_id: str
    url_key: str
    warc_date: str
    text_digest: str | None
    bands: Sequence[int]
    sketch: bytes


class ImageSignatureRow(TypedDict):
    """A row of ``IMAGE_SIGNATURES``."""

    image_id: str
    phash: str
    dhash: str
    colour: str
    thumbnail: str
    num_documents: int


class ImageEmbeddingRow(TypedDict):
    """A row of ``IMAGE_EMBEDDINGS``."""

    image_id: str
    embedding: Sequence[float]


class TextEmbeddingRow(TypedDict):
    """A row of ``TEXT_EMBEDDINGS``."""

    doc_id: str
    node_index: int
    role: str
    embedding: Sequence[float]


class ImageCodesRow(TypedDict):
    """A row of ``IMAGE_CODES``."""

    image_id: str
    codes: Sequence[int]


class ImageSpanRow(TypedDict):
    """Where an image lies in ``TokenRow.tokens``."""

    start: int
    length: int
    image_id: str


class TokenRow(TypedDict):
    """A row of ``TOKEN_SHARDS``."""

    doc_id: str
    tokens: Sequence[int]
    image_spans: Sequence[ImageSpanRow]
    part: int | None
    site: str | None


class ImageCopyRow(TypedDict):
    """A row of ``IMAGE_COPIES``."""

    image_id: str
    data: bytes


class TokenIndexRow(TypedDict):
    """A row of ``TOKEN_INDEX``."""

    shard: int
    row_group: int
    row: int
    doc_id: str
    part: int | None
    site: str | None
    first_token: int
    num_tokens: int
    num_images: int
    num_image_tokens: int
    longest_image: int


class ImageLatentsRow(ImageCodesRow):
    """A row of ``IMAGE_LATENTS``."""

    latents: Sequence[float]


class ContinuousTokenRow(TokenRow):
    """A row of ``CONTINUOUS_TOKEN_SHARDS``."""

    latents: Sequence[float]
