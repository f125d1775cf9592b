"""Archives that lie in an object store: read through Beam's file systems, in byte ranges, as local ones are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from gobelin.pipeline.cli import main
from gobelin.transforms.shards import read_folder

pytestmark = pytest.mark.timeout(120)

Make = Callable[..., Any]


CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}


def beam_arguments(endpoint: str) -> list[str]:
    return [
        "--", f"--s3_endpoint_url={endpoint}", "--s3_region_name=us-east-1", "--s3_access_key_id=test",
        "--s3_secret_access_key=test",
    ]  # fmt: skip


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Any]]:
    """Endpoint of an S3 server on loopback, and a client of it."""
    monkeypatch.setattr(logging.getLogger("werkzeug"), "disabled", True)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        yield endpoint, boto3.client("s3", "us-east-1", endpoint_url=endpoint, **CREDENTIALS)
    finally:
        server.stop()


def test_archives_in_s3_give_the_same_documents(
    s3: tuple[str, Any], make_warc: Make, record: Make, html_page: Make, png: Make, prose: str, tmp_path: Path
) -> None:
    endpoint, client = s3
    page = html_page(f"<p>{prose}</p><img src=1.png><p>{prose}")
    archives = {
        "a": make_warc("a.warc.gz", [record("https://a.example/", page)]),
        "b": make_warc("b.warc.gz", [record("https://a.example/1.png", png(1), "image/png")]),
    }
    client.create_bucket(Bucket="crawl")
    for name, path in archives.items():
        client.upload_file(path, "crawl", f"2026/{name}.warc.gz")

    common = ["run", "--recipe", "obelics", "--set", "num_shards=2", "--until", "extract", "--workers", "1", "--quiet"]
    local, remote = tmp_path / "local", tmp_path / "remote"
    assert main([*common, "--input", f"{Path(archives['a']).parent}/*.warc.gz", "--output", str(local)]) == 0
    pattern = "s3://crawl/2026/*.warc.gz"
    assert main([*common, "--input", pattern, "--output", str(remote), *beam_arguments(endpoint)]) == 0

    (document,) = read_folder(str(remote / "extract" / "documents"))
    assert document["warc_file"] == "s3://crawl/2026/a.warc.gz"
    assert [node["image_id"] is not None for node in document["nodes"] if node["kind"] == "image"] == [True]
    (expected,) = read_folder(str(local / "extract" / "documents"))
    assert {**document, "warc_file": ""} == {**expected, "warc_file": ""}
    (image,), (expected_image,) = (list(read_folder(str(folder / "extract" / "images"))) for folder in (remote, local))
    assert (image["data"], image["urls"]) == (expected_image["data"], expected_image["urls"])


@pytest.mark.parametrize("pattern", ["s3://crawl/none/*.warc.gz", "s3://nowhere/*.warc.gz"])
def test_what_is_not_there_is_a_mistake_in_the_input(
    s3: tuple[str, Any], pattern: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint, client = s3
    client.create_bucket(Bucket="crawl")
    arguments = ["run", "--recipe", "obelics", "--input", pattern, "--output", str(tmp_path / "out")]
    assert main([*arguments, *beam_arguments(endpoint)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"gobelin: --input {pattern}: ")
    assert len(message.splitlines()) == 1
