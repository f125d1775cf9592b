"""Inspects token shards: prints a summary, or turns one row back into text and images.

Each file holds its vocabulary in its metadata. Words also need the text tokenizer, and images the image tokenizer. Both
are searched in the folders above the file, where ``tokenize`` writes them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gobelin.data.rows import TokenRow
from gobelin.errors import MissingDataError, UserError
from gobelin.report.sequence_page import SequenceView, TokenRun, sequence_page
from gobelin.report.tokenizer_page import encoded_on
from gobelin.store.dataset import paths_of
from gobelin.store.files import exists, list_files, open_input, output, write_bytes
from gobelin.store.paths import join, name_of, parent_of
from gobelin.store.tables import read_tables
from gobelin.tokenize.codebook import CONFIG_NAME
from gobelin.tokenize.grammar import parse
from gobelin.tokenize.sequence import image_latents
from gobelin.tokenize.text_tokenizer import FILE_NAME, TextTokenizer
from gobelin.tokenize.token_shards import read_layout
from gobelin.tokenize.vocabulary import METADATA_KEY, Vocabulary

IMAGE_TOKENIZER = "image_tokenizer"
PAGE_NAME = "index.html"
_FIRST_CODES = 12


_NOT_TOLD = ("shard", "num_shards", "encoded")
"""Fields of a layout that are not shown: they differ between shards, or are shown elsewhere."""


@dataclasses.dataclass(frozen=True, slots=True)
class ShardFile:
    """A token shard with the content of its footer."""

    path: str
    num_rows: int
    vocabulary: Vocabulary
    layout: dict[str, Any]


def find_shards(address: str) -> list[ShardFile]:
    """The token shards in a run's output folder, in a data set, or one file.

    Raises:
        UserError: there are no shards, or a file is not a token shard.
    """
    if address.endswith(".parquet"):
        paths = [address]
    else:
        inside = join(address, "tokenize", "shards")
        try:
            paths = paths_of(inside)
        except MissingDataError:
            try:
                paths = paths_of(address)
            except MissingDataError:
                raise UserError(
                    f"{address}: no token shards; give the output folder of a run whose stage `tokenize` is done, a "
                    "data set of token shards, or one of its files"
                ) from None
    return [_open(path) for path in paths]


def _open(path: str) -> ShardFile:
    try:
        with open_input(path) as stream:
            file = pq.ParquetFile(stream)
            metadata, num_rows = file.schema_arrow.metadata or {}, file.metadata.num_rows
            has_tokens = {"doc_id", "tokens", "image_spans"} <= set(file.schema_arrow.names)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except pa.ArrowException as error:
        raise UserError(f"{path} is not a Parquet file: {' '.join(str(error).split())[:200]}") from None
    stored = metadata.get(METADATA_KEY)
    if stored is None or not has_tokens:
        raise UserError(f"{path} is not a token shard: it lacks {METADATA_KEY.decode()} in its metadata, or columns")
    return ShardFile(path, num_rows, Vocabulary.from_json(stored.decode(errors="replace")), read_layout(metadata, path))


def summary_of(shards: Sequence[ShardFile]) -> list[tuple[str, str]]:
    """A summary of shards as (name, value) pairs for people. Reads lengths, not tokens."""
    num_tokens = num_images = 0
    for shard in shards:
        for table in read_tables(shard.path, ["tokens", "image_spans"]):
            num_tokens += pc.sum(pc.list_value_length(table["tokens"])).as_py() or 0
            num_images += pc.sum(pc.list_value_length(table["image_spans"])).as_py() or 0
    vocabulary, layout = shards[0].vocabulary, shards[0].layout
    books = ", ".join(f"{b.name}: {b.num_codes:,} codes in {b.rows} x {b.columns}" for b in vocabulary.codebooks)
    said = ", ".join(f"{name} {value}" for name, value in sorted(layout.items()) if name not in _NOT_TOLD)
    return [
        ("shards", f"{len(shards):,}"),
        ("sequences", f"{sum(shard.num_rows for shard in shards):,}"),
        ("tokens", f"{num_tokens:,}"),
        ("images", f"{num_images:,}"),
        ("vocabulary", f"{vocabulary.size:,} ids: {vocabulary.text_size:,} of text; {books}"),
        ("layout", said),
        *(("encoded on", encoded_on(made)) for made in layout.get("encoded", ())),
    ]


def rows_of_document(shards: Sequence[ShardFile], doc_id: str) -> list[int]:
    """Row numbers, counted through all shards, of a document given by its id or the beginning of the id.

    Raises:
        UserError: no document or several documents match.
    """
    found, names, before = [], set(), 0
    for shard in shards:
        for table in read_tables(shard.path, ["doc_id"]):
            is_it = pc.starts_with(table["doc_id"], doc_id)
            found += [before + place for place in np.flatnonzero(is_it.to_numpy()).tolist()]
            names.update(table["doc_id"].filter(is_it).to_pylist())
            before += len(table)
    if not names:
        raise UserError(f"--document {doc_id}: no document in these shards has an id that begins with it")
    if len(names) > 1:
        raise UserError(
            f"--document {doc_id}: the ids of {len(names)} documents begin with it, such as {min(names)} and "
            f"{max(names)}"
        )
    return found


def view_row(shards: Sequence[ShardFile], number: int, tokenizers: str | None, folder: str | None) -> SequenceView:
    """One row, split into runs of tokens. If ``folder`` is given, its images are written there as PNG files, with an
    HTML page.

    Args:
        number: counted through all shards, from 0.
        tokenizers: folder that ``tokenize`` wrote; None: a folder above the shard.

    Raises:
        UserError: there is no such row, it breaks the grammar, or the text tokenizer of its vocabulary is missing.
    """
    total = sum(shard.num_rows for shard in shards)
    if not 0 <= number < total:
        raise UserError(f"--row {number}: there are rows 0 to {total - 1}" if total else "these shards hold no row")
    if folder is not None and (exists(folder) or list_files(folder)):
        raise UserError(f"--page {folder}: is not an empty folder: choose another one")
    place = number
    for shard in shards:
        if place < shard.num_rows:
            break
        place -= shard.num_rows
    row, vocabulary = _row(shard, place), shard.vocabulary
    beside = tokenizers or folder_above(shard.path)
    text_tokenizer = text_tokenizer_of(shard, beside)
    try:
        runs = _runs_of(row, vocabulary, text_tokenizer)
    except ValueError as error:
        raise UserError(f"row {place} of {shard.path}: {error}") from None
    without = None
    if folder is not None:
        runs, without = _with_pictures(runs, row, vocabulary, beside, folder)
    facts = (
        ("document", row["doc_id"] + ("" if row.get("part") is None else f", part {row['part']}")),
        ("tokens", f"{len(row['tokens']):,}"),
        ("images", f"{len(row['image_spans']):,}, {sum(span['length'] for span in row['image_spans']):,} tokens"),
    )
    view = SequenceView(f"row {number:,}: row {place:,} of {name_of(shard.path)}", facts, tuple(runs), without)
    if folder is not None:
        write_bytes(join(folder, PAGE_NAME), sequence_page(view).encode("utf-8", "replace"))
    return view


def _runs_of(row: TokenRow, vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> list[TokenRun]:
    ids = np.array(row["tokens"], np.int64)
    items = parse(ids, vocabulary)
    images = [item for item in items if item.codes is not None]
    if [(span["start"], span["start"] + span["length"]) for span in row["image_spans"]] != [i.codes for i in images]:
        raise UserError("image_spans differ from the positions of the images in the tokens")
    ranges: list[tuple[int, int, int | None]] = []  # a text: no codebook
    for item in items:
        ranges += [(*item.text, None)] if item.text and item.text[0] < item.text[1] else []
        ranges += [(*item.codes, item.codebook)] if item.codes else []
    names = iter(span["image_id"] for span in row["image_spans"])
    runs, place = [], 0
    for start, stop, codebook in [*sorted(ranges), (len(ids), len(ids), None)]:
        runs += [TokenRun(at, at + 1, "special", vocabulary.special_tokens[ids[at]]) for at in range(place, start)]
        place = stop
        if start == stop:
            continue
        if codebook is None:
            words = text_tokenizer.decode((ids[start:stop] - vocabulary.text_offset).tolist())
            runs.append(TokenRun(start, stop, "text", words))
        else:
            codes = (ids[start:stop] - vocabulary.image_offsets[codebook]).tolist()
            words = " ".join(map(str, codes[:_FIRST_CODES])) + (" …" if len(codes) > _FIRST_CODES else "")
            book = vocabulary.codebooks[codebook]
            runs.append(TokenRun(start, stop, "image", words, next(names), book.grid, codebook=codebook))
    return runs


def _with_pictures(
    runs: list[TokenRun], row: Mapping[str, Any], vocabulary: Vocabulary, tokenizers: str, folder: str
) -> tuple[list[TokenRun], str | None]:
    """The runs with the names of the written images, or the reason why there are none."""
    images = [run for run in runs if run.grid is not None]
    path = join(tokenizers, IMAGE_TOKENIZER)
    if not images:
        return runs, None
    if not exists(join(path, CONFIG_NAME)):
        return runs, f"no image tokenizer in {path}"
    try:
        from gobelin.tokenize.image_tokenizers import load_image_tokenizers
    except ModuleNotFoundError:
        return runs, "they need the extra `models`: pip install 'gobelin[models]'"
    tokenizers_here = load_image_tokenizers(path)
    if not tokenizers_here.has_decoder:
        return runs, "this image tokenizer has no decoder"
    from PIL import Image

    books, latents = vocabulary.codebooks, None
    here = {(book.fingerprint, book.grid): index for index, book in enumerate(tokenizers_here.codebooks)}
    if books[0].is_continuous:
        latents = image_latents(row["latents"], [books[run.codebook] for run in images])
    made, number = [], 0
    for run in runs:
        if run.grid is None:
            made.append(run)
            continue
        place, number = number, number + 1
        index = here.get((books[run.codebook].fingerprint, run.grid))
        if index is None:
            made.append(run)
            continue
        ids = np.array(row["tokens"][run.start : run.stop], np.int64)
        tokens = ids - vocabulary.image_offsets[run.codebook] if latents is None else latents[place]
        name = f"{place:04d}.png"
        with output(join(folder, name)) as stream:
            Image.fromarray(tokenizers_here.decode(tokens[None], index)[0]).save(stream, "PNG")
        made.append(dataclasses.replace(run, picture=name))
    is_drawn = any(run.picture for run in made)
    return made, None if is_drawn else "the image tokenizer next to the shards is not the one that made them"


def folder_above(path: str) -> str:
    """The nearest folder above a shard that holds a text tokenizer. Raises UserError if there is none."""
    folder = path
    for _ in range(4):
        folder = parent_of(folder)
        if folder and exists(join(folder, FILE_NAME)):
            return folder
    raise UserError(f"no {FILE_NAME} in the folders above {path}: give --tokenizers, the folder that `tokenize` wrote")


def text_tokenizer_of(shard: ShardFile, folder: str) -> TextTokenizer:
    """The text tokenizer in a folder. Raises UserError unless it made the shard."""
    text_tokenizer = TextTokenizer.load(folder)
    if text_tokenizer.fingerprint != shard.vocabulary.text_fingerprint:
        raise UserError(
            f"the text tokenizer in {folder} is not the one that made {shard.path}: give the one that `tokenize` wrote"
        )
    return text_tokenizer


def _row(shard: ShardFile, place: int) -> TokenRow:
    """A row of a shard. Reads one row group."""
    with open_input(shard.path) as stream:
        file = pq.ParquetFile(stream)
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            if place < size:
                row: TokenRow = file.read_row_group(group).slice(place, 1).to_pylist()[0]
                return row
            place -= size
    raise UserError(f"{shard.path} has fewer rows than its footer states")
