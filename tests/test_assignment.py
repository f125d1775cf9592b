"""MMC4's assignment against every way there is, and what documents make of it."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gobelin.data.schemas import DOCUMENT_SCORES, NODE_SCORES
from gobelin.transforms.selection.config import SelectConfig
from gobelin.transforms.selection.document_thresholds import DocumentRules
from gobelin.transforms.selection.node_thresholds import ImageRules
from gobelin.transforms.selection.select import judge_document
from gobelin.transforms.vision import image_text
from gobelin.transforms.vision.assignment import assign_images
from gobelin.transforms.vision.image_text import score_images, similarity_matrix

Row = dict[str, Any]


def unit(*numbers: float) -> npt.NDArray[np.float16]:
    vector = np.array(numbers)
    return (vector / np.linalg.norm(vector)).astype(np.float16)


def unit_rows(seed: int, num: int, dim: int = 8) -> npt.NDArray[np.float16]:
    vectors = np.random.default_rng(seed).normal(size=(num, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


@pytest.mark.parametrize(
    ("similarities", "expected"),
    [
        # the second text fits both best: the pair with the higher sum wins, not the first come
        ([[0.5, 0.9], [0.1, 0.8]], [0, 1]),
        ([[0.3, 0.9], [0.8, 0.7]], [1, 0]),
        # more texts than images
        ([[0.1, 0.2, 0.3]], [2]),
        # more images than texts: whoever is left over goes to its best text, taken or not
        ([[0.9], [0.5], [0.7]], [0, 0, 0]),
        ([[0.9, 0.1], [0.8, 0.0], [0.2, 0.6]], [0, 0, 1]),
        # negative cosines are cosines
        ([[-0.5, -0.1], [-0.4, -0.3]], [1, 0]),
    ],
)
def test_by_hand(similarities: list[list[float]], expected: list[int]) -> None:
    matrix = np.array(similarities, np.float32)
    found = assign_images(matrix)
    assert found.text.tolist() == expected
    assert found.similarity.tolist() == [matrix[image, text] for image, text in enumerate(expected)]


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (3, 3), (5, 3), (4, 1), (5, 5)])
def test_no_other_assignment_has_a_higher_sum(shape: tuple[int, int]) -> None:
    num_images, num_texts = shape
    for seed in range(20):
        matrix = np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
        found = assign_images(matrix)
        pairs = min(shape)
        best = max(
            sum(float(matrix[image, text]) for image, text in zip(images, texts))
            for images in itertools.combinations(range(num_images), pairs)
            for texts in itertools.permutations(range(num_texts), pairs)
        )
        is_argmax = found.text == matrix.argmax(1)
        matched = sorted(range(num_images), key=lambda image: is_argmax[image])  # a matched one may be its argmax too
        sums = [
            sum(float(found.similarity[image]) for image in images)
            for images in itertools.combinations(matched, pairs)
            if len({int(found.text[image]) for image in images}) == pairs
            and all(is_argmax[image] for image in range(num_images) if image not in images)
        ]
        assert max(sums) == pytest.approx(best, abs=1e-6)


def test_no_image_is_an_empty_assignment_and_no_text_is_refused() -> None:
    assert assign_images(np.empty((0, 3), np.float32)).text.tolist() == []
    with pytest.raises(ValueError, match="no text to which 2 images can be assigned"):
        assign_images(np.empty((2, 0), np.float32))


def test_images_of_a_document() -> None:
    """Both images fit text 0 best; the one that fits it better has it, the other takes text 3."""
    texts = np.stack([unit(1, 0, 0), unit(0, 1, 0)])
    images = np.stack([unit(1, 0, 0), unit(3, 2, 0)])
    scores = score_images([1, 2], images, [0, 3], texts, {}, {})
    assert [scores[index].clip_assigned for index in (1, 2)] == [0, 3]
    assert scores[1].clip_assigned_score == pytest.approx(1.0, abs=1e-3)
    assert scores[2].clip_assigned_score == pytest.approx(2 / 13**0.5, abs=1e-3)
    assert scores[2].clip_text_max == pytest.approx(3 / 13**0.5, abs=1e-3)


def test_an_image_that_is_shown_twice_is_assigned_once() -> None:
    texts = np.stack([unit(1, 0, 0), unit(0, 1, 0)])
    images = np.stack([unit(1, 0.5, 0), unit(1, 0.5, 0), unit(1, 1, 0)])
    scores = score_images([1, 2, 4], images, [0, 3], texts, {}, {})
    assert [scores[index].clip_assigned for index in (1, 2, 4)] == [0, 0, 3]


def test_scores_do_not_depend_on_how_many_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    images, texts = unit_rows(1, 20), unit_rows(2, 30)
    places = list(range(0, 50, 5)) + list(range(51, 61))
    text_places = [place for place in range(100) if place not in places][:30]
    whole = score_images(places, images, text_places, texts, {}, {})
    monkeypatch.setattr(image_text, "_ROWS_AT_ONCE", 3)
    assert score_images(places, images, text_places, texts, {}, {}) == whole
    monkeypatch.setattr(image_text, "MAX_ASSIGNED_CELLS", 10)
    limited = score_images(places, images, text_places, texts, {}, {})
    assert {scores.clip_assigned for scores in limited.values()} == {None}
    assert [scores.clip_text_max for scores in limited.values()] == [scores.clip_text_max for scores in whole.values()]


@pytest.mark.timeout(30)
def test_a_page_of_very_many_images_and_texts_takes_seconds() -> None:
    rows = unit_rows(3, 500, 16)
    images = rows[np.arange(30_000) % 500]
    texts = unit_rows(4, 30_000, 16)
    scores = score_images(range(0, 60_000, 2), images, range(1, 60_001, 2), texts, {}, {})
    assert len(scores) == 30_000


def test_the_matrix_is_the_cosines() -> None:
    images, texts = unit_rows(5, 3), unit_rows(6, 4)
    matrix = similarity_matrix(images, texts)
    assert (matrix.shape, matrix.dtype) == ((3, 4), np.float32)
    assert matrix[1, 2] == pytest.approx(float((images[1].astype(float) * texts[2].astype(float)).sum()), abs=1e-6)
    assert np.array_equal(similarity_matrix(images[::-1], texts), matrix[::-1])
    assert similarity_matrix([], texts).shape == (0, 4)
    assert similarity_matrix(images, []).shape == (3, 0)


@pytest.fixture
def judge(a_document: Callable[..., Row]) -> Callable[..., Any]:
    """(assigned scores of four images, configuration, clip_model) -> the verdict."""

    def make(assigned: list[float | None], config: SelectConfig, clip_model: str | None = "m@1") -> Any:
        document = a_document("d" * 32, ["Some words.", *[(f"i{place}",) for place in range(len(assigned))]])
        empty = dict.fromkeys(field.name for field in NODE_SCORES)
        images = [
            {**empty, "kind": "image", "image_id": f"i{place}", "format": "png", "width": 400, "height": 300,
             "phash": "0" * 16, "num_documents": 1, "near_count": 1, "clip_assigned_score": score}
            for place, score in enumerate(assigned)
        ]  # fmt: skip
        scores = {**dict.fromkeys(DOCUMENT_SCORES.names), "doc_id": "d" * 32, "clip_model": clip_model}
        nodes = [{**empty, "kind": "text", "num_words": 2, "site_count": 1}, *images]
        return judge_document(document, {**scores, "nodes": nodes}, config)

    return make


@pytest.mark.parametrize(
    ("assigned", "is_kept"),
    [
        ([0.3, 0.3, 0.3, 0.1], True),  # 0.75 itself
        ([0.25, 0.25, 0.25, 0.1], True),  # 0.25 itself
        ([0.24, 0.25, 0.25, 0.1], False),
        ([0.3, 0.3, 0.3, 0.3], True),
        ([0.3, 0.3, None, 0.3], True),
        ([0.3, None, None, 0.3], False),
        ([], True),
    ],
)
def test_the_rule_of_mmc4_core(judge: Callable[..., Any], assigned: list[float | None], is_kept: bool) -> None:
    config = SelectConfig(document=DocumentRules(min_assigned_ratio=0.75, assigned_similarity=0.25))
    stored = [None if score is None else float(np.float32(score)) for score in assigned]
    verdict = judge(stored, config)
    assert (verdict.dropped_by is None) == is_kept
    assert verdict.dropped_by in (None, "document.min_assigned_ratio")
    assert verdict.not_run == ()


def test_without_clip_the_rule_of_mmc4_core_does_not_run(judge: Callable[..., Any]) -> None:
    verdict = judge([None, None], SelectConfig(document=DocumentRules(min_assigned_ratio=0.75)), clip_model=None)
    assert (verdict.dropped_by, verdict.not_run) == (None, ("document.min_assigned_ratio",))


def test_images_that_left_do_not_count(judge: Callable[..., Any]) -> None:
    config = SelectConfig(document=DocumentRules(min_assigned_ratio=0.75), image=ImageRules(min_clip_assigned=0.15))
    verdict = judge([0.5, 0.5, 0.1, 0.1], config)
    assert verdict.dropped_by is None
    assert [decision.rule for decision in verdict.decisions] == ["image.min_clip_assigned"] * 2
