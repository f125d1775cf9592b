"""Exports token shards in the layout of a released model, and imports them.

    OUT/tokenize/shards --export_shards--> FOLDER/part-00000-of-00003.parquet ...  one file per shard, one row per
    sequence
                        <--import_shards--

A row holds ``input_ids``, ready for a trainer, and a side field ``gobelin`` with the ends of texts, the captions, and
the ids of images. With the side field, an import restores the sequence token for token. Without it, an import gets
texts and images. Neighbouring texts are joined by an empty line and encoded together.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gobelin.data.rows import Row, TokenRow
from gobelin.data.schemas import TOKEN_SHARDS
from gobelin.errors import UserError
from gobelin.exchange.token_layouts import LayoutError, LayoutName, Picture, Run, TokenLayout, load_layout, side_of
from gobelin.pipeline.ask.inspect_shards import ShardFile, find_shards, folder_above, text_tokenizer_of
from gobelin.store.dataset import commit_shards, shard_name
from gobelin.store.files import exists, files_in, list_files, open_input, output, write_json
from gobelin.store.paths import join, name_of
from gobelin.store.shards import read_rows, write_shard
from gobelin.store.tables import shard_path
from gobelin.tokenize.codebook import Codebook
from gobelin.tokenize.grammar import ItemRange, parse
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.token_shards import SHARDS_KEY, VERSION
from gobelin.tokenize.vocabulary import (
    CAPTION_OF_NEXT,
    CAPTION_OF_PREVIOUS,
    DOCUMENT,
    END_OF_DOCUMENT,
    END_OF_IMAGE,
    METADATA_KEY,
    TEXT,
    Vocabulary,
    find_codebooks,
)

LAYOUT_KEY = "gobelin.layout"
JOINT = "\n\n"
_ROWS_AT_ONCE = 256
EXPORTED = pa.schema(
    [
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False, metadata={"unit": "ids of the model's vocabulary"}),
        pa.field("doc_id", pa.string(), nullable=False, metadata={"unit": "see documents"}),
        pa.field("part", pa.int32(), metadata={"unit": "see token shards"}),
        pa.field("gobelin", pa.string(), nullable=False, metadata={"unit": "JSON: pieces of it"}),
    ]
)
_MARKS = {"text": TEXT, "caption_of_next": CAPTION_OF_NEXT, "caption_of_previous": CAPTION_OF_PREVIOUS}

Piece = tuple[str, Any]
"""(kind, text) of a text or caption; ("image", (image_id, codes))."""


def export_shards(
    source: str, name: LayoutName, tokenizer: str, target: str, codebook: str | None = None
) -> dict[str, Any]:
    """Writes token shards in a layout. Returns the content of ``export.json``, which is written last.

    Args:
        source: output folder of a run, data set of token shards, or one file.
        tokenizer: of the released model, see ``load_layout``.
        target: a folder that is empty or does not exist.
        codebook: of the images to export, in the syntax of ``find_codebooks``; None: all, if they have one tokenizer.

    Raises:
        UserError: the codes do not fit, a tokenizer is missing or differs, or the target is not empty.
    """
    _check_free(target)
    shards, layout = find_shards(source), load_layout(name, tokenizer)
    if not shards:
        raise UserError(f"{source}: the data set has no files")
    vocabulary = shards[0].vocabulary
    chosen = _chosen(name, vocabulary, codebook)
    book = vocabulary.codebooks[chosen[0]]
    if book.num_codes > layout.num_codes:
        raise UserError(
            f"the image tokenizer has {book.num_codes:,} codes, and {name} with this tokenizer has tokens for "
            f"{layout.num_codes:,}: tokenize with one converted from the model's own (gobelin tokenizer convert)"
        )
    words = text_tokenizer_of(shards[0], folder_above(shards[0].path))
    counts: Counter[str] = Counter()
    said = {"layout": name, "tokenizer_sha256": layout.fingerprint, "codebook": book.fingerprint,
            "grid": [book.rows, book.columns]}  # fmt: skip
    schema = EXPORTED.with_metadata({LAYOUT_KEY: json.dumps(said, sort_keys=True)})
    for number, shard in enumerate(shards):
        path = join(target, shard_name(number, len(shards)))
        with output(path) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
            held: list[Row] = []
            for row in _exported(shard, vocabulary, chosen, words, layout, counts):
                held.append(row)
                if len(held) == _ROWS_AT_ONCE:
                    writer.write_table(pa.Table.from_pylist(held, schema))
                    held = []
            writer.write_table(pa.Table.from_pylist(held, schema))
    counted = ("sequences", "tokens", "images", "images_left_out", "left_out", "texts_changed")
    books = [vocabulary.codebooks[index] for index in chosen]
    summary = {**said, **{key: counts[key] for key in counted}, "notes": _notes(name, layout, books)}
    write_json(join(target, "export.json"), summary)
    return summary


def _chosen(name: LayoutName, vocabulary: Vocabulary, asked: str | None) -> list[int]:
    """The codebooks whose images a layout can hold.

    Args:
        asked: in the syntax of ``find_codebooks``; None: all.

    Raises:
        UserError: the codebooks belong to several image tokenizers, or hold latents, or have several grids that the
            layout cannot distinguish.
    """
    books = vocabulary.codebooks
    chosen = list(range(len(books))) if asked is None else find_codebooks(books, asked)
    if books[0].is_continuous:
        raise UserError(f"{name} holds codes, and the images of this vocabulary are latents")
    names = list(dict.fromkeys(books[index].name for index in chosen))
    if len(names) > 1:
        raise UserError(
            f"{name} holds the codes of one image tokenizer, and this vocabulary has {', '.join(names)}: choose one "
            "with --codebook; images of the others are left out"
        )
    if name == "chameleon" and len(chosen) > 1:
        raise UserError(
            "chameleon's layout does not say how many rows an image has, and this vocabulary has several grids of "
            f"images: take emu3, or one of them, as with --codebook {books[0].rows}x{books[0].columns}; images of the "
            "others are left out"
        )
    return chosen


def _notes(name: str, layout: TokenLayout, books: Sequence[Codebook]) -> list[str]:
    notes = []
    for book in books:
        if name == "chameleon" and book.tokens_per_image != 1024:
            notes.append(
                f"the released models write 1,024 codes per image, and these images have {book.tokens_per_image:,}"
            )
        if book.num_codes != layout.num_codes:
            notes.append(
                f"the image tokenizer has {book.num_codes:,} codes and the model {layout.num_codes:,}: unless it was "
                "converted from the model's own, what the model knows of codes does not hold for these"
            )
    return notes


def _exported(
    shard: ShardFile, vocabulary: Vocabulary, chosen: Sequence[int], words: TextTokenizer, layout: TokenLayout,
    counts: Counter[str],
) -> Iterator[Row]:  # fmt: skip
    for row in read_rows(shard.path):
        try:
            pieces, left_out = pieces_of(row, vocabulary, words, chosen)
        except (ValueError, StopIteration) as error:
            raise UserError(f"{shard.path}, document {row['doc_id']}: {error}") from None
        runs, side = _as_runs(pieces)
        counts["sequences"] += 1
        counts["images_left_out"] += left_out
        try:
            ids = layout.encode(runs)
        except LayoutError:
            counts["left_out"] += 1
            continue
        counts["tokens"] += len(ids)
        counts["images"] += sum(isinstance(run, Picture) for run in runs)
        counts["texts_changed"] += sum(isinstance(run, str) and not layout.gives_back(run) for run in runs)
        yield {"input_ids": ids, "doc_id": row["doc_id"], "part": row.get("part"), "gobelin": side}


def pieces_of(
    row: TokenRow, vocabulary: Vocabulary, words: TextTokenizer, chosen: Sequence[int]
) -> tuple[list[Piece], int]:
    """A row of a token shard as texts, captions and images, in the order of its tokens, and the number of images of
    other codebooks, which are left out with their captions."""
    ids = np.array(row["tokens"], np.int64)
    names = iter(span["image_id"] for span in row["image_spans"])
    pieces: list[Piece] = []
    left_out = 0
    for item in parse(ids, vocabulary):
        if item.codes is not None and item.codebook not in chosen:
            next(names)
            left_out += 1
            continue
        text = None if item.text is None else words.decode((ids[slice(*item.text)] - vocabulary.text_offset).tolist())
        if item.codes is None:
            pieces.append(("text", text))
            continue
        image = ("image", (next(names), _grid_of(ids, item, vocabulary)))
        if text is None:
            pieces.append(image)
        elif item.caption_first:
            pieces += [("caption_of_next", text), image]
        else:
            pieces += [image, ("caption_of_previous", text)]
    return pieces, left_out


def _grid_of(ids: np.ndarray, item: ItemRange, vocabulary: Vocabulary) -> np.ndarray:
    assert item.codes is not None
    codes = ids[slice(*item.codes)] - vocabulary.image_offsets[item.codebook]
    return codes.reshape(vocabulary.codebooks[item.codebook].grid)


def _as_runs(pieces: list[Piece]) -> tuple[list[Run], str]:
    """Alternating texts and images, and the side field."""
    runs: list[Run] = []
    side: list[tuple[str, Any]] = []
    texts: list[str] = []
    for kind, content in pieces:
        if kind == "image":
            image_id, codes = content
            runs += [JOINT.join(texts), Picture(codes)]
            texts = []
            side.append((kind, image_id))
        else:
            texts.append(content)
            side.append((kind, len(content)))
    return [*runs, JOINT.join(texts)], side_of(side)


def import_shards(
    source: str, name: LayoutName, tokenizer: str, tokenized: str, target: str, codebook: str | None = None
) -> dict[str, Any]:
    """Imports an export: makes token shards with the vocabulary of a run.

    Args:
        source: folder of an export, or of other Parquet files with ``input_ids`` in this layout.
        tokenized: folder that ``tokenize`` wrote, with the vocabulary and the text tokenizer.
        target: a folder that is empty or does not exist; it becomes the data set.
        codebook: of the images, in the syntax of ``find_codebooks``; None: that of the only tokenizer.

    Raises:
        UserError: there are no such files, or a tokenizer is missing.
    """
    _check_free(target)
    layout, vocabulary, words = load_layout(name, tokenizer), Vocabulary.load(tokenized), TextTokenizer.load(tokenized)
    chosen = _chosen(name, vocabulary, codebook)
    paths = [path for path in sorted(files_in(source)) if name_of(path).endswith(".parquet")]
    if not paths:
        raise UserError(f"{source}: holds no Parquet files")
    counts: Counter[str] = Counter()
    said = {"version": VERSION, "imported_from": name, "num_shards": len(paths)}
    for number, path in enumerate(paths):
        metadata = {METADATA_KEY.decode(): vocabulary.to_json(),
                    SHARDS_KEY.decode(): json.dumps({**said, "shard": number}, sort_keys=True)}  # fmt: skip
        rows = _imported(path, layout, vocabulary, chosen, words, counts)
        write_shard(shard_path(target, number, len(paths)), rows, TOKEN_SHARDS, metadata)
    commit_shards(target, len(paths))
    vocabulary.save(target)
    words.save(join(target, "text_tokenizer.json"))
    return dict(counts)


def _imported(
    path: str, layout: TokenLayout, vocabulary: Vocabulary, chosen: Sequence[int], words: TextTokenizer,
    counts: Counter[str],
) -> Iterator[Row]:  # fmt: skip
    with open_input(path) as stream:
        names = pq.ParquetFile(stream).schema_arrow.names
    if "input_ids" not in names:
        raise UserError(f"{path}: has no column input_ids")
    for number, row in enumerate(read_rows(path, [each for each in EXPORTED.names if each in names])):
        counts["sequences"] += 1
        try:
            runs = layout.decode(row["input_ids"], vocabulary.codebooks[chosen[0]].grid)
            made = _tokens_of(_restored(runs, row.get("gobelin")), vocabulary, chosen, words)
        except LayoutError:
            counts["left_out"] += 1
            continue
        counts["images"] += len(made["image_spans"])
        doc_id = row.get("doc_id") or hashlib.blake2b(f"{name_of(path)}\n{number}".encode(), digest_size=16).hexdigest()
        yield {"doc_id": doc_id, "part": row.get("part"), **made}


def _restored(runs: list[Run], side: str | None) -> list[Piece]:
    """The pieces that a side field describes. Without a matching side field: one text per run, and images without
    captions."""
    try:
        described = json.loads(side) if side else None
        found = None if described is None else _cut_by(runs, described)
    except (ValueError, TypeError, KeyError, IndexError):
        found = None
    if found is not None:
        return found
    pieces: list[Piece] = []
    for run in runs:
        if isinstance(run, Picture):
            digest = hashlib.sha256(run.codes.astype(np.int32).tobytes()).hexdigest()
            pieces.append(("image", (digest, run.codes)))
        elif run:
            pieces.append(("text", run))
    return pieces


def _cut_by(runs: list[Run], described: list[Any]) -> list[Piece] | None:
    pieces: list[Piece] = []
    waiting = iter(runs)
    run, place, is_first = next(waiting), 0, True
    for kind, value in described:
        if kind == "image":
            picture, following = next(waiting, None), next(waiting, None)
            if not isinstance(picture, Picture) or not isinstance(value, str) or place != len(run):  # type: ignore[arg-type]
                return None
            pieces.append((kind, (value, picture.codes)))
            run, place, is_first = following or "", 0, True
        elif kind in _MARKS and type(value) is int and value >= 0 and isinstance(run, str):
            start = place if is_first else place + len(JOINT)
            if (not is_first and run[place:start] != JOINT) or start + value > len(run):
                return None
            pieces.append((kind, run[start : start + value]))
            place, is_first = start + value, False
        else:
            return None
    return pieces if place == len(run) and next(waiting, None) is None else None  # type: ignore[arg-type]


def _tokens_of(pieces: list[Piece], vocabulary: Vocabulary, chosen: Sequence[int], words: TextTokenizer) -> Row:
    tokens, spans = [DOCUMENT], []
    for kind, content in pieces:
        if kind == "image":
            image_id, codes = content
            index = next((each for each in chosen if vocabulary.codebooks[each].grid == codes.shape), None)
            if index is None or codes.max() >= vocabulary.codebooks[index].num_codes:
                raise LayoutError("an image belongs to no codebook of the vocabulary")
            spans.append({"start": len(tokens) + 1, "length": codes.size, "image_id": image_id})
            offset = vocabulary.image_offsets[index]
            tokens += [vocabulary.image_begins[index], *(offset + codes.ravel()).tolist(), END_OF_IMAGE]
        else:
            tokens += [_MARKS[kind], *(vocabulary.text_offset + token for token in words.encode(content))]
    try:
        parse([*tokens, END_OF_DOCUMENT], vocabulary)
    except ValueError as error:
        raise LayoutError(str(error)) from None
    return {"tokens": [*tokens, END_OF_DOCUMENT], "image_spans": spans}


def _check_free(target: str) -> None:
    if exists(target) or list_files(target):
        raise UserError(f"--to {target}: is not an empty folder: choose another one")
