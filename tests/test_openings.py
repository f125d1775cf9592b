"""Reduced copies in place of files: what the report opens, and what it says of who opened pictures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch

from gobelin.data.schemas import IMAGE_COPIES, IMAGES
from gobelin.pipeline.recipe.recipe import as_dict, change, load_recipe
from gobelin.report import pictures
from gobelin.report.openings import Opening, openings
from gobelin.report.pictures import Thumbnail, make_thumbnails
from gobelin.store.dataset import commit_shards
from gobelin.store.shards import write_shard
from gobelin.store.tables import shard_path
from gobelin.tokenize.image_tokenizer import ImageTokenizer, save_image_tokenizer
from gobelin.tokenize.networks import build_network
from gobelin.tokenize.shapes import VQVAEConfig

NAMES = [f"{place:064x}" for place in range(4)]


def a_picture(size: tuple[int, int], colour: str) -> bytes:
    stream = io.BytesIO()
    PIL.Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


def _write(folder: Path, rows: list[dict[str, Any]], schema: Any) -> None:
    filled = [{field.name: row.get(field.name, _EMPTY.get(str(field.type), "")) for field in schema} for row in rows]
    write_shard(shard_path(str(folder), 0, 1), filled, schema)
    assert commit_shards(str(folder), 1)


_EMPTY: dict[str, Any] = {"int32": 0, "int64": 0, "list<element: string>": []}


def test_thumbnails_are_made_of_copies_that_have_the_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {NAMES[0]: (900, 600), NAMES[1]: (100, 60), NAMES[2]: (900, 600), NAMES[3]: (500, 400)}
    copies = {NAMES[0]: (384, 256), NAMES[1]: (100, 60), NAMES[2]: (96, 64)}
    _write(
        tmp_path / "extract" / "images",
        [
            {"image_id": name, "data": a_picture(size, "red"), "width": size[0], "height": size[1], "urls": ["u"]}
            for name, size in files.items()
        ],
        IMAGES,
    )
    rows = [{"image_id": name, "data": a_picture(size, "blue")} for name, size in copies.items()]
    _write(tmp_path / "extract" / "copies", rows, IMAGE_COPIES)
    opened: list[bytes] = []
    open_rgb = pictures.open_rgb
    monkeypatch.setattr(pictures, "open_rgb", lambda data, side: (opened.append(data), open_rgb(data, side))[1])
    found = make_thumbnails(str(tmp_path), set(NAMES))
    assert {name: found[name].is_of_copy for name in NAMES} == dict(zip(NAMES, [True, True, False, False]))
    assert opened == [
        a_picture((384, 256), "blue"), a_picture((100, 60), "blue"), a_picture((900, 600), "red"),
        a_picture((500, 400), "red"),
    ]  # fmt: skip
    assert [(found[name].width, found[name].height) for name in NAMES] == list(files.values())


def _stages(*done: str) -> dict[str, Any]:
    stages: dict[str, Any] = {name: {"status": "not run"} for name in ("extract", "score", "select", "tokenize")}
    for name, images in (("extract", 50), ("score", 40), ("tokenize", 30)):
        if name in done:
            stages[name] = {"status": "done", "images": {"seen": images, "kept": images - 1}}
    return stages


def _tokenizer(output: Path, side: int) -> None:
    config = VQVAEConfig(image_size=side, channels=8, num_blocks=1, num_codes=4, code_width=2)
    save_image_tokenizer(
        ImageTokenizer(build_network(config, torch.Generator().manual_seed(0))),
        str(output / "tokenize" / "image_tokenizer"),
    )


def test_who_opened_a_picture_and_why(tmp_path: Path) -> None:
    recipe = load_recipe("gobelin", ("score.clip=null", "score.faces=null", "tokenize.vqvae_max_images=20"))
    made = Opening("extract", False, "facts, hashes and a copy of 256 px", 49)
    assert openings(str(tmp_path), as_dict(recipe), _stages("extract"), []) == [made]
    stages = _stages("extract", "score", "tokenize")
    _tokenizer(tmp_path, 56)
    assert openings(str(tmp_path), as_dict(recipe), stages, []) == [
        made,
        Opening("tokenize, the fit", True, "image tokenizer: 112 px", 20),
        Opening("tokenize, encoding", True, "image tokenizer: 112 px", 30),
    ]
    without = as_dict(change(recipe, ("extract.image.copy_side_px=0",)))
    assert openings(str(tmp_path), without, stages, [])[-1].why == "image tokenizer: 112 px; no copies are kept"
    _tokenizer(tmp_path, 256)
    large = openings(str(tmp_path), as_dict(recipe), stages, [])
    assert [row.is_copy for row in large] == [False] * 3
    assert large[-1].why == "image tokenizer: 512 px; copies have 256"
    faces = as_dict(load_recipe("gobelin", ("score.clip=null", "score.faces.detector=opencv:haar")))
    score = openings(str(tmp_path), faces, stages, [])[1]
    assert (score.by, score.is_copy, score.pictures) == ("score", False, 40)


def test_what_the_report_opened_itself_is_counted(tmp_path: Path) -> None:
    def thumbnail(uri: str | None, is_of_copy: bool) -> Thumbnail:
        return Thumbnail(uri, 1, 1, "png", 1, None, is_of_copy)

    made = [thumbnail("data:", True), thumbnail("data:", True), thumbnail("data:", False), thumbnail(None, False)]
    recipe = as_dict(load_recipe("gobelin"))
    own = openings(str(tmp_path), recipe, _stages("extract"), made)[1:]
    assert [(row.by, row.is_copy, row.pictures) for row in own] == [("report", True, 2), ("report", False, 1)]
