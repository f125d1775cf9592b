"""A data set is what its manifest says: no more, no less, and nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gobelin.errors import DataError, MissingDataError
from gobelin.pipeline.cli.main import main
from gobelin.store.dataset import (
    MANIFEST_NAME,
    DataFile,
    check,
    commit,
    current,
    files_of,
    is_committed,
    make_current,
    num_rows_of,
    paths_of,
)


def make_file(folder: Path, name: str, content: bytes, num_rows: int = 1) -> DataFile:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return DataFile(name, num_rows, len(content), hashlib.sha256(content).hexdigest())


def test_what_was_committed_is_read_back_by_name(tmp_path: Path) -> None:
    files = [make_file(tmp_path, name, name.encode(), rows) for name, rows in (("b", 2), ("a", 1))]
    assert not is_committed(str(tmp_path))
    commit(str(tmp_path), files)
    assert is_committed(str(tmp_path))
    assert files_of(str(tmp_path)) == sorted(files)
    assert paths_of(str(tmp_path)) == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert num_rows_of(str(tmp_path)) == 3
    assert list(check(str(tmp_path))) == []


def test_an_empty_data_set_is_not_a_missing_one(tmp_path: Path) -> None:
    commit(str(tmp_path / "empty"), [])
    assert files_of(str(tmp_path / "empty")) == []
    with pytest.raises(MissingDataError, match="missing-one"):
        files_of(str(tmp_path / "missing-one"))
    with pytest.raises(MissingDataError):
        num_rows_of(str(tmp_path / "missing-one"))


def test_a_file_that_no_manifest_names_is_no_part(tmp_path: Path) -> None:
    commit(str(tmp_path), [make_file(tmp_path, "a", b"1")])
    make_file(tmp_path, "left-over", b"2")
    assert paths_of(str(tmp_path)) == [str(tmp_path / "a")]


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "is missing"), (b"12", "has 2 bytes; its manifest says 3"), (b"124", "was altered")],
)
def test_a_file_that_is_not_as_committed_is_named(tmp_path: Path, content: bytes | None, problem: str) -> None:
    commit(str(tmp_path), [make_file(tmp_path, "good", b"1"), make_file(tmp_path, "bad", b"123")])
    if content is None:
        (tmp_path / "bad").unlink()
    else:
        (tmp_path / "bad").write_bytes(content)
    problems = list(check(str(tmp_path)))
    assert len(problems) == 1
    assert problems[0].startswith(f"{tmp_path / 'bad'} {problem}")


@pytest.mark.parametrize("manifest", [b"{", b"[]", b'{"version": 1}', b'{"version": 1, "files": [{"name": "a"}]}'])
def test_a_damaged_manifest_is_an_error_that_names_it(tmp_path: Path, manifest: bytes) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(manifest)
    with pytest.raises(DataError, match=MANIFEST_NAME):
        files_of(str(tmp_path))


def test_a_manifest_of_a_later_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(b'{"version": 2, "files": []}')
    with pytest.raises(DataError, match="version 2"):
        files_of(str(tmp_path))


def test_a_whole_output_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out[1]"
    for name in ("extract/documents", "score/documents"):
        commit(str(output / name), [make_file(output / name, "a", b"123", 2)])
    assert main(["check", str(output)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "extract/documents: 1 files, 2 rows, 3 bytes",
        "score/documents: 1 files, 2 rows, 3 bytes",
        "0 problems",
    ]
    (output / "score" / "documents" / "a").write_bytes(b"124")
    (output / "extract" / "documents" / MANIFEST_NAME).write_bytes(b"{")
    assert main(["check", str(output)]) == 1
    said = capsys.readouterr().out
    assert "was altered" in said
    assert "is not JSON" in said
    assert said.endswith("2 problems\n")


def test_what_is_no_output_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path)]) == 2
    assert "holds no data set" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_two_files_of_one_name_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one name"):
        commit(str(tmp_path), [DataFile("a", 1, 1, "0"), DataFile("a", 2, 1, "0")])


def test_parquet_readers_pass_over_the_manifest(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "part-00000-of-00001.parquet")
    commit(str(tmp_path), [DataFile("part-00000-of-00001.parquet", 2, 1, "0")])
    assert pq.read_table(tmp_path).num_rows == 2


def test_readers_follow_the_current_attempt(tmp_path: Path) -> None:
    folder, attempt = str(tmp_path), str(tmp_path / "a1")
    make_file(tmp_path / "a1", "x", b"1")
    commit(attempt, [make_file(tmp_path / "a1", "x", b"1")])
    assert not is_committed(folder)
    with pytest.raises(MissingDataError):
        paths_of(folder)
    make_current(attempt)
    assert is_committed(folder)
    assert current(folder) == attempt == current(attempt)
    assert paths_of(folder) == paths_of(attempt) == [str(tmp_path / "a1" / "x")]
    assert list(check(folder)) == []


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"attempt": "../other"}', b'{"attempt": 3}'])
def test_what_names_no_attempt_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "_current.json").write_bytes(content)
    with pytest.raises(DataError, match="names no attempt"):
        paths_of(str(tmp_path))
