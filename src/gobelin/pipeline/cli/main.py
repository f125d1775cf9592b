"""The command line: ``gobelin COMMAND``. Commands are defined in the modules of this folder, by group. Each module is
imported when it is called.

cyclopts reads the options from the functions' signatures (docs/benchmarks.md has its cost). Beam, pyarrow and pydantic
are imported inside the commands that need them.
"""

from __future__ import annotations

import atexit
import contextlib
import inspect
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from cyclopts import App, CycloptsError
from cyclopts.exceptions import MissingArgumentError, UnusedCliTokensError

from gobelin.errors import DEFECT, UserError, in_a_line, is_full, is_of_the_machine, write_traceback
from gobelin.pipeline.cli.help import EXIT_CODES, help_text, usage_of
from gobelin.pipeline.cli.options import DEFAULTS, Call
from gobelin.pipeline.cli.pages import with_page

_ABOUT_BEAM = f"""\
Everything after -- goes to Beam:
  gobelin run --recipe obelics --input 's3://b/*.warc.gz' --output OUT --runner FlinkRunner -- --flink_master=HOST:8081

{EXIT_CODES}"""

_STOPPED = "stopped. What is finished stays, what was under way is done again: the same command goes on from here."

_STAGES = {
    "run": "run all stages, or go on where an earlier run stopped",
    "extract": "WARC files -> documents and images",
    "score": "measure documents and images: text statistics, duplicates, image-text similarity",
    "select": "scores and the recipe's thresholds -> the corpus, with a reason for everything left out",
    "tokenize": "the corpus -> token shards (text by BPE, images by VQ-VAE)",
    "train": "token shards -> a mixed-token language model",
    "sample": "the model -> pictures and texts, as a page; with --prompt or --image, of what you ask for",
    "report": "what happened, as one HTML page with pictures",
}

_WITHOUT_BEAM = ("train", "sample", "report")

_OTHERS = {
    "export": (
        "exchange:export",
        "documents as a data set of a known format; or, as JSON lines, documents or what was left out and why",
    ),
    "card": (
        "exchange:card",
        "the data card of a corpus or an export: what it holds, licences, filters, limits, how to load it",
    ),
    "import": (
        "exchange:import_",
        "documents of another data set, in place of web archives: makes the stage `extract` of an output folder",
    ),
    "fit-tokenizer": (
        "tokenizers:fit_tokenizer",
        "an image tokenizer for pictures of your own: of a run, a folder, Parquet files",
    ),
    "chat": ("chat:chat", "a page on this machine, to write and draw with the model of a run in turns"),
    "ablate": (
        "ablate:ablate",
        "does curation help? models of equal cost on raw, curated, random and dropped documents, with intervals",
    ),
    "explain": ("look:explain", "the whole story of one page or image: found, scored, decided"),
    "status": (
        "look:status",
        "how a run is going: which stage, how far, how fast, since when, by whom, the last error; from anywhere",
    ),
    "browse": (
        "browse:browse",
        "a page on this machine: look through a run, drag thresholds, compare two runs, judge decisions by eye",
    ),
    "check": (
        "look:check",
        "read every file of an output folder and compare it with the manifests: missing, short, altered",
    ),
    "check-setup": (
        "look:check_setup",
        "has this machine all that a recipe needs? packages, files, weights, devices, rights, room",
    ),
    "completion": ("completion:completion", "what makes a shell complete gobelin's commands and options"),
}

_GROUPS = {
    "recipe": ("recipe:app", "list presets; show, compare and check recipes"),
    "shards": ("shards:app", "token shards: what they hold, a row drawn back as text and pictures"),
    "tokenizer": ("tokenizers:app", "image tokenizers: convert published ones, look at one"),
    "heads": ("heads:app", "networks on CLIP embeddings: convert published ones, train your own"),
}


def build_app() -> App:
    """The whole command line."""
    app = App(
        name="gobelin",
        help="From web archives to interleaved image-text training data, and to a model trained on it.",
        help_epilogue="`gobelin COMMAND --help` describes each command.",
        version=_version,
        default_parameter=DEFAULTS,
        help_format="plaintext",
    )
    for name, about in _STAGES.items():
        app.command(
            f"{__package__}.{'sample' if name == 'sample' else 'stages'}:{name}",
            name=name,
            help=about,
            help_epilogue=EXIT_CODES if name in _WITHOUT_BEAM else _ABOUT_BEAM,
        )
    for name, (place, about) in (*_OTHERS.items(), *_GROUPS.items()):
        app.command(f"{__package__}.{place}", name=name, help=about)
    return app


def _version() -> str:
    from importlib.metadata import version

    return version("gobelin")


def main(argv: Sequence[str] | None = None, owns_process: bool = False) -> int:
    """Runs one command. Returns its exit code.

    Args:
        owns_process: this process does nothing else, so that worker processes may be forked from it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    beam_args: tuple[str, ...] = ()
    if "--" in words:
        cut = words.index("--")
        words, beam_args = words[:cut], tuple(words[cut + 1 :])
    if any(word.split("=")[0] == "--runner" for word in beam_args):
        print("gobelin: give --runner before the --, it is gobelin's own option", file=sys.stderr)
        return 2
    app = build_app()
    if not {"--help", "-h"}.isdisjoint(words):
        return _printed(help_text(app, words))
    if words == ["--version"]:
        return _printed(f"gobelin {_version()}")
    try:
        command, bound, injected = app.parse_args(words, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        print(f"gobelin: {_usage_error(error)}\n{usage_of(app, words)}", file=sys.stderr)
        return 2
    if _is_help(command):  # words that name a group of commands, and none in it
        print(help_text(app, words), file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.ERROR, force=True)
    return _call(command, bound, {name: Call(beam_args, owns_process) for name in injected})


def _is_help(command: Callable[..., Any]) -> bool:
    return isinstance(getattr(command, "__self__", None), App)


def _usage_error(error: CycloptsError) -> str:
    """An error in a command line, as one line."""
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        rest = " ".join(error.unused_tokens[:3]) + (" ..." if len(error.unused_tokens) > 3 else "")
        return f"unexpected arguments: {rest} (give archives after --input, and quote names with spaces)"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.argument.name
        return f"{name} {'needs a value' if error.keyword else 'is missing'}: {error.argument.parameter.help}"
    return " ".join(str(error).split())


def _call(command: Callable[..., int], bound: inspect.BoundArguments, injected: dict[str, Call]) -> int:
    """Calls a command. Turns an exception into a line and an exit code."""
    from gobelin.pipeline.run.supervisor import StepFailedError

    try:
        return command(*bound.args, **bound.kwargs, **injected)
    except BrokenPipeError:
        _discard_output()
        return 0
    except StepFailedError as error:
        print(f"gobelin: {_no_space(bound.arguments) if is_full(error) else with_page(str(error))}", file=sys.stderr)
        return 1
    except UserError as error:
        print(f"gobelin: {with_page(in_a_line(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\ngobelin: {_STOPPED}", file=sys.stderr)
        return 130
    except _TerminatedError as error:
        print(f"gobelin: {_STOPPED}", file=sys.stderr)
        return int(str(error.code))
    except Exception as error:  # noqa: BLE001  # the boundary of the command line
        if is_full(error):
            print(f"gobelin: {_no_space(bound.arguments)}", file=sys.stderr)
            return 2
        if is_of_the_machine(error):
            print(f"gobelin: {in_a_line(error)}", file=sys.stderr)
            return 2
        lies_in = write_traceback(_logs_of(bound.arguments))
        print(f"gobelin: {in_a_line(error)}; {DEFECT}; the traceback is in {lies_in}", file=sys.stderr)
        return 1


def _printed(text: str) -> int:
    """Prints a text. Returns the exit code."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _discard_output()
    except OSError as error:
        return _cannot_print(error)
    return 0


def _cannot_print(error: OSError) -> int:
    """Reports an output error. Returns the exit code."""
    print(f"gobelin: could not print everything: {error.strerror}", file=sys.stderr)
    _discard_output()
    return 2


def _discard_output() -> None:
    """Discards further output, as in ``gobelin ... | head``."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _no_space(arguments: dict[str, Any]) -> str:
    from gobelin.pipeline.run.scratch import fullest_folder

    folders = (arguments.get("output"), arguments.get("to"), _scratch_of(arguments))
    return f"no space left on {fullest_folder(folders)}; make room and give the same command again"


def _scratch_of(arguments: dict[str, Any]) -> str | None:
    return getattr(arguments.get("options"), "scratch", arguments.get("scratch"))


def _logs_of(arguments: dict[str, Any]) -> str | None:
    output = arguments.get("output")
    if output is None:
        return None
    from gobelin.pipeline.run.scratch import scratch_folder

    return scratch_folder(output, _scratch_of(arguments))


class _TerminatedError(SystemExit):
    """A request to end, by SIGTERM or SIGHUP. Its code is the exit code."""


def _terminate(number: int, _: object) -> None:
    """Handles a request to end. Worker processes are stopped while the exception propagates."""
    raise _TerminatedError(128 + number)


def entry() -> None:
    """The console script."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    _end_process(main(owns_process=True))


def _end_process(code: int) -> NoReturn:
    """Ends this process after Python's exit handlers, without calling C++ destructors.

    Arrow's thread pools may still have running threads at exit. Destroying a running thread aborts the process with
    exit code 134, after all output was written (apache/arrow issue 34314).
    """
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # nobody reads on, as in ``gobelin ... | head``
    except OSError as error:
        code = code or _cannot_print(error)
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)
