"""The server behind ``gobelin chat``. It streams replies, and stops a reply when its reader is gone."""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
import traceback
from http import HTTPStatus
from pathlib import Path
from typing import Any

from gobelin.errors import DEFECT, UserError, in_a_line, is_of_the_machine
from gobelin.pipeline.ask.model_folder import ModelFolder
from gobelin.pipeline.chat.replies import Event, read_question, reply
from gobelin.pipeline.local_server import LocalHandler, LocalPage
from gobelin.train.config import SamplingConfig

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
    """The client has closed the connection."""


class ChatServer(LocalPage):
    """Serves one model."""

    def __init__(self, folder: ModelFolder, config: SamplingConfig, port: int = 0) -> None:
        """``port`` 0: any free port. Raises UserError if the port is in use."""
        self.folder, self.config = folder, config
        self.model_is_free = threading.Lock()
        super().__init__(_Handler, port)


class _Handler(LocalHandler):
    server: ChatServer
    command_name, policy, max_request = "chat", POLICY, MAX_REQUEST

    def do_GET(self) -> None:
        path = self.path_behind_token()
        if path is None:
            return self.refuse()
        if path == "grids":
            names = self.server.folder.vocabulary.codebook_names
            return self.send(json.dumps(names).encode(), "application/json")
        if path not in _FILES:
            return self.error(HTTPStatus.NOT_FOUND, "there is nothing here")
        name, kind = _FILES[path]
        return self.send((_FOLDER / name).read_bytes(), kind)

    def do_POST(self) -> None:
        if self.path_behind_token() != "reply":
            return self.refuse()
        body = self.body()
        if body is None:
            return None
        try:
            given = json.loads(body)
        except (ValueError, RecursionError):
            return self.error(HTTPStatus.BAD_REQUEST, "not JSON")
        if not self.server.model_is_free.acquire(timeout=_BUSY_SECONDS):
            return self.error(HTTPStatus.CONFLICT, "the model is at work on another reply; stop that one first")
        try:
            self._reply(given)
        finally:
            self.server.model_is_free.release()
        return None

    def _reply(self, given: Any) -> None:
        """Streams events, one per line. After the first event, an error is sent as an event, too."""
        has_begun = False

        def tell(event: Event) -> None:
            nonlocal has_begun
            if not has_begun:
                self.head("application/x-ndjson", None)
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
                self.error(status, message)

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
        """Raises ClientGoneError if the page has closed the connection. The page sends nothing while it listens."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        if readable:
            try:
                gone = self.connection.recv(1, socket.MSG_PEEK) == b""
            except OSError:
                gone = True
            if gone:
                raise ClientGoneError
