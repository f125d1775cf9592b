"""Runs all steps in one command: draws a crawl, curates it, tokenizes it, trains on it, and measures the results.

python -m examples.demo --output out/demo
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

logging.basicConfig(level=logging.ERROR)

from gobelin.pipeline.run.open_run import open_run  # noqa: E402
from gobelin.pipeline.run.progress_bar import Screen  # noqa: E402  # logging first: importing Beam logs a warning
from gobelin.pipeline.run.run_summary import summary_lines  # noqa: E402
from gobelin.pipeline.run.stage_names import STAGES  # noqa: E402
from gobelin.pipeline.run.state import read_json, write_json  # noqa: E402
from gobelin.pipeline.run.supervisor import StepFailedError, Supervisor  # noqa: E402
from gobelin.pipeline.run.worker import Task  # noqa: E402
from gobelin.transforms.progress import advance  # noqa: E402
from gobelin.transforms.torch_threads import FIT_THREADS, torch_threads  # noqa: E402

RECIPE = Path(__file__).with_name("recipe.yaml")
MADE_FROM = "made_from.json"
"""Written last into what the demo makes: the numbers it was made from."""

CLIP_PAIRS = 8000
CLIP_STEPS = 600
CLIP_SEED = 7
"""Of the pictures that CLIP is fitted on; the crawl has its own seeds."""

EXPECTED_SECONDS = {
    "demo: draw a crawl, fit CLIP": 40.0,
    "extract: read archives": 6.0,
    "extract: find what revisits point to": 1.0,
    "extract: look images up": 1.0,
    "extract: write documents": 1.0,
    "extract: write images": 2.0,
    "extract: write decisions": 1.0,
    "score: text statistics": 3.0,
    "score: load CLIP": 6.0,
    "score: look at images": 9.0,
    "score: embed texts": 6.0,
    "score: duplicates": 1.0,
    "score: join images": 2.0,
    "score: similarities": 2.0,
    "score: write decisions": 1.0,
    "select: judge documents": 1.0,
    "select: choose among duplicates": 1.0,
    "select: write the corpus": 1.0,
    "select: write decisions": 1.0,
    "tokenize: fit tokenizers": 25.0,
    "tokenize: encode images": 7.0,
    "tokenize: assemble documents": 2.0,
    "train": 110.0,
    "sample": 7.0,
    "demo: what was learned": 18.0,
}
"""Of each step, on two cores of an AMD EPYC; what the time left is told from until this machine's pace is known."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out/demo"), help="folder of the demo (%(default)s)")
    parser.add_argument("--pages", type=int, default=900, help="pages of the crawl (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the crawl and of every fit (%(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (%(default)s)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(argv)
    screen = Screen(expected=EXPECTED_SECONDS)
    started = time.monotonic()
    try:
        with screen.live():
            _run(options, screen)
    except StepFailedError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ndemo: stopped. What is done stays; the same command goes on from here.", file=sys.stderr)
        return 130
    _show(options.output, screen, time.monotonic() - started)
    return 0


def _run(options: argparse.Namespace, screen: Screen) -> None:
    output: Path = options.output
    crawl, clip, run_folder = output / "crawl", output / "clip", output / "run"
    output.mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor(options.workers, str(output), screen, "local", ())
    tasks = []
    if _is_stale(crawl, options.seed, options.pages):
        tasks.append(Task("crawl", _make_crawl, (crawl, options.seed, options.pages)))
    if _is_stale(clip, options.seed, CLIP_PAIRS, CLIP_STEPS):
        tasks.append(Task("clip", _fit_clip, (clip, options.seed), alone=True))
    if tasks:
        draws_alone = all(task.name == "crawl" for task in tasks)
        unit, total = ("pages", options.pages) if draws_alone else ("steps", CLIP_STEPS)
        supervisor.run("demo: draw a crawl, fit CLIP", tasks, unit, total)
    with open_run(
        str(run_folder),
        str(RECIPE),
        [f"score.clip.model=local-dir:{clip}", f"seed={options.seed}", *options.overrides],
        [str(crawl / "*.warc.gz")],
        options.workers,
        screen,
        "local",
        [],
    ) as run:
        for stage in STAGES:
            run.stage(stage, screen)
    results = output / "learned.json"
    held = read_json(str(results))
    key = f"{run.keys['train']} {options.seed}"
    if held is None or held["key"] != key:
        task = Task("learned", _measure, (crawl, run_folder, clip, results, key, options.seed), alone=True)
        supervisor.run("demo: what was learned", [task], threads=options.workers)


def _is_stale(folder: Path, *made_from: int) -> bool:
    """Whether a folder has to be made, again if it was made from other numbers. Removes it where it has."""
    held = read_json(str(folder / MADE_FROM))
    if held is not None and held["numbers"] == list(made_from):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _make_crawl(folder: Path, seed: int, pages: int) -> None:
    from examples.sample_crawl.make_crawl import make_crawl

    make_crawl(folder, seed, pages, on_progress=_counter("pages"))
    write_json(str(folder / MADE_FROM), {"numbers": [seed, pages]})


def _fit_clip(folder: Path, seed: int) -> None:
    from examples.demo.fit_clip import ClipFitConfig, fit_clip
    from examples.sample_crawl.scenes import clip_pairs

    pairs = [(picture, words) for picture, words, _ in clip_pairs(CLIP_SEED, CLIP_PAIRS)]
    with torch_threads(FIT_THREADS):
        metrics = fit_clip(pairs, folder, ClipFitConfig(num_steps=CLIP_STEPS), seed, on_step=_counter("steps"))
    write_json(str(folder / "summary.json"), dataclasses.asdict(metrics))
    write_json(str(folder / MADE_FROM), {"numbers": [seed, CLIP_PAIRS, CLIP_STEPS]})


def _counter(what: str) -> Callable[..., None]:
    def count(*_: object) -> None:
        advance(what)

    return count


def _measure(crawl: Path, run: Path, clip: Path, results: Path, key: str, seed: int) -> None:
    import torch

    from examples.demo.learned import measure_clip, measure_model

    torch.set_num_threads(os.cpu_count() or 1)
    write_json(
        str(results),
        {"key": key, "clip": measure_clip(crawl, run, f"local-dir:{clip}"), "model": measure_model(run, seed=seed)},
    )


def _show(output: Path, screen: Screen, seconds: float) -> None:
    from examples.demo.kinds import as_rows, judge_kinds, kind_lines
    from examples.demo.learned import lines
    from examples.demo.truth import judge_corpus, tally_lines

    truth = output / "crawl" / "truth.jsonl"
    tallies = judge_corpus(truth, output / "run" / "select" / "documents")
    kinds = judge_kinds(truth, output / "run")
    write_json(
        str(output / "truth.json"),
        {"tallies": [dataclasses.asdict(tally) for tally in tallies], "kinds": as_rows(kinds)},
    )
    learned = read_json(str(output / "learned.json")) or {}
    text = [
        "",
        *summary_lines(str(output / "run")),
        "",
        "the corpus against the truth of the crawl",
        *tally_lines(tallies),
        "",
        "what should go, by kind of dirt, and the rules that are there for it (counted as examples/demo/kinds.py says)",
        *kind_lines(kinds),
        "",
        "what was learned, on held-out pictures and captions",
        *lines(learned["clip"], learned["model"]),
        "",
        f"report     {output / 'run' / 'report' / 'index.html'}",
        f"samples    {output / 'run' / 'sample' / 'index.html'}",
        f"in all     {seconds:.0f} s",
    ]
    (output / "summary.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    for line in text:
        screen.say(line)
