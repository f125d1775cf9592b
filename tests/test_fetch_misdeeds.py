"""What servers do to a client ends in a status of the fixed list, in bounded time, and stops nothing else."""

from __future__ import annotations

import dataclasses
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies
from yarl import URL

from gobelin.data.model import Source
from gobelin.data.schemas import FETCHES
from gobelin.transforms.fetching.fetch import FetchImages, check_fetch
from gobelin.transforms.fetching.fetch_config import FetchConfig, FetchStatus
from gobelin.transforms.fetching.fetch_hosts import Fetched, fetch_all
from gobelin.transforms.fetching.fetch_http import Answer, check_url
from tests.misbehaving_server import PNG, MisbehavingServer, answer, network, serving

CONFIG = FetchConfig(
    enabled=True, contact="https://example.org/bot", host_delay_seconds=0, host_concurrency=16, concurrency=16,
    retry_seconds=0.02, timeout_seconds=2, connect_timeout_seconds=2, max_tries=2, grace_seconds=0.4,
    min_bytes_per_second=2000, max_failures_in_a_row=1000,
)  # fmt: skip
MAX_BYTES = 100_000

MISDEEDS = {
    # path: status, HTTP status, tries, final path
    "/ok.png": ("ok", 200, 1, None),
    "/no-type": ("ok", 200, 1, None),
    "/wrong-type": ("ok", 200, 1, None),
    "/slow": ("ok", 200, 1, None),
    "/packed": ("ok", 200, 1, None),
    "/cookies": ("ok", 200, 1, None),
    "/signals": ("ok", 200, 1, None),
    "/1-hop": ("ok", 200, 1, "/ok.png"),
    "/2-hops": ("ok", 200, 1, "/ok.png"),
    "/5-hops": ("ok", 200, 1, "/ok.png"),
    "/6-hops": ("too_many_redirects", 302, 1, "/ok.png"),
    "/loop": ("too_many_redirects", 302, 1, "/loop"),
    "/nowhere": ("http_error", 302, 1, None),
    "/to-file": ("redirect_not_allowed", 302, 1, None),
    "/to-data": ("redirect_not_allowed", 302, 1, None),
    "/to-port": ("redirect_not_allowed", 302, 1, None),
    "/to-user": ("redirect_not_allowed", 302, 1, None),
    "/to-garbage": ("redirect_not_allowed", 302, 1, None),
    "/silent": ("timeout", None, 2, None),
    "/drip-head": ("timeout", None, 2, None),
    "/drip-body": ("too_slow", 200, 1, None),
    "/endless": ("too_large", 200, 1, None),
    "/endless-chunks": ("too_large", 200, 1, None),
    "/endless-headers": ("bad_response", None, 1, None),
    "/endless-header": ("bad_response", None, 1, None),
    "/huge": ("too_large", 200, 1, None),
    "/bomb": ("too_large", 200, 1, None),
    "/longer-than-said": ("bad_response", None, 1, None),
    "/shorter-than-said": ("cut_short", 200, 1, None),
    "/cut-chunks": ("cut_short", 200, 1, None),
    "/reset-in-body": ("cut_short", 200, 1, None),
    "/reset": ("connection_error", None, 1, None),
    "/closed": ("connection_error", None, 1, None),
    "/garbage": ("bad_response", None, 1, None),
    "/badly-packed": ("ok", 200, 1, None),  # its header is wrong; whether the bytes are an image is told later
    "/404": ("http_error", 404, 1, None),
    "/204": ("http_error", 204, 1, None),
    "/206": ("http_error", 206, 1, None),
    "/429": ("http_error", 429, 2, None),
    "/503": ("http_error", 503, 2, None),
    "/empty": ("empty", 200, 1, None),
    "/page": ("not_an_image", 200, 1, None),
    "/page-as-png": ("not_an_image", 200, 1, None),
    "/short-page": ("not_an_image", 200, 1, None),
    "/endless-page": ("not_an_image", 200, 1, None),
}


@pytest.fixture
def server(png: Callable[..., bytes]) -> Iterator[MisbehavingServer]:
    with serving(png(0, 20, 20)) as running:
        yield running


def fetch(server: MisbehavingServer, urls: list[str], config: FetchConfig = CONFIG, **world: Any) -> dict[str, Fetched]:
    """What came of each URL."""
    outcomes = fetch_all(urls, config, MAX_BYTES, dataclasses.replace(network(server.port), **world))
    return {item.row["url"]: item for item in outcomes if isinstance(item, Fetched)}


def test_every_misdeed_ends_in_its_status_and_only_successes_have_bytes(server: MisbehavingServer) -> None:
    started = time.monotonic()
    found = fetch(server, [server.url(path) for path in MISDEEDS])
    assert time.monotonic() - started < 20
    outcomes = {}
    for path in MISDEEDS:
        row = found[server.url(path)].row
        final = None if row["final_url"] is None else row["final_url"].removeprefix(server.url(""))
        outcomes[path] = (row["status"], row["http_status"], row["tries"], final)
    assert outcomes == MISDEEDS

    table = pa.Table.from_pylist([item.row for item in found.values()], schema=FETCHES)
    assert set(table["status"].to_pylist()) <= set(FetchStatus)
    for url, item in found.items():
        assert (item.capture is not None) == (item.row["status"] == "ok"), url
        if item.capture is not None:
            as_sent = b"no gzip at all, " * 20 if url.endswith("/badly-packed") else server.image
            assert item.capture.payload == as_sent
            assert (item.capture.url, item.capture.source, item.capture.warc_file) == (url, Source.FETCHED, "")


def test_caps_hold_while_bytes_come(server: MisbehavingServer) -> None:
    paths = ["/endless", "/endless-chunks", "/endless-page", "/huge", "/bomb", "/page"]
    found = fetch(server, [server.url(path) for path in paths])
    received = {path: found[server.url(path)].row["num_bytes"] for path in paths}
    assert received["/huge"] == 0
    assert received["/bomb"] < MAX_BYTES  # packed
    assert max(received.values()) < MAX_BYTES + 400_000  # what lay in the buffers


def test_a_drip_is_given_up_long_before_the_time_is_over(server: MisbehavingServer) -> None:
    started = time.monotonic()
    url = server.url("/drip-body")
    row = fetch(server, [url], dataclasses.replace(CONFIG, timeout_seconds=60))[url].row
    assert row["status"] == "too_slow"
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("path", ["/endless-hints", "/tiny-chunks"])
def test_work_without_end_is_over_in_time(server: MisbehavingServer, path: str) -> None:
    """Interim answers, and chunks of a byte: a megabyte of them a second, each of them parsed."""
    url = server.url(path)
    row = fetch(server, [url], dataclasses.replace(CONFIG, max_tries=1, timeout_seconds=1))[url].row
    assert row["status"] in ("timeout", "too_large")


def test_a_request_says_who_asks_and_nothing_else(server: MisbehavingServer) -> None:
    fetch(server, [server.url("/cookies"), server.url("/ok.png")], dataclasses.replace(CONFIG, host_concurrency=1))
    for request in server.requests:
        assert request.headers["user-agent"] == CONFIG.user_agent
        assert request.headers["user-agent"].startswith("gobelin/")
        assert request.headers["user-agent"].endswith("(+https://example.org/bot)")
        assert request.headers["accept-encoding"] == "identity"
        assert set(request.headers) == {"host", "user-agent", "accept", "accept-encoding"}


def test_signals_of_the_response_travel_in_its_headers(server: MisbehavingServer) -> None:
    from gobelin.transforms.rights.consent import consent_of_headers

    url = server.url("/signals")
    capture = fetch(server, [url])[url].capture
    assert capture is not None
    assert consent_of_headers(capture.headers) == (
        "header tdm-reservation: 1",
        "header x-robots-tag: ccbot: none",
        "header x-robots-tag: noai, noimageai",
    )


@pytest.mark.parametrize("bad", [answer(503), answer(500), answer(429), answer(599)])
def test_server_errors_are_tried_again(server: MisbehavingServer, bad: bytes) -> None:
    server.routes["/flaky"] = server.flaky(bad, 2)
    url = server.url("/flaky")
    found = fetch(server, [url], dataclasses.replace(CONFIG, max_tries=3))[url]
    assert (found.row["status"], found.row["tries"]) == ("ok", 3)


@pytest.mark.parametrize("bad", [answer(403), answer(404), answer(410), answer(200, b"<html>", PNG)])
def test_what_will_not_change_is_not(server: MisbehavingServer, bad: bytes) -> None:
    server.routes["/flaky"] = server.flaky(bad, 1)
    url = server.url("/flaky")
    assert fetch(server, [url])[url].row["tries"] == 1


def test_unknown_hosts_and_closed_ports(server: MisbehavingServer) -> None:
    import socket

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        urls = [server.url("/x", "none.example"), server.url("/x", "deaf.example"), f"http://a.example:{port}/x"]
        found = fetch(server, urls, ports=frozenset({server.port, port}))
    assert [found[url].row["status"] for url in urls] == ["dns_error", "robots_unreachable", "connection_error"]
    assert server.requests == []


@pytest.mark.parametrize(
    ("bytes_sent", "status"),
    [
        (answer(400), "tls_error"),
        (b"\x16\x03\x03\x00\x7a\x02\x00\x00", "connection_error"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "tls_error"),
        (b"", "connection_error"),
    ],
    ids=["plain HTTP", "cut off", "alert", "closed"],
)
def test_tls_that_is_none(server: MisbehavingServer, bytes_sent: bytes, status: str) -> None:
    server.answer_to_tls = bytes_sent
    (item,) = fetch(server, [server.url("/ok.png").replace("http:", "https:")]).values()
    assert (item.row["status"], item.row["tries"]) == (status, 0)
    assert item.row["detail"].startswith("robots.txt: ")


def test_certificates_are_judged(tmp_path: Any, server: MisbehavingServer) -> None:
    own, wrong = server.https(tmp_path, "a.example"), server.https(tmp_path, "other.example")
    with own as (port, context), wrong as (wrong_port, _):
        trusted, mistaken = f"https://a.example:{port}/ok.png", f"https://a.example:{wrong_port}/ok.png"
        world: dict[str, Any] = {"ports": frozenset({port, wrong_port})}
        unknown = fetch(server, [trusted], **world)
        assert unknown[trusted].row["status"] == "tls_error"
        known = fetch(server, [trusted, mistaken], ssl_context=context, **world)
        assert known[trusted].row["status"] == "ok"
        assert known[mistaken].row["status"] == "tls_error"


def test_a_consumer_that_leaves_early_ends_everything(server: MisbehavingServer) -> None:
    import threading

    urls = [server.url(path) for path in ("/ok.png", "/silent", "/drip-body", "/endless")]
    outcomes = fetch_all(urls, CONFIG, MAX_BYTES, network(server.port))
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("fetch", "names"))]


def test_a_slow_consumer_makes_nothing_time_out(server: MisbehavingServer) -> None:
    """Eight images, two places, and a consumer that takes longer for one than a request may."""
    config = dataclasses.replace(CONFIG, concurrency=2, timeout_seconds=1)
    urls = [server.url(f"/ok.png?{number}") for number in range(8)]
    statuses = []
    for item in fetch_all(urls, config, MAX_BYTES, network(server.port)):
        if isinstance(item, Fetched):
            statuses.append(item.row["status"])
            time.sleep(0.3)
            images = sum(request.path.startswith("/ok.png") for request in server.requests)
            assert images <= len(statuses) + config.concurrency  # no more is fetched than is taken
    assert statuses == ["ok"] * 8


def test_a_known_file_is_not_asked_for(server: MisbehavingServer) -> None:
    from gobelin.transforms.images.block_list import BlockHit

    def match_url(url: str) -> BlockHit | None:
        return BlockHit("list", "url_sha256") if url.endswith("/ok.png") else None

    urls = [server.url("/ok.png"), server.url("/1-hop"), server.url("/slow")]
    outcomes = fetch_all(urls, CONFIG, MAX_BYTES, network(server.port), match_url)
    found = {item.row["url"]: item.row["status"] for item in outcomes if isinstance(item, Fetched)}
    assert [found[url] for url in urls] == ["blocked_url", "redirect_not_allowed", "ok"]
    assert "/ok.png" not in server.paths()


def test_a_fault_of_our_own_is_a_row(server: MisbehavingServer) -> None:
    def match_url(url: str) -> None:
        if url.endswith("/ok.png"):
            raise RuntimeError("a bug")

    urls = [server.url("/ok.png"), server.url("/slow")]
    outcomes = fetch_all(urls, CONFIG, MAX_BYTES, network(server.port), match_url)
    found = {item.row["url"]: item.row for item in outcomes if isinstance(item, Fetched)}
    assert (found[urls[0]]["status"], found[urls[0]]["detail"]) == ("error", "RuntimeError: a bug")
    assert found[urls[1]]["status"] == "ok"


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("ftp://a.example/x.png", "bad_scheme"),
        ("file:///etc/passwd", "bad_scheme"),
        ("gopher://a.example:80/x", "bad_scheme"),
        ("javascript:alert(1)", "bad_scheme"),
        ("//a.example/x.png", "bad_scheme"),
        ("", "bad_scheme"),
        ("http://", "bad_url"),
        ("http:///x.png", "bad_url"),
        ("http://a b.example/x.png", "bad_url"),
        ("http://me@a.example/x.png", "bad_url"),
        ("http://me:secret@a.example/x.png", "bad_url"),
        ("http://:@a.example/x.png", "bad_url"),
        ("http://a.example:22/x.png", "bad_url"),
        ("http://a.example:0/x.png", "bad_url"),
        ("http://a.example:99999/x.png", "bad_url"),
        ("http://a.example:http/x.png", "bad_url"),
        ("http://[::1/x.png", "bad_url"),
        ("http://[fe80::1%25eth0]/x.png", "bad_url"),
        ("http://%31%32%37.0.0.1/x.png", "bad_url"),
        ("http://" + "a" * 254 + "/x.png", "bad_url"),
        ("http://a.example/" + "x" * 9000, "bad_url"),
        ("http://-/x.png", "bad_url"),
    ],
)
def test_addresses_that_are_not_asked_for(url: str, status: str) -> None:
    checked = check_url(url, frozenset({80, 443}))
    assert isinstance(checked, Answer)
    assert checked.status == status


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://a.example", "http://a.example/"),
        ("HTTP://A.Example/X.png#part", "http://a.example/X.png"),
        ("http://a.example/a b\u00e9?q=\u00fc&r=%2C%20", "http://a.example/a%20b%C3%A9?q=%C3%BC&r=%2C%20"),
        ("http://a.example/a%2Fb%zz", "http://a.example/a%2Fb%zz"),
        ("http://a.example/a,b;c=(d)'*!.png", "http://a.example/a,b;c=(d)'*!.png"),
        ("http://b\u00fccher.example/x", "http://xn--bcher-kva.example/x"),
        ("https://a.example:443/x\ud800", "https://a.example/x"),
        ("http://a.example/x\r\nCookie: a=b", "http://a.example/xCookie:%20a=b"),
        ("http://[2606:4700::1111]/x", "http://[2606:4700::1111]/x"),
        ("http://[2606:4700:0::1111]:80/x", "http://[2606:4700:0::1111]/x"),
        ("http://a_b.example./x", "http://a_b.example./x"),
    ],
)
def test_addresses_as_they_are_sent(url: str, sent: str) -> None:
    assert check_url(url, frozenset({80, 443})) == sent


def test_escapes_are_sent_as_they_are_written(server: MisbehavingServer) -> None:
    paths = ["/a%2fb%2Fc", "/%41%zz", "/a,b;c", "/x?sig=a%2Bb+c%20d&e", "/%E4%B8", "//double", "/a/../b"]
    fetch(server, [server.url(path) for path in paths])
    assert set(paths) <= set(server.paths())


@pytest.mark.parametrize("contact", ["me", "https://", "me@", "https://example.org/)\r\nX: y", "ftp://example.org"])
def test_with_a_contact_that_is_none_nothing_is_fetched(contact: str) -> None:
    assert FetchConfig(contact=contact).enabled is False
    with pytest.raises(ValueError, match="contact must be"):
        FetchConfig(enabled=True, contact=contact)


def test_without_a_contact_nothing_is_fetched() -> None:
    with pytest.raises(ValueError, match="contact must be"):
        check_fetch(FetchConfig(enabled=True))
    with pytest.raises(ValueError, match="contact must be"):
        FetchImages(FetchConfig(enabled=True), 1000, 1)


def test_default_network_is_the_open_one() -> None:
    from gobelin.transforms.fetching.fetch_http import Network
    from gobelin.transforms.fetching.safe_socket import is_global_address

    assert Network().is_allowed is is_global_address
    assert Network().ports == {80, 443}
    assert Network().ssl_context().verify_mode is ssl.CERT_REQUIRED


@hypothesis.settings(deadline=None, max_examples=300)
@hypothesis.given(
    strategies.text(max_size=60)
    | strategies.builds(
        "{}://{}:{}/{}".format,
        strategies.sampled_from(["http", "https", "HTTP", "ftp"]),
        strategies.text("aB.-_[]:@%\u00fc\u3002\u212a0127/\\?# \t\n\r\0", max_size=20),
        strategies.sampled_from(["", "80", "0080", "443", "-1", "a"]),
        strategies.text(max_size=20),
    )
)
def test_any_text_is_an_address_or_is_none(url: str) -> None:
    checked = check_url(url, frozenset({80, 443}))
    if isinstance(checked, str):
        assert checked.isascii()
        assert not set(checked) & set(" \t\r\n\0#\\")
        assert check_url(checked, frozenset({80, 443})) == checked
        sent = URL(checked, encoded=True)
        assert sent.scheme in ("http", "https")
        assert sent.port in (80, 443)
        assert sent.raw_host == urlsplit(checked).hostname
        assert (sent.user, sent.password) == (None, None)
