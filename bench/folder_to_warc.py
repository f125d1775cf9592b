"""Writes a folder of HTML and images as a web archive, so that bench/extraction.py can run on sites that nobody tuned
it for.

    python bench/folder_to_warc.py FOLDER http://example.org/manual/ OUT/web/manual.warc.gz --pages 200

Debian's documentation packages (gimp-help-en, kicad-doc-en; `apt-get download`, `dpkg -x`) hold such folders. --pages
takes this number of pages, chosen by a hash of their path, and every image.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import mimetypes
import sys
from pathlib import Path
from urllib.parse import quote, urljoin

from extraction_speed import response


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("url")
    parser.add_argument("archive", type=Path)
    parser.add_argument("--pages", type=int, default=200, help="at most so many pages (%(default)s)")
    options = parser.parse_args()
    kinds = {path: mimetypes.guess_type(path.name)[0] or "" for path in options.folder.rglob("*") if path.is_file()}
    pages = sorted((path for path, kind in kinds.items() if kind == "text/html"), key=lambda path: _digest(path.name))
    images = sorted(path for path, kind in kinds.items() if kind.startswith("image/"))
    options.archive.parent.mkdir(parents=True, exist_ok=True)
    with options.archive.open("wb") as stream:
        for path in [*pages[: options.pages], *images]:
            url = urljoin(options.url, quote(str(path.relative_to(options.folder))))
            kind = "text/html; charset=utf-8" if path in pages else kinds[path]
            stream.write(gzip.compress(response(url, kind, path.read_bytes()), 1, mtime=0))
    return 0


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


if __name__ == "__main__":
    sys.exit(main())
