"""Whose fault an error is: what a user gave is said in one line; a defect of gobelin says where its traceback lies."""

from __future__ import annotations

import ast
import errno
from pathlib import Path

import pyarrow as pa
import pytest

import gobelin
from gobelin.errors import UserError, in_a_line, is_of_the_machine
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.run import open_run as running
from gobelin.store.shards import write_rows
from gobelin.store.tables import read_tables, shard_path


def fails_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(running, "open_run", fail)


@pytest.mark.parametrize(
    "error",
    [ValueError("not enough values to unpack"), KeyError("doc_id"), AssertionError(), RecursionError("x\ny"),
     FileNotFoundError(errno.ENOENT, "No such file", "work/part"), pa.ArrowInvalid("offset overflow"),
     UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), StopIteration()],
)  # fmt: skip
@pytest.mark.parametrize("is_there", [True, False])
def test_a_defect_says_that_it_is_one(
    error: Exception, is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if is_there:
        (tmp_path / "run.json").write_text("{}")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fails_with(error, monkeypatch)
    assert main(["run", "--output", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gobelin: {type(error).__name__}")
    assert "a defect of gobelin" in line
    path = Path(line.partition("the traceback is in ")[2])
    assert path.is_relative_to(tmp_path)
    assert (path == tmp_path / "logs" / "traceback.log") is is_there
    assert "Traceback (most recent call last)" in path.read_text()
    assert type(error).__name__ in path.read_text()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("--input x: no such file"), "--input x: no such file"),
        (UserError("two\nlines [while running 'Step']"), "two lines"),
        (UserError("a\x1b]0;title\x07 \u202eb \ud800\xe9"), "a?]0;title? ?b ?\xe9"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "[Errno 13] Permission denied: '/x'"),
        (OSError(errno.EIO, "Input/output error"), "[Errno 5] Input/output error"),
        (MemoryError(), "out of memory"),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    error: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails_with(error, monkeypatch)
    assert main(["run", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"gobelin: {said}\n"
    assert not list(tmp_path.iterdir())
    assert isinstance(error, UserError) or is_of_the_machine(error)
    assert in_a_line(error) == said


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_its_folder(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Met by the process of the command itself; nothing can be written about it there."""
    fails_with(OSError(number, "no room"), monkeypatch)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["run", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"gobelin: no space left on {tmp_path} (")
    assert not list(tmp_path.iterdir())


def test_a_damaged_data_set_is_named(tmp_path: Path) -> None:
    path = shard_path(str(tmp_path), 0, 1)
    write_rows(path, [{"id": "a" * 500}], pa.schema([("id", pa.string())]))
    whole = Path(path).read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:20] + b"\0" * (len(whole) - 40) + whole[-20:]):
        Path(path).write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged"):
            list(read_tables(path))


OUR_OWN = {
    "tokenize/grammar.py", "tokenize/image_tokenizer.py", "tokenize/sequence.py", "tokenize/vocabulary.py",
    "tokenize/assemble.py", "tokenize/framing.py", "tokenize/split.py",
    "tokenize/fit.py", "train/evaluate.py", "train/sample.py", "transforms/archives/http_message.py",
    "transforms/archives/ranges.py", "transforms/images/image_sandbox.py", "transforms/vision/assignment.py",
    "transforms/duplicates/image_duplicates.py",
    "pipeline/recipe/yaml.py", "store/dataset.py", "store/files.py",
}  # fmt: skip
"""Modules that raise a plain ``ValueError`` where a caller inside gobelin is wrong, or which the caller turns into a
decision or a ``UserError``."""


def test_who_raises_a_plain_value_error() -> None:
    """A new module that does is a question to answer: is it the user's mistake?"""
    root = Path(next(iter(gobelin.__path__)))
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and node.exc is not None and ast.unparse(node.exc).startswith("ValueError("):
                found.add(path.relative_to(root).as_posix())
    assert found <= OUR_OWN
