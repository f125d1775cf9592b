"""The server behind ``gobelin browse``. It sends content from the web only as JSON, as pixels that were encoded again,
or as a page in a sandbox without scripts."""

from __future__ import annotations

import dataclasses
import json
import sys
import traceback
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from gobelin.errors import UserError
from gobelin.pipeline.browse import details
from gobelin.pipeline.browse.answers import Answers
from gobelin.pipeline.local_server import JSON_TYPE, LocalHandler, LocalPage

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


class BrowseServer(LocalPage):
    """Serves one or two runs."""

    def __init__(self, answers: Answers, port: int = 0) -> None:
        """``port`` 0: any free port. Raises UserError if the port is in use."""
        self.answers = answers
        super().__init__(_Handler, port)


class _Handler(LocalHandler):
    server: BrowseServer
    protocol_version = "HTTP/1.1"
    command_name, policy, max_request = "browse", POLICY, MAX_REQUEST

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        body = self.body()
        if body is not None:
            self._answer(body)

    def _answer(self, body: bytes | None) -> None:
        path = self.path_behind_token()
        if path is None:
            return self.refuse()
        try:
            if body is None:
                return self._get(path)
            return self._json(self._post(path, body))
        except UserError as error:
            return self.error(HTTPStatus.BAD_REQUEST, str(error))
        except BrokenPipeError:
            raise
        except Exception:  # noqa: BLE001  # one request fails, and says so; the others go on
            traceback.print_exc(file=sys.stderr)
            return self.error(HTTPStatus.INTERNAL_SERVER_ERROR, "gobelin has a defect; the terminal has the traceback")

    def _get(self, path: str) -> None:
        if path in _FILES:
            file, kind = _FILES[path]
            return self.send(file.read_bytes(), kind)
        kind, _, name = path.partition("/")
        given = parse_qs(self.path.partition("?")[2])
        run = self.server.answers.run_called(given.get("run", ["0"])[0])
        if kind == "image":
            side = given.get("side", ["320"])[0]
            data = details.picture(run, name, int(side) if side.isdecimal() and len(side) < 6 else details.THUMBNAIL_PX)
            if data is not None:
                return self.send(data, "image/webp", SANDBOX, "max-age=3600")
        if kind == "page":
            return self.send(details.rendered(details.source(run, name)), "text/html; charset=utf-8", SANDBOX)
        return self.error(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _post(self, path: str, body: bytes) -> Any:
        kind, _, name = path.partition("/")
        ask = getattr(self.server.answers, f"on_{name}", None) if kind == "api" and name.isidentifier() else None
        if ask is None:
            raise UserError("no such question")
        try:
            given = json.loads(body)
        except (ValueError, RecursionError):
            raise UserError("not JSON") from None
        if not isinstance(given, dict):
            raise UserError("an object is expected")
        return ask(given)

    def _json(self, value: Any) -> None:
        self.send(json.dumps(value, allow_nan=False, default=_plain).encode(), JSON_TYPE)


def _plain(value: Any) -> Any:
    """Converts numbers of NumPy, and dataclasses, to JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(type(value).__name__)
