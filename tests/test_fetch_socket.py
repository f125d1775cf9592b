"""Connections go to the open internet only, whatever way an address is written or found."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Iterator

import aiohttp
import pytest

from gobelin.transforms.fetching.fetch_config import FetchConfig
from gobelin.transforms.fetching.fetch_hosts import Fetched, fetch_all
from gobelin.transforms.fetching.fetch_http import Network
from gobelin.transforms.fetching.safe_socket import AddressRefusedError, guarded_socket_factory, is_global_address
from tests.misbehaving_server import MisbehavingServer, Resolver, network, serving

CONFIG = FetchConfig(enabled=True, contact="https://example.org/bot", host_delay_seconds=0, timeout_seconds=5)


@pytest.fixture
def server(png: Callable[..., bytes]) -> Iterator[MisbehavingServer]:
    with serving(png(0, 20, 20)) as running:
        yield running


def statuses(urls: list[str], world: Network) -> dict[str, str]:
    outcomes = fetch_all(urls, CONFIG, 10**6, world)
    return {item.row["url"]: item.row["status"] for item in outcomes if isinstance(item, Fetched)}


@pytest.mark.parametrize(
    "address",
    ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::1", "::ffff:1.1.1.1"],
)
def test_global_addresses(address: str) -> None:
    assert is_global_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1",
        "169.254.169.254", "168.63.129.16", "192.0.0.1", "192.0.0.8", "192.0.0.192", "192.0.2.1", "192.88.99.1",
        "198.18.0.1", "198.51.100.1",
        "203.0.113.1", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1",
        "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:8.8.8.8",
        "64:ff9b::8.8.8.8", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:53aa:64c::1",
        "2001:db8::1", "2001:20::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1",
        "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "", "example.org", "1.1.1.1.1",
        "0x7f.1", "127.1",
    ],
)  # fmt: skip
def test_other_addresses(address: str) -> None:
    assert not is_global_address(address)


def test_factory_refuses_before_it_makes_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(**_: object) -> None:
        raise AssertionError("a socket was made")

    monkeypatch.setattr(socket, "socket", no_socket)
    with pytest.raises(AddressRefusedError):
        guarded_socket_factory()((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))


INWARD = [
    "http://127.0.0.1:{port}/ok.png",
    "http://localhost:{port}/ok.png",
    "http://LOCALHOST:{port}/ok.png",
    "http://0.0.0.0:{port}/ok.png",
    "http://[::ffff:127.0.0.1]:{port}/ok.png",
    "http://[::ffff:7f00:1]:{port}/ok.png",
    "http://0x7f000001:{port}/ok.png",
    "http://0x7f.1:{port}/ok.png",
    "http://127\u30020\u30020\u30021:{port}/ok.png",
    "http://\uff11\uff12\uff17.0.0.1:{port}/ok.png",
]
NO_HOST = [  # what aiohttp takes for broken addresses
    "http://2130706433:{port}/ok.png",
    "http://0177.0.0.1:{port}/ok.png",
    "http://127.1:{port}/ok.png",
    "http://127.0.0.1.:{port}/ok.png",
]


def test_no_spelling_of_an_inward_address_is_connected_to(server: MisbehavingServer) -> None:
    urls = [url.format(port=server.port) for url in INWARD]
    real = Network(ports=frozenset({server.port}))  # the guard and the resolver of a real run
    assert statuses(urls, real) == dict.fromkeys(urls, "not_global_address")
    broken = [url.format(port=server.port) for url in NO_HOST]
    assert set(statuses(broken, real).values()) <= {"bad_url", "not_global_address", "dns_error"}
    assert server.requests == []


def test_without_the_guard_they_would_be(server: MisbehavingServer) -> None:
    def all_allowed(_: str) -> bool:
        return True

    urls = [url.format(port=server.port) for url in INWARD]
    unguarded = dataclasses.replace(network(server.port, all_allowed), resolver=aiohttp.ThreadedResolver)
    found = statuses(urls, unguarded)
    assert [url for url in urls if found[url] != "ok"] == []


def test_a_name_that_leads_inside(server: MisbehavingServer) -> None:
    url = server.url("/ok.png", "inside.example")
    assert statuses([url], network(server.port)) == {url: "not_global_address"}
    assert server.requests == []


def test_a_name_with_an_outward_and_an_inward_address_is_met_outside(server: MisbehavingServer) -> None:
    url = server.url("/ok.png", "both.example")
    assert statuses([url], network(server.port)) == {url: "ok"}
    assert server.addresses == {"127.0.0.1"}


def test_rebinding(server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is looked up again for each connection, and its second answer is inside."""
    monkeypatch.setattr(Resolver, "num_turns", 0)
    monkeypatch.setattr(aiohttp.connector._DNSCacheTable, "expired", lambda *_: True)
    server.routes[("turning.example", "/robots.txt")] = server.closing(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
    url = server.url("/ok.png", "turning.example")
    assert statuses([url], network(server.port)) == {url: "not_global_address"}
    assert Resolver.num_turns > 1
    assert server.paths() == ["/robots.txt"]
    assert server.addresses == {"127.0.0.1"}


@pytest.mark.parametrize("path", ["/to-private", "/to-literal", "/to-mapped"])
def test_redirect_inward(server: MisbehavingServer, path: str) -> None:
    url = server.url(path)
    assert statuses([url], network(server.port)) == {url: "not_global_address"}
    assert server.addresses == {"127.0.0.1"}
    assert server.paths()[-1] == path


def test_robots_that_redirect_inward(server: MisbehavingServer) -> None:
    server.routes["/robots.txt"] = server.routes["/to-private"]
    url = server.url("/ok.png")
    assert statuses([url], network(server.port)) == {url: "not_global_address"}
    assert server.paths() == ["/robots.txt"]


def test_proxies_and_netrc_of_the_environment_are_ignored(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    netrc = tmp_path / "netrc"  # type: ignore[operator]
    netrc.write_text("machine a.example login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    url = server.url("/ok.png")
    assert statuses([url], network(server.port)) == {url: "ok"}
    assert all("authorization" not in request.headers for request in server.requests)
