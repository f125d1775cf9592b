"""HTTP on the loopback interface, for ``gobelin browse`` and ``gobelin chat``.

Other pages in the same browser, and other users of the machine, can reach the port as well. So every address begins
with a random token that is printed once. ``Host`` must be the server's own (against DNS rebinding). ``Origin`` and
``Sec-Fetch-Site``, if the browser sends them, must be the server's own, too. The page loads nothing from elsewhere,
runs no inline script and may not be framed.
"""

from __future__ import annotations

import hmac
import json
import secrets
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from gobelin.errors import UserError

HOST = "127.0.0.1"

JSON_TYPE = "application/json"


class LocalPage(ThreadingHTTPServer):
    """A server for one user. ``url`` is the address of the page, with the token."""

    daemon_threads = True

    def __init__(self, handler: type[LocalHandler], port: int = 0) -> None:
        """``port`` 0: any free port. Raises UserError if the port is in use or invalid."""
        if not 0 <= port < 65_536:
            raise UserError(f"--port must be from 0 to 65535, got {port}")
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), handler)
        except OSError as error:
            raise UserError(f"port {port} cannot be opened ({error.strerror}); name another with --port") from None
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores broken connections."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class LocalHandler(BaseHTTPRequestHandler):
    """Handles one request. Subclasses set the command's name, the content security policy, and the largest size of a
    body."""

    server: LocalPage
    server_version, sys_version = "gobelin", ""
    timeout = 60
    command_name: str
    policy: str
    """The Content-Security-Policy of everything but what says its own."""
    max_request: int
    """Bytes of a request's body."""

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing, because addresses contain the token."""

    def path_behind_token(self) -> str | None:
        """The requested path without the token and the query; None if the request is not allowed."""
        if self.headers.get("Host") not in self.server.hosts:
            return None
        origin = self.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") not in self.server.hosts:
            return None
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            return None
        token, slash, path = self.path.partition("?")[0].lstrip("/").partition("/")
        is_known = hmac.compare_digest(token.encode(errors="replace"), self.server.token.encode())
        return path if is_known and slash else None

    def body(self) -> bytes | None:
        """The request's body; None if it is not allowed (the error is already sent)."""
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or len(length) > 12 or int(length) > self.max_request:
            self.close_connection = True
            self.error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {self.max_request // 2**20} MiB")
            return None
        body = self.rfile.read(int(length))
        if self.headers.get_content_type() != JSON_TYPE:
            self.error(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "JSON is expected")
            return None
        return body

    def refuse(self) -> None:
        self.error(HTTPStatus.FORBIDDEN, f"not for you: open the address that gobelin {self.command_name} printed")

    def error(self, status: HTTPStatus, message: str) -> None:
        self.send(json.dumps({"error": message}).encode(), JSON_TYPE, status=status)

    def send(
        self,
        data: bytes,
        kind: str,
        policy: str | None = None,
        cache: str = "no-store",
        status: HTTPStatus = HTTPStatus.OK,
    ) -> None:
        """Sends a whole response. ``policy`` None: the page's own."""
        self.head(kind, len(data), policy, cache, status)
        self.wfile.write(data)

    def head(
        self,
        kind: str,
        length: int | None,
        policy: str | None = None,
        cache: str = "no-store",
        status: HTTPStatus = HTTPStatus.OK,
    ) -> None:
        """Sends status and headers. ``length`` None: the body ends with the connection."""
        self.send_response(status)
        headers = {
            "Content-Type": kind, "Cache-Control": cache, "Content-Security-Policy": policy or self.policy,
            "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
            "X-DNS-Prefetch-Control": "off",
        }  # fmt: skip
        if length is not None:
            headers["Content-Length"] = str(length)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
