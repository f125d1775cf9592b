"""``gobelin heads``: heads made of published files, or fitted on labels."""

from __future__ import annotations

import os
from typing import Annotated, Literal, get_args

from cyclopts import App, Parameter

from gobelin.pipeline.cli.options import FILES, Address

Kind = Literal["aesthetic-v1", "aesthetic-v2", "nsfw", "violence"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""The keys of ``KINDS`` in transforms/vision/convert_heads.py; a test compares both."""

_Target = Annotated[Address, Parameter(group=FILES, metavar="FILE", help="output: NAME.safetensors")]

app = App(name="heads")


@app.command(help="convert a published head to a .safetensors file with a .json beside it")
def convert(
    file: Annotated[
        Address,
        Parameter(group=FILES, metavar="FILE", help="the published file (.pth, .npy); no code in it is run"),
    ],
    /,
    *,
    output: _Target,
    kind: Annotated[Kind, Parameter(metavar="KIND", help="kind of the head")],
    clip_model: Annotated[
        str | None,
        Parameter(metavar="MODEL", help="CLIP model of its embeddings, if kind and name do not determine it"),
    ] = None,
    name: Annotated[str | None, Parameter(help="name of the head (default: the kind's)")] = None,
) -> int:
    """Converts a head."""
    from gobelin.transforms.vision.convert_heads import convert_head
    from gobelin.transforms.vision.heads import save_head

    head = convert_head(file, kind, clip_model, name)
    save_head(head, output)
    print(f"{output}: {head.name}, {len(head.layers)} layer(s) on {head.dim} numbers of {head.clip_model}")
    print(f"licence {head.licence} as its source says; {', '.join(f'{k}: {v}' for k, v in head.notes.items())}")
    return 0


@app.command(help="fit a head on labelled images, by logistic regression on their embeddings")
def train(
    *,
    embeddings: Annotated[Address, Parameter(group=FILES, metavar="FOLDER", help="the folder `score` of a run")],
    labels: Annotated[
        Address,
        Parameter(group=FILES, metavar="CSV", help="columns image_id and label (1: positive, 0: negative)"),
    ],
    output: _Target,
    name: Annotated[str | None, Parameter(help="name of the head (default: that of the output file)")] = None,
) -> int:
    """Fits a head."""
    from gobelin.store.paths import name_of
    from gobelin.transforms.vision.fit_heads import train_head
    from gobelin.transforms.vision.heads import save_head

    fit = train_head(embeddings, labels, name or os.path.splitext(name_of(output))[0])
    save_head(fit.head, output)
    print(f"{fit.num_positive:,} images of label 1, {fit.num_negative:,} of label 0, from {fit.head.clip_model}")
    if fit.num_unknown:
        print(f"{fit.num_unknown:,} labelled images have no embedding in {embeddings}")
    print("cross-validated AUC by penalty: " + ", ".join(f"{l2:g}: {auc:.4f}" for l2, auc in fit.auc.items()))
    print(f"chosen: penalty {fit.strength:g}, AUC {fit.auc[fit.strength]:.4f}")
    for recall, cut in fit.cuts.items():
        print(f"{recall:.0%} of label 1 score at least {cut:.4f}")
    print(f"{output}: score.heads: {{{fit.head.name}: {output}}}")
    return 0
