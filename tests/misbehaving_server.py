"""A server on this machine that does what servers on the web do to a client, one path for each misdeed.

Runs in a thread, on one port of 127.0.0.1, where tests allow a client to go, and of 127.0.0.2, where they do not. Any
host name may be used with it: ``network`` resolves them all. It keeps what it was asked for, and when.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import functools
import gzip
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gobelin.transforms.fetching.fetch_http import Network
from gobelin.transforms.fetching.safe_socket import AddressRule

Misdeed = Callable[["Request", asyncio.StreamWriter], Awaitable[None]]


@dataclasses.dataclass(frozen=True)
class Request:
    """One request as it came. ``host`` without its port; header names in lower case."""

    host: str
    path: str
    headers: dict[str, str]
    time: float  # seconds, monotonic


def answer(status: int = 200, body: bytes = b"", headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """A whole response. Its ``Content-Length`` is right, unless ``headers`` have one."""
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers)]
    if not any(name.lower() == "content-length" for name, _ in headers):
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class MisbehavingServer:
    """``routes``: path, or (host, path), -> the bytes of a response or a coroutine function that does something worse.

    A path is looked up with its query first, then without. An unknown one is a 404.
    """

    def __init__(self, image: bytes) -> None:
        self.image = image
        self.requests: list[Request] = []
        self.addresses: set[str] = set()  # of this machine, at which it was met
        self.max_open: Counter[str] = Counter()  # requests at a time, by host
        self.max_open_at_all = 0
        self.answer_to_tls = b""  # after which the connection is closed
        self._open: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._servers = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        self.port: int = self._servers[0].sockets[0].getsockname()[1]
        self.routes: dict[str | tuple[str, str], bytes | Misdeed] = self._misdeeds()

    async def _start(self) -> list[asyncio.Server]:
        first = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        second = await asyncio.start_server(self._serve, "127.0.0.2", first.sockets[0].getsockname()[1])
        return [first, second]

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def url(self, path: str, host: str = "a.example") -> str:
        return f"http://{host}:{self.port}{path}"

    def paths(self, host: str | None = None) -> list[str]:
        """What was asked for, in order."""
        return [request.path for request in self.requests if host in (None, request.host)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            self.addresses.add(writer.get_extra_info("sockname")[0])
            while not writer.is_closing():
                first = await reader.readexactly(1)
                if first == b"\x16":  # a TLS handshake
                    writer.write(self.answer_to_tls)
                    break
                head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
                request = Request(
                    headers.get("host", "").rpartition(":")[0], head[0].split(" ")[1], headers, time.monotonic()
                )
                self.requests.append(request)
                self._open[request.host] += 1
                self.max_open[request.host] = max(self.max_open[request.host], self._open[request.host])
                self.max_open_at_all = max(self.max_open_at_all, self._open.total())
                try:
                    await self._respond(request, writer)
                finally:
                    self._open[request.host] -= 1
        writer.close()

    async def _respond(self, request: Request, writer: asyncio.StreamWriter) -> None:
        bare = request.path.partition("?")[0]
        for key in ((request.host, request.path), request.path, (request.host, bare), bare):
            if key in self.routes:
                route = self.routes[key]
                break
        else:
            route = answer(404)
        if isinstance(route, bytes):
            writer.write(route)
            await writer.drain()
        else:
            await route(request, writer)

    @contextlib.contextmanager
    def https(self, folder: Path, name: str) -> Iterator[tuple[int, Callable[[], ssl.SSLContext]]]:
        """The same server behind TLS, with a certificate for ``name``: its port, and what makes a context that trusts
        it."""
        path = folder / f"{name}.pem"
        path.write_bytes(_certificate(name))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)

        async def start() -> asyncio.Server:
            return await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)

        server = asyncio.run_coroutine_threadsafe(start(), self._loop).result()
        self._servers.append(server)
        yield server.sockets[0].getsockname()[1], functools.partial(ssl.create_default_context, cafile=path)

    def closing(self, response: bytes) -> Misdeed:
        """A response, after which the connection is closed."""
        return _then_close(response)

    def flaky(self, bad: bytes, times: int) -> Misdeed:
        """``bad`` for the first ``times`` requests, then the image."""
        left = [times]

        async def respond(_: Request, writer: asyncio.StreamWriter) -> None:
            left[0] -= 1
            writer.write(bad if left[0] >= 0 else answer(200, self.image, PNG))
            await writer.drain()

        return respond

    def _misdeeds(self) -> dict[str | tuple[str, str], bytes | Misdeed]:
        image = self.image
        return {
            "/ok.png": answer(200, image, PNG),
            "/no-type": answer(200, image),
            "/wrong-type": answer(200, image, (("Content-Type", "text/html"),)),
            "/slow": later(0.15, answer(200, image, PNG)),
            "/silent": _silence,
            "/drip-head": _drip(b"HTTP/1.1 200 OK\r\n" + b"X-Drip: 1\r\n" * 1000),
            "/drip-body": _drip(answer(200, image * 50, PNG), fast_bytes=150),
            "/endless": _endless(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nConnection: close\r\n\r\n" + image),
            "/endless-chunks": _endless(
                b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"10000\r\n" + bytes(65536) + b"\r\n",
            ),
            "/endless-headers": _endless(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 1000),
            "/endless-header": _endless(b"HTTP/1.1 200 OK\r\nX-Long: ", b"a" * 65536),
            "/endless-hints": _endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000),
            "/tiny-chunks": _endless(
                b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"1\r\na\r\n" * 10_000,
            ),
            "/huge": answer(200, image, (*PNG, ("Content-Length", "1000000000000"))),
            "/longer-than-said": answer(200, image, (*PNG, ("Content-Length", "20"))),
            "/shorter-than-said": _then_close(answer(200, image, (*PNG, ("Content-Length", str(len(image) + 100))))),
            "/cut-chunks": _then_close(
                b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + image
            ),
            "/loop": _redirect("/loop"),
            "/1-hop": _redirect("/ok.png"),
            "/2-hops": _redirect("1-hop", 307),
            "/3-hops": _redirect("//a.example:{port}/2-hops", 308),
            "/4-hops": _redirect("/3-hops", 303),
            "/5-hops": _redirect("/4-hops", 301),
            "/6-hops": _redirect("/5-hops"),
            "/nowhere": answer(302),
            "/to-private": _redirect("http://inside.example:{port}/ok.png"),
            "/to-literal": _redirect("http://127.0.0.2:{port}/ok.png"),
            "/to-mapped": _redirect("http://[::ffff:127.0.0.1]:{port}/ok.png"),
            "/to-file": _redirect("file:///etc/passwd"),
            "/to-data": _redirect("data:image/png;base64,AAAA"),
            "/to-port": _redirect("http://a.example:22/"),
            "/to-user": _redirect("http://me:secret@a.example:{port}/ok.png"),
            "/to-garbage": _redirect("http://[::1/"),
            "/to-disallowed": _redirect("http://closed.example:{port}/ok.png"),
            "/to-opted-out": _redirect("http://reserved.example:{port}/ok.png"),
            "/429": answer(429),
            "/503": answer(503),
            "/404": answer(404, b"<html>not here</html>"),
            "/204": answer(204),
            "/206": answer(206, image, PNG),
            "/empty": answer(200, b"", PNG),
            "/reset": _reset(b""),
            "/reset-in-body": _reset(answer(200, image, PNG)[:-20]),
            "/closed": _then_close(b""),
            "/garbage": _then_close(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
            "/cookies": answer(200, image, (*PNG, ("Set-Cookie", "track=me; Path=/"))),
            "/bomb": answer(200, _packed_zeros(), (*PNG, ("Content-Encoding", "gzip"))),
            "/packed": answer(200, gzip.compress(image), (*PNG, ("Content-Encoding", "gzip"))),
            "/badly-packed": answer(200, b"no gzip at all, " * 20, (*PNG, ("Content-Encoding", "gzip"))),
            "/page": answer(200, b"<!DOCTYPE html><html>" * 20, (("Content-Type", "text/html"),)),
            "/page-as-png": answer(200, b"\n<!DOCTYPE html><html>" * 20, PNG),
            "/short-page": answer(200, b"<html>", PNG),
            "/endless-page": _endless(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n", b"<p>" * 10000
            ),
            "/signals": answer(
                200,
                image,
                (*PNG, ("X-Robots-Tag", "noai, noimageai"), ("X-Robots-Tag", "ccbot: none"), ("TDM-Reservation", "1")),
            ),
        }  # fmt: skip


PNG = (("Content-Type", "image/png"),)


def later(seconds: float, response: bytes) -> Misdeed:
    """A response after a while."""

    async def respond(_: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        writer.write(response)
        await writer.drain()

    return respond


async def _silence(_: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


def _drip(response: bytes, fast_bytes: int = 0) -> Misdeed:
    async def respond(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(response[:fast_bytes])
        for position in range(fast_bytes, len(response)):
            writer.write(response[position : position + 1])
            await writer.drain()
            await asyncio.sleep(0.02)

    return respond


def _endless(start: bytes, more: bytes = bytes(65536)) -> Misdeed:
    async def respond(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(more)
            await writer.drain()

    return respond


def _then_close(response: bytes) -> Misdeed:
    async def respond(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(response)
        await writer.drain()
        writer.close()

    return respond


def _reset(response: bytes) -> Misdeed:
    async def respond(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(response)
        await writer.drain()
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return respond


def _redirect(location: str, status: int = 302) -> Misdeed:
    """``{port}`` in the location becomes the server's."""

    async def respond(request: Request, writer: asyncio.StreamWriter) -> None:
        port = request.headers["host"].rpartition(":")[2]
        writer.write(answer(status, b"moved", (("Location", location.replace("{port}", port)),)))
        await writer.drain()

    return respond


def _certificate(name: str) -> bytes:
    """A private key and a certificate that is signed with it, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


@functools.cache
def _packed_zeros() -> bytes:
    return gzip.compress(bytes(50_000_000), 9)


class Resolver(AbstractResolver):
    """Every name is 127.0.0.1, but: ``inside.example`` is 127.0.0.2, ``both.example`` is both, ``none.example`` is
    unknown, ``deaf.example`` never comes back, ``turning.example`` is 127.0.0.1 once and 127.0.0.2 from then on."""

    num_turns = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = ["127.0.0.1"]
        match host:
            case "inside.example":
                addresses = ["127.0.0.2"]
            case "both.example":
                addresses = ["127.0.0.2", "127.0.0.1"]
            case "none.example":
                raise OSError("no such name")
            case "deaf.example":
                await asyncio.sleep(3600)
            case "turning.example":
                addresses = ["127.0.0.2" if Resolver.num_turns else "127.0.0.1"]
                Resolver.num_turns += 1
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        pass


def is_ours(address: str) -> bool:
    """The one address that tests may go to."""
    return address == "127.0.0.1"


def network(port: int, is_allowed: AddressRule = is_ours) -> Network:
    """A world that consists of the server at a port."""
    return Network(is_allowed=is_allowed, ports=frozenset({port}), resolver=Resolver)


@contextlib.contextmanager
def serving(image: bytes) -> Iterator[MisbehavingServer]:
    """A server for the duration of a block."""
    server = MisbehavingServer(image)
    try:
        yield server
    finally:
        server.close()
