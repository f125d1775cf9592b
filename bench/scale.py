"""Measures the cost per page as the input grows: CPU-seconds per page and step, and the peak memory of any process.

    python -m bench.scale --pages 2000 20000 --archives ../shared/corpus/web [--until tokenize]
    python -m bench.scale --index 10000 100000 1000000
    python -m bench.scale --survivors 10000 1000000
    python -m bench.scale --paper

``--pages`` runs everything, on archives that it makes from real ones: records have new addresses, and sentences of a
page another order. ``--index`` makes up the output of ``read_archives`` and begins there. Its small documents have
three images each. Twenty pages share one image, one is there only under its second address, and 5 % are there only by a
revisit. It then links, joins scores (groups of duplicates and measurements are made up too), selects, and writes token
shards (codes are made up). Both give ratios to the smallest size.

The number of shards grows with the pages (``--pages-a-shard``), as docs/scale.md advises. CPU-seconds are those of all
processes, without their start. Peak memory is the resident size (VmHWM, which Linux lets a process reset) of the
largest process, this one included. It includes memory that the process shares with others.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.scale_meter import Cost, Found
from bench.scale_paper import describe, paper, read_measured, with_changes
from bench.scale_steps import Sizes, run_index, run_survivors
from bench.scale_whole import Whole, run_pages
from gobelin.errors import UserError
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.stages.extract_link import ROWS_AT_ONCE

RECORDED = str(Path(__file__).parents[1] / "docs" / "scale.json")


def main() -> int:
    parser = _parser()
    options = parser.parse_args()
    try:
        if options.paper:
            crawl = with_changes(options.set)
            print("\n".join([*paper(crawl, read_measured(options.record or RECORDED)), "", "with", ""]))
            print("\n".join(describe(crawl)))
        for measurement in _measurements(options):
            measure(measurement, options.workers, options.work, options.record)
    except UserError as error:
        parser.error(str(error))
    return 0


@dataclasses.dataclass(frozen=True, slots=True)
class Measurement:
    """Runs of several sizes that are compared."""

    name: str  # in the file of --record
    title: str
    sizes: list[int]
    run: Callable[[str, int], Found]  # (folder, size)


def _measurements(options: argparse.Namespace) -> list[Measurement]:
    """What is to be measured. Raises UserError: there are no archives."""
    screen = Screen(quiet=True)
    archives = tuple(sorted(map(str, options.archives.glob("*.warc.gz"))))
    if options.pages and not archives:
        raise UserError(f"--archives: no *.warc.gz in {options.archives}")
    whole = Whole(archives, options.workers, options.pages_a_shard, options.until, options.on_s3, options.copies,
                  options.rows_at_once)  # fmt: skip

    def index(folder: str, size: int) -> Found:
        return run_index(folder, Sizes(size, options.pages_a_shard, options.rows_at_once, options.workers), screen)

    def pages(folder: str, size: int) -> Found:
        return run_pages(folder, size, whole, screen)

    def survivors(folder: str, size: int) -> Found:
        return run_survivors(folder, size, options.pages_a_shard, screen)

    return [
        Measurement("pages_on_s3" if options.on_s3 else "pages", "whole runs", options.pages, pages),
        Measurement("index", "from a made-up index", options.index, index),
        Measurement("survivors", "choosing among duplicates", options.survivors, survivors),
    ]


def measure(measurement: Measurement, workers: int, work: str | None, recorded: str | None) -> None:
    """Runs each size, and prints the table after each."""
    found: dict[int, dict[str, Cost]] = {}
    for size in measurement.sizes:
        start = time.monotonic()
        with tempfile.TemporaryDirectory(dir=work) as folder:
            run = _in_a_new_process(measurement.run, folder, size)
        found[run.size] = run.costs
        if recorded:
            record(recorded, measurement.name, run)
        facts = ", ".join(f"{number:,} {fact}" for fact, number in run.facts.items())
        print(f"{facts}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        print("\n".join([f"\n{measurement.title}, {workers} workers:\n", *table(found)]), flush=True)


def _in_a_new_process(measure: Callable[[str, int], Found], folder: str, size: int) -> Found:
    """What it returns; so no run begins with the memory of the one before.

    Raises:
        RuntimeError: the process died.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=lambda: there.send(measure(folder, size)))
    process.start()
    there.close()
    try:
        found: Found = here.recv()
    except EOFError:
        raise RuntimeError(f"the run of {size:,} died") from None
    finally:
        process.join()
    return found


def table(found: dict[int, dict[str, Cost]]) -> list[str]:
    """Lines of Markdown: of each step microseconds of CPU a page and MiB, and the ratios to the smallest size."""
    sizes = sorted(found)
    heads = [f"{size:,} pages: us a page | MiB" + ("" if size == sizes[0] else " | ratios") for size in sizes]
    lines = [f"| step | {' | '.join(heads)} |", "|---|" + "---|" * (3 * len(sizes) - 1)]
    every = list(dict.fromkeys(title for size in sizes for title in found[size] if not title.startswith("(make")))
    titles = [title for title in every if not title.startswith("(")]
    for title in [*every, "all"]:
        cells, first = [], (0.0, 0)
        for size in sizes:
            costs = [cost for name, cost in found[size].items() if name == title or (title == "all" and name in titles)]
            each = 1e6 * sum(cost.cpu_seconds for cost in costs) / size
            peak = max((cost.peak_bytes for cost in costs), default=0)
            cells += [f"{each:.0f}", f"{peak / 2**20:.0f}"]
            if size == sizes[0]:
                first = each, peak
            else:
                ratios = [f"{value / of:.2f}" if of else "new" for value, of in zip((each, peak), first)]
                cells.append(", ".join(ratios))
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def record(path: str, title: str, found: Found) -> None:
    """Adds a run to a file of JSON, in place of an earlier one of the same size."""
    file = Path(path)
    held = json.loads(file.read_text()) if file.exists() else {}
    steps = {name: {"cpu_seconds": round(cost.cpu_seconds, 2), "peak_mib": cost.peak_bytes >> 20,
                    "passed_bytes": cost.passed_bytes, "kept_bytes": cost.kept_bytes,
                    "requests": dict(sorted(cost.requests.items()))}
             for name, cost in found.costs.items() if not name.startswith("(make")}  # fmt: skip
    held.setdefault(title, {})[str(found.size)] = {"facts": found.facts, "steps": steps}
    file.write_text(json.dumps(held, indent=1, sort_keys=True) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, nargs="+", default=[], metavar="N",
                        help="whole runs of so many pages, rounded up to all archives so many times")  # fmt: skip
    parser.add_argument("--copies", metavar="FOLDER",
                        help="--pages: keeps the copies of archives there, for the next run")  # fmt: skip
    parser.add_argument("--on-s3", action="store_true",
                        help="--pages: output on an S3 server in this process, whose requests are counted")  # fmt: skip
    parser.add_argument("--index", type=int, nargs="+", default=[], metavar="N", help="runs from a made-up index")
    parser.add_argument("--archives", type=Path, default=Path("../shared/corpus/web"), help="folder of WARC files")
    parser.add_argument("--until", default="select", help="last stage of --pages (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--pages-a-shard", type=int, default=5000, help="(%(default)s)")
    parser.add_argument("--rows-at-once", type=int, default=ROWS_AT_ONCE,
                        help="rows of a batch: a tenth of them makes the batches of ten times the pages "
                        "(%(default)s)")  # fmt: skip
    parser.add_argument("--survivors", type=int, nargs="+", default=[], metavar="N",
                        help="the choice among duplicates alone, of so many documents")  # fmt: skip
    parser.add_argument("--work", help="folder for what is made; it is deleted in the end (a temporary one)")
    parser.add_argument("--record", metavar="FILE", help="file of JSON to which what is measured is added")
    parser.add_argument(
        "--paper",
        action="store_true",
        help="what a month of Common Crawl would cost, from what --record holds (docs/scale.json)",
    )
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE",
                        help="--paper: other parameters than those of bench/scale_paper.py")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
