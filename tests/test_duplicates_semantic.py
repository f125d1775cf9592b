"""Images of like meaning: groups against brute force, and the short cut against the exact way."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gobelin.data.schemas import IMAGE_EMBEDDINGS
from gobelin.store.dataset import commit_shards
from gobelin.store.shards import read_folder
from gobelin.transforms.duplicates.semantic_duplicates import SemanticConfig, find_semantic_duplicates, semantic_groups
from gobelin.transforms.score.config import ScoreConfig

Make = Callable[..., Any]


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embeddings(num: int, seed: int) -> np.ndarray:
    """Directions near few centres, some of them nearly the same; float16 as they are stored."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(num // 8, 32))
    spread = rng.choice([0.1, 0.3, 1.0], (num, 1))
    return unit(centres[rng.integers(len(centres), size=num)] + spread * rng.normal(size=(num, 32))).astype(np.float16)


def by_definition(vectors: np.ndarray, threshold: float) -> list[int]:
    similar = vectors.astype(np.float32) @ vectors.astype(np.float32).T >= threshold
    names = np.arange(len(vectors))
    pairs = [(a, b) for a, b in itertools.combinations(range(len(vectors)), 2) if similar[a, b]]
    while any(names[a] != names[b] for a, b in pairs):
        for a, b in pairs:
            names[a] = names[b] = min(names[a], names[b])
    return names.tolist()


@pytest.mark.parametrize("rows", [7, 512])
def test_groups_against_brute_force(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gobelin.transforms.duplicates.semantic_duplicates._ROWS_AT_ONCE", rows)
    vectors = embeddings(160, seed=3)
    found = semantic_groups(vectors, [str(number) for number in range(160)], 0.93).tolist()
    assert found == by_definition(vectors, 0.93)
    assert 20 < len(set(found)) < 150


def test_the_short_cut_misses_little_and_invents_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = embeddings(3000, seed=4)
    ids = [str(number) for number in range(3000)]
    exact = semantic_groups(vectors, ids, 0.93)
    monkeypatch.setattr("gobelin.transforms.duplicates.semantic_duplicates._EXACT", 100)
    monkeypatch.setattr("gobelin.transforms.duplicates.semantic_duplicates._IMAGES_A_CENTRE", 100)
    found = semantic_groups(vectors, ids, 0.93)
    assert (exact[found] == exact).all(), "each group lies within one of the exact way's"
    assert len(set(found.tolist())) <= 1.02 * len(set(exact.tolist()))
    assert len(set(exact.tolist())) < 2500


def test_data_sets(tmp_path: Path, write_data_set: Make) -> None:
    ids = ["c", "a", "d", "b"]
    vectors = np.eye(4, dtype=np.float16)[[0, 0, 1, 1]]
    rows = [{"image_id": name, "embedding": vector} for name, vector in zip(ids, vectors, strict=True)]
    uses = [{"doc_id": "1", "images": ["a", "c"]}, {"doc_id": "2", "images": ["c", "d"]}, {"doc_id": "3", "images": []}]
    schema = pa.schema([("doc_id", pa.string()), ("images", pa.list_(pa.string()))])
    write_data_set(tmp_path / "embeddings", rows, IMAGE_EMBEDDINGS, 2, "image_id")
    write_data_set(tmp_path / "measurements", uses, schema, 2)
    find_semantic_duplicates(
        str(tmp_path / "embeddings"), str(tmp_path / "measurements"), str(tmp_path), SemanticConfig()
    )
    assert commit_shards(str(tmp_path / "semantic_groups"), 2)
    found = {row.pop("image_id"): row for row in read_folder(str(tmp_path / "semantic_groups"))}
    assert found["a"] == found["c"] == {"semantic_group": "a", "semantic_count": 2}
    assert found["b"] == found["d"] == {"semantic_group": "b", "semantic_count": 1}


def test_no_images(tmp_path: Path, write_data_set: Make) -> None:
    schema = pa.schema([("doc_id", pa.string()), ("images", pa.list_(pa.string()))])
    write_data_set(tmp_path / "embeddings", [], IMAGE_EMBEDDINGS, 2, "image_id")
    write_data_set(tmp_path / "measurements", [], schema, 2)
    find_semantic_duplicates(
        str(tmp_path / "embeddings"), str(tmp_path / "measurements"), str(tmp_path), SemanticConfig()
    )
    assert commit_shards(str(tmp_path / "semantic_groups"), 2)
    assert list(read_folder(str(tmp_path / "semantic_groups"))) == []


def test_it_needs_embeddings() -> None:
    with pytest.raises(ValueError, match="clip"):
        ScoreConfig(semantic=SemanticConfig())
    with pytest.raises(ValueError, match="min_similarity"):
        SemanticConfig(min_similarity=0.0)
