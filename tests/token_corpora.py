"""Small mixed-token corpora for tests: a vocabulary of a 2 x 2 grid and 32 codes, and shards written with it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gobelin.data.ids import shard_of
from gobelin.data.schemas import TOKEN_SHARDS
from gobelin.store.dataset import commit_shards, data_output, shard_name
from gobelin.tokenize.codebook import Codebook
from gobelin.tokenize.sequence import ImageItem, Item, TextItem, encode_document
from gobelin.tokenize.text_tokenizer import TextTokenizer, fit_bpe
from gobelin.tokenize.vocabulary import METADATA_KEY, SPECIAL_TOKENS, Vocabulary

COLORS = ("red", "green", "blue", "yellow")
NUM_CODES = 32
CODES_PER_COLOR = NUM_CODES // len(COLORS)


def small_tokenizer() -> TextTokenizer:
    return fit_bpe(["a red square and a green one", "a blue square, a yellow square"] * 4, 300)


def small_vocabulary(
    text_tokenizer: TextTokenizer, grid: tuple[int, int] = (2, 2), num_codes: int = NUM_CODES
) -> Vocabulary:
    return Vocabulary(
        text_size=text_tokenizer.size,
        codebooks=(small_codebook(grid, num_codes),),
        text_fingerprint=text_tokenizer.fingerprint,
        text_token_bytes=tuple(len(piece) for piece in text_tokenizer.token_bytes),
    )


def small_codebook(
    grid: tuple[int, int] = (2, 2), num_codes: int = NUM_CODES, name: str = "vqvae", fingerprint: str = "0" * 64
) -> Codebook:
    rows, columns = grid
    return Codebook(name=name, kind="vqvae", num_codes=num_codes, rows=rows, columns=columns, fingerprint=fingerprint)


def as_version_1(vocabulary: Vocabulary) -> str:
    """The JSON of a vocabulary as the program wrote it when there was one codebook."""
    (codebook,) = vocabulary.codebooks
    values = {
        "text_size": vocabulary.text_size, "image_size": codebook.num_codes, "grid": list(codebook.grid),
        "text_fingerprint": vocabulary.text_fingerprint, "image_fingerprint": codebook.fingerprint,
        "text_token_bytes": list(vocabulary.text_token_bytes), "version": 1, "special_tokens": list(SPECIAL_TOKENS),
        "text_offset": 8, "image_offset": 8 + vocabulary.text_size,
        "size": 8 + vocabulary.text_size + codebook.num_codes,
    }  # fmt: skip
    return json.dumps(values)


def colored_documents(num_documents: int, pictures: int = 2) -> dict[str, list[Item]]:
    """Documents whose captions say the picture's colour; a colour has eight codes, and which of them is arbitrary."""
    documents: dict[str, list[Item]] = {}
    for number in range(num_documents):
        items: list[Item] = []
        for picture in range(pictures):
            bits = hashlib.sha256(f"{number} {picture}".encode()).digest()
            color = bits[0] % len(COLORS)
            codes = tuple(CODES_PER_COLOR * color + bit % CODES_PER_COLOR for bit in bits[1:5])
            items.append(ImageItem(f"{number:04d}-{picture}", codes, f"a {COLORS[color]} square"))
        documents[f"{number:032x}"] = [*items, TextItem(f"page {number}")]
    return documents


def write_shards(
    folder: Path | str,
    documents: Mapping[str, Iterable[Item]],
    vocabulary: Vocabulary,
    text_tokenizer: TextTokenizer,
    num_shards: int = 2,
    sites: Mapping[str, str] | None = None,
) -> str:
    """Writes a data set of token shards, and ``vocabulary.json`` beside them. Returns the folder.

    Args:
        sites: of documents; others have none.
    """
    folder = str(folder)
    rows: list[list[dict[str, object]]] = [[] for _ in range(num_shards)]
    for doc_id, items in sorted(documents.items()):
        tokens, spans = encode_document(doc_id, items, vocabulary, text_tokenizer)
        row: dict[str, object] = {
            "doc_id": doc_id,
            "tokens": tokens,
            "image_spans": [dataclasses.asdict(span) for span in spans],
            "site": (sites or {}).get(doc_id),
        }
        rows[shard_of(doc_id, num_shards)].append(row)
    schema = TOKEN_SHARDS.with_metadata({METADATA_KEY: vocabulary.to_json().encode()})
    for number, shard in enumerate(rows):
        with data_output(folder, shard_name(number, num_shards)) as new:
            pq.write_table(pa.Table.from_pylist(shard, schema=schema), new.stream)
            new.num_rows = len(shard)
    assert commit_shards(folder, num_shards)
    vocabulary.save(folder)
    return folder
