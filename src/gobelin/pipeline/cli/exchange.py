"""``gobelin export`` and ``gobelin import``."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Literal, get_args

from cyclopts import Parameter

from gobelin.errors import UserError
from gobelin.pipeline.cli.options import FILES, Address, Output, Quiet, RecipeName, RunFolder, Scratch, Settings

Format = Literal["jsonl", "mmc4", "nemo", "obelics", "parquet", "webdataset"]

FORMATS: tuple[Format, ...] = get_args(Format)
"""Names of the formats that are written and read; a test compares them with ``exchange/formats.py``."""

WrittenFormat = Literal["markdown"]
"""What is written and not read."""

ReadFormat = Literal[Format, "text"]

TokenFormat = Literal["megatron", "nanogpt", "transformers"]
"""What other trainers read: token shards as flat files, and the model."""

_WHAT = "What is written"


def export(
    output: RunFolder,
    *,
    to: Annotated[
        Address | None,
        Parameter(
            group=FILES,
            metavar="FOLDER",
            help="an empty folder, local, s3:// or gs://; without it, JSON lines go to standard output",
        ),
    ] = None,
    stage: Annotated[
        Literal["extract", "score", "select", "tokenize"],
        Parameter(group=_WHAT, metavar="STAGE", help="the stage to export (select)"),
    ] = "select",
    decisions: Annotated[
        bool,
        Parameter(
            group=_WHAT,
            help="export the stage's decisions instead of documents: what it left out or changed, with rule, value and "
            "threshold",
        ),
    ] = False,
    format: Annotated[
        Literal[Format, WrittenFormat, TokenFormat],
        Parameter(
            group=_WHAT,
            metavar="FORMAT",
            help="format of documents (jsonl); megatron, nanogpt: tokens for other trainers; transformers: the model",
        ),
    ] = "jsonl",
    with_images: Annotated[
        bool,
        Parameter(
            group=_WHAT,
            help="also write the bytes of images, for formats that hold only their addresses (jsonl, mmc4, obelics)",
        ),
    ] = False,
) -> int:
    """Writes documents, or decisions."""
    from gobelin.pipeline.exchange.export import SOURCES, export_corpus, export_decisions, export_documents

    if to is None and (format != "jsonl" or with_images):
        raise UserError(f"--format {format} writes files: give --to FOLDER, an empty folder")
    if decisions and (to is not None or format != "jsonl"):
        raise UserError("--decisions are JSON lines on standard output: leave --to and --format out")
    if format in get_args(TokenFormat):
        from gobelin.pipeline.exchange.export_training import export_training

        assert to is not None
        print(json.dumps(export_training(output, format, to), indent=2, allow_nan=False))
        return 0
    if to is not None and stage in SOURCES:
        summary = export_corpus(output, stage, format, to, with_images)
        print(json.dumps(summary, indent=2, allow_nan=False))
    elif decisions:
        export_decisions(output, stage, sys.stdout)
    elif stage in SOURCES:
        export_documents(output, stage, sys.stdout)
    else:
        raise UserError(f"stage {stage} holds no documents: give --stage {' or '.join(SOURCES)}, or --decisions")
    return 0


def import_(
    sources: Annotated[
        list[Address],
        Parameter(
            group=FILES, metavar="SOURCE", help="files of the format, or folders that hold them; local, s3:// or gs://"
        ),
    ],
    /,
    *,
    format: Annotated[ReadFormat, Parameter(group=FILES, metavar="FORMAT", help="format of the files")],
    output: Output,
    recipe: RecipeName,
    settings: Settings = [],  # noqa: B006  # nobody changes it
    scratch: Scratch = None,
    quiet: Quiet = False,
) -> int:
    """Makes an output folder whose stage ``extract`` is done."""
    from gobelin.pipeline.exchange.import_corpus import run_import
    from gobelin.pipeline.run.progress_bar import Screen
    from gobelin.pipeline.run.run_summary import summary_lines
    from gobelin.pipeline.run.scratch import temporary_files

    screen = Screen(quiet)
    with temporary_files(output, scratch), screen.live():
        run_import(output, recipe, settings, format, sources, screen, scratch)
    for line in summary_lines(output):
        screen.say(line)
    return 0


def card(
    folder: Annotated[
        Address,
        Parameter(group=FILES, metavar="FOLDER", help="output folder of a run, or of an export; local, s3:// or gs://"),
    ],
    /,
    *,
    write: Annotated[
        bool, Parameter(help="rewrite README.md and croissant.json of a run instead of printing the card")
    ] = False,
) -> int:
    """Prints a data card, or rewrites it."""
    from gobelin.pipeline.exchange.cards import card_in, write_card_of_run
    from gobelin.pipeline.exchange.export import check_done

    if write:
        write_card_of_run(folder, check_done(folder, "select"))
    else:
        print(card_in(folder), end="")
    return 0
