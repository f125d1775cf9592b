"""trafilatura from archives to text, in its own environment: `extract` with its defaults on what FastWARC reads.

    python read_trafilatura.py FOLDER

Prints how many documents came out. Started by ../extraction_speed.py, which counts the CPU of this process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fastwarc.warc import ArchiveIterator, WarcRecordType
from trafilatura import extract


def main() -> int:
    documents = characters = 0
    for path in sorted(Path(sys.argv[1]).glob("*.warc.gz")):
        with path.open("rb") as stream:
            for record in ArchiveIterator(stream, record_types=WarcRecordType.response):
                if record.http_content_type == "text/html":
                    text = extract(record.reader.read())
                    documents += bool(text)
                    characters += len(text or "")
    print(json.dumps({"documents": documents, "characters": characters}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
