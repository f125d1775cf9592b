"""Fetches from the web the images that pages show but the archives lack. Off unless the recipe enables it.

    page index, image index --WantedUrls--> URLs, by host --FetchImages--> captures --> extract.ExtractImages
                                                                      +--> rows of ``fetches``, one per URL
                                                                      +--> rows of policies (site_policy)

All URLs of one host go to one worker, which alone keeps the host's pace (``fetch_hosts.py``). A fetched image is
processed like one from an archive: it is the capture of an image response, with ``source`` "fetched". No behaviour of a
server ends a run. Each outcome is a row with a ``FetchStatus``.

A redirect to another host is followed by the same worker, at that host's pace as far as this worker knows it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import apache_beam as beam

from gobelin.data.ids import shard_of
from gobelin.errors import UserError
from gobelin.transforms.boundary import WebStep
from gobelin.transforms.fetching.fetch_config import FetchConfig
from gobelin.transforms.images.block_list import BlockListConfig, load_block_list
from gobelin.transforms.progress import advance
from gobelin.transforms.rights.consent import AI_AGENTS
from gobelin.transforms.urls import host_of

if TYPE_CHECKING:
    from gobelin.transforms.fetching.fetch_http import Network


def check_fetch(config: FetchConfig) -> None:
    """Raises ``UserError`` if the extra ``fetch`` is not installed, or the recipe names no contact."""
    missing = [name for name in ("aiohttp", "protego") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"fetching needs {' and '.join(missing)}: pip install 'gobelin[fetch]'")
    _ = config.user_agent


class FetchImages(beam.PTransform):
    """URLs of images -> ``Capture``s ``images``, rows ``fetches`` (FETCHES) and ``policies`` (POLICY_INDEX).

    Args:
        max_bytes: maximum size of one image (``ImageLimits.max_bytes``).
        num_groups: number of groups of hosts. One worker at a time fetches a group, so this limits the number of
            workers.
        block_list: lists of files; a URL on them is never requested.
        agents: robots, in lower case. It is recorded if a robots.txt disallows them.
        network: for tests; by default the public internet.

    Raises:
        UserError: the extra ``gobelin[fetch]`` is not installed, or there is no contact.
    """

    def __init__(
        self,
        config: FetchConfig,
        max_bytes: int,
        num_groups: int,
        block_list: BlockListConfig | None = None,
        agents: tuple[str, ...] = AI_AGENTS,
        network: Network | None = None,
    ) -> None:
        check_fetch(config)
        self._num_groups = num_groups
        self._fetch = _FetchGroup(config, max_bytes, block_list or BlockListConfig(), agents, network)

    def expand(self, urls: beam.PCollection) -> beam.DoOutputsTuple:
        return (
            urls
            | "ByHost" >> beam.Map(_by_host, self._num_groups)
            | "OneWorkerAHost" >> beam.GroupByKey()
            | "Fetch" >> beam.ParDo(self._fetch).with_outputs("images", "fetches", "policies")
        )


def _by_host(url: str, num_groups: int) -> tuple[int, str]:
    return shard_of(host_of(url), num_groups), url


class _FetchGroup(WebStep):
    def __init__(
        self,
        config: FetchConfig,
        max_bytes: int,
        block_list: BlockListConfig,
        agents: tuple[str, ...],
        network: Network | None,
    ) -> None:
        self._config, self._max_bytes, self._block_list = config, max_bytes, block_list
        self._agents, self._network = agents, network

    def process(self, element: tuple[int, Iterable[str]]) -> Iterator[beam.pvalue.TaggedOutput]:
        from gobelin.transforms.fetching.fetch_hosts import Fetched, fetch_all  # needs the extra
        from gobelin.transforms.fetching.fetch_http import Network

        _, urls = element
        block_list = load_block_list(self._block_list)
        match_url = None if block_list is None else block_list.match_url
        network = self._network or Network()
        for found in fetch_all(list(urls), self._config, self._max_bytes, network, match_url, self._agents):
            if not isinstance(found, Fetched):
                yield beam.pvalue.TaggedOutput("policies", found)
                continue
            advance("fetches")
            yield beam.pvalue.TaggedOutput("fetches", found.row)
            if found.capture is None:
                advance("failed")
            else:
                yield beam.pvalue.TaggedOutput("images", found.capture)
