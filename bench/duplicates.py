"""Repeats all measurements of docs/duplicates.md in one command.

    python bench/duplicates.py --corpus ../shared/corpus/neardup

Texts: MinHash against exact Jaccard similarity, and signatures compared with datatrove's (installed into an environment
of its own). Images: recall and precision by distance, compared with imagehash and PDQ. Scale: synthetic documents with
known similarities, from 10 thousand to a million. About five minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="folder of HTML files and pictures; without it, what needs none")
    options = parser.parse_args()
    corpus = [] if options.corpus is None else ["--corpus", str(options.corpus)]
    parts = [["duplicates_images.py", *corpus], ["duplicates_scale.py"]]
    if corpus:
        parts.insert(0, ["duplicates_texts.py", *corpus, "--datatrove"])
    for name, *arguments in parts:
        print(f"\n== {name}", flush=True)
        subprocess.run([sys.executable, str(Path(__file__).with_name(name)), *arguments], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
