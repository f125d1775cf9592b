"""The stage ``sample``: what it draws from a model, writes, and counts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PillowImage

from gobelin.pipeline.recipe.recipe import Recipe
from gobelin.pipeline.run.state import read_summary
from gobelin.tokenize.text_tokenizer import TextTokenizer
from gobelin.tokenize.vocabulary import Vocabulary
from gobelin.train.held_out import HeldOut
from tests.model_folders import SIDE, write_model_folder
from tests.token_corpora import colored_documents, write_shards

SETTINGS = {"num_captions": 2, "images_per_caption": 3, "num_documents": 2, "max_document_tokens": 40}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run up to ``train``: a model that learned nothing, four of eight documents held out."""
    folder = tmp_path_factory.mktemp("sample") / "out"
    write_model_folder(str(folder))
    tokens, documents = folder / "tokenize", colored_documents(8)
    write_shards(tokens / "shards", documents, Vocabulary.load(str(folder / "train")), TextTokenizer.load(str(tokens)))
    Vocabulary.load(str(tokens / "shards")).save(str(tokens))
    HeldOut("document", (), tuple(sorted(documents)[:4]), ()).save(str(folder / "train"))
    return folder


def recipe(**more: Any) -> Recipe:
    tiny = Recipe(name="tiny", seed=5)
    return dataclasses.replace(tiny, sample=dataclasses.replace(tiny.sample, **{**SETTINGS, **more}))


def drawn(output: Path, **more: Any) -> tuple[dict, dict]:
    """``samples.json`` and the summary of the stage."""
    from gobelin.pipeline.stages.sample import sample_model

    sample_model(str(output), recipe(**more))
    return json.loads((output / "sample" / "samples.json").read_text()), read_summary(str(output / "sample"))


def test_held_out_captions_become_pictures_and_held_out_pictures_become_captions(output: Path) -> None:
    samples, summary = drawn(output)
    captions = [each["caption"] for each in samples["from_captions"]]
    assert captions == [each["true_caption"] for each in samples["from_images"]]
    assert len(set(captions)) == 2
    assert all(caption.endswith("square") for caption in captions)
    pictures = [name for each in samples["from_captions"] for name in each["images"]]
    in_documents = [item["image"] for items in samples["documents"] for item in items if item["kind"] == "image"]
    named = [*pictures, *(each["image"] for each in samples["from_images"]), *in_documents]
    assert named == [f"images/{number:04d}.png" for number in range(len(named))]
    for name in named:
        with PillowImage.open(output / "sample" / name) as picture:
            assert picture.size == (SIDE, SIDE)
    assert summary == {"page": "sample/index.html", "pictures": 6, "captions": 2, "documents_written": 2}
    page = (output / "sample" / "index.html").read_text()
    assert all(caption in page for caption in captions)


def test_captions_of_the_recipe_take_the_place_of_held_out_ones(output: Path) -> None:
    samples, summary = drawn(output, captions=("a small house",), num_documents=0)
    assert [each["caption"] for each in samples["from_captions"]] == ["a small house"]
    assert (summary["pictures"], summary["documents_written"], samples["documents"]) == (3, 0, [])


def test_without_captions_no_picture_is_drawn_for_one(output: Path) -> None:
    samples, summary = drawn(output, num_captions=0, num_documents=1)
    assert (samples["from_captions"], samples["from_images"]) == ([], [])
    assert (summary["pictures"], summary["captions"], summary["documents_written"]) == (0, 0, 1)


def test_the_same_recipe_draws_the_same(output: Path) -> None:
    assert drawn(output) == drawn(output)
