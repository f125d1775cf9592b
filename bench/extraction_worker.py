"""Runs gobelin from archives to documents with images in one process, for extraction_speed.py.

    python extraction_worker.py [--images | --steps | --stage] FOLDER

Prints the number of documents and images. --images also decodes and hashes the image records, which the documents alone
do not need. --steps times each step of a page from inside, which slows it a little. --stage runs the whole stage as a
user does (`gobelin run --until extract`): Beam, images, links between both, Parquet.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from gobelin.transforms.archives import read_warc
from gobelin.transforms.extract import extract_image, extract_page
from gobelin.transforms.extract.config import ExtractConfig
from gobelin.transforms.extract.extract import spare_collector

STEPS = (
    ("gates", "extract.extract_page", "refuse"),
    ("decode to text", "pages.tree.find_nodes", "decode"),
    ("parse", "pages.tree.find_nodes", "parse_html"),
    ("words, formulas", "pages.tree.find_nodes", "rewrite_words"),
    ("consent, licences", "pages.tree.find_nodes", "find_consent"),
    ("consent, licences", "pages.tree.find_nodes", "find_licences"),
    ("image references", "pages.tree.find_nodes", "rewrite_images"),
    ("blocks", "pages.tree.find_nodes", "read_blocks"),
    ("main content", "pages.tree.find_nodes", "find_main_content"),
    ("kind of page, threads", "pages.tree.find_nodes", "read_facts"),
    ("kind of page, threads", "pages.tree.find_nodes", "has_unread_posts"),
    ("kind of page, threads", "pages.tree.find_nodes", "find_thread"),
    ("kind of page, threads", "pages.tree.find_nodes", "classify_page"),
    ("trafilatura", "pages.tree.find_nodes", "choose_with_trafilatura"),
    ("title", "pages.tree.find_nodes", "_find_title"),
    ("freeing the tree, pieces", "extract.extract_page", "read_page"),
    ("language", "extract.extract_page", "identify_language"),
    ("data: images", "extract.extract_page", "_data_image"),
    ("ids, nodes", "extract.extract_page", "extract_page"),
)
"""Label, module of gobelin.transforms and name there; a step's time is without that of the steps inside it."""


class Stopwatch:
    """CPU-seconds by label, each without those of what it calls under another label."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def wrap(self, label: str, module: Any, name: str) -> None:
        function = getattr(module, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.process_time() - start
                self.seconds[label] += spent - self._inner.pop()
                self._inner[-1] += spent

        setattr(module, name, timed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", action="store_true")
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--stage", action="store_true")
    parser.add_argument(
        "--warm", type=Path, help="with --steps: a folder to read first, so that start-up does not count"
    )
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.stage:
        print(json.dumps(run_stage(str(options.folder / "*.warc.gz"))))
        return 0
    spare_collector()  # as the stage's workers do
    watch = Stopwatch()
    missing = []
    for label, module_name, name in STEPS if options.steps else ():
        module = importlib.import_module(f"gobelin.transforms.{module_name}")
        if hasattr(module, name):
            watch.wrap(label, module, name)
        else:
            missing.append(f"{module_name}.{name}")
    if options.warm:
        read_folder(options.warm, with_images=False)
        watch.seconds.clear()
    start = time.process_time()
    counts = read_folder(options.folder, options.images)
    total = time.process_time() - start
    steps = {"read": total - sum(watch.seconds.values()), **watch.seconds} if options.steps else {}
    print(json.dumps({"counts": counts, "seconds": total, "steps": steps, "missing": missing}))
    return 0


def read_folder(folder: Path, with_images: bool) -> Counter[str]:
    """Reads every archive of a folder, makes documents of its pages, and counts."""
    config = ExtractConfig()
    counts: Counter[str] = Counter()
    for path in sorted(folder.glob("*.warc.gz")):
        with path.open("rb") as stream:
            for found in read_warc.read_archive(stream, str(path), config.max_page_bytes, config.image.max_bytes):
                if isinstance(found, read_warc.PageCapture):
                    counts["pages"] += 1
                    draft, _ = extract_page.extract_page(found.capture, config)
                    if isinstance(draft, extract_page.PageDraft):
                        counts["documents"] += 1
                        counts["images in documents"] += len(draft.candidates)
                elif isinstance(found, read_warc.ImageCapture):
                    counts["image records"] += 1
                    if with_images:
                        counts["images"] += isinstance(
                            extract_image.extract_image(found.capture, config), extract_image.ImageDraft
                        )
    return counts


def run_stage(archives: str) -> dict[str, Any]:
    """What the stage counted, of its processes' CPU too: they are no children of this one."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            str(Path(sys.executable).with_name("gobelin")), "run", "--recipe", "obelics", "--input", archives,
            "--output", f"{folder}/out", "--until", "extract", "--workers", "1", "--quiet",
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        stage = json.loads(Path(folder, "out", "run.json").read_text())["stages"]["extract"]
        counts = {"documents": stage["documents"]["kept"], "images": stage["images"]["kept"]}
        return {"counts": counts, "cpu_seconds": stage["cpu_seconds"]}


if __name__ == "__main__":
    sys.exit(main())
