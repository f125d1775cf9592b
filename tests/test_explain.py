"""`gobelin explain` and `gobelin select --what-if`, on a run of three pages."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gobelin.data.ids import image_id
from gobelin.data.schemas import FETCHES
from gobelin.pipeline.ask import explain as explaining
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.recipe.recipe import load_recipe
from gobelin.pipeline.run.run_summary import summary_lines
from gobelin.store.dataset import commit_shards
from gobelin.store.lock import locked
from gobelin.store.shards import read_folder, write_shard
from gobelin.store.tables import shard_path

Make = Callable[..., Any]
HOST = "https://a.example"

LARGE = "<img src=large.png alt='A boat'>"
LATE = "A sentence that is long enough for its address to be cut off in the middle by what is shown: "
PERSONAL = f"<p>{LATE} ann@a.example and more.</p><img src=late.png?of=ann@a.example alt='Of ann@a.example'>"

RECIPE = """
num_shards: 2
select:
  document: {min_images: 1, unique: [url]}
  text: {min_words: 4, not_prose: []}
  image: {min_side_px: 150}
"""


@pytest.fixture(scope="module")
def output(
    tmp_path_factory: pytest.TempPathFactory, record: Any, pack: Make, html_page: Make, png: Make, prose: str
) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    records = [
        record(f"{HOST}/large", html_page(f"<h1>Harbour</h1><p>{prose}</p>{LARGE}<p>{prose} A.</p>")),
        record(f"{HOST}/small", html_page(f"<p>{prose} B.</p><img src=small.png><p>{prose} C.</p>")),
        record(f"{HOST}/personal", html_page(f"<p>{prose} D.</p>{PERSONAL}<p>{prose} E.</p>", "Of ann@a.example")),
        record(f"{HOST}/gone", b"<p>gone", status="HTTP/1.1 404 Not Found"),
        record(f"{HOST}/large.png", png(1, 400, 300), "image/png"),
        record(f"{HOST}/small.png", png(2, 140, 140), "image/png"),
    ]  # fmt: skip
    (folder / "a.warc.gz").write_bytes(pack(records))
    (folder / "small.yaml").write_text(RECIPE)
    run = ["run", "--recipe", str(folder / "small.yaml"), "--input", str(folder / "a.warc.gz"), "--until", "select"]
    assert main([*run, "--output", str(folder / "out"), "--workers", "1", "--quiet"]) == 0
    return folder / "out"


def told(capsys: pytest.CaptureFixture[str], output: Path, subject: str) -> str:
    assert main(["explain", subject, "--output", str(output)]) == 0
    return capsys.readouterr().out


def documents(output: Path) -> dict[str, Any]:
    return {row["url"]: row for row in read_folder(str(output / "extract" / "documents"))}


def test_a_page_that_stays(output: Path, capsys: pytest.CaptureFixture[str], png: Make) -> None:
    document = documents(output)[f"{HOST}/large"]
    by_url = told(capsys, output, "http://A.example:80/large#top")
    assert told(capsys, output, document["doc_id"]) == by_url
    assert "select    kept" in by_url
    assert f"image {image_id(png(1, 400, 300))}" in by_url
    assert "alt: A boat" in by_url
    assert "heading: Harbour" in by_url
    assert "drop      select: text.min_words 1 against 4" in by_url
    assert "stop_word_ratio" in by_url


def test_scores_stand_beside_what_they_are_held_against(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [" ".join(line.split()) for line in told(capsys, output, f"{HOST}/large").splitlines()]
    assert "num_words 1 (at least 4), max_word_length 7" not in lines
    assert "num_words 1 (at least 4: broken)" in lines
    assert any("num_words" in line and "(at least 4)" in line for line in lines)
    assert "char_repetition_ratio" not in "".join(line for line in lines if line.startswith("num_words"))
    assert next(line for line in lines if line.startswith("others")).count("stop_word_ratio") == 1
    assert main(["explain", f"{HOST}/large", "--output", str(output), "--all-scores"]) == 0
    every = capsys.readouterr().out
    assert "num_words 1 (at least 4: broken)" in every
    assert every.count("char_repetition_ratio") > 3


def test_rules_that_are_no_rule_of_a_role_are_not_named(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = output.parent / "prose"
    shutil.copytree(output, copy)
    recipe = (copy / "recipe.yaml").read_text()
    assert "not_prose: []" in recipe
    (copy / "recipe.yaml").write_text(recipe.replace("not_prose: []", "not_prose: [heading]"))
    lines = told(capsys, copy, f"{HOST}/large").splitlines()
    heading = next(index for index, line in enumerate(lines) if "heading: Harbour" in line)
    assert "at least" not in lines[heading + 1]
    assert any("(at least 4)" in line for line in lines)


@pytest.mark.parametrize("ending", ["", "…", "..."])
def test_the_beginning_of_an_id_is_enough(
    output: Path, capsys: pytest.CaptureFixture[str], png: Make, ending: str
) -> None:
    """Reports show the first twelve characters."""
    for identifier in (documents(output)[f"{HOST}/large"]["doc_id"], image_id(png(1, 400, 300))):
        assert told(capsys, output, identifier[:12] + ending) == told(capsys, output, identifier)


def test_a_beginning_of_several_ids_is_refused(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "_SHORT_ID", re.compile("([0-9a-f]{0,63})"))
    with pytest.raises(explaining.NotFoundError, match="5 ids begin with : give more of one, as "):
        list(explaining.explain(str(output), ""))


def test_pages_of_a_like_address_are_proposed(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "/SMALL", "--output", str(output)]) == 2
    assert f"Pages whose address holds it: {HOST}/small\n" in capsys.readouterr().err


def test_a_page_that_goes(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = told(capsys, output, f"{HOST}/small")
    assert "select    dropped" in story
    assert "drop      select: document.min_images 0 against 1" in story
    assert "drop      select: image.min_side_px 140 against 150" in story


def test_personal_data_is_masked_but_in_addresses(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the middle of a text that is cut, in what describes an image, and in the title, which has its own decision."""
    story = told(capsys, output, f"{HOST}/personal")
    assert "title: Of <EMAIL>" in story
    assert "alt: Of <EMAIL>" in story
    assert "late.png?of=ann@a.example" in story
    assert story.count("ann@a") == 1
    assert "replace   select: pii.email 1 against 0 (title)" in story
    assert "select    dropped" in story


def test_an_image(output: Path, capsys: pytest.CaptureFixture[str], png: Make) -> None:
    kept = told(capsys, output, f"{HOST}/large.png")
    assert kept == told(capsys, output, image_id(png(1, 400, 300)))
    assert "png, 400 x 300 px, from archive" in kept
    place = documents(output)[f"{HOST}/large"]
    assert f"shown in  {place['doc_id']}, node 3, kept" in kept
    left = told(capsys, output, f"{HOST}/small.png")
    assert ", left out" in left
    small = documents(output)[f"{HOST}/small"]
    assert "drop      select: image.min_side_px (no place of it is left)" in left
    node = next(index for index, node in enumerate(small["nodes"]) if node["kind"] == "image")
    assert f"drop      select: image.min_side_px 140 against 150 in {small['doc_id']}, node {node}" in left


def test_a_page_that_never_became_a_document(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "drop      extract: http_status 404 against 200" in told(capsys, output, f"{HOST}/gone")


@pytest.mark.parametrize("subject", [f"{HOST}/nowhere", "0" * 32, "0" * 64, "no url"])
def test_what_the_run_does_not_know(output: Path, capsys: pytest.CaptureFixture[str], subject: str) -> None:
    assert main(["explain", subject, "--output", str(output)]) == 2
    assert subject in capsys.readouterr().err


def test_a_folder_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "x", "--output", str(tmp_path)]) == 2
    assert "extract has not run" in capsys.readouterr().err


def what_if(capsys: pytest.CaptureFixture[str], output: Path, *changes: str) -> list[str]:
    arguments = [part for change in changes for part in ("--what-if", change)]
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    with locked(str(output)):  # another command may be at work there
        assert main(["select", "--output", str(output), "--quiet", *arguments]) == 0
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()} == before
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_what_another_threshold_lets_in(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = what_if(capsys, output, "image.min_side_px=100")
    assert "documents 1 2 +1 (+100.0%)" in lines
    assert "images shown 1 2 +1 (+100.0%)" in lines
    assert "node image.min_side_px 1 0 -1" in lines
    assert "would come in: 1" in lines
    small = documents(output)[f"{HOST}/small"]
    assert f"{small['doc_id']} {HOST}/small (document.min_images)" in lines
    assert not any(line.startswith("would go") for line in lines)


def test_what_another_threshold_drops(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = what_if(capsys, output, "select.image.min_side_px=500", "document.min_words=0")
    assert "documents 1 0 -1 (-100.0%)" in lines
    assert "would go: 1" in lines


def test_what_changes_nothing(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = what_if(capsys, output, "image.min_side_px=150")
    assert "documents 1 1 +0 (+0.0%)" in lines
    assert len(lines) == 4


def test_what_an_earlier_run_holds_is_gone_now_and_then(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, recipe = output.parent / "a.warc.gz", output.parent / "small.yaml"
    run = ["run", "--recipe", str(recipe), "--input", str(archive), "--until", "select", "--quiet", "--workers", "1"]
    assert main([*run, "--output", str(tmp_path), "--set", f"score.earlier=[{output}]"]) == 0
    assert not list(read_folder(str(tmp_path / "select" / "documents")))
    lines = what_if(capsys, tmp_path, "image.min_side_px=100")
    assert "documents 0 1 +1" in lines  # small.png's page was dropped there, so it is new


def test_a_rule_without_a_score_is_told(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = what_if(capsys, output, "image.max_watermark=0.5")
    assert lines[-1] == "image.max_watermark could not run (no score): 1"


def test_a_place_among_the_scores_is_told_as_a_number() -> None:
    relative = load_recipe("gobelin", ("select.image.min_clip_text={top_fraction: 0.5}",)).select
    story = explaining.Comparison(relative, {"image.min_clip_text": 0.25}, all_scores=False)
    assert "clip_text_max 0.3 (at least 0.25)" in story.of_node(
        {"clip_text_max": 0.3}, {"kind": "image", "caption": None, "link_url": None}
    )


@pytest.mark.parametrize("change", ["image.min_side_px", "image.min_sides_px=1", "image.min_side_px=tall"])
def test_changes_that_are_none(output: Path, capsys: pytest.CaptureFixture[str], change: str) -> None:
    assert main(["select", "--output", str(output), "--quiet", "--what-if", change]) == 2
    assert capsys.readouterr().err


def test_rules_that_did_nothing_or_everything_are_told(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--set", "select.text.max_words=0", "--set", "select.image.max_side_px=9000"]
    copy = output.parent / "copy"
    shutil.copytree(output, copy)
    assert main(["select", "--output", str(copy), "--workers", "1", *more]) == 0
    shown = " ".join("".join(capsys.readouterr()).split())
    assert "rules that dropped nothing: document.unique.url, image.max_side_px" in shown
    strict = ["--set", "select.text.min_words=null", *more]
    assert main(["select", "--output", str(copy), "--workers", "1", *strict]) == 0
    assert "rules that dropped everything: text.max_words" in " ".join("".join(capsys.readouterr()).split())


def test_a_place_that_a_decision_took_is_left_out(output: Path, png: Make) -> None:
    """Of a document that shows an image twice, one place may stay."""
    document = documents(output)[f"{HOST}/large"]
    identifier = image_id(png(1, 400, 300))
    (node,) = [index for index, node in enumerate(document["nodes"]) if node["image_id"] == identifier]
    cases: list[tuple[set[tuple[str | None, int | None]], bool]] = [
        (set(), True),
        ({(document["doc_id"], node)}, False),
        ({(None, node)}, True),
    ]
    for dropped, expected in cases:
        assert list(explaining._places(str(output), identifier, dropped)) == [(document["doc_id"], node, expected)]


def test_what_fetching_gave_is_told(output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "out"
    shutil.copytree(output, copy)
    url = f"{HOST}/late.png?of=ann@a.example"
    row = {"url": url, "host": "a.example", "status": "http_error", "http_status": 403, "tries": 1, "num_bytes": 0}
    fetches = str(copy / "extract" / "fetches")
    shutil.rmtree(fetches)
    write_shard(shard_path(fetches, 0, 1), [row], FETCHES)
    assert commit_shards(fetches, 1)
    result = "http_error (HTTP 403), requests: 1"
    assert told(capsys, copy, url) == f"fetch {url}\n  result    {result}\n\n"
    assert f"image not in the archive; fetch: {result}  {url}" in told(capsys, copy, f"{HOST}/personal")
    run = json.loads((copy / "run.json").read_text())
    assert not any(line.startswith("pictures fetched") for line in summary_lines(str(copy)))
    counts = {"ok": 1200, "http_error": 28, "timeout": 12}
    run["stages"]["extract"] |= {"fetches": counts, "http_errors": {"403": 20, "404": 8}}
    (copy / "run.json").write_text(json.dumps(run))
    assert "pictures fetched: 1,200 of 1,240 (HTTP 403: 20, timeout: 12, HTTP 404: 8)" in summary_lines(str(copy))
