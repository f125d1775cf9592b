"""datatrove's way from archives to text, in its own environment: its WarcReader and its Trafilatura, one process.

    python read_warc.py FOLDER

Prints how many documents came out. A page may take a minute, not the second that datatrove allows by default, so that a
busy machine loses none. Started by ../extraction_speed.py, which counts the CPU of this process and its children.
"""

from __future__ import annotations

import json
import sys

from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.readers import WarcReader


def main() -> int:
    documents = characters = 0
    for document in Trafilatura(timeout=60).run(WarcReader(sys.argv[1]).run()):
        documents += 1
        characters += len(document.text)
    print(json.dumps({"documents": documents, "characters": characters}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
