"""The command line: ``gobelin run``, each stage alone, ``export`` and ``import``, ``recipe``."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gobelin.errors import DEFECT, UserError, in_a_line, is_of_the_machine, write_traceback
from gobelin.pipeline.heads_cli import add_heads, run_heads
from gobelin.pipeline.stage_names import STAGES

if TYPE_CHECKING:
    from gobelin.pipeline.progress_bar import Screen
    from gobelin.pipeline.run import Run

_ABOUT = {
    "run": "run all stages, or go on where an earlier run stopped",
    "extract": "WARC files -> documents and images",
    "score": "measure documents and images: text statistics, duplicates, image-text similarity",
    "select": "scores and the recipe's thresholds -> the corpus, with a reason for everything left out",
    "tokenize": "the corpus -> token shards (text by BPE, images by VQ-VAE)",
    "train": "token shards -> a mixed-token language model",
    "sample": "the model -> pictures and texts, as a page",
    "report": "what happened, as one HTML page with pictures",
}

_EPILOG = """\
Everything after -- goes to Beam:
  gobelin run --recipe obelics --input 's3://b/*.warc.gz' --output OUT --runner FlinkRunner -- --flink_master=HOST:8081

Exit codes: 0 done, 1 a step failed or gobelin has a defect, 2 the recipe, input or output cannot be used, 130 stopped
by Ctrl-C.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="gobelin",
        description="From web archives to interleaved image-text training data, and to a model trained on it.",
        epilog="`gobelin COMMAND --help` says more about each command.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, about in _ABOUT.items():
        _add_stage(commands, name, about)
    _add_exchange(commands)
    explain = commands.add_parser("explain", help="the whole story of one page or image: found, scored, decided")
    explain.add_argument("subject", help="URL of a page or an image, doc_id or image_id, or the beginning of an id")
    explain.add_argument(
        "--output", required=True, metavar="FOLDER", help="output folder of a run, local, s3:// or gs://"
    )
    explain.add_argument(
        "--all-scores",
        dest="all_scores",
        action="store_true",
        help="of texts and pictures too, every score; otherwise those that a rule of the recipe compares",
    )
    about = "read every file of an output folder and compare it with the manifests: missing, short, altered"
    check = commands.add_parser("check", help=about, description=about)
    check.add_argument("output", metavar="FOLDER", help="output folder of a run, local, s3:// or gs://")
    _add_recipe(commands)
    add_heads(commands)
    return parser


FORMATS = ("jsonl", "mmc4", "nemo", "obelics", "parquet", "webdataset")
"""Names of the formats that are written and read; a test holds them against ``exchange/formats.py``."""


def _add_exchange(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "documents as a data set of a known format; or, as JSON lines, documents or what was left out and why"
    export = commands.add_parser("export", help=about, description=about)
    export.add_argument("output", nargs="?", help="output folder of a run")
    export.add_argument("--output", dest="named_output", metavar="FOLDER", help="the same, by name")
    export.add_argument(
        "--stage",
        choices=("extract", "score", "select", "tokenize"),
        default="select",
        help="of which stage (%(default)s)",
    )
    export.add_argument(
        "--decisions",
        action="store_true",
        help="instead of documents, everything that the stage left out or changed: rule, value, threshold",
    )
    export.add_argument("--format", choices=FORMATS, default="jsonl", help="(%(default)s)")
    export.add_argument(
        "--to",
        metavar="FOLDER",
        help="an empty folder, local, s3:// or gs://; without it, JSON lines go to standard output",
    )
    export.add_argument(
        "--with-images",
        action="store_true",
        help="put the images' bytes beside formats that hold addresses alone (jsonl, mmc4, obelics)",
    )
    about = "documents of another data set, in place of web archives: makes the stage `extract` of an output folder"
    importing = commands.add_parser("import", help=about, description=about)
    importing.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="files of the format, or folders that hold them; local, s3:// or gs://",
    )
    importing.add_argument("--format", choices=FORMATS, required=True, help="what they are")
    importing.add_argument("--output", required=True, metavar="FOLDER", help="where everything is written")
    importing.add_argument("--recipe", required=True, metavar="RECIPE", help="a preset or a YAML file")
    importing.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="change a setting first"
    )
    importing.add_argument("--scratch", metavar="FOLDER", help="local folder for logs and temporary files")
    importing.add_argument("--quiet", action="store_true", help="say nothing but errors")


def _add_recipe(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    recipe = commands.add_parser("recipe", help="list presets; show, compare and check recipes")
    actions = recipe.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="the presets that come with gobelin")
    for name, about in (
        ("show", "a recipe with every default, each field explained"),
        ("diff", "what tells two recipes apart"),
        ("check", "read a recipe; what in it cannot work as it stands"),
    ):
        action = actions.add_parser(name, help=about, description=about)
        action.add_argument("name", metavar="RECIPE", help="a preset or a YAML file")
        if name == "diff":
            action.add_argument("other", metavar="OTHER", help="another one")
        if name == "show":
            action.add_argument("--plain", action="store_true", help="without the explanations")
        action.add_argument(
            "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="change a setting first"
        )


def _add_stage(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str) -> None:
    command = commands.add_parser(
        name, help=about, description=about, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument(
        "--output",
        required=True,
        metavar="FOLDER",
        help="where everything is written: a local folder, or one on s3:// or gs://",
    )
    command.add_argument(
        "--recipe",
        metavar="RECIPE",
        help="a preset (`gobelin recipe list`) or a YAML file; not needed again for a folder that has one",
    )
    command.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="PATTERN",
        help="path or quoted glob of WARC files, local, gs:// or s3://; may be given more than once; not needed again "
        "for a folder that has one",
    )
    command.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one setting of the recipe, as in select.image.min_side_px=100; may be given more than once",
    )
    command.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes of a local run (%(default)s: all cores)"
    )
    command.add_argument(
        "--runner",
        default="local",
        help="where Beam's graphs run: local (Beam's in-process runner, in worker processes) or one of Beam's: "
        " FlinkRunner, DataflowRunner, PortableRunner (%(default)s)",
    )
    command.add_argument(
        "--scratch",
        metavar="FOLDER",
        help="local folder for logs and temporary files (the output folder; for one on a store, one in ~/.cache)",
    )
    command.add_argument("--quiet", action="store_true", help="say nothing but errors")
    if name == "select":
        command.add_argument(
            "--what-if",
            dest="what_if",
            action="append",
            default=[],
            metavar="RULE=VALUE",
            help="write nothing: say what another threshold would change, as in image.min_side_px=100",
        )
    if name == "run":
        command.add_argument("--until", choices=STAGES, help="stop after this stage")


def main(argv: Sequence[str] | None = None, owns_process: bool = False) -> int:
    """Runs one command; returns its exit code.

    Args:
        owns_process: this process does nothing else, so that worker processes may be forked from it.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    beam_args: list[str] = []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, beam_args = arguments[:cut], arguments[cut + 1 :]
    if any(argument.split("=")[0] == "--runner" for argument in beam_args):
        print("gobelin: give --runner before the --, it is gobelin's own option", file=sys.stderr)
        return 2
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.ERROR, force=True)
    from gobelin.pipeline.supervisor import StepFailedError

    try:
        if options.command == "export":
            return _export(options)
        if options.command == "import":
            return _import(options)
        if options.command == "recipe":
            return _recipe(options)
        if options.command == "explain":
            return _explain(options)
        if options.command == "check":
            return _check(options)
        if options.command == "heads":
            for line in run_heads(options):
                print(line)
            return 0
        return _run(options, beam_args, owns_process)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except StepFailedError as error:
        print(f"gobelin: {error}", file=sys.stderr)
        return 1
    except UserError as error:
        print(f"gobelin: {in_a_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ngobelin: stopped. What is done stays; the same command goes on from here.", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001  # the boundary of the command line
        if is_of_the_machine(error):
            print(f"gobelin: {in_a_line(error)}", file=sys.stderr)
            return 2
        lies_in = write_traceback(_logs_of(options))
        print(f"gobelin: {in_a_line(error)}; {DEFECT}; the traceback lies in {lies_in}", file=sys.stderr)
        return 1


def _logs_of(options: argparse.Namespace) -> str | None:
    output = getattr(options, "output", None)
    if output is None:
        return None
    from gobelin.pipeline.scratch import scratch_folder

    return scratch_folder(str(output), getattr(options, "scratch", None))


def _terminate(number: int, _: object) -> None:
    """A request to end: worker processes are stopped on the way out."""
    raise SystemExit(128 + number)


def _run(options: argparse.Namespace, beam_args: list[str], owns_process: bool) -> int:
    if options.workers < 1:
        raise UserError(f"--workers must be at least 1, got {options.workers}")
    if options.scratch is not None:
        from gobelin.pipeline.scratch import scratch_folder

        scratch_folder(options.output, options.scratch)  # before workers are forked, which write there, too
    if owns_process and options.runner == "local" and not getattr(options, "what_if", None):
        from gobelin.pipeline.worker_pool import fork_server

        fork_server()
    from gobelin.pipeline.progress_bar import Screen
    from gobelin.pipeline.run import open_run

    screen = Screen(options.quiet)
    with open_run(
        options.output,
        options.recipe,
        options.overrides,
        options.input,
        options.workers,
        screen,
        options.runner,
        beam_args,
        writes=not getattr(options, "what_if", None),
        scratch=options.scratch,
    ) as run:
        return _run_stages(options, run, screen)


def _run_stages(options: argparse.Namespace, run: Run, screen: Screen) -> int:
    from gobelin.pipeline.recipe import RecipeError
    from gobelin.pipeline.recipe_help import warnings_of
    from gobelin.pipeline.recipe_values import other_clip_model, unusable_inputs
    from gobelin.store.files import exists
    from gobelin.store.paths import join

    if options.command == "run":
        stages = STAGES[: STAGES.index(options.until) + 1] if options.until else STAGES
    else:
        for earlier in STAGES[: STAGES.index(options.command)]:
            if options.command != "report":
                run.require(earlier)
        stages = (options.command,)
        if getattr(options, "what_if", None):
            from gobelin.pipeline.what_if import what_if

            for line in what_if(str(options.output), run.recipe, tuple(options.what_if)):
                print(line)
            return 0
    if "select" in stages:
        for warning in warnings_of(run.recipe):
            screen.say(f"warning: {warning}")
    if "score" in stages and not run.is_done("score"):
        unusable = unusable_inputs(run.recipe) + (other_clip_model(run.recipe) if "select" in stages else [])
        if unusable:
            raise RecipeError(f"recipe {run.recipe.name}: {'; '.join(unusable)}")
    try:
        with screen.live():
            for stage in stages:
                run.stage(stage, screen)
    except UserError:
        _say_summary(options.output, screen)
        if "report" in stages:
            screen.say(f"gobelin report --output {options.output} shows what went, and why")
        raise
    _say_summary(options.output, screen)
    for name in ("report/index.html", "sample/index.html", "run.json"):
        if exists(join(options.output, name)):
            screen.say(f"{name.split('/')[0].removesuffix('.json'):<10}{join(options.output, name)}")
    return 0


def _say_summary(output: str, screen: Screen) -> None:
    from gobelin.pipeline.run import summary_lines

    screen.say("")
    for line in summary_lines(output):
        screen.say(line)


def _export(options: argparse.Namespace) -> int:
    from gobelin.pipeline.export import SOURCES, export_corpus, export_decisions, export_documents

    if (options.output is None) == (options.named_output is None):
        raise UserError("export of which run? Give its output folder, once: gobelin export OUT")
    options.output = options.output or options.named_output
    if options.to is None and (options.format != "jsonl" or options.with_images):
        raise UserError(f"--format {options.format} makes files: give --to FOLDER, an empty one")
    if options.decisions and (options.to is not None or options.format != "jsonl"):
        raise UserError("--decisions are JSON lines on standard output: leave --to and --format out")
    if options.to is not None and options.stage in SOURCES:
        summary = export_corpus(options.output, options.stage, options.format, options.to, options.with_images)
        print(json.dumps(summary, indent=2, allow_nan=False))
        return 0
    if options.decisions:
        export_decisions(options.output, options.stage, sys.stdout)
    elif options.stage in SOURCES:
        export_documents(options.output, options.stage, sys.stdout)
    else:
        raise UserError(
            f"stage {options.stage} holds no documents: give --stage {' or '.join(SOURCES)}, or --decisions"
        )
    return 0


def _import(options: argparse.Namespace) -> int:
    from gobelin.pipeline.import_corpus import run_import
    from gobelin.pipeline.progress_bar import Screen
    from gobelin.pipeline.run import summary_lines

    screen = Screen(options.quiet)
    with screen.live():
        run_import(
            options.output, options.recipe, options.overrides, options.format, options.sources, screen, options.scratch
        )
    for line in summary_lines(options.output):
        screen.say(line)
    return 0


def _recipe(options: argparse.Namespace) -> int:
    from gobelin.pipeline.recipe import PRESETS, load_recipe, preset_names, to_yaml
    from gobelin.pipeline.recipe_help import differences, explained_yaml, warnings_of
    from gobelin.pipeline.recipe_values import other_clip_model, unusable_inputs
    from gobelin.transforms.duplicates.minhash import curve

    if options.action == "list":
        for name in preset_names():
            first = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
            print(f"{name:<16}{first.removeprefix('#').strip()}")
        return 0
    recipe = load_recipe(options.name, tuple(options.overrides))
    if options.action == "show":
        print(to_yaml(recipe) if options.plain else explained_yaml(recipe), end="")
    elif options.action == "diff":
        for key, left, right in differences(recipe, load_recipe(options.other)):
            print(f"{key}: {_value(left)} -> {_value(right)}")
    else:
        warnings = warnings_of(recipe)
        for warning in warnings:
            print(f"warning: {warning}")
        unusable = unusable_inputs(recipe) + other_clip_model(recipe)
        for line in unusable:
            print(f"error: {line}")
        noted = f", with {len(warnings)} warning{'s' if len(warnings) > 1 else ''}" if warnings else ""
        print(
            f"recipe {recipe.name} cannot be used as it stands"
            if unusable
            else f"recipe {recipe.name} can be used{noted}"
        )
        print(f"\n{curve(recipe.score.minhash)}")
        return 2 if unusable else 0
    return 0


def _value(value: object) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def _check(options: argparse.Namespace) -> int:
    from gobelin.pipeline.check_output import check_output

    num_problems = 0
    for told, problems in check_output(options.output.rstrip("/") or "/"):
        print(told, flush=True)
        for problem in problems:
            print(f"  {problem}", flush=True)
        num_problems += len(problems)
    print(f"{num_problems:,} {'problem' if num_problems == 1 else 'problems'}")
    return 1 if num_problems else 0


def _explain(options: argparse.Namespace) -> int:
    from gobelin.pipeline.explain import explain

    for line in explain(options.output, options.subject, options.all_scores):
        print(line)
    return 0


def entry() -> None:
    """The console script."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    sys.exit(main(owns_process=True))
