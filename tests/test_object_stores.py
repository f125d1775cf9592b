"""Archives that lie in an object store are read in byte ranges, as local ones are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gobelin.pipeline.cli.main import main
from gobelin.store.files import upload
from gobelin.store.shards import read_folder

pytestmark = pytest.mark.timeout(120)

Make = Callable[..., Any]


def test_archives_in_s3_give_the_same_documents(
    object_store: str, make_warc: Make, record: Make, html_page: Make, png: Make, prose: str, tmp_path: Path
) -> None:
    page = html_page(f"<p>{prose}</p><img src=1.png><p>{prose}")
    archives = {
        "a": make_warc("a.warc.gz", [record("https://a.example/", page)]),
        "b": make_warc("b.warc.gz", [record("https://a.example/1.png", png(1), "image/png")]),
    }
    for name, path in archives.items():
        upload(path, f"{object_store}/2026/{name}.warc.gz")

    common = ["run", "--recipe", "obelics", "--set", "num_shards=2", "--until", "extract", "--workers", "1", "--quiet"]
    local, remote = tmp_path / "local", tmp_path / "remote"
    assert main([*common, "--input", f"{Path(archives['a']).parent}/*.warc.gz", "--output", str(local)]) == 0
    pattern = f"{object_store}/2026/*.warc.gz"
    assert main([*common, "--input", pattern, "--output", str(remote)]) == 0

    (document,) = read_folder(str(remote / "extract" / "documents"))
    assert document["warc_file"] == f"{object_store}/2026/a.warc.gz"
    assert [node["image_id"] is not None for node in document["nodes"] if node["kind"] == "image"] == [True]
    (expected,) = read_folder(str(local / "extract" / "documents"))
    assert {**document, "warc_file": ""} == {**expected, "warc_file": ""}
    (image,), (expected_image,) = (list(read_folder(str(folder / "extract" / "images"))) for folder in (remote, local))
    assert (image["data"], image["urls"]) == (expected_image["data"], expected_image["urls"])


@pytest.mark.parametrize("pattern", ["s3://bucket/none/*.warc.gz", "s3://nowhere/*.warc.gz"])
def test_what_is_not_there_is_a_mistake_in_the_input(
    object_store: str, pattern: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "--recipe", "obelics", "--input", pattern, "--output", str(tmp_path / "out")]
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"gobelin: --input {pattern}: ")
    assert len(message.splitlines()) == 1
