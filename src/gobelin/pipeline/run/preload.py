"""Prepares the process that workers are forked from: imports of Beam and the graphs (nothing that needs torch), caches
for Beam, and decoding processes that are reused by later tasks.

``import apache_beam`` also imports the clients of MongoDB, S3 and HDFS, which takes a third of its time. Local graphs
use none of Beam's file systems, because gobelin.store has its own. So this module hides these clients during the
import, and Beam treats them as not installed.
"""

import logging
import sys

_LEFT_OUT = ("boto3", "bson", "hdfs", "pymongo")

# Importing Beam logs a warning about missing Google packages, which would configure logging permanently.
logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
logging.disable(logging.WARNING)
_left_out = [name for name in _LEFT_OUT if name not in sys.modules]
sys.modules.update(dict.fromkeys(_left_out))  # type: ignore[arg-type]  # None: an import of it fails

import apache_beam  # noqa: E402
import apache_beam.runners.portability.fn_api_runner  # noqa: E402, F401  # otherwise with the first pipeline

for _name in _left_out:
    del sys.modules[_name]

import gobelin.pipeline.run.open_run  # noqa: E402, F401
from gobelin.pipeline.run.fast_beam import install  # noqa: E402
from gobelin.transforms.images.image_sandbox import keep_children  # noqa: E402

keep_children()
install()
logging.disable(logging.NOTSET)
