"""What an output folder keeps of a stage: all of it under one key, parts of it under theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gobelin.pipeline.run.scratch import sweep_temporary_files, temporary_files
from gobelin.pipeline.run.state import Part, StageFolder
from gobelin.store.dataset import RECEIPTS_NAME, Attempt, commit_shards, current, data_output, paths_of, shard_name
from gobelin.store.files import exists, list_files, read_bytes, write_bytes
from gobelin.store.paths import join

IMAGES = Part("images", "k1", ("embeddings", "faces"))
TEXTS = Part("texts", "k2", ("words",))


@pytest.fixture(params=["disk", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "disk" else str(request.getfixturevalue("object_store"))


def fill(folder: StageFolder, *names: str) -> None:
    for name in names:
        with data_output(folder.data(name), shard_name(0, 1)) as new:
            new.stream.write(f"{folder.key} {name}".encode())
        assert commit_shards(folder.data(name), 1)


def names_in(folder: str) -> list[str]:
    return sorted({name.partition("/")[0] for name, _ in list_files(folder)})


def test_a_complete_stage_gives_its_unchanged_parts_to_the_next_key(output: str) -> None:
    folder = StageFolder(output, "score", "a", (IMAGES, TEXTS))
    folder.begin()
    fill(folder, "embeddings", "faces", "words", "documents")
    folder.complete({"counted": 1})
    assert folder.is_done()
    assert (folder.manifest() or {})["counted"] == 1

    other = StageFolder(output, "score", "b", (IMAGES, Part("texts", "changed", ("words",))))
    assert not other.is_done()
    other.begin()
    assert names_in(other.path) == ["embeddings", "faces", "work"]
    assert names_in(other.work) == ["key.json"]
    assert read_bytes(join(other.data("faces"), shard_name(0, 1))) == b"a faces"
    assert names_in(output) == ["score"]
    assert other.manifest() is None


def test_an_interrupted_stage_does_so_too(output: str) -> None:
    folder = StageFolder(output, "score", "a", (IMAGES, TEXTS))
    folder.begin()
    fill(folder, "embeddings", "words")
    write_bytes(join(folder.work, "measurements", "file"), b"1")
    folder.begin()
    assert names_in(folder.path) == ["embeddings", "words", "work"]
    assert names_in(folder.work) == ["key.json", "measurements"]
    other = StageFolder(output, "score", "b", (IMAGES, TEXTS))
    other.begin()
    assert names_in(other.path) == ["embeddings", "words", "work"]
    assert names_in(other.work) == ["key.json"]
    assert names_in(join(other.path, "work")) == ["b"]
    bare = StageFolder(output, "score", "c")
    bare.begin()
    assert names_in(bare.path) == ["work"]


def test_a_job_of_other_settings_that_goes_on_writing_changes_nothing(output: str) -> None:
    old, new = (StageFolder(output, "select", key) for key in ("a", "b"))
    old.begin()
    new.begin()
    fill(new, "documents")
    fill(old, "documents")  # nobody has told it to stop
    new.complete({})
    documents = join(output, "select", "documents")
    assert current(documents) == new.data("documents")
    assert [read_bytes(path) for path in paths_of(documents)] == [b"b documents"]
    fill(StageFolder(output, "select", "a"), "documents")
    assert [read_bytes(path) for path in paths_of(documents)] == [b"b documents"]


def test_what_a_killed_run_was_writing_is_swept_away(tmp_path: Path) -> None:
    folder = StageFolder(str(tmp_path), "select", "a")
    folder.begin()
    unfinished = Path(folder.work) / ".gobelin-x.tmp"
    unfinished.write_bytes(b"1")
    folder.begin()
    assert not unfinished.exists()


def test_what_a_command_killed_at_the_end_of_a_stage_left_is_swept_away(output: str) -> None:
    """A receipt of a data set that was committed; the work of a stage that is done."""
    folder = StageFolder(output, "select", "a")
    folder.begin()
    fill(folder, "documents")
    receipt = join(folder.data("documents"), RECEIPTS_NAME, "part.json")
    write_bytes(receipt, b"{}")
    folder.complete({})
    done = [name for name, _ in list_files(folder.path)]
    assert not exists(receipt)
    write_bytes(join(folder.work, "key.json"), b"{}")
    write_bytes(receipt, b"{}")
    assert folder.damage() == []
    assert [name for name, _ in list_files(folder.path)] == done


def test_damage_is_told_by_name(output: str) -> None:
    folder = StageFolder(output, "select", "a")
    folder.begin()
    fill(folder, "documents", "decisions", "not_run")
    folder.complete({})
    assert folder.damage() == []
    documents, decisions = (join(folder.data(name), shard_name(0, 1)) for name in ("documents", "decisions"))
    write_bytes(documents, b"longer than before")
    write_bytes(join(folder.data("not_run"), "_manifest.json"), b"{")
    from gobelin.store.files import delete

    delete(decisions)
    problems = folder.damage()
    assert len(problems) == 3
    assert any(problem.startswith(f"{documents} has 18 bytes in place of 11") for problem in problems)
    assert any(problem.startswith(f"{decisions} is missing") for problem in problems)
    assert any("not_run" in problem and "is not JSON" in problem for problem in problems)


def test_an_attempt_without_a_name_writes_into_the_data_set_itself() -> None:
    assert Attempt("out", "").data("documents") == "out/documents"
    assert Attempt("out", "a", (("faces", "b"),)).data("documents") == "out/documents/a"
    assert Attempt("out", "a", (("faces", "b"),)).data("faces") == "out/faces/b"


def test_temporary_files_of_a_command_that_was_killed_go_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = (
        "import os, signal, sys, tempfile; from gobelin.pipeline.run.scratch import temporary_files\n"
        "with temporary_files('s3://b/out'): tempfile.mkdtemp(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    (of_output,) = tmp_path.iterdir()
    assert len(list(of_output.rglob("*"))) == 2
    with temporary_files("s3://b/out"):
        with temporary_files("s3://b/other"):
            sweep_temporary_files("s3://b/out")
        assert len(list(of_output.iterdir())) == 2, "another command's are not swept"
        sweep_temporary_files("s3://b/out")
        assert list(of_output.iterdir()) == [Path(tempfile.gettempdir())]
        Path(tempfile.mkdtemp(), "file").touch()
    assert list(tmp_path.iterdir()) == []
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(tmp_path)
