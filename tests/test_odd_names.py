"""A run whose input and output have names that look like patterns; and one whose intermediate files went missing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gobelin.errors import MissingDataError
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.run.supervisor import run_pipeline
from gobelin.pipeline.stages.tokenize import AssembleJob, assemble_documents
from gobelin.tokenize.assemble import SequenceLayout

Make = Callable[..., Any]
RECIPE = """
num_shards: 2
select: {document: {}, unscored_for_safety: keep}
"""


@pytest.fixture
def crawl(tmp_path: Path, make_warc: Make, record: Make, html_page: Make, png: Make, prose: str) -> Path:
    """Two pages and a picture, in an archive whose folder's name holds signs of patterns."""
    page = html_page(f"<p>{prose}</p><img src=1.png alt='a picture'><p>{prose}")
    records = [
        record("https://a.example/", page),
        record("https://b.example/", html_page(f"<p>{prose} {prose}</p>")),
        record("https://a.example/1.png", png(1), "image/png"),
    ]
    (tmp_path / "r.yaml").write_text(RECIPE)
    folder = tmp_path / "in [x]"
    folder.mkdir()
    shutil.copy(make_warc("a.warc.gz", records), folder / "a.warc.gz")
    (tmp_path / "in x").mkdir()  # what the name would match, read as a pattern
    shutil.copy(make_warc("other.warc.gz", records[:1]), tmp_path / "in x" / "a.warc.gz")
    return folder


def seen_and_kept(output: Path) -> list[tuple[int, int]]:
    stages = json.loads((output / "run.json").read_text())["stages"]
    return [(stages[name][unit]["seen"], stages[name][unit]["kept"])
            for name in ("extract", "score", "select") for unit in ("documents", "images")]  # fmt: skip


def test_a_whole_run_between_names_that_look_like_patterns(
    crawl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    common = ["--workers", "1", "--quiet"]
    run = ["run", "--recipe", "r.yaml", "--until", "select", *common]
    assert main([*run, "--input", "in [x]/a.warc.gz", "--output", "out[1]"]) == 0
    assert seen_and_kept(Path("out[1]")) == [(2, 2), (1, 1)] * 3
    assert main(["report", "--output", "out[1]", *common]) == 0
    assert main(["explain", "https://a.example/", "--output", "out[1]"]) == 0
    capsys.readouterr()
    assert main(["export", "out[1]"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2

    os.chdir(crawl)
    output = tmp_path / "-ö {b} ?*"
    assert main([*run[:2], "../r.yaml", *run[3:], "--input", "*.warc.gz", f"--output={output}"]) == 0
    assert seen_and_kept(output) == [(2, 2), (1, 1)] * 3
    for name in ("extract/documents", "select/documents"):
        for part in ("part-00000-of-00002.parquet", "part-00001-of-00002.parquet"):
            for folder in (tmp_path / "out[1]", output):
                assert sum(path.name == part for path in (folder / name).rglob("*")) == 1


def test_a_stage_whose_source_went_missing_says_so(
    crawl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    common = ["--output", str(output), "--workers", "1", "--quiet"]
    given = ["--recipe", str(tmp_path / "r.yaml"), "--input", str(crawl / "a.warc.gz")]
    assert main(["run", *given, "--until", "score", *common]) == 0
    next((output / "score" / "documents").glob("*/part-00001-of-00002.parquet")).unlink()
    assert main(["select", *common]) != 0
    said = capsys.readouterr().err
    assert str(output / "score" / "documents") in said
    assert json.loads((output / "run.json").read_text())["stages"]["select"]["status"] == "not run"


@pytest.mark.parametrize("left", [(), ("codes",)])
def test_documents_are_not_assembled_where_images_were_not_encoded(left: tuple[str, ...], tmp_path: Path) -> None:
    """Both results of the step before must be there; without them every document would lose its pictures."""
    for name in left:
        (tmp_path / name).mkdir()
    folders = (str(tmp_path / name) for name in ("corpus", "codes", "failed", "shards", "sequences"))
    job = AssembleJob(*folders, 2, None, None, SequenceLayout())  # type: ignore[arg-type]
    with pytest.raises(MissingDataError, match="codes"):
        run_pipeline(assemble_documents, [], job, ())
    assert not (tmp_path / "sequences").exists()
