"""Measures the cost and the politeness of fetching, against a server on this machine that plays many hosts.

    python -m bench.fetch --hosts 100 --images 20 --delays 0,0.2,1

The server runs in a process of its own. It answers each image after ``--latency`` seconds and records when each host
was asked. For each delay, the bench prints images per second, the client's CPU time per image (including robots.txt and
tdmrep.json of its host), the shortest time between the starts of two requests to one host, the most parallel requests
of one host and of the whole server, and the highest memory. ``bare`` is aiohttp alone with the same URLs.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import io
import itertools
import multiprocessing
import multiprocessing.connection
import resource
import time

import aiohttp
import numpy as np
from PIL import Image

from gobelin.transforms.fetching.fetch_config import FetchConfig
from gobelin.transforms.fetching.fetch_hosts import Fetched, fetch_all
from tests.misbehaving_server import MisbehavingServer, Resolver, answer, later, network


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the server saw."""

    shortest_gap: float  # seconds
    most_at_a_host: int
    most_at_all: int


def serve(pipe: multiprocessing.connection.Connection, image: bytes, latency: float) -> None:
    """A server in this process until the other end says stop; sends its port first and what it saw last."""
    server = MisbehavingServer(image)
    server.routes = {"/": later(latency, answer(200, image, (("Content-Type", "image/jpeg"),)))}
    pipe.send(server.port)
    while pipe.recv() != "stop":
        gaps = [1e9]
        for host in {request.host for request in server.requests}:
            times = sorted(request.time for request in server.requests if request.host == host)
            gaps += [after - before for before, after in itertools.pairwise(times)]
        most = max(server.max_open.values(), default=0)
        pipe.send(Seen(min(gaps), most, server.max_open_at_all))
        server.requests.clear()
        server.max_open.clear()
        server.max_open_at_all = 0
    server.close()


def photo(num_bytes: int) -> bytes:
    """A JPEG of about that many bytes."""
    side = int((num_bytes / 0.6) ** 0.5)
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=60)
    return stream.getvalue()


async def fetch_bare(urls: list[str], concurrency: int) -> int:
    """The URLs with aiohttp and nothing around it; the number of images."""
    slots = asyncio.Semaphore(concurrency)
    connector = aiohttp.TCPConnector(limit=0, resolver=Resolver())
    async with aiohttp.ClientSession(connector=connector) as session:

        async def get(url: str) -> int:
            async with slots, session.get(url) as response:
                return len(await response.read()) > 0

        return sum(await asyncio.gather(*map(get, urls)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=100, help="host names (%(default)s)")
    parser.add_argument("--images", type=int, default=20, help="images a host (%(default)s)")
    parser.add_argument("--bytes", type=int, default=60_000, help="of an image (%(default)s)")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before an answer (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=16, help="requests at a time (%(default)s)")
    parser.add_argument("--host-concurrency", type=int, default=2, help="requests to a host at a time (%(default)s)")
    parser.add_argument("--delays", default="0,0.2,1", help="seconds between requests to a host (%(default)s)")
    options = parser.parse_args()

    context = multiprocessing.get_context("spawn")
    pipe, other_end = context.Pipe()
    image = photo(options.bytes)
    server = context.Process(target=serve, args=(other_end, image, options.latency))
    server.start()
    port = pipe.recv()
    urls = [f"http://h{n % options.hosts}.example:{port}/?{n}" for n in range(options.hosts * options.images)]
    print(f"{len(urls)} images of {len(image)} bytes on {options.hosts} hosts, {options.concurrency} at a time")
    print(
        f"{'delay s':>8}{'wall s':>8}{'images/s':>10}{'cpu ms/image':>14}{'gap s':>8}"
        f"{'a host':>8}{'at all':>8}{'MB':>6}"
    )
    try:
        for delay in (None, *map(float, options.delays.split(","))):
            started, cpu = time.monotonic(), time.process_time()
            if delay is None:
                num_images = asyncio.run(fetch_bare(urls, options.concurrency))
            else:
                config = FetchConfig(
                    enabled=True, contact="bench@example.org", host_delay_seconds=delay,
                    concurrency=options.concurrency, host_concurrency=options.host_concurrency,
                )  # fmt: skip
                outcomes = fetch_all(urls, config, 10**7, network(port))
                num_images = sum(isinstance(item, Fetched) and item.capture is not None for item in outcomes)
            wall, cpu = time.monotonic() - started, time.process_time() - cpu
            pipe.send("seen")
            seen: Seen = pipe.recv()
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(
                f"{'bare' if delay is None else delay:>8}{wall:>8.1f}{num_images / wall:>10.0f}"
                f"{1000 * cpu / num_images:>14.2f}{seen.shortest_gap:>8.2f}{seen.most_at_a_host:>8}"
                f"{seen.most_at_all:>8}{memory:>6}",
                flush=True,
            )
    finally:
        pipe.send("stop")
        server.join()


if __name__ == "__main__":
    main()
