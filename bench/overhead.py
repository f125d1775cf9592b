"""Measures the cost of Beam, processes and start-up in a local run, in CPU-seconds of the whole process tree.

    python bench/overhead.py --corpus ../shared/corpus/web [--one-page ARCHIVE] [--repeat 3] [--write]

CPU-seconds include processes that outlive their command, because this process adopts them (Linux). ``--write`` puts the
table between the marks in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from extraction_outputs import environment

HERE = Path(__file__).parent
GOBELIN = str(Path(sys.executable).parent / "gobelin")
BEGIN, END = "<!-- overhead: begin -->", "<!-- overhead: end -->"
RECIPE = "name: overhead\nextends: obelics\nscore: {clip: null}\nselect: {image: {max_nsfw: null}}\n"
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, linux/prctl.h


def tree_of(command: Sequence[str]) -> tuple[float, int]:
    """(CPU-seconds, processes) of a command and all that it starts.

    Raises:
        RuntimeError: it failed.
    """
    environment = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")}
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    before = os.times()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, env=environment)
        seen: set[int] = set()
        watcher = threading.Thread(target=_watch, args=(process, seen))
        watcher.start()
        code = process.wait()
        watcher.join()
        _reap(process.pid)
        if code != 0:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)}: exit code {code}\n{output.read().decode(errors='replace')}")
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system, len(seen)


def _watch(process: subprocess.Popen[bytes], seen: set[int]) -> None:
    while process.poll() is None:
        seen.update(_members(process.pid))
        time.sleep(0.02)


def _members(session: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[3]) == session:
                found.append(int(stat.parent.name))
        except OSError:
            continue
    return found


def _reap(session: int) -> None:
    """Waits for what is left of a command, at most some seconds."""
    deadline = time.monotonic() + 10
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            if time.monotonic() > deadline:
                for member in _members(session):
                    os.kill(member, signal.SIGKILL)
            time.sleep(0.02)


def bare_work(archives: list[str], folder: str) -> None:
    """What ``extract`` does, in this process: records read, pages and images extracted, rows written as Parquet."""
    import dataclasses

    import pyarrow as pa
    import pyarrow.parquet as pq

    from gobelin.data.model import Decision, to_row
    from gobelin.transforms.archives.ranges import ArchiveRange
    from gobelin.transforms.archives.read_warc import ImageCapture, PageCapture, read_range
    from gobelin.transforms.extract.config import ExtractConfig
    from gobelin.transforms.extract.extract import spare_collector
    from gobelin.transforms.extract.extract_image import extract_image
    from gobelin.transforms.extract.extract_page import extract_page

    spare_collector()
    config = ExtractConfig()
    rows: dict[str, list[dict]] = {"documents": [], "images": []}
    for archive in archives:
        piece = ArchiveRange(archive)
        for found in read_range(piece, config.max_page_bytes, config.image.max_bytes):
            images = []
            if isinstance(found, PageCapture):
                outcome, inline = extract_page(found.capture, config)
                images = list(inline.values())
                if not isinstance(outcome, Decision):
                    rows["documents"].append(to_row(outcome.document))
            elif isinstance(found, ImageCapture):
                images = [extract_image(found.capture, config)]
            rows["images"] += [
                {"url": image.url, "data": image.data, **dataclasses.asdict(image.facts)}
                for image in images
                if not isinstance(image, Decision)
            ]
    for name, held in rows.items():
        pq.write_table(pa.Table.from_pylist(held), f"{folder}/{name}.parquet")


def measure(corpus: Path, one_page: Path | None, repeat: int, peer: Path | None) -> list[str]:
    """Lines of a table.

    Args:
        peer: the Python of an environment with datatrove; None: it is left out.
    """
    archives = sorted(map(str, corpus.glob("*.warc.gz")))
    lines = ["| what | CPU-s | processes |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as work:
        recipe = Path(work, "recipe.yaml")
        recipe.write_text(RECIPE)

        def run(name: str, until: str, *inputs: str) -> list[str]:
            given = [word for path in inputs for word in ("--input", path)]
            output = str(Path(work, name))
            return [GOBELIN, "run", "--recipe", str(recipe), *given, "--output", output, "--until", until, "--quiet"]

        def row(what: str, measured: Sequence[tuple[float, int]]) -> float:
            seconds = median(each[0] for each in measured)
            lines.append(f"| {what} | {seconds:.2f} | {max(each[1] for each in measured)} |")
            return seconds

        row("`gobelin --help`", [tree_of([GOBELIN, "--help"]) for _ in range(repeat)])
        if one_page is not None:
            runs = [tree_of(run(f"one-{turn}", "select", str(one_page))) for turn in range(repeat)]
            row("a run of one page to `select`", runs)
        bare, whole = [], []
        for turn in range(repeat):
            bare.append(tree_of([sys.executable, __file__, "--bare", work, *archives]))
            whole.append(tree_of(run(f"all-{turn}", "extract", *archives)))
        alone = row(f"{len(archives)} sites: the work of `extract` in one process, without Beam", bare)
        seconds = row(f"{len(archives)} sites: `gobelin run --until extract`", whole)
        said = f"`extract` costs **{seconds / alone:.2f} times** the bare work."
        if peer is not None:
            selected, theirs = [], []
            for turn in range(repeat):
                selected.append(tree_of(run(f"select-{turn}", "select", *archives)))
                folder = Path(work, f"peer-{turn}")
                folder.mkdir()
                theirs.append(tree_of([str(peer), str(HERE / "peers" / "curate.py"), str(corpus), str(folder)]))
            own = row(f"{len(archives)} sites: `gobelin run --until select`, with images", selected)
            other = row(f"{len(archives)} sites: datatrove to MinHash, text alone", theirs)
            said += f" To `select` it costs **{own / other:.2f} times** what datatrove's way costs."
    return [*lines, "", f"{said} Medians of {repeat} runs."]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=HERE.parent.parent / "shared" / "corpus" / "web")
    parser.add_argument("--one-page", type=Path, metavar="ARCHIVE", help="an archive of one page and its image")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, of which medians are given (%(default)s)")
    parser.add_argument("--datatrove", action="store_true", help="also datatrove's way from archives to unique text")
    parser.add_argument("--peers", type=Path, default=Path.home() / ".cache" / "gobelin-bench", help="its environment")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    parser.add_argument("--bare", nargs="+", metavar="PATH", help=argparse.SUPPRESS)  # a folder, then archives
    options = parser.parse_args()
    if options.bare:
        bare_work(options.bare[1:], options.bare[0])
        return 0
    peer = environment("datatrove-curate", options.peers) if options.datatrove else None
    lines = measure(options.corpus, options.one_page, options.repeat, peer)
    print("\n".join(lines))
    if options.write:
        page = HERE.parent / "docs" / "benchmarks.md"
        before, rest = page.read_text().split(BEGIN)
        after = rest.split(END)[1]
        page.write_text(before + "\n".join([BEGIN, *lines, END]) + after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
