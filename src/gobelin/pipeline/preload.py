"""What every worker process has imported before it is forked: Beam and the graphs. Nothing that needs torch."""

import logging

# Importing Beam logs a warning on missing Google packages, which would set up logging for good.
logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
logging.disable(logging.WARNING)

import gobelin.pipeline.run  # noqa: E402, F401

logging.disable(logging.NOTSET)
