"""The Parquet schema of every data set. Each column says in its metadata what it holds (``unit``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pyarrow as pa

from gobelin.scores import DataSet, Score, columns

SCHEMA_VERSION = 5
"""Raised when a data set of an older version can no longer be read by this code."""


def _field(name: str, kind: pa.DataType, unit: str, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit})


def _required(name: str, kind: pa.DataType, unit: str) -> pa.Field:
    return _field(name, kind, unit, nullable=False)


_TEXT = pa.string()


_COUNT = pa.int32()


_RATIO = pa.float32()


NODE = pa.struct(
    [
        _required("kind", _TEXT, "text | image"),
        _field(
            "role", _TEXT, "heading | paragraph | list_item | quotation | code | table | caption; null for an image"
        ),
        _field(
            "level", pa.int32(), "of a heading, [1, 6]; nesting of a list item or of its further paragraphs, from 1"
        ),
        _field("text", _TEXT, "UTF-8, as extracted"),
        _field("code_language", _TEXT, "of code, as the page names it: up to 30 of a-z 0-9 + # . _ -"),
        _field("header_rows", pa.int32(), "of a table: rows at its top that are its head, from 0; null: not known"),
        _field("continues", pa.bool_(), "of a text: it continues the line of the previous text, after pictures"),
        _field("image_url", _TEXT, "absolute URL; a digest reference for data: images"),
        _field("image_id", _TEXT, "sha256 hex; null where the archive has no usable image"),
        _field("alt", _TEXT, "alternative text"),
        _field("caption", _TEXT, "caption of the image's figure"),
        _field("title", _TEXT, "title attribute"),
        _field("link_url", _TEXT, "absolute URL of the link around the image"),
        _field("rendered_width", pa.int32(), "px"),
        _field("rendered_height", pa.int32(), "px"),
    ]
)


DOCUMENTS = pa.schema(
    [
        _required("doc_id", _TEXT, "blake2b-128 hex of canonical URL and payload digest"),
        _required("url", _TEXT, "WARC-Target-URI"),
        _required("warc_file", _TEXT, "path as given"),
        _required("warc_offset", pa.int64(), "bytes, in the file; unpacked where records share a gzip member"),
        _required("warc_length", pa.int64(), "bytes, in the compressed file"),
        _required("warc_date", _TEXT, "ISO 8601, UTC"),
        _required("content_digest", _TEXT, "sha256 of the decoded payload"),
        _field("title", _TEXT, "page title"),
        _field("language", _TEXT, "ISO 639-1 (639-3 where there is none)"),
        _field("language_score", _RATIO, "probability, [0, 1]"),
        _required("licences", pa.list_(pa.struct([
            _required("uri", _TEXT, "URI"), _required("scope", _TEXT, "page | image | unknown"),
            _required("evidence", _TEXT, "where found"), _field("image_url", _TEXT, "absolute URL")])),
            "as found, not verified"),
        _required("consent", pa.list_(_TEXT), "opt-out signals as found, sorted"),
        _required("charset", _TEXT, "WHATWG name of the encoding"),
        _required("extractor", _TEXT, "which way the main content was found"),
        _field("page_kind", _TEXT, "article | list | thread | question | product | manual | other; null: imported"),
        _required("nodes", pa.list_(NODE), "text and images in reading order"),
    ]
)  # fmt: skip


IMAGES = pa.schema(
    [
        _required("image_id", _TEXT, "sha256 hex of data"),
        _required("data", pa.large_binary(), "the image file's bytes, as archived; of a drawing the rendered PNG"),
        _required("format", _TEXT, "jpeg | png | webp | gif ..."),
        _required("width", pa.int32(), "px, as displayed"),
        _required("height", pa.int32(), "px, as displayed"),
        _required("md5", _TEXT, "md5 hex of data"),
        _required("phash", _TEXT, "64-bit perceptual hash, hex"),
        _required("dhash", _TEXT, "64-bit difference hash, hex"),
        _required("colour", _TEXT, "mean RGB of 4 x 4 cells, row by row: 96 hex digits"),
        _required(
            "thumbnail", _TEXT, "width and height, 8 digits each, and 2304 greys by rows, 2 each: 4624 hex digits"
        ),
        _field("pdq", _TEXT, "256-bit PDQ hash, hex; null: not asked for, or of low quality"),
        _field("source_format", _TEXT, "svg: rendered from a drawing; null: data is the file itself"),
        _field("source_sha256", _TEXT, "sha256 hex of the drawing's bytes, as archived"),
        _required("urls", pa.list_(_TEXT), "every URL with these bytes, sorted"),
        _required("consent", pa.list_(_TEXT), "opt-out signals of the image's own responses, sorted"),
        _required("source", _TEXT, "archive | fetched"),
        _required("warc_file", _TEXT, "path as given"),
        _required("warc_offset", pa.int64(), "bytes, in the file; unpacked where records share a gzip member"),
    ]
)


IMAGE_COPIES = pa.schema(
    [
        _required("image_id", _TEXT, "see images; files that can be decoded as fast have no row"),
        _required("data", pa.large_binary(), "JPEG, reduced: see extract.image.copy_side_px"),
    ]
)


DECISIONS = pa.schema(
    [
        _required("stage", _TEXT, "extract | score | select | tokenize"),
        _required("unit", _TEXT, "document | image | node | record"),
        _required("action", _TEXT, "drop | fail | replace"),
        _required("rule", _TEXT, "name of the rule"),
        _field("doc_id", _TEXT, "see documents"),
        _field("node_index", pa.int32(), "position in the document, from 0"),
        _field("image_id", _TEXT, "see images"),
        _field("url", _TEXT, "URL of the page or image"),
        _field("value", pa.float64(), "in the rule's own unit"),
        _field("threshold", pa.float64(), "in the rule's own unit"),
        _field("detail", _TEXT, "free text"),
        _field("warc_file", _TEXT, "path as given"),
        _field("warc_offset", pa.int64(), "bytes, in the compressed file"),
    ]
)


ARCHIVES = pa.schema(
    [
        _required("warc_file", _TEXT, "path as given"),
        _required("num_records", pa.int64(), "records"),
        _required("num_documents", pa.int64(), "HTML responses"),
        _required("num_images", pa.int64(), "image responses and data: images"),
        _required("num_other", pa.int64(), "records"),
    ]
)


FETCHES = pa.schema(
    [
        _required("url", _TEXT, "as the page names it"),
        _required("host", _TEXT, "host name"),
        _required("status", _TEXT, "outcome, see FetchStatus in transforms/fetching/fetch_config.py"),
        _field("http_status", pa.int32(), "of the last response"),
        _required("tries", pa.int32(), "requests for this URL, redirects not counted"),
        _required("num_bytes", pa.int64(), "body bytes received"),
        _field("final_url", _TEXT, "after redirects"),
        _field("detail", _TEXT, "free text"),
    ]
)


NOT_RUN = pa.schema(
    [
        _required("rule", _TEXT, "name of a rule that the recipe asks for"),
        _required("times", pa.int64(), "nodes or documents for which it found no score"),
    ]
)


HEAD_VALUES = pa.list_(
    pa.struct([_required("name", _TEXT, "of the head or prompts"), _required("value", _RATIO, "its own scale")])
)


FACES = pa.list_(
    pa.struct(
        [
            *(
                _required(name, _RATIO, "share of width or height, [0, 1], from the upper left")
                for name in ("x0", "y0", "x1", "y1")
            ),
            _required("score", _RATIO, "the detector's own, [0, 1]"),
        ]
    )
)


def _with_scores(data_set: DataSet, facts: dict[str, list[pa.Field]]) -> list[pa.Field]:
    """The columns of a data set with scores, in the order of the table of scores (``scores.py``).

    Args:
        facts: columns that no rule compares, by the name of the score that they follow; "first" and "last" for those
            at the beginning and at the end.
    """
    fields = list(facts["first"])
    for column in columns(data_set):
        fields += [column, *facts.get(column.name, ())]
    return fields + facts.get("last", [])


NODE_SCORES = pa.struct(
    _with_scores(
        "nodes",
        {
            "first": [_required("kind", _TEXT, "text | image")],
            "site_count": [
                # text nodes; image nodes: in alternative text, caption, title and link
                _field("num_emails", _COUNT, "e-mail addresses"),
                _field("num_ips", _COUNT, "public IP addresses"),
                _field("num_phones", _COUNT, "telephone numbers"),
                _field("num_cards", _COUNT, "payment card numbers"),
                _field("num_ibans", _COUNT, "bank account numbers"),
                _field("num_secrets", _COUNT, "keys and passwords"),
                # image nodes
                _field("image_id", _TEXT, "see images; null where the image is missing"),
                _field("format", _TEXT, "see images"),
                _field("width", pa.int32(), "px"),
                _field("height", pa.int32(), "px"),
                _field("phash", _TEXT, "64-bit, hex"),
            ],
            "num_documents": [_field("consent", pa.list_(_TEXT), "see images")],
            "near_count": [_field("near_group", _TEXT, "see image scores")],
            "clip_caption": [
                _field(
                    "clip_assigned",
                    pa.int32(),
                    "position of the text that the image is assigned to",
                )
            ],
            "num_eval_images": [_field("eval_image", _TEXT, "path of the first of them")],
            "watermark": [_field("heads", HEAD_VALUES, "scores of further heads and prompts")],
        },
    )
)


_EARLIER = pa.struct(
    [
        _required("kind", _TEXT, "url | older_url | exact | near"),
        _required("doc_id", _TEXT, "see signatures"),
        _required("run", _TEXT, "output folder of the earlier run, as the recipe names it"),
    ]
)


DOCUMENT_SCORES = pa.schema(
    _with_scores(
        "documents",
        {
            "first": [_required("doc_id", _TEXT, "see documents")],
            "num_words": [_required("num_images", _COUNT, "image nodes whose image is available")],
            "eval_word_ratio": [_field("eval_source", _TEXT, "file with the most of these n-grams")],
            "last": [
                _required("url_group", _TEXT, "smallest doc_id with the same canonical URL"),
                _required("exact_group", _TEXT, "smallest doc_id with the same text"),
                _required("near_group", _TEXT, "smallest doc_id connected by near-duplicate text"),
                _required(
                    "earlier",
                    pa.list_(_EARLIER),
                    "documents of earlier runs that this one duplicates, sorted by kind",
                ),
                _field("clip_model", _TEXT, "fingerprint of the model of the clip_ scores"),
                _required("nodes", pa.list_(NODE_SCORES), "one for each node of the document, same order"),
            ],
        },
    )
)


IMAGE_SCORES = pa.schema(
    _with_scores(
        "images",
        {
            "first": [
                _required("image_id", _TEXT, "see images"),
                _required("width", pa.int32(), "px"),
                _required("height", pa.int32(), "px"),
                _required("phash", _TEXT, "64-bit, hex"),
            ],
            "num_documents": [
                _required("near_group", _TEXT, "smallest image_id connected by perceptual near-duplication")
            ],
            "near_count": [
                _field("semantic_group", _TEXT, "smallest image_id connected by embedding similarity; null: not run")
            ],
            "watermark": [
                _field("heads", HEAD_VALUES, "scores of further heads and prompts"),
                _field("faces", FACES, "the largest first; null: not looked for"),
            ],
            "last": [_field("clip_model", _TEXT, "fingerprint of the model of the embedding")],
        },
    )
)


@dataclasses.dataclass(frozen=True, slots=True)
class ScoreSchemas:
    """What ``score/documents`` and ``score/images`` hold in a run."""

    documents: pa.Schema
    images: pa.Schema
    node_names: tuple[str, ...]


def score_schemas(added: Iterable[Score] = ()) -> ScoreSchemas:
    """The schemas with the scores of a recipe's plug-ins behind gobelin's own."""
    by_data_set = {
        data_set: [score.column(data_set) for score in added if data_set in score.data_sets]
        for data_set in ("documents", "nodes", "images")
    }
    nodes = pa.struct([*NODE_SCORES, *by_data_set["nodes"]])
    own = [field.with_type(pa.list_(nodes)) if field.name == "nodes" else field for field in DOCUMENT_SCORES]
    return ScoreSchemas(
        pa.schema([*own, *by_data_set["documents"]]),
        pa.schema([*IMAGE_SCORES, *by_data_set["images"]]),
        tuple(field.name for field in nodes),
    )


OWN_SCORES = score_schemas()


SIGNATURES = pa.schema(
    [
        _required("doc_id", _TEXT, "see documents"),
        _required("url_key", _TEXT, "canonical URL"),
        _required("warc_date", _TEXT, "ISO 8601, UTC"),
        _field("text_digest", _TEXT, "128-bit hash of the words, hex; null: no words"),
        _required("bands", pa.list_(pa.int64()), "MinHash band keys"),
        _required("sketch", pa.binary(), "lowest byte of each MinHash value"),
    ]
)


IMAGE_SIGNATURES = pa.schema(
    [
        _required("image_id", _TEXT, "see images"),
        _required("phash", _TEXT, "64-bit, hex"),
        _required("dhash", _TEXT, "64-bit, hex"),
        _required("colour", _TEXT, "see images"),
        _required("thumbnail", _TEXT, "see images"),
        _required("num_documents", _COUNT, "documents of this run that show these bytes"),
    ]
)


IMAGE_EMBEDDINGS = pa.schema(
    [
        _required("image_id", _TEXT, "see images"),
        _required("embedding", pa.list_(pa.float16()), "L2-normalised"),
    ]
)


TEXT_EMBEDDINGS = pa.schema(
    [
        _required("doc_id", _TEXT, "see documents"),
        _required("node_index", pa.int32(), "position in the document, from 0"),
        _required("role", _TEXT, "text | alt | caption"),
        _required("embedding", pa.list_(pa.float16()), "L2-normalised"),
    ]
)


IMAGE_CODES = pa.schema(
    [
        _required("image_id", _TEXT, "see images"),
        _required("codes", pa.list_(pa.uint16()), "[0, K), raster order"),
    ]
)


MAX_NARROW_CODES = 2**16
"""Largest codebook whose codes are ``uint16``."""


WIDE_IMAGE_CODES = pa.schema(
    [IMAGE_CODES.field("image_id"), _required("codes", pa.list_(pa.int32()), "[0, K), raster order")]
)
"""In place of ``IMAGE_CODES`` where the codebook has more than ``MAX_NARROW_CODES`` codes."""


CODEBOOK_OF_IMAGE = _required("codebook", pa.uint8(), "index in the vocabulary's codebooks, which determines the grid")
"""The last column of ``IMAGE_CODES`` where the image tokenizer has several grids."""


TOKEN_SHARDS = pa.schema(
    [
        _required("doc_id", _TEXT, "see documents"),
        _required("tokens", pa.list_(pa.int32()), "ids of vocabulary.json"),
        _required("image_spans", pa.list_(pa.struct([
            _required("start", pa.int32(), "index in tokens of the first image token (after begin-of-image)"),
            _required("length", pa.int32(), "image tokens"),
            _required("image_id", _TEXT, "see images"),
        ])), "in their order"),
        _field("part", pa.int32(), "piece of a document longer than tokenize.max_tokens, from 0; null: all of it"),
        _field("site", _TEXT, "host of the document's address, www. aside; null: it has none"),
    ]
)  # fmt: skip


TOKEN_INDEX = pa.schema(
    [
        _required("shard", pa.int32(), "number of the token shard"),
        _required("row_group", pa.int32(), "in the shard"),
        _required("row", pa.int32(), "in the row group"),
        _required("doc_id", _TEXT, "see documents"),
        _field("part", pa.int32(), "see token shards"),
        _field("site", _TEXT, "see token shards"),
        _required("first_token", pa.int64(), "tokens of the shard before this row"),
        _required("num_tokens", pa.int32(), "tokens"),
        _required("num_images", pa.int32(), "images"),
        _required("num_image_tokens", pa.int32(), "tokens of images, without those that enclose them"),
        _required("longest_image", pa.int32(), "tokens of the longest image, with its caption and the special tokens"),
    ]
)
"""One row for each row of the token shards, in their order; one file per shard."""


IMAGE_LATENTS = IMAGE_CODES.append(
    _required("latents", pa.list_(pa.float16()), "N x d numbers, token by token in raster order; codes are N zeros")
)
"""In place of ``IMAGE_CODES`` where the tokens of the image tokenizer are continuous."""


CONTINUOUS_TOKEN_SHARDS = TOKEN_SHARDS.append(
    _required("latents", pa.list_(pa.float16()), "N x d numbers of each image, in the order of image_spans")
)
"""In place of ``TOKEN_SHARDS`` where the tokens of the image tokenizer are continuous."""
