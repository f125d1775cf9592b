"""robots.txt and tdmrep.json: what they say of one address, to whom, and which capture of them counts."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from gobelin.data.ids import shard_of
from gobelin.transforms.rights.consent import AI_AGENTS
from gobelin.transforms.rights.site_policy import (
    POLICY_INDEX,
    is_policy_url,
    origin_of,
    policy_from_response,
    policy_row,
    read_site,
)

SITE = "https://a.example"
ROBOTS = f"{SITE}/robots.txt"
TDMREP = f"{SITE}/.well-known/tdmrep.json"


def row(text: str | bytes, url: str = ROBOTS, status: int = 200, date: str = "2025-01-01T00:00:00Z") -> dict[str, Any]:
    payload = text.encode() if isinstance(text, str) else text
    found = policy_from_response(url, status, date, payload)
    assert found is not None
    return found


def robots(text: str | bytes, path: str = "/page", agents: tuple[str, ...] = AI_AGENTS) -> list[str]:
    signals = read_site([row(text)], agents).signals(SITE + path)
    assert all(signal.startswith("robots.txt ") for signal in signals)
    return [signal.removeprefix("robots.txt ") for signal in signals]


# ---------------------------------------------------------------------------------------------------------- robots.txt


@pytest.mark.parametrize(
    ("text", "path", "found"),
    [
        ("", "/page", []),
        ("User-agent: *\nDisallow:", "/page", []),
        ("User-agent: *\nDisallow: /", "/page", ["disallow: *"]),
        ("User-agent: CCBot\nDisallow: /", "/page", ["disallow: ccbot"]),
        ("user-agent:ccbot/2.0 # Common Crawl\ndisallow:/", "/page", ["disallow: ccbot"]),
        ("User-agent: GPTBot*\nDisallow: /", "/page", ["disallow: gptbot"]),
        ("User-agent: Kangaroo Bot\nDisallow: /", "/page", ["disallow: kangaroo bot"]),
        ("User-agent: Googlebot\nDisallow: /", "/page", []),
        ("User-agent: myccbot\nDisallow: /", "/page", []),
        # several agents a group, blank lines and sitemaps inside, several groups an agent
        ("User-agent: CCBot\n\nUser-agent: GPTBot\nSitemap: https://a.example/s\n\nDisallow: /", "/page",
         ["disallow: ccbot", "disallow: gptbot"]),
        ("User-agent: CCBot\nDisallow: /x\nUser-agent: GPTBot\nDisallow: /\n", "/page", ["disallow: gptbot"]),
        ("User-agent: CCBot\nDisallow: /a\n\nUser-agent: *\nDisallow:\n\nUser-agent: ccbot\nDisallow: /page", "/page",
         ["disallow: ccbot"]),
        ("User-agent: CCBot, GPTBot\nDisallow: /", "/page", ["disallow: ccbot", "disallow: gptbot"]),
        ("User-agent CCBot\nDisallow /", "/page", ["disallow: ccbot"]),
        ("User agent: CCBot\r\nDisallow: /\r", "/page", ["disallow: ccbot"]),
        ("\ufeffUser-agent: CCBot\nDisallow: /", "/page", ["disallow: ccbot"]),
        # paths: the longest match, wildcards, escapes
        ("User-agent: *\nDisallow: /\nAllow: /page", "/page", []),
        ("User-agent: *\nDisallow: /page/x\nAllow: /page", "/page/x", ["disallow: *"]),
        ("User-agent: *\nDisallow: /*.pdf$", "/a/b.pdf", ["disallow: *"]),
        ("User-agent: *\nDisallow: /*.pdf$", "/a/b.pdf?x", []),
        ("User-agent: *\nDisallow: /caf%C3%A9", "/café/1", ["disallow: *"]),
        ("User-agent: *\nDisallow: /Page", "/page", []),
        # a page, or prose, in place of the file
        ("<!DOCTYPE html><p>User-agent: *\nDisallow: /", "/page", []),
        ("There is nothing here.", "/page", []),
        # rules without a group forbid nothing
        ("Disallow: /", "/page", []),
    ],
)  # fmt: skip
def test_disallow(text: str, path: str, found: list[str]) -> None:
    assert robots(text, path) == found


@pytest.mark.parametrize(
    ("text", "path", "found"),
    [
        ("User-agent: *\nContent-Signal: search=yes,ai-train=no\nAllow: /", "/page",
         ["content-signal: search=yes,ai-train=no"]),
        ("User-Agent: *\ncontent-usage: train-ai=n", "/page", ["content-usage: train-ai=n"]),
        ("User-agent: GPTBot\nContent-Signal: ai-train=no", "/page", ["content-signal: gptbot: ai-train=no"]),
        ("User-agent: Googlebot\nContent-Signal: ai-train=no", "/page", []),
        # the example of draft-ietf-aipref-attach
        ("User-Agent: *\nAllow: /\nDisallow: /never/\nContent-Usage: / train-ai=n\nContent-Usage: /ai-ok/ train-ai=y",
         "/test", ["content-usage: train-ai=n"]),
        ("User-Agent: *\nAllow: /\nDisallow: /never/\nContent-Usage: / train-ai=n\nContent-Usage: /ai-ok/ train-ai=y",
         "/ai-ok/test", ["content-usage: train-ai=y"]),
        ("User-Agent: *\nAllow: /\nDisallow: /never/\nContent-Usage: / train-ai=n\nContent-Usage: /ai-ok/ train-ai=y",
         "/never/test", ["disallow: *"]),
        ("User-agent: *\nContent-Usage: /x/ train-ai=n", "/page", []),
        # equal paths: both; the two fields apart
        ("User-agent: *\nContent-Usage: /p train-ai=n\nContent-Usage: /p train-ai=y", "/page",
         ["content-usage: train-ai=n", "content-usage: train-ai=y"]),
        ("User-agent: *\nContent-Usage: /page train-ai=n\nContent-Signal: ai-train=yes", "/page",
         ["content-signal: ai-train=yes", "content-usage: train-ai=n"]),
        ("User-agent: *\nContent-Usage: /page", "/page", []),
        ("User-agent: *\n# Content-Signal: ai-train=no", "/page", []),
        # before the first group: meant for everybody
        ("Content-Signal: ai-train=no\n\nUser-agent: Googlebot\nDisallow: /", "/page", ["content-signal: ai-train=no"]),
        # a Content- line ends the agents of a group, as any other line does
        ("User-agent: GPTBot\nContent-Signal: ai-train=no\nUser-agent: CCBot\nDisallow: /", "/page",
         ["content-signal: gptbot: ai-train=no", "disallow: ccbot"]),
    ],
)  # fmt: skip
def test_preferences(text: str, path: str, found: list[str]) -> None:
    assert robots(text, path) == found


def test_only_the_agents_asked_for() -> None:
    text = "User-agent: CCBot\nUser-agent: NewBot\nDisallow: /"
    assert robots(text, agents=("newbot",)) == ["disallow: newbot"]
    assert robots(text, agents=()) == []


# -------------------------------------------------------------------------------------------------------------- TDMRep


@pytest.mark.parametrize(
    ("text", "path", "found"),
    [
        ('[{"location": "/", "tdm-reservation": 1}]', "/page", ["tdm-reservation: 1"]),
        ('[{"location": "/", "tdm-reservation": 0}]', "/page", ["tdm-reservation: 0"]),
        ('[{"location": "/", "tdm-reservation": 1, "tdm-policy": "https://a.example/p"}]', "/page",
         ["tdm-policy: https://a.example/p", "tdm-reservation: 1"]),
        # the first that matches is the most specific one
        ('[{"location": "/page", "tdm-reservation": 0}, {"location": "/", "tdm-reservation": 1}]', "/page",
         ["tdm-reservation: 0"]),
        ('[{"location": "/page$", "tdm-reservation": 0}, {"location": "/*.jpg", "tdm-reservation": 1}]', "/page/1.jpg",
         ["tdm-reservation: 1"]),
        ('[{"location": "/x", "tdm-reservation": 1}]', "/page", []),
        ('{"location": "/", "tdm-reservation": 1}', "/page", ["tdm-reservation: 1"]),
        ('[{"location": "/", "tdm-reservation": "1"}]', "/page", ["tdm-reservation: 1"]),
        ('\ufeff[{"location": "/", "tdm-reservation": 1}]', "/page", ["tdm-reservation: 1"]),
        # other values are unset, and the rule still ends the search
        ('[{"location": "/", "tdm-reservation": 2}, {"location": "/", "tdm-reservation": 1}]', "/page", []),
        ('[{"location": "/", "tdm-reservation": true}]', "/page", []),
        ('[{"location": "/", "tdm-reservation": null}]', "/page", []),
        ('[{"location": "/", "tdm-reservation": [1]}]', "/page", []),
        ('[{"tdm-reservation": 1}, 5, null, {"location": 5}, {"location": "/\\nallow: /", "tdm-reservation": 1}]',
         "/page", []),
        ('[{"location": "/\\ud800", "tdm-reservation": 1}, {"location": "/", "tdm-policy": "/\\ud800"}]', "/page",
         ["tdm-policy: /?"]),
        ("[", "/page", []),
        ("", "/page", []),
        ("[" * 100_000, "/page", []),
        ('[{"location": "/", "tdm-reservation": ' + "1" * 10_000 + "}]", "/page", []),
    ],
)  # fmt: skip
def test_tdmrep(text: str, path: str, found: list[str]) -> None:
    signals = read_site([row(text, TDMREP)]).signals(SITE + path)
    assert signals == tuple(f"tdmrep.json {signal}" for signal in found)
    "".join(signals).encode()


# ----------------------------------------------------------------------------------------------- captures, and origins


def test_a_row_fits_its_schema_and_holds_what_matters() -> None:
    text = "# a comment\n\nSitemap: https://a.example/s\n  User-agent:   *  # all\r\nDisallow: /x\n"
    found = row(text)
    assert set(found) == set(POLICY_INDEX.names)
    assert found["text"] == "User-agent: *\nDisallow: /x"
    assert (found["host"], found["origin"], found["kind"]) == ("a.example", SITE, "robots")
    assert shard_of(found["host"], 4) in range(4)
    capture: Any = SimpleNamespace(
        url=ROBOTS, status=200, warc_date="2025-01-01T00:00:00Z", payload=text.encode(), headers=()
    )
    assert policy_row(capture) == found


@pytest.mark.parametrize(
    ("status", "says_something"),
    [(200, True), (404, True), (403, True), (410, True), (301, False), (429, False), (500, False), (0, False)],
)
def test_which_responses_say_something(status: int, says_something: bool) -> None:
    found = policy_from_response(ROBOTS, status, "2025", b"User-agent: *\nDisallow: /")
    assert (found is not None) == says_something
    assert found is None or (found["text"] != "") == (status == 200)


@pytest.mark.parametrize(
    "text", [b"User-agent: *\nDisallow: /\n" + b"\xff\xfe\n", b"\xef\xbb\xbfUser-agent: *\nDisallow: /"]
)
def test_bytes_that_are_no_utf_8(text: bytes) -> None:
    assert robots(text) == ["disallow: *"]


@pytest.mark.parametrize(
    ("captures", "found"),
    [
        ([("2024", 200, "Disallow: /"), ("2025", 200, "Disallow: /x")], False),
        ([("2025", 200, "Disallow: /"), ("2024", 200, "Disallow: /x")], True),
        ([("2024", 200, "Disallow: /"), ("2025", 404, "")], False),
        ([("2025", 200, "Disallow: /"), ("2024", 404, "")], True),
        ([("2025", 404, ""), ("2025", 200, "Disallow: /")], True),  # at the same time: the one that says more
    ],
)
def test_the_newest_capture_counts(captures: list[tuple[str, int, str]], found: bool) -> None:
    rows = [row(f"User-agent: *\n{text}", status=status, date=date) for date, status, text in captures]
    expected = ("robots.txt disallow: *",) if found else ()
    assert read_site(rows).signals(f"{SITE}/page") == expected
    assert read_site(reversed(rows)).signals(f"{SITE}/page") == expected


@pytest.mark.parametrize(
    ("policy", "url", "is_found"),
    [
        ("https://a.example/robots.txt", "https://a.example/page", True),
        ("https://a.example:443/robots.txt", "https://A.example/page", True),
        ("https://a.example/robots.txt", "http://a.example/page", True),
        ("http://a.example/robots.txt", "https://a.example/page", True),
        ("http://a.example:8080/robots.txt", "http://a.example:8080/page", True),
        ("http://a.example:8080/robots.txt", "https://a.example:8080/page", False),
        ("http://a.example:8080/robots.txt", "http://a.example/page", False),
        ("https://www.a.example/robots.txt", "https://a.example/page", False),
        ("https://a.example/robots.txt", "http://[", False),
        ("https://a.example/robots.txt", "data:image/png;sha256=00", False),
        ("https://a.example/robots.txt", "", False),
    ],
)
def test_scope_is_the_origin(policy: str, url: str, is_found: bool) -> None:
    found = read_site([row("User-agent: *\nDisallow: /", policy)]).signals(url)
    assert found == (("robots.txt disallow: *",) if is_found else ())


def test_the_own_scheme_comes_before_the_other() -> None:
    rows = [
        row("User-agent: *\nDisallow: /", "http://a.example/robots.txt", date="2025"),
        row("", "https://a.example/robots.txt", status=404, date="2024"),
    ]
    site = read_site(rows)
    assert site.signals("https://a.example/page") == ()
    assert site.signals("http://a.example/page") == ("robots.txt disallow: *",)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (ROBOTS, True),
        (TDMREP, True),
        (f"{ROBOTS}?x=1", False),
        (f"{SITE}/dir/robots.txt", False),
        (f"{SITE}/", False),
        ("http://[", False),
    ],
)
def test_is_policy_url(url: str, expected: bool) -> None:
    assert is_policy_url(url) is expected


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("HTTP://A.Example:80/x", "http://a.example"),
        ("https://a.example:8443/x", "https://a.example:8443"),
        ("ftp://a.example/x", None),
        ("https://a.example:x/", None),
        ("https:///x", None),
    ],
)
def test_origin_of(url: str, origin: str | None) -> None:
    assert origin_of(url) == origin


# ------------------------------------------------------------------------------------------------------------- hostile

AGENTS = "\n".join(f"User-agent: {agent}" for agent in AI_AGENTS)


@pytest.mark.parametrize(
    "text",
    [
        AGENTS + "\n" + "\n".join(f"Disallow: /x{n}*a*a$" for n in range(8_000)),
        "User-agent: *\n" + "\n".join("Disallow: /" + "*a" * 40 + f"b{n}" for n in range(6000)),
        AGENTS + "\n" + "\n".join(f"Content-Usage: /{n}*a train-ai=n" for n in range(15_000)),
        "User-agent: *\nDisallow: " + "/*" * 250_000,
        "User-agent: " + "ccbot," * 80_000 + "\nDisallow: /x\n" * 100,
        "User-agent: ccbot\n" * 30_000,
        " " * 600_000,
        ":" * 600_000,
    ],
    ids=["rules", "wildcards", "usage", "one_line", "commas", "agents", "spaces", "colons"],
)
def test_hostile_robots_take_bounded_time(text: str) -> None:
    start = time.perf_counter()
    site = read_site([row(text)])
    site.signals(f"{SITE}/{'a' * 8000}")
    assert time.perf_counter() - start < 10.0


def test_a_long_file_is_read_as_far_as_its_limit() -> None:
    rest = "\n".join(f"Disallow: /x{n}" for n in range(100_000))
    assert robots(f"User-agent: *\nDisallow: /page\n{rest}") == ["disallow: *"]
