"""Keeps the good pages of a sample crawl by its known truth: an independent set for ``gobelin ablate`` that no filter
chose.

    python -m examples.sample_crawl.make_crawl --output CRAWL --seed 2 --pages 120
    gobelin run --recipe small --input 'CRAWL/*.warc.gz' --output ALL --until extract
    gobelin export ALL --stage extract --format jsonl --with-images --to F
    python bench/true_pages.py --truth CRAWL/truth.jsonl F/*.jsonl
    gobelin import F --format jsonl --recipe small --output GOOD
    gobelin score GOOD

Keeps pages that should stay, with the texts and pictures that should stay on them. Of a group of copies it keeps all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def good_rows(rows: list[Row], truth: list[Row]) -> list[Row]:
    """Documents without what the truth says should go."""
    pages = {row["url"] for row in truth if row["unit"] == "page" and row["keep"]}
    bad_texts = {(row["url"], row["text"]) for row in truth if row["unit"] == "text" and not row["keep"]}
    images = {row["url"] for row in truth if row["unit"] == "image" and row["keep"]}

    def is_good(page: str, item: Row) -> bool:
        if item["kind"] == "image":
            return item["url"] in images
        return (page, item["text"]) not in bad_texts

    good = []
    for row in rows:
        if row["url"] not in pages:
            continue
        kept = [place for place, item in enumerate(row["items"]) if is_good(row["url"], item)]
        nodes = row["gobelin"]["nodes"]
        held = {**row["gobelin"], "nodes": [nodes[place] for place in kept]}
        good.append({**row, "items": [row["items"][place] for place in kept], "gobelin": held})
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="exported documents, JSON lines; they are changed in place")
    parser.add_argument("--truth", type=Path, required=True)
    options = parser.parse_args()
    truth = [json.loads(line) for line in options.truth.read_text(encoding="utf-8").splitlines()]
    for path in options.files:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        good = good_rows(rows, truth)
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in good), encoding="utf-8")
        items = [sum(len(row["items"]) for row in each) for each in (rows, good)]
        print(f"{path}: {len(good)} of {len(rows)} documents, {items[1]} of {items[0]} texts and pictures")


if __name__ == "__main__":
    main()
