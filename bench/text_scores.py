"""What the text scores of a document cost: documents per CPU-second of each part, on the pages of archives.

    python bench/text_scores.py --input 'crawl/*.warc.gz' [--all] [--repeat 5]

Pages are extracted first, which is not timed. Parts: the statistics of every text and of the whole document; personal
data; with `--all` also what asks for a file of the user's (common words, an evaluation set, a language model), on
files made up here of the pages themselves. `measure_document` is all that the stage `score` does for a document.
The fastest of the repeats counts; one thread.
"""

from __future__ import annotations

import argparse
import glob
import logging
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from gobelin.documents import to_row
from gobelin.transforms.archive_ranges import ArchiveRange
from gobelin.transforms.extract import PageDraft, extract_page
from gobelin.transforms.extract_config import ExtractConfig
from gobelin.transforms.read_warc import PageCapture, read_range

Row = dict[str, Any]


def read_documents(pattern: str, limit: int) -> list[Row]:
    """Rows of ``DOCUMENTS`` of the archives' pages, images not looked up."""
    config = ExtractConfig()
    rows = []
    for path in sorted(glob.glob(pattern)):
        for found in read_range(ArchiveRange(path), config.max_page_bytes, config.max_page_bytes):
            if isinstance(found, PageCapture):
                draft, _ = extract_page(found.capture, config)
                if isinstance(draft, PageDraft):
                    rows.append(to_row(draft.document))
    return rows[:: max(1, len(rows) // limit)]


if __name__ == "__main__":
    import pickle

    logging.disable(logging.WARNING)
    rows = read_documents(sys.argv[1], 10000)
    pickle.dump(rows, open("/tmp/text/rows.pickle", "wb"))
    print(len(rows))
