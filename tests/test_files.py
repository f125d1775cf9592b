"""Files by their exact names, patterns, and data sets that are not there."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pyarrow as pa
import pytest

import gobelin
from gobelin.errors import MissingDataError, UserError
from gobelin.pipeline.run.counts import count_decisions, count_images_shown
from gobelin.pipeline.run.inputs import InputError, find_archives
from gobelin.store.dataset import commit_shards, num_rows_of
from gobelin.store.files import (
    exists,
    files_in,
    local_output,
    make_folder,
    open_input,
    output,
    write_bytes,
)
from gobelin.store.paths import join
from gobelin.store.patterns import find_files
from gobelin.store.shards import read_folder, write_rows, write_shard
from gobelin.store.spool import Spool, SpoolReader
from gobelin.store.tables import list_shards, shard_path

ODD_NAMES = [
    "out[1]",
    "a*b",
    "what?",
    "two words",
    "ünïcödé-日本",
    "-dash",
    "{a,b}",
    "[!x]",
    "100%",
    "a#b",
    "**",
    "x\\y",
]
SCHEMA = pa.schema([("id", pa.string())])


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_folder_may_have_any_name(name: str, tmp_path: Path) -> None:
    folder = join(str(tmp_path), name, "set")
    make_folder(folder)
    for index in range(2):
        for _ in range(2):  # the second time a file of that name is replaced
            write_shard(shard_path(folder, index, 2), [{"id": f"{index}"}], SCHEMA)
    assert commit_shards(folder, 2)
    assert [row["id"] for row in read_folder(folder)] == ["0", "1"]
    assert num_rows_of(folder) == 2
    spool, reader = Spool(folder), SpoolReader()
    ref = spool.write(b"payload")
    spool.close()
    assert reader.read(ref) == b"payload"
    reader.close()
    with pytest.raises(RuntimeError, match="half"):
        _write_half(join(folder, "x"))
    assert not [path for path in files_in(folder) if path.endswith(".tmp")]


def _write_half(path: str) -> None:
    with output(path) as stream:
        stream.write(b"half")
        raise RuntimeError("half")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_of_exactly_that_name_is_meant(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (name, "out1", "axb", "whatx", "y"):  # what the signs would match too
        (tmp_path / each).write_bytes(b"12345")
    assert find_files(str(tmp_path / name)) == {str(tmp_path / name): 5}
    monkeypatch.chdir(tmp_path)
    assert find_files(name) == {name: 5}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.gz", ["a.gz", "b.gz"]),
        ("./*.gz", ["./a.gz", "./b.gz"]),
        ("?.gz", ["a.gz", "b.gz"]),
        ("[bc].gz", ["b.gz"]),
        ("[!b].gz", ["a.gz"]),
        ("crawl [2024]/*.gz", ["crawl [2024]/c.gz"]),  # the folder of this name, not "crawl 2"
        ("crawl [2]/*.gz", ["crawl 2/d.gz"]),
        ("crawl*/*.gz", ["crawl 2/d.gz", "crawl [2024]/c.gz"]),
        ("*/c.gz", ["crawl [2024]/c.gz"]),
        ("**/*.gz", ["a.gz", "b.gz", "crawl 2/d.gz", "crawl [2024]/c.gz", "deep/er/e.gz"]),
        ("**.gz", ["a.gz", "b.gz", "crawl 2/d.gz", "crawl [2024]/c.gz", "deep/er/e.gz"]),
        ("deep/**/e.gz", ["deep/er/e.gz"]),
        ("nothing*", []),
        ("nothing", []),
        ("deep", []),  # a folder
        ("", []),
        (".*.gz", [".hidden.gz"]),
        ("{a,b}.gz", []),
    ],
)
def test_patterns(pattern: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.gz", "b.gz", ".hidden.gz", "c.txt", "crawl [2024]/c.gz", "crawl 2/d.gz", "deep/er/e.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert sorted(find_files(pattern)) == sorted(expected)


def test_names_in_an_object_store(object_store: str) -> None:
    for name in ("x[1]/a.gz", "x1/a.gz", "x1/b.gz", "x1/deep/b.gz", "y/c*d.gz", "y/cd.gz"):
        write_bytes(f"{object_store}/{name}", b"123")
    assert find_files(f"{object_store}/x[1]/a.gz") == {f"{object_store}/x[1]/a.gz": 3}
    assert find_files(f"{object_store}/x[12]/a.gz") == {f"{object_store}/x1/a.gz": 3}
    assert find_files(f"{object_store}/y/c*d.gz") == {f"{object_store}/y/c*d.gz": 3}
    assert list(find_files(f"{object_store}/x1/*")) == [f"{object_store}/x1/a.gz", f"{object_store}/x1/b.gz"]
    assert len(find_files(f"{object_store}/x1/**")) == 3
    assert len(find_files(f"{object_store}/x1/**/*.gz")) == 3
    assert find_files(f"{object_store}/y") == {}
    assert files_in(f"{object_store}/x[1]") == [f"{object_store}/x[1]/a.gz"]
    for _ in range(2):
        write_shard(f"{object_store}/set [1]/part-00000-of-00001.parquet", [{"id": "a"}], SCHEMA)
    assert commit_shards(f"{object_store}/set [1]", 1)
    assert [row["id"] for row in read_folder(f"{object_store}/set [1]")] == ["a"]
    assert len(files_in(f"{object_store}/set [1]")) == 2  # the manifest beside it
    with pytest.raises(MissingDataError):
        list_shards(f"{object_store}/set 1")
    with open_input(f"{object_store}/y/c*d.gz") as stream:
        assert stream.read() == b"123"
    assert exists(f"{object_store}/y/cd.gz")


def test_a_missing_data_set_is_no_empty_one(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    for look in (num_rows_of, count_decisions, count_images_shown):
        with pytest.raises(MissingDataError, match=str(folder)):
            look(str(folder))
    with pytest.raises(MissingDataError, match="documents"):
        list(read_folder(str(folder)))
    assert list_shards(str(folder), may_be_unfinished=True) == []
    write_shard(shard_path(str(folder), 1, 2), [], SCHEMA)
    assert not commit_shards(str(folder), 2)
    with pytest.raises(MissingDataError, match="documents"):
        list_shards(str(folder))
    write_shard(shard_path(str(folder), 0, 2), [], SCHEMA)
    assert commit_shards(str(folder), 2)
    assert len(list_shards(str(folder))) == 2
    assert num_rows_of(str(folder)) == 0  # a data set without rows is one
    write_rows(shard_path(str(folder), 0, 1), [], SCHEMA)  # what somebody else left is no part of it
    assert len(list_shards(str(folder))) == 2
    assert issubclass(MissingDataError, UserError)


def test_no_module_lets_beam_read_names_as_patterns() -> None:
    root = Path(next(iter(gobelin.__path__)))
    users = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("apache_beam.io"):
                users.add(path.relative_to(root).as_posix())
    assert users == set()


def test_inputs_that_are_not_there_say_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.warc.gz").symlink_to("gone.warc.gz")
    for given, said in (
        ("folder", "a folder that holds no"),
        ("link.warc.gz", "a link to gone.warc.gz"),
        ("x*", "no such file"),
    ):
        with pytest.raises(InputError, match=said):
            find_archives([given])


def test_spellings_of_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    warc = b"WARC/1.0\r\nWARC-Type: warcinfo\r\nContent-Length: 0\r\n\r\n\r\n\r\n"
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/sub")
    for name in ("x.warc", "real/x.warc", "jsonl:x.warc"):
        (tmp_path / name).write_bytes(warc)
    assert [each.path for each in find_archives(["./x.warc", "x.warc", "link/../x.warc"])] == [
        "link/../x.warc",  # is real/x.warc, though its plain spelling is that of another file
        "x.warc",
    ]
    assert [each.path for each in find_archives(["jsonl:x.warc"])] == ["./jsonl:x.warc"]
    odd = os.fsdecode(b"caf\xe9.warc")
    (tmp_path / odd).write_bytes(warc)
    with pytest.raises(InputError, match="not UTF-8"):
        find_archives(["caf*.warc"])


def test_a_file_that_a_library_writes_has_the_permissions_of_its_neighbours(tmp_path: Path) -> None:
    """Though the library takes the temporary file away and makes one of its own."""
    write_bytes(str(tmp_path / "config.json"), b"{}")
    with local_output(str(tmp_path / "model.safetensors")) as path:
        os.unlink(path)
        Path(path).write_bytes(b"weights")
        os.chmod(path, 0o600)
    modes = {(tmp_path / name).stat().st_mode for name in ("config.json", "model.safetensors")}
    assert len(modes) == 1


def test_writing_a_file_leaves_the_mask_of_permissions_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The umask belongs to all threads: one that asks for it sets it for a moment."""
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", lambda mask: pytest.fail("it was changed"))
            write_bytes(str(tmp_path / "a"), b"content")
            with local_output(str(tmp_path / "c")) as name:
                Path(name).write_bytes(b"content")
    finally:
        os.umask(before)
    assert [(path.name, path.stat().st_mode & 0o777, path.read_bytes()) for path in sorted(tmp_path.iterdir())] == [
        (name, 0o640, b"content") for name in "ac"
    ]
