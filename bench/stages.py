"""Measures each stage: CPU-seconds of all worker processes, and documents and images per CPU-second.

    python bench/stages.py --input 'crawl/*.warc.gz' --recipe obelics --repeat 3

Runs `gobelin run --until STAGE` into a fresh folder each time and prints medians. CPU-seconds count every process of
the stage, imports included, so short inputs look worse than long ones.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, help="quoted glob of WARC files")
    parser.add_argument("--recipe", default="obelics", help="preset or file (%(default)s)")
    parser.add_argument("--until", default="select", help="last stage (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="runs (%(default)s)")
    options = parser.parse_args()
    runs = []
    for _ in range(options.repeat):
        with tempfile.TemporaryDirectory() as folder:
            command = [
                str(Path(sys.executable).with_name("gobelin")), "run", "--recipe", options.recipe,
                "--input", options.input, "--output", f"{folder}/out", "--until", options.until,
                "--workers", str(options.workers), "--quiet",
            ]  # fmt: skip
            subprocess.run(command, check=True)
            runs.append(json.loads(Path(folder, "out", "run.json").read_text())["stages"])
    heads = f"{'stage':<10}{'cpu s':>8}{'wall s':>8}{'documents/cpu s':>17}{'images/cpu s':>14}"
    print(f"{heads}   (medians of {len(runs)})")
    for name, stage in runs[0].items():
        if stage["status"] != "done":
            continue
        cpu = statistics.median(run[name]["cpu_seconds"] for run in runs)
        wall = statistics.median(run[name]["seconds"] for run in runs)
        rates = [
            f"{stage[unit]['seen'] / cpu:.0f}" if isinstance(stage.get(unit), dict) and "seen" in stage[unit] else ""
            for unit in ("documents", "images")
        ]
        print(f"{name:<10}{cpu:>8.1f}{wall:>8.1f}{rates[0]:>17}{rates[1]:>14}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
