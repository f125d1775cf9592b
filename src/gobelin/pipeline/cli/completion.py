"""``gobelin completion``: scripts for bash, zsh and fish that complete commands, options, choices and file names."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

Shell = Literal["bash", "zsh", "fish"]


def completion(
    shell: Annotated[Shell, Parameter(metavar="SHELL", help="the shell")],
    /,
    *,
    install: Annotated[
        bool,
        Parameter(help="install the script for the shell, with a line in the shell's start-up file if that is needed"),
    ] = False,
) -> int:
    """Prints the script, or installs it: ``eval "$(gobelin completion bash)"``."""
    from gobelin.pipeline.cli.main import build_app

    if install:
        print(build_app().install_completion(shell=shell))
    else:
        print(build_app().generate_completion(shell=shell))
    return 0
