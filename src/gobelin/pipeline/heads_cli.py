"""``gobelin heads``: heads made of published files, or fitted on labels."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

from gobelin.store.paths import name_of

KINDS = ("aesthetic-v1", "aesthetic-v2", "nsfw", "violence")
"""Those of ``transforms.convert_heads``; a test holds them together."""


def add_heads(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command and its two actions."""
    heads = commands.add_parser("heads", help="networks on CLIP embeddings: convert published ones, train your own")
    actions = heads.add_subparsers(dest="action", required=True, metavar="ACTION")
    about = "a published head -> a .safetensors file with a .json beside it"
    convert = actions.add_parser("convert", help=about, description=about)
    convert.add_argument("file", help="the file as published (.pth, .npy); nothing in it is run")
    convert.add_argument("--kind", required=True, choices=KINDS, help="what it is")
    convert.add_argument("--output", required=True, metavar="FILE", help="where to: NAME.safetensors")
    convert.add_argument(
        "--clip-model", metavar="MODEL", help="CLIP model that it reads, where kind and name do not tell"
    )
    convert.add_argument("--name", help="name of the head (default: the kind's)")
    about = "labelled images -> a head, by logistic regression on their embeddings"
    train = actions.add_parser("train", help=about, description=about)
    train.add_argument("--embeddings", required=True, metavar="FOLDER", help="the folder `score` of a run")
    train.add_argument(
        "--labels",
        required=True,
        metavar="CSV",
        help="columns image_id and label (1: what is looked for, 0)",
    )
    train.add_argument("--output", required=True, metavar="FILE", help="where to: NAME.safetensors")
    train.add_argument("--name", help="name of the head (default: that of the output file)")


def run_heads(options: argparse.Namespace) -> Iterator[str]:
    """Does what the command asks for. Yields lines that say what came out.

    Raises:
        ValueError: a file cannot be used; the message says why.
    """
    from gobelin.transforms.vision.heads import save_head

    if options.action == "convert":
        from gobelin.transforms.vision.convert_heads import convert_head

        head = convert_head(options.file, options.kind, options.clip_model, options.name)
        save_head(head, options.output)
        yield f"{options.output}: {head.name}, {len(head.layers)} layer(s) on {head.dim} numbers of {head.clip_model}"
        yield f"licence {head.licence} as its source says; {', '.join(f'{k}: {v}' for k, v in head.notes.items())}"
    else:
        from gobelin.transforms.vision.fit_heads import train_head

        name = options.name or os.path.splitext(name_of(options.output))[0]
        fit = train_head(options.embeddings, options.labels, name)
        save_head(fit.head, options.output)
        yield f"{fit.num_positive:,} images of label 1, {fit.num_negative:,} of label 0, from {fit.head.clip_model}"
        if fit.num_unknown:
            yield f"{fit.num_unknown:,} labelled images have no embedding in {options.embeddings}"
        yield "cross-validated AUC by penalty: " + ", ".join(f"{l2:g}: {auc:.4f}" for l2, auc in fit.auc.items())
        yield f"chosen: penalty {fit.strength:g}, AUC {fit.auc[fit.strength]:.4f}"
        for recall, cut in fit.cuts.items():
            yield f"{recall:.0%} of label 1 score at least {cut:.4f}"
        yield f"{options.output}: score.heads: {{{fit.head.name}: {options.output}}}"
