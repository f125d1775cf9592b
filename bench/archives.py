"""Counts the records that gobelin, warcio and fastwarc find in archives, and measures records per CPU-second.

    python bench/archives.py counts '../shared/corpus/warc-edge/*/*' '../shared/corpus/web/*' --peers-python PYTHON
    python bench/archives.py speed crawl.warc.gz crawl.warc --peers-python PYTHON

PYTHON is the interpreter of an environment with warcio and fastwarc. gobelin runs in this one. Each reader gets each
file in a process of its own, which is stopped after a minute.

``counts``: for a peer, a record counts if the peer returns it. For gobelin, the data set ``archives`` has the number of
records. Beside it stands the number of these that failed: incomplete records, and stretches without any. ``speed``:
``blocks`` reads every record to its end without parsing it. ``payloads`` also decodes HTTP bodies (gobelin: of pages,
images and policies; warcio: of responses; fastwarc parses only HTTP heads). The numbers are medians of repeated
readings in one process, after one reading that is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import io
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

READERS = ("gobelin", "warcio", "fastwarc")
LIMIT_BYTES = 20_000_000
SECONDS = 60


def read_gobelin(path: str, mode: str) -> tuple[int, str]:
    from gobelin.data.model import ArchiveTally, Decision
    from gobelin.transforms.archives.ranges import ArchiveRange
    from gobelin.transforms.archives.read_warc import read_range
    from gobelin.transforms.archives.records import ArchiveRecords, Damage

    if mode == "blocks":
        with open(path, "rb") as stream:
            archive = ArchiveRecords(stream)
            num_records = 0
            for record in archive:
                if not isinstance(record, Damage):
                    num_records += 1
                    record.read(1 << 40)
                    record.finish()
        return num_records, ""
    num_records, rules = 0, []
    for found in read_range(ArchiveRange(path), LIMIT_BYTES, LIMIT_BYTES):
        if isinstance(found, ArchiveTally):
            num_records += found.num_records
        elif isinstance(found, Decision):
            rules.append(found.rule)
    return num_records, ", ".join(f"{rules.count(rule)} {rule}" for rule in sorted(set(rules)))


def read_warcio(path: str, mode: str) -> tuple[int, str]:
    from warcio.archiveiterator import ArchiveIterator

    num_records = 0
    with open(path, "rb") as stream, contextlib.redirect_stderr(io.StringIO()):
        try:
            for record in ArchiveIterator(stream, no_record_parse=mode != "payloads"):
                num_records += 1
                if mode == "payloads" and record.rec_type == "response":
                    record.content_stream().read()
                else:
                    record.raw_stream.read()
        except Exception as error:  # noqa: BLE001  # whatever a peer raises is its result
            return num_records, type(error).__name__
    return num_records, ""


def read_fastwarc(path: str, mode: str) -> tuple[int, str]:
    from fastwarc.warc import ArchiveIterator

    num_records = 0
    with open(path, "rb") as stream:
        try:
            for record in ArchiveIterator(stream, parse_http=mode == "payloads"):
                num_records += 1
                record.reader.read()
        except Exception as error:  # noqa: BLE001  # whatever a peer raises is its result
            return num_records, type(error).__name__
    return num_records, ""


def work(reader: str, mode: str, path: str, repeat: int) -> dict[str, Any]:
    read = {"gobelin": read_gobelin, "warcio": read_warcio, "fastwarc": read_fastwarc}[reader]
    num_records, note = read(path, mode)
    seconds = []
    for _ in range(repeat):
        start = time.process_time()
        read(path, mode)
        seconds.append(time.process_time() - start)
    return {"records": num_records, "note": note, "seconds": statistics.median(seconds) if seconds else None}


def run(reader: str, mode: str, path: str, repeat: int, peers_python: str) -> dict[str, Any]:
    python = sys.executable if reader == "gobelin" else peers_python
    command = [python, __file__, "work", reader, mode, path, "--repeat", str(repeat)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"records": 0, "note": f"no end after {SECONDS} s", "seconds": None}
    if done.returncode:
        return {"records": 0, "note": f"exit {done.returncode}", "seconds": None}
    return json.loads(done.stdout.splitlines()[-1])


def print_counts(paths: list[str], peers_python: str) -> None:
    print("| file | gobelin | warcio | fastwarc | of gobelin's failed |\n|---|---|---|---|---|")
    for path in paths:
        found = {reader: run(reader, "counts", path, 0, peers_python) for reader in READERS}
        cells = [f"{found[name]['records']} {found[name]['note']}".strip() for name in READERS[1:]]
        ours = found["gobelin"]
        lower = " **lower**" if ours["records"] < max(found[name]["records"] for name in READERS[1:]) else ""
        print(
            f"| {'/'.join(Path(path).parts[-2:])} | {ours['records']}{lower} | {' | '.join(cells)} | {ours['note']} |"
        )


def print_speed(paths: list[str], peers_python: str, repeat: int) -> None:
    print("| file | reading | gobelin | warcio | fastwarc |\n|---|---|---|---|---|")
    for path in paths:
        for mode in ("blocks", "payloads"):
            cells = []
            for reader in READERS:
                found = run(reader, mode, path, repeat, peers_python)
                cells.append(f"{found['records'] / found['seconds']:,.0f}" if found["seconds"] else found["note"])
            print(f"| {Path(path).name} | {mode} | {' | '.join(cells)} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("counts", "speed", "work"))
    parser.add_argument("paths", nargs="+", help="files, or quoted globs of them")
    parser.add_argument("--peers-python", default=sys.executable, help="interpreter that has the peers (this one)")
    parser.add_argument("--repeat", type=int, default=7, help="readings of each file for speed (%(default)s)")
    options = parser.parse_args()
    if options.what == "work":
        reader, mode, path = options.paths
        print(json.dumps(work(reader, mode, path, options.repeat)))
        return 0
    paths = sorted(path for pattern in options.paths for path in glob.glob(pattern))
    if options.what == "counts":
        print_counts(paths, options.peers_python)
    else:
        print_speed(paths, options.peers_python, options.repeat)
    return 0


if __name__ == "__main__":
    sys.exit(main())
