"""Documents per CPU-second from archives to documents: gobelin with images, trafilatura's ``extract``, and datatrove's
reader with Trafilatura.

Every run is a process of its own. Its CPU time is that of the process and all its children after its end (user and
system). The time of a run on an archive of two pages is subtracted, so imports and start-up do not count. Runs
alternate, so a machine that slows down slows all of them. The bench prints medians, and the median of the ratios of
pairs.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from extraction_gold import body_pages, snippet_pages, web_records
from extraction_outputs import environment
from PIL import Image as PillowImage

HERE = Path(__file__).parent

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""As gobelin's workers have it: threads that wait for each other would count as work."""


_PEERS = ("trafilatura", "datatrove")
"""Whose pages a CPU-second the others' are compared with."""


def short_page() -> bytes:
    """With so little text, a script that may hold more, and an image of its own, every extractor tries, and so loads,
    all that it has."""
    stream = io.BytesIO()
    PillowImage.effect_noise((128, 128), 64).save(stream, "PNG")
    image = base64.b64encode(stream.getvalue())
    return (
        b"<html><head><title>Short</title><script type='application/ld+json'>{}</script></head><body><div>"
        b"<p>A few words, and no more.</p><img src='data:image/png;base64," + image + b"'></div></body></html>"
    )


def measure_speed(corpus: Path, envs: Path, repeat: int) -> dict[str, Any]:
    """Figures by input and by extractor, and gobelin's steps."""
    with tempfile.TemporaryDirectory() as work:
        gold, web, one = Path(work, "gold"), Path(work, "web"), Path(work, "one")
        pages = [(page.url, "text/html", page.payload) for page in (*snippet_pages(corpus), *body_pages(corpus))]
        write_archive(gold, pages)
        write_archive(one, [*pages[:1], ("http://example.org/", "text/html", short_page())])
        write_archive(web, [(url, kind, data) for _, url, kind, data in web_records(corpus / "web")])
        datatrove = [str(environment("datatrove", envs)), str(HERE / "peers" / "read_warc.py")]
        worker = [sys.executable, str(HERE / "extraction_worker.py")]
        trafilatura = [str(environment("extractors", envs)), str(HERE / "peers" / "read_trafilatura.py")]
        pages_only = {"trafilatura": trafilatura, "datatrove": datatrove, "gobelin": worker}
        with_images = {"gobelin, image records too": [*worker, "--images"], "gobelin run": [*worker, "--stage"]}
        start_up = {
            name: median(run_cpu([*command, str(one)])[0] for _ in range(repeat))
            for name, command in (pages_only | with_images).items()
        }
        return {
            "gold pages": _compare(pages_only, gold, start_up, repeat),
            "web": _compare(pages_only | with_images, web, start_up, repeat),
            "steps": {
                name: _steps([*worker, "--steps"], folder) for name, folder in (("gold pages", gold), ("web", web))
            },
        }


def write_archive(folder: Path, responses: Iterable[tuple[str, str, bytes]]) -> None:
    """One WARC of URLs, types and bodies, as Common Crawl writes it: a gzip member a record, the payload's type
    identified (without which datatrove asks libmagic, and loses pages)."""
    folder.mkdir()
    with (folder / "pages.warc.gz").open("wb") as stream:
        for url, content_type, payload in responses:
            stream.write(gzip.compress(response(url, content_type, payload), 6))


def response(url: str, content_type: str, payload: bytes) -> bytes:
    """A response record."""
    http = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(payload)}\r\n\r\n".encode()
    media_type = content_type.partition(";")[0]
    record_id = hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
    head = (
        "WARC/1.0\r\nWARC-Type: response\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        f"WARC-Record-ID: <urn:sha1:{record_id}>\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Identified-Payload-Type: {media_type}\r\nContent-Type: application/http; msgtype=response\r\n"
        f"Content-Length: {len(http) + len(payload)}\r\n\r\n"
    )
    return head.encode() + http + payload + b"\r\n\r\n"


def _compare(
    commands: dict[str, list[str]], folder: Path, start_up: dict[str, float], repeat: int
) -> dict[str, dict[str, Any]]:
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    outputs: dict[str, Any] = {}
    for _ in range(repeat):
        for name, command in commands.items():
            total, outputs[name] = run_cpu([*command, str(folder)])
            seconds[name].append(total - start_up[name])
    num_pages = outputs["gobelin"]["counts"]["pages"]
    rows = {}
    for name, runs in seconds.items():
        ratios = {peer: [theirs / ours for theirs, ours in zip(seconds[peer], runs)] for peer in _PEERS}
        counts = outputs[name].get("counts", outputs[name])
        rows[name] = {
            "CPU-s": median(runs),
            "pages/CPU-s": num_pages / median(runs),
            "times trafilatura": median(ratios["trafilatura"]),
            "lowest": min(ratios["trafilatura"]),
            "highest": max(ratios["trafilatura"]),
            "times datatrove": median(ratios["datatrove"]),
            "documents": counts["documents"],
            "image nodes": counts.get("images in documents"),
            "images": counts.get("images"),
            "pages": num_pages,
        }
    return rows


def run_cpu(command: Sequence[str]) -> tuple[float, Any]:
    """CPU-seconds of a process and its children, unless it says so itself, and the JSON of its last line."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=out, stderr=errors, env={**os.environ, **ONE_THREAD})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {errors.read()[-2000:]}")
        out.seek(0)
        output = json.loads(out.read().splitlines()[-1])
        return output.get("cpu_seconds", usage.ru_utime + usage.ru_stime), output


def _steps(command: list[str], folder: Path) -> dict[str, Any]:
    _, output = run_cpu([*command, str(folder)])
    num_pages = output["counts"]["pages"]
    rows = {
        name: {"ms/page": 1000 * seconds / num_pages, "share": seconds / output["seconds"]}
        for name, seconds in output["steps"].items()
    }
    return {"rows": rows, "missing": output["missing"], "counts": output["counts"]}
