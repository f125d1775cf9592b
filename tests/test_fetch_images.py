"""The transforms: which images are wanted, and what comes of them in a pipeline."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from gobelin.data.model import Source
from gobelin.pipeline.run.plan import Batch, Step, data_sets
from gobelin.pipeline.stages import extract as stage
from gobelin.pipeline.stages.link import LinkJob, run_link
from gobelin.store.dataset import Attempt
from gobelin.store.shards import read_folder
from gobelin.transforms.archives.ranges import ArchiveRange
from gobelin.transforms.extract.config import ExtractConfig
from gobelin.transforms.extract.extract import ImageDraft, address_keys, extract_image
from gobelin.transforms.fetching import fetch_http
from gobelin.transforms.fetching.fetch import FetchImages
from gobelin.transforms.fetching.fetch_config import FetchConfig, FetchStatus
from gobelin.transforms.fetching.wanted_urls import Choice, WantedUrls, wanted_url
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
        ([Choice(0, "http://a/1.SVG?v=1", False, False), Choice(1, "http://a/2.png", False, False)], 2, "http://a/2.png"),
        ([Choice(0, "ftp://a/1", False, False), Choice(1, "http://[::1", False, False)], 2, None),
        ([Choice(0, "http://a/2", False, False), Choice(0, "http://a/1", False, False)], 2, "http://a/1"),
    ],
)  # fmt: skip
def test_wanted_url(choices: list[Choice], num_candidates: int, wanted: str | None) -> None:
    assert wanted_url(choices, num_candidates) == wanted
    assert wanted_url(reversed(choices), num_candidates) == wanted


def wanted_of(
    pages: list[dict[str, Any]], archived: list[str], tried: list[str], num_candidates: int, expected: list[str]
) -> None:
    with beam.Pipeline("FnApiRunner") as pipeline:
        urls = (
            pipeline | "Pages" >> beam.Create(pages),
            pipeline | "Images" >> beam.Create([{"url_key": url_key(url)} for url in archived]),
            pipeline | "Fetches" >> beam.Create([{"url": url} for url in tried]),
        ) | WantedUrls(num_candidates)
        assert_that(urls, equal_to(expected))


CANDIDATES = {
    "d1": [
        ["http://img.example/a-large.png", "http://img.example/a.png"],
        ["http://img.example/b.png"],
        ["data:image/png;sha256=00"],
        [],
    ],
    "d2": [["https://IMG.example/b.png#top", "https://img.example/c.png"]],
}
PAGES = [{"doc_id": doc_id, **address_keys("", urls)} for doc_id, urls in CANDIDATES.items()]


def test_images_without_any_archived_address_are_wanted_once() -> None:
    # data: images that could not be decoded have no row; b.png stands in two pages and two spellings
    first = ["http://img.example/a-large.png", "https://IMG.example/b.png#top"]
    wanted_of(PAGES, ["http://else.example/x.png"], [], 2, first)
    wanted_of(PAGES, ["http://img.example/a.png"], [], 2, first[1:])
    wanted_of(PAGES, ["http://img.example/a.png", "https://img.example/c.png"], [], 2, ["http://img.example/b.png"])


def test_the_second_round_wants_second_choices() -> None:
    tried = ["http://img.example/a-large.png", "https://IMG.example/b.png#top"]
    wanted_of(PAGES, [], tried, 2, ["http://img.example/a.png", "https://img.example/c.png"])
    wanted_of(PAGES, [tried[0]], tried, 2, ["https://img.example/c.png"])
    wanted_of(PAGES, [], tried, 1, [])


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
        want = stage.WantJob((read,), tuple(rounds), str(tmp_path), f"wanted-{turn}", 2, 2)
        plan.run(Step("want", stage.want_images, [Batch([], want)], data_sets(str(tmp_path), 2, want.name)))
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
