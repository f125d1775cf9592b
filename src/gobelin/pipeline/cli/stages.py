"""``gobelin run``, and each stage alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from gobelin.errors import UserError, in_a_line
from gobelin.pipeline.cli.options import RECIPE, Call, Caller, LaterOptions, ModelOptions, Output, RunOptions
from gobelin.pipeline.run.stage_names import STAGES, Stage

if TYPE_CHECKING:
    from gobelin.pipeline.run.progress_bar import Screen
    from gobelin.pipeline.run.run import Run

    Tell = Callable[[str, Run], Iterable[str]]
    """An output folder and its run -> lines."""

_FLAT = Parameter(name="*")
_RUN, _LATER, _MODEL = RunOptions(), LaterOptions(), ModelOptions()


def run(
    output: Output,
    *,
    options: Annotated[RunOptions, _FLAT] = _RUN,
    until: Annotated[Stage | None, Parameter(group=RECIPE, metavar="STAGE", help="stop after this stage")] = None,
    caller: Caller,
) -> int:
    """Runs the stages up to ``until``."""
    return run_stages(output, STAGES[: STAGES.index(until) + 1] if until else STAGES, options, caller)


def extract(output: Output, *, options: Annotated[RunOptions, _FLAT] = _RUN, caller: Caller) -> int:
    """Runs ``extract``."""
    return run_stages(output, ("extract",), options, caller)


def score(output: Output, *, options: Annotated[LaterOptions, _FLAT] = _LATER, caller: Caller) -> int:
    """Runs ``score``."""
    return run_stages(output, ("score",), options, caller)


def select(
    output: Output,
    *,
    options: Annotated[LaterOptions, _FLAT] = _LATER,
    what_if: Annotated[
        list[str] | None,
        Parameter(
            group=RECIPE,
            metavar="RULE=VALUE",
            help="write nothing; print what another threshold would change, such as image.min_side_px=100; may be "
            "given more than once",
        ),
    ] = None,
    caller: Caller,
) -> int:
    """Runs ``select``, or says what other thresholds would change."""
    return run_stages(
        output, ("select",), options, caller, functools.partial(_what_if, tuple(what_if)) if what_if else None
    )


def tokenize(output: Output, *, options: Annotated[LaterOptions, _FLAT] = _LATER, caller: Caller) -> int:
    """Runs ``tokenize``."""
    return run_stages(output, ("tokenize",), options, caller)


def train(
    output: Output,
    *,
    options: Annotated[ModelOptions, _FLAT] = _MODEL,
    plan: Annotated[
        bool,
        Parameter(
            group=RECIPE,
            negative=(),
            help="write nothing; print time and memory of training, for models of 2 million to 7 billion parameters",
        ),
    ] = False,
    caller: Caller,
) -> int:
    """Runs ``train``, or says what it would take."""
    from gobelin.pipeline.run import torchrun

    if plan or not torchrun.is_started_by_torchrun():
        return run_stages(output, ("train",), options, caller, _training_plan if plan else None)
    if not torchrun.is_first():
        return _open_and_run(output, ("train",), options, caller, _train_beside) if torchrun.wait_for_the_first() else 0
    try:
        return run_stages(output, ("train",), options, caller)
    finally:
        torchrun.say_ended()


def report(output: Output, *, options: Annotated[ModelOptions, _FLAT] = _MODEL, caller: Caller) -> int:
    """Runs ``report``, of what there is."""
    return run_stages(output, ("report",), options, caller)


def run_stages(
    output: str, stages: Sequence[Stage], options: RunOptions, caller: Call, tell: Tell | None = None
) -> int:
    """Runs stages in their order; those before the first must be done, unless only the report is made.

    Args:
        tell: what is said of the run in place of running anything; nothing is written then.
    """
    if options.workers < 1:
        raise UserError(f"--workers must be at least 1, got {options.workers}")
    if tell is not None:
        return _open_and_run(output, stages, options, caller, tell)
    from gobelin.pipeline.run.scratch import temporary_files

    with temporary_files(output, options.scratch):  # before workers are forked, which write there, too
        if caller.owns_process and options.runner == "local":
            from gobelin.pipeline.run.worker_pool import fork_server

            fork_server()
        return _open_and_run(output, stages, options, caller)


def _open_and_run(
    output: str, stages: Sequence[Stage], options: RunOptions, caller: Call, tell: Tell | None = None
) -> int:
    from gobelin.pipeline.run.events import json_log
    from gobelin.pipeline.run.progress_bar import Screen

    screen = Screen(options.quiet)
    with json_log(options.log_json) as screen.listeners:
        try:
            return _run_opened(output, stages, options, caller, tell, screen)
        except Exception as error:  # told here, and then to the caller
            if not screen.has_ended:
                screen.tell("run_failed", level="error", error=in_a_line(error))
            raise


def _run_opened(
    output: str, stages: Sequence[Stage], options: RunOptions, caller: Call, tell: Tell | None, screen: Screen
) -> int:
    from gobelin.pipeline.run.open_run import open_run

    with open_run(
        output,
        options.recipe,
        options.settings,
        options.input,
        options.workers,
        screen,
        options.runner,
        caller.beam_args,
        writes=tell is None,
        scratch=options.scratch,
        running_job=options.running_job,
        sample=options.sample,
        metrics=options.metrics,
        languages=options.languages.split(",") if options.languages else (),
    ) as run:
        if stages != ("report",):
            for earlier in STAGES[: STAGES.index(stages[0])]:
                run.require(earlier)
        if tell is not None:
            for line in tell(output, run):
                print(line)
            return 0
        return _run_stages(output, run, stages, screen)


def _what_if(thresholds: tuple[str, ...], output: str, run: Run) -> Iterable[str]:
    from gobelin.pipeline.ask.what_if import what_if

    return what_if(output, run.recipe, thresholds)


def _training_plan(output: str, run: Run) -> Iterable[str]:
    from gobelin.pipeline.stages.train import training_plan

    return training_plan(output, run.recipe)


def _train_beside(output: str, run: Run) -> Iterable[str]:
    """Trains as one of several processes; the first one runs the stage. Prints nothing."""
    from gobelin.pipeline.stages.train import train_model

    train_model(output, run.recipe)
    return ()


def _run_stages(output: str, run: Run, stages: Sequence[Stage], screen: Screen) -> int:
    from gobelin.pipeline.recipe.help import warnings_of

    if "select" in stages:
        for warning in warnings_of(run.recipe):
            screen.say(f"warning: {warning}")
    with screen.live():
        run.look_ahead(stages, screen)
    try:
        with screen.live():
            for stage in stages:
                run.stage(stage, screen)
    except UserError:
        _say_summary(output, screen)
        if "report" in stages:
            screen.say(f"gobelin report {output} shows what went, and why")
        raise
    _say_summary(output, screen)
    _say_where(output, screen)
    return 0


def _say_summary(output: str, screen: Screen) -> None:
    from gobelin.pipeline.run.run_summary import summary_lines

    screen.say("")
    for line in summary_lines(output):
        screen.say(line)


def _say_where(output: str, screen: Screen) -> None:
    from gobelin.store.files import exists
    from gobelin.store.paths import join

    for name in ("report/index.html", "sample/index.html", "run.json"):
        if exists(join(output, name)):
            screen.say(f"{name.split('/')[0].removesuffix('.json'):<10}{join(output, name)}")
