"""What an output folder keeps of a stage: all of it under one key, parts of it under theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from gobelin.pipeline.state import OutputError, Part, StageFolder, lock_folder


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_text(name)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


IMAGES = Part("images", "k1", ("embeddings", "faces"))
TEXTS = Part("texts", "k2", ("words",))


def test_a_complete_stage_gives_its_unchanged_parts_to_the_next_key(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path, "score")
    folder.begin("a", (IMAGES, TEXTS))
    fill(folder.path, "embeddings", "faces", "words", "documents")
    folder.complete("a", {"counted": 1}, (IMAGES, TEXTS))
    assert folder.is_done("a")

    folder.begin("b", (IMAGES, Part("texts", "changed", ("words",))))
    assert names_in(folder.path) == ["embeddings", "faces", "work"]
    assert names_in(folder.work) == ["key.json"]
    assert (folder.path / "faces" / "file").read_text() == "faces"
    assert names_in(tmp_path) == ["score"]
    assert folder.manifest() is None


def test_an_interrupted_stage_does_so_too(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path, "score")
    folder.begin("a", (IMAGES, TEXTS))
    fill(folder.path, "embeddings", "words")
    fill(folder.work, "measurements")
    folder.begin("a", (IMAGES, TEXTS))
    assert names_in(folder.path) == ["embeddings", "words", "work"]
    assert names_in(folder.work) == ["key.json", "measurements"]
    folder.begin("b", (IMAGES, TEXTS))
    assert names_in(folder.path) == ["embeddings", "words", "work"]
    assert names_in(folder.work) == ["key.json"]
    folder.begin("c")
    assert names_in(folder.path) == ["work"]


def test_a_folder_is_for_one_at_a_time(tmp_path: Path) -> None:
    with (
        lock_folder(tmp_path),
        pytest.raises(OutputError, match="another gobelin is at work there"),
        lock_folder(tmp_path),
    ):
        pass
    with lock_folder(tmp_path):
        pass
