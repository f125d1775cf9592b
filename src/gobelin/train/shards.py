"""Token shards in memory: documents as tokens, split into training and validation documents by hash of their id.

All tokens are read at once (4 bytes a token: a billion tokens are 4 GB). Documents are held in order of their id, so
neither the number of shards nor the order of the files changes what is trained. The data's fingerprint is stored in
checkpoints: a run is only ever resumed on the data it began with.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gobelin.errors import MissingDataError, UserError
from gobelin.store.dataset import paths_of
from gobelin.store.files import open_input
from gobelin.tokenize.grammar import ItemRange, parse
from gobelin.tokenize.vocabulary import METADATA_KEY, Vocabulary


@dataclasses.dataclass(frozen=True, slots=True)
class TokenDocument:
    """One document of the shards, taken apart into items."""

    doc_id: str
    tokens: np.ndarray  # int32
    items: tuple[ItemRange, ...]
    image_ids: tuple[str, ...]  # of the image items, in reading order


@dataclasses.dataclass(frozen=True, slots=True)
class TokenCorpus:
    """All documents of a folder of token shards."""

    training: tuple[TokenDocument, ...]  # sorted by doc_id, as are those for validation
    validation: tuple[TokenDocument, ...]
    fingerprint: str  # SHA-256 over ids and tokens, hex


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """A caption and its picture. Ids of the vocabulary, the codes without the tokens that enclose them."""

    caption: tuple[int, ...]
    codes: tuple[int, ...]
    codebook: int = 0  # index in the vocabulary


def read_corpus(shards: str, vocabulary: Vocabulary, validation_ratio: float) -> TokenCorpus:
    """Read the data set of token shards in this folder.

    Args:
        validation_ratio: share of the documents, chosen by hash of their id, that is never trained on.

    Raises:
        UserError: there is no such data set, no documents for training, shards of another vocabulary, or a document
            whose tokens break the grammar.
    """
    for codebook in vocabulary.codebooks:
        if codebook.is_continuous:
            raise UserError(
                f"the images of {shards} are continuous latents (codebook {codebook.name}), and this trainer learns "
                "codes: tokenize with a VQ-VAE, FSQ or VQGAN, or read the column latents with a trainer of your own"
            )
    try:
        paths = paths_of(shards)
    except MissingDataError:
        raise UserError(f"no token shards in {shards}: run the tokenize stage first") from None
    documents = [document for path in paths for document in _read_shard(path, vocabulary)]
    documents.sort(key=lambda document: document.doc_id)
    digest = hashlib.sha256()
    for document in documents:
        digest.update(f"{document.doc_id} {len(document.tokens)}\n".encode())
        digest.update(document.tokens.astype("<i4").tobytes())
    documents = [document for document in documents if document.items]  # an empty one teaches nothing
    training = tuple(document for document in documents if not _held_out(document.doc_id, validation_ratio))
    validation = tuple(document for document in documents if _held_out(document.doc_id, validation_ratio))
    if not training:
        raise UserError(
            f"{shards} holds {len(documents)} documents with anything in them, and none is left to train on"
        )
    return TokenCorpus(training, validation, digest.hexdigest())


def document_pairs(document: TokenDocument) -> list[tuple[str, Pair]]:
    """The image_id, caption and codes of each image of the document that has a caption."""
    images = [item for item in document.items if item.codes is not None]
    return [
        (image_id, Pair(_ids(document, item.text), _ids(document, item.codes), item.codebook))
        for image_id, item in zip(document.image_ids, images)
        if item.text is not None and item.codes is not None
    ]


def held_out_pairs(corpus: TokenCorpus) -> list[Pair]:
    """The distinct pairs of the validation documents whose picture training has never seen.

    A picture counts as seen if its image_id or its very codes occur in a training document.
    """
    seen_ids = {image_id for document in corpus.training for image_id in document.image_ids}
    seen_codes = {
        _ids(document, item.codes) for document in corpus.training for item in document.items if item.codes is not None
    }
    pairs: dict[Pair, None] = {}
    for document in corpus.validation:
        for image_id, pair in document_pairs(document):
            if image_id not in seen_ids and pair.codes not in seen_codes:
                pairs[pair] = None
    return list(pairs)


def _read_shard(path: str, vocabulary: Vocabulary) -> list[TokenDocument]:
    with open_input(path) as stream:
        file = pq.ParquetFile(stream)
        stored = (file.schema_arrow.metadata or {}).get(METADATA_KEY)
        if stored is None:
            raise UserError(f"{path} holds no {METADATA_KEY.decode()} in its metadata: it is not a token shard")
        written = Vocabulary.from_json(stored.decode())
        if written != vocabulary:
            raise UserError(
                f"{path} was written with another vocabulary than the one given: tokenize again "
                f"({written.difference(vocabulary)})"
            )
        documents: list[TokenDocument] = []
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, ["doc_id", "tokens", "image_spans"])
            documents += _documents_of(table, path, vocabulary)
    return documents


def _documents_of(table: pa.Table, path: str, vocabulary: Vocabulary) -> Iterator[TokenDocument]:
    rows = zip(table["doc_id"].to_pylist(), table["tokens"], table["image_spans"].to_pylist())
    for doc_id, tokens, spans in rows:
        ids = tokens.values.to_numpy().astype(np.int32)
        items = tuple(parse(ids, vocabulary))
        image_ids = tuple(span["image_id"] for span in spans)
        if len(image_ids) != sum(item.codes is not None for item in items):
            raise UserError(f"{path}: image_spans of document {doc_id} do not match its tokens: tokenize again")
        yield TokenDocument(doc_id, ids, items, image_ids)


def _held_out(doc_id: str, validation_ratio: float) -> bool:
    digest = hashlib.blake2b(f"validation\n{doc_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < validation_ratio * 2**64


def _ids(document: TokenDocument, span: Sequence[int]) -> tuple[int, ...]:
    return tuple(document.tokens[span[0] : span[1]].tolist())
