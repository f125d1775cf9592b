"""Measures the peak memory of one worker on a large archive: real pages and images, repeated under new hosts.

The archive is written to a temporary folder and deleted afterwards. ``gobelin run --workers 1`` reads it. Meanwhile the
bench records the resident memory of every process that it started (Linux: /proc). Pages name most of their images
relatively, so a copy under a new host has its images there too. Each copy of an image ends in different bytes, so it is
a different image.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from extraction_gold import web_records
from extraction_speed import response

INTERVAL = 1.0
"""Seconds between two looks at the processes."""

SHOWN = 5
"""Processes of which the course is given, those with the highest peaks."""


def measure_memory(corpus: Path, size: float, until: str, temporary: Path | None) -> dict[str, Any]:
    """Peak and course of resident memory, in MiB, of the processes that have most of it.

    Args:
        size: of the archive, GB (10^9 bytes, compressed).
        until: last stage of the run.
    """
    with tempfile.TemporaryDirectory(dir=temporary) as work:
        archive = Path(work, "large.warc.gz")
        num_records = write_large_archive(archive, corpus, int(size * 1e9))
        command = [
            str(Path(sys.executable).with_name("gobelin")), "run", "--recipe", "obelics", "--input", str(archive),
            "--output", str(Path(work, "out")), "--until", until, "--workers", "1", "--quiet",
        ]  # fmt: skip
        start = time.monotonic()
        course: dict[int, list[tuple[float, float]]] = defaultdict(list)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                while process.poll() is None:
                    for pid in _tree(process.pid):
                        memory = _resident(pid)
                        if memory is not None:
                            course[pid].append((time.monotonic() - start, memory))
                    time.sleep(INTERVAL)
            finally:
                process.terminate()
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
        processes = sorted(course.values(), key=lambda samples: -max(memory for _, memory in samples))[:SHOWN]
        return {
            "archive": {
                "records": num_records,
                "GB": archive.stat().st_size / 1e9,
                "wall s": round(time.monotonic() - start),
                "peak MiB": round(max(memory for _, memory in processes[0])),
                "all processes, peak MiB": round(max(_sums(course.values()))),
            },
            "processes": {
                f"from {samples[0][0]:.0f} s to {samples[-1][0]:.0f} s": _course(samples) for samples in processes
            },
        }


def _course(samples: list[tuple[float, float]]) -> dict[str, int]:
    """MiB at the tenths of a process's time, and its peak."""
    tenths = {f"{tenth}0 %": round(samples[len(samples) * tenth // 10][1]) for tenth in range(10)}
    return {**tenths, "peak": round(max(memory for _, memory in samples))}


def write_large_archive(path: Path, corpus: Path, num_bytes: int) -> int:
    """Writes the archive; number of records."""
    records = [(url, content_type, payload) for _, url, content_type, payload in web_records(corpus / "web")]
    written = count = copy = 0
    with path.open("wb") as stream:
        while True:
            copy += 1
            for url, content_type, payload in records:
                parts = urlsplit(url)
                new_url = urlunsplit(parts._replace(netloc=f"copy{copy}.{parts.netloc}"))
                if content_type.startswith("image/"):
                    payload += f"\n{copy}\n".encode()
                written += stream.write(gzip.compress(response(new_url, content_type, payload), 1))
                count += 1
                if written >= num_bytes:
                    return count


def _tree(root: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            children[int(stat.rpartition(")")[2].split()[1])].append(int(entry.name))
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue.extend(children[pid])
    return found


def _resident(pid: int) -> float | None:
    """MiB; None where the process is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return None


def _sums(courses: Any) -> list[float]:
    """Memory of all processes together at each second."""
    sums: dict[int, float] = defaultdict(float)
    for samples in courses:
        for moment, memory in samples:
            sums[round(moment / INTERVAL)] += memory
    return list(sums.values())
