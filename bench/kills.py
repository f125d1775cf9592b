"""Kills runs and interrupts stores. Checks that the same command ends with the same bytes and leaves nothing behind.

    python -m bench.kills --kills 30 --seed 1
    python -m bench.kills --outages --cuts [--until select]

The bench runs all stages on a small sample crawl, and imports what such a run exported. The output is on a disk or on
an S3 server on this machine (moto). ``--kills``: the seed chooses a stage, a process and a moment, and the process gets
SIGKILL:

    supervisor   the command itself
    server       the process that imports Beam and forks workers
    worker       a process that does tasks
    decoder      the process in which images are opened

Then the same command runs again, undisturbed. If the process was killed in one of the first three stages, the command
ends with the third. If it was killed later, the command begins after these. The bench compares every file with those of
an undisturbed command, except the few that hold seconds. Anything that is left over (processes, temporary files,
leases, working folders) is a failure.

``--outages``: the store answers 503 for some seconds. ``--cuts``: it cuts connections. The seed chooses the moments.
The run must end by itself with the same bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from examples.sample_crawl.make_crawl import make_crawl
from gobelin.pipeline.run.stage_names import CORPUS_STAGES, STAGES
from gobelin.pipeline.run.status import STATUS_NAME
from gobelin.store.files import delete, list_files, read_bytes, read_json, upload
from tests.object_store import BUCKET, Door, s3_server

RECIPE = """\
extends: gobelin
name: kills
num_shards: 3
score: {clip: null}
select:
  unscored_for_safety: keep
  document: {languages: [en]}
  image: {min_side_px: 48, min_rendered_px: null, max_near_documents: null, min_clip_text: null, min_clip_near: null,
    min_clip_caption: null, min_clip_alt: null}
tokenize:
  vqvae: {image_size: 16, patch_size: 8, num_codes: 16, channels: 8, num_blocks: 1}
  vqvae_steps: 40
  text_vocab_size: 400
train:
  model: {width: 16, num_layers: 1, num_heads: 2, hidden: 32}
  steps: 40
  batch_rows: 2
  row_tokens: 128
  threads: 1
  validation_ratio: 0.3
  log_every: 1
  checkpoint_every: 10
sample: {num_captions: 2, images_per_caption: 1, num_documents: 1, max_document_tokens: 64}
"""

HOLD_SECONDS = ("manifest.json", "run.json", "report.json", "index.html", "summary.json", STATUS_NAME, "speed.jsonl")
"""Names of files that say how long something took."""

COMMANDS = ("corpus", "run", "import")
"""A run until ``select``; one of all stages; an import of what such a run exported, likewise."""

_MARK = "GOBELIN_BENCH_KILLS"
_SECONDS_TO_END = 15.0
_SECONDS_A_RUN = 900.0


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """Which process of which command is killed, in which stage."""

    command: str  # of COMMANDS
    place: str  # disk, s3
    stage: str
    victim: str


def all_cases() -> list[Case]:
    """Every process that each stage has, on each place; imports and the decoding of images are in ``extract``. The
    report is made by the command itself."""
    found = []
    for place in ("disk", "s3"):
        for stage in STAGES:
            victims = ("supervisor", "server", "worker")[: 1 if stage == "report" else 3]
            command = "corpus" if stage in CORPUS_STAGES else "run"
            found += [Case(command, place, stage, victim) for victim in victims]
        found.append(Case("corpus", place, "extract", "decoder"))
        found += [Case("import", place, "extract", victim) for victim in ("supervisor", "server", "worker")]
    return found


class Process:
    """A command under way, and all processes that come from it."""

    def __init__(self, argv: list[str], temporary: Path) -> None:
        self._mark = uuid.uuid4().hex
        temporary.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, _MARK: self._mark, "TMPDIR": str(temporary)}
        self.popen = subprocess.Popen(
            argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        with contextlib.suppress(OSError):  # a session is scheduled by itself; this one as whoever measures
            share = Path("/proc/self/autogroup").read_text().split()[-1]
            Path(f"/proc/{self.popen.pid}/autogroup").write_text(share)

    def all(self) -> dict[int, int]:
        """Processes with the mark that are there, zombies left out: process id -> parent."""
        found = {}
        wanted = f"{_MARK}={self._mark}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                    if state != "Z":
                        found[int(folder.name)] = int(parent)
        return found

    def victims(self, kind: str) -> list[int]:
        """Processes of a kind."""
        parents, main = self.all(), self.popen.pid
        decoders = {pid for pid in parents if _is_decoder(pid)}
        servers = {pid for pid, parent in parents.items() if parent == main} - decoders
        workers = {pid for pid, parent in parents.items() if parent in servers} - decoders
        kinds = {"supervisor": {main} & set(parents), "server": servers, "worker": workers, "decoder": decoders}
        return sorted(kinds[kind])

    def wait(self) -> tuple[int, str]:
        """(exit code, what it said)."""
        said, _ = self.popen.communicate(timeout=_SECONDS_A_RUN)
        return self.popen.returncode, said

    def orphans(self) -> list[int]:
        """Processes that are still there a while after the command has ended; they are ended now."""
        deadline = time.monotonic() + _SECONDS_TO_END
        while (left := list(self.all())) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return left


def _is_decoder(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"image_sandbox" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


class Bench:
    """The crawl, an export of what a run made of it, and what undisturbed commands leave."""

    def __init__(self, folder: Path, door: Door, pages: int) -> None:
        self.folder, self.door = folder, door
        make_crawl(folder / "crawl", seed=3, pages=pages)
        (folder / "kills.yaml").write_text(RECIPE)
        self.expected: dict[str, dict[str, str]] = {}
        self.seconds: dict[str, float] = {}
        self._num_outputs = 0
        self._corpus = folder / "corpus"

    def argv(self, command: str, output: str) -> list[str]:
        common = ["--recipe", str(self.folder / "kills.yaml"), "--output", output]
        common += ["--scratch", str(self.folder / "scratch")] if output.startswith("s3:") else []
        program = str(Path(sys.executable).with_name("gobelin"))
        if command == "import":
            return [program, "import", str(self.folder / "exported"), "--format", "webdataset", *common]
        until = ["--until", CORPUS_STAGES[-1]] if command == "corpus" else []
        return [program, "run", "--input", str(self.folder / "crawl" / "*.warc.gz"), "--workers", "2", *until, *common]

    def start(self, command: str, output: str) -> Process:
        return Process(self.argv(command, output), self.folder / "tmp")

    def new_output(self, place: str) -> str:
        self._num_outputs += 1
        name = f"out-{self._num_outputs}"
        return f"s3://{BUCKET}/{name}" if place == "s3" else str(self.folder / name)

    def begin(self, case: Case, output: str) -> None:
        """Gives a run that is killed in a later stage the first ones."""
        if case.command == "run":
            for name, _ in list_files(str(self._corpus)):
                upload(str(self._corpus / name), f"{output}/{name}")

    def prepare(self, only_corpus: bool = False) -> None:
        """Undisturbed commands; an export for imports."""
        self.expected["corpus"] = self._undisturbed("corpus", str(self._corpus))
        self._note_seconds(str(self._corpus))
        if only_corpus:
            return
        output = self.new_output("disk")
        self.begin(Case("run", "disk", "", ""), output)
        self.expected["run"] = self._undisturbed("run", output)
        self._note_seconds(output)
        program = str(Path(sys.executable).with_name("gobelin"))
        export = [program, "export", output, "--format", "webdataset", "--to", str(self.folder / "exported")]
        subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
        delete(output)
        output = self.new_output("disk")
        self.expected["import"] = self._undisturbed("import", output)
        self.seconds["import"] = float(read_json(f"{output}/extract/manifest.json")["seconds"])
        delete(output)

    def _note_seconds(self, output: str) -> None:
        stages = read_json(f"{output}/run.json")["stages"]
        self.seconds = {name: float(stage["seconds"]) for name, stage in stages.items() if "seconds" in stage}

    def _undisturbed(self, command: str, output: str) -> dict[str, str]:
        code, said = self.start(command, output).wait()
        if code:
            raise SystemExit(f"the undisturbed {command} failed: {said}")
        return digests(output)

    def problems(self, command: str, output: str) -> list[str]:
        """What tells an output from that of an undisturbed command, and what lies about beside it."""
        found, expected = digests(output), self.expected[command]
        problems = [f"{name} is missing" for name in expected if name not in found]
        problems += [f"{name} is left over" for name in found if name not in expected]
        problems += [f"{name} differs" for name in found if found[name] != expected.get(name, found[name])]
        if STATUS_NAME in found and (state := read_json(f"{output}/{STATUS_NAME}")["state"]) != "done":
            problems.append(f"{STATUS_NAME} says {state} of a command that is over")
        problems += [f"{path} is left over" for path in sorted((self.folder / "tmp").rglob("*"))]
        return problems


def digests(output: str) -> dict[str, str]:
    """SHA-256 of each file, hidden ones too; of those that hold seconds, their names alone. Logs are left out."""
    if output.startswith("s3:"):
        names = [name for name, _ in list_files(output)]
    else:
        names = [str(path.relative_to(output)) for path in Path(output).rglob("*") if path.is_file()]
    names = [name for name in names if name.split("/")[0] not in ("logs", "progress")]
    return {
        name: "" if name.split("/")[-1] in HOLD_SECONDS else hashlib.sha256(read_bytes(f"{output}/{name}")).hexdigest()
        for name in names
    }


def kill_once(bench: Bench, case: Case, rng: random.Random) -> tuple[str, list[str]]:
    """Kills a process of a command, runs the command again. Returns (what happened, problems)."""
    for attempt in range(4):
        output = bench.new_output(case.place)
        bench.begin(case, output)
        happened = _disturb(bench, case, output, rng.random() * 0.9 / 2**attempt)
        if happened is not None:
            break
        delete(output)
    else:
        return f"no {case.victim} was met", ["nothing was killed"]
    said_before, problems = happened
    code, said = bench.start(case.command, output).wait()
    if code:
        problems.append(f"the same command again: exit code {code}: {said[-300:]}")
    else:
        problems += bench.problems(case.command, output)
    delete(output)
    shutil.rmtree(bench.folder / "tmp")
    return said_before, problems


def _disturb(bench: Bench, case: Case, output: str, share: float) -> tuple[str, list[str]] | None:
    """Kills a process at a share of the stage's usual time. None: the command was over before."""
    begins = _beginning(bench, case, output)
    process = bench.start(case.command, output)
    try:
        while not begins():
            if process.popen.poll() is not None:
                return None
            time.sleep(0.01)
        time.sleep(share * bench.seconds["import" if case.command == "import" else case.stage])
        while not (victims := process.victims(case.victim)):
            if process.popen.poll() is not None:
                return None
            time.sleep(0.01)
        os.kill(victims[-1], signal.SIGKILL)
        code, said = process.wait()
    finally:
        orphans = process.orphans()
    problems = [f"{len(orphans)} processes outlived the command"] if orphans else []
    if code == 0 and case.victim == "supervisor":
        return None
    is_fine = code == -9 if case.victim == "supervisor" else code in (0, 1)  # 0: others did without it
    if not is_fine or "Traceback" in said:
        problems.append(f"the killed command: exit code {code}: {said[-300:]}")
    last = next((line for line in said.splitlines() if line.startswith("gobelin: ")), "") if code == 1 else ""
    return f"exit code {code}" + (f", {last[:90]}" if last else ""), problems


def _beginning(bench: Bench, case: Case, output: str) -> Callable[[], bool]:
    """What tells that the stage has begun."""
    before = STAGES.index(case.stage) - 1
    name = f"{STAGES[before]}/manifest.json" if before >= 0 else "recipe.yaml"
    if case.command == "run" and STAGES[before] in CORPUS_STAGES:
        name = str(Path(case.stage, "work"))  # the stage before was done long ago
    if case.place == "disk":
        return lambda: Path(output, name).exists()
    seen, wanted = threading.Event(), f"{output.removeprefix('s3:/')}/{name}"

    def watch(method: str, path: str) -> None:
        if method == "PUT" and path.startswith(wanted):
            seen.set()

    bench.door.on_request = watch
    return seen.is_set


def kills(bench: Bench, number: int, seed: int, first: int) -> bool:
    """So many kills; prints each, and a table. Returns whether all went well."""
    cases = all_cases()
    random.Random(seed).shuffle(cases)
    counts: dict[tuple[str, str], Counter[str]] = {}
    failed = 0
    for index in range(first - 1, first - 1 + number):
        case = cases[index % len(cases)]
        happened, problems = kill_once(bench, case, random.Random(f"{seed} {index}"))
        bench.door.reset()
        failed += bool(problems)
        print(f"{index + 1:>3} {case.command:<7}{case.place:<5}{case.stage:<9}{case.victim:<11}{happened}", flush=True)
        for problem in problems:
            print(f"      PROBLEM: {problem}", flush=True)
        row = counts.setdefault((f"{case.command}, {case.place}", case.stage), Counter())
        row[case.victim] += 1
        row["bad"] += bool(problems)
    kinds = ("supervisor", "server", "worker", "decoder")
    print(f"\n| command, output | stage | {' | '.join(kinds)} | same bytes, nothing left |\n|---|---|{'---:|' * 5}")
    for (where, stage), row in sorted(counts.items(), key=lambda item: (item[0][0], STAGES.index(item[0][1]))):
        total = sum(row[kind] for kind in kinds)
        shown = " | ".join(str(row[kind] or "") for kind in kinds)
        print(f"| {where} | {stage} | {shown} | {total - row['bad']} of {total} |")
    print(f"\n{number - failed} of {number} kills: the same command ended with the same bytes, and nothing was left")
    return not failed


def outages(bench: Bench, command: str, seed: int) -> bool:
    """The store answers 503 for a while. Returns whether all went well."""
    rng = random.Random(seed)
    usual = sum(seconds for name, seconds in bench.seconds.items() if name != "import")
    good = True
    for seconds in (0, 1, 5, 30, 120):
        moment = rng.uniform(0.1, 0.7) * usual

        def close(moment: float = moment, seconds: int = seconds) -> None:
            time.sleep(moment)
            bench.door.close_for(seconds)

        what = f"answers 503 for {seconds} s" if seconds else "is there"
        good &= _with_store(bench, command, what, close if seconds else None, None)
    return good


def cuts(bench: Bench, command: str, seed: int) -> bool:
    """The store cuts connections. Returns whether all went well."""
    rng = random.Random(seed)
    good = True
    for where, what in (
        ("request", "cuts one connection in 20 after half of the request"),
        ("silent", "does what it is asked and cuts one connection in 20 before it answers"),
        ("answer", "cuts one connection in 20 after half of the answer"),
    ):
        good &= _with_store(bench, command, what, None, lambda *_, where=where: where if rng.random() < 0.05 else "")
    return good


def _with_store(
    bench: Bench, command: str, what: str, act: Callable[[], None] | None, cut: Callable[[str, str], str] | None
) -> bool:
    door, output = bench.door, bench.new_output("s3")
    before, start = door.num_refused + door.num_cut, time.monotonic()
    door.cut = cut
    process = bench.start(command, output)
    thread = threading.Thread(target=act or (lambda: None))
    thread.start()
    code, said = process.wait()
    took = time.monotonic() - start
    door.reset()
    thread.join()
    problems = [f"exit code {code}: {said[-500:]}"] if code else bench.problems(command, output)
    met = door.num_refused + door.num_cut - before
    print(f"| {what} | {met:,} | {took:.0f} | {'yes' if not problems else 'no'} |", flush=True)
    for problem in problems:
        print(f"      PROBLEM: {problem}", flush=True)
    delete(output)
    return not problems


@contextlib.contextmanager
def store() -> Iterator[Door]:
    """An S3 server, which the environment names."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    with s3_server() as (endpoint, door):
        os.environ |= {
            "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }  # fmt: skip
        yield door


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=0, help="how many kills")
    parser.add_argument("--first", type=int, default=1, help="of the seed's kills (%(default)s)")
    parser.add_argument("--outages", action="store_true", help="the store answers 503 for 1, 5, 30 and 120 s")
    parser.add_argument("--cuts", action="store_true", help="the store cuts connections")
    parser.add_argument(
        "--until", choices=CORPUS_STAGES[-1:], help="with the stores that are away, the last stage (all stages)"
    )
    parser.add_argument("--seed", type=int, default=1, help="chooses stages, processes and moments (%(default)s)")
    parser.add_argument("--pages", type=int, default=40, help="of the sample crawl (%(default)s)")
    parser.add_argument("--folder", help="where to work (a temporary folder)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kills-", dir=options.folder))
    try:
        with store() as door:
            bench = Bench(folder, door, options.pages)
            command = "corpus" if options.until else "run"
            bench.prepare(only_corpus=command == "corpus" and not options.kills)
            print(json.dumps({"seconds of an undisturbed run, by stage": bench.seconds}), flush=True)
            good = kills(bench, options.kills, options.seed, options.first) if options.kills else True
            if options.outages or options.cuts:
                print("| the store | requests met | seconds | same bytes, nothing left |\n|---|---:|---:|---|")
            good &= outages(bench, command, options.seed) if options.outages else True
            good &= cuts(bench, command, options.seed) if options.cuts else True
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
