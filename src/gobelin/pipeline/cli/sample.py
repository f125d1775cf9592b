"""``gobelin sample``: runs the stage; or, with a prompt, samples from the model of a finished run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Literal

from cyclopts import Group, Parameter, Token

from gobelin.errors import UserError
from gobelin.pipeline.cli.options import FILES, Address, Caller, ModelOptions, Output
from gobelin.pipeline.cli.stages import run_stages

_PROMPT = Group("Prompt")
_DRAWING = Group("Drawing")
_FLAT = Parameter(name="*")
_MODEL = ModelOptions()


def _in_order(_: object, tokens: Sequence[Token]) -> list[str]:
    """Each part of a prompt, preceded by the option that gave it."""
    return [f"{token.keyword} {token.value}" for token in tokens]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are sampled. None: the value in the recipe's section ``sample.sampling``."""

    temperature: Annotated[
        float | None, Parameter(group=_DRAWING, metavar="X", help="0: always the most likely token")
    ] = None
    top_k: Annotated[
        int | None, Parameter(group=_DRAWING, metavar="K", help="sample from the K most likely tokens; 0: from all")
    ] = None
    top_p: Annotated[
        float | None,
        Parameter(group=_DRAWING, metavar="P", help="sample from the most likely tokens with this total probability"),
    ] = None
    guidance: Annotated[
        float | None,
        Parameter(
            group=_DRAWING,
            metavar="X",
            help="guidance of pictures by the preceding tokens; 1: none; see docs/sampling.md",
        ),
    ] = None
    seed: Annotated[
        int | None, Parameter(group=_DRAWING, metavar="N", help="seed; the same seed gives the same samples")
    ] = None

    def settings(self) -> list[str]:
        """The given options as settings of the recipe."""
        names = {"temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "guidance": "cfg_scale"}
        given = {f"sample.sampling.{key}": getattr(self, name) for name, key in names.items()} | {"seed": self.seed}
        return [f"{key}={value:g}" for key, value in given.items() if value is not None]


_AS_IN_RECIPE = Sampling()


def sample(
    output: Output,
    *,
    prompt: Annotated[
        list[str],
        Parameter(
            name=("--prompt", "--image"),
            group=_PROMPT,
            metavar="TEXT|FILE",
            converter=_in_order,
            help="a text, or the file of a picture, to continue; each may be given more than once, in order",
        ),
    ] = [],  # noqa: B006  # nobody changes it
    make: Annotated[
        Literal["picture", "text", "both"] | None,
        Parameter(
            group=_PROMPT,
            metavar="WHAT",
            help="what to generate (a picture after a text, a text after a picture)",
        ),
    ] = None,
    images: Annotated[
        int,
        Parameter(name=("--images", "--number"), group=_PROMPT, metavar="N", help="number of pictures or texts (1)"),
    ] = 1,
    rank: Annotated[
        bool,
        Parameter(group=_PROMPT, help="sort pictures by their CLIP similarity (score.clip) to the caption, best first"),
    ] = False,
    max_tokens: Annotated[
        int | None,
        Parameter(
            group=_PROMPT, metavar="N", help="maximum number of tokens of a text (as many as fit into the context)"
        ),
    ] = None,
    to: Annotated[
        Address | None,
        Parameter(group=FILES, metavar="FOLDER", help="output folder for the samples of a prompt (OUT/samples/NAME)"),
    ] = None,
    format: Annotated[
        Literal["html", "markdown", "json"],
        Parameter(group=FILES, metavar="NAME", help="format of the page that is written beside the pictures (html)"),
    ] = "html",
    sampling: Annotated[Sampling, _FLAT] = _AS_IN_RECIPE,
    options: Annotated[ModelOptions, _FLAT] = _MODEL,
    caller: Caller,
) -> int:
    """Runs the stage ``sample``; with a prompt, samples from the model."""
    if not prompt and make is None:
        if images != 1 or rank or max_tokens is not None or to is not None or format != "html":
            raise UserError("--images, --rank, --max-tokens, --to and --format go with --prompt, --image or --make")
        settings = [*options.settings, *sampling.settings()]
        return run_stages(output, ("sample",), dataclasses.replace(options, settings=settings), caller)
    if not 1 <= images <= 10_000:
        raise UserError(f"--images must be from 1 to 10000, got {images}")
    if max_tokens is not None and max_tokens < 1:
        raise UserError(f"--max-tokens must be at least 1, got {max_tokens}")
    parts = [(_kind_of(keyword), value) for keyword, _, value in (part.partition(" ") for part in prompt)]
    for kind, value in parts:
        if kind == "text":
            _check_text(value)
    from gobelin.pipeline.ask.sample_prompt import Order, folder_name, sample_prompt, write_samples
    from gobelin.pipeline.run.open_run import recipe_of
    from gobelin.pipeline.run.progress_bar import Screen
    from gobelin.store.paths import absolute, join

    output, screen = absolute(output), Screen(options.quiet)
    recipe = recipe_of(output, options.recipe, [*options.settings, *sampling.settings()])
    order = Order(parts=parts, make=make, number=images, rank=rank, max_tokens=max_tokens)
    made = sample_prompt(output, recipe, order)
    for note in made["notes"]:
        screen.say(f"note: {note}")
    page = write_samples(made, to or join(output, "samples", folder_name(order, recipe)), format)
    for each in made["samples"]:
        for item in each["items"]:
            words = item if item["kind"] == "text" else item["caption"]
            if words["made"].strip():
                screen.say(printable(words["made"].strip()))
    screen.say(page)
    return 0


def printable(text: str) -> str:
    """A text without control characters of a terminal."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _kind_of(keyword: str) -> str:
    return "text" if keyword == "--prompt" else "picture"


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError("--prompt is not text in UTF-8") from None
