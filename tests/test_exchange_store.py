"""Exports and imports by address: what lies on an object store gives the same bytes as what lies on a disk."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gobelin.data.ids import image_id
from gobelin.data.model import to_row
from gobelin.data.schemas import DECISIONS, DOCUMENTS, IMAGE_EMBEDDINGS, IMAGES, TEXT_EMBEDDINGS
from gobelin.exchange import mmc4
from gobelin.exchange.entry import Origin
from gobelin.exchange.formats import FORMATS, find_sources
from gobelin.exchange.parquet_files import read_parquet
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.exchange import import_corpus
from gobelin.pipeline.exchange.export import export_corpus, export_documents
from gobelin.pipeline.recipe.recipe import Recipe, as_dict
from gobelin.pipeline.run.progress_bar import Screen
from gobelin.pipeline.stages import extract_imported as import_stage
from gobelin.store import remote
from gobelin.store.files import exists, list_files, read_bytes, upload, write_bytes, write_json
from gobelin.store.paths import join, name_of
from gobelin.store.tables import list_shards
from gobelin.transforms.images.check_image import ImageLimits, check_image
from tests.in_process import InProcess

pytestmark = pytest.mark.timeout(240)

NUM_SHARDS = 2
SHARDS = ("part-00000-of-00002.parquet", "part-00001-of-00002.parquet")

Row = dict[str, Any]


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, a_document: Callable[..., Row], jpeg: Callable[..., bytes],
    write_data_set: Callable[..., str],
) -> str:  # fmt: skip
    """The output folder of a run: six documents of two texts and two images each, with embeddings of all."""
    output = tmp_path_factory.mktemp("exported") / "run"
    images, documents, texts = [], [], []
    rng = np.random.default_rng(0)
    for number in range(6):
        doc_id = hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()
        nodes: list[Any] = []
        for place in range(2):
            data = jpeg(2 * number + place, 60, 50)
            url = f"https://a.example/{number}/{place}.jpg"
            facts = to_row(check_image(data, ImageLimits()))
            del facts["copy"], facts["rendered"]
            md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
            images.append(
                {"image_id": image_id(data), "data": data, "md5": md5, **facts, "urls": [url], "consent": [],
                 "source": "archive", "warc_file": "a.warc.gz", "warc_offset": number}
            )  # fmt: skip
            nodes += [f"Text {place} of page {number}.", (image_id(data), {"image_url": url, "alt": "ein Größe 😀"})]
            embedding = rng.normal(size=8).astype(np.float16)
            texts.append({"doc_id": doc_id, "node_index": 2 * place, "role": "text", "embedding": embedding})
        documents.append(a_document(doc_id, nodes, url=f"https://a.example/{number}"))
    embedded = [{"image_id": row["image_id"], "embedding": rng.normal(size=8).astype(np.float16)} for row in images]
    for stage in ("extract", "select"):
        write_data_set(output / stage / "documents", documents, DOCUMENTS, NUM_SHARDS)
    write_data_set(output / "extract" / "images", images, IMAGES, NUM_SHARDS, key="image_id")
    write_data_set(output / "select" / "decisions", [], DECISIONS, NUM_SHARDS)
    write_data_set(output / "score" / "image_embeddings", embedded, IMAGE_EMBEDDINGS, NUM_SHARDS, key="image_id")
    write_data_set(output / "score" / "text_embeddings", texts, TEXT_EMBEDDINGS, NUM_SHARDS)
    stages = {name: {"status": "done", "key": "k", "clip_model": "model@1"} for name in ("extract", "score", "select")}
    write_json(str(output / "run.json"), {"recipe": as_dict(Recipe(name="gobelin")), "stages": stages})
    return str(output)


@pytest.fixture
def import_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """(format, source, name of the output folder) -> that folder, made in this process."""
    monkeypatch.setattr(import_corpus, "Supervisor", InProcess)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: back\nnum_shards: {NUM_SHARDS}\n")

    def make(name: str, source: str, output: str) -> str:
        folder = str(tmp_path / output)
        import_corpus.run_import(folder, str(recipe), (), name, [source], Screen(quiet=True))
        return folder

    return make


def contents(folder: str) -> dict[str, bytes]:
    return {name: read_bytes(join(folder, name)) for name, _ in list_files(folder)}


def extracted(output: str) -> dict[str, dict[str, bytes]]:
    """The shards of each data set of ``extract``."""
    folders = {name: f"{output}/extract/{name}" for name in ("documents", "images", "similarities")}
    return {
        name: {name_of(path): read_bytes(path) for path in list_shards(folder, may_be_unfinished=True)}
        for name, folder in folders.items()
    }


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_store_holds_what_a_disk_holds(
    name: str, run: str, object_store: str, tmp_path: Path, import_here: Callable[..., str]
) -> None:
    """The run, the target and the sources of an import on a store, each against the same on a disk."""
    upload(run, f"{object_store}/run")
    local, there = str(tmp_path / "export"), f"{object_store}/export"
    summary = export_corpus(run, "select", name, local, with_images=True)
    assert (summary["documents"]["kept"], summary["images"]["kept"]) == (6, 12)
    assert export_corpus(f"{object_store}/run", "select", name, there, with_images=True) == summary
    assert contents(local).keys() > {"export.json", "left_out.jsonl"}
    assert contents(there) == contents(local)

    expected = extracted(import_here(name, local, "of_disk"))
    assert set(expected["documents"]) == set(expected["images"]) == set(SHARDS)
    assert bool(expected["similarities"]) is (name == "mmc4")
    assert extracted(import_here(name, there, "of_store")) == expected


@pytest.mark.parametrize("name", ["jsonl", "mmc4", "obelics"])
def test_without_images_no_bytes_of_images_are_there(name: str, run: str, object_store: str, tmp_path: Path) -> None:
    export_corpus(run, "select", name, f"{object_store}/export", with_images=False)
    export_corpus(run, "select", name, str(tmp_path / "export"), with_images=False)
    found = contents(f"{object_store}/export")
    assert not [each for each in found if each.startswith("images/")]
    assert found == contents(str(tmp_path / "export"))


def test_the_command_line_takes_addresses(
    run: str, object_store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upload(run, f"{object_store}/run")
    there = f"{object_store}/export"
    arguments = ["export", f"{object_store}/run", "--format", "obelics", "--to", there, "--with-images"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["documents"]["kept"] == 6
    assert main(arguments) == 2
    assert f"--to {there}: is not an empty folder" in capsys.readouterr().err
    assert main(["export", "--output", f"{object_store}/run"]) == 0
    told = capsys.readouterr().out
    assert main(["export", run]) == 0
    assert told == capsys.readouterr().out
    assert len(told.splitlines()) == 6

    sources = [f"{there}/", f"{there}/data/train-00000-of-00002.parquet"]  # that file is read once
    imported = str(tmp_path / "imported")
    common = ["--format", "obelics", "--recipe", "obelics", "--set", "num_shards=2", "--output", imported]
    assert main(["import", *sources, *common]) == 0
    counted = [line.split()[:4] for line in capsys.readouterr().out.splitlines()]
    assert ["extract", "images", "12", "12"] in counted
    inputs = [item["path"] for item in json.loads(Path(imported, "run.json").read_text())["input"]]
    assert inputs == [
        *(f"obelics:{there}/data/train-{index:05d}-of-00002.parquet" for index in range(NUM_SHARDS)),
        *(f"images:{there}/images/part-{index:05d}-of-00002.parquet" for index in range(NUM_SHARDS)),
    ]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("nothing", "no such file or folder"),
        ("odd", r"holds no files of format nemo \(data/\*.parquet or \*.parquet\)"),
    ],
)
def test_sources_that_are_not_there_are_refused(source: str, told: str, object_store: str) -> None:
    write_bytes(f"{object_store}/odd/deeper/a.parquet", b"")
    with pytest.raises(ValueError, match=f"{object_store}/{source}: {told}"):
        find_sources("nemo", [f"{object_store}/{source}"])


def test_a_pipe_is_no_source(tmp_path: Path) -> None:
    """Whoever opened it would wait for ever."""
    os.mkfifo(tmp_path / "a.jsonl")
    with pytest.raises(ValueError, match="no such file or folder"):
        find_sources("jsonl", [str(tmp_path / "a.jsonl")])
    with pytest.raises(ValueError, match="holds no files of format jsonl"):
        find_sources("jsonl", [str(tmp_path)])


def test_a_folder_of_sources_is_listed_without_the_folders_below(object_store: str, s3_door: Any) -> None:
    for number in range(3):
        write_bytes(f"{object_store}/docs_shard_{number}.jsonl.zip", b"")
        write_bytes(f"{object_store}/images/{number}/a.jpg", b"")
    write_bytes(f"{object_store}/left_out.jsonl", b"")
    before = s3_door.num_requests.get("GET", 0)
    found = find_sources("mmc4", [object_store])
    assert found == [f"{object_store}/docs_shard_{number}.jsonl.zip" for number in range(3)]
    assert s3_door.num_requests["GET"] - before <= 2


@pytest.mark.parametrize("name", ["a\x01b", "a\nb", "\ud800", "x" * 2000, "..", "../0/a.jpg", "folder"])
def test_a_foreign_name_that_no_store_can_have_names_no_picture(name: str, object_store: str) -> None:
    """On a store such a name is an error of the request, which would end the import."""
    write_bytes(f"{object_store}/images/0/folder/a.jpg", b"A")
    write_bytes(f"{object_store}/images/0/a.jpg", b"A")
    value = {"text_list": ["one"], "image_info": [{"image_name": each} for each in (name, "a.jpg")]}
    entry = mmc4.entry_of_object(value, Origin("a", 0), f"{object_store}/images/0")
    assert [picture and picture.data for picture in entry.pictures] == [None, b"A"]


@pytest.fixture
def an_outage(s3_door: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """(part of a path) -> from the first request for such a path on the store answers nothing; nobody waits long."""
    monkeypatch.setattr(remote, "SECONDS_OF_OUTAGE", 1)
    remote._open_store.cache_clear()

    def begin(part: str) -> None:
        def watch(method: str, path: str) -> None:
            if part in path:
                s3_door.close_for(3600)

        s3_door.on_request = watch

    return begin


@pytest.mark.parametrize("part", ["00001.tar", "left_out.jsonl", "export.json"])
def test_an_export_that_fails_is_not_complete(
    part: str, run: str, object_store: str, s3_door: Any, an_outage: Callable[[str], None], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Of a store that goes away half way: what says that the export is complete is not there, and no scratch stays."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    an_outage(part)
    with pytest.raises(OSError, match=part):
        export_corpus(run, "select", "webdataset", f"{object_store}/export", with_images=False)
    s3_door.reset()
    assert exists(f"{object_store}/export/00000.tar")
    assert not exists(f"{object_store}/export/export.json")
    assert not exists(f"{object_store}/export/{part}")
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("name", ["jsonl", "mmc4", "nemo", "webdataset"])
def test_an_outage_is_no_damage_of_a_file(
    name: str, run: str, object_store: str, an_outage: Callable[[str], None], import_here: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """An import that went on would leave out documents that are there."""
    export_corpus(run, "select", name, f"{object_store}/export", with_images=True)
    (*_, last) = find_sources(name, [f"{object_store}/export"])
    read = import_stage.read_foreign

    def goes_away(*arguments: Any) -> None:
        an_outage(name_of(last))
        read(*arguments)

    monkeypatch.setattr(import_stage, "read_foreign", goes_away)
    with pytest.raises(OSError, match="Errno 5"):
        import_here(name, f"{object_store}/export", "imported")


def test_a_file_of_one_large_row_group_is_read_in_pieces(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    data = np.random.default_rng(0).bytes(1 << 18)
    table = pa.Table.from_pylist([{"binary_content": data}] * 256)
    pq.write_table(table, path, compression="none", use_dictionary=False, write_batch_size=4)
    assert pq.ParquetFile(path).num_row_groups == 1
    tracemalloc.start()
    try:
        rows = read_parquet(path, ("binary_content",), ("binary_content",))
        assert sum(row["binary_content"] == data for row in rows) == 256
        assert tracemalloc.get_traced_memory()[1] < table.nbytes // 2
    finally:
        tracemalloc.stop()


_KILLED = """
import os, re, signal, sys
from gobelin.pipeline.exchange import import_corpus
from gobelin.pipeline.run.progress_bar import Screen
from tests.in_process import InProcess

source, output, recipe, last = sys.argv[1:]
replace = os.replace

def until(new, target):
    if re.search(last, str(target)):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(new, target)

os.replace = until
import_corpus.Supervisor = InProcess
import_corpus.run_import(output, recipe, (), "mmc4", [source], Screen(quiet=True))
"""


def test_an_import_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    run: str, tmp_path: Path, import_here: Callable[..., str]
) -> None:
    """Each time it comes further before it gets ``kill -9``: in the middle of reading, of linking, of the cosines."""
    export_corpus(run, "select", "mmc4", str(tmp_path / "export"), with_images=True)
    expected = extracted(import_here("mmc4", str(tmp_path / "export"), "whole"))
    output = tmp_path / "killed"
    for last in (
        "/import/images/part-00000-of-00001.parquet$",
        "/import/decisions/_manifest.json$",
        f"/extract/images/.*{SHARDS[1]}$",
        f"/extract/similarities/.*{SHARDS[0]}$",
        f"/extract/similarities/.*{SHARDS[1]}.json$",
        "/extract/similarities/.*_manifest.json$",
        "/extract/manifest.json$",
    ):
        told = subprocess.run(
            [sys.executable, "-c", _KILLED, str(tmp_path / "export"), str(output), str(tmp_path / "recipe.yaml"), last],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            timeout=120,
            check=False,
        )  # fmt: skip
        assert told.returncode == -signal.SIGKILL, told.stderr.decode()
    assert extracted(import_here("mmc4", str(tmp_path / "export"), "killed")) == expected
    assert not list(output.rglob("*.tmp"))
    assert not (output / "extract" / "work").exists()
    with (tmp_path / "lines.jsonl").open("w") as stream:
        assert export_documents(str(output), "extract", stream) == 6
