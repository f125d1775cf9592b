"""IP addresses and versions of four parts: what stands before them tells them apart, then their own form."""

from __future__ import annotations

import time

import pytest

from gobelin.transforms.text.pii import Pii, replace_pii

VERSIONS = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
    "Mozilla/5.0 Chrome/118.0.5993.70 Edg/118.100.20.57 OPR/104.200.44.80",
    "Since firmware 2.140.3.7 the lamp can be dimmed.",
    "Release v101.2.3.4 of the bridge, version 103.21.244.15 of the app, build 120.30.40.50",
    "pip install package==1.2.3.4, other>=101.22.33.44 and third~=93.184.216.34",
    "version 10.0.19041.1 of Windows; Chromium 121.10.20.30",
    'Assembly: "Example.Core, Version=4.200.11.12, Culture=neutral", AssemblyVersion("101.22.33.44")',
    '{"name": "lamp", "version": "101.22.33.44"}',
    "The OID 1.3.6.1.4.1.311 and the OID 2.16.140.101 name the algorithm; see section 1.2.3.4 and clause 11.12.130.14",
    "Upgrade from 101.22.33.44 to 101.22.33.45 first; the update to 102.22.33.44 needs it.",
    "the server version 101.22.33.44 is out, and firmware 101.22.33.45 of the router too",
    "release-120.10.11.12.tar.gz, lib-101.22.33.44-beta, 101.22.33.44-rc1, lib_101.22.33.44",
    "version 1.2 was updated to 120.210.11.12, and release 3, then 120.210.11.13",
    "the version on 120.210.11.12, the build at 101.122.133.44",  # no number of their own
    "version 120.210.11.12 runs on Chrome 120.210.11.13",
    "since version 2 it works on 3.12.1.4",  # too few digits for an address
    "1.2.3.4 Scope of the standard",
    "3.12.1.4 and 120.0.0.0 and 2.140.3.7",  # nothing tells: too few digits for an address
    "ファームウェアバージョン 101.22.33.44",
    "§ 101.22.33.44",
]

ADDRESSES = [
    ("The server at {} answered within a second", "8.8.8.8"),
    ("IP {}, IP address: {}, ip={}, IPv4 {}", "1.1.1.1"),
    ("host {} and the host at {} are down", "9.9.9.9"),
    ("a request from {} came in", "8.8.4.4"),
    ("listening on {}:8080", "93.184.216.34"),
    ("it was 23.45.67.89:8080, or {}:443", "5.6.7.8"),
    ("routes {}/24 and {}/8", "93.184.216.0"),
    ("http://{}/index.html, https://{}:8443/, ssh root@{}, ftp://user:pass@{}/", "8.8.8.8"),
    ('{} - - [10/Oct/2024:13:55:36 +0000] "GET /a HTTP/1.1" 200 12', "8.8.8.8"),
    ('{} - alice [10/Oct/2024:13:55:36 +0000] "GET /a HTTP/1.1" 200 12 "-" "Chrome/120.0.0.0"', "81.2.69.142"),
    ("Oct 10 13:55:36 web sshd[711]: Failed password for root from {} port 22", "5.6.7.8"),
    ("2024-10-10T13:55:36Z {} asked for the page", "8.8.8.8"),
    ("DNS servers: {}, {} and {}", "1.0.0.1"),
    ('{{"clientIp": "{}", "remote_addr": "{}"}}', "8.8.8.8"),
    ("X-Forwarded-For: {}", "8.8.8.8"),
    ("the log shows that {} asked for the page", "93.184.216.34"),  # nothing tells: ten digits
    ("blocked {}-{}", "93.184.216.34"),
    ("traceroute to {}, then ping {}", "8.8.8.8"),
    ("With firmware 2.140.3.7 on the host {} it works", "8.8.8.8"),
    ("Version 1 runs on {}", "93.184.216.34"),
    ("firmware v2.4 was found at {}, build 7 auf {}", "93.184.216.34"),
    ("请连接服务器 {}", "8.8.8.8"),
    ("сервер {}", "8.8.8.8"),
    ("IPv6 {} or [{}]:443, prefix {}", "2606:4700:4700::1111"),
    ("DNS over {}", "2620:fe::fe"),
    ("the address {}", "2a00::1"),
]


@pytest.mark.parametrize("text", VERSIONS)
def test_versions_stay(text: str) -> None:
    assert replace_pii(text, {Pii.IP})[0] == text


@pytest.mark.parametrize(("text", "address"), ADDRESSES)
def test_addresses_go(text: str, address: str) -> None:
    written = text.replace("{{", "\0").replace("}}", "\1")
    with_address = written.replace("{}", address).replace("\0", "{").replace("\1", "}")
    expected = written.replace("{}", "<IP>").replace("\0", "{").replace("\1", "}").replace("23.45.67.89", "<IP>")
    assert replace_pii(with_address, {Pii.IP})[0] == expected


@pytest.mark.parametrize(
    "text",
    [
        "host 10.0.0.1, server at 192.168.1.1, IP 127.0.0.1, from 169.254.1.1",  # not of the open internet
        "IP 256.1.1.1, IP 1.2.3, IP 1.2.3.4.5, IP 01.02.03.04x",
        "std::dead::beef, a::b, 12:30:45, 2001:db8::1:2:3, fe80::1:2:3, 00:1a:2b:3c:4d:5e",
        "scope 2a00::1 of the class",
    ],
)
def test_what_is_no_public_address_stays(text: str) -> None:
    assert replace_pii(text, {Pii.IP})[0] == text


@pytest.mark.parametrize(
    "unit", ["93.184.216.34 ", "Chrome/120.0.0.0 ", "1.2.3.4-", "a::b:", "a" * 50 + "/8.8.8.8 ", "@"]
)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    seconds = []
    for size in (20_000, 200_000):
        start = time.process_time()
        replace_pii(unit * (size // len(unit)), {Pii.IP})
        seconds.append(time.process_time() - start)
    assert seconds[1] < 25 * seconds[0] + 0.5
