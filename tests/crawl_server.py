"""A web server on this machine that serves files by ranges, as data.commoncrawl.org does, and can be told to misbehave.

``publish`` puts archives there as Common Crawl lays out a crawl: lists of paths, WARC files, WET files beside them.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import io
import re
import threading
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

Answer = tuple[int, dict[str, str], bytes]

CRAWL = "CC-MAIN-2026-21"
FOLDER = f"crawl-data/{CRAWL}"


class CrawlServer(http.server.ThreadingHTTPServer):
    """``files``: path without a slash before it -> bytes. ``troubles``: answers that are given first, each once, to
    requests whose path holds a word; an answer that is shorter than its Content-Length is cut there."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.troubles: list[tuple[str, Answer]] = []
        self.asked: list[tuple[str, str]] = []  # (path, its Range)
        self.agents: set[str] = set()
        self.is_held: Callable[[], bool] = lambda: False  # whether a request gets no answer until ``release``
        self.held, self.release = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""

    def trouble(self, path: str) -> Answer | None:
        for place, (word, answer) in enumerate(self.troubles):
            if word in path:
                del self.troubles[place]
                return answer
        return None


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CrawlServer

    def do_GET(self) -> None:
        path, wanted = self.path.lstrip("/"), self.headers.get("Range", "")
        self.server.asked.append((path, wanted))
        if self.server.is_held():
            self.server.held.set()
            self.server.release.wait(60)
        self.server.agents.add(self.headers.get("User-Agent", ""))
        self._send(*(self.server.trouble(path) or self._file(path, wanted)))

    def _file(self, path: str, wanted: str) -> Answer:
        content = self.server.files.get(path)
        if content is None:
            return 404, {}, b"NoSuchKey"
        headers = {"ETag": f'"{hashlib.md5(content).hexdigest()}"'}
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
        if found is None:
            return 200, headers, content
        start, last = int(found[1]), min(int(found[2]), len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{last}/{len(content)}"
        return 206, headers, content[start : last + 1]

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        if int(headers.get("Content-Length", len(body))) != len(body):
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def publish(server: CrawlServer, archives: list[bytes]) -> list[str]:
    """Archives as a crawl; returns their paths."""
    paths = [
        f"{FOLDER}/segments/1700000000.{index % 2}/warc/CC-MAIN-20260501000000-20260501030000-{index:05}.warc.gz"
        for index in range(len(archives))
    ]
    server.files.update(zip(paths, archives, strict=True))
    for kind in ("wet", "wat"):
        texts = [path.replace("/warc/", f"/{kind}/").replace(".warc.gz", f".warc.{kind}.gz") for path in paths]
        server.files.update({path: gzip.compress(b"WARC/1.0\r\n", mtime=0) for path in texts})
        server.files[f"{FOLDER}/{kind}.paths.gz"] = gzip.compress("\n".join(texts).encode() + b"\n")
    server.files[f"{FOLDER}/warc.paths.gz"] = gzip.compress("\n".join(paths).encode() + b"\n")
    return paths


def publish_index(server: CrawlServer, rows: list[dict[str, object]], num_files: int = 2, group_rows: int = 7) -> None:
    """A columnar index as Common Crawl lays it out; rows: ``content_languages``, ``warc_filename``,
    ``warc_record_offset``, ``warc_record_length``."""
    listed = []
    for subset in ("crawldiagnostics", "warc"):
        for number in range(num_files):
            mine = [{"url_surtkey": "example,a)/", "fetch_status": 200, **row} for row in rows[number::num_files]]
            kinds = {"fetch_status": pa.int16(), "warc_record_offset": pa.int32(), "warc_record_length": pa.int32()}
            schema = pa.schema([(name, kinds.get(name, pa.string())) for name in mine[0]])
            stream = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(mine, schema), stream, row_group_size=group_rows, compression="gzip")
            name = f"part-{number:05}-0000.c000.gz.parquet"
            listed.append(f"cc-index/table/cc-main/warc/crawl={CRAWL}/subset={subset}/{name}")
            server.files[listed[-1]] = stream.getvalue()
    server.files[f"{FOLDER}/cc-index-table.paths.gz"] = gzip.compress("\n".join(listed).encode() + b"\n")


@contextlib.contextmanager
def crawl_server() -> Iterator[CrawlServer]:
    """A server for the duration of a block."""
    with CrawlServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.release.set()
            server.shutdown()
            thread.join()
