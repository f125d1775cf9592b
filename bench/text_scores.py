"""Measures the text scores of a document: documents per CPU-second of each part, on the pages of archives.

    python bench/text_scores.py --input 'crawl/*.warc.gz'

Pages are extracted first, and this is not timed. The parts are the statistics of every text and of the whole document;
personal data, also with a check of the whole document first; contamination, against an evaluation set of passages of
the pages themselves; and all scores of the stage `score` for a document (`measure_document`: these, MinHash and keys),
without and with contamination. The fastest of the repeats counts, on one thread. The bench also times the slowest
megabyte of hostile text.
"""

from __future__ import annotations

import argparse
import glob
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gobelin.data.model import Role, to_row
from gobelin.transforms.archives.ranges import ArchiveRange
from gobelin.transforms.archives.read_warc import PageCapture, read_range
from gobelin.transforms.extract.config import ExtractConfig
from gobelin.transforms.extract.extract_page import PageDraft, extract_page
from gobelin.transforms.score.config import ScoreConfig
from gobelin.transforms.score.measure import measure_document
from gobelin.transforms.text.contamination import find_contamination, load_eval_texts
from gobelin.transforms.text.pii import count_pii, kinds_in
from gobelin.transforms.text.text_config import ContaminationConfig
from gobelin.transforms.text.text_resources import load_text_resources
from gobelin.transforms.text.text_statistics import PARAGRAPH_MIN_TOKENS, count_text, document_statistics, statistics_of

Row = dict[str, Any]

EVAL_EVERY = 40
"""Of the texts, every so many-th is taken as a passage of the evaluation set."""
HOSTILE = (
    "@",
    "x@a-",
    "1:1:1:1 ",
    "111.1.1.1 ",
    "+12345678901 ",
    "4111 1111 1111 1111 ",
    "DE00 ",
    "sk-",
    "a.",
    "token=a1",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, help="quoted glob of WARC files")
    parser.add_argument("--repeat", type=int, default=5, help="runs; the fastest counts (%(default)s)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    documents = read_documents(options.input)
    num_chars = sum(len(text) for document in documents for text in texts_of(document))
    num_texts = sum(len(texts_of(document)) for document in documents)
    print(f"{len(documents)} documents of {num_texts / len(documents):.0f} texts and "
          f"{num_chars / len(documents):,.0f} characters")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        contamination = evaluation_set(documents, Path(folder, "passages.txt"))
        index = load_eval_texts(contamination)
        plain, full = ScoreConfig(), ScoreConfig(contamination=contamination)
        resources = [load_text_resources(config.text, config.contamination) for config in (plain, full)]
        parts: dict[str, Callable[[Row], Any]] = {
            "statistics": statistics,
            "personal data, text by text": lambda document: [count_pii(text) for text in texts_of(document)],
            "personal data, the document first": lambda document: kinds_in("\n\n".join(texts_of(document))),
            "contamination": lambda document: find_contamination(texts_of(document), index),
            "measure_document": lambda document: measure_document(document, plain, resources[0]),
            "measure_document, contamination too": lambda document: measure_document(document, full, resources[1]),
        }
        for name, part in parts.items():
            seconds = min(seconds_of(part, documents) for _ in range(options.repeat))
            speed = f"{len(documents) / seconds:8,.0f} documents/s {num_chars / seconds / 1e6:6.1f} M characters/s"
            print(f"{name:38} {speed}")
    slowest = max((seconds_of(count_pii, [unit * (1_000_000 // len(unit))]), unit) for unit in HOSTILE)
    print(f"personal data, a megabyte of {slowest[1]!r}: {slowest[0]:.2f} s")


def read_documents(pattern: str) -> list[Row]:
    """Rows of ``DOCUMENTS`` of the archives' pages, images not looked up."""
    config = ExtractConfig()
    rows = []
    for path in sorted(glob.glob(pattern)):
        for found in read_range(ArchiveRange(path), config.max_page_bytes, config.max_page_bytes):
            if isinstance(found, PageCapture):
                draft, _ = extract_page(found.capture, config)
                if isinstance(draft, PageDraft):
                    rows.append(to_row(draft.document))
    return rows


def texts_of(document: Row) -> list[str]:
    """The texts of a document's nodes."""
    return [node["text"] for node in document["nodes"] if node["kind"] == "text"]


def evaluation_set(documents: list[Row], path: Path) -> ContaminationConfig:
    """Passages of the documents as an evaluation set."""
    texts = [text for document in documents for text in texts_of(document) if len(text) > 200]
    path.write_text("\n\n".join(texts[::EVAL_EVERY]), encoding="utf-8")
    return ContaminationConfig(texts=(str(path),))


def statistics(document: Row) -> None:
    """Statistics of every text and of the whole."""
    language = document["language"]
    prose = []
    for node in document["nodes"]:
        if node["kind"] == "text":
            counts = count_text(node["text"], language, None, node["role"] == Role.LIST_ITEM)
            statistics_of(counts, PARAGRAPH_MIN_TOKENS)
            if node["role"] != Role.CODE:
                prose.append(counts)
    document_statistics(prose, language)


def seconds_of(part: Callable[[Any], Any], items: list[Any]) -> float:
    """CPU-seconds of this process for all items."""
    start = time.process_time()
    for item in items:
        part(item)
    return time.process_time() - start


if __name__ == "__main__":
    main()
