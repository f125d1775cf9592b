"""``gobelin browse``: a local page to inspect runs, move thresholds and judge decisions."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from gobelin.pipeline.cli.options import FILES, MACHINE, RunFolder

_COMPARED = Parameter(group=FILES, metavar="OTHER", help="another run to compare with")
_PORT = Parameter(group=MACHINE, metavar="N", help="port on 127.0.0.1 (any free port)")
_OPEN = Parameter(group=MACHINE, negative=(), help="open the page in the browser")


def browse(
    output: RunFolder,
    other: Annotated[RunFolder | None, _COMPARED] = None,
    /,
    *,
    port: Annotated[int, _PORT] = 0,
    open: Annotated[bool, _OPEN] = False,
) -> int:
    """Serves a page about one run, or two, until Ctrl-C."""
    import contextlib
    import webbrowser

    from gobelin.pipeline.browse.answers import Answers
    from gobelin.pipeline.browse.collection import Collection
    from gobelin.pipeline.browse.server import BrowseServer
    from gobelin.pipeline.run.progress_bar import Screen

    screen = Screen()
    runs = []
    for folder in [output] if other is None else [output, other]:
        runs.append(Collection(folder.rstrip("/") or "/"))
        screen.say(f"{folder}: {len(runs[-1].columns.ids):,} documents read")
    with BrowseServer(Answers(runs), port) as server:
        print(server.url, flush=True)
        screen.say("The address is yours alone: whoever has it can read the run. Ctrl-C ends it.")
        if open:
            webbrowser.open(server.url)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0
