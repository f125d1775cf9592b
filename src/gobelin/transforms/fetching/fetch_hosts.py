"""Fetches from all hosts of one worker in parallel, with a polite pace for each.

    for each host, at most host_concurrency at a time:
        an image's URL --> robots.txt and tdmrep.json of its host (cached) --> GET --> a row, and a capture if it
        succeeded
                       ^----------------------- redirect --------------------'

Each request acquires three things in this order: a slot of its host, the host's turn (``fetch_pace.py``), and a slot
among the worker's ``concurrency``. A request that has the last one never waits for the others, so there is no deadlock.
An image keeps its slot until its consumer has taken it, so at most ``concurrency`` images are in memory.

The event loop runs in a separate thread, so that a slow consumer (a decode, a write) does not cause time-outs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import queue
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from gobelin.data.model import Source
from gobelin.data.rows import FetchRow
from gobelin.transforms.archives.content_types import parse_content_type
from gobelin.transforms.archives.http_message import header
from gobelin.transforms.archives.read_warc import Capture
from gobelin.transforms.fetching.fetch_config import FetchConfig, FetchStatus
from gobelin.transforms.fetching.fetch_http import Answer, HttpClient, Network, check_url
from gobelin.transforms.fetching.fetch_pace import Host, backoff_seconds, is_worth_another_try
from gobelin.transforms.fetching.robots_cache import MAX_AGE_SECONDS, Policy, fetch_policy, origin_of
from gobelin.transforms.images.block_list import BlockHit
from gobelin.transforms.rights.consent import AI_AGENTS, merge_signals, refusal
from gobelin.transforms.rights.site_policy import PolicyRow
from gobelin.transforms.urls import describe, host_of, join_url, well_formed

_REDIRECTS = (301, 302, 303, 307, 308)


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """The outcome for one image: its row of ``FETCHES`` and, with status ``ok``, its capture."""

    row: FetchRow
    capture: Capture | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Reached:
    """The outcome of following a URL."""

    answer: Answer
    tries: int  # number of requests for the last address; 0: it was not requested
    url: str | None = None  # the last address, if there was a redirect


def _as_redirect(answer: Answer, problem: Answer) -> Answer:
    """An answer that redirects to an address which must not be requested."""
    detail = str(problem.status) + (f": {problem.detail}" if problem.detail else "")
    return dataclasses.replace(answer, status=FetchStatus.REDIRECT_NOT_ALLOWED, detail=detail)


class HostFetcher:
    """Fetches images of many hosts in one event loop."""

    def __init__(
        self,
        config: FetchConfig,
        max_bytes: int,
        network: Network,
        match_url: Callable[[str], BlockHit | None] | None,
        agents: tuple[str, ...],
        emit: Callable[[str, Any], None],
    ) -> None:
        self._config, self._max_bytes, self._network, self._emit = config, max_bytes, network, emit
        self._match_url, self._agents = match_url, agents
        self._client = HttpClient(config, network)
        self._hosts: dict[str, Host] = {}
        self._policies: dict[str, tuple[float, Policy]] = {}
        self._policy_locks: dict[str, asyncio.Lock] = {}
        self.slots = asyncio.Semaphore(config.concurrency)

    async def run(self, urls: list[str]) -> None:
        """Emits ("fetched", ``Fetched``) for each URL, and ("policy", row) for each policy of a host."""
        by_host: dict[str, list[str]] = {}
        for url in sorted(set(urls)):
            by_host.setdefault(host_of(url), []).append(url)
        async with self._client, asyncio.TaskGroup() as tasks:
            for of_host in by_host.values():
                for url in of_host[self._config.max_images_per_host :]:
                    answer = Answer(FetchStatus.LIMIT_REACHED, detail=f"{len(of_host)} images on this host")
                    self._emit("fetched", _fetched(url, _Reached(answer, 0), ()))
                waiting = deque(of_host[: self._config.max_images_per_host])
                for _ in range(min(len(waiting), self._config.host_concurrency)):
                    tasks.create_task(self._work_off(waiting))

    async def _work_off(self, waiting: deque[str]) -> None:
        while waiting:
            self._emit("fetched", await self.fetch(waiting.popleft()))

    async def fetch(self, url: str) -> Fetched:
        """Fetches one image. If the outcome has a capture, a slot among ``slots`` stays acquired until the consumer
        takes it."""
        signals: list[str] = []

        async def look_up(target: str) -> Answer | None:
            policy = await self._policy(origin_of(target))
            if policy.status is not FetchStatus.OK:
                return Answer(policy.status, detail=policy.detail)
            if not policy.may_fetch(target):
                return Answer(FetchStatus.ROBOTS_DISALLOWED)
            found = policy.signals(target)
            signals.extend(found)
            reason = refusal(found, self._config.opt_outs)
            return None if reason is None else Answer(FetchStatus.OPTED_OUT, detail=reason)

        try:
            reached = await self._follow(url, self._max_bytes, True, look_up)
        except Exception as error:  # noqa: BLE001  # the boundary: a bad address must not end a run
            reached = _Reached(Answer(FetchStatus.ERROR, detail=describe(error)), 0)
        return _fetched(url, reached, merge_signals(signals))

    async def _follow(
        self,
        url: str,
        max_bytes: int,
        wants_image: bool,
        look_up: Callable[[str], Awaitable[Answer | None]] | None,
    ) -> _Reached:
        """Requests a URL and follows redirects.

        Args:
            look_up: returns, for each address, the reason why it must not be requested, or None.
        """
        checked = self._check(url)
        if isinstance(checked, Answer):
            return _Reached(checked, 0)
        current, final_url = checked, None
        for _ in range(self._config.max_redirects + 1):
            if look_up is not None and (no := await look_up(current)) is not None:
                return _Reached(no, 0, final_url)
            answer, tries = await self._ask(current, max_bytes, wants_image)
            location = header(answer.headers, "location") if answer.http_status in _REDIRECTS else ""
            if answer.status is not FetchStatus.HTTP_ERROR or not location:
                return _Reached(answer, tries, final_url)
            checked = self._check(join_url(current, location) or location)  # ``check_url`` reports a malformed location
            if isinstance(checked, Answer):
                return _Reached(_as_redirect(answer, checked), tries, final_url)
            current = final_url = checked
        return _Reached(dataclasses.replace(answer, status=FetchStatus.TOO_MANY_REDIRECTS), tries, final_url)

    def _check(self, url: str) -> str | Answer:
        checked = check_url(url, self._network.ports)
        if isinstance(checked, str) and self._match_url is not None and self._match_url(checked):
            return Answer(FetchStatus.BLOCKED_URL)
        return checked

    async def _ask(self, url: str, max_bytes: int, wants_image: bool) -> tuple[Answer, int]:
        """Requests one address with retries. Returns (the last answer, the number of requests)."""
        host = self._host(url)
        for tries in range(1, self._config.max_tries + 1):
            async with host.gate:
                no = await host.wait_turn(self.slots)
                if no is not None:
                    return no, tries - 1
                is_kept = False
                try:
                    answer = await self._client.get(url, max_bytes, wants_image)
                    is_kept = wants_image and answer.status is FetchStatus.OK
                finally:
                    if not is_kept:
                        self.slots.release()
            if not is_worth_another_try(answer):
                break
            rest = host.rest(answer)
            if host.gave_up or tries == self._config.max_tries:
                break
            await asyncio.sleep(rest or backoff_seconds(self._config, url, tries))
        host.note(answer)
        return answer, tries

    def _host(self, url: str) -> Host:
        name = host_of(url)
        if name not in self._hosts:
            self._hosts[name] = Host(self._config)
        return self._hosts[name]

    async def _policy(self, origin: str) -> Policy:
        async with self._policy_locks.setdefault(origin, asyncio.Lock()):
            now = asyncio.get_running_loop().time()
            read_at, policy = self._policies.get(origin, (0.0, None))
            if policy is None or now - read_at > MAX_AGE_SECONDS:
                try:
                    policy = await fetch_policy(origin, self._ask_for_text, self._agents)
                except Exception as error:  # noqa: BLE001  # otherwise it would be requested again for each image
                    policy = Policy(FetchStatus.ERROR, describe(error))
                self._policies[origin] = now, policy
                host = self._host(origin)
                host.delay = max(host.delay, policy.crawl_delay())
                for row in policy.rows:
                    self._emit("policy", row)
            return policy

    async def _ask_for_text(self, url: str, max_bytes: int) -> Answer:
        return (await self._follow(url, max_bytes, False, None)).answer


def _fetched(url: str, reached: _Reached, signals: tuple[str, ...]) -> Fetched:
    answer = reached.answer
    row: FetchRow = {
        "url": well_formed(url),
        "host": well_formed(host_of(url)),
        "status": str(answer.status),
        "http_status": answer.http_status,
        "tries": reached.tries,
        "num_bytes": answer.num_bytes,
        "final_url": reached.url,
        "detail": None if answer.detail is None else well_formed(answer.detail),
    }
    if answer.status is not FetchStatus.OK:
        return Fetched(row)
    content_type, charset = parse_content_type(header(answer.headers, "content-type"))
    capture = Capture(
        url=url,
        status=200,
        content_type=content_type,
        charset=charset,
        headers=answer.headers,
        payload=answer.body,
        is_truncated=False,
        problem=None,
        warc_file="",
        warc_offset=0,
        warc_length=0,
        warc_date="",  # before every archived capture of the same URL
        source=Source.FETCHED,
        consent=signals,
    )
    return Fetched(row, capture)


def fetch_all(
    urls: list[str],
    config: FetchConfig,
    max_bytes: int,
    network: Network,
    match_url: Callable[[str], BlockHit | None] | None = None,
    agents: tuple[str, ...] = AI_AGENTS,
) -> Iterator[Fetched | PolicyRow]:
    """Fetches images. Yields a ``Fetched`` for each distinct URL and rows of policies, in the order in which they
    arrive.

    Args:
        max_bytes: maximum size of one image.
        match_url: hit of a URL in block lists (``BlockList.match_url``).
        agents: robots, in lower case. A robots.txt that disallows one of them is a signal.
    """
    found: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    fetcher = HostFetcher(config, max_bytes, network, match_url, agents, lambda kind, value: found.put((kind, value)))
    names = concurrent.futures.ThreadPoolExecutor(config.concurrency, "names")  # a name look-up blocks its thread
    loop = asyncio.new_event_loop()
    loop.set_default_executor(names)
    thread = threading.Thread(target=loop.run_forever, name="fetch", daemon=True)
    thread.start()
    try:
        running = asyncio.run_coroutine_threadsafe(fetcher.run(urls), loop)
        running.add_done_callback(lambda _: found.put(("end", None)))
        while (item := found.get())[0] != "end":
            yield item[1]
            if item[0] == "fetched" and item[1].capture is not None:
                loop.call_soon_threadsafe(fetcher.slots.release)
        running.result()
    finally:
        asyncio.run_coroutine_threadsafe(_wind_up(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        names.shutdown()
        loop.close()


async def _wind_up() -> None:
    """Cancels the remaining tasks, for example if the consumer stopped early."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
