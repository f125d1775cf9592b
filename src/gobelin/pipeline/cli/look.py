"""Read-only commands: ``explain``, ``status``, ``check`` for an output folder, and ``check-setup`` for a machine."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from gobelin.pipeline.cli.options import FILES, RECIPE, Address, Input, RecipeName, RunFolder, Sample, Settings
from gobelin.pipeline.run.stage_names import STAGES, Stage


def explain(
    subject: Annotated[
        str,
        Parameter(
            group=FILES,
            metavar="SUBJECT",
            help="URL of a page or an image, doc_id or image_id, or the beginning of an id",
        ),
    ],
    /,
    output: RunFolder,
    *,
    all_scores: Annotated[
        bool,
        Parameter(
            help="print all scores, including those of texts and pictures, instead of those that the recipe's rules use"
        ),
    ] = False,
) -> int:
    """Explains what each stage decided about one page or image."""
    from gobelin.pipeline.ask.explain import explain as lines_of

    for line in lines_of(output, subject, all_scores):
        print(line)
    return 0


def status(
    output: RunFolder,
    *,
    as_json: Annotated[bool, Parameter(name="--json", help="print one JSON object instead of lines")] = False,
) -> int:
    """Prints the progress of a run, on any machine that can read its folder."""
    import json

    from gobelin.pipeline.ask.status import describe, status_of

    found = status_of(output.rstrip("/") or "/")
    print(json.dumps(found, indent=1, ensure_ascii=False) if as_json else "\n".join(describe(found)))
    return 0


def check(output: RunFolder) -> int:
    """Compares every file with the manifests."""
    from gobelin.pipeline.ask.check_output import check_output

    num_problems = 0
    for told, problems in check_output(output.rstrip("/") or "/"):
        print(told, flush=True)
        for problem in problems:
            print(f"  {problem}", flush=True)
        num_problems += len(problems)
    print(f"{num_problems:,} {'problem' if num_problems == 1 else 'problems'}")
    return 1 if num_problems else 0


def check_setup(
    recipe: RecipeName,
    /,
    *,
    output: Annotated[
        Address | None,
        Parameter(
            group=FILES, metavar="FOLDER", help="output folder: check that it can be written and has enough space"
        ),
    ] = None,
    input: Annotated[list[Address] | None, Input] = None,
    sample: Annotated[float, Sample] = 1.0,
    settings: Settings = [],  # noqa: B006  # nobody changes it
    until: Annotated[Stage, Parameter(group=RECIPE, metavar="STAGE", help="the last stage to run")] = STAGES[-1],
) -> int:
    """Checks everything that a run of a recipe needs, and loads the models. Prints a line for each problem."""
    from gobelin.pipeline.recipe.recipe import load_recipe
    from gobelin.pipeline.run import preflight
    from gobelin.pipeline.run.inputs import find_archives
    from gobelin.pipeline.run.progress_bar import Screen

    screen, stages = Screen(), STAGES[: STAGES.index(until) + 1]
    loaded = load_recipe(recipe, tuple(settings))
    archives = find_archives(input, sample) if input else ()
    errors = preflight.problems(loaded, stages)
    warnings: list[str] = []
    if output is not None:
        errors += preflight.closed_folders(output)
        warnings = preflight.scarce_room(output, archives)
    for line in warnings:
        screen.say(f"warning: {line}")
    errors = errors or preflight.try_models(loaded, stages, screen)
    for line in errors:
        screen.say(f"error: {line}")
    outcome = f"{len(errors)} to mend" if errors else "it can run, but for the warning" if warnings else "all is there"
    screen.say(f"recipe {loaded.name}, up to {until}: {outcome}")
    return 2 if errors else 0
