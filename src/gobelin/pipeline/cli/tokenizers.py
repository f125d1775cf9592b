"""``gobelin fit-tokenizer`` and ``gobelin tokenizer``: image tokenizers fitted, converted and looked at."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from cyclopts import App, Parameter

from gobelin.errors import UserError
from gobelin.pipeline.cli.options import FILES, MACHINE, Address, Quiet
from gobelin.tokenize.config import FitSettings
from gobelin.tokenize.framing import Resize

Kind = Literal["vqvae", "fsq", "vqgan", "klvae"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""The kinds of ``tokenize/shapes.py``; a test compares both."""

_SHAPE = "Shape"
_Source = Annotated[
    Address,
    Parameter(
        group=FILES,
        metavar="PICTURES",
        help="output folder of a run (the pictures of its corpus), folder of pictures or of Parquet files, or one such "
        "file",
    ),
]
_NewFolder = Annotated[Address, Parameter(group=FILES, metavar="FOLDER", help="output: an empty folder")]
_Size = Annotated[
    str | None,
    Parameter(group=_SHAPE, metavar="PIXELS", help="side of the pictures, or HEIGHTxWIDTH (the kind's usual size)"),
]

app = App(name="tokenizer")


def fit_tokenizer(
    pictures: _Source,
    /,
    *,
    output: _NewFolder,
    kind: Annotated[Kind, Parameter(group=_SHAPE, metavar="KIND", help="vqvae, fsq, vqgan or klvae (vqvae)")] = "vqvae",
    size: _Size = None,
    grids: Annotated[
        str | None,
        Parameter(
            group=_SHAPE,
            metavar="GRIDS",
            help="grids of tokens, ROWSxCOLUMNS, such as 8x16,12x12,16x8; a picture gets the one that is nearest to "
            "its shape (one grid, from --size)",
        ),
    ] = None,
    resize: Annotated[
        Resize | None,
        Parameter(group=_SHAPE, metavar="HOW", help="crop the centre, or letterbox with black bars (crop)"),
    ] = None,
    decoder_of: Annotated[
        Address | None,
        Parameter(
            group=_SHAPE,
            metavar="TOKENIZER",
            help="fit only the decoder of this tokenizer, so that its codes stay the same (none)",
        ),
    ] = None,
    settings: Annotated[
        list[str],
        Parameter(
            name="--set",
            group=_SHAPE,
            metavar="KEY=VALUE",
            help="a setting of the kind, such as num_codes=512 or levels=[8,5,5,5]; may be given more than once; see "
            "docs/tokenizers.md",
        ),
    ] = [],  # noqa: B006  # nobody changes it
    steps: Annotated[int, Parameter(metavar="N", help="number of steps (1500)")] = 1500,
    batch_size: Annotated[int, Parameter(metavar="N", help="pictures per step, over all processes (16)")] = 16,
    micro_batch: Annotated[
        int | None, Parameter(metavar="N", help="pictures that are computed at a time, to save memory (all of a step)")
    ] = None,
    learning_rate: Annotated[
        float | None,
        Parameter(metavar="RATE", help="learning rate of AdamW (2e-3; less for wide trunks and with --decoder-of)"),
    ] = None,
    seed: Annotated[int, Parameter(metavar="N", help="seed; the same seed and pictures give the same weights (0)")] = 0,
    max_images: Annotated[int, Parameter(metavar="N", help="maximum number of pictures (100000)")] = 100_000,
    perceptual: Annotated[
        Address | None,
        Parameter(metavar="FILE", help="weights of LPIPS with VGG-16, to add LPIPS to the loss (none)"),
    ] = None,
    discriminator: Annotated[
        float,
        Parameter(
            metavar="WEIGHT", help="weight of the adversarial loss of a patch discriminator; 0: no discriminator (0)"
        ),
    ] = 0.0,
    discriminator_start: Annotated[
        int | None, Parameter(metavar="N", help="steps before the discriminator is used (half of the steps)")
    ] = None,
    checkpoint_steps: Annotated[
        int, Parameter(metavar="N", help="steps between checkpoints, from which the same command continues (500)")
    ] = 500,
    checkpoint_seconds: Annotated[
        float, Parameter(metavar="SECONDS", help="maximum time between checkpoints (600)")
    ] = 600.0,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Parameter(
            group=MACHINE,
            metavar="TYPE",
            help="float32, bfloat16, or auto: bfloat16 if the hardware supports it (auto)",
        ),
    ] = "auto",
    threads: Annotated[int, Parameter(group=MACHINE, metavar="N", help="threads of torch (2)")] = 2,
    device: Annotated[str, Parameter(group=MACHINE, metavar="NAME", help="auto, cpu, cuda or mps (cpu)")] = "cpu",
    quiet: Quiet = False,
) -> int:
    """Fits a tokenizer. Under torchrun, each process is called with the same arguments."""
    from gobelin.pipeline.run.progress_bar import Screen
    from gobelin.pipeline.run.torchrun import is_first
    from gobelin.pipeline.tokenizers.fit import FitOptions, fit
    from gobelin.pipeline.tokenizers.folder import PAGE_NAME
    from gobelin.store.paths import join
    from gobelin.train.parallel import joined
    from gobelin.transforms.devices import torch_device

    if steps < 1 or threads < 1 or max_images < 2:
        raise UserError("--steps and --threads must be at least 1, --max-images at least 2")
    if checkpoint_steps < 1 or not checkpoint_seconds >= 0:
        raise UserError("--checkpoint-steps must be at least 1, --checkpoint-seconds at least 0")
    if size is not None and grids is not None:
        raise UserError("--size and --grids both set the size of pictures: give only one of them")
    given = (*settings, *([] if size is None else [f"image_size={list(_sides(size))}"]))
    start = steps // 2 if discriminator_start is None else discriminator_start
    how = FitSettings(
        batch_size=batch_size, micro_batch=micro_batch, learning_rate=learning_rate, discriminator=discriminator,
        discriminator_start=start,
    )  # fmt: skip
    screen = Screen(quiet or not is_first())
    options = FitOptions(
        kind, given, steps, seed, max_images, precision, threads, device, perceptual,
        tuple(grids.split(",")) if grids else (), resize, how, decoder_of, checkpoint_steps, checkpoint_seconds,
    )  # fmt: skip
    with screen.live(), joined(torch_device(device)) as processes:
        reached = fit(pictures, output, options, screen, processes)
    if not is_first():
        return 0
    screen.say(
        f"{reached['num_images']:,} pictures, {reached['num_held_out']:,} held out: PSNR {reached['psnr_db']:.2f} dB, "
        f"SSIM {reached['ssim']:.3f}; {reached['codes_used']:,} codes used in an epoch, perplexity "
        f"{reached['perplexity']:,.1f}; {reached['precision']}"
    )
    if reached["undecodable"]:
        screen.say(f"{reached['undecodable']:,} times a picture could not be decoded and was left out")
    screen.say(f"{output}: tokenize.image_tokenizer={output}; reconstructions in {join(output, PAGE_NAME)}")
    return 0


@app.command(help="convert a published tokenizer (taming, Chameleon, LlamaGen, Janus, diffusers, Emu3)")
def convert(
    file: Annotated[
        Address,
        Parameter(
            group=FILES, metavar="FILE", help="the published file, or a folder of safetensors; no code in it is run"
        ),
    ],
    output: Annotated[Address, Parameter(group=FILES, metavar="OUT", help="output: an empty folder")],
    /,
    *,
    size: _Size = None,
    name: Annotated[str | None, Parameter(help="name of its codebook (default: the layout's)")] = None,
) -> int:
    """Converts a published tokenizer."""
    from gobelin.pipeline.tokenizers.convert import convert as convert_file
    from gobelin.pipeline.tokenizers.folder import agreement_of
    from gobelin.report.tokenizer_page import agreement_row, facts

    layout, codebook = convert_file(file, output, None if size is None else _sides(size), name)
    print(f"{output}: {codebook.name}, from the layout {layout}")
    for title, value in [*facts([codebook]), *agreement_row(codebook, agreement_of(output))]:
        print(f"{title:<16}{value}")
    return 0


@app.command(help="describe a tokenizer; with pictures, measure its reconstructions and its use of codes")
def show(
    tokenizer: Annotated[
        Address, Parameter(group=FILES, metavar="TOKENIZER", help="a tokenizer's folder, or the output folder of a run")
    ],
    pictures: Annotated[
        Address | None,
        Parameter(group=FILES, metavar="PICTURES", help="pictures, as for `gobelin fit-tokenizer` (those of the run)"),
    ] = None,
    /,
    *,
    page: Annotated[
        Address | None, Parameter(group=FILES, metavar="FILE", help="HTML page of reconstructions to write")
    ] = None,
    images: Annotated[int, Parameter(metavar="N", help="number of pictures (256)")] = 256,
) -> int:
    """Shows a tokenizer."""
    from gobelin.pipeline.tokenizers.look import show as look
    from gobelin.report.tokenizer_page import agreement_row, facts, measured

    if images < 1:
        raise UserError("--images must be at least 1")
    found = look(tokenizer, pictures, page, images)
    for number, each in enumerate(found):
        codebook = each.codebooks[0]
        rows = [("name", codebook.name), *facts(each.codebooks), *agreement_row(codebook, each.agreement)]
        if len(found) > 1:
            rows.append(("takes", _takes(each.least_px, [other.least_px for other in found])))
        rows += [] if each.quality is None else measured(codebook, each.quality)
        print("\n" * bool(number) + "\n".join(f"{title:<16}{value}" for title, value in rows))
    return 0


def _takes(least_px: int, of_all: list[int]) -> str:
    """Which pictures a tokenizer takes, by the least shorter side of its own and of all."""
    following = min((each for each in of_all if each > least_px), default=None)
    if following is None:
        return f"pictures whose shorter side has {least_px} px or more"
    return f"pictures whose shorter side has {f'{least_px} to ' if least_px else 'up to '}{following - 1} px"


def _sides(size: str) -> tuple[int, int]:
    """Height and width of ``64`` or ``64x96``."""
    match = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", size)
    if match is None:
        raise UserError(f"--size {size}: give one number of pixels, or HEIGHTxWIDTH as in 64x96")
    return int(match[1]), int(match[2] or match[1])
