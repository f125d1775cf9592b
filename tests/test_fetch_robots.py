"""robots.txt and tdmrep.json of an image's host: read first, obeyed, and recorded."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator

import pytest

from gobelin.transforms.fetching.fetch_config import FetchConfig, FetchStatus
from gobelin.transforms.fetching.fetch_hosts import Fetched, fetch_all
from gobelin.transforms.fetching.fetch_http import Answer
from gobelin.transforms.fetching.robots_cache import MAX_ROBOTS_BYTES, Policy, our_groups, read_robots
from gobelin.transforms.rights.site_policy import POLICY_INDEX, read_site
from tests.misbehaving_server import MisbehavingServer, Misdeed, answer, network, serving

CONFIG = FetchConfig(
    enabled=True, contact="bot@example.org", host_delay_seconds=0, retry_seconds=0.02, timeout_seconds=1,
    grace_seconds=0.5, max_failures_in_a_row=1000,
)  # fmt: skip


@pytest.fixture
def server(png: Callable[..., bytes]) -> Iterator[MisbehavingServer]:
    with serving(png(0, 20, 20)) as running:
        yield running


def fetch(server: MisbehavingServer, urls: list[str], config: FetchConfig = CONFIG) -> dict[str, Fetched]:
    outcomes = fetch_all(urls, config, 10**6, network(server.port))
    return {item.row["url"]: item for item in outcomes if isinstance(item, Fetched)}


def robots(text: str) -> bytes:
    return answer(200, text.encode())


def policy(text: str | bytes) -> Policy:
    body = text.encode() if isinstance(text, str) else text
    return read_robots("http://a.example/robots.txt", Answer(FetchStatus.OK, 200, (), body))


ALLOWED = [
    "",
    "User-agent: *\nDisallow:",
    "User-agent: *\nDisallow: /private",
    "User-agent: other\nDisallow: /",
    "User-agent: gobelinesque\nDisallow: /",
    "User-agent: *\nDisallow: /\n\nUser-agent: gobelin\nAllow: /",
    "User-agent: *\nDisallow: /\nAllow: /photos/",
    "User-agent: *\nDisallow: /*.gif$\nDisallow: /photos/a.png.html",
    "Disallow: /",
    "<!doctype html><html><body>User-agent: *<br>Disallow: /</body></html>",
    "\0\0\0" * 1000,
]
FORBIDDEN = [
    "User-agent: *\nDisallow: /",
    "User-agent: *\r\nDisallow: /\r\n",
    "User-agent: *\rDisallow: /",
    "\ufeffUser-agent: *\nDisallow: /",
    "user-AGENT : * # all\n  disallow : / # everything",
    "User-agent: gobelin\nDisallow: /photos",
    "User-agent: Gobelin/0.1\nDisallow: /photos",
    "User-agent: GOBELIN # you\nDisallow: /photos",
    "User-agent: other\nUser-agent: gobelin\nUser-agent: another\nDisallow: /",
    "User-agent: *\nAllow: /\n\nUser-agent: gobelin\nDisallow: /*.png$",
    "User-agent: gobelin\nAllow: /\n\nUser-agent: x\nDisallow: /y\n\nUser-agent: gobelin\nDisallow: /photos/",
    "User-agent: *\nCrawl-delay: 1\nDisallow: /%70hotos/",
    "Sitemap: http://a.example/s.xml\nUser-agent: *\nSitemap: http://a.example/t.xml\nDisallow: /",
]


@pytest.mark.parametrize("text", ALLOWED)
def test_rules_that_let_us(text: str) -> None:
    assert policy(text).may_fetch("http://a.example/photos/a.png")


@pytest.mark.parametrize("text", FORBIDDEN)
def test_rules_that_do_not(text: str) -> None:
    assert not policy(text).may_fetch("http://a.example/photos/a.png")


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("User-agent: *\nCrawl-delay: 2.5", 2.5),
        ("User-agent: *\nCrawl-delay: 9\n\nUser-agent: gobelin\nCrawl-delay: 1", 1),
        ("User-agent: *\nCrawl-delay: never", 0),
        ("User-agent: *\nCrawl-delay: -1", 0),
        ("User-agent: *\nCrawl-delay: inf", 0),
        ("User-agent: other\nCrawl-delay: 9", 0),
    ],
)
def test_crawl_delay(text: str, delay: float) -> None:
    assert policy(text).crawl_delay() == delay


ROBOTS_ANSWERS: dict[str, tuple[bytes | str, str]] = {
    # what the host answers -> what becomes of its image; a string names a misdeed of the server
    "missing": (answer(404, b"User-agent: *\nDisallow: /"), "ok"),
    "gone": (answer(410), "ok"),
    "not for us": (answer(403), "ok"),
    "no login": (answer(401), "ok"),
    "no content": (answer(204), "ok"),
    "empty": (answer(200), "ok"),
    "too many requests": (answer(429), "robots_unreachable"),
    "broken": (answer(500), "robots_unreachable"),
    "down": (answer(503, b"User-agent: *\nAllow: /"), "robots_unreachable"),
    "silent": ("/silent", "robots_unreachable"),
    "dripping": ("/drip-body", "robots_unreachable"),
    "cut short": ("/shorter-than-said", "robots_unreachable"),
    "no HTTP": ("/garbage", "robots_unreachable"),
    "in circles": ("/loop", "robots_unreachable"),
    "to a file": ("/to-file", "robots_unreachable"),
    "to nowhere": ("/nowhere", "robots_unreachable"),
    "reset": ("/reset", "connection_error"),
    "a picture": ("/ok.png", "ok"),
    "without end": ("/endless-page", "ok"),  # its first 500 KiB hold no rule
}


def test_answers_to_the_request_for_robots(server: MisbehavingServer) -> None:
    urls = {}
    for number, (name, (given, _)) in enumerate(ROBOTS_ANSWERS.items()):
        host = f"h{number}.example"
        server.routes[(host, "/robots.txt")] = given if isinstance(given, bytes) else server.routes[given]
        urls[name] = server.url("/slow", host)
    found = fetch(server, list(urls.values()))
    assert {name: found[url].row["status"] for name, url in urls.items()} == {
        name: expected for name, (_, expected) in ROBOTS_ANSWERS.items()
    }
    asked_for = {name: "/slow" in server.paths(f"h{number}.example") for number, name in enumerate(ROBOTS_ANSWERS)}
    assert asked_for == {name: expected == "ok" for name, (_, expected) in ROBOTS_ANSWERS.items()}


def test_robots_is_asked_for_once_and_first(server: MisbehavingServer) -> None:
    urls = [server.url(f"/ok.png?{number}") for number in range(5)]
    fetch(server, urls)
    assert server.paths()[:2] == ["/robots.txt", "/.well-known/tdmrep.json"]
    assert sorted(server.paths()[2:]) == [f"/ok.png?{number}" for number in range(5)]


def test_robots_that_moved_are_followed(server: MisbehavingServer) -> None:
    server.routes[("a.example", "/robots.txt")] = answer(
        301, b"", (("Location", server.url("/there/robots.txt", "b.example")),)
    )
    server.routes[("b.example", "/there/robots.txt")] = robots("User-agent: *\nDisallow: /ok.png")
    urls = [server.url("/ok.png"), server.url("/slow")]
    found = fetch(server, urls)
    assert [found[url].row["status"] for url in urls] == ["robots_disallowed", "ok"]
    assert "/ok.png" not in server.paths()


def test_robots_that_fail_at_first_are_tried_again(server: MisbehavingServer) -> None:
    server.routes["/robots.txt"] = answer_then(server, answer(503), robots("User-agent: *\nDisallow: /ok.png"))
    (item,) = fetch(server, [server.url("/ok.png")]).values()
    assert item.row["status"] == "robots_disallowed"
    assert server.paths() == ["/robots.txt", "/robots.txt", "/.well-known/tdmrep.json"]


def answer_then(server: MisbehavingServer, first: bytes, later: bytes) -> Misdeed:
    async def respond(request: object, writer: object) -> None:
        num = server.paths().count("/robots.txt")
        writer.write(first if num == 1 else later)  # type: ignore[attr-defined]

    return respond


def test_each_hop_is_checked(server: MisbehavingServer) -> None:
    server.routes[("closed.example", "/robots.txt")] = robots("User-agent: gobelin\nDisallow: /")
    server.routes[("reserved.example", "/robots.txt")] = robots("User-agent: *\nContent-Signal: ai-train=no\nAllow: /")
    urls = [server.url("/to-disallowed"), server.url("/to-opted-out")]
    found = fetch(server, urls)
    assert [found[url].row["status"] for url in urls] == ["robots_disallowed", "opted_out"]
    assert [found[url].row["final_url"] for url in urls] == [
        server.url("/ok.png", host) for host in ("closed.example", "reserved.example")
    ]
    assert "/ok.png" not in server.paths()


RESERVED = {
    "content-signal": ("/robots.txt", "User-agent: *\nContent-Signal: search=yes, ai-train=no\nAllow: /"),
    "content-usage": ("/robots.txt", "User-agent: *\nContent-Usage: train-ai=n\nAllow: /"),
    "tdmrep": ("/.well-known/tdmrep.json", '[{"location": "/", "tdm-reservation": 1}]'),
    "an agent": ("/robots.txt", "User-agent: GPTBot\nDisallow: /\n\nUser-agent: *\nAllow: /"),
}


@pytest.mark.parametrize(("name", "expected"), [*dict.fromkeys(RESERVED, "opted_out").items()])
def test_opt_outs_of_the_host(server: MisbehavingServer, name: str, expected: str) -> None:
    path, text = RESERVED[name]
    server.routes[path] = robots(text)
    url = server.url("/ok.png")
    strict = dataclasses.replace(CONFIG, opt_outs=(*CONFIG.opt_outs, "disallow"))
    item = fetch(server, [url], strict)[url]
    assert item.row["status"] == expected
    assert item.row["detail"]
    assert "/ok.png" not in server.paths()

    lenient = fetch(server, [url], dataclasses.replace(CONFIG, opt_outs=()))[url]
    assert lenient.row["status"] == "ok"
    assert lenient.capture is not None
    assert len(lenient.capture.consent) == 1  # recorded as found
    assert lenient.capture.consent[0].startswith(("robots.txt ", "tdmrep.json "))


def test_signals_of_all_hosts_on_the_way_are_recorded(server: MisbehavingServer) -> None:
    server.routes[("a.example", "/robots.txt")] = robots("User-agent: CCBot\nDisallow: /")
    server.routes[("reserved.example", "/robots.txt")] = robots("User-agent: GPTBot\nDisallow: /")
    (item,) = fetch(server, [server.url("/to-opted-out")]).values()
    assert item.capture is not None
    assert item.capture.consent == ("robots.txt disallow: ccbot", "robots.txt disallow: gptbot")


def test_policies_are_rows(server: MisbehavingServer) -> None:
    server.routes["/robots.txt"] = robots("User-agent: *\nDisallow: /private\n")
    outcomes = fetch_all([server.url("/ok.png"), server.url("/slow")], CONFIG, 10**6, network(server.port))
    rows = [item for item in outcomes if not isinstance(item, Fetched)]
    assert [(row["host"], row["kind"], row["status"]) for row in rows] == [
        ("a.example", "robots", 200),
        ("a.example", "tdmrep", 404),
    ]
    assert all(set(row) == set(POLICY_INDEX.names) for row in rows)


def test_tdmrep_is_not_asked_for_where_robots_forbid_it(server: MisbehavingServer) -> None:
    server.routes["/robots.txt"] = robots("User-agent: *\nDisallow: /.well-known/")
    fetch(server, [server.url("/ok.png")])
    assert server.paths() == ["/robots.txt", "/ok.png"]


def test_rules_behind_500_kib_do_not_count(server: MisbehavingServer) -> None:
    comment = "# " + "x" * 97 + "\n"
    padding = comment * (MAX_ROBOTS_BYTES // len(comment) + 1)
    server.routes[("far.example", "/robots.txt")] = robots(padding + "User-agent: *\nDisallow: /")
    server.routes[("near.example", "/robots.txt")] = robots("User-agent: *\nDisallow: /\n" + padding)
    urls = [server.url("/ok.png", "far.example"), server.url("/ok.png", "near.example")]
    found = fetch(server, urls)
    assert [found[url].row["status"] for url in urls] == ["ok", "robots_disallowed"]


HOSTILE: dict[str, str | bytes] = {
    "agents over rules": "".join(f"User-agent: a{n}\n" for n in range(15_000)) + "Disallow: /x\n" * 17_000,
    "agents over rules, ours among them": "User-agent: gobelin\n"
    + "".join(f"User-agent: a{n}\n" for n in range(14_000))
    + "".join(f"Disallow: /{n}\n" for n in range(15_000)),
    "wildcards": "User-agent: *\nDisallow: /" + "*a" * 200_000 + "b",
    "many wildcards": "User-agent: *\n" + ("Disallow: /" + "*a" * 50 + "b\n") * 4500,
    "groups": "User-agent: *\nDisallow: /x\n" * 17_000,
    "one long line": "User-agent: *\nDisallow: /" + "%41" * 160_000,
    "dollars": "User-agent: *\n" + "Disallow: /$$$$$$$$\n" * 20_000,
    "short lines": "a\n" * 250_000,
    "colons": ":\n" * 250_000,
    "bytes": bytes(range(256)) * 2000,
    "unterminated": "User-agent:" * 40_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_rules_cost_bounded_time(name: str) -> None:
    started = time.process_time()
    read = policy(HOSTILE[name])
    site = read_site(read.rows)
    for number in range(20):
        read.may_fetch(f"http://a.example/{'a' * 4000}{number}.png")
        site.signals(f"http://a.example/{'a' * 4000}{number}.png")
    assert time.process_time() - started < 5


def test_wildcards_beyond_measure_mean_no() -> None:
    assert policy("User-agent: x\n" + "Disallow: /*\n" * 10_001).status is FetchStatus.ROBOTS_UNREACHABLE
    assert policy("User-agent: x\n" + "Disallow: /*\n" * 10_000).status is FetchStatus.OK


def test_our_groups_keeps_what_speaks_to_us() -> None:
    text = "User-agent: a\nuser agent b\nDisallow: /a\nUSERAGENT: *\nDisallow: /b\nUser-Agent: gobelin/2 # us\nAllow: /"
    assert our_groups(text).splitlines() == [
        "User-agent: others",
        "Disallow: /a",
        "User-agent: *",
        "Disallow: /b",
        "User-agent: gobelin",
        "Allow: /",
    ]
