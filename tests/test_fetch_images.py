"""The transforms: which images are wanted, and what comes of them in a pipeline."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.util import assert_that, equal_to

from gobelin.data.ids import document_id
from gobelin.data.model import Source
from gobelin.pipeline.run.plan import Batch, Plan, Step, data_sets
from gobelin.pipeline.stages import extract as stage
from gobelin.pipeline.stages.extract_link import LinkJob, run_link
from gobelin.pipeline.stages.extract_missing import WantJob, run_want
from gobelin.store.dataset import Attempt, commit_shards
from gobelin.store.shards import read_folder, read_rows, write_shard
from gobelin.store.tables import shard_path
from gobelin.transforms.archives.ranges import ArchiveRange
from gobelin.transforms.extract.config import ExtractConfig
from gobelin.transforms.extract.extract_image import ImageDraft, extract_image
from gobelin.transforms.extract.indexes import IMAGE_INDEX, PAGE_INDEX, address_keys
from gobelin.transforms.fetching import fetch_http
from gobelin.transforms.fetching.fetch import FetchImages
from gobelin.transforms.fetching.fetch_config import FetchConfig, FetchStatus
from gobelin.transforms.fetching.wanted_urls import Choice, wanted_url
from gobelin.transforms.urls import url_key
from tests.misbehaving_server import MisbehavingServer, answer, network, serving

CONFIG = FetchConfig(enabled=True, contact="bot@example.org", host_delay_seconds=0, retry_seconds=0.02)


@pytest.fixture
def server(png: Callable[..., bytes]) -> Iterator[MisbehavingServer]:
    with serving(png(0, 200, 160)) as running:
        yield running


@pytest.mark.parametrize(
    ("choices", "num_candidates", "wanted"),
    [
        ([], 2, None),
        ([Choice(1, "http://a/2", False, False), Choice(0, "http://a/1", False, False)], 2, "http://a/1"),
        ([Choice(0, "http://a/1", False, False), Choice(1, "http://a/2", True, False)], 2, None),
        ([Choice(0, "http://a/1", False, True), Choice(1, "http://a/2", False, False)], 2, "http://a/2"),
        ([Choice(0, "http://a/1", False, True), Choice(1, "http://a/2", False, False)], 1, None),
        ([Choice(0, "http://a/1", False, True)], 2, None),
        ([Choice(0, "data:image/png;sha256=00", False, False), Choice(1, "http://a/2", False, False)], 2, "http://a/2"),
        ([Choice(0, "http://a/1.EPS?v=1", False, False), Choice(1, "http://a/2.png", False, False)], 2, "http://a/2.png"),
        ([Choice(0, "ftp://a/1", False, False), Choice(1, "http://[::1", False, False)], 2, None),
        ([Choice(0, "http://a/2", False, False), Choice(0, "http://a/1", False, False)], 2, "http://a/1"),
    ],
)  # fmt: skip
def test_wanted_url(choices: list[Choice], num_candidates: int, wanted: str | None) -> None:
    assert wanted_url(choices, num_candidates) == wanted
    assert wanted_url(reversed(choices), num_candidates) == wanted


def test_a_drawing_is_fetched_where_it_is_rendered() -> None:
    choices = [Choice(0, "http://a/1.SVG?v=1", False, False), Choice(1, "http://a/2.png", False, False)]
    assert wanted_url(choices, 2) == "http://a/1.SVG?v=1"
    assert wanted_url(choices, 2, with_drawings=False) == "http://a/2.png"


class Wanting:
    """Runs the search for URLs on what archives and fetches are said to hold."""

    def __init__(self, folder: Path, plan: Plan, rows_at_once: int) -> None:
        self._folder, self._plan, self._rows_at_once = folder, plan, rows_at_once

    def __call__(
        self, pages: list[dict[str, Any]], archived: list[str], tried: list[str], num_candidates: int = 2
    ) -> list[list[str]]:
        """The URLs of each of three shards. Images that were fetched are all those tried of which the name ends in
        "-ok"."""
        self._folder.mkdir()
        read, fetched = self._folder / "read", self._folder / "fetched"
        half = len(pages) // 2
        self._write(read / "pages", PAGE_INDEX, pages[:half], pages[half:])
        self._write(read / "images", IMAGE_INDEX, [{"url": each, "url_key": url_key(each)} for each in archived])
        ok = [{"url": each, "url_key": url_key(each)} for each in tried if each.endswith("-ok")]
        self._write(fetched / "images", IMAGE_INDEX, [*ok, {"url": "data:"}])
        self._write(fetched / "fetches", pa.schema([("url", pa.string())]), [{"url": each} for each in tried])
        folders = (str(fetched),) if tried else ()
        job = WantJob((str(read),), folders, str(self._folder), "wanted", num_candidates, 3)
        run_want(self._plan, "want", job, self._rows_at_once)
        shards = sorted(self._folder.glob("wanted/*.parquet"))
        return [[row["url"] for row in read_rows(str(path))] for path in shards]

    @staticmethod
    def _write(folder: Path, schema: pa.Schema, *files: list[dict[str, Any]]) -> None:
        for index, rows in enumerate(files):
            write_shard(shard_path(str(folder), index, len(files)), rows, schema)
        assert commit_shards(str(folder), len(files))


@pytest.fixture(params=["one batch", "many batches"])
def want(request: pytest.FixtureRequest, tmp_path: Path, plan_here: Callable[..., Any]) -> Callable[..., list[str]]:
    """(pages, archived, tried, num_candidates=2) -> sorted URLs, by one pipeline or by many."""
    rows_at_once = 10**6 if request.param == "one batch" else 1
    turns = itertools.count()

    def wanted(*given: Any) -> list[str]:
        return sorted(itertools.chain(*Wanting(tmp_path / f"{next(turns)}", plan_here(2), rows_at_once)(*given)))

    return wanted


CANDIDATES = {
    "d1": [
        ["http://img.example/a-large.png", "http://img.example/a.png"],
        ["http://img.example/b.png"],
        ["data:image/png;sha256=00"],
        [],
    ],
    "d2": [["https://IMG.example/b.png#top", "https://img.example/c.png"]],
}


def a_page(number: int, candidates: list[list[str]]) -> dict[str, Any]:
    return {"doc_id": document_id("", str(number)), **address_keys("", candidates)}


PAGES = [a_page(number, urls) for number, urls in enumerate(CANDIDATES.values())]


def test_images_without_any_archived_address_are_wanted_once(want: Callable[..., list[str]]) -> None:
    # data: images that could not be decoded have no row; b.png stands in two pages and two spellings
    first = ["http://img.example/a-large.png", "https://IMG.example/b.png#top"]
    assert want(PAGES, ["http://else.example/x.png"], []) == first
    assert want(PAGES, ["http://img.example/a.png"], []) == first[1:]
    assert want(PAGES, ["http://img.example/a.png", "https://img.example/c.png"], []) == ["http://img.example/b.png"]


def test_the_second_round_wants_second_choices(want: Callable[..., list[str]]) -> None:
    tried = ["http://img.example/a-large.png", "https://IMG.example/b.png#top"]
    assert want(PAGES, [], tried) == ["http://img.example/a.png", "https://img.example/c.png"]
    assert want(PAGES, [tried[0]], tried) == ["https://img.example/c.png"]
    assert want(PAGES, [], tried, 1) == []


def test_many_batches_want_what_one_batch_wants(tmp_path: Path, plan_here: Callable[..., Any]) -> None:
    """Hosts in odd spellings, images of several pages, pages captured twice, what was fetched before."""
    hosts = ["a.example", "A.Example:80", "b.example:8080", "user@b.example", "straße.example", "xn--strae-oqa.example",
             "%61.example", "[::1]", "a..example", "é" * 300]  # fmt: skip
    rng = random.Random(1)
    urls = [f"{scheme}://{host}/{number}{end}" for scheme in ("http", "https") for host in hosts
            for number in range(20) for end in ("", "-ok", "#x")]  # fmt: skip
    pages = [
        a_page(number % 90, [rng.sample(urls, rng.randrange(4)) for _ in range(rng.randrange(5))])
        for number in range(100)
    ]
    given = pages, rng.sample(urls, 40), rng.sample(urls, 60), 3
    one = Wanting(tmp_path / "one", plan_here(2), 10**6)(*given)
    assert len([url for shard in one for url in shard]) > 40
    assert all(one)
    assert Wanting(tmp_path / "many", plan_here(2), 40)(*given) == one
    assert Wanting(tmp_path / "cluster", plan_here(), 40)(*given) == one


def is_the_image(url: str, data: bytes, captures: list[Any]) -> None:
    (draft,) = [extract_image(capture, ExtractConfig()) for capture in captures]
    assert isinstance(draft, ImageDraft)
    assert (draft.source, draft.warc_file, draft.url) == (Source.FETCHED, "", url)
    assert draft.data == data
    assert "header x-robots-tag: noai, noimageai" in draft.consent
    assert "robots.txt disallow: ccbot" in draft.consent


def test_fetched_images_take_the_road_of_archived_ones(server: MisbehavingServer) -> None:
    server.routes[("h1.example", "/robots.txt")] = answer(200, b"User-agent: CCBot\nDisallow: /\n")
    server.routes[("h2.example", "/robots.txt")] = answer(200, b"User-agent: *\nDisallow: /\n")
    urls = [server.url(path, host) for host in ("h1.example", "h2.example") for path in ("/signals", "/404")]

    with beam.Pipeline("FnApiRunner") as pipeline:
        fetched = (
            pipeline
            | beam.Create([*urls, urls[0]])
            | FetchImages(CONFIG, 10**6, num_groups=4, network=network(server.port))
        )
        assert_that(
            fetched.fetches | beam.Map(lambda row: (row["url"], row["status"])),
            equal_to([*zip(urls, ["ok", "http_error", "robots_disallowed", "robots_disallowed"])]),
        )
        assert_that(
            fetched.policies | beam.Map(lambda row: (row["host"], row["kind"])),
            equal_to([("h1.example", "robots"), ("h1.example", "tdmrep"), ("h2.example", "robots")]),
            label="policies",
        )
        assert_that(fetched.images, functools.partial(is_the_image, urls[0], server.image), label="images")
    assert server.paths("h2.example") == ["/robots.txt"]


def test_one_worker_has_all_urls_of_a_host(server: MisbehavingServer) -> None:
    """However many groups there are, a host's robots.txt is asked for once: nobody else knows the host."""
    urls = [server.url(f"/ok.png?{number}", f"h{number % 5}.example") for number in range(20)]
    with beam.Pipeline("FnApiRunner") as pipeline:
        _ = pipeline | beam.Create(urls) | FetchImages(CONFIG, 10**6, num_groups=100, network=network(server.port))
    assert sorted(path for path in server.paths() if path == "/robots.txt") == ["/robots.txt"] * 5
    assert len(server.paths()) == 20 + 2 * 5


def test_a_known_file_is_not_asked_for(server: MisbehavingServer, tmp_path: Any) -> None:
    import hashlib

    from gobelin.transforms.images.block_list import BlockListConfig

    url = server.url("/ok.png")
    listed = tmp_path / "list.txt"
    listed.write_text(hashlib.sha256(url.encode()).hexdigest() + "\n")
    lists = BlockListConfig(url_sha256=(str(listed),))
    with beam.Pipeline("FnApiRunner") as pipeline:
        fetched = (
            pipeline
            | beam.Create([url])
            | FetchImages(CONFIG, 10**6, num_groups=1, block_list=lists, network=network(server.port))
        )
        assert_that(fetched.fetches | beam.Map(lambda row: row["status"]), equal_to(["blocked_url"]))
    assert server.requests == []


def test_the_whole_way(
    server: MisbehavingServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_warc: Callable[..., str],
    record: Callable[..., Any],
    html_page: Callable[..., bytes],
    png: Callable[..., bytes],
    prose: str,
    plan_here: Callable[..., Any],
) -> None:
    """Three images of a page: one is archived, one can be fetched, of one only the second address can be."""
    world = network(server.port)
    monkeypatch.setattr(fetch_http, "Network", lambda: world)
    content = (
        f'<p>{prose}</p><p><img src="http://page.example/held.png" alt="held"></p><p>{prose} And more.</p>'
        f'<p><img src="{server.url("/signals")}" alt="lacking"></p><p>{prose} And still more.</p>'
        f'<p><img src="{server.url("/slow")}" srcset="{server.url("/404")} 2x" alt="twice"></p><p>{prose} The end.</p>'
    )
    archive = make_warc(
        "a.warc.gz",
        [
            record("http://page.example/", html_page(content)),
            record("http://page.example/held.png", png(1), "image/png"),
        ],
    )
    config = ExtractConfig(fetch=CONFIG)
    plan, read, output = plan_here(), str(tmp_path / "read"), str(tmp_path / "out")
    batch = Batch([ArchiveRange(archive)], stage.ReadJob(config, read, 1), data_sets(read, 1, *stage.INDEXES))
    plan.run(Step("read", stage.read_archives, [batch]))
    rounds: list[str] = []
    for turn in ("1", "2"):
        want = WantJob((read,), tuple(rounds), str(tmp_path), f"wanted-{turn}", 2, 2)
        run_want(plan, "want", want, 1)
        fetched = str(tmp_path / f"fetched-{turn}")
        job = stage.FetchJob(config, str(tmp_path / want.name), 2, fetched, 1)
        batch = Batch([0, 1], job, data_sets(fetched, 1, *stage.FETCH_INDEXES))
        plan.run(Step("fetch", stage.fetch_images, [batch]))
        rounds.append(fetched)
    run_link(plan, LinkJob((read,), tuple(rounds), str(tmp_path / "link"), Attempt(output, ""), 1, ("gptbot",)), 1)

    (document,) = read_folder(f"{output}/documents")
    shown = {node["alt"]: node["image_id"] for node in document["nodes"] if node["kind"] == "image"}
    images = {row["image_id"]: row for row in read_folder(f"{output}/images")}
    assert images[shown["held"]]["source"] == "archive"
    assert shown["lacking"] == shown["twice"]  # the same bytes
    assert images[shown["lacking"]]["source"] == "fetched"
    assert images[shown["lacking"]]["urls"] == [server.url("/signals"), server.url("/slow")]
    assert "header x-robots-tag: noai, noimageai" in images[shown["lacking"]]["consent"]
    assert [(row["url"], row["status"]) for row in read_folder(f"{output}/fetches")] == [
        (server.url("/404"), "http_error"),
        (server.url("/signals"), "ok"),
        (server.url("/slow"), "ok"),
    ]


def folder(path: Path, *names: str) -> str:
    """A folder with folders in it."""
    for name in ("spools", *names):
        (path / name).mkdir(parents=True, exist_ok=True)
    return str(path)


def test_every_status_is_documented() -> None:
    text = (Path(__file__).parents[1] / "docs" / "fetching.md").read_text(encoding="utf-8")
    assert [status for status in FetchStatus if f"| `{status}` |" not in text] == []


def test_a_missing_extra_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    def nothing(_: str) -> None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    with pytest.raises(ValueError, match=r"gobelin\[fetch\]"):
        FetchImages(CONFIG, 1, 1)


def test_a_recipe_is_read_without_the_extra() -> None:
    """The configuration's module imports nothing of it."""
    import subprocess
    import sys

    code = "import sys, gobelin.transforms.fetching.fetch; sys.exit(bool({'aiohttp', 'protego'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"num_candidates": 0}, {"max_tries": 0}, {"concurrency": 0}, {"timeout_seconds": 0}, {"host_delay_seconds": -1},
        {"max_redirects": -1},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises(ValueError, match=f"fetch.{name} must"):
        dataclasses.replace(CONFIG, **changes)
