"""The pace of one host: the time of the next request, the number of parallel requests, and when to give up on the host.

Requests to a host begin at least ``host_delay_seconds`` apart, or by the ``Crawl-delay`` of its robots.txt if that is
longer. ``Retry-After`` stops all of them. A host is given up if too many of its images failed in a row because of the
host, if it requests too long a pause, or if its time is up.
"""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import time

from gobelin.transforms.archives.http_message import header
from gobelin.transforms.fetching.fetch_config import FetchConfig, FetchStatus
from gobelin.transforms.fetching.fetch_http import Answer

_HOST_TROUBLE = (FetchStatus.TIMEOUT, FetchStatus.TOO_SLOW, FetchStatus.DNS_ERROR, FetchStatus.CONNECTION_ERROR,
                 FetchStatus.TLS_ERROR, FetchStatus.NOT_GLOBAL_ADDRESS, FetchStatus.BAD_RESPONSE)  # fmt: skip
"""Outcomes that are caused by the host and not by one image. 429 and 5xx are others."""


class Host:
    """The state of one host name: when it may be requested again, and its failures. ``gave_up`` is the reason why
    nothing more is requested from it."""

    def __init__(self, config: FetchConfig) -> None:
        self.gate = asyncio.Semaphore(config.host_concurrency)
        self.delay = config.host_delay_seconds
        self._next_start = 0.0
        self.gave_up: str | None = None
        self._ends_at: float | None = None
        self._max_seconds = config.max_host_seconds
        self._max_rest = config.max_retry_after_seconds
        self._turn = asyncio.Lock()
        self._failures_in_a_row = 0
        self._max_failures = config.max_failures_in_a_row

    async def wait_turn(self, slots: asyncio.Semaphore) -> Answer | None:
        """Waits until the host may be requested again, and acquires a slot of ``slots``. Returns the reason if it may
        not be requested.

        The slot is acquired within the turn: the request begins now, and the next turn is counted from now.
        """
        loop = asyncio.get_running_loop()
        if self._ends_at is None:
            self._ends_at = loop.time() + self._max_seconds
        async with self._turn:
            while self.gave_up is None:
                now = loop.time()
                if max(now, self._next_start) >= self._ends_at:
                    return Answer(FetchStatus.LIMIT_REACHED, detail=f"{self._max_seconds:g} seconds on this host")
                if now < self._next_start:
                    await asyncio.sleep(self._next_start - now)
                    continue
                await slots.acquire()
                now = loop.time()
                if self.gave_up is None and now >= self._next_start:  # another answer may have changed these
                    self._next_start = now + self.delay
                    return None
                slots.release()
            return Answer(FetchStatus.HOST_UNREACHABLE, detail=self.gave_up)

    def note(self, answer: Answer) -> None:
        """Counts failures in a row."""
        if answer.status in _HOST_TROUBLE or _is_server_error(answer):
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= self._max_failures:
                self.gave_up = self.gave_up or f"{self._failures_in_a_row} failures in a row, the last: {answer.status}"
        else:
            self._failures_in_a_row = 0

    def rest(self, answer: Answer) -> float:
        """Applies the pause that an answer requests. Returns its seconds; if there are too many, the host is given
        up."""
        asked_for = retry_after_seconds(answer, time.time()) or 0.0
        if asked_for > self._max_rest:
            self.gave_up = f"Retry-After: {asked_for:.0f} seconds"
            return 0.0
        self._next_start = max(self._next_start, asyncio.get_running_loop().time() + asked_for)
        return asked_for


def retry_after_seconds(answer: Answer, now: float) -> float | None:
    """The pause of ``Retry-After`` in seconds from ``now`` (seconds since 1970); None if it is missing or malformed.

    RFC 9110, 10.2.3: a number of seconds, or a date.
    """
    value = header(answer.headers, "retry-after").strip()
    if value.isascii() and value.isdigit():
        return float(value[:10])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError, OSError):
        return None


def backoff_seconds(config: FetchConfig, url: str, tries: int) -> float:
    """The pause after request number ``tries``: it doubles each time, with a jitter of up to half of it.

    The jitter is a hash of the URL and the number of the request. Like random jitter, it prevents simultaneous
    requests.
    """
    digest = hashlib.blake2b(f"{tries} {url}".encode(), digest_size=4).digest()
    return config.retry_seconds * 2 ** (tries - 1) * (0.5 + int.from_bytes(digest, "big") / 2**32)


def is_worth_another_try(answer: Answer) -> bool:
    """Whether the same request may succeed a little later."""
    return answer.status is FetchStatus.TIMEOUT or _is_server_error(answer)


def _is_server_error(answer: Answer) -> bool:
    code = answer.http_status or 0
    return answer.status is FetchStatus.HTTP_ERROR and (code == 429 or code >= 500)
