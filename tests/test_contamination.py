"""Planted overlaps with evaluation sets are found, and nothing else is."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gobelin.data.schemas import IMAGE_EMBEDDINGS, NODE_SCORES
from gobelin.store.dataset import commit_shards
from gobelin.store.shards import read_folder, write_shard
from gobelin.store.tables import shard_path
from gobelin.transforms.duplicates.image_duplicates import ImageHashes, NearImageConfig, image_hashes
from gobelin.transforms.images.check_image import ImageFacts, ImageLimits, check_image
from gobelin.transforms.score.config import ClipConfig, ScoreConfig
from gobelin.transforms.score.measure import measure_document
from gobelin.transforms.text.contamination import TextContamination, find_contamination, load_eval_texts
from gobelin.transforms.text.text_config import ContaminationConfig
from gobelin.transforms.vision.eval_images import (
    IMAGE_CONTAMINATION,
    find_eval_images,
    load_eval_images,
    match_images,
    nearest_embeddings,
)

QUESTION = (
    "A farmer has seven sheep and three goats; how many animals are in the barn when two of the sheep have been sold?"
)
PASSAGE = " ".join(f"word{number}" for number in range(40))
SHORT = "Who painted the ceiling of the old chapel?"  # eight words
TOO_SHORT = "True or false?"


@pytest.fixture
def index(tmp_path: Path) -> Any:
    (tmp_path / "qa.jsonl").write_text(
        json.dumps({"id": 1, "question": QUESTION, "choices": [TOO_SHORT, {"text": SHORT}]}) + "\n\n", encoding="utf-8"
    )
    (tmp_path / "passages.txt").write_text(f"{PASSAGE}\n \nAnother\nshort one", encoding="utf-8")
    paths = (str(tmp_path / "qa.jsonl"), str(tmp_path / "passages.txt"))
    return load_eval_texts(ContaminationConfig(texts=paths))


def words(first: int, last: int) -> str:
    return " ".join(f"word{number}" for number in range(first, last))


def test_the_index(index: Any) -> None:
    num_words = len(re.findall(r"\w+", QUESTION))
    assert {size: len(hashes) for size, (hashes, _) in index.hashes.items()} == {8: 1, 13: num_words - 12 + 40 - 12}
    assert index.num_short == 2


@pytest.mark.parametrize(
    ("texts", "num_ngrams", "by_text"),
    [
        ([], 0, ()),
        ([""], 0, (0,)),
        (["Nothing of the kind is said in this text, which is long enough to be asked for it."], 0, (0,)),
        ([words(0, 13)], 1, (1,)),
        ([words(0, 12)], 0, (0,)),
        ([words(5, 20)], 3, (3,)),
        ([words(5, 12), words(12, 18)], 1, (1, 1)),  # across two nodes
        (["x " + words(0, 13), "y", words(20, 33)], 2, (1, 0, 1)),
        ([words(0, 14), "", words(14, 15)], 3, (3, 0, 1)),
        ([words(0, 6) + " other " + words(6, 13)], 0, (0,)),
        ([QUESTION.upper().replace(" ", "\n  ")], 11, (11,)),
        (["«" + QUESTION.replace(";", " —") + "»"], 11, (11,)),
        (["So: who painted the ceiling of the old chapel"], 1, (1,)),
        (["Who painted the ceiling of the new chapel?"], 0, (0,)),
        ([TOO_SHORT], 0, (0,)),
    ],
)
def test_planted_overlaps(index: Any, texts: list[str], num_ngrams: int, by_text: tuple[int, ...]) -> None:
    found = find_contamination(texts, index)
    assert (found.num_eval_ngrams, found.by_text) == (num_ngrams, by_text)
    assert (found.eval_source is None) == (num_ngrams == 0) == (found.eval_word_ratio == 0)


def test_the_share_of_words_and_the_source(index: Any) -> None:
    found = find_contamination([words(0, 14) + " " + words(100, 106), SHORT], index)
    assert found.eval_word_ratio == pytest.approx(22 / 28)
    assert found.eval_source is not None
    assert found.eval_source.endswith("passages.txt")
    found = find_contamination([SHORT], index)
    assert found.eval_word_ratio == 1.0
    assert found.eval_source is not None
    assert found.eval_source.endswith("qa.jsonl")


@given(st.lists(st.lists(st.integers(0, 3), max_size=30), max_size=4), st.lists(st.integers(0, 3), min_size=6))
def test_hits_are_the_definition(tmp_path_factory: Any, texts: list[list[int]], evaluation: list[int]) -> None:
    path = tmp_path_factory.mktemp("eval") / "one.txt"
    path.write_text(" ".join(f"w{number}" for number in evaluation))
    found = find_contamination(
        [" ".join(f"w{number}" for number in text) for text in texts],
        load_eval_texts(ContaminationConfig(texts=(str(path),), ngram=6, min_item_words=6)),
    )
    known = {tuple(evaluation[start : start + 6]) for start in range(len(evaluation) - 5)}
    flat = [number for text in texts for number in text]
    owner = [index for index, text in enumerate(texts) for _ in text]
    hits = [start for start in range(len(flat) - 5) if tuple(flat[start : start + 6]) in known]
    covered = {place for start in hits for place in range(start, start + 6)}
    assert found.num_eval_ngrams == len(hits)
    assert found.eval_word_ratio == pytest.approx(len(covered) / max(1, len(flat)))
    touched = [sum(index in owner[start : start + 6] for start in hits) for index in range(len(texts))]
    assert found.by_text == tuple(touched)


def test_letters_where_there_are_no_spaces(tmp_path: Path) -> None:
    (tmp_path / "zh.txt").write_text("下面哪一种动物生活在海里并且会唱歌？", encoding="utf-8")
    index = load_eval_texts(ContaminationConfig(texts=(str(tmp_path / "zh.txt"),)))
    assert find_contamination(["问题：下面哪一种动物，生活在海里，并且会唱歌。"], index).num_eval_ngrams == 5
    assert find_contamination(["下面哪一种植物生活在海里"], index).num_eval_ngrams == 0


def test_a_document_is_measured(tmp_path: Path) -> None:
    (tmp_path / "eval.txt").write_text(PASSAGE)
    nothing = dict.fromkeys(("text", "role", "image_id", "alt", "caption", "title", "link_url"))
    nodes = [
        {**nothing, "kind": "text", "role": "paragraph", "text": "All is well here."},
        {**nothing, "kind": "image", "image_id": "i", "alt": "jo@example.org"},
        {**nothing, "kind": "text", "role": "code", "text": words(0, 14)},
    ]
    document = {"doc_id": "d", "url": "https://a.example/", "language": "en", "warc_date": "2025", "nodes": nodes}
    config = ContaminationConfig(texts=(str(tmp_path / "eval.txt"),))
    scores = json.loads(measure_document(document, ScoreConfig(contamination=config))[0]["scores"])
    assert (scores["num_eval_ngrams"], scores["eval_source"]) == (2, str(tmp_path / "eval.txt"))
    assert scores["eval_word_ratio"] == pytest.approx(14 / 18)
    assert [node.get("num_eval_ngrams") for node in scores["nodes"]] == [0, None, 2]
    assert scores["nodes"][1]["num_emails"] == 1
    scores = json.loads(measure_document(document, ScoreConfig())[0]["scores"])
    assert "num_eval_ngrams" not in scores
    assert [node.get("num_eval_ngrams") for node in scores["nodes"]] == [None] * 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "No such file"),
        ("latin.txt", b"caf\xe9", "not UTF-8"),
        ("bad.jsonl", b'{"a": 1}\n{', "line 2: not JSON"),
        ("deep.jsonl", b"[" * 100_000, "line 1: not JSON"),
        ("short.txt", b"only four words here", "no text of at least 8 words"),
    ],
)
def test_texts_that_cannot_be_used(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_eval_texts(ContaminationConfig(texts=(str(path),)))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("wrong", [{"ngram": 2}, {"ngram": 99}, {"min_item_words": 14}, {"min_item_words": 0}])
def test_settings_that_make_no_sense(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ContaminationConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("unit", ["a ", "word1 ", "!", "字", "\n", "a" * 1000 + " "])
def test_hostile_text_takes_linear_time(index: Any, unit: str) -> None:
    start = time.process_time()
    assert find_contamination([unit * (1_000_000 // len(unit))], index) == TextContamination(0, 0.0, None, (0,))
    assert time.process_time() - start < 2.0


# ------------------------------------------------------------------------------------------------ images


def picture(seed: int, size: tuple[int, int] = (256, 192)) -> Image.Image:
    cells = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC)


def facts(image: Image.Image, quality: int | None = None) -> ImageFacts:
    stream = io.BytesIO()
    image.save(stream, "PNG" if quality is None else "JPEG", **({} if quality is None else {"quality": quality}))
    checked = check_image(stream.getvalue(), ImageLimits())
    assert isinstance(checked, ImageFacts)
    return checked


COLUMNS = ("phash", "dhash", "colour", "thumbnail")


def hashes_of(*found: ImageFacts) -> ImageHashes:
    return image_hashes(*([getattr(one, name) for one in found] for name in COLUMNS))


@pytest.fixture
def eval_images(tmp_path: Path) -> Any:
    (tmp_path / "set" / "deeper").mkdir(parents=True)
    for seed in range(5):
        picture(seed).save(tmp_path / "set" / f"{seed}.png")
    picture(5).save(tmp_path / "set" / "deeper" / "5.jpg")
    (tmp_path / "set" / "labels.csv").write_text("no picture")
    picture(6).save(tmp_path / "6.png")
    return load_eval_images(ContaminationConfig(images=(str(tmp_path / "set"), str(tmp_path / "6.png"))))


def test_images_of_folders_and_files(eval_images: Any) -> None:
    assert [Path(name).name for name in eval_images.names] == [*(f"{n}.png" for n in range(5)), "5.jpg", "6.png"]
    assert eval_images.num_unreadable == 1


def test_copies_of_evaluation_images_are_found(eval_images: Any) -> None:
    copies = [facts(picture(3)), facts(picture(3), 60), facts(picture(5, (640, 480)), 85), facts(picture(6))]
    others = [facts(picture(seed)) for seed in range(100, 130)]
    found = match_images(hashes_of(*copies, *others), eval_images, NearImageConfig())
    assert [Path(name or "").name for _, name in found[:4]] == ["3.png", "3.png", "5.jpg", "6.png"]
    assert found[4:] == [(0, None)] * 30


def test_matches_do_not_depend_on_how_many_are_compared_at_once(
    eval_images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = hashes_of(*(facts(picture(seed)) for seed in range(3, 9)))
    whole = match_images(queries, eval_images, NearImageConfig())
    monkeypatch.setattr("gobelin.transforms.vision.eval_images._CHUNK", 1)
    assert match_images(queries, eval_images, NearImageConfig()) == whole
    assert [count for count, _ in whole] == [1, 1, 1, 1, 0, 0]
    assert (
        match_images(
            queries, eval_images, NearImageConfig(phash_distance=None, dhash_distance=None, layout_distance=None)
        )
        == [(0, None)] * 6
    )


@pytest.mark.parametrize("given", ["nowhere", "empty", "labels.csv"])
def test_images_that_are_none(tmp_path: Path, given: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "labels.csv").write_text("no picture")
    with pytest.raises(ValueError, match=given):
        load_eval_images(ContaminationConfig(images=(str(tmp_path / given),)))


def test_nearest_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    monkeypatch.setattr("gobelin.transforms.vision.eval_images._CHUNK", 7)
    cosines, places = nearest_embeddings(vectors[:12], vectors[10:])
    expected = vectors[:12] @ vectors[10:].T
    assert cosines == pytest.approx(expected.max(axis=1))
    assert places.tolist() == expected.argmax(axis=1).tolist()
    assert cosines[10:] == pytest.approx([1.0, 1.0])
    assert len(nearest_embeddings(vectors[:0], vectors)[0]) == 0


IMAGE_COLUMNS = pa.schema([("image_id", pa.string()), *((name, pa.string()) for name in COLUMNS)])


def write_images(folder: Path, shards: list[list[int]]) -> None:
    for number, seeds in enumerate(shards):
        rows = []
        for seed in seeds:
            found = facts(picture(seed))
            rows.append({"image_id": f"i{seed}", **{name: getattr(found, name) for name in IMAGE_COLUMNS.names[1:]}})
        write_shard(shard_path(str(folder), number, len(shards)), rows, IMAGE_COLUMNS)
    assert commit_shards(str(folder), len(shards))


def test_the_data_set_of_a_run(tmp_path: Path, eval_images: Any) -> None:
    write_images(tmp_path / "images", [[3, 8], [], [9, 6]])
    config = ScoreConfig(contamination=ContaminationConfig(images=(str(tmp_path / "set"), str(tmp_path / "6.png"))))
    find_eval_images(config, str(tmp_path / "images"), "none", str(tmp_path / "work"))
    assert commit_shards(str(tmp_path / "work" / "image_contamination"), 3)
    rows = list(read_folder(str(tmp_path / "work" / "image_contamination")))
    assert [(row["image_id"], row["num_eval_images"], Path(row["eval_image"] or "").name) for row in rows] == [
        ("i3", 1, "3.png"), ("i8", 0, ""), ("i9", 0, ""), ("i6", 1, "6.png"),
    ]  # fmt: skip
    assert {row["eval_similarity"] for row in rows} == {None}
    assert set(IMAGE_CONTAMINATION.names) <= {field.name for field in NODE_SCORES}


def test_the_data_set_with_embeddings(tmp_path: Path, eval_images: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image without an embedding has no similarity; the others have their highest."""
    embed = pytest.importorskip("gobelin.transforms.vision.embed")
    write_images(tmp_path / "images", [[8, 3, 9], []])
    vectors = {"i3": [1.0, 0.0], "i8": [0.6, 0.8]}
    rows = [{"image_id": name, "embedding": np.array(vector, np.float16)} for name, vector in vectors.items()]
    embeddings = str(tmp_path / "image_embeddings")
    for number, part in enumerate((rows, [])):
        write_shard(shard_path(embeddings, number, 2), part, IMAGE_EMBEDDINGS)
    assert commit_shards(embeddings, 2)

    class Model:
        def embed_images(self, images: Any) -> Any:
            assert len(list(images)) == 7
            return np.array([[1, 0], [0, 1], *[[-1, 0]] * 5], np.float16)

    monkeypatch.setattr(embed, "load_model", lambda config: Model())
    config = ScoreConfig(
        clip=ClipConfig(model="ViT-B-32", pretrained="none"),
        contamination=ContaminationConfig(images=(str(tmp_path / "set"), str(tmp_path / "6.png"))),
    )
    find_eval_images(config, str(tmp_path / "images"), embeddings, str(tmp_path / "work"))
    assert commit_shards(str(tmp_path / "work" / "image_contamination"), 2)
    found = {row["image_id"]: row for row in read_folder(str(tmp_path / "work" / "image_contamination"))}
    assert found["i3"]["eval_similarity"] == 1.0
    assert found["i8"]["eval_similarity"] == pytest.approx(0.8, abs=1e-3)
    assert found["i9"]["eval_similarity"] is None
    assert found["i3"]["num_eval_images"] == 1
