"""Pace: how fast one host is asked, how many at a time, and when it is left alone."""

from __future__ import annotations

import dataclasses
import email.utils
import itertools
import time
from collections.abc import Callable, Iterator

import pytest

from gobelin.transforms.fetching.fetch_config import FetchConfig, FetchStatus
from gobelin.transforms.fetching.fetch_hosts import Fetched, fetch_all
from gobelin.transforms.fetching.fetch_http import Answer, HttpClient
from gobelin.transforms.fetching.fetch_pace import backoff_seconds, retry_after_seconds
from tests.misbehaving_server import MisbehavingServer, answer, network, serving

CONFIG = FetchConfig(
    enabled=True, contact="bot@example.org", host_delay_seconds=0, retry_seconds=0.02, timeout_seconds=1,
    grace_seconds=0.5,
)  # fmt: skip


@pytest.fixture
def server(png: Callable[..., bytes]) -> Iterator[MisbehavingServer]:
    with serving(png(0, 20, 20)) as running:
        yield running


def fetch(server: MisbehavingServer, urls: list[str], config: FetchConfig = CONFIG) -> dict[str, Fetched]:
    outcomes = fetch_all(urls, config, 10**6, network(server.port))
    return {item.row["url"]: item for item in outcomes if isinstance(item, Fetched)}


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """(URL, seconds) of each request as the client begins it: when it reaches the server depends on the machine."""
    started: list[tuple[str, float]] = []
    get = HttpClient.get

    async def noting(client: HttpClient, url: str, max_bytes: int, wants_image: bool) -> Answer:
        started.append((url, time.monotonic()))
        return await get(client, url, max_bytes, wants_image)

    monkeypatch.setattr(HttpClient, "get", noting)
    return started


def gaps(starts: list[tuple[str, float]], host: str = "a.example") -> list[float]:
    """Seconds between the beginnings of requests to a host."""
    times = [at for url, at in starts if host in url]
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def statuses(found: dict[str, Fetched]) -> list[str]:
    """In the order of the URLs."""
    return [found[url].row["status"] for url in sorted(found)]


def test_delay_between_requests_to_one_host(server: MisbehavingServer, starts: list[tuple[str, float]]) -> None:
    config = dataclasses.replace(CONFIG, host_delay_seconds=0.15, host_concurrency=4)
    fetch(server, [server.url(f"/ok.png?{number}") for number in range(4)], config)
    assert len(server.requests) == 6
    assert min(gaps(starts)) >= 0.15


def test_hosts_do_not_wait_for_each_other(server: MisbehavingServer) -> None:
    config = dataclasses.replace(CONFIG, host_delay_seconds=0.2)
    urls = [server.url("/ok.png", f"h{number}.example") for number in range(20)]
    started = time.monotonic()
    assert set(statuses(fetch(server, urls, config))) == {"ok"}
    assert time.monotonic() - started < 8  # 3 requests a host: 0.4 s; one after the other: 12 s


@pytest.mark.parametrize("at_a_time", [1, 3])
def test_requests_to_one_host_at_a_time(server: MisbehavingServer, at_a_time: int) -> None:
    config = dataclasses.replace(CONFIG, host_concurrency=at_a_time)
    fetch(server, [server.url(f"/slow?{number}") for number in range(6)], config)
    assert server.max_open["a.example"] == at_a_time


def test_requests_of_a_worker_at_a_time(server: MisbehavingServer) -> None:
    config = dataclasses.replace(CONFIG, concurrency=3)
    fetch(server, [server.url("/slow", f"h{number}.example") for number in range(9)], config)
    assert server.max_open_at_all == 3


def test_crawl_delay_counts_where_it_is_longer(server: MisbehavingServer, starts: list[tuple[str, float]]) -> None:
    text = b"User-agent: *\nCrawl-delay: 0.3\n"
    server.routes[("a.example", "/robots.txt")] = server.routes[("b.example", "/robots.txt")] = answer(200, text)
    urls = [server.url(f"/ok.png?{number}", host) for number in range(3) for host in ("a.example", "b.example")]
    fetch(server, urls, dataclasses.replace(CONFIG, host_delay_seconds=0.1))
    assert min(gaps(starts)[2:]) >= 0.3
    assert max(gaps(starts)[:1]) >= 0.1


def test_a_host_has_its_time(server: MisbehavingServer) -> None:
    server.routes["/robots.txt"] = answer(200, b"User-agent: *\nCrawl-delay: 86400\n")
    config = dataclasses.replace(CONFIG, max_host_seconds=0.5)
    found = fetch(server, [server.url(f"/ok.png?{number}") for number in range(4)], config)
    assert statuses(found) == ["ok", "limit_reached", "limit_reached", "limit_reached"]
    assert found[server.url("/ok.png?3")].row["tries"] == 0


def test_images_a_host(server: MisbehavingServer) -> None:
    config = dataclasses.replace(CONFIG, max_images_per_host=2)
    urls = [server.url(f"/ok.png?{number}", host) for number in range(4) for host in ("a.example", "b.example")]
    assert statuses(fetch(server, urls, config)) == ["ok", "ok", "limit_reached", "limit_reached"] * 2
    assert len([path for path in server.paths() if path.startswith("/ok.png")]) == 4


@pytest.mark.parametrize("path", ["/503", "/429", "/silent", "/reset", "/garbage"])
def test_a_host_that_fails_again_and_again_is_left(server: MisbehavingServer, path: str) -> None:
    config = dataclasses.replace(CONFIG, max_failures_in_a_row=3, host_concurrency=1, max_tries=1, timeout_seconds=0.2)
    found = fetch(server, [server.url(f"{path}?{number}") for number in range(6)], config)
    assert statuses(found)[3:] == ["host_unreachable"] * 3
    assert "host_unreachable" not in statuses(found)[:3]
    assert "3 failures in a row" in found[server.url(f"{path}?5")].row["detail"]
    assert len([each for each in server.paths() if each.startswith(path)]) == 3


def test_missing_images_are_no_failure_of_the_host(server: MisbehavingServer) -> None:
    config = dataclasses.replace(CONFIG, max_failures_in_a_row=2)
    urls = [server.url(f"{path}?{number}") for number in range(5) for path in ("/404", "/page", "/to-file", "/bomb")]
    assert "host_unreachable" not in statuses(fetch(server, urls, config))


def test_failures_between_successes_are_not_in_a_row(server: MisbehavingServer) -> None:
    for number in range(8):
        server.routes[f"/{number}"] = server.routes["/ok.png" if number % 2 else "/reset"]
    config = dataclasses.replace(CONFIG, max_failures_in_a_row=2, host_concurrency=1)
    found = fetch(server, [server.url(f"/{number}") for number in range(8)], config)
    assert statuses(found) == ["connection_error", "ok"] * 4


def test_a_dead_host_is_asked_once(server: MisbehavingServer) -> None:
    server.routes["/robots.txt"] = server.routes["/reset"]
    found = fetch(server, [server.url(f"/ok.png?{number}") for number in range(20)])
    assert statuses(found) == ["connection_error"] * 20
    assert {item.row["tries"] for item in found.values()} == {0}
    assert server.paths() == ["/robots.txt"]


def test_retry_after_is_obeyed_by_the_whole_host(server: MisbehavingServer, starts: list[tuple[str, float]]) -> None:
    # a date has whole seconds: five from now are at least two when the answer comes
    date = email.utils.formatdate(time.time() + 5, usegmt=True)
    asked_for = {"a.example": (429, "2"), "b.example": (503, "2"), "c.example": (429, date), "d.example": (503, date)}
    for host, (status, value) in asked_for.items():
        server.routes[(host, "/busy")] = server.flaky(answer(status, b"", (("Retry-After", value),)), 1)
    # two at a time: while one waits for its next try, the other could ask, and must not
    config = dataclasses.replace(CONFIG, host_concurrency=2, host_delay_seconds=0.5)
    urls = [server.url(path, host) for host in asked_for for path in ("/busy", "/ok.png")]
    found = fetch(server, urls, config)
    assert statuses(found) == ["ok"] * 8
    for host in asked_for:
        assert found[server.url("/busy", host)].row["tries"] == 2
        assert gaps(starts, host)[server.paths(host).index("/busy")] >= 2


def test_a_host_that_asks_for_too_long_a_rest_is_left(server: MisbehavingServer) -> None:
    server.routes["/busy"] = answer(429, b"", (("Retry-After", "3600"),))
    config = dataclasses.replace(CONFIG, host_concurrency=1)
    started = time.monotonic()
    found = fetch(server, [server.url("/busy"), server.url("/ok.png")], config)
    assert time.monotonic() - started < 60
    assert statuses(found) == ["http_error", "host_unreachable"]
    assert found[server.url("/busy")].row["tries"] == 1
    assert found[server.url("/ok.png")].row["detail"] == "Retry-After: 3600 seconds"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0), ("120", 120), (" 7 ", 7), ("99999999999999999999", 9999999999), ("-1", None), ("1.5", None),
        ("soon", None), ("", None), ("Thu, 01 Jan 1970 00:01:40 GMT", 40), ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 01 Jan 1970 00:01:40 +0000", 40), ("Thu, 99 Foo 1970", None), ("Mon, 01 Jan 99999 00:00:00 GMT", None),
        ("\u0663", None),
    ],
)  # fmt: skip
def test_retry_after_values(value: str, seconds: float | None) -> None:
    given = Answer(FetchStatus.HTTP_ERROR, 429, (("retry-AFTER", value),))
    assert retry_after_seconds(given, 60.0) == seconds


def test_backoff_doubles_and_differs_between_urls() -> None:
    config = dataclasses.replace(CONFIG, retry_seconds=2)
    for tries in (1, 2, 3):
        waits = [backoff_seconds(config, f"http://a.example/{number}", tries) for number in range(1000)]
        mean = 2 * 2 ** (tries - 1)
        assert min(waits) >= 0.5 * mean
        assert max(waits) <= 1.5 * mean
        assert abs(sum(waits) / 1000 - mean) < 0.05 * mean
        assert len(set(waits)) > 900
