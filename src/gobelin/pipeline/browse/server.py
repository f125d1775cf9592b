"""The server behind ``gobelin browse``: HTTP on the loopback interface, for the person who started it.

Other pages in the same browser, and other people on the machine, reach the port as well. So every address begins with a
token that is drawn at the start and printed once; ``Host`` must be the server's own (DNS rebinding), and ``Origin``
and ``Sec-Fetch-Site``, where the browser sends them, must be its own too. Answers say that nothing from elsewhere is
loaded, that no inline script runs and that no page frames them. What comes from the web is JSON, or pixels encoded
anew, or a page in a sandbox without scripts.
"""

from __future__ import annotations

import dataclasses
import hmac
import json
import secrets
import sys
import traceback
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gobelin.data.rows import Row
from gobelin.errors import UserError
from gobelin.pipeline.browse import details
from gobelin.pipeline.browse.answers import Answers

HOST = "127.0.0.1"

MAX_REQUEST = 1 << 20
"""Bytes of a request's body."""

_FOLDER = Path(__file__).parent / "page"
_FILES = {
    "": (_FOLDER / "index.html", "text/html; charset=utf-8"),
    "browse.js": (_FOLDER / "browse.js", "text/javascript; charset=utf-8"),
    "icon.svg": (_FOLDER / "icon.svg", "image/svg+xml"),
    "browse.css": (_FOLDER / "browse.css", "text/css; charset=utf-8"),
    "page.css": (Path(__file__).parents[2] / "report" / "templates" / "page.css", "text/css; charset=utf-8"),
}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SANDBOX = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)


class BrowseServer(ThreadingHTTPServer):
    """Serves one or two runs. ``url`` is where the page is, token and all."""

    daemon_threads = True

    def __init__(self, answers: Answers, port: int = 0) -> None:
        """Args:
        port: 0: any that is free.

        Raises:
            UserError: the port is taken.
        """
        self.answers = answers
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise UserError(f"port {port} cannot be opened ({error.strerror}); name another with --port") from None
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: BrowseServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "gobelin", ""
    timeout = 60

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > MAX_REQUEST:
            self.close_connection = True
            return self._error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is too long")
        body = self.rfile.read(int(length))
        if self.headers.get_content_type() != "application/json":
            return self._error(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "JSON is expected")
        return self._answer(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: addresses hold the token."""

    def _answer(self, body: bytes | None) -> None:
        path = self._path()
        if path is None:
            return self._error(HTTPStatus.FORBIDDEN, "not for you: open the address that gobelin browse printed")
        try:
            if body is None:
                return self._get(path)
            return self._json(self._post(path, body))
        except UserError as error:
            return self._error(HTTPStatus.BAD_REQUEST, str(error))
        except BrokenPipeError:
            raise
        except Exception:  # noqa: BLE001  # one request fails, and says so; the others go on
            traceback.print_exc(file=sys.stderr)
            return self._error(HTTPStatus.INTERNAL_SERVER_ERROR, "gobelin has a defect; the terminal has the traceback")

    def _path(self) -> str | None:
        """What is asked for, behind the token; None: this request may not ask."""
        if self.headers.get("Host") not in self.server.hosts:
            return None
        origin = self.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") not in self.server.hosts:
            return None
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            return None
        token, slash, path = urlsplit(self.path).path.lstrip("/").partition("/")
        is_known = hmac.compare_digest(token.encode(), self.server.token.encode())
        return path if is_known and slash else None

    def _get(self, path: str) -> None:
        if path in _FILES:
            file, kind = _FILES[path]
            return self._send(file.read_bytes(), kind, POLICY)
        kind, _, name = path.partition("/")
        given = parse_qs(urlsplit(self.path).query)
        run = self.server.answers.run_called(given.get("run", ["0"])[0])
        if kind == "image":
            side = given.get("side", ["320"])[0]
            data = details.picture(run, name, int(side) if side.isdigit() and len(side) < 6 else details.THUMBNAIL_PX)
            if data is not None:
                return self._send(data, "image/webp", SANDBOX, "max-age=3600")
        if kind == "page":
            return self._send(details.rendered(details.source(run, name)), "text/html; charset=utf-8", SANDBOX)
        return self._error(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _post(self, path: str, body: bytes) -> Any:
        kind, _, name = path.partition("/")
        ask = getattr(self.server.answers, f"on_{name}", None) if kind == "api" and name.isidentifier() else None
        if ask is None:
            raise UserError("no such question")
        try:
            given = json.loads(body)
        except ValueError:
            raise UserError("not JSON") from None
        if not isinstance(given, dict):
            raise UserError("an object is expected")
        return ask(given)

    def _json(self, value: Any) -> None:
        self._send(json.dumps(value, allow_nan=False, default=_plain).encode(), "application/json", POLICY)

    def _error(self, status: HTTPStatus, message: str) -> None:
        self._send(json.dumps({"error": message}).encode(), "application/json", POLICY, status=status)

    def _send(
        self, data: bytes, kind: str, policy: str, cache: str = "no-store", status: HTTPStatus = HTTPStatus.OK
    ) -> None:
        self.send_response(status)
        headers: Row = {
            "Content-Type": kind, "Content-Length": str(len(data)), "Cache-Control": cache,
            "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
            "X-DNS-Prefetch-Control": "off",
        }  # fmt: skip
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _plain(value: Any) -> Any:
    """Numbers of NumPy, and dataclasses, as JSON takes them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(type(value).__name__)
