"""In which pieces the input is read."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gobelin.pipeline.run import inputs
from gobelin.pipeline.run.inputs import Archive, InputError, find_archives, read_batches


def archives_of(folder: Path, *sizes: int) -> tuple[Archive, ...]:
    found = []
    for index, size in enumerate(sizes):
        path = folder / f"{index}.warc"
        with path.open("wb") as stream:
            stream.truncate(size)
        found.append(Archive(str(path), size))
    return tuple(found)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([5, 5, 5], [[0, 1], [2]]),  # at least 10 each, though 16 batches were wanted
        ([11, 1, 9, 1], [[0], [1, 2], [3]]),  # what is larger stands alone; the order stays
        ([15] * 20, [[index] for index in range(20)]),  # 300 in all: some 16 batches
        ([60] * 30, [[index] for index in range(30)]),  # 1,800 in all: at most 100 each
        ([30] * 60, [[index, index + 1, index + 2] for index in range(0, 60, 3)]),
    ],
)
def test_batches(sizes: list[int], expected: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MIN_BATCH_BYTES", 10)
    monkeypatch.setattr(inputs, "READ_BATCH_BYTES", 100)
    monkeypatch.setattr(inputs, "MIN_RANGE_BYTES", 1000)
    batches = read_batches(archives_of(tmp_path, *sizes))
    assert [[int(Path(piece.path).stem) for piece in batch] for batch in batches] == expected


@pytest.mark.parametrize("compress", [True, False], ids=["gzip", "plain"])
@pytest.mark.parametrize(
    "damage",
    [
        b"the end of a record</html>\r\n\r\n",
        gzip.compress(b"WARC/1.1\r\nWARC-Type: response\r\n" * 90, mtime=0)[:-30],
        b"\0" * 900,
    ],
    ids=["text", "member", "zeros"],
)
def test_a_file_that_begins_with_damage_is_an_archive(
    damage: bytes, compress: bool, tmp_path: Path, record: Callable[..., Any], pack: Callable[..., bytes]
) -> None:
    """Alone as beside others: the reader finds the records behind the damage and tells of it."""
    path = tmp_path / "torn.warc"
    path.write_bytes(damage + pack([record("https://a.example/", b"<html>" + b"words " * 99)], compress))
    assert find_archives([str(path)]) == (Archive(str(path), path.stat().st_size),)


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 5000, b"no record at all\n" * 300, gzip.compress(b"text " * 500, mtime=0)]
)
def test_a_file_without_a_record_is_none(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.warc"
    path.write_bytes(data)
    with pytest.raises(InputError, match="not a WARC"):
        find_archives([str(path)])
