"""Finds public IP addresses in text, and distinguishes them from version numbers of four parts.

``93.184.216.34`` and ``120.0.0.0`` are both valid as an address and as a version. These signs decide, in this order:

    a URL, a user        ``//``, ``user@`` before it: an address
    a product            ``Chrome/120.0.0.0``, ``package==1.2.3.4``: a version, unless a port follows
    the nearest word     the nearest of the eight words before it that is about addresses (IP, host, server, DNS, ping
                         ...) or versions (version, firmware, release, section, OID, names of browsers ...). A version
                         word that has its own number ("version 1 runs on ...") does not count if the candidate
                         follows "on" or "at".
    its own form         a port, a prefix length (``/24``), a time before it, the first column of a log line, or a word
                         such as "from" or "via" right before it: an address
    its digits           otherwise, it is an address if one part has three digits and there are at least seven digits.
                         39 of 40 random IPv4 addresses fulfil this, and almost no version does.

An IPv6 address needs at least three groups, or two after a word about addresses, because ``a::b`` is a scope in C++.
Only public addresses count, by the registries of IANA (``ipaddress``). The time is linear: a bounded number of
characters before each candidate is read.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterator

# Lookbehinds stand after the first character, so that `re` can jump to the next candidate.
_IPV4 = re.compile(r"\d(?<![\w.]\d)\d{0,2}(?:\.\d{1,3}){3}(?!\.?\w)", re.ASCII)
_RANGE = re.compile(r"-\d{1,3}(?:\.\d{1,3}){3}(?![.\d])", re.ASCII)
_RANGE_BEFORE = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}-\Z", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{6,39}(?![\w:])", re.ASCII)
_IPV6_HINT = re.compile(r":[0-9A-Fa-f]{0,4}:", re.ASCII)
_MIN_IPV6_GROUPS, _MIN_NAMED_IPV6_GROUPS = 3, 2

_REACH = 80
"""Number of characters before a candidate that are read."""

_MAX_WORDS = 8

_URL = re.compile(r"(?:[a-z]:)?//(?:[^\s/@]{1,64}@)?\[?\Z|[\w.+-]@\[?\Z|\\\\\Z", re.IGNORECASE)
_PRODUCT = re.compile(r"(?<![\w./])[A-Za-z][A-Za-z0-9_+-]{0,40}/\Z", re.ASCII)
_REQUIREMENT = re.compile(r"(?:[=<>~!^]=|[~^])\s?[\"']?\Z")
_PORT = re.compile(r":\d{2,5}(?![\w:.]\d|\d)", re.ASCII)
_PREFIX = re.compile(r"/(?:[89]|[12]\d|3[012])(?![\w./])", re.ASCII)
_TIME = re.compile(r"\d{1,2}:\d\d:\d\d", re.ASCII)
_LOG = re.compile(r"[\])]?(?:\s+-)?\s+(?:-|[\w.@-]{1,40})\s+\[", re.ASCII)
_LINE_STARTS = re.compile(r"\s*[\[(]?\Z")
_SENTENCE_ENDS = re.compile(r"[.!?]\s+(?=[^\W\d_])")
_WORD = re.compile(r"[A-Z]?[a-z]+|[^\W\d_a-z]+[^\W\d_A-Z]*|[^\W\d_]+")
"""Words, and the parts of compound names such as clientIp."""

_OF_ADDRESSES = frozenset([
    "ip", "ips", "ipv", "ipaddr", "addr", "address", "addresses", "adresse", "adressen", "dirección", "indirizzo",
    "endereço", "host", "hosts", "hostname", "server", "servers", "serveur", "servidor", "client", "clients", "ping",
    "pinged", "pinging", "traceroute", "tracert", "whois", "dig", "nslookup", "dns", "nameserver", "nameservers",
    "resolver", "resolvers", "gateway", "gateways", "router", "routers", "proxy", "proxies", "subnet", "subnets",
    "netmask", "network", "inet", "peer", "peers", "remote", "socket", "listen", "listening", "bind", "connect",
    "connected", "connecting", "connection", "connections", "login", "logins", "blocked", "banned", "ban",
    "whitelist", "blacklist", "allowlist", "blocklist", "firewall", "iptables", "src", "dst", "daddr", "saddr",
    "ssh", "telnet", "curl", "wget", "forwarded", "visitor", "attacker", "attackers", "geolocation", "сервер",
    "сервера", "адрес", "адреса", "хост", "узел",
])  # fmt: skip
_OF_VERSIONS = frozenset([
    "v", "ver", "vers", "version", "versions", "versión", "versão", "versione", "версия", "версии", "прошивка",
    "firmware", "release", "releases", "released", "build", "builds", "rev", "revision", "revisions", "update",
    "updates", "updated", "upgrade", "upgrades", "upgraded", "downgrade", "downgraded", "driver", "drivers", "bios",
    "uefi", "patch", "patched", "hotfix", "changelog", "assembly", "assemblyversion", "fileversion",
    "productversion", "package", "packages", "nuget", "library", "dll", "sdk", "api", "kernel", "app", "plugin",
    "addon", "module", "software", "section", "sections", "chapter", "clause", "paragraph", "article", "annex",
    "appendix", "figure", "table", "oid", "oids", "rule", "item", "chrome", "chromium", "firefox", "edge", "edg",
    "opera", "opr", "safari", "webkit", "applewebkit", "brave", "vivaldi", "electron", "trident", "windows", "macos",
    "ios", "android", "flash", "acrobat", "office", "visual", "java", "jdk", "jre", "python", "php", "mysql",
    "excel",
])  # fmt: skip
# For scripts without spaces: the end of a run of letters is compared.
_END_OF_ADDRESSES = (
    "地址",
    "服务器",
    "伺服器",
    "主机",
    "网关",
    "アドレス",
    "サーバー",
    "サーバ",
    "ホスト",
    "주소",
    "서버",
)
_END_OF_VERSIONS = ("版本", "バージョン", "버전", "固件", "ファームウェア", "章", "节")
_PLACES = frozenset(["on", "at", "auf", "bei", "unter", "sur", "su", "en", "em", "op", "på", "na", "на"])
_OWN_NUMBER = re.compile(r"[\s:#.]{0,3}v?\d+(?:\.\d+){0,2}(?![\w.]*\d)")
"""The number of one to three parts after a version word."""

_BEFORE_ADDRESSES = frozenset(["from", "via", "von", "desde", "depuis", "da", "от", "来自"])


def find_ips(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each public IP address: first all IPv4 addresses in order, then all IPv6 addresses in order."""
    if text.count(".") >= 3:
        for found in _IPV4.finditer(text):
            if _is_public(found[0]) and _is_address(text, found.start(), found.end()):
                yield found.span()
    if _IPV6_HINT.search(text):
        for found in _IPV6.finditer(text):
            address = found[0].rstrip(":") if found[0].endswith(":") and not found[0].endswith("::") else found[0]
            num_groups = sum(group != "" for group in address.split(":"))
            if address.count(":") < 2 or num_groups < _MIN_NAMED_IPV6_GROUPS or not _is_public(address):
                continue
            if num_groups >= _MIN_IPV6_GROUPS or _nearest_speaks_of_addresses(_before(text, found.start())):
                yield found.start(), found.start() + len(address)


@functools.lru_cache(maxsize=1 << 12)
def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _before(text: str, start: int) -> str:
    """The text before a position on its line, at most ``_REACH`` characters."""
    return text[max(0, start - _REACH) : start].rpartition("\n")[2]


def _is_address(text: str, start: int, end: int) -> bool:
    before = _before(text, start)
    if before.endswith("-") and not _RANGE_BEFORE.search(before):
        return False  # part of a name: release-120.10.11.12
    if text.startswith("-", end) and not _RANGE.match(text, end):
        return False
    if before.endswith(("/", "@", "[", "\\")) and _URL.search(before):
        return True
    has_port = _PORT.match(text, end) is not None
    if before.endswith("/") and _PRODUCT.search(before) and not has_port:
        return False
    said = _nearest_speaks_of_addresses(before)
    if said is not None:
        return said
    if _REQUIREMENT.search(before[-4:]):
        return False
    if has_port or _PREFIX.match(text, end) or (":" in before and _TIME.search(before)):
        return True
    if _LINE_STARTS.fullmatch(before) and _LOG.match(text, end):
        return True
    words = _WORD.findall(before[-12:])
    if words and words[-1].lower() in _BEFORE_ADDRESSES and _ends_with_word(before):
        return True
    parts = text[start:end].split(".")
    return max(map(len, parts)) == 3 and sum(map(len, parts)) >= 7


def _ends_with_word(before: str) -> bool:
    stripped = before.rstrip(" \t[(\"'")
    return stripped != "" and stripped[-1].isalpha()


def _nearest_speaks_of_addresses(before: str) -> bool | None:
    """True if the nearest decisive word before is about addresses, False if it is about versions, None if there is
    none."""
    sentence = before[max((end.end() for end in _SENTENCE_ENDS.finditer(before)), default=0) :]
    if sentence.rstrip().endswith("§"):
        return False
    words = list(_WORD.finditer(sentence))[-_MAX_WORDS:]
    is_placed = bool(words) and words[-1][0].lower() in _PLACES and _ends_with_word(sentence)
    for found in reversed(words):
        word = found[0].lower()
        if word in _OF_ADDRESSES or word.endswith(_END_OF_ADDRESSES):
            return True
        if word in _OF_VERSIONS or word.endswith(_END_OF_VERSIONS):
            if is_placed and _OWN_NUMBER.match(sentence, found.end()):
                continue
            return False
    return None
