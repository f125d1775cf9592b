"""The graphs through Beam's portable job service, with workers in another process: what Flink and Dataflow will do.

Everything that travels is pickled or coded here, and nothing is shared but the file system. The worker pool is Beam's
own (``worker_pool_main``); it starts workers as plain ``python``, so this environment's folder goes first on PATH.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gobelin.pipeline.cli.main import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Make = Callable[..., Any]

RECIPE = """\
name: small
num_shards: 2
select:
  document: {languages: [en], deny_consent: [noai], min_images: 1, unique: [url, near, image_set]}
  text: {min_words: 2, max_site_count: 3}
  image: {min_side_px: 100, max_nsfw: 0.5}
  unscored_for_safety: keep
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def worker_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address and log of a pool of workers in a process of its own; it and its workers are gone afterwards."""
    log = tmp_path_factory.mktemp("pool") / "log"
    port = free_port()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"],
            env=environment, stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("localhost", port)) == 0:
                    break
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"localhost:{port}", log
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def job_endpoint() -> Iterator[str]:
    """Address of a portable job service."""
    from apache_beam.runners.portability.local_job_service import LocalJobServicer

    servicer = LocalJobServicer()
    port = servicer.start_grpc_server()
    try:
        yield f"localhost:{port}"
    finally:
        servicer.stop()


@pytest.fixture(scope="module")
def archives(
    tmp_path_factory: pytest.TempPathFactory, record: Make, pack: Make, png: Make, html_page: Make, prose: str
) -> Path:
    """Three archives with a bit of everything, and a recipe."""
    folder = tmp_path_factory.mktemp("archives")

    def page(path: str, content: str, **options: Any) -> Any:
        shuffled = [" ".join(random.Random(f"{path} {n}").sample(prose.split(), 40)) for n in range(2)]
        html = f"<p>Of {path}. {shuffled[0]}.</p>{content}<p>{shuffled[1]}. Write to ann@a.example.</p>"
        return record(f"https://a.example/{path}", html_page(html, title=path), **options)

    first = [page(f"p{n}", f"<img src={n}.png alt='Number {n}'><p>{f'More of {n}. ' * 9}</p>") for n in range(6)]
    first += [page("gone", "", status="HTTP/1.1 404 Not Found"), record("https://a.example/empty", b"")]
    second = [record(f"https://a.example/{n}.png", png(n, 60 if n == 3 else 200), "image/png") for n in range(8)]
    second += [record("https://a.example/broken.png", png()[:-99], "image/png"), page("p0", "<img src=1.png>")]
    third = [
        page("opted-out", "<img src=1.png>", headers=(("X-Robots-Tag", "noai"),)),
        b"no record at all" * 9,
        page("p7", "<img src=7.png>"),
    ]
    for name, records in {"a": first, "b": second, "c": third}.items():
        (folder / f"{name}.warc.gz").write_bytes(pack(records))
    (folder / "small.yaml").write_text(RECIPE)
    return folder


def run(archives: Path, output: Path, *more: str) -> dict[str, Any]:
    argv = [
        "run",
        "--recipe",
        str(archives / "small.yaml"),
        "--input",
        str(archives / "*.warc.gz"),
        "--until",
        "select",
    ]
    assert main([*argv, "--output", str(output), "--quiet", "--workers", "2", *more]) == 0
    return json.loads((output / "run.json").read_text())["stages"]


def digests(output: Path) -> dict[str, str]:
    files = sorted(output.rglob("*.parquet"))
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_portable_runner_gives_the_same_bytes(
    archives: Path, tmp_path: Path, worker_pool: tuple[str, Path], job_endpoint: str
) -> None:
    """The graphs that read, link, measure, join and select; with several index shards, as remote runs have them."""
    local = run(archives, tmp_path / "local")
    assert local["select"]["documents"]["kept"] > 2
    assert local["extract"]["records"]["unreadable"] == 1
    address, log = worker_pool
    remote = run(
        archives, tmp_path / "portable", "--runner", "PortableRunner", "--", f"--job_endpoint={job_endpoint}",
        "--environment_type=EXTERNAL", f"--environment_config={address}",
    )  # fmt: skip
    for stage in ("extract", "score", "select"):
        for unit in ("documents", "images"):
            assert remote[stage][unit] == local[stage][unit]
    assert digests(tmp_path / "portable") == digests(tmp_path / "local")
    assert not (tmp_path / "portable" / "logs").exists(), "nothing ran in local worker processes"
    assert log.read_text().count("Starting worker") >= 5, "each graph ran in a worker of the pool"
