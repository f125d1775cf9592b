"""One GET, limited in time, rate and bytes, to the public internet only. ``fetch_hosts`` handles redirects, retries and
robots.

Attacks of a server on a client, and the defences:

    an address inside our own network      the socket's guard (``safe_socket.py``), at each connection
    unlimited bytes, or a false length     a limit on the announced and the received size
    a slow drip of bytes                   a total time, and a minimum mean rate after a grace period
    compression bombs                      ``Accept-Encoding: identity``; compressed bodies are decompressed up to the
    limit
    unlimited headers                      limits on their number and size (aiohttp's own: 128, 8 KiB)
    cookies                                none are kept or sent
    a page instead of an image             its type and first bytes end the transfer

Nothing is taken from the environment: no proxies, no ``.netrc``. A request takes about 1 ms of CPU.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import re
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver
from w3lib.url import safe_url_string
from yarl import URL

from gobelin.transforms.archives.content_types import parse_content_type
from gobelin.transforms.archives.http_message import EncodingError, decode_body, header
from gobelin.transforms.fetching.fetch_config import FetchConfig, FetchStatus
from gobelin.transforms.fetching.safe_socket import REFUSED, AddressRule, guarded_socket_factory, is_global_address
from gobelin.transforms.images.image_formats import is_picture
from gobelin.transforms.urls import MAX_URL_CHARS, describe, split_url, well_formed

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?\.?", re.ASCII)
_SNIFF_BYTES = 64
_ACCEPT_IMAGE = "image/avif,image/webp,image/*;q=0.9,*/*;q=0.1"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """The network to fetch from. Only tests need another one than the default: a server on this machine and no other.

    Recipes deliberately cannot change it.
    """

    is_allowed: AddressRule = is_global_address
    """Whether an address may be connected to."""

    ports: frozenset[int] = frozenset({80, 443})
    """Ports that may be connected to."""

    resolver: Callable[[], AbstractResolver] = aiohttp.ThreadedResolver
    """Makes the resolver of names. Called within the event loop."""

    ssl_context: Callable[[], ssl.SSLContext] = ssl.create_default_context
    """Makes the context that verifies certificates."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The result of one GET, or why it was not made."""

    status: FetchStatus
    http_status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""  # decoded; only with status OK
    num_bytes: int = 0  # received bytes of the body
    detail: str | None = None


def check_url(url: str, ports: frozenset[int]) -> str | Answer:
    """The address as it is sent (without fragment and default port, percent-encoded to ASCII), or why it must not be
    requested.

    Existing escapes stay as they are.
    """
    if len(url) > MAX_URL_CHARS:
        return Answer(FetchStatus.BAD_URL, detail=f"{len(url)} characters")
    try:
        parts = split_url(safe_url_string(well_formed(url)))
        if parts is None:
            return Answer(FetchStatus.BAD_URL, detail="no URL")
        host, port = parts.hostname or "", parts.port
        if ":" in host and ipaddress.IPv6Address(host).scope_id is not None:
            return Answer(FetchStatus.BAD_URL, detail="an address of one link")
    except ValueError as error:
        return Answer(FetchStatus.BAD_URL, detail=describe(error))
    if parts.scheme not in ("http", "https"):
        return Answer(FetchStatus.BAD_SCHEME, detail=parts.scheme[:40])
    if ":" not in host and not _HOST.fullmatch(host):
        return Answer(FetchStatus.BAD_URL, detail="no host" if not host else f"host {host[:80]}")
    if parts.username is not None or parts.password is not None:
        return Answer(FetchStatus.BAD_URL, detail="user name in the address")
    own_port = 443 if parts.scheme == "https" else 80
    port = own_port if port is None else port
    if port not in ports:
        return Answer(FetchStatus.BAD_URL, detail=f"port {port}")
    netloc = f"[{host}]" if ":" in host else host
    netloc += "" if port == own_port else f":{port}"
    return parts._replace(netloc=netloc, path=parts.path or "/", fragment="").geturl()


class HttpClient:
    """Sends GET requests. An async context manager; must not be shared between event loops."""

    def __init__(self, config: FetchConfig, network: Network) -> None:
        self._config, self._network = config, network

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=0,  # the callers' semaphores limit
            resolver=self._network.resolver(),
            ttl_dns_cache=300,
            keepalive_timeout=4,  # seconds; the next request follows after one, and idle connections hold file handles
            ssl=self._network.ssl_context(),
            socket_factory=guarded_socket_factory(self._network.is_allowed),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self._config.user_agent, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._config.connect_timeout_seconds),
            auto_decompress=False,
            trust_env=False,
            middlewares=(_ask_once,),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, url: str, max_bytes: int, wants_image: bool) -> Answer:
        """Makes one request.

        Args:
            url: as ``check_url`` returns it.
            max_bytes: maximum size of the body. A longer image is ``too_large``; a longer text is cut off.
            wants_image: whether a body that is not an image ends the transfer.

        Returns:
            status ``OK`` for HTTP 200 with a body, ``HTTP_ERROR`` for any other HTTP status, including redirects.
        """
        transfer = _Transfer(self._config, max_bytes, wants_image)
        accept = _ACCEPT_IMAGE if wants_image else "text/plain,*/*;q=0.5"
        try:
            async with asyncio.timeout_at(transfer.ends_at) as limit:
                request = self._session.get(URL(url, encoded=True), allow_redirects=False, headers={"Accept": accept})
                async with request as response:
                    return await transfer.receive(response, limit)
        except TimeoutError:
            status = FetchStatus.TOO_SLOW if transfer.is_too_slow else FetchStatus.TIMEOUT
            detail = f"{transfer.num_bytes} bytes" if transfer.is_too_slow else None
            return dataclasses.replace(transfer.head, status=status, num_bytes=transfer.num_bytes, detail=detail)
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
            return dataclasses.replace(
                transfer.head, status=_status_of(error), num_bytes=transfer.num_bytes, detail=describe(cause)
            )


class _LostConnectionError(aiohttp.ClientError):
    """A connection was reset or closed before an answer arrived."""


async def _ask_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Prevents aiohttp from repeating a request itself after a lost connection."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _LostConnectionError(describe(error)) from error


class _Transfer:
    """The receiving side of one request: the bytes so far, and the time by which the next ones must arrive."""

    def __init__(self, config: FetchConfig, max_bytes: int, wants_image: bool) -> None:
        self._config, self._max_bytes, self._wants_image = config, max_bytes, wants_image
        self.ends_at = asyncio.get_running_loop().time() + config.timeout_seconds
        self.num_bytes = 0
        self.is_too_slow = False  # whether a time-out now would mean that the rate is too low
        self.head = Answer(FetchStatus.ERROR)
        self._body = bytearray()

    async def receive(self, response: aiohttp.ClientResponse, limit: asyncio.Timeout) -> Answer:
        headers = tuple((well_formed(name), well_formed(value)) for name, value in response.headers.items())
        self.head = Answer(FetchStatus.HTTP_ERROR, response.status, headers)
        if response.status != 200:
            response.close()
            return dataclasses.replace(self.head, detail=f"HTTP {response.status}")
        if self._wants_image and (response.content_length or 0) > self._max_bytes:
            response.close()
            return self._failure(FetchStatus.TOO_LARGE, f"{response.content_length} bytes announced")
        failure = await self._receive_body(response, limit)
        if failure is not None:
            response.close()
            return failure
        return self._unpack()

    async def _receive_body(self, response: aiohttp.ClientResponse, limit: asyncio.Timeout) -> Answer | None:
        """Receives the body. Returns why the transfer was aborted, or None."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        is_packed = header(self.head.headers, "content-encoding") not in ("", "identity")
        is_sniffed = is_packed or not self._wants_image
        self._set_limit(started, limit)
        async for chunk in response.content.iter_any():
            self._body += chunk
            self.num_bytes = len(self._body)
            if not is_sniffed and self.num_bytes >= _SNIFF_BYTES:
                is_sniffed = True
                if not _may_be_image(self.head.headers, self._body):
                    return self._failure(FetchStatus.NOT_AN_IMAGE, self._content_type())
            if self.num_bytes > self._max_bytes:
                response.close()
                return self._failure(FetchStatus.TOO_LARGE, "more received") if self._wants_image else None
            self._set_limit(started, limit)
        return None

    def _set_limit(self, started: float, limit: asyncio.Timeout) -> None:
        """Sets the limit to the time at which the rate would fall below the minimum, or to the end of the total
        time."""
        rate = self._config.min_bytes_per_second
        slow_at = started + max(self._config.grace_seconds, self.num_bytes / rate) if rate else self.ends_at
        self.is_too_slow = slow_at < self.ends_at
        limit.reschedule(min(slow_at, self.ends_at))

    def _unpack(self) -> Answer:
        if not self._body:
            return self._failure(FetchStatus.EMPTY)
        # aiohttp has joined the chunks already
        headers = tuple(pair for pair in self.head.headers if pair[0].lower() != "transfer-encoding")
        try:
            body = decode_body(bytes(self._body), headers, self._max_bytes)
        except EncodingError as error:
            return self._failure(FetchStatus.BAD_RESPONSE, describe(error))
        if self._wants_image:
            if len(body) > self._max_bytes:
                return self._failure(FetchStatus.TOO_LARGE, "more unpacked")
            if not _may_be_image(self.head.headers, body):
                return self._failure(FetchStatus.NOT_AN_IMAGE, self._content_type())
        return dataclasses.replace(
            self.head, status=FetchStatus.OK, body=body[: self._max_bytes], num_bytes=self.num_bytes
        )

    def _content_type(self) -> str:
        return header(self.head.headers, "content-type")[:100]

    def _failure(self, status: FetchStatus, detail: str | None = None) -> Answer:
        return dataclasses.replace(self.head, status=status, num_bytes=self.num_bytes, detail=detail)


def _may_be_image(headers: tuple[tuple[str, str], ...], body: bytes | bytearray) -> bool:
    """Whether a body is worth the rest of its transfer: it has an image's first bytes, or an image's type and is not an
    HTML page."""
    if is_picture(bytes(body[:512])):
        return True
    if not parse_content_type(header(headers, "content-type"))[0].startswith("image/"):
        return False
    return not bytes(body[:512]).lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html"))


def _status_of(error: Exception) -> FetchStatus:
    match error:
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return FetchStatus.TLS_ERROR
        case aiohttp.ClientConnectorDNSError():
            return FetchStatus.DNS_ERROR
        case aiohttp.ClientConnectorError():
            return FetchStatus.NOT_GLOBAL_ADDRESS if REFUSED in str(error) else FetchStatus.CONNECTION_ERROR
        case aiohttp.ClientPayloadError():
            return FetchStatus.CUT_SHORT
        case aiohttp.ClientResponseError():
            return FetchStatus.BAD_RESPONSE
        case aiohttp.InvalidURL():
            return FetchStatus.BAD_URL
        case _LostConnectionError() | aiohttp.ClientConnectionError() | OSError():
            return FetchStatus.CONNECTION_ERROR
        case _:
            return FetchStatus.BAD_RESPONSE
