"""``gobelin chat``: a local page to generate texts and images with the model of a run."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from gobelin.pipeline.cli.options import MACHINE, RunFolder, Settings


def chat(
    output: RunFolder,
    *,
    port: Annotated[int, Parameter(group=MACHINE, metavar="N", help="port of the page (any free port)")] = 0,
    settings: Settings = [],  # noqa: B006  # nobody changes it
) -> int:
    """Serves the page until it is stopped."""
    from gobelin.pipeline.ask.model_folder import open_model
    from gobelin.pipeline.chat.server import ChatServer
    from gobelin.pipeline.run.open_run import recipe_of
    from gobelin.store.paths import absolute

    output = absolute(output)
    recipe = recipe_of(output, None, settings)
    with ChatServer(open_model(output, recipe), recipe.sample.sampling, port) as server:
        print(f"{server.url}\nOpen this address in a browser on this machine; Ctrl-C ends it.", flush=True)
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            print()
    return 0
