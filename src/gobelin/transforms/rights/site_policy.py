"""The policies of a site in /robots.txt and /.well-known/tdmrep.json: signals for one address.

``policy_row`` makes a small row of an archived capture. The rows of one host are collected, ``read_site`` parses them
once, and ``Site.signals`` answers for each address of the host, in the form of ``consent.py``:

    robots.txt disallow: ccbot                     the group of an agent forbids the address
    robots.txt content-signal: ai-train=no         Cloudflare's Content-Signal
    robots.txt content-usage: gptbot: train-ai=n   Content-Usage (draft-ietf-aipref-attach), in an agent's own group
    tdmrep.json tdm-reservation: 1                 the first rule whose location matches (W3C TDMRep)

Groups are read as RFC 9309 defines: the groups that name an agent's product token (ignoring case and version) are
combined, and ``*`` applies to all. protego decides between allow and disallow, and matches paths. Of Content- rules the
one with the longest path counts, and none if the path is forbidden. The scope is the origin: scheme, host and port. An
origin without a policy uses that of http or https on the same host (default ports only), because crawls mix the two.
The newest capture counts, even if it is a "not found".

Takes about 0.2 ms to read a file of 3 KB and 5-20 us per address and distinct group.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, TypedDict

import pyarrow as pa
from protego import Protego

from gobelin.transforms.archives.read_warc import Capture
from gobelin.transforms.rights.consent import AI_AGENTS as AI_AGENTS
from gobelin.transforms.urls import host_of, split_url, well_formed

POLICY_INDEX = pa.schema(
    [
        ("host", pa.string()),
        ("origin", pa.string()),  # scheme://host, with the port if it is not the scheme's default
        ("kind", pa.string()),  # robots | tdmrep
        ("status", pa.int32()),  # HTTP
        ("date", pa.string()),  # ISO 8601, UTC
        ("text", pa.string()),  # robots.txt without comments; "" if there is none
    ]
)
"""One row per capture of a policy. These rows are shuffled."""


class PolicyRow(TypedDict):
    """A row of ``POLICY_INDEX``."""

    host: str
    origin: str
    kind: str
    status: int
    date: str
    text: str


MAX_POLICY_BYTES = 500 * 1024
"""Maximum number of bytes of one file that are read: the minimum that RFC 9309 requires of a crawler."""

MAX_RULES = 20_000
"""Maximum number of allow and disallow rules of one site, over all distinct groups. Further rules are ignored."""

MAX_PATHS = 1000
"""Maximum number of Content- rules of one site, counted likewise, and of rules of one tdmrep.json."""

_KINDS = {"/robots.txt": "robots", "/.well-known/tdmrep.json": "tdmrep"}
_AGENT_FIELDS = ("user-agent", "useragent", "user agent")
_SITE_FIELDS = ("sitemap", "site-map", "sitemaps", "host")
_USAGE_FIELDS = ("content-signal", "content-usage")
_LINE = re.compile(r"(user[ -]?agent|[a-z-]+) ?[: ] ?(.*)", re.I | re.S)
_DEFAULT_PORTS = {"http": 80, "https": 443}

Line = tuple[str, str]  # field in lower case, value


@dataclasses.dataclass(frozen=True, slots=True)
class PathRule:
    """Values that apply to the addresses that a path matches."""

    path: str
    pattern: Protego  # forbids exactly these addresses
    values: tuple[tuple[str, str], ...]  # (name, value)

    def matches(self, url: str) -> bool:
        return not self.pattern.can_fetch(url, "*")


@dataclasses.dataclass(frozen=True, slots=True)
class RobotsGroup:
    """The rules of robots.txt for one agent, or for all (``*``)."""

    agent: str
    rules: Protego | None  # None: there are no rules, so everything is allowed
    usage: tuple[PathRule, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """The policies of one host, by origin."""

    robots: dict[str, tuple[RobotsGroup, ...]]
    tdmrep: dict[str, tuple[PathRule, ...]]

    def signals(self, url: str) -> tuple[str, ...]:
        """The signals of the host's policies for one address, sorted."""
        origin = origin_of(url)
        if origin is None:
            return ()
        found = set(_robots_signals(_policy_of(self.robots, origin), url))
        rule = next((rule for rule in _policy_of(self.tdmrep, origin) if rule.matches(url)), None)
        if rule is not None:
            found.update(f"tdmrep.json {name}: {value}" for name, value in rule.values)
        return tuple(sorted(found))


def is_policy_url(url: str) -> bool:
    """Whether an address is that of a robots.txt or a tdmrep.json."""
    parts = split_url(url)
    return parts is not None and parts.path in _KINDS and not parts.query


def policy_row(capture: Capture) -> PolicyRow | None:
    """A captured policy as a row of ``POLICY_INDEX``; None if it has no effect."""
    return policy_from_response(capture.url, capture.status, capture.warc_date, capture.payload)


def policy_from_response(url: str, status: int, date: str, payload: bytes) -> PolicyRow | None:
    """The response to a request for a policy as a row; None if it has no effect: the address is not that of a policy,
    or the response is a redirect or a server error. "Not found" (4xx except 429) states that there is no policy."""
    origin, parts = origin_of(url), split_url(url)
    if origin is None or parts is None or not is_policy_url(url):
        return None
    if status != 200 and (not 400 <= status < 500 or status == 429):
        return None
    kind = _KINDS[parts.path]
    text = ""
    if status == 200:
        text = payload[:MAX_POLICY_BYTES].decode("utf-8-sig", "replace")
        text = "\n".join(_lines(text)) if kind == "robots" else text.strip()
    return {
        "host": host_key(url), "origin": origin, "kind": kind, "status": status, "date": date,
        "text": well_formed(text),
    }  # fmt: skip


def read_site(rows: Iterable[PolicyRow], agents: tuple[str, ...] = AI_AGENTS) -> Site:
    """Parses the policies of one host: the newest of each origin and kind.

    Args:
        agents: product tokens in lower case; groups of other agents are ignored.
    """
    newest: dict[tuple[str, str], PolicyRow] = {}
    for row in rows:
        key = row["origin"], row["kind"]
        held = newest.get(key)
        if held is None or (row["date"], row["text"]) > (held["date"], held["text"]):
            newest[key] = row
    wanted = dict.fromkeys(("*", *agents))
    return Site(
        robots={
            origin: _read_robots(row["text"], wanted) for (origin, kind), row in newest.items() if kind == "robots"
        },
        tdmrep={origin: _read_tdmrep(row["text"]) for (origin, kind), row in newest.items() if kind == "tdmrep"},
    )


def host_key(url: str) -> str:
    """The key by which a host's policies and addresses are joined."""
    return host_of(url)


def origin_of(url: str) -> str | None:
    """Scheme, host and port, as ``https://example.org`` or ``http://example.org:8080``; None if it is not an http(s)
    URL."""
    parts = split_url(url)
    try:
        port = parts.port if parts else None
    except ValueError:
        return None
    if parts is None or parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    return f"{parts.scheme}://{parts.hostname}" + ("" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}")


def _policy_of(policies: dict[str, Any], origin: str) -> tuple[Any, ...]:
    scheme, _, rest = origin.partition("://")
    sibling = f"{'https' if scheme == 'http' else 'http'}://{rest}"
    if origin not in policies and ":" not in rest:
        return policies.get(sibling, ())
    return policies.get(origin, ())


def _robots_signals(groups: tuple[RobotsGroup, ...], url: str) -> Iterator[str]:
    allowed: dict[int, bool] = {}  # agents share rules, so each set of rules is evaluated once
    preferences: dict[int, list[tuple[str, str]]] = {}
    for group in groups:
        rules, usage = id(group.rules), id(group.usage)
        if rules not in allowed:
            allowed[rules] = group.rules is None or group.rules.can_fetch(url, "*")
        if not allowed[rules]:
            yield f"robots.txt disallow: {group.agent}"
            continue
        if usage not in preferences:
            preferences[usage] = _preferences(group.usage, url)
        to_whom = "" if group.agent == "*" else f"{group.agent}: "
        yield from (f"robots.txt {field}: {to_whom}{value}" for field, value in preferences[usage])


def _preferences(usage: tuple[PathRule, ...], url: str) -> list[tuple[str, str]]:
    """The values of each Content- field with the longest matching path; all of them if paths are equal."""
    longest: dict[str, list[PathRule]] = {}
    for rule in usage:
        field = rule.values[0][0]
        held = longest.get(field)
        if (held is None or len(rule.path) >= len(held[0].path)) and rule.matches(url):
            longest[field] = [rule, *(held or ())] if held and len(held[0].path) == len(rule.path) else [rule]
    return [rule.values[0] for rules in longest.values() for rule in rules]


def _lines(text: str) -> Iterator[str]:
    """The lines of a robots.txt without comments and sitemaps; none if the response is an HTML page instead."""
    if text.lstrip()[:1] == "<":
        return
    for line in re.split(r"[\r\n]+", text):
        line = " ".join(line.partition("#")[0].split())
        if line and _field(line)[0] not in _SITE_FIELDS:
            yield line


def _field(line: str) -> tuple[str, str]:
    """(field, value) of a line with folded white space. The colon may be missing."""
    match = _LINE.match(line)
    return (match.group(1).lower(), match.group(2)) if match else ("", "")


def _read_robots(text: str, wanted: dict[str, None]) -> tuple[RobotsGroup, ...]:
    lines = _lines_by_agent(text, wanted)
    rules: dict[tuple[Line, ...], Protego | None] = {(): None}
    usage: dict[tuple[Line, ...], tuple[PathRule, ...]] = {}
    rules_left, paths_left = MAX_RULES, MAX_PATHS
    groups = []
    for agent in wanted:
        if agent not in lines:
            continue
        every = dict.fromkeys(lines[agent])
        access = tuple(line for line in every if line[0] not in _USAGE_FIELDS)
        if access not in rules:
            read = [f"{field}: {value}" for field, value in access[:rules_left]]
            rules[access] = Protego.parse("\n".join(["user-agent: *", *read]))
            rules_left -= len(read)
        preferences = tuple(line for line in every if line[0] in _USAGE_FIELDS)
        if preferences not in usage:
            usage[preferences] = tuple(_usage_rules(preferences[:paths_left]))
            paths_left -= len(usage[preferences])
        groups.append(RobotsGroup(agent, rules[access], usage[preferences]))
    return tuple(groups)


def _lines_by_agent(text: str, wanted: dict[str, None]) -> dict[str, list[Line]]:
    """The (field, value) lines of all groups that name an agent. Lines before the first group forbid nothing, but a
    Content- line there applies to all agents."""
    lines: dict[str, list[Line]] = {}
    current: dict[str, None] | None = None  # agents of the group; None before the first group
    in_agents = False
    for field, value in map(_field, text.split("\n")):
        if field in _AGENT_FIELDS:
            current = current if in_agents and current is not None else {}
            in_agents = True
            for name in value.lower().split(","):
                agent = name.partition("/")[0].strip(" *") or name.strip()[:1]
                if agent in wanted:
                    lines.setdefault(agent, [])
                    current[agent] = None
        elif field:
            in_agents = False
            if current is None and field in _USAGE_FIELDS:
                lines.setdefault("*", []).append((field, value))
            for agent in current or ():
                lines[agent].append((field, value))
    return lines


def _usage_rules(lines: Iterable[Line]) -> Iterator[PathRule]:
    for field, value in lines:
        path, _, rest = value.partition(" ") if value.startswith(("/", "*")) else ("/", "", value)
        if rest.strip():
            yield PathRule(path, _pattern(path), ((field, rest.strip()),))


def _read_tdmrep(text: str) -> tuple[PathRule, ...]:
    """The rules of a tdmrep.json in its order; rules without a location are skipped."""
    try:
        rules = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    found = []
    for rule in (rules if isinstance(rules, list) else [rules])[:MAX_PATHS]:
        location = rule.get("location") if isinstance(rule, dict) else None
        if not isinstance(location, str) or len(location.splitlines()) != 1:
            continue
        location = well_formed(location)
        values = []
        reservation, policy = rule.get("tdm-reservation"), rule.get("tdm-policy")
        if not isinstance(reservation, bool) and reservation in (0, 1, "0", "1"):
            values.append(("tdm-reservation", str(int(reservation))))
        if isinstance(policy, str) and policy.strip():
            values.append(("tdm-policy", well_formed(" ".join(policy.split()))[:2048]))
        found.append(PathRule(location, _pattern(location), tuple(values)))
    return tuple(found)


def _pattern(path: str) -> Protego:
    return Protego.parse(f"user-agent: *\ndisallow: {path}")
