"""Reads the policies of a host (robots.txt and tdmrep.json) before anything else is requested from it.

robots.txt follows RFC 9309: 4xx allows everything, 5xx and no answer allow nothing, the first 500 KiB count, redirects
are followed, and nothing is cached longer than 24 hours. Stricter than the RFC: 429, too many redirects, and a redirect
to an address that must not be requested count as no answer.

Protego reads the rules, after ``our_groups`` has merged the groups of other agents: otherwise 15,000 user-agent lines
with 17,000 rules under them (500 KiB) would become 255 million rules. Its matching is linear in the length of a URL for
each rule.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Awaitable, Callable

from protego import Protego

from gobelin.transforms.fetching.fetch_config import AGENT, FetchStatus
from gobelin.transforms.fetching.fetch_http import Answer
from gobelin.transforms.rights.consent import AI_AGENTS
from gobelin.transforms.rights.site_policy import PolicyRow, Site, policy_from_response, read_site
from gobelin.transforms.urls import split_url

MAX_ROBOTS_BYTES = 500 * 1024
"""RFC 9309, 2.5: a parser must accept at least this size."""

MAX_WILDCARDS = 10_000
"""Maximum number of wildcards in one file. More would take over 10 ms per address and block everything else
meanwhile."""

MAX_AGE_SECONDS = 24 * 3600
"""RFC 9309, 2.4."""

_AGENT_LINE = re.compile(r"\s*user[- ]?agents?\s*[:\s]\s*(.*)", re.IGNORECASE)

_NO_ANSWER = (FetchStatus.DNS_ERROR, FetchStatus.CONNECTION_ERROR, FetchStatus.TLS_ERROR, FetchStatus.BAD_URL,
              FetchStatus.NOT_GLOBAL_ADDRESS, FetchStatus.HOST_UNREACHABLE, FetchStatus.LIMIT_REACHED)  # fmt: skip
"""Outcomes of the request for robots.txt that the host's images get unchanged."""


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """The policy of one origin (scheme, host, port). ``status`` is ``OK``, or why nothing may be requested there."""

    status: FetchStatus
    detail: str | None = None
    robots: Protego | None = None  # None: everything may be fetched
    rows: tuple[PolicyRow, ...] = ()
    site: Site | None = None  # the parsed rows

    def may_fetch(self, url: str) -> bool:
        return self.robots is None or self.robots.can_fetch(url, AGENT)

    def crawl_delay(self) -> float:
        """Seconds between two requests; 0 if the policy states none."""
        return (self.robots.crawl_delay(AGENT) or 0.0) if self.robots else 0.0

    def signals(self, url: str) -> tuple[str, ...]:
        """The opt-out signals for a URL of this origin, as found."""
        return self.site.signals(url) if self.site is not None else ()


def our_groups(text: str) -> str:
    """A robots.txt in which all agents except ours and ``*`` have the same name."""
    lines: list[str] = []
    for line in text.replace("\0", " ").splitlines():
        match = _AGENT_LINE.match(line.partition("#")[0])
        if match is not None:
            token = re.split(r"[\s/]", match.group(1).strip().lower(), maxsplit=1)[0]
            line = f"User-agent: {token if token in ('*', AGENT) else 'others'}"
            if lines and lines[-1] == line:
                continue
        lines.append(line)
    return "\n".join(lines)


def origin_of(url: str) -> str:
    """The scheme, host and port of a checked URL: the scope of one robots.txt."""
    parts = split_url(url)
    return f"{parts.scheme}://{parts.netloc}" if parts else url


async def fetch_policy(
    origin: str, ask: Callable[[str, int], Awaitable[Answer]], agents: tuple[str, ...] = AI_AGENTS
) -> Policy:
    """The policy of an origin.

    Args:
        ask: (URL, maximum bytes) -> the answer after redirects and retries.
        agents: robots, in lower case. A policy that disallows one of them is a signal.
    """
    answer = await ask(f"{origin}/robots.txt", MAX_ROBOTS_BYTES)
    policy = read_robots(f"{origin}/robots.txt", answer)
    if policy.status is not FetchStatus.OK:
        return policy
    url = f"{origin}/.well-known/tdmrep.json"
    row = _row(url, await ask(url, MAX_ROBOTS_BYTES)) if policy.may_fetch(url) else None
    rows = (*policy.rows, row) if row else policy.rows
    return dataclasses.replace(policy, rows=rows, site=read_site(rows, agents))


def read_robots(url: str, answer: Answer) -> Policy:
    """The policy that follows from the answer to a request for robots.txt."""
    code = answer.http_status or 0
    if answer.status is FetchStatus.OK:
        text = answer.body.decode("utf-8-sig", "replace")
        if text.count("*") > MAX_WILDCARDS:
            return Policy(FetchStatus.ROBOTS_UNREACHABLE, f"robots.txt: {text.count('*')} wildcards")
        robots = Protego.parse(our_groups(text))
        row = _row(url, answer)
        return Policy(FetchStatus.OK, robots=robots, rows=(row,) if row else ())
    if answer.status is FetchStatus.EMPTY or (
        answer.status is FetchStatus.HTTP_ERROR and (200 < code < 300 or (400 <= code < 500 and code != 429))
    ):
        row = _row(url, answer)
        return Policy(FetchStatus.OK, rows=(row,) if row else ())
    status = answer.status if answer.status in _NO_ANSWER else FetchStatus.ROBOTS_UNREACHABLE
    return Policy(status, f"robots.txt: {answer.detail or answer.status}"[:300])


def _row(url: str, answer: Answer) -> PolicyRow | None:
    if answer.http_status is None:
        return None
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return policy_from_response(url, answer.http_status, now, answer.body)
