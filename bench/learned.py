"""Measures what the demo's model learns, over several seeds and with other settings of the section ``train``.

    make demo
    python -m bench.learned out/demo --work /tmp/learned --seeds 5
    python -m bench.learned out/demo --work /tmp/learned --seeds 3 --set train.steps=1300 --set train.width=192
    python -m bench.learned out/demo --work /tmp/learned --table

All models are trained on the same tokens of the demo, so they differ only in what the seed of the training decides.
Each is judged as the demo judges its own (``examples/demo/learned.py``): by the pixels of pictures that it draws for
captions of seen and unseen combinations, by a control, and by grounding gaps. The work folder keeps each model's
numbers, so a run that was stopped continues. ``--table`` shows all of them. Intervals are Student's t over seeds, 95 %.
Training has one thread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from examples.demo.learned import measure_model
from gobelin.pipeline.recipe.recipe import load_recipe
from gobelin.pipeline.stages.train import train_model

COLUMNS = (
    ("seen colour", "seen", "drawn", "color"),
    ("seen kind", "seen", "drawn", "kind"),
    ("control, both", "seen", "control", "both"),
    ("unseen colour", "unseen", "drawn", "color"),
    ("unseen kind", "unseen", "drawn", "kind"),
    ("unseen both", "unseen", "drawn", "both"),
    ("control, both, unseen", "unseen", "control", "both"),
    ("seen gap", "seen", "grounding", "image", "mean"),
    ("unseen gap", "unseen", "grounding", "image", "mean"),
    ("caption's gap", "seen", "grounding", "text", "mean"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="output folder of a finished demo")
    parser.add_argument("--work", type=Path, required=True, help="folder for models and numbers")
    parser.add_argument("--seeds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--table", action="store_true", help="train nothing; show what is there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.table:
        for seed in range(1, options.seeds + 1):
            _run(options.demo / "run", options.work, seed, tuple(options.overrides))
    print("\n".join(table(options.work)))


def _run(demo: Path, work: Path, seed: int, overrides: tuple[str, ...]) -> None:
    """Trains and judges one model, unless its numbers are there."""
    name = hashlib.sha256(" ".join(overrides).encode()).hexdigest()[:8]
    kept = work / f"{name}-{seed}.json"
    if kept.exists():
        return
    folder = work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(demo, folder, copy_function=os.link, ignore=shutil.ignore_patterns("train", "sample", "report"))
    started = time.process_time()
    recipe = load_recipe(str(demo / "recipe.yaml"), (f"seed={seed}", "train.threads=1", *overrides))
    train_model(str(folder), recipe)
    trained = time.process_time()
    found = measure_model(folder, seed=seed)
    summary = json.loads((folder / "train" / "summary.json").read_text(encoding="utf-8"))
    kept.write_text(
        json.dumps({
            "settings": list(overrides), "seed": seed, "model": found, "losses": summary["losses"],
            "model_step": summary["model_step"], "cpu_seconds": trained - started,
        }, indent=1),
        encoding="utf-8",
    )  # fmt: skip
    shutil.rmtree(folder)
    print(f"{' '.join(overrides) or 'as it is'}, seed {seed}: done", flush=True)


def table(work: Path) -> list[str]:
    """The mean of each number over seeds, with its interval where there are several, one line for each setting."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(work.glob("*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        groups.setdefault(" ".join(row["settings"]) or "the demo's", []).append(row)
    names = ["settings", "seeds", "CPU-s", *(column[0] for column in COLUMNS)]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for name, rows in groups.items():
        cells = [name, str(len(rows)), f"{statistics.median(row['cpu_seconds'] for row in rows):.0f}"]
        for column in COLUMNS:
            values = [_value(row["model"], column[1:]) for row in rows]
            cells.append(_with_interval(values))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _value(found: dict[str, Any], path: tuple[str, ...]) -> float:
    for key in path:
        found = found[key]
    return float(found)  # type: ignore[arg-type]


def _with_interval(values: list[float]) -> str:
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.3f}"
    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
