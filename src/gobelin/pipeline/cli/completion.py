"""``gobelin completion``: what bash, zsh and fish load to complete commands, options, choices and names of files."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

Shell = Literal["bash", "zsh", "fish"]


def completion(
    shell: Annotated[Shell, Parameter(metavar="SHELL", help="for which shell")],
    /,
    *,
    install: Annotated[
        bool,
        Parameter(help="write it where the shell looks for it, and a line into its start-up file where it needs one"),
    ] = False,
) -> int:
    """Prints the script, or installs it: ``eval "$(gobelin completion bash)"``."""
    from gobelin.pipeline.cli.main import build_app

    if install:
        print(build_app().install_completion(shell=shell))
    else:
        print(build_app().generate_completion(shell=shell))
    return 0
