"""Writes responses into several gzipped WARC/1.1 files, the same bytes every time.

Record ids are UUIDs made from the seed and the record's number, dates count up from a fixed day, and the gzip members
carry no time; warcio does the rest (lengths, digests). Pictures mostly go into another file than the page that shows
them, as they do in a crawl that fetches by host.
"""

from __future__ import annotations

import datetime
import io
import uuid
import zlib
from pathlib import Path
from types import TracebackType

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from examples.sample_crawl.references import Resource

START = datetime.datetime(2025, 11, 3, 8, 0, 0, tzinfo=datetime.UTC)
REASONS = {200: "OK", 301: "Moved Permanently", 404: "Not Found", 500: "Internal Server Error"}
SOFTWARE = "gobelin sample crawl"


class CrawlArchive:
    """Several WARC files that are written side by side. Use as a context manager."""

    def __init__(self, folder: Path, seed: int, num_files: int) -> None:
        self.seed = seed
        self.num_records = 0
        self.paths = [folder / f"sample-{i:05d}.warc.gz" for i in range(num_files)]
        self._files: list[io.BufferedWriter] = []
        self._writers: list[WARCWriter] = []

    def __enter__(self) -> CrawlArchive:
        for path in self.paths:
            self._files.append(path.open("wb"))
            self._writers.append(WARCWriter(self._files[-1], gzip=True, warc_version="1.1"))
            fields = f"software: {SOFTWARE}\r\nformat: WARC File Format 1.1\r\ndescription: drawn, not crawled\r\n"
            headers = {"WARC-Filename": path.name}
            self._write(len(self._files) - 1, "", "warcinfo", fields.encode(), None, "application/warc-fields", headers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()

    def write(self, resource: Resource, file_index: int) -> None:
        """One response; every twentieth with the request before it, every thirtieth with metadata after it."""
        where = file_index % len(self.paths)
        number = self.num_records
        host, _, path = resource.url.removeprefix("https://").partition("/")
        if number % 20 == 0:
            request = f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: sample\r\nAccept: */*\r\n\r\n".encode()
            self._write(where, resource.url, "request", request, None, "application/http; msgtype=request", {})
        lines = [
            ("Date", (START + datetime.timedelta(seconds=number)).strftime("%a, %d %b %Y %H:%M:%S GMT")),
            ("Server", "nginx"),
            ("Content-Type", resource.content_type),
            ("Content-Length", str(len(resource.body))),
            *resource.headers,
        ]
        status = f"{resource.status} {REASONS[resource.status]}"
        http = StatusAndHeaders(status, lines, protocol="HTTP/1.1")
        self._write(where, resource.url, "response", resource.body, http, "application/http; msgtype=response", {})
        if number % 30 == 0:
            note = f"fetchTimeMs: {17 + number % 80}\r\n".encode()
            self._write(where, resource.url, "metadata", note, None, "application/warc-fields", {})

    def _write(
        self, where: int, url: str, kind: str, body: bytes, http: StatusAndHeaders | None, media_type: str,
        more: dict[str, str],
    ) -> None:  # fmt: skip
        writer = self._writers[where]
        headers = {
            "WARC-Record-ID": f"<urn:uuid:{self._record_id()}>",
            "WARC-Date": (START + datetime.timedelta(seconds=self.num_records)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            **more,
        }
        if kind == "response":
            headers["WARC-IP-Address"] = f"192.0.2.{1 + zlib.crc32(url.split('/')[2].encode()) % 254}"
        record = writer.create_warc_record(
            url, kind, payload=io.BytesIO(body), length=len(body), http_headers=http, warc_headers_dict=headers,
            warc_content_type=media_type,
        )  # fmt: skip
        writer.write_record(record)
        self.num_records += 1

    def _record_id(self) -> uuid.UUID:
        return uuid.uuid5(uuid.NAMESPACE_URL, f"sample-crawl/{self.seed}/{self.num_records}")
