"""``gobelin shards``: inspects token shards, and converts them to and from the layouts of released models."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from cyclopts import App, Parameter

from gobelin.errors import UserError
from gobelin.pipeline.cli.options import FILES, Address

app = App(name="shards")

Layout = Literal["chameleon", "emu3"]
_Layout = Annotated[
    Layout, Parameter(name="--format", group=FILES, metavar="FORMAT", help="chameleon (and Anole) or emu3")
]
_Tokenizer = Annotated[
    Address,
    Parameter(
        group=FILES,
        metavar="FILE",
        help="tokenizer of the model: its tokenizer.json or text_tokenizer.json, or a folder with one (Emu3: or "
        "emu3.tiktoken and emu3_vision_tokens.txt)",
    ),
]
_Codebook = Annotated[
    str | None,
    Parameter(
        metavar="NAME",
        help="the codebook of the images, if there are several: its name, a grid, or both, such as thumbnails:8x8",
    ),
]
_Target = Annotated[Address, Parameter(name="--to", group=FILES, metavar="FOLDER", help="output: an empty folder")]


@app.command(help="describe token shards, or decode one row to text and pictures")
def inspect(
    shards: Annotated[
        Address,
        Parameter(group=FILES, metavar="SHARDS", help="output folder of a run, data set of token shards, or one file"),
    ],
    /,
    *,
    row: Annotated[int | None, Parameter(metavar="N", help="number of a row, counted from 0 over all shards")] = None,
    document: Annotated[
        str | None, Parameter(metavar="ID", help="rows of the document with this id, or beginning of an id")
    ] = None,
    page: Annotated[
        Address | None,
        Parameter(group=FILES, metavar="FOLDER", help="write the row as a page with pictures to this empty folder"),
    ] = None,
    tokenizers: Annotated[
        Address | None,
        Parameter(
            group=FILES, metavar="FOLDER", help="folder that `tokenize` wrote (found in the folders above the shards)"
        ),
    ] = None,
) -> int:
    """Shows token shards."""
    from gobelin.pipeline.ask.inspect_shards import find_shards, rows_of_document, summary_of, view_row
    from gobelin.report.sequence_page import terminal_lines

    if row is not None and document is not None:
        raise UserError("give --row or --document, not both")
    found = find_shards(shards)
    if not found:
        raise UserError(f"{shards}: the data set has no files")
    if row is None and document is None:
        if page is not None:
            raise UserError("--page draws one row: give --row N or --document ID")
        for name, value in summary_of(found):
            print(f"{name:<12}{value}")
        return 0
    rows = [row] if row is not None else rows_of_document(found, document or "")
    for number, each in enumerate(rows):
        folder = page if page is None or len(rows) == 1 else f"{str(page).rstrip('/')}/{number}"
        for line in terminal_lines(view_row(found, each, tokenizers, folder)):
            print(line)
        if folder is not None:
            print(f"{folder}: the same as a page, index.html")
    return 0


@app.command(help="convert token shards to the format of a released model: Parquet with input_ids")
def export(
    shards: Annotated[
        Address,
        Parameter(group=FILES, metavar="SHARDS", help="output folder of a run, data set of token shards, or one file"),
    ],
    /,
    *,
    layout: _Layout,
    tokenizer: _Tokenizer,
    target: _Target,
    codebook: _Codebook = None,
) -> int:
    """Exports token shards."""
    from gobelin.pipeline.exchange.token_shards import export_shards

    print(json.dumps(export_shards(shards, layout, tokenizer, target, codebook), indent=2))
    return 0


@app.command(
    name="import",
    help="convert an export, or sequences of a released model, to token shards with the vocabulary of a run",
)
def import_(
    source: Annotated[Address, Parameter(group=FILES, metavar="SOURCE", help="folder of Parquet files with input_ids")],
    /,
    *,
    layout: _Layout,
    tokenizer: _Tokenizer,
    target: _Target,
    tokenizers: Annotated[
        Address,
        Parameter(
            group=FILES,
            metavar="FOLDER",
            help="folder that `tokenize` wrote, with vocabulary.json and text_tokenizer.json",
        ),
    ],
    codebook: _Codebook = None,
) -> int:
    """Imports token shards."""
    from gobelin.pipeline.exchange.token_shards import import_shards

    print(json.dumps(import_shards(source, layout, tokenizer, tokenizers, target, codebook), indent=2))
    return 0
