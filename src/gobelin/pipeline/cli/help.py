"""The output of ``--help``: plain text, with options in groups.

cyclopts prints its help with rich, whose import takes longer than the rest of `gobelin --help`. So this module reads
the options from cyclopts and prints them itself.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Iterator
from typing import cast

from cyclopts import App, Group
from cyclopts.argument import Argument

from gobelin.pipeline.cli.options import DEFAULTS

_MAX_WIDTH = 120
_COLUMN = 26  # where explanations begin

EXIT_CODES = """\
Exit codes: 0 done, 1 a step failed or gobelin has a defect, 2 the recipe, input or output cannot be used, 130 stopped
by Ctrl-C."""


def help_text(app: App, words: Iterable[str]) -> str:
    """The help of the command that the words of a command line name, as far as they name one."""
    names, apps, _ = app.parse_commands([word for word in words if not word.startswith("-")])
    named = apps[-1]
    width = min(shutil.get_terminal_size().columns, _MAX_WIDTH)
    commands = [name for name in named if not name.startswith("-")]
    lines = [_usage(" ".join([app.name[0], *names]), named), "", *_wrapped(named.help, width, "")]
    if commands:
        lines += ["", "Commands:"]
        for name in commands:
            lines += _entry(name, named[name].help, width)
    for group, arguments in _grouped(named).items():
        lines += ["", f"{group}:"]
        for argument in arguments:
            lines += _entry(_label(argument), _about(argument), width)
    if named.help_epilogue:
        lines += ["", named.help_epilogue]
    return "\n".join(lines)


def usage_of(app: App, words: Iterable[str]) -> str:
    """The usage line of the command that the words of a command line name."""
    names, apps, _ = app.parse_commands([word for word in words if not word.startswith("-")])
    return _usage(" ".join([app.name[0], *names]), apps[-1])


def _usage(name: str, app: App) -> str:
    if app.default_command is None:
        return f"usage: {name} COMMAND ..."
    arguments = _arguments(app)
    places = [each for each in arguments if _is_positional(each)]
    named = [_metavar(each) + ("..." if _takes_many(each) else "") for each in places]
    positional = [word if each.required else f"[{word}]" for word, each in zip(named, places)]
    required = [f"{each.name} {_metavar(each)}" for each in arguments if each.required and not _is_positional(each)]
    return " ".join(["usage:", name, *positional, *required, "[OPTIONS]"])


def _arguments(app: App) -> list[Argument]:
    if app.default_command is None:
        return []
    return list(app.assemble_argument_collection(default_parameter=DEFAULTS).filter_by(parse=True, show=True))


def _grouped(app: App) -> dict[str, list[Argument]]:
    """Arguments by the title of their group, in the order of the command's parameters."""
    groups: dict[str, list[Argument]] = {}
    for argument in _arguments(app):
        (group,) = cast(tuple[Group], argument.parameter.group)
        groups.setdefault(group.name.replace("Parameters", "Options"), []).append(argument)
    return groups


def _is_positional(argument: Argument) -> bool:
    return argument.field_info.is_positional and argument.index is not None


def _takes_many(argument: Argument) -> bool:
    return argument.token_count()[1]


def _metavar(argument: Argument) -> str:
    return argument.parameter.metavar or argument.name.lstrip("-").upper()


def _label(argument: Argument) -> str:
    options = [name for name in argument.names if name.startswith("-")]
    named = ", ".join(options) + ("" if argument.is_flag() else f" {_metavar(argument)}")
    if not _is_positional(argument):
        return named
    return f"{_metavar(argument)}, {named}" if options else _metavar(argument)


def _about(argument: Argument) -> str:
    choices = argument.get_choices()
    about = argument.parameter.help or ""
    return f"{about}: {', '.join(choices)}" if choices else about


def _entry(label: str, about: str, width: int) -> Iterator[str]:
    """A label with its description beside it, or below it if the label is long."""
    lines = _wrapped(about, width, " " * _COLUMN)
    first = f"  {label}"
    if len(first) + 2 <= _COLUMN and lines:
        yield first.ljust(_COLUMN) + lines.pop(0).lstrip()
    else:
        yield first
    yield from lines


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
