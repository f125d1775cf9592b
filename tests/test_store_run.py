"""A whole run whose input and output lie on an object store, and what can be done with it from anywhere afterwards."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from examples.sample_crawl.make_crawl import make_crawl
from gobelin.store.files import delete, digest_of, list_files, read_bytes, read_json, upload, write_bytes
from gobelin.store.paths import join
from tests.object_store import BUCKET, Door

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RECIPE = Path(__file__).parents[1] / "examples" / "demo" / "recipe.yaml"
SMALL = [
    "select.image.min_clip_near=null", "select.image.min_clip_caption=null", "select.image.min_clip_alt=null",
    "score.clip=null", "num_shards=2", "tokenize.vqvae_steps=6", "tokenize.text_vocab_size=400",
    "tokenize.vqvae={image_size: 16, patch_size: 8, num_codes: 16, channels: 8, num_blocks: 1}",
    "train.steps=3", "train.batch_rows=2", "train.row_tokens=128", "train.threads=1", "train.validation_ratio=0.3",
    "train.model={width: 16, num_layers: 1, num_heads: 2, hidden: 32}", "train.log_every=1",
    "sample.num_captions=2", "sample.images_per_caption=1", "sample.num_documents=1", "sample.max_document_tokens=64",
]  # fmt: skip


def gobelin(cwd: Path, *arguments: str, code: int = 0) -> str:
    """Runs the command in a process of its own, in a folder; returns what it printed."""
    cwd.mkdir(exist_ok=True)
    environment = {**os.environ, "XDG_CACHE_HOME": str(cwd / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", "from gobelin.pipeline.cli.main import entry; entry()", *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def whole_run(cwd: Path, source: str, output: str, *more: str, code: int = 0) -> str:
    settings = [part for setting in SMALL for part in ("--set", setting)]
    return gobelin(
        cwd, "run", "--recipe", str(RECIPE), "--input", f"{source}/*.warc.gz", "--output", output, "--workers", "2",
        *settings, *more, code=code,
    )  # fmt: skip


def digests(output: str) -> dict[str, str]:
    """Of each Parquet file, and of what was fitted, by data set and name."""
    names = [name for name, _ in list_files(output) if not name.startswith(("logs/", "progress/", "report/"))]
    kept = [name for name in names if name.endswith((".parquet", ".safetensors", "tokenizer.json", "vocabulary.json"))]
    return {re.sub("/[0-9a-f]{16}/", "/", name): digest_of(join(output, name)) for name in kept}


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crawl")
    make_crawl(folder, seed=3, pages=40)
    return folder


def first_shard(output: str, stage: str) -> str:
    names = (name for name, _ in list_files(output) if name.startswith(f"{stage}/documents/"))
    return next(name for name in names if "part-" in name)


@pytest.fixture(params=["object_store", "google_store"])
def each_store(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def test_everything_works_on_a_store_alone(crawl: Path, each_store: str, tmp_path: Path) -> None:
    source, output = f"{each_store}/crawl", f"{each_store}/out"
    upload(str(crawl), source)
    working = tmp_path / "working"
    said = whole_run(working, source, output)
    assert f"{output}/report/index.html" in said
    assert list_files(str(working)) == [] or all(name.startswith("cache/") for name, _ in list_files(str(working)))
    shutil.rmtree(working)

    local = tmp_path / "local"
    whole_run(tmp_path, str(crawl), str(local))
    found, expected = digests(output), digests(str(local))
    assert found.keys() == expected.keys()
    names = {name for name in found if not name.startswith(("extract/", "select/documents"))}
    assert any(name.startswith("train/") for name in names)
    differ = {name for name in names if found[name] != expected[name]}
    assert {name.split("/")[1] for name in differ} <= {"decisions"}  # which name the archives

    elsewhere = tmp_path / "elsewhere"
    document = json.loads(gobelin(elsewhere, "export", output).splitlines()[0])
    assert "kept" in gobelin(elsewhere, "explain", document["url"], "--output", output)
    gobelin(elsewhere, "export", output, "--format", "obelics", "--to", f"{each_store}/obelics", "--with-images")
    assert read_json(f"{each_store}/obelics/export.json")["format"] == "obelics"
    assert gobelin(elsewhere, "check", output).splitlines()[-1] == "0 problems"
    for stage in ("report", "sample", "train"):
        assert "already done" in gobelin(elsewhere, stage, "--output", output)
        delete(f"{output}/{stage}")
    for stage in ("train", "sample", "report"):
        gobelin(elsewhere, stage, "--output", output)
    again = digests(output)
    assert {name: again[name] for name in found} == found
    recipe = f"{each_store}/recipe.yaml"
    write_bytes(recipe, b"extends: gobelin\nname: back\nnum_shards: 2\n")
    imported = f"{each_store}/imported"
    gobelin(
        elsewhere, "import", f"{each_store}/obelics", "--format", "obelics", "--recipe", recipe, "--output", imported
    )
    assert read_json(f"{imported}/run.json")["stages"]["extract"]["documents"]["kept"] > 0
    assert not [name for name, _ in list_files(output) if "lease" in name or "work" in name.split("/")]


def test_a_stage_that_lost_a_file_is_made_again(crawl: Path, object_store: str, tmp_path: Path) -> None:
    source, output = f"{object_store}/crawl2", f"{object_store}/out2"
    upload(str(crawl), source)
    whole_run(tmp_path, source, output, "--until", "select")
    before = digests(output)
    lost, cut = (first_shard(output, stage) for stage in ("score", "select"))
    delete(join(output, lost))
    write_bytes(join(output, cut), read_bytes(join(output, cut))[:-1])
    said = whole_run(tmp_path, source, output, "--until", "select")
    assert f"score: {join(output, lost)} is missing" in said
    assert f"select: {join(output, cut)} has" in said
    assert "extract: already done" in said
    assert digests(output) == before


def test_an_outage_costs_time_alone(crawl: Path, object_store: str, s3_door: Door, tmp_path: Path) -> None:
    """The store answers 503 for three seconds, in the middle of each kind of step."""
    source, output = f"{object_store}/crawl3", f"{object_store}/out3"
    upload(str(crawl), source)
    seen: set[str] = set()

    def close_once(method: str, path: str) -> None:
        for part in ("extract/work", "score/work", "select/documents", "tokenize/shards", "train/"):
            if method == "PUT" and f"out3/{part}" in path and part not in seen:
                seen.add(part)
                s3_door.close_for(3)

    s3_door.on_request = close_once
    try:
        whole_run(tmp_path, source, output)
    finally:
        s3_door.reset()
    assert len(seen) == 5
    assert s3_door.num_refused > 5
    assert gobelin(tmp_path, "check", output).splitlines()[-1] == "0 problems"
    assert f"s3://{BUCKET}" in output
