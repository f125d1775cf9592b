"""``gobelin ablate``: models on raw, curated, random and dropped documents, compared."""

from __future__ import annotations

import os
from typing import Annotated, Literal, get_args

from cyclopts import Group, Parameter

from gobelin.errors import UserError
from gobelin.pipeline.cli.options import FILES, MACHINE, Address, Caller, Quiet, RunFolder, Scratch, Settings

_WHAT = Group("What is compared")

Arm = Literal["raw", "curated", "random", "dropped"]


def ablate(
    output: RunFolder,
    *,
    seeds: Annotated[
        int, Parameter(group=_WHAT, metavar="N", help="number of models per corpus, each with another seed (5)")
    ] = 5,
    arms: Annotated[
        list[Arm],
        Parameter(group=_WHAT, metavar="CORPUS", consume_multiple=True, help="corpora to train on (all)"),
    ] = [],  # noqa: B006  # nobody changes it
    independent: Annotated[
        Address | None,
        Parameter(
            group=FILES,
            metavar="FOLDER",
            help="another output folder whose stage `score` is done; models are also measured on its documents. They "
            "should not be filtered; copies of the run's documents are left out",
        ),
    ] = None,
    settings: Settings = [],  # noqa: B006  # nobody changes it
    workers: Annotated[
        int | None,
        Parameter(
            group=MACHINE, metavar="N", help="number of models that are trained at a time on the CPU (all cores)"
        ),
    ] = None,
    scratch: Scratch = None,
    quiet: Quiet = False,
    caller: Caller,
) -> int:
    """Trains and measures the models that are missing, and prints the results."""
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 1:
        raise UserError(f"--workers must be at least 1, got {workers}")
    from gobelin.pipeline.run.scratch import temporary_files

    with temporary_files(output, scratch):
        if caller.owns_process:
            from gobelin.pipeline.run.worker_pool import fork_server

            fork_server()
        from gobelin.pipeline.ablation.ablate import Question, ablate, lines
        from gobelin.pipeline.run.progress_bar import Screen

        screen = Screen(quiet)
        chosen = tuple(arm for arm in get_args(Arm) if arm in arms or not arms)
        page = ablate(output, Question(seeds, chosen, independent, tuple(settings)), workers, screen, scratch)
        for line in [*lines(output), page]:
            screen.say(line)
    return 0
