"""Shared fixtures: web archives and pictures, made on the spot.

Tests cannot import each other (``--import-mode=importlib``), so what several files need comes from here as a fixture,
builders included: ``make_warc``, ``record``, ``png``, ``jpeg``, ``html_page``.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from PIL import Image as PillowImage

hypothesis.settings.register_profile("gobelin", deadline=None)  # a busy machine is no defect
hypothesis.settings.load_profile("gobelin")

PROSE = (
    "The old harbour lies behind the market hall, and on most mornings the boats come in before the sun is up. "
    "People who have lived here for a long time say that the light on the water is never the same on two days."
)
"""Plain English: enough of it for main-content extraction, language identification and the ratio rules."""


@dataclasses.dataclass(frozen=True)
class WarcRecord:
    """One record to be written. ``status`` is the whole status line; None leaves the HTTP part out."""

    url: str | None
    body: bytes
    content_type: str = "text/html; charset=utf-8"
    status: str | None = "HTTP/1.1 200 OK"
    headers: tuple[tuple[str, str], ...] = ()
    kind: str = "response"
    date: str = "2025-01-02T03:04:05Z"
    warc_headers: tuple[tuple[str, str], ...] = ()


def record_bytes(record: WarcRecord) -> bytes:
    """A WARC/1.1 record, byte by byte: also what no proper writer would write."""
    block = record.body
    warc_type = "application/octet-stream"
    if record.status is not None:
        lines = [record.status, f"Content-Type: {record.content_type}"]
        lines += [f"{name}: {value}" for name, value in record.headers]
        block = ("\r\n".join(lines) + "\r\n\r\n").encode() + record.body
        warc_type = "application/http; msgtype=response"
    elif record.kind != "response":
        warc_type = record.content_type
    head = ["WARC/1.1", f"WARC-Type: {record.kind}", f"WARC-Date: {record.date}"]
    if record.url is not None:
        head.append(f"WARC-Target-URI: {record.url}")
    head += [f"{name}: {value}" for name, value in record.warc_headers]
    head += ["WARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-000000000000>", f"Content-Type: {warc_type}"]
    head.append(f"Content-Length: {len(block)}")
    return ("\r\n".join(head) + "\r\n\r\n").encode() + block + b"\r\n\r\n"


def warc_bytes(records: Iterable[WarcRecord | bytes], compress: bool = True) -> bytes:
    """An archive; a ``bytes`` element is one record as it is. One gzip member a record, without time stamps."""
    raw = (record if isinstance(record, bytes) else record_bytes(record) for record in records)
    return b"".join(gzip.compress(each, mtime=0) if compress else each for each in raw)


def noise(seed: int, height: int, width: int) -> np.ndarray:
    """A coarse random pattern, uint8 (height, width, 3): compresses well, and no two seeds look alike."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(PillowImage.fromarray(small).resize((width, height), PillowImage.Resampling.BILINEAR))


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Any:
    """Calls a command that ends with exit code 2; returns its one line on standard error."""
    from tests.refusals import Refusal

    return Refusal(capsys)


@pytest.fixture(scope="session")
def record() -> type[WarcRecord]:
    """The class of a record to be written: ``record(url, body, content_type=..., status=...)``."""
    return WarcRecord


@pytest.fixture(scope="session")
def pack() -> Callable[..., bytes]:
    """(records, compress=True) -> the bytes of an archive."""
    return warc_bytes


@pytest.fixture(scope="session")
def pack_record() -> Callable[[WarcRecord], bytes]:
    """The bytes of one record, uncompressed."""
    return record_bytes


@pytest.fixture
def make_warc(tmp_path: Path) -> Callable[..., str]:
    """(name, records, compress=True) -> path of an archive that holds them."""

    def make(name: str, records: Iterable[WarcRecord | bytes], compress: bool = True) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(warc_bytes(records, compress))
        return str(path)

    return make


def _encode(image: PillowImage.Image, image_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """(Pillow image, format, **options) -> file bytes."""
    return _encode


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """(seed, width=200, height=160) -> a PNG; another seed is another picture."""

    def make(seed: int = 0, width: int = 200, height: int = 160) -> bytes:
        return _encode(PillowImage.fromarray(noise(seed, height, width)), "PNG")

    return make


@pytest.fixture(scope="session")
def jpeg() -> Callable[..., bytes]:
    """(seed, width=200, height=160) -> a JPEG."""

    def make(seed: int = 0, width: int = 200, height: int = 160) -> bytes:
        return _encode(PillowImage.fromarray(noise(seed, height, width)), "JPEG", quality=90)

    return make


@pytest.fixture(scope="session")
def prose() -> str:
    """A paragraph of plain English of about forty words."""
    return PROSE


@pytest.fixture(scope="session")
def html_page() -> Callable[..., bytes]:
    """(main content as HTML, title, head as HTML) -> a page with navigation around it, in UTF-8."""

    def make(content: str, title: str = "A page", head: str = "") -> bytes:
        return (
            f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}</title>{head}</head><body>"
            '<nav><ul><li><a href="/">Home</a></li><li><a href="/about">About</a></li></ul></nav>'
            f"<main><article><h1>{title}</h1>{content}</article></main>"
            "<footer><p>All rights reserved</p></footer></body></html>"
        ).encode()

    return make


@pytest.fixture(scope="session")
def read_records() -> Callable[..., list[Any]]:
    """(records or an archive's bytes, compress=True, limits=(page, image)) -> everything ``read_archive`` yields."""
    from gobelin.transforms.archives.read_warc import read_archive

    def read(
        records: Iterable[WarcRecord | bytes] | bytes, compress: bool = True, limits: tuple[int, int] = (10**7, 10**7)
    ) -> list[Any]:
        data = records if isinstance(records, bytes) else warc_bytes(records, compress)
        return list(read_archive(io.BytesIO(data), "a.warc.gz", *limits))

    return read


@pytest.fixture(scope="session")
def capture_of(read_records: Callable[..., list[Any]]) -> Callable[..., Any]:
    """Arguments of ``WarcRecord`` -> the one capture that the reader makes of it."""

    def capture(*arguments: Any, **options: Any) -> Any:
        (found,) = [
            item.capture for item in read_records([WarcRecord(*arguments, **options)]) if hasattr(item, "capture")
        ]
        return found

    return capture


@dataclasses.dataclass(frozen=True)
class Extracted:
    """What ``extract`` left in its folder, as rows."""

    folder: Path
    documents: list[dict[str, Any]]
    images: list[dict[str, Any]]
    decisions: list[dict[str, Any]]
    archives: list[dict[str, Any]]

    def by_url(self, url: str) -> dict[str, Any]:
        (row,) = [row for row in self.documents if row["url"] == url]
        return row

    def rules(self, unit: str) -> dict[str, str]:
        """Rule of each decision on a unit, by URL; the URL must not have two."""
        found: dict[str, str] = {}
        for row in self.decisions:
            if row["unit"] == unit:
                assert row["url"] not in found
                found[row["url"]] = row["rule"]
        return found


@pytest.fixture(scope="session")
def plan_here() -> Callable[..., Any]:
    """(num_workers=None) -> a ``Plan`` whose steps run in this process. None: all units in one batch, as a cluster gets
    them."""
    from gobelin.pipeline.run.plan import Plan
    from tests.in_process import InProcess

    def make(num_workers: int | None = None) -> Plan:
        supervisor = InProcess()
        supervisor.is_local = num_workers is not None
        return Plan(supervisor, num_workers or 1)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def extract_archives(plan_here: Callable[..., Any]) -> Callable[..., Extracted]:
    """(archive paths, output folder, num_shards=2, one_by_one=False, config=None, rows_at_once=None) -> ``Extracted``:
    the graphs of the stage, in this process. ``one_by_one``: each archive is read by a pipeline of its own, as separate
    workers do; ``rows_at_once``: so are batches of about so many rows linked."""
    from gobelin.pipeline.run.plan import Batch, Step, data_sets
    from gobelin.pipeline.stages.extract import INDEXES, ReadJob, read_archives
    from gobelin.pipeline.stages.extract_link import LinkJob, run_link
    from gobelin.store.dataset import Attempt
    from gobelin.store.shards import read_folder
    from gobelin.transforms.extract.config import ExtractConfig

    def extract(
        archives: list[str],
        output: Path,
        num_shards: int = 2,
        one_by_one: bool = False,
        config: ExtractConfig | None = None,
        rows_at_once: int | None = None,
    ) -> Extracted:
        config = config or ExtractConfig()
        plan = plan_here(None if rows_at_once is None else 1)
        batches = []
        for index, paths in enumerate([[path] for path in archives] if one_by_one else [archives]):
            folder = str(output / "work" / f"read-{index}")
            batches.append(Batch(paths, ReadJob(config, folder, 1), data_sets(folder, 1, *INDEXES)))
        plan.run(Step("read", read_archives, batches))
        folders = tuple(batch.job.folder for batch in batches)
        job = LinkJob(folders, (), str(output / "work"), Attempt(str(output), ""), num_shards, config.robots_agents)
        run_link(plan, job, rows_at_once or 1)
        rows = {
            name: list(read_folder(str(output / name))) for name in ("documents", "images", "decisions", "archives")
        }
        return Extracted(output, **rows)

    return extract


@pytest.fixture(scope="session")
def write_data_set() -> Callable[..., str]:
    """(folder, rows, schema, num_shards, key="doc_id", metadata=None) -> the folder, holding the rows in shards."""
    from gobelin.data.ids import shard_of
    from gobelin.store.dataset import commit_shards
    from gobelin.store.files import delete
    from gobelin.store.shards import write_shard
    from gobelin.store.tables import shard_path

    def write(
        folder: Path,
        rows: list[dict[str, Any]],
        schema: Any,
        num_shards: int,
        key: str = "doc_id",
        metadata: Any = None,
    ) -> str:
        delete(str(folder))
        for index in range(num_shards):
            own = sorted((row for row in rows if shard_of(row[key], num_shards) == index), key=lambda row: row[key])
            write_shard(shard_path(str(folder), index, num_shards), own, schema, metadata)
        assert commit_shards(str(folder), num_shards)
        return str(folder)

    return write


@pytest.fixture(scope="session")
def a_document() -> Callable[..., dict[str, Any]]:
    """(doc_id, nodes, **changes) -> a row of ``DOCUMENTS``. Nodes: a string is a text, a tuple (image_id, changes...)
    an image: ``("i1",)``, ``("i1", {"alt": "A boat"})``."""
    from gobelin.data.model import Node, Role, to_row

    def node(given: Any) -> dict[str, Any]:
        if isinstance(given, str):
            return to_row(Node("text", Role.PARAGRAPH, text=given))
        image, *changes = given
        row = to_row(Node("image", image_url=f"https://a.example/photos/{image}.png", image_id=image))
        return row | (changes[0] if changes else {})

    def make(doc_id: str, nodes: Iterable[Any], **changes: Any) -> dict[str, Any]:
        return {
            "doc_id": doc_id,
            "url": f"https://a.example/{doc_id}",
            "warc_file": "a.warc.gz",
            "warc_offset": 0,
            "warc_length": 1,
            "warc_date": "2025-01-02T03:04:05Z",
            "content_digest": "sha256:00",
            "title": None,
            "language": "en",
            "language_score": 0.75,
            "licences": [],
            "charset": "utf-8",
            "extractor": "fast",
            "page_kind": "article",
            "consent": [],
            "nodes": [node(each) for each in nodes],
            **changes,
        }

    return make


@pytest.fixture(scope="session")
def an_image() -> Callable[..., dict[str, Any]]:
    """(image_id, **changes) -> a row of ``IMAGES``; its hash is made of its id."""
    import hashlib

    def make(image_id: str, **changes: Any) -> dict[str, Any]:
        phash = hashlib.sha256(image_id.encode()).hexdigest()[:16]
        urls = [f"https://a.example/photos/{image_id}.png"]
        facts = {
            "format": "png",
            "width": 400,
            "height": 300,
            "md5": "0" * 32,
            "phash": phash,
            "dhash": phash,
            "colour": "0" * 96,
            "thumbnail": f"{400:08x}{300:08x}" + phash * 288,
        }
        facts |= {"consent": [], "source": "archive"}
        return {
            "image_id": image_id,
            "data": b"x",
            "urls": urls,
            "warc_file": "a",
            "warc_offset": 0,
            **facts,
            **changes,
        }

    return make


@dataclasses.dataclass(frozen=True)
class Scored:
    """What ``score`` left, as rows; documents and images by id."""

    folder: Path
    documents: dict[str, dict[str, Any]]
    images: dict[str, dict[str, Any]]
    decisions: list[dict[str, Any]]


@pytest.fixture(scope="session")
def score_documents(plan_here: Callable[..., Any]) -> Callable[..., Scored]:
    """(folder with documents/ and images/, output folder, num_shards, config=None, clip_model=None, num_workers=None,
    at_once=None) -> ``Scored``: the graphs of the stage in this process. Embeddings, where a test wants them, lie in
    the output folder already. ``at_once``: images of a batch, which then has its rows dealt out."""
    from gobelin.pipeline.run.plan import Batch, DataSet, Step, data_sets
    from gobelin.pipeline.stages.score import MeasureJob, measure_documents
    from gobelin.pipeline.stages.score_join import JoinJob, run_join
    from gobelin.store.dataset import Attempt, num_rows_of
    from gobelin.store.shards import read_folder
    from gobelin.transforms.duplicates.find_duplicates import DuplicatesJob, find_duplicates
    from gobelin.transforms.score.config import ScoreConfig

    def score(
        source: Path,
        output: Path,
        num_shards: int,
        config: Any = None,
        clip_model: str | None = None,
        num_workers: int | None = None,
        at_once: int | None = None,
    ) -> Scored:
        config = config or ScoreConfig()
        work, plan = str(output / "work"), plan_here(num_workers)
        signatures = str(output / "signatures" / "documents")
        measure = MeasureJob(config, str(source / "documents"), work, signatures, num_shards)
        made = (*data_sets(work, num_shards, "measurements", "measure_decisions"), DataSet(signatures, num_shards))
        plan.run(Step("measure", measure_documents, [Batch(list(range(num_shards)), measure)], made))
        duplicates = DuplicatesJob(
            signatures,
            f"{work}/measurements",
            str(source / "images"),
            work,
            num_shards,
            config.minhash,
            config.near_images,
            config.earlier,
        )
        groups = data_sets(work, num_shards, "document_groups", "image_groups")
        plan.call("duplicates", find_duplicates, (duplicates,), groups)
        join = JoinJob(
            str(source / "images"), work, Attempt(str(output), ""), num_shards, clip_model, config.faces is not None
        )
        if at_once is None:
            run_join(plan, join, 0, 0)
        else:
            run_join(plan, join, 0, num_rows_of(str(source / "images")), at_once)
        return Scored(
            output,
            {row["doc_id"]: row for row in read_folder(str(output / "documents"))},
            {row["image_id"]: row for row in read_folder(str(output / "images"))},
            list(read_folder(str(output / "decisions"))),
        )

    return score


@dataclasses.dataclass(frozen=True)
class Selected:
    """What ``select`` left, as rows; documents by id."""

    folder: Path
    documents: dict[str, dict[str, Any]]
    decisions: list[dict[str, Any]]
    not_run: dict[str, int]

    def dropped(self, unit: str) -> dict[str, str]:
        """Rule of the one decision that dropped each document or image, by id."""
        rows = [row for row in self.decisions if row["unit"] == unit and row["action"] == "drop"]
        found = {row["doc_id"] if unit == "document" else row["image_id"]: row["rule"] for row in rows}
        assert len(found) == len(rows)
        return found

    def shown(self) -> set[str]:
        """Ids of the images that the corpus shows."""
        return {node["image_id"] for row in self.documents.values() for node in row["nodes"]} - {None}


@pytest.fixture(scope="session")
def select_from(plan_here: Callable[..., Any]) -> Callable[..., Selected]:
    """(documents folder, scores folder, output folder, num_shards, config, num_workers=None, at_once=None) ->
    ``Selected``: the graphs of the stage, one after the other in this process. ``at_once``: documents of a batch, which
    then has its rows dealt out."""
    from gobelin.pipeline.stages.select import SelectJob, run_select
    from gobelin.store.dataset import Attempt, num_rows_of
    from gobelin.store.shards import read_folder

    def select(
        documents: Path,
        scores: Path,
        output: Path,
        num_shards: int,
        config: Any,
        num_workers: int | None = None,
        at_once: int | None = None,
    ) -> Selected:
        job = SelectJob(config, str(documents), str(scores), str(output / "work"), Attempt(str(output), ""), num_shards)
        if at_once is None:
            run_select(plan_here(num_workers), job, 0)
        else:
            run_select(plan_here(num_workers), job, num_rows_of(str(scores)), at_once)
        return Selected(
            output,
            {row["doc_id"]: row for row in read_folder(str(output / "documents"))},
            list(read_folder(str(output / "decisions"))),
            {row["rule"]: row["times"] for row in read_folder(str(output / "not_run"))},
        )

    return select


@pytest.fixture(scope="session")
def _s3() -> Iterator[tuple[str, Any]]:
    from tests.object_store import s3_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with s3_server() as (endpoint, door):
        yield endpoint, door


@pytest.fixture
def s3_door(_s3: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The door of an S3 server on loopback (``tests/object_store.py``), which the environment names."""
    from gobelin.store import remote

    endpoint, door = _s3
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    remote._open_store.cache_clear()
    yield door
    door.reset()
    remote._open_store.cache_clear()


@pytest.fixture
def object_store(s3_door: Any, tmp_path: Path) -> str:
    """An empty folder on an S3 server."""
    return f"s3://bucket/{tmp_path.name}"


@pytest.fixture(scope="session")
def _google() -> Iterator[str]:
    from tests.object_store import s3_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with s3_server(speaks_google=True) as (endpoint, _):
        yield endpoint


@pytest.fixture
def google_store(_google: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty folder on a server of Google Cloud Storage's XML API (``tests/object_store.py``)."""
    from gobelin.store import remote

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", _google)
    remote._open_store.cache_clear()
    yield f"gs://google/{tmp_path.name}"
    remote._open_store.cache_clear()
