"""The server behind ``gobelin chat``: HTTP on the loopback interface, for the person who started it.

Other pages in the same browser, and other people on the machine, reach the port as well. So every address begins with a
token that is drawn at the start and printed once; ``Host`` must be the server's own (DNS rebinding), and ``Origin``
and ``Sec-Fetch-Site``, where the browser sends them, must be its own too. The page loads nothing from elsewhere, runs
no inline script and may not be framed.
"""

from __future__ import annotations

import hmac
import json
import secrets
import select
import socket
import sys
import threading
import traceback
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gobelin.errors import DEFECT, UserError, in_a_line, is_of_the_machine
from gobelin.pipeline.ask.model_folder import ModelFolder
from gobelin.pipeline.chat.replies import Event, read_question, reply
from gobelin.train.config import SamplingConfig

HOST = "127.0.0.1"

MAX_REQUEST = 32 * 1024 * 1024
"""Bytes of a request's body: a picture of 20 MB in base64, and a conversation."""

_BUSY_SECONDS = 10.0
"""How long a reply waits for the one before it, which may be stopping."""

_FOLDER = Path(__file__).parent / "page"
_FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "chat.js": ("chat.js", "text/javascript; charset=utf-8"),
    "chat.css": ("chat.css", "text/css; charset=utf-8"),
}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class ClientGoneError(Exception):
    """Nobody reads the reply any more."""


class ChatServer(ThreadingHTTPServer):
    """Serves one model. ``url`` is where the page is, token and all."""

    daemon_threads = True

    def __init__(self, folder: ModelFolder, config: SamplingConfig, port: int = 0) -> None:
        """``port`` 0: any that is free. Raises UserError where the port is taken."""
        self.folder, self.config = folder, config
        self.token = secrets.token_urlsafe(24)
        self.model_is_free = threading.Lock()
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise UserError(f"port {port} cannot be opened ({error.strerror}); name another with --port") from None
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer
    server_version, sys_version = "gobelin", ""
    timeout = 60

    def do_GET(self) -> None:
        path = self._path()
        if path is None:
            return self._refuse()
        if path not in _FILES:
            return self._error(HTTPStatus.NOT_FOUND, "there is nothing here")
        name, kind = _FILES[path]
        data = (_FOLDER / name).read_bytes()
        self._head(HTTPStatus.OK, kind, len(data))
        self.wfile.write(data)
        return None

    def do_POST(self) -> None:
        if self._path() != "reply":
            return self._refuse()
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or len(length) > 12 or int(length) > MAX_REQUEST:
            return self._error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {MAX_REQUEST // 2**20} MiB")
        if self.headers.get_content_type() != "application/json":
            return self._error(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "JSON is expected")
        try:
            given = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            return self._error(HTTPStatus.BAD_REQUEST, "not JSON")
        if not self.server.model_is_free.acquire(timeout=_BUSY_SECONDS):
            return self._error(HTTPStatus.CONFLICT, "the model is at work on another reply; stop that one first")
        try:
            self._reply(given)
        finally:
            self.server.model_is_free.release()
        return None

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: addresses hold the token."""

    def _reply(self, given: Any) -> None:
        """Streams events, one a line. Once the first is sent, an error is an event too."""
        has_begun = False

        def tell(event: Event) -> None:
            nonlocal has_begun
            if not has_begun:
                self._head(HTTPStatus.OK, "application/x-ndjson", None)
                has_begun = True
            try:
                self.wfile.write(json.dumps(event, allow_nan=False).encode() + b"\n")
                self.wfile.flush()
            except OSError:
                raise ClientGoneError from None

        def fail(status: HTTPStatus, message: str) -> None:
            if has_begun:
                tell({"event": "error", "text": message})
            else:
                self._error(status, message)

        try:
            try:
                question = read_question(self.server.folder, self.server.config, given)
                reply(self.server.folder, question, tell, self._check_client)
            except UserError as error:
                fail(HTTPStatus.BAD_REQUEST, in_a_line(error))
            except ClientGoneError:
                raise
            except Exception as error:  # noqa: BLE001  # one reply fails and says so; the page lives on
                if not is_of_the_machine(error):
                    traceback.print_exc(file=sys.stderr)
                told = in_a_line(error) if is_of_the_machine(error) else f"{DEFECT}; the terminal has the traceback"
                fail(HTTPStatus.INTERNAL_SERVER_ERROR, told)
        except ClientGoneError:
            pass

    def _check_client(self) -> None:
        """Raises ClientGoneError where the page has hung up: nothing is read from it while it listens."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        if readable:
            try:
                gone = self.connection.recv(1, socket.MSG_PEEK) == b""
            except OSError:
                gone = True
            if gone:
                raise ClientGoneError

    def _path(self) -> str | None:
        """What is asked for, behind the token; None: this request may not ask."""
        if self.headers.get("Host") not in self.server.hosts:
            return None
        origin = self.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") not in self.server.hosts:
            return None
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            return None
        token, slash, path = self.path.lstrip("/").partition("/")
        is_known = hmac.compare_digest(token.encode(), self.server.token.encode())
        return path if is_known and slash else None

    def _refuse(self) -> None:
        self._error(HTTPStatus.FORBIDDEN, "not for you: open the address that gobelin chat printed")

    def _error(self, status: HTTPStatus, message: str) -> None:
        data = json.dumps({"error": message}).encode()
        self._head(status, "application/json", len(data))
        self.wfile.write(data)

    def _head(self, status: HTTPStatus, kind: str, length: int | None) -> None:
        """Status and headers; without a length the body ends with the connection."""
        self.send_response(status)
        headers = {
            "Content-Type": kind, "Cache-Control": "no-store", "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
            "X-DNS-Prefetch-Control": "off",
        }  # fmt: skip
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
