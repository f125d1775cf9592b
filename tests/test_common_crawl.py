"""A crawl as Common Crawl publishes it, and picture hosts as the web has them, through the real command line."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from examples.sample_crawl.page_prose import LEADS
from gobelin.store.dataset import current
from gobelin.store.shards import read_folder
from tests.crawl_server import CRAWL, CrawlServer, crawl_server, publish, publish_index
from tests.misbehaving_server import MisbehavingServer, answer, serving

pytest.importorskip("aiohttp")

GOBELIN = """\
import sys
from gobelin.transforms.fetching import fetch_http
from tests.misbehaving_server import network
world = network(int(sys.argv.pop(1)))
fetch_http.Network = lambda: world
from gobelin.pipeline.cli.main import main
sys.exit(main(owns_process=True))
"""
"""gobelin as its console script calls it, in a world whose hosts are one server on this machine."""

ROOT = Path(__file__).parent.parent
NUM_PAGES = 24
SENTENCES = [
    sentence.format(when="last winter", where="by the window", who="a friend", Who="A friend")
    for sentences in LEADS.values()
    for sentence in sentences
]


class World(NamedTuple):
    crawl: CrawlServer
    hosts: MisbehavingServer
    folder: Path

    def gobelin(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Runs a command."""
        return subprocess.run(
            [sys.executable, "-c", GOBELIN, str(self.hosts.port), *argv],
            cwd=self.folder,
            env={**os.environ, "GOBELIN_COMMON_CRAWL": self.crawl.url, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=240,
        )


def hotlink_protected(image: bytes) -> bytes:
    return answer(403, b"<html>no hotlinks</html>", (("Content-Type", "text/html"),))


@pytest.fixture
def world(
    tmp_path: Path, png: Callable[..., bytes], html_page: Callable[..., bytes], record: Callable[..., Any],
    pack: Callable[..., bytes],
) -> Iterator[World]:  # fmt: skip
    """Pages on 24 sites in three archives, each with a picture that its host gives, and one that another host does not
    give, or in its own way."""
    others = [
        "none.example{0}/x.png", "deaf.example{0}/x.png", "slow.example{0}/drip-body", "moved.example{0}/1-hop",
        "gone.example{0}/404", "wall.example{0}/hotlink", "typed.example{0}/page-as-png", "inside.example{0}/ok.png",
    ]  # fmt: skip
    with crawl_server() as crawl, serving(png(0)) as hosts:
        hosts.routes["/hotlink"] = hotlink_protected(png(1))
        pages = []
        for index in range(NUM_PAGES):
            port = f":{hosts.port}"
            hosts.routes[f"/{index}.png"] = answer(200, png(index + 10), (("Content-Type", "image/png"),))
            first = f"http://pictures.example{port}/{index}.png"
            second = f"http://{others[index % len(others)].format(port)}?{index}"
            told = random.Random(index).sample(SENTENCES, 6)
            content = (
                f'<p>{" ".join(told[:3])}</p><figure><img src="{first}"></figure>'
                f'<p>{" ".join(told[3:])}</p><img src="{second}">'
            )
            pages.append(record(f"https://site{index}.example/page", html_page(content, f"Page {index}")))
        publish(crawl, [pack(pages[start::3]) for start in range(3)])
        yield World(crawl, hosts, tmp_path)


FETCH = (
    "{host_delay_seconds: 0, retry_seconds: 0.02, timeout_seconds: 1, connect_timeout_seconds: 1, grace_seconds: 0.5}"
)
COMMON = ["--input", CRAWL, "--output", "out", "--workers", "2", "--until", "select", "--set", "num_shards=2"]


def documents(world: World) -> Iterator[Any]:
    return read_folder(current(str(world.folder / "out/extract/documents")))


@pytest.mark.slow
def test_a_crawl_in_one_line(world: World) -> None:
    world.crawl.troubles = [("/warc/", (503, {}, b"SlowDown"))]
    settings = [f"extract.fetch={FETCH}", "extract.fetch.contact=me@example.org", "select.unscored_for_safety=keep"]
    done = world.gobelin("run", "--recipe", "common-crawl", *COMMON, *(f"--set={each}" for each in settings))
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads((world.folder / "out" / "run.json").read_text())
    assert len(run["input"]) == 3
    assert run["input"][0]["path"].startswith(f"{world.crawl.url}/crawl-data/{CRAWL}/")
    fetched = {row["url"]: row["status"] for row in read_folder(current(str(world.folder / "out/extract/fetches")))}
    assert {status for url, status in fetched.items() if "//pictures" in url} == {"ok"}
    by_host = {url.partition("//")[2].partition(":")[0]: status for url, status in fetched.items()}
    assert by_host == {
        "pictures.example": "ok", "none.example": "dns_error", "deaf.example": "timeout", "slow.example": "too_slow",
        "moved.example": "ok", "gone.example": "http_error", "wall.example": "http_error",
        "typed.example": "not_an_image", "inside.example": "not_global_address",
    } | {"deaf.example": by_host["deaf.example"], "slow.example": by_host["slow.example"]}  # fmt: skip
    assert by_host["deaf.example"] in ("timeout", "robots_unreachable", "host_unreachable")
    assert by_host["slow.example"] in ("timeout", "too_slow")
    assert run["stages"]["select"]["documents"]["kept"] == NUM_PAGES
    line = next(line for line in done.stdout.splitlines() if line.startswith("pictures fetched: "))
    assert line.startswith(f"pictures fetched: {list(fetched.values()).count('ok')} of {len(fetched)} (")
    assert all(reason in line for reason in ("HTTP 404: 3", "HTTP 403: 3", "dns_error: 3", "not_an_image: 3"))
    wall = next(url for url in fetched if "//wall." in url)
    told = world.gobelin("explain", wall, "out").stdout
    assert told == f"fetch {wall}\n  result    http_error (HTTP 403), requests: 1\n\n"
    page = next(row["url"] for row in documents(world) if wall in {node["image_url"] for node in row["nodes"]})
    told = world.gobelin("explain", page, "out").stdout
    assert f"image not in the archive; fetch: http_error (HTTP 403), requests: 1  {wall}" in told
    again = world.gobelin("run", *COMMON[2:])
    assert again.returncode == 0
    assert "select: already done" in again.stdout


@pytest.mark.slow
def test_a_crawl_without_fetching_says_what_to_do(world: World) -> None:
    done = world.gobelin("run", "--recipe", "gobelin", *COMMON, "--set", "select.unscored_for_safety=keep")
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.partition("extract: read archives")[::2]
    assert "this input holds no image, as in Common Crawl's" in first
    assert "--recipe common-crawl" in first
    assert f"nothing was kept: {NUM_PAGES} of {NUM_PAGES} documents went by document.min_images" in last
    assert "the input holds pages and no images: fetch them, with --recipe common-crawl" in last


def test_what_is_missing_is_said_before_anything_is_read(world: World) -> None:
    done = world.gobelin("run", "--recipe", "common-crawl", *COMMON)
    assert done.returncode == 2
    assert "extract.fetch.contact must be a web page" in done.stderr
    assert "select.unscored_for_safety=keep" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    done = world.gobelin("run", "--recipe", "gobelin", "--input", "CC-MAIN-1999-99", "--output", "other")
    assert done.returncode == 2
    assert "no such crawl" in done.stderr


@pytest.mark.slow
def test_pages_in_a_language(world: World) -> None:
    """One page of each archive, by the index; a killed command would find the choice in the output folder."""
    path = min(path for path in world.crawl.files if "/warc/" in path)
    content = world.crawl.files[path]
    end = content.index(b"\x1f\x8b\x08", 1)
    place = {"warc_filename": path, "warc_record_offset": 0, "warc_record_length": end}
    publish_index(world.crawl, [{"content_languages": "eng", **place}] * 2)
    argv = [*COMMON, "--until", "extract", "--set", "select.unscored_for_safety=keep", "--languages", "en"]
    done = world.gobelin("run", "--recipe", "gobelin", *argv)
    assert done.returncode == 0, done.stderr
    run = json.loads((world.folder / "out" / "run.json").read_text())
    (archive,) = run["input"]
    assert (world.folder / "out" / "input" / f"records-{archive['records']}.parquet").exists()
    assert run["stages"]["extract"]["documents"]["seen"] == 1
    again = world.gobelin("run", "--output", "out", "--until", "extract")
    assert "extract: already done" in again.stdout
