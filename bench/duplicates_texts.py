"""Near-duplicate texts: MinHash against exact Jaccard similarity on real pages, and the cost of a signature.

    python bench/duplicates_texts.py --corpus ../shared/corpus/neardup --datatrove

Pages are HTML files, and only their text counts. ``--datatrove`` makes an environment with datatrove in the temporary
folder (uv, from the package index) and times its MinHash signatures on the same texts in the same minute. Times are
CPU-seconds of one process, the fastest of three, without the start.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from lxml import html

from gobelin.transforms.duplicates.minhash import (
    MinHashConfig,
    curve,
    detection_probability,
    jaccard,
    min_equal_bytes,
    shingle_hashes,
    text_signature,
)

DATATROVE = "datatrove[processing]==0.10.1"
_DATATROVE_PROGRAM = """
import json, sys, tempfile, time
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
step = MinhashDedupSignature(tempfile.mkdtemp(), MinhashConfig())
texts = json.load(open(sys.argv[1]))
step.get_signature(step.get_shingles(texts[0]))
best = 1e9
for _ in range(3):
    start = time.process_time()
    for text in texts:
        step.get_signature(step.get_shingles(text))
    best = min(best, time.process_time() - start)
print(len(texts) / best)
"""


def read_texts(corpus: Path) -> list[str]:
    """Texts of the HTML files under a folder."""
    return [
        html.fromstring(path.read_bytes()).text_content()
        for path in sorted(corpus.rglob("*.html"))
        if path.stat().st_size < 1_000_000
    ]


def real_pairs(texts: list[str], config: MinHashConfig) -> None:
    """Every pair of pages by its exact similarity: how many meet, how many are joined, and what the curve says."""
    shingles = [shingle_hashes(text, config.window) for text in texts]
    signatures = [text_signature(text, config) for text in texts]
    sketches = np.stack([np.frombuffer(signature.sketch, np.uint8) for signature in signatures])
    bands = [set(signature.bands) for signature in signatures]
    rows = []
    for a, b in itertools.combinations(range(len(texts)), 2):
        similarity = jaccard(shingles[a], shingles[b])
        equal = int((sketches[a] == sketches[b]).sum())
        meet = bool(bands[a] & bands[b])
        estimate = (equal / config.num_hashes - 1 / 256) / (1 - 1 / 256)
        rows.append((similarity, meet, meet and equal >= min_equal_bytes(config), estimate,
                     detection_probability(similarity, config)))  # fmt: skip
    found = np.array(rows)
    print(f"\n{len(texts)} real pages, {len(found)} pairs; error of the estimated similarity: "
          f"{np.abs(found[:, 3] - found[:, 0]).mean():.4f} on average")  # fmt: skip
    print(f"{'exact Jaccard':>16}{'pairs':>8}{'meet':>8}{'joined':>8}{'promised':>10}")
    for low, high in itertools.pairwise((0.0, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0001)):
        chosen = found[(found[:, 0] >= low) & (found[:, 0] < high)]
        if len(chosen):
            shares = chosen[:, [1, 2, 4]].mean(0)
            label = f"{low:.2f} - {min(high, 1):.2f}"
            print(f"{label:>16}{len(chosen):>8}{shares[0]:>8.3f}{shares[1]:>8.3f}{shares[2]:>10.3f}")
    alike, joined = found[:, 0] >= config.similarity, found[:, 2] == 1
    met = found[:, 1] == 1
    for name, way in (("met (as OBELICS and datatrove join)", met), ("joined", joined)):
        recall, precision = (alike & way).sum() / alike.sum(), (alike & way).sum() / way.sum()
        low = found[way & ~alike, 0]
        least = low.min() if len(low) else config.similarity
        print(f"{name}: recall {recall:.4f} of pairs from {config.similarity:g} on; of those found {precision:.4f} "
              f"are, the least alike has {least:.3f}")  # fmt: skip


def our_rate(texts: list[str], config: MinHashConfig) -> float:
    """Signatures a CPU-second: digest, band keys and sketch."""
    text_signature(texts[0], config)
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        for text in texts:
            text_signature(text, config)
        best = min(best, time.process_time() - start)
    return len(texts) / best


def datatrove_rate(texts: list[str]) -> float:
    """The same of datatrove 0.10.1 with its default settings, in an environment of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "texts.json")
        path.write_text(json.dumps(texts))
        python = f"{folder}/venv/bin/python"
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, f"{folder}/venv"], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", python, DATATROVE, "tokenizers", "spacy"], check=True
        )
        program = [python, "-c", _DATATROVE_PROGRAM, str(path)]
        return float(subprocess.run(program, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder of HTML files")
    parser.add_argument("--datatrove", action="store_true", help="time datatrove as well")
    options = parser.parse_args()
    config = MinHashConfig()
    print(curve(config))
    texts = read_texts(options.corpus)
    real_pairs(texts, config)
    num_words = sum(len(text.split()) for text in texts) / len(texts)
    ours = our_rate(texts, config)
    print(f"\n{len(texts)} texts of {num_words:.0f} words on average: {ours:.0f} signatures a CPU-second")
    if options.datatrove:
        theirs = datatrove_rate(texts)
        again = our_rate(texts, config)
        print(f"datatrove: {theirs:.1f}; ours again: {again:.0f}; {min(ours, again) / theirs:.0f} times as many")
    return 0


if __name__ == "__main__":
    sys.exit(main())
