"""The report, ``explain``, ``--what-if`` and ``check`` of an output folder on a store: the same as on a disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pytest

from gobelin.data.ids import image_id
from gobelin.data.schemas import IMAGES
from gobelin.pipeline.ask.check_output import check_output
from gobelin.pipeline.ask.explain import explain
from gobelin.pipeline.ask.rule_effects import rule_effects
from gobelin.pipeline.ask.what_if import what_if
from gobelin.pipeline.browse.answers import Answers
from gobelin.pipeline.browse.collection import Collection
from gobelin.pipeline.cli.main import main
from gobelin.pipeline.recipe.recipe import load_recipe
from gobelin.pipeline.run.counts import count_decisions
from gobelin.report.find_rows import rows_with_ids
from gobelin.report.marks import read_marks
from gobelin.report.page import write_report
from gobelin.store import shards
from gobelin.store.dataset import num_rows_of
from gobelin.store.files import delete, list_files, read_bytes, read_json, size_of, upload
from gobelin.store.paths import join
from gobelin.store.shards import read_folder
from gobelin.store.tables import list_shards

Make = Callable[..., Any]
HOST = "https://a.example"
NUM_PAGES = 18

RECIPE = """
num_shards: 2
select:
  document: {min_images: 1, unique: [url]}
  text: {min_words: 4, not_prose: []}
  image: {min_side_px: 150, max_nsfw: null}
tokenize:
  vqvae_steps: 2
  text_vocab_size: 400
  vqvae: {image_size: 16, patch_size: 8, num_codes: 16, channels: 8, num_blocks: 1}
train:
  {steps: 2, batch_rows: 2, row_tokens: 128, threads: 1, validation_ratio: 0.4, log_every: 1,
   model: {width: 16, num_layers: 1, num_heads: 2, hidden: 32}}
sample: {num_captions: 1, images_per_caption: 1, num_documents: 1, max_document_tokens: 32}
"""


@pytest.fixture(scope="module")
def disk(
    tmp_path_factory: pytest.TempPathFactory, record: Any, pack: Make, html_page: Make, png: Make, prose: str
) -> str:
    """A finished run on a disk."""
    folder = tmp_path_factory.mktemp("reported")
    records = [record(f"{HOST}/gone", b"<p>gone", status="HTTP/1.1 404 Not Found")]
    for number in range(NUM_PAGES):
        side = 140 if number == 0 else 300
        image = f"<figure><img src={number}.png><figcaption>A boat of the harbour.</figcaption></figure>"
        records.append(record(f"{HOST}/{number}", html_page(f"<p>{prose} {number}.</p>{image}<p>{prose}</p>")))
        records.append(record(f"{HOST}/{number}.png", png(number, side, side), "image/png"))
    (folder / "a.warc.gz").write_bytes(pack(records))
    (folder / "small.yaml").write_text(RECIPE)
    output = folder / "out"
    run = ["run", "--recipe", str(folder / "small.yaml"), "--input", str(folder / "a.warc.gz"), "--output", str(output)]
    assert main([*run, "--workers", "1", "--quiet"]) == 0
    return str(output)


@pytest.fixture
def store(disk: str, object_store: str) -> str:
    """The same run on a store."""
    upload(disk, object_store)
    return object_store


def test_the_report_is_the_same(disk: str, store: str) -> None:
    delete(join(store, "report"))
    address = write_report(store, join(store, "report"))
    assert address == join(store, "report", "index.html")
    assert [name for name, _ in list_files(join(store, "report"))] == ["index.html", "report.json"]
    for name in ("index.html", "report.json"):
        assert read_bytes(join(store, "report", name)) == read_bytes(join(disk, "report", name))
    page = read_bytes(address).decode()
    assert page.count("data:image/webp") > 4  # thumbnails
    assert page.count("data:image/png") > 2  # what the tokenizer and the model drew


def test_explain_tells_the_same(disk: str, store: str, png: Make, capsys: pytest.CaptureFixture[str]) -> None:
    by_url = {row["url"]: row["doc_id"] for row in read_folder(join(disk, "extract", "documents"), ["url", "doc_id"])}
    doc_id, picture = by_url[f"{HOST}/0"], image_id(png(0, 140, 140))
    stories = []
    for subject in (doc_id, f"{HOST}/0", picture, f"{HOST}/0.png", doc_id[:12], f"{HOST}/gone"):
        assert main(["explain", subject, "--output", store]) == 0
        stories.append(capsys.readouterr().out)
        assert stories[-1] == "".join(f"{line}\n" for line in explain(disk, subject))
    assert stories[0] == stories[1] == stories[4]
    assert "drop      select: document.min_images 0 against 1" in stories[0]
    assert stories[2] == stories[3]
    assert f"shown in  {doc_id}, node" in stories[2]
    assert "http_status 404 against 200" in stories[5]


@pytest.mark.parametrize(("change", "told"), [("image.min_side_px=100", "come in"), ("document.min_words=999", "go")])
def test_what_if_and_the_effects_of_rules_are_the_same(disk: str, store: str, change: str, told: str) -> None:
    recipe = load_recipe(join(disk, "recipe.yaml"))
    lines = list(what_if(store, recipe, (change,)))
    assert lines == list(what_if(disk, recipe, (change,)))
    assert any(line.startswith(f"would {told}: ") for line in lines)
    effects = []
    for place in (disk, store):
        decisions, scores = count_decisions(join(disk, "select", "decisions")), join(place, "score", "documents")
        effects.append(rule_effects(recipe.select, decisions, scores, num_rows_of(scores), {}))
    assert effects[0] == effects[1]
    assert effects[0]["dropped_nothing"] == ["document.unique.url"]


def test_check_finds_what_was_altered(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", store]) == 0
    assert f"extract/images: 2 files, {NUM_PAGES} rows" in capsys.readouterr().out
    broken = list_shards(join(store, "extract", "images"))[0]
    delete(broken)
    problems = {told: found for told, found in check_output(store) if found}
    assert list(problems.values()) == [[f"{broken} is missing"]]
    assert read_json(join(store, "run.json"))["stages"]["report"]["status"] == "done"


def test_one_picture_costs_one_row_group(
    tmp_path: Path, object_store: str, monkeypatch: pytest.MonkeyPatch, write_data_set: Make, an_image: Make
) -> None:
    noise = np.random.default_rng(0)
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 300_000)
    rows = [an_image(f"{number:064x}", data=noise.bytes(100_000)) for number in range(60)]
    upload(write_data_set(tmp_path / "images", rows, IMAGES, 2, "image_id"), object_store)
    fetched = []

    def counting(store: Any, path: str, *, start: int, length: int) -> Any:
        fetched.append((path, length))
        return get_range(store, path, start=start, length=length)

    get_range = obstore.get_range
    monkeypatch.setattr(obstore, "get_range", counting)
    for wanted in (rows[0], rows[37]):
        fetched.clear()
        (found,) = rows_with_ids(object_store, "image_id", {wanted["image_id"]}, ["image_id", "data"])
        assert found["data"] == wanted["data"]
        assert len({path for path, _ in fetched}) == 1  # the other shard does not hold it
        assert 300_000 < sum(length for _, length in fetched) < 800_000
    shard = list_shards(object_store)[0]
    assert size_of(shard) > 2_000_000


def test_browse_shows_the_same_and_keeps_marks_there(disk: str, store: str) -> None:
    here, there = Answers([Collection(disk)]), Answers([Collection(store)])
    asked = {"changes": {"image.min_side_px": 100}, "held": "image.min_side_px"}
    told = [answers.on_judge(asked) for answers in (here, there)]
    assert {**told[0], "milliseconds": 0} == {**told[1], "milliseconds": 0}
    doc_id = here.on_documents({"view": "kept"})["rows"][0]["doc_id"]
    assert there.on_document({"doc_id": doc_id}) == here.on_document({"doc_id": doc_id})
    assert there.on_source({"doc_id": doc_id}) == here.on_source({"doc_id": doc_id})
    tokens = there.on_tokens({"doc_id": doc_id})
    assert tokens == here.on_tokens({"doc_id": doc_id})
    assert {piece["kind"] for piece in tokens["pieces"]} == {"special", "text", "image"}
    assert any("harbour" in piece["text"] for piece in tokens["pieces"] if piece["kind"] == "text")
    assert sum(piece["number"] for piece in tokens["pieces"]) == tokens["total"]
    there.on_mark({"doc_id": doc_id, "node_index": None, "rule": "kept", "verdict": "right"})
    assert [mark.doc_id for mark in read_marks(store)] == [doc_id]
    assert read_marks(disk) == []
