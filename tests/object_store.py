"""Object stores on loopback for tests: moto, an S3 server, behind a door that can answer 503, or cut connections, for a
while. ``Google`` adds what the XML API of Google Cloud Storage has beyond S3's, on which it is modelled: generations of
objects and puts that ask for one (https://cloud.google.com/storage/docs/xml-api/reference-headers)."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "bucket"
GOOGLE_BUCKET = "google"
_SIGNATURE = "AWS4-HMAC-SHA256 Credential=test/20250101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
"""Moto shows objects to those who sign, and checks no signature."""


class Door:
    """Lets requests through to moto, or answers 503 until a moment."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self.closed_until = 0.0
        self.num_requests: dict[str, int] = {}
        self.num_refused = 0
        self.num_cut = 0
        self.on_request: Callable[[str, str], None] | None = None
        self.cut: Callable[[str, str], str] | None = None

    def reset(self) -> None:
        """Open again, nobody watches, and nothing is cut."""
        self.closed_until, self.on_request, self.cut = 0.0, None, None

    def close_for(self, seconds: float) -> None:
        self.closed_until = time.monotonic() + seconds

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.num_requests[method] = self.num_requests.get(method, 0) + 1
        if self.on_request is not None:
            self.on_request(method, path)
        if time.monotonic() < self.closed_until:
            self.num_refused += 1
            stream: Any = environ["wsgi.input"]
            stream.read(int(environ.get("CONTENT_LENGTH") or 0))
            start("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code></Error>"]
        where = self.cut(method, path) if self.cut is not None else ""
        if where:
            self.num_cut += 1
            return self._cut_off(environ, start, where)
        return self._moto(environ, start)

    def _cut_off(self, environ: WSGIEnvironment, start: StartResponse, where: str) -> Iterable[bytes]:
        """Serves a request and cuts its connection: after half of what the client sends (``request``), after half of
        the answer (``answer``), or when all is done and nothing is answered yet (``silent``)."""
        connection: Any = environ["werkzeug.socket"]
        if where == "request":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) // 2)
            connection.shutdown(socket.SHUT_RDWR)
            return []
        if where == "silent":
            b"".join(self._moto(environ, lambda *_: lambda data: None))
            connection.shutdown(socket.SHUT_RDWR)
            return []
        body = b"".join(self._moto(environ, start))
        return _half(body, connection)


def _half(body: bytes, connection: socket.socket) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    connection.shutdown(socket.SHUT_RDWR)


class Google:
    """A door that speaks the XML API of Google Cloud Storage. It knows no entity tags as conditions, as Google's."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._generations: dict[str, int] = {}
        self._last = 0
        self._one_put = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if not environ.get("HTTP_AUTHORIZATION", "").startswith("AWS4"):
            environ["HTTP_AUTHORIZATION"] = _SIGNATURE
        if method not in ("PUT", "POST", "DELETE"):
            return self._pass(environ, start, path)
        with self._one_put:
            wanted = environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH")
            if wanted is not None and int(wanted) != self._generations.get(path, 0):
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                start("412 Precondition Failed", [("Content-Type", "application/xml")])
                return [b"<Error><Code>PreconditionFailed</Code></Error>"]
            if "HTTP_IF_MATCH" in environ or "HTTP_IF_NONE_MATCH" in environ:
                start("501 Not Implemented", [("Content-Type", "application/xml")])
                return [b"<Error><Code>NotImplemented</Code></Error>"]
            return (b"".join(self._pass(environ, start, path)),)

    def _pass(self, environ: WSGIEnvironment, start: StartResponse, path: str) -> Iterable[bytes]:
        method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
        makes = (method == "PUT" and "partNumber" not in query) or (method == "POST" and "uploadId" in query)

        def answer(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            if status.startswith("2") and makes:
                self._last += 1
                self._generations[path] = self._last
            elif status.startswith("2") and method == "DELETE":
                self._generations.pop(path, None)
            if path in self._generations:
                headers = [*headers, ("x-goog-generation", str(self._generations[path]))]
            return start(status, headers, *rest)

        return self._door(environ, answer)


@contextlib.contextmanager
def s3_server(speaks_google: bool = False) -> Iterator[tuple[str, Door]]:
    """(endpoint, door) of a server with an empty bucket, ``BUCKET`` or ``GOOGLE_BUCKET``; stops with the block. Moto
    has the buckets of a process in common."""
    import boto3

    door, bucket = Door(), GOOGLE_BUCKET if speaks_google else BUCKET
    server = make_server("127.0.0.1", 0, Google(door) if speaks_google else door, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        client = boto3.client(
            "s3", "us-east-1", endpoint_url=endpoint, aws_access_key_id="test", aws_secret_access_key="test"
        )
        client.create_bucket(Bucket=bucket)
        yield endpoint, door
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        for page in pages:
            for entry in page.get("Contents", []):
                client.delete_object(Bucket=bucket, Key=entry["Key"])
        client.delete_bucket(Bucket=bucket)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
